/* SPDX-License-Identifier: MIT */
/*
 * The parser by bytes, and the connection: against a real redis-server and against a scripted one that
 * misbehaves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/syscall.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/log.h"
#include "tests/unit/redis_rig.h"

/* Every send of this program is counted here, those of base/stream too. */
static unsigned sends;
ssize_t send(int fd, const void *bytes, size_t n, int flags)
{
	sends++;
	return syscall(SYS_sendto, fd, bytes, n, flags, NULL, 0);
}

static struct rig_redis redis;
static struct loop loop;

/* --- the parser --- */

static const char deep[] = "*4\r\n$3\r\nfoo\r\n*2\r\n:-7\r\n$-1\r\n*0\r\n+OK\r\n";

static void check_deep(const struct redis_reply *r)
{
	assert_non_null(r);
	assert_int_equal(r->kind, REDIS_ARRAY);
	assert_int_equal(r->count, 4);
	assert_true(str_eq(r->element[0].text, STR("foo")));
	assert_int_equal(r->element[1].kind, REDIS_ARRAY);
	assert_int_equal(r->element[1].element[0].integer, -7);
	assert_int_equal(r->element[1].element[1].kind, REDIS_NIL);
	assert_int_equal(r->element[2].kind, REDIS_ARRAY);
	assert_int_equal(r->element[2].count, 0);
	assert_int_equal(r->element[3].kind, REDIS_STATUS);
}

static void parser_takes_any_split(void **state)
{
	(void)state;
	struct redis_parser *p = redis_parser_new();
	bool failed;
	for (size_t cut = 1; cut < sizeof(deep) - 1; cut++) {
		assert_true(redis_parser_feed(p, deep, cut));
		assert_null(redis_parser_next(p, &failed));
		assert_false(failed);
		assert_true(redis_parser_feed(p, deep + cut, sizeof(deep) - 1 - cut));
		check_deep(redis_parser_next(p, &failed));
		assert_null(redis_parser_next(p, &failed));
		assert_false(failed);
	}
	redis_parser_free(p);
}

static void parser_takes_many_and_large(void **state)
{
	(void)state;
	struct redis_parser *p = redis_parser_new();
	static char big[200000];
	bool failed;
	size_t n = (size_t)snprintf(big, sizeof(big), "*2\r\n$100000\r\n");
	memset(big + n, 'x', 100000);
	n += 100000;
	n += (size_t)snprintf(big + n, sizeof(big) - n, "\r\n$3\r\nend\r\n:5\r\n-OOM no\r\n");
	for (size_t at = 0; at < n; at += 777)
		assert_true(redis_parser_feed(p, big + at, n - at < 777 ? n - at : 777));
	const struct redis_reply *r = redis_parser_next(p, &failed);
	assert_int_equal(r->element[0].text.n, 100000);
	assert_int_equal(r->element[0].text.p[99999], 'x');
	assert_true(str_eq(r->element[1].text, STR("end")));
	assert_int_equal(redis_parser_next(p, &failed)->integer, 5);
	r = redis_parser_next(p, &failed);
	assert_int_equal(r->kind, REDIS_ERROR);
	assert_int_equal(r->failure, REDIS_OOM);
	redis_parser_free(p);
}

static void parser_refuses(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"HTTP/1.1 200 OK\r\n",
		"*-5\r\n",
		"*70000\r\n",
		"*99999999999\r\n",
		"\r\n",
		"?3\r\n",
		"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct redis_parser *p = redis_parser_new();
		bool failed = false;
		const struct redis_reply *r = NULL;
		if (redis_parser_feed(p, bad[i], strlen(bad[i])))
			r = redis_parser_next(p, &failed);
		if (r || !failed)
			fail_msg("taken: %s", bad[i]);
		redis_parser_free(p);
	}
	struct redis_parser *p = redis_parser_new();
	static char piece[65536];
	bool took = redis_parser_feed(p, "$99999999\r\n", 11), failed;
	for (unsigned i = 0; took && i < 2 * REDIS_REPLY_BYTES / sizeof(piece); i++) {
		took = redis_parser_feed(p, piece, sizeof(piece));
		assert_null(took ? redis_parser_next(p, &failed) : NULL);
	}
	assert_false(took);
	redis_parser_free(p);
}

static void errors_are_told_apart(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum redis_failure is;
	} rows[] = {
		{"NOAUTH Authentication required.", REDIS_NOAUTH},
		{"WRONGPASS invalid username-password pair or user is disabled.", REDIS_WRONGPASS},
		{"NOPERM this user has no permissions to run the 'evalsha' command", REDIS_NOPERM},
		{"LOADING Redis is loading the dataset in memory", REDIS_LOADING},
		{"READONLY You can't write against a read only replica. script: 5d, on @user_script:4.",
		 REDIS_READONLY},
		{"ERR Error running script (call to f_5d): @user_script:1: @user_script: 1: -READONLY You "
		 "can't "
		 "write against a read only replica.",
		 REDIS_READONLY},
		{"OOM command not allowed when used memory > 'maxmemory'.", REDIS_OOM},
		{"MISCONF Redis is configured to save RDB snapshots, but it is unable to", REDIS_MISCONF},
		{"NOREPLICAS Not enough good replicas to write.", REDIS_MISCONF},
		{"NOSCRIPT No matching script. Please use EVAL.", REDIS_NOSCRIPT},
		{"MOVED 3999 127.0.0.1:6381", REDIS_MOVED},
		{"ASK 3999 127.0.0.1:6381", REDIS_MOVED},
		{"TRYAGAIN Multiple keys request during rehashing of slot", REDIS_TRYAGAIN},
		{"CLUSTERDOWN The cluster is down", REDIS_CLUSTER},
		{"BUSY Redis is busy running a script.", REDIS_BUSY},
		{"BUSYKEY Target key name already exists.", REDIS_OTHER},
		{"MASTERDOWN Link with MASTER is down", REDIS_MASTERDOWN},
		{"ERR unknown command", REDIS_OTHER},
		{"", REDIS_OTHER},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(redis_failure_of(str_of(rows[i].text)), rows[i].is);
	for (unsigned i = 0; i < REDIS_FAILURES; i++)
		assert_true(strlen(redis_failure_name((enum redis_failure)i)) > 1);
}

/* --- a connection in a test --- */

struct seen {
	struct redis_call call;
	unsigned done;
	enum redis_kind kind;
	enum redis_failure failure;
	int64_t integer;
	char text[128];
	unsigned place; /* among all answers */
	void (*then)(struct seen *);
};

static unsigned answers;

static void on_done(struct redis_call *call, const struct redis_reply *r)
{
	struct seen *s = list_entry(call, struct seen, call);
	s->done++;
	s->kind = r->kind;
	s->failure = r->failure;
	s->integer = r->integer;
	s->place = answers++;
	snprintf(s->text, sizeof(s->text), "%.*s", (int)r->text.n, r->text.n ? r->text.p : "");
	if (s->then)
		s->then(s);
}

static bool is_done(void *seen)
{
	return ((struct seen *)seen)->done;
}

struct watch {
	unsigned ready, closed;
	char pushed[128];
	struct redis_conn *free_on_push;
};

static void on_change(struct redis_conn *c, void *owner)
{
	struct watch *w = owner;
	*(redis_conn_ready(c) ? &w->ready : &w->closed) += 1;
}

static void on_push(struct redis_conn *c, void *owner, const struct redis_reply *r)
{
	struct watch *w = owner;
	snprintf(w->pushed, sizeof(w->pushed), "%.*s %.*s", (int)r->element[1].text.n, r->element[1].text.p,
		 (int)r->element[2].text.n, r->element[2].text.p);
	if (w->free_on_push)
		redis_conn_free(c);
	w->free_on_push = NULL;
}

static bool was_pushed(void *watch)
{
	return ((struct watch *)watch)->pushed[0];
}

static bool was_closed(void *watch)
{
	return ((struct watch *)watch)->closed;
}

static bool was_ready_again(void *watch)
{
	return ((struct watch *)watch)->ready > 1;
}

static struct redis_conn *open_conn(const struct redis_target *t, struct watch *w)
{
	struct redis_conn_setup setup = {
		.loop = &loop, .target = t, .owner = w, .changed = on_change, .pushed = on_push};
	*w = (struct watch){0};
	struct redis_conn *c = redis_conn_new(&setup);
	assert_non_null(c);
	assert_int_equal(redis_conn_state(c), REDIS_CONN_IDLE);
	redis_conn_start(c);
	return c;
}

static bool never(void *ctx)
{
	(void)ctx;
	return false;
}

static void close_conn(struct redis_conn *c)
{
	redis_conn_free(c);
	rig_turn(&loop, never, NULL, 3 * USEC_PER_MSEC); /* burials, and the resolver's last words */
}

static bool ask(struct redis_conn *c, struct seen *s, unsigned n, const char *const *words)
{
	struct str argv[8];
	for (unsigned i = 0; i < n; i++)
		argv[i] = str_of(words[i]);
	s->done = 0;
	s->call.done = on_done;
	return redis_conn_send(c, &s->call, n, argv);
}

#define ask_words(c, s, ...)                                                                                 \
	ask(c, s, sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *), (const char *[]){__VA_ARGS__})

static char logged[65536];

/* What the test logs goes to a file, to be searched. */
static void with_log(void (*run)(void *), void *ctx)
{
	FILE *f = tmpfile();
	int saved = dup(2);
	fflush(stderr);
	dup2(fileno(f), 2);
	run(ctx);
	fflush(stderr);
	dup2(saved, 2);
	close(saved);
	ssize_t n = pread(fileno(f), logged, sizeof(logged) - 1, 0);
	logged[n > 0 ? n : 0] = 0;
	fclose(f);
}

/* --- with a real server --- */

static void commands_are_answered_in_order(void **state)
{
	(void)state;
	enum { N = 3000 };
	struct redis_target t = rig_target(redis.port);
	struct watch w;
	struct redis_conn *c = open_conn(&t, &w);
	static struct seen s[N];
	assert_false(ask_words(c, &s[0], "PING")); /* not ready: not taken */
	rig_until(&loop, rig_conn_ready, c);
	assert_int_equal(w.ready, 1);
	memset(s, 0, sizeof(s));
	answers = 0;
	for (unsigned i = 0; i < N; i++) {
		char n[16];
		snprintf(n, sizeof(n), "%u", i);
		assert_true(ask_words(c, &s[i], "ECHO", n));
	}
	assert_int_equal(redis_conn_waiting(c), N);
	sends = 0;
	redis_conn_flush(c);
	assert_int_equal(sends, 1);
	rig_until(&loop, is_done, &s[N - 1]);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(s[i].done, 1);
		assert_int_equal(s[i].place, i);
		assert_int_equal(atoi(s[i].text), (int)i);
	}
	assert_int_equal(redis_conn_waiting(c), 0);
	/* Without a flush they leave at the end of the turn. */
	sends = 0;
	assert_true(ask_words(c, &s[0], "SET", "key", "a value"));
	assert_true(ask_words(c, &s[1], "GET", "key"));
	assert_true(ask_words(c, &s[2], "EVAL", "return {1,{2,{'x'}},false}", "0"));
	assert_true(ask_words(c, &s[3], "LPUSH", "key", "x"));
	rig_until(&loop, is_done, &s[3]);
	assert_int_equal(sends, 1);
	assert_string_equal(s[1].text, "a value");
	assert_int_equal(s[2].kind, REDIS_ARRAY);
	assert_int_equal(s[3].failure, REDIS_OTHER);
	close_conn(c);
}

static void set_user(const char *rule)
{
	redisReply *r = rig_command(&redis, "ACL SETUSER weir reset on %s ~* &* +@all", rule);
	assert_string_equal(r->str, "OK");
	freeReplyObject(r);
}

static void login_and_database(void **state)
{
	(void)state;
	struct redis_target t = rig_target(redis.port);
	struct watch w;
	struct seen s = {0};
	t.username = STR("weir");
	t.password = STR("p#a@s:s");
	set_user(">p#a@s:s");
	t.db = 5;
	struct redis_conn *c = open_conn(&t, &w);
	rig_until(&loop, rig_conn_ready, c);
	assert_true(ask_words(c, &s, "SET", "in-five", "1"));
	rig_until(&loop, is_done, &s);
	rig_do(&redis, "SELECT 5");
	assert_int_equal(rig_integer(&redis, "EXISTS %s", "in-five"), 1);
	redisReply *list = rig_command(&redis, "CLIENT LIST");
	assert_non_null(strstr(list->str, "name=weir "));
	assert_non_null(strstr(list->str, "user=weir "));
	freeReplyObject(list);
	rig_do(&redis, "SELECT 0");
	close_conn(c);
}

struct refused {
	struct redis_target target;
	struct watch watch;
	struct redis_conn *conn;
};

static bool twice_closed(void *ctx)
{
	return ((struct refused *)ctx)->watch.closed >= 2;
}

static void run_refused(void *ctx)
{
	struct refused *r = ctx;
	r->conn = open_conn(&r->target, &r->watch);
	rig_until(&loop, twice_closed, r);
	assert_int_equal(r->watch.ready, 0);
}

static unsigned occurrences(const char *in, const char *what)
{
	unsigned n = 0;
	for (const char *p = in; (p = strstr(p, what)); p++)
		n++;
	return n;
}

static void wrong_logins_are_said_once_without_secrets(void **state)
{
	(void)state;
	static struct {
		const char *user, *pass, *says;
	} rows[] = {
		{"weir", "s3cr3t-wrong", "rate_limit.redis.username and password"},
		{"nob0dy-h3re", "s3cr3t-other", "rate_limit.redis.username and password"},
		{"", "s3cr3t-none", "login"}, /* the default user has no password */
	};
	set_user(">right");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct refused r = {.target = rig_target(redis.port)};
		r.target.username = str_of(rows[i].user);
		r.target.password = str_of(rows[i].pass);
		uint64_t before = rig_failures("wrongpass");
		with_log(run_refused, &r);
		assert_int_equal(redis_conn_last_failure(r.conn), REDIS_WRONGPASS);
		assert_true(rig_failures("wrongpass") >= before + 2);
		if (!strstr(logged, rows[i].says))
			fail_msg("logged: %s", logged);
		assert_int_equal(occurrences(logged, "rate limit store:"), 1);
		assert_null(strstr(logged, "s3cr3t"));
		assert_null(strstr(logged, "nob0dy"));
		close_conn(r.conn);
	}
}

static void a_login_that_is_missing(void **state)
{
	(void)state;
	struct refused r = {.target = rig_target(redis.port)};
	rig_do(&redis, "CONFIG SET requirepass hush");
	with_log(run_refused, &r);
	rig_do(&redis, "CONFIG SET requirepass %s", "");
	assert_int_equal(redis_conn_last_failure(r.conn), REDIS_NOAUTH);
	assert_non_null(strstr(logged, "set rate_limit.redis.password"));
	/* Mended, it connects by itself. */
	rig_until(&loop, rig_conn_ready, r.conn);
	close_conn(r.conn);
}

static void no_permission_later(void **state)
{
	(void)state;
	struct redis_target t = rig_target(redis.port);
	struct watch w;
	struct seen s = {0};
	redisReply *r = rig_command(&redis, "ACL SETUSER weir reset on >right ~* +ping +get");
	assert_string_equal(r->str, "OK");
	freeReplyObject(r);
	t.username = STR("weir");
	t.password = STR("right");
	struct redis_conn *c = open_conn(&t, &w); /* CLIENT SETNAME is denied, which is no matter */
	rig_until(&loop, rig_conn_ready, c);
	assert_true(ask_words(c, &s, "SET", "a", "b"));
	rig_until(&loop, is_done, &s);
	assert_int_equal(s.failure, REDIS_NOPERM);
	assert_true(redis_conn_ready(c));
	close_conn(c);
}

static void a_database_that_is_not_there(void **state)
{
	(void)state;
	struct refused r = {.target = rig_target(redis.port)};
	r.target.db = 99;
	with_log(run_refused, &r);
	assert_non_null(strstr(logged, "database"));
	close_conn(r.conn);
}

static void unix_sockets_and_names(void **state)
{
	(void)state;
	struct watch w;
	struct redis_target t = {.host = str_of(redis.path), .is_unix = true};
	struct redis_conn *c = open_conn(&t, &w);
	rig_until(&loop, rig_conn_ready, c);
	close_conn(c);

	t = (struct redis_target){.host = STR("localhost"), .port = (uint16_t)redis.port}; /* of /etc/hosts */
	c = open_conn(&t, &w);
	rig_until(&loop, rig_conn_ready, c);
	close_conn(c);

	t = (struct redis_target){.host = STR("/nowhere/at/all.sock"), .is_unix = true};
	c = open_conn(&t, &w);
	rig_until(&loop, was_closed, &w);
	assert_int_equal(redis_conn_last_failure(c), REDIS_REFUSED);
	close_conn(c);
}

static void a_name_that_nobody_knows(void **state)
{
	(void)state;
	struct watch w;
	struct redis_target t = {.host = STR("no-such-host.invalid"), .port = 6379};
	struct redis_conn *c = open_conn(&t, &w);
	rig_until(&loop, was_closed, &w);
	assert_int_equal(redis_conn_last_failure(c), REDIS_RESOLVE);
	close_conn(c);
	/* Given up while it is looked for. */
	c = open_conn(&t, &w);
	rig_turn(&loop, never, NULL, 5 * USEC_PER_MSEC);
	close_conn(c);
}

static void it_comes_back(void **state)
{
	(void)state;
	struct redis_target t = rig_target(redis.port);
	struct watch w;
	static struct seen s[10];
	struct redis_conn *c = open_conn(&t, &w);
	rig_until(&loop, rig_conn_ready, c);
	memset(s, 0, sizeof(s));
	kill(redis.pid, SIGSTOP); /* so that nothing is answered before it dies */
	for (unsigned i = 0; i < 10; i++)
		assert_true(ask_words(c, &s[i], "INCR", "once"));
	redis_conn_flush(c);
	uint64_t refused = rig_failures("refused");
	rig_kill(&redis);
	rig_until(&loop, was_closed, &w);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(s[i].done, 1);
		assert_int_equal(s[i].failure, REDIS_CLOSED);
	}
	while (rig_failures("refused") < refused + 2)
		rig_turn(&loop, never, NULL, 10 * USEC_PER_MSEC);
	assert_int_equal(redis_conn_last_failure(c), REDIS_REFUSED);
	rig_start(&redis);
	usec_t up = clock_mono();
	rig_until(&loop, was_ready_again, &w);
	assert_true(clock_mono() - up < USEC_PER_SEC);
	/* What was written and not answered was not written again. */
	assert_int_equal(rig_integer(&redis, "EXISTS %s", "once"), 0);
	close_conn(c);
}

static void a_client_that_is_killed(void **state)
{
	(void)state;
	struct redis_target t = rig_target(redis.port);
	struct watch w;
	struct seen s = {0};
	struct redis_conn *c = open_conn(&t, &w);
	rig_until(&loop, rig_conn_ready, c);
	assert_true(ask_words(c, &s, "BLPOP", "nothing", "0"));
	rig_turn(&loop, never, NULL, 3 * USEC_PER_MSEC);
	rig_do(&redis, "CLIENT KILL TYPE normal SKIPME yes");
	rig_until(&loop, is_done, &s);
	assert_int_equal(s.failure, REDIS_CLOSED);
	rig_until(&loop, was_ready_again, &w);
	close_conn(c);
}

static void messages_are_pushed(void **state)
{
	(void)state;
	struct redis_target t = rig_target(redis.port);
	struct watch w;
	struct seen s = {0}, ping = {0};
	struct redis_conn *c = open_conn(&t, &w);
	rig_until(&loop, rig_conn_ready, c);
	assert_true(ask_words(c, &s, "SUBSCRIBE", "news"));
	rig_until(&loop, is_done, &s);
	assert_int_equal(s.kind, REDIS_ARRAY);
	assert_int_equal(rig_integer(&redis, "PUBLISH news %s", "hello"), 1);
	rig_until(&loop, was_pushed, &w);
	assert_string_equal(w.pushed, "news hello");
	assert_int_equal(s.done, 1);
	assert_true(ask_words(c, &ping, "PING"));
	rig_until(&loop, is_done, &ping);
	w.pushed[0] = 0;
	w.free_on_push = c;
	assert_int_equal(rig_integer(&redis, "PUBLISH news %s", "bye"), 1);
	rig_until(&loop, was_pushed, &w);
	rig_turn(&loop, never, NULL, 3 * USEC_PER_MSEC);
}

static struct redis_conn *to_free;

static void free_it(struct seen *s)
{
	(void)s;
	redis_conn_free(to_free);
	to_free = NULL;
}

static void freed_by_an_answer(void **state)
{
	(void)state;
	struct redis_target t = rig_target(redis.port);
	struct watch w;
	struct seen s[3] = {{.then = free_it}};
	to_free = open_conn(&t, &w);
	rig_until(&loop, rig_conn_ready, to_free);
	for (unsigned i = 0; i < 3; i++)
		assert_true(ask_words(to_free, &s[i], "PING"));
	rig_until(&loop, is_done, &s[0]);
	assert_int_equal(s[0].failure, REDIS_FINE);
	assert_int_equal(s[1].done, 1);
	assert_int_equal(s[2].done, 1);
	assert_int_equal(s[2].failure, REDIS_CLOSED);
	rig_turn(&loop, never, NULL, 3 * USEC_PER_MSEC);
	assert_int_equal(w.closed, 0); /* the owner knows */
}

/* --- with a scripted server --- */

struct play {
	struct rig_fake fake;
	const char *greeting; /* in place of PONG */
	const char *answer;   /* to all else */
	bool (*held)(void *);
	void *ctx;
	unsigned pings;
	bool cut; /* hangs up after an answer */
};

static const char *play_line(void *ctx, const char *command)
{
	struct play *p = ctx;
	if (strstr(command, "SETNAME"))
		return "+OK\r\n";
	bool ping = strstr(command, "PING") && !strstr(command, "EVAL");
	p->pings += ping;
	const char *line = ping ? p->greeting : p->answer;
	if (line && p->cut) {
		fake_say(&p->fake, line);
		fake_hang_up(&p->fake);
		return NULL;
	}
	return line;
}

static bool play_on(void *ctx)
{
	struct play *p = ctx;
	fake_serve(&p->fake, play_line, p);
	return p->held(p->ctx);
}

static bool play(struct play *p, bool (*held)(void *), void *ctx)
{
	p->held = held;
	p->ctx = ctx;
	return rig_turn(&loop, play_on, p, RIG_PATIENCE);
}

static void a_greeting_of_another_kind(void **state)
{
	(void)state;
	static const struct {
		const char *greeting;
		enum redis_failure is;
		bool cut;
	} rows[] = {
		{"-LOADING Redis is loading the dataset in memory\r\n", REDIS_LOADING, false},
		{"-ERR max number of clients reached\r\n", REDIS_OTHER, true},
		{"HTTP/1.1 400 Bad Request\r\n\r\n", REDIS_GARBAGE, true},
		{":1\r\n", REDIS_GARBAGE, false},
		{"-NOAUTH Authentication required.\r\n", REDIS_NOAUTH, false},
		{"-DENIED Redis is running in protected mode\r\n", REDIS_NOAUTH, true},
		{NULL, REDIS_TIMEOUT, false}, /* it says nothing */
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct play p = {.greeting = rows[i].greeting, .cut = rows[i].cut};
		struct watch w;
		fake_open(&p.fake);
		struct redis_target t = rig_target(p.fake.port);
		struct redis_conn *c = open_conn(&t, &w);
		assert_true(play(&p, was_closed, &w));
		assert_int_equal(redis_conn_last_failure(c), rows[i].is);
		fake_hang_up(&p.fake);
		/* And when it has come to its senses: */
		p.greeting = "+PONG\r\n";
		p.cut = false;
		assert_true(play(&p, rig_conn_ready, c));
		close_conn(c);
		fake_close(&p.fake);
	}
}

static void an_answer_of_another_kind(void **state)
{
	(void)state;
	static const struct {
		const char *answer;
		enum redis_failure is;
		bool closes;
	} rows[] = {
		{"-LOADING x\r\n", REDIS_LOADING, false},
		{"-OOM x\r\n", REDIS_OOM, false},
		{"-READONLY x\r\n", REDIS_READONLY, true},
		{"-MOVED 1 127.0.0.1:1\r\n", REDIS_MOVED, false},
		{"!!!\r\n", REDIS_GARBAGE, true},
		{"+OK\r\n+OK\r\n", REDIS_FINE, true}, /* one too many */
		{"$5\r\nab", REDIS_CLOSED, true},     /* half of one, and then the end */
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct play p = {.greeting = "+PONG\r\n", .answer = rows[i].answer};
		struct watch w;
		struct seen s = {0};
		fake_open(&p.fake);
		struct redis_target t = rig_target(p.fake.port);
		struct redis_conn *c = open_conn(&t, &w);
		assert_true(play(&p, rig_conn_ready, c));
		p.cut = rows[i].is == REDIS_CLOSED;
		uint64_t counted = rig_failures(redis_failure_name(rows[i].is));
		assert_true(ask_words(c, &s, "GET", "x"));
		assert_true(play(&p, is_done, &s));
		assert_int_equal(s.done, 1);
		assert_int_equal(s.failure, rows[i].is);
		assert_int_equal(redis_conn_ready(c), !rows[i].closes);
		if (rows[i].is)
			assert_true(rig_failures(redis_failure_name(rows[i].is)) > counted);
		close_conn(c);
		fake_close(&p.fake);
	}
}

static bool pinged_twice(void *play)
{
	return ((struct play *)play)->pings >= 2;
}

/* A replica is left, and the name is resolved and connected to anew. */
static void readonly_looks_again(void **state)
{
	(void)state;
	struct play p = {.greeting = "+PONG\r\n", .answer = "-READONLY x\r\n"};
	struct watch w;
	struct seen s = {0};
	fake_open(&p.fake);
	struct redis_target t = rig_target(p.fake.port);
	struct redis_conn *c = open_conn(&t, &w);
	assert_true(play(&p, rig_conn_ready, c));
	assert_true(ask_words(c, &s, "GET", "x"));
	assert_true(play(&p, pinged_twice, &p));
	assert_int_equal(s.done, 1);
	assert_true(play(&p, was_ready_again, &w));
	close_conn(c);
	fake_close(&p.fake);
}

static void waiting_has_an_end(void **state)
{
	(void)state;
	struct play p = {.greeting = "+PONG\r\n"};
	struct watch w;
	static struct seen s[100];
	static char big[1 << 20];
	fake_open(&p.fake);
	struct redis_target t = rig_target(p.fake.port);
	struct redis_conn *c = open_conn(&t, &w);
	assert_true(play(&p, rig_conn_ready, c));
	unsigned taken = 0;
	memset(big, 'x', sizeof(big));
	for (unsigned i = 0; i < 100; i++) {
		struct str argv[] = {STR("SET"), STR("x"), {big, sizeof(big)}};
		s[i] = (struct seen){.call.done = on_done};
		taken += redis_conn_send(c, &s[i].call, 3, argv);
	}
	assert_in_range(taken, 1, 99);
	redis_conn_drop(c, REDIS_TIMEOUT, "it takes nothing");
	for (unsigned i = 0; i < taken; i++)
		assert_int_equal(s[i].failure, REDIS_TIMEOUT);
	assert_int_equal(s[taken].done, 0);
	close_conn(c);
	fake_close(&p.fake);
}

/* Thousands of commands in one turn, reserved ahead or not, are not moved with each of them. */
static void what_waits_is_moved_seldom(void **state)
{
	(void)state;
	static const char ping[] = "*1\r\n$4\r\nPING\r\n";
	enum { N = 20000, LEN = sizeof(ping) - 1, MOST = 300 };
	struct watch w;
	static struct seen s[N];
	struct redis_target t = rig_target(redis.port);
	struct redis_conn *c = open_conn(&t, &w);
	rig_until(&loop, rig_conn_ready, c);
	for (unsigned ahead = 0; ahead < 2; ahead++) {
		const char *first = NULL;
		unsigned moves = 0;
		for (size_t i = 0; i < N; i++) {
			char *at = redis_conn_room(c, ahead ? (i + 1) * MOST : MOST);
			assert_non_null(at);
			const char *now = ahead ? at : at - i * LEN;
			moves += first && now != first;
			first = now;
			if (ahead)
				continue;
			memcpy(at, ping, LEN);
			s[i] = (struct seen){.call.done = on_done};
			redis_conn_sent(c, &s[i].call, LEN);
		}
		assert_in_range(moves, 1, 20);
		rig_until(&loop, is_done, &s[N - 1]);
	}
	assert_int_equal(s[N - 1].kind, REDIS_STATUS);
	close_conn(c);
}

static int set_up(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	rig_start(&redis);
	return loop_init(&loop) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	loop_free(&loop);
	block_pools_free();
	rig_end(&redis);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parser_takes_any_split),
		cmocka_unit_test(parser_takes_many_and_large),
		cmocka_unit_test(parser_refuses),
		cmocka_unit_test(errors_are_told_apart),
		cmocka_unit_test(commands_are_answered_in_order),
		cmocka_unit_test(login_and_database),
		cmocka_unit_test(wrong_logins_are_said_once_without_secrets),
		cmocka_unit_test(a_login_that_is_missing),
		cmocka_unit_test(no_permission_later),
		cmocka_unit_test(a_database_that_is_not_there),
		cmocka_unit_test(unix_sockets_and_names),
		cmocka_unit_test(a_name_that_nobody_knows),
		cmocka_unit_test(it_comes_back),
		cmocka_unit_test(a_client_that_is_killed),
		cmocka_unit_test(messages_are_pushed),
		cmocka_unit_test(freed_by_an_answer),
		cmocka_unit_test(a_greeting_of_another_kind),
		cmocka_unit_test(an_answer_of_another_kind),
		cmocka_unit_test(readonly_looks_again),
		cmocka_unit_test(waiting_has_an_end),
		cmocka_unit_test(what_waits_is_moved_seldom),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
