/* SPDX-License-Identifier: MIT */
/* weirctl: one command to the admin socket of a running weir (control/admin.h), and its answer. */
#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/json.h"
#include "control/admin.h"
#include "control/command_line.h"
#include "control/text.h"
#include "control/token_make.h"

enum { EXIT_DONE, EXIT_REFUSED, EXIT_USAGE };

#define ANSWER_WITHIN_S 30

struct options {
	const char *socket, *by;
	bool json, socket_named;
	char **command;
	int words;
};

/* What goes wrong here is told as the socket's answers are: in JSON on stdout where that was asked for. */
static bool in_json;

static void __attribute__((format(printf, 1, 2))) complain(const char *fmt, ...)
{
	char text[2048], out[8192];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!in_json) {
		fprintf(stderr, "weirctl: %s\n", text);
		return;
	}
	struct json j;
	json_init(&j, out, sizeof(out));
	json_obj_open(&j);
	json_key(&j, "error");
	json_str(&j, str_of(text));
	json_obj_close(&j);
	printf("%.*s\n", (int)json_finish(&j), out);
}

/* --- help, without a socket --- */

static void write_help(struct text *t)
{
	text_add(t,
		 "usage: weirctl [-s SOCKET] [--json] [--by NAME] COMMAND...\n\n"
		 "Talks to the admin socket of a running weir.\n\n"
		 "  -s SOCKET   the socket (default: $WEIR_SOCKET, else %s)\n"
		 "  --json      answer in JSON\n"
		 "  --by NAME   who asks, for the log (default: $WEIR_BY, else the user's name)\n"
		 "  -h, --help  this; `weirctl help COMMAND` tells more of a command\n"
		 "  -V          the version\n\n"
		 "exit status: 0 done, 1 refused, 2 usage or no connection\n\n"
		 "Commands:\n",
		 ADMIN_SOCKET);
	command_write_list(t);
}

static int print(FILE *f, struct text *t, int status)
{
	if (t->n)
		fwrite(t->p, 1, t->n, f);
	text_free(t);
	return status;
}

static int print_help(void)
{
	struct text t = {0};
	write_help(&t);
	return print(stdout, &t, EXIT_DONE);
}

static int print_json(const char *key, const struct text *t)
{
	static char bytes[65536];
	struct json j;
	json_init(&j, bytes, sizeof(bytes));
	json_obj_open(&j);
	json_key(&j, key);
	json_str(&j, (struct str){t->p, t->n});
	json_obj_close(&j);
	printf("%.*s\n", (int)json_finish(&j), bytes);
	return EXIT_DONE;
}

/* `help limits lift`, `help limits` and `limits lift --help`. */
static int help_of(char **word, unsigned n)
{
	struct text t = {0};
	int status = EXIT_USAGE;
	if (command_help(word, n, &t) != COMMAND_FINE)
		complain("%.*s", (int)strcspn(t.n ? t.p : "out of memory", "\n"),
			 t.n ? t.p : "out of memory");
	else
		status = in_json ? print_json("help", &t) : print(stdout, &t, EXIT_DONE);
	text_free(&t);
	return status;
}

/* The command's words without its options. */
static unsigned plain_words(const struct options *o, int from, char *word[WORDS_MAX])
{
	unsigned n = 0;
	for (int i = from; i < o->words && n < WORDS_MAX && o->command[i][0] != '-'; i++)
		word[n++] = o->command[i];
	return n;
}

/* -1: none is asked for; else the exit status. */
static int help_asked(const struct options *o)
{
	char *word[WORDS_MAX];
	if (strcmp(o->command[0], "help") == 0) {
		unsigned n = plain_words(o, 1, word);
		return n || in_json ? help_of(word, n) : print_help();
	}
	for (int i = 1; i < o->words; i++)
		if (strcmp(o->command[i], "--help") == 0 || strcmp(o->command[i], "-h") == 0)
			return help_of(word, plain_words(o, 0, word));
	return -1;
}

/* --- arguments --- */

static const char *default_by(void)
{
	static char uid[32];
	const char *by = getenv("WEIR_BY");
	if (by && *by)
		return by;
	by = getenv("USER");
	if (by && *by)
		return by;
	const struct passwd *pw = getpwuid(getuid());
	if (pw)
		return pw->pw_name;
	snprintf(uid, sizeof(uid), "uid %u", (unsigned)getuid());
	return uid;
}

static const char *default_socket(void)
{
	const char *s = getenv("WEIR_SOCKET");
	return s && *s ? s : ADMIN_SOCKET;
}

static int usage(const char *what, const char *which)
{
	complain("%s%s%s (weirctl --help tells more)", what, *which ? " " : "", which);
	return EXIT_USAGE;
}

/* Up to the first word that is no option. -1: go on; else the exit status. */
static int read_options(int argc, char **argv, struct options *o)
{
	int i = 1;
	for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
		const char *a = argv[i];
		if (strcmp(a, "-h") == 0 || strcmp(a, "--help") == 0)
			return print_help();
		if (strcmp(a, "-V") == 0 || strcmp(a, "--version") == 0) {
			printf("weirctl %s\n", WEIR_VERSION);
			return EXIT_DONE;
		}
		if (strcmp(a, "--json") == 0) {
			in_json = o->json = true;
			continue;
		}
		const char **to = strcmp(a, "-s") == 0 || strcmp(a, "--socket") == 0 ? &o->socket
				  : strcmp(a, "--by") == 0			     ? &o->by
										     : NULL;
		if (!to)
			return usage("unknown option", a);
		if (++i == argc)
			return usage("a value is missing after", a);
		*to = argv[i];
		o->socket_named |= to == &o->socket;
	}
	o->command = argv + i;
	o->words = argc - i;
	return o->words ? -1 : usage("no command was given", "");
}

/* --- the request --- */

static bool add_word(char *line, size_t *n, const char *word)
{
	size_t got;
	if (*n + 1 >= ADMIN_LINE)
		return false;
	if (*n)
		line[(*n)++] = ' ';
	got = words_quote(line + *n, ADMIN_LINE - *n, word);
	*n += got;
	return got > 0;
}

/* The line without its newline; 0 with a message on stderr. */
static size_t write_line(const struct options *o, char line[ADMIN_LINE])
{
	size_t n = 0;
	if (!words_printable(o->by)) {
		complain("control characters are not allowed in --by");
		return 0;
	}
	bool ok = (!o->json || add_word(line, &n, "--json")) && add_word(line, &n, "--by") &&
		  add_word(line, &n, o->by);
	for (int i = 0; ok && i < o->words; i++) {
		ok = add_word(line, &n, o->command[i]);
		if (!ok && !words_printable(o->command[i])) {
			complain("control characters are not allowed: word %d of the command", i + 1);
			return 0;
		}
	}
	if (ok && n < ADMIN_LINE)
		return n;
	complain("the command is longer than %d bytes", ADMIN_LINE);
	return 0;
}

static const char *connect_hint(int err)
{
	switch (err) {
	case ENOENT:
		return ". Is weir running, and does admin.socket in its config name this path? Another path: "
		       "-s SOCKET or "
		       "$WEIR_SOCKET";
	case EACCES:
	case EPERM:
		return ". This user may not open it: see admin.mode in the config, and the socket's owner "
		       "and group";
	case ECONNREFUSED:
		return ". Nobody listens there: weir has ended without removing it, or is just starting";
	default:
		return "";
	}
}

static int connect_to(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct timeval tv = {ANSWER_WITHIN_S, 0};
	if (strlen(path) >= sizeof(sa.sun_path)) {
		complain("%s: a socket's path has at most %zu bytes", path, sizeof(sa.sun_path) - 1);
		return -1;
	}
	memcpy(sa.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		complain("cannot connect to %s: %s%s", path, strerror(errno), connect_hint(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	return fd;
}

static bool send_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t w = send(fd, p, n, MSG_NOSIGNAL);
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return false;
		p += w;
		n -= (size_t)w;
	}
	return true;
}

static bool read_all(int fd, struct text *t)
{
	char piece[16384];
	for (;;) {
		ssize_t n = read(fd, piece, sizeof(piece));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 && !t->cut;
		text_bytes(t, piece, (size_t)n);
	}
}

/* --- the answer --- */

/* JSON goes to stdout whatever it says, so that a tool finds it there. */
static int show(const struct options *o, const struct text *t)
{
	static const struct {
		const char *verdict;
		int status;
	} rows[] = {
		{ADMIN_OK "\n", EXIT_DONE},
		{ADMIN_REFUSED "\n", EXIT_REFUSED},
		{ADMIN_USAGE "\n", EXIT_USAGE},
	};
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t n = strlen(rows[i].verdict);
		if (t->n < n || memcmp(t->p, rows[i].verdict, n) != 0)
			continue;
		FILE *to = rows[i].status == EXIT_DONE || o->json ? stdout : stderr;
		if (fwrite(t->p + n, 1, t->n - n, to) == t->n - n && fflush(to) == 0)
			return rows[i].status;
		fprintf(stderr, "weirctl: the answer cannot be written: %s\n", strerror(errno));
		return EXIT_USAGE;
	}
	complain("what answers at %s is no weir, or it ended in the middle", o->socket);
	return EXIT_USAGE;
}

static int ask(const struct options *o, int fd, const char *line, size_t n)
{
	struct text t = {0};
	int status = EXIT_USAGE;
	if (!send_all(fd, line, n) || !read_all(fd, &t)) {
		int err = errno;
		if (err == EAGAIN || err == EWOULDBLOCK)
			complain("no answer from %s within %d s", o->socket, ANSWER_WITHIN_S);
		else
			complain("%s: the connection was lost: %s", o->socket, strerror(err));
	} else {
		status = show(o, &t);
	}
	text_free(&t);
	return status;
}

/* --- limits token, without a socket --- */

static int sign_token(const struct options *o, const struct command_line *line, const char *key)
{
	static struct token_made made;
	static char json[LIFT_TOKEN_MAX * 2];
	struct text why = {0}, out = {0};
	const struct lift_args args = {
		.line = line,
		.most = LIFT_LONGEST,
		.most_key = "the most that rate_limit.max_lift can be",
		.why = &why,
	};
	wall_t now = clock_wall();
	struct json j;
	if (strlen(key) < LIFT_KEY_SHORTEST) {
		complain("WEIR_LIFT_KEY: expected a key of %d bytes at least", LIFT_KEY_SHORTEST);
		return EXIT_REFUSED;
	}
	if (!token_make(&args, str_of(key), now, &made)) {
		complain("%s", why.n ? why.p : "out of memory");
		text_free(&why);
		return EXIT_REFUSED;
	}
	if (!o->json) {
		token_made_text(&made, &out);
		return print(stdout, &out, EXIT_DONE);
	}
	json_init(&j, json, sizeof(json));
	token_made_json(&made, now, &j);
	printf("%.*s\n", (int)json_finish(&j), json);
	return EXIT_DONE;
}

/* `limits token` with a key in the environment and no socket named; else false, and weir is asked. */
static bool signs_itself(const struct options *o, const char *line, size_t n, int *status)
{
	static char copy[ADMIN_LINE + 1];
	const char *key = getenv("WEIR_LIFT_KEY");
	struct words words;
	struct command_line command;
	struct text error = {0};
	if (!key || !*key || o->socket_named)
		return false;
	memcpy(copy, line, n);
	copy[n] = 0;
	bool mine = !words_split(copy, &words) && command_parse(&words, &command, &error) == COMMAND_FINE &&
		    command.row->id == COMMAND_ID_limits_token;
	text_free(&error);
	if (mine)
		*status = sign_token(o, &command, key);
	return mine;
}

static bool wants_json(const struct options *o)
{
	for (int i = 0; i < o->words; i++)
		if (strcmp(o->command[i], "--json") == 0)
			return true;
	return o->json;
}

int main(int argc, char **argv)
{
	static char line[ADMIN_LINE + 1];
	struct options o = {.socket = default_socket()};
	signal(SIGPIPE, SIG_IGN);
	int status = read_options(argc, argv, &o);
	if (status >= 0)
		return status;
	if (!o.by)
		o.by = default_by();
	in_json = o.json = wants_json(&o);
	status = help_asked(&o);
	if (status >= 0)
		return status;
	size_t n = write_line(&o, line);
	if (!n)
		return EXIT_USAGE;
	if (signs_itself(&o, line, n, &status))
		return status;
	line[n++] = '\n';
	int fd = connect_to(o.socket);
	if (fd < 0)
		return EXIT_USAGE;
	status = ask(&o, fd, line, n);
	close(fd);
	return status;
}
