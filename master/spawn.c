/* SPDX-License-Identifier: MIT */
#include "master/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

extern char **environ;

#define ENV_MAX 64

/* What children may see of the environment; a name that ends in _ stands for all that begin so. */
static const char *const child_env[] = {
	"PATH",		 "TZ",	"MALLOC_",     "GLIBC_TUNABLES", "ASAN_", "UBSAN_", "LSAN_", "TSAN_", "GCOV_",
	"LLVM_PROFILE_", "LD_", "RES_OPTIONS", "VALGRIND_"};

/* --- fork and exec --- */

static bool may_see(const char *variable)
{
	for (size_t i = 0; i < sizeof(child_env) / sizeof(child_env[0]); i++) {
		size_t n = strlen(child_env[i]);
		if (strncmp(variable, child_env[i], n) == 0 &&
		    (child_env[i][n - 1] == '_' || variable[n] == '='))
			return true;
	}
	return false;
}

static void choose_env(char *out[ENV_MAX])
{
	unsigned n = 0;
	for (char **e = environ; *e && n < ENV_MAX - 1; e++)
		if (may_see(*e))
			out[n++] = *e;
	out[n] = NULL;
}

/*
 * The program that runs, even if another has taken its place on disk meanwhile: the shared memory's layout is
 * this one's. Under valgrind that link leads to valgrind, but readlink leads to us.
 */
static const char *own_program(void)
{
	static char path[PATH_MAX];
	static const char self[] = "/proc/self/exe";
	const char *preload = getenv("LD_PRELOAD");
	if (!preload || !strstr(preload, "valgrind"))
		return self;
	ssize_t n = readlink(self, path, sizeof(path) - 1);
	path[n > 0 ? n : 0] = 0;
	return n > 0 ? path : self;
}

/* In the child, between fork and exec: nothing here may allocate or log. */
static void become(const char *program, int channel, char *const argv[], char *const env[])
{
	static const int ignored[] = {SIGHUP,  SIGINT,	SIGQUIT, SIGTERM,
				      SIGUSR1, SIGPIPE, SIGXFSZ /* a log as large as it may be */};
	static const char failed[] = "weir: a child process cannot be started from /proc/self/exe\n";
	struct sigaction act = {.sa_handler = SIG_IGN};
	sigset_t none;
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		sigaction(ignored[i], &act, NULL);
	act.sa_handler = SIG_DFL;
	sigaction(SIGCHLD, &act, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (nothing >= 0)
		dup2(nothing, STDIN_FILENO);
	bool ok = channel == CHILD_CHANNEL_FD ? fcntl(channel, F_SETFD, 0) == 0
					      : dup2(channel, CHILD_CHANNEL_FD) >= 0;
	if (ok)
		execve(program, argv, env);
	ssize_t n = write(STDERR_FILENO, failed, sizeof(failed) - 1);
	(void)n;
	_exit(127);
}

static pid_t start_process(int channel, const struct child *c)
{
	char title[40], option[] = "--child", *env[ENV_MAX];
	char *argv[] = {title, option, NULL};
	if (c->kind == PROC_WORKER)
		snprintf(title, sizeof(title), "weir: worker %u", c->worker);
	else
		snprintf(title, sizeof(title), "weir: %s", proc_kind_name(c->kind));
	choose_env(env);
	const char *program = own_program();
	pid_t pid = fork();
	if (pid == 0)
		become(program, channel, argv, env);
	return pid;
}

static bool start_child(struct child *c, struct problems *p, usec_t now)
{
	int ends[2] = {-1, -1};
	pid_t pid = -1;
	if (channel_pair(ends) == 0)
		pid = start_process(ends[1], c);
	int saved = errno;
	if (ends[1] >= 0)
		close(ends[1]);
	if (pid > 0) {
		procs_spawned(c, pid, ends[0]);
		return true;
	}
	if (ends[0] >= 0)
		close(ends[0]);
	problems_errno(p, PROBLEM_SYSTEM, saved, "a %s process cannot be started", proc_kind_name(c->kind));
	procs_unspawned(c, now);
	return false;
}

static struct child *begin(struct master *m, enum proc_kind kind, unsigned worker, uint32_t generation,
			   struct problems *p)
{
	struct child *c = procs_take(&m->procs, kind, worker, generation, m->now);
	if (!c) {
		problems_add(p, "a %s process cannot be started: all %d places for processes are taken",
			     proc_kind_name(kind), PROC_MAX - 1);
		return NULL;
	}
	return start_child(c, p, m->now) ? c : NULL;
}

/* --- what it is told --- */

/* A chain of another period begins anew: the sessions of before cost a whole handshake then. */
static bool keep_tickets(struct master *m, const struct conf *c, struct problems *p)
{
	uint8_t secret[TICKET_SECRET];
	usec_t period = 0;
	for (unsigned i = 0; i < c->listens; i++)
		if (c->listen[i].certificates)
			period = c->tickets_us;
	if (m->tickets.period == period) {
		ticket_chain_advance(&m->tickets, m->now);
		return true;
	}
	if (getrandom(secret, sizeof(secret), 0) != (ssize_t)sizeof(secret)) {
		problems_errno(p, PROBLEM_SYSTEM, errno, "random numbers");
		return false;
	}
	ticket_chain_begin(&m->tickets, period, secret, m->now);
	explicit_bzero(secret, sizeof(secret));
	return true;
}

static void fill_info(const struct master *m, const struct child *c, struct channel_msg *msg)
{
	struct start_info info = {
		.kind = (uint32_t)c->kind,
		.slot = c->slot,
		.worker = c->worker,
		.generation = c->generation,
		.log_json = m->log_json,
	};
	memcpy(info.hash_key, m->hash_key, sizeof(info.hash_key));
	if (c->kind == PROC_WORKER)
		ticket_chain_seed(&m->tickets, m->now, &info.tickets);
	msg->len = sizeof(info);
	memcpy(msg->bytes, &info, sizeof(info));
	explicit_bzero(&info.tickets, sizeof(info.tickets));
}

static void add_fd(struct channel_msg *msg, unsigned has, int fd)
{
	struct start_info info;
	if (fd < 0)
		return;
	msg->fd[msg->fds++] = fd;
	memcpy(&info, msg->bytes, sizeof(info));
	info.has |= has;
	memcpy(msg->bytes, &info, sizeof(info));
}

static void add_control_fds(const struct master *m, struct channel_msg *msg)
{
	add_fd(msg, START_HAS_ADMIN, sockets_admin(&m->sockets, m->config->conf));
	add_fd(msg, START_HAS_HTTP, sockets_http(&m->sockets, m->config->conf));
	add_fd(msg, START_HAS_ACCESS_LOG, m->access_log);
}

static struct channel_msg *message(enum msg_type type, uint32_t arg)
{
	static struct channel_msg msg;
	msg.type = type;
	msg.arg = arg;
	msg.fds = 0;
	msg.len = 0;
	return &msg;
}

static bool send_start(struct master *m, struct child *c, const struct config *config)
{
	struct channel_msg *msg = message(MSG_START, 0);
	fill_info(m, c, msg);
	msg->fd[msg->fds++] = m->shm.fd;
	msg->fd[msg->fds++] = config->bundle_fd;
	if (c->kind == PROC_CONTROL)
		add_control_fds(m, msg);
	bool sent = child_send(c, msg);
	explicit_bzero(msg->bytes, msg->len); /* the tickets' secret */
	return sent;
}

static bool flush_listeners(struct child *c, struct channel_msg *msg)
{
	bool ok = msg->fds == 0 || child_send(c, msg);
	msg->fds = 0;
	return ok;
}

/* Worker i takes the sockets i, i + n, i + 2n, ... of n workers: none is left without somebody who accepts.
 */
static bool send_listener(struct child *c, const struct socket_set *set, uint32_t place, unsigned workers)
{
	struct channel_msg *msg = message(MSG_LISTENERS, place);
	for (unsigned i = set->is_unix ? 0 : c->worker; i < set->n; i += workers) {
		msg->fd[msg->fds++] = set->fd[i];
		if (msg->fds == CHANNEL_FDS && !flush_listeners(c, msg))
			return false;
	}
	return flush_listeners(c, msg);
}

static bool send_listeners(struct master *m, struct child *c, const struct conf *conf)
{
	for (unsigned i = 0; i < conf->listens; i++) {
		const struct socket_set *set = sockets_of(&m->sockets, &conf->listen[i]);
		if (set && !send_listener(c, set, i, conf->workers))
			return false;
	}
	return true;
}

static bool send_peers(struct master *m, struct child *c, unsigned workers)
{
	for (unsigned i = 0; workers > 1 && i < workers && i < m->peers; i++) {
		bool own = i == c->worker;
		struct channel_msg *msg = message(MSG_PEER, own ? i | PEER_RECEIVE : i);
		msg->fd[msg->fds++] = m->peer[i][own];
		if (!child_send(c, msg))
			return false;
	}
	return true;
}

static struct child *let_go(struct child *c, bool told)
{
	if (told && child_tell(c, MSG_GO, 0, ""))
		return c;
	child_kill(c, SIGKILL, "it could not be told what to do"); /* it is buried as one that failed */
	return c;
}

struct child *spawn_control(struct master *m, struct problems *p)
{
	struct child *c = begin(m, PROC_CONTROL, 0, m->config->generation, p);
	if (!c)
		return NULL;
	return let_go(c, send_start(m, c, m->config));
}

struct child *spawn_worker(struct master *m, const struct config *config, unsigned worker, struct problems *p)
{
	if (!keep_tickets(m, config->conf, p))
		return NULL;
	struct child *c = begin(m, PROC_WORKER, worker, config->generation, p);
	if (!c)
		return NULL;
	bool told = send_start(m, c, config) && send_listeners(m, c, config->conf) &&
		    send_peers(m, c, config->conf->workers);
	return let_go(c, told);
}

void spawn_tell_reload(struct master *m, struct child *control)
{
	struct channel_msg *msg = message(MSG_RELOAD, 0);
	control->generation = m->config->generation;
	atomic_store(&board()->proc[control->slot].generation, control->generation);
	fill_info(m, control, msg);
	msg->fd[msg->fds++] = m->config->bundle_fd;
	add_control_fds(m, msg);
	child_send(control, msg);
}

bool spawn_open_peers(struct master *m, unsigned workers, struct problems *p)
{
	for (; m->peers < workers; m->peers++)
		if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, m->peer[m->peers]) <
		    0) {
			problems_errno(p, PROBLEM_SYSTEM, errno, "sockets between workers");
			return false;
		}
	return true;
}
