/* SPDX-License-Identifier: MIT */
#include "master/master.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/board.h"
#include "base/events.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/ring.h"
#include "master/crash.h"
#include "master/files.h"
#include "master/layout.h"
#include "master/leftover.h"
#include "master/reload.h"
#include "master/sanitizer.h"
#include "master/spawn.h"
#include "proxy/servers.h"

#define TURN_MS 1000
#define BUSY_TURN_MS 50 /* while something is due soon */
#define MESSAGES_A_TURN 16
#define BACKOFF_MIN_US (100 * USEC_PER_MSEC)
#define BACKOFF_MAX_US (2 * USEC_PER_SEC)
#define YOUNG_US USEC_PER_SEC
#define KILL_AFTER_US (2 * USEC_PER_SEC) /* what drain.timeout should have ended; control after EXIT */

/* --- states --- */

static void set_state(struct master *m, enum master_state to)
{
	static const char *const names[] = {"learning", "raising", "serving", "draining",
					    "ending",	"killing", "done"};
	assert(to > m->state);
	log_debug("%s -> %s", names[m->state], names[to]);
	m->state = to;
	m->end_at = m->now + KILL_AFTER_US;
}

struct child *master_control(struct master *m)
{
	return procs_find(&m->procs, PROC_CONTROL, 0, 0);
}

bool master_claim_servers(struct master *m, const struct config *c, struct problems *p)
{
	uint32_t oldest = procs_oldest(&m->procs, m->config ? m->config->generation : c->generation);
	if (servers_claim(c->conf, c->generation, oldest))
		return true;
	problems_add(p, "upstreams: more than %d servers, counted with those of configs that still serve",
		     SERVERS_MAX);
	return false;
}

void master_announce(struct master *m)
{
	struct board *b = board();
	memcpy(b->config_hash, m->config->conf->hash, sizeof(b->config_hash));
	atomic_store(&b->workers, m->config->conf->workers);
	atomic_store(&b->generation, m->config->generation);
}

static void kill_all(struct master *m, const char *why)
{
	for (unsigned i = 1; i < PROC_MAX; i++)
		child_kill(&m->procs.child[i], SIGKILL, why);
}

/* Weir cannot start. */
static void give_up(struct master *m)
{
	m->status = 1;
	if (m->state >= MASTER_KILLING)
		return;
	set_state(m, MASTER_KILLING);
	kill_all(m, "weir cannot start");
}

/* --- draining --- */

static void drain_worker(struct master *m, struct child *c)
{
	usec_t due = m->now + m->config->conf->drain.timeout_us + KILL_AFTER_US;
	child_tell(c, MSG_DRAIN, m->drain == DRAIN_WITHOUT_GRACE, "");
	child_leaves(c, m->now);
	c->cut_at = USEC_NEVER;
	if (c->kill_at > due)
		c->kill_at = due;
}

static void tell_drain(struct master *m)
{
	struct child *control = master_control(m);
	for (unsigned i = 1; i < PROC_MAX; i++) {
		struct child *c = &m->procs.child[i];
		if (child_lives(c) && c->kind == PROC_WORKER)
			drain_worker(m, c);
	}
	if (control)
		child_tell(control, MSG_DRAIN, m->drain == DRAIN_WITHOUT_GRACE, "");
}

static void drain(struct master *m, enum drain_how how, const char *who)
{
	const struct conf *c = m->config->conf;
	if (m->state >= MASTER_ENDING || how <= m->drain)
		return;
	m->drain = how;
	reload_refuse_all(m, "weir is draining");
	events_add(EVENT_PROCESS,
		   "draining, asked by %s: new connections are %s, what is left is cut after %.1f s", who,
		   how == DRAIN_WITH_GRACE ? "accepted for the grace" : "not accepted",
		   (double)c->drain.timeout_us / 1e6);
	if (m->state < MASTER_DRAINING) {
		atomic_store(&board()->draining_us, m->now);
		atomic_store(&board()->draining, 1);
		set_state(m, MASTER_DRAINING);
	}
	tell_drain(m);
	sockets_let_go(&m->sockets);
}

static void exit_now(struct master *m, const char *who)
{
	if (m->state >= MASTER_KILLING)
		return;
	log_warn("exiting at once, asked by %s a second time: %u workers are cut off", who,
		 procs_living(&m->procs, PROC_WORKER));
	m->status = 1;
	set_state(m, MASTER_KILLING);
	kill_all(m, "weir exits at once");
}

/* --- signals --- */

static void reopen_log(struct master *m)
{
	static struct problems p;
	static struct channel_msg msg;
	struct child *control = master_control(m);
	memset(&p, 0, sizeof(p));
	if (m->config->conf->log.access != ACCESS_LOG_PATH)
		return;
	int fd = files_open_log(m->config->conf->log.path, &p);
	if (fd < 0) {
		problems_log(&p);
		log_error("the access log cannot be reopened: it goes on where it was");
		return;
	}
	if (m->access_log >= 0)
		close(m->access_log);
	m->access_log = fd;
	log_info("the access log is opened anew");
	msg = (struct channel_msg){.type = MSG_LOG, .fds = 1, .fd = {fd}};
	if (control)
		child_send(control, &msg);
}

static void on_signal(struct master *m, const struct signalfd_siginfo *s)
{
	int sig = (int)s->ssi_signo;
	char who[64];
	snprintf(who, sizeof(who), "SIG%s from pid %u", sigabbrev_np(sig), s->ssi_pid);
	switch (sig) {
	case SIGHUP:
		reload_ask(m, false);
		break;
	case SIGUSR1:
		reopen_log(m);
		break;
	case SIGQUIT:
		drain(m, DRAIN_WITH_GRACE, who);
		break;
	case SIGTERM:
		if (m->told_to_end)
			exit_now(m, who);
		else
			drain(m, DRAIN_WITH_GRACE, who);
		m->told_to_end = true;
		break;
	case SIGINT:
		if (m->told_to_end && m->drain == DRAIN_WITHOUT_GRACE)
			exit_now(m, who);
		else
			drain(m, DRAIN_WITHOUT_GRACE, who);
		m->told_to_end = true;
		break;
	default: /* SIGCHLD: every turn looks for who has ended */
		break;
	}
}

static void read_signals(struct master *m)
{
	struct signalfd_siginfo s;
	while (read(m->signal_fd, &s, sizeof(s)) == (ssize_t)sizeof(s))
		on_signal(m, &s);
}

static bool catch_signals(struct master *m, struct problems *p)
{
	static const int caught[] = {SIGHUP, SIGUSR1, SIGQUIT, SIGTERM, SIGINT, SIGCHLD};
	sigset_t set;
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++) {
		sigaddset(&set, caught[i]);
		signal(caught[i], SIG_DFL); /* nohup's SIG_IGN would be kept, and then nothing comes */
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	m->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (m->signal_fd < 0)
		problems_errno(p, PROBLEM_SYSTEM, errno, "signals");
	return m->signal_fd >= 0;
}

/* --- what children say --- */

static bool all_serve(struct master *m)
{
	for (unsigned i = 0; i < m->config->conf->workers; i++) {
		const struct child *c = procs_find(&m->procs, PROC_WORKER, i, m->config->generation);
		if (!c || c->state != CHILD_SERVING)
			return false;
	}
	return true;
}

static void say_started(struct master *m)
{
	const struct conf *c = m->config->conf;
	char where[600];
	size_t n = 0;
	for (unsigned i = 0; i < c->listens && n < sizeof(where); i++)
		n += (size_t)snprintf(where + n, sizeof(where) - n, "%s%.*s", i ? ", " : "",
				      (int)c->listen[i].text.n, c->listen[i].text.p);
	ring_join(0); /* from now on control writes our log, and who does not read it cannot hold us up */
	events_add(EVENT_PROCESS, "weir " WEIR_VERSION " serves on %s with %u workers, config %s", where,
		   c->workers, c->hash);
}

static void on_ready(struct master *m, struct child *c)
{
	child_ready(c, m->now);
	if (m->state == MASTER_LEARNING && c->kind == PROC_CONTROL)
		set_state(m, MASTER_RAISING);
	if (m->state == MASTER_RAISING && all_serve(m)) {
		set_state(m, MASTER_SERVING);
		say_started(m);
	}
	reload_on_ready(m);
}

static void on_message(struct master *m, struct child *c, const struct channel_msg *msg)
{
	int len = (int)(msg->len < sizeof(c->why) ? msg->len : sizeof(c->why) - 1);
	char who[128];
	snprintf(who, sizeof(who), "%.*s", len, msg->bytes);
	switch (msg->type) {
	case MSG_READY:
		on_ready(m, c);
		break;
	case MSG_QUIESCED:
		c->accepts = false;
		reload_settle(m);
		break;
	case MSG_FAILED:
		snprintf(c->why, sizeof(c->why), "%.*s", len, msg->bytes);
		break;
	case MSG_RELOAD_ASKED:
		if (c->kind == PROC_CONTROL) {
			log_info("reload asked for by %s", who);
			reload_ask(m, true);
		}
		break;
	case MSG_DRAIN_ASKED:
		if (c->kind == PROC_CONTROL)
			drain(m, DRAIN_WITH_GRACE, who);
		break;
	default:
		log_warn("%s says something unknown: %u", child_name(c), msg->type);
	}
}

static void read_channel(struct master *m, struct child *c)
{
	static struct channel_msg msg;
	for (int i = 0; i < MESSAGES_A_TURN && c->channel >= 0; i++) {
		int r = channel_recv(c->channel, &msg);
		if (r < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (r <= 0) { /* it is about to end */
			close(c->channel);
			c->channel = -1;
			return;
		}
		for (unsigned k = 0; k < msg.fds; k++)
			close(msg.fd[k]); /* no message to us brings any */
		on_message(m, c, &msg);
	}
}

/* --- ends and beginnings --- */

static struct seat *seat_of(struct master *m, const struct child *c)
{
	return c->kind == PROC_CONTROL ? &m->control_seat : &m->worker_seat[c->worker % CONF_WORKERS_MAX];
}

static void back_off(struct seat *s, usec_t now)
{
	s->backoff = s->backoff ? s->backoff * 2 : BACKOFF_MIN_US;
	if (s->backoff > BACKOFF_MAX_US)
		s->backoff = BACKOFF_MAX_US;
	s->not_before = now + s->backoff;
}

static void on_unexpected_end(struct master *m, const struct child *c, const char *text)
{
	struct seat *s = seat_of(m, c);
	events_add(EVENT_PROCESS, "%s", text);
	if (m->state < MASTER_SERVING) {
		log_error("weir cannot start: %s", text);
		give_up(m);
		return;
	}
	if (c->kind == PROC_WORKER && reload_on_end(m, c->generation, text))
		return;
	if (m->now - c->started < YOUNG_US)
		back_off(s, m->now);
	else
		*s = (struct seat){0, 0};
	log_error("%s; %s", text,
		  s->backoff ? "it died young, another is started soon" : "another takes its place");
}

static void on_end(struct master *m, struct child *c, int status)
{
	char text[800];
	bool stayed = child_stays(c);
	bool well = procs_bury(&m->procs, c, status, m->now, text, sizeof(text));
	if (c->kind == PROC_CONTROL && !well)
		leftover_own(c->slot); /* its last words: it was the one to write them */
	if (stayed && m->state < MASTER_DRAINING)
		on_unexpected_end(m, c, text);
	else if (well)
		log_debug("%s", text);
	else if (m->state < MASTER_KILLING)
		log_error("%s", text);
}

static void reap(struct master *m)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct child *c = procs_by_pid(&m->procs, pid);
		if (!c) /* as process 1 of a container we get others' orphans too */
			continue;
		read_channel(m, c);
		on_end(m, c, status);
	}
}

static void fill_seat(struct master *m, struct seat *s, enum proc_kind kind, unsigned worker)
{
	static struct problems p;
	if (m->now < s->not_before ||
	    procs_find(&m->procs, kind, worker, kind == PROC_WORKER ? m->config->generation : 0))
		return;
	memset(&p, 0, sizeof(p));
	struct child *c =
		kind == PROC_CONTROL ? spawn_control(m, &p) : spawn_worker(m, m->config, worker, &p);
	if (c && m->state == MASTER_DRAINING)
		child_tell(c, MSG_DRAIN, m->drain == DRAIN_WITHOUT_GRACE, "");
	if (c)
		return;
	problems_log(&p);
	back_off(s, m->now);
	if (m->state < MASTER_SERVING)
		give_up(m);
}

/* Control is wanted until the end; workers from when it has learned until weir drains. */
static void fill_seats(struct master *m)
{
	if (m->state <= MASTER_DRAINING)
		fill_seat(m, &m->control_seat, PROC_CONTROL, 0);
	if (m->state != MASTER_RAISING && m->state != MASTER_SERVING)
		return;
	for (unsigned i = 0; i < m->config->conf->workers; i++)
		fill_seat(m, &m->worker_seat[i], PROC_WORKER, i);
}

static void advance(struct master *m)
{
	struct child *control = master_control(m);
	if (m->state == MASTER_DRAINING && procs_living(&m->procs, PROC_WORKER) == 0) {
		set_state(m, MASTER_ENDING);
		log_info("all workers have left");
		if (control) {
			child_tell(control, MSG_EXIT, 0, "");
			child_leaves(control, m->now);
			control->kill_at = m->end_at;
		}
	}
	if (m->state == MASTER_ENDING || m->state == MASTER_KILLING)
		if (procs_living(&m->procs, PROC_NONE) == 0 || m->now > m->end_at + KILL_AFTER_US)
			set_state(m, MASTER_DONE);
	reload_advance(m);
}

/* --- the loop --- */

/* Is there something that time alone brings, sooner than in a second? */
static bool is_busy(struct master *m)
{
	if (m->state != MASTER_SERVING || m->reload.next || m->control_seat.not_before > m->now)
		return true;
	for (unsigned i = 0; i < m->config->conf->workers; i++)
		if (m->worker_seat[i].not_before > m->now)
			return true;
	for (unsigned i = 1; i < PROC_MAX; i++)
		if (m->procs.child[i].kill_at != USEC_NEVER && child_lives(&m->procs.child[i]))
			return true;
	return false;
}

static void wait_and_hear(struct master *m)
{
	struct pollfd fd[PROC_MAX];
	struct child *who[PROC_MAX];
	nfds_t n = 1;
	fd[0] = (struct pollfd){.fd = m->signal_fd, .events = POLLIN};
	for (unsigned i = 1; i < PROC_MAX; i++)
		if (m->procs.child[i].channel >= 0) {
			who[n] = &m->procs.child[i];
			fd[n] = (struct pollfd){.fd = who[n]->channel, .events = POLLIN};
			n++;
		}
	int ready = poll(fd, n, is_busy(m) ? BUSY_TURN_MS : TURN_MS);
	m->now = clock_mono();
	if (ready <= 0)
		return;
	if (fd[0].revents)
		read_signals(m);
	for (nfds_t i = 1; i < n; i++)
		if (fd[i].revents)
			read_channel(m, who[i]);
}

static void turn(struct master *m)
{
	fill_seats(m);
	wait_and_hear(m);
	atomic_store(&board_self()->beat_us, m->now);
	reap(m);
	procs_watch(&m->procs, m->now);
	ticket_chain_advance(&m->tickets, m->now);
	advance(m);
	if (ring_joined() && procs_living(&m->procs, PROC_CONTROL) == 0)
		leftover_own(0);
}

/* --- beginning and end --- */

static bool open_files(struct master *m, struct problems *p)
{
	const struct conf *c = m->config->conf;
	bool ok = config_owner(c, &m->owner, p);
	if (c->log.access == ACCESS_LOG_PATH) {
		m->access_log = files_open_log(c->log.path, p);
		ok = ok && m->access_log >= 0;
	}
	if (!sockets_open(&m->sockets, c, &m->owner, p) || !ok) {
		sockets_undo(&m->sockets);
		return false;
	}
	sockets_keep(&m->sockets, c);
	return true;
}

static bool set_up(struct master *m, struct problems *p)
{
	m->config = config_load(m->path, ++m->generations, true, p);
	if (!m->config)
		return false;
	log_set_level(m->config->conf->log.level);
	files_raise_limit(m->config->conf);
	if (!catch_signals(m, p) || !open_files(m, p) || !spawn_open_peers(m, m->config->conf->workers, p))
		return false;
	if (getrandom(m->hash_key, sizeof(m->hash_key), 0) != (ssize_t)sizeof(m->hash_key)) {
		problems_errno(p, PROBLEM_SYSTEM, errno, "random numbers");
		return false;
	}
	if (!layout_open(&m->shm, m->config->conf, m->hash_key, p))
		return false;
	procs_init(&m->procs, &m->shm);
	m->now = m->procs.watched = clock_mono();
	master_announce(m);
	return master_claim_servers(m, m->config, p);
}

static void tear_down(struct master *m)
{
	const struct conf *c = m->config ? m->config->conf : NULL;
	if (ring_joined())
		leftover_all(m->access_log >= 0 || (c && c->log.access == ACCESS_LOG_OFF) ? m->access_log
											  : STDOUT_FILENO);
	sockets_close(&m->sockets);
	if (m->access_log >= 0)
		close(m->access_log);
	for (unsigned i = 0; i < m->peers; i++) {
		close(m->peer[i][0]);
		close(m->peer[i][1]);
	}
	if (m->signal_fd >= 0)
		close(m->signal_fd);
	config_free(m->config);
	m->config = NULL;
	if (m->shm.fd >= 0)
		close(m->shm.fd);
}

static void begin_log(struct master *m)
{
	m->log_json = !isatty(STDERR_FILENO);
	struct log_setup setup = {LOG_INFO, m->log_json, "master"};
	log_setup(&setup);
}

int master_run(const char *config_path)
{
	static struct master m = {.signal_fd = -1, .access_log = -1, .shm = {.fd = -1}};
	static struct problems p;
	m.path = config_path;
	crash_install("master");
	begin_log(&m);
	if (!WEIR_SANITIZED)
		prctl(PR_SET_DUMPABLE, 0); /* the config has secrets */
	if (!set_up(&m, &p)) {
		problems_log(&p);
		tear_down(&m);
		return 1;
	}
	while (m.state != MASTER_DONE)
		turn(&m);
	if (m.status == 0)
		log_info("weir ends");
	tear_down(&m);
	return m.status;
}
