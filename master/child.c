/* SPDX-License-Identifier: MIT */
#include "master/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/board.h"
#include "base/channel.h"
#include "base/events.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/protocol.h"
#include "base/ring.h"
#include "control/control.h"
#include "master/crash.h"
#include "master/sanitizer.h"
#include "proxy/servers.h"
#include "proxy/tally.h"
#include "proxy/worker.h"

#define TOLD_MS 30000 /* the longest wait for the master's next word */

struct birth { /* what the master tells */
	bool started;
	struct start_info info;
	int shm_fd, bundle_fd;
	int control_fd[CONTROL_FDS];
	struct worker_fds worker;
	char name[16]; /* "worker 12": for the log and the process title */
};

/* --- what the master tells --- */

static int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int fail(const char *fmt, ...)
{
	static struct channel_msg m;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(m.bytes, sizeof(m.bytes), fmt, ap);
	va_end(ap);
	m.type = MSG_FAILED;
	m.len = strlen(m.bytes);
	channel_send(CHILD_CHANNEL_FD, &m);
	return 1;
}

static bool take_start(struct birth *b, const struct channel_msg *m)
{
	unsigned next = 2;
	if (b->started || m->len != sizeof(b->info) || m->fds < next)
		return false;
	memcpy(&b->info, m->bytes, sizeof(b->info));
	b->shm_fd = m->fd[0];
	b->bundle_fd = m->fd[1];
	for (unsigned i = 0; i < CONTROL_FDS; i++) {
		bool has = b->info.has & 1u << i;
		if (has && next == m->fds)
			return false;
		b->control_fd[i] = has ? m->fd[next++] : -1;
	}
	explicit_bzero((char *)(uintptr_t)m->bytes, m->len); /* the tickets' secret is in it */
	b->started = b->info.slot > 0 && b->info.slot < PROC_MAX &&
		     (b->info.kind == PROC_WORKER || b->info.kind == PROC_CONTROL);
	return b->started && next == m->fds;
}

static bool take_listeners(struct worker_fds *w, const struct channel_msg *m)
{
	for (unsigned i = 0; i < m->fds; i++) {
		if (w->listeners == WORKER_LISTENERS_MAX)
			return false;
		w->listen[w->listeners] = m->arg;
		w->listener[w->listeners++] = m->fd[i];
	}
	return true;
}

static bool take_peer(struct worker_fds *w, const struct channel_msg *m)
{
	if (m->fds != 1)
		return false;
	if (m->arg & PEER_RECEIVE) {
		w->receive = m->fd[0];
		return true;
	}
	if (w->peers == CONF_WORKERS_MAX)
		return false;
	w->peer_worker[w->peers] = m->arg;
	w->peer[w->peers++] = m->fd[0];
	return true;
}

static bool take(struct birth *b, const struct channel_msg *m)
{
	switch (m->type) {
	case MSG_START:
		return take_start(b, m);
	case MSG_LISTENERS:
		return b->started && take_listeners(&b->worker, m);
	case MSG_PEER:
		return b->started && take_peer(&b->worker, m);
	case MSG_GO:
		return b->started;
	default: /* QUIESCE, DRAIN, EXIT: nothing was begun */
		return false;
	}
}

/* True: told all. False: the master is gone, or takes it back, or speaks another language; there is nobody to
 * tell. */
static bool listen_to_master(struct birth *b)
{
	static struct channel_msg m;
	struct pollfd p = {.fd = CHILD_CHANNEL_FD, .events = POLLIN};
	do {
		int r = channel_recv(CHILD_CHANNEL_FD, &m);
		while (r < 0 && (errno == EAGAIN || errno == EINTR)) {
			if (poll(&p, 1, TOLD_MS) == 0)
				return errno = ETIMEDOUT, false;
			r = channel_recv(CHILD_CHANNEL_FD, &m);
		}
		if (r < 0)
			return false;
		errno = 0;
		if (r == 0 || !take(b, &m))
			return false;
	} while (m.type != MSG_GO);
	return true;
}

/* --- becoming it --- */

static void take_name(struct birth *b)
{
	char title[40];
	if (b->info.kind == PROC_WORKER)
		snprintf(b->name, sizeof(b->name), "worker %u", b->info.worker);
	else
		snprintf(b->name, sizeof(b->name), "control");
	snprintf(title, sizeof(title), "weir: %s", b->name);
	prctl(PR_SET_NAME, title);
}

static bool join_memory(struct birth *b, struct shm *shm)
{
	if (!shm_attach(shm, b->shm_fd))
		return false;
	close(b->shm_fd);
	shm->fd = -1;
	board_attach(shm_section(shm, SHM_BOARD, NULL));
	board_join(b->info.slot);
	metric_attach(shm_section(shm, SHM_METRICS, NULL));
	metric_join(b->info.slot);
	events_attach(shm_section(shm, SHM_EVENTS, NULL));
	ring_attach(shm_section(shm, SHM_RINGS, NULL));
	ring_join(b->info.slot);
	servers_attach(shm_section(shm, SHM_SERVERS, NULL));
	tally_attach(shm_section(shm, SHM_TALLY, NULL));
	return true;
}

/* Both loads see the same bytes, so what was right in the master is right here. */
static struct conf *load(int fd)
{
	struct stat st;
	struct conf_notes notes = {0};
	struct conf *conf = NULL;
	void *bytes = fstat(fd, &st) == 0 ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0)
					  : MAP_FAILED;
	if (bytes == MAP_FAILED) {
		fail("the config cannot be read: %s", strerror(errno));
		return NULL;
	}
	struct conf_bundle *bundle = conf_bundle_parse(bytes, (size_t)st.st_size);
	munmap(bytes, (size_t)st.st_size);
	close(fd);
	if (bundle)
		conf = conf_load(bundle, &notes);
	if (!conf)
		fail("the config cannot be loaded again: %s",
		     notes.errors ? notes.row[0].text : "it was damaged on its way");
	conf_notes_free(&notes);
	conf_bundle_free(bundle); /* wipes the secrets that it held */
	return conf;
}

static const char *drop_privileges(const struct conf *c)
{
	char name[256];
	if (!c->user.n || geteuid() != 0)
		return NULL;
	snprintf(name, sizeof(name), "%.*s", (int)c->user.n, c->user.p);
	const struct passwd *pw = getpwnam(name);
	if (!pw)
		return "the user is not known";
	if (setgroups(1, &pw->pw_gid) < 0 || setgid(pw->pw_gid) < 0 || setuid(pw->pw_uid) < 0)
		return strerror(errno);
	if (pw->pw_uid != 0 && setuid(0) == 0)
		return "root could be had back";
	return NULL;
}

static bool settle(const struct conf *c)
{
	const char *wrong = drop_privileges(c);
	if (wrong) {
		fail("user %.*s cannot be taken on: %s", (int)c->user.n, c->user.p, wrong);
		return false;
	}
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (!WEIR_SANITIZED)
		prctl(PR_SET_DUMPABLE,
		      0); /* no core has the secrets, and nobody of the same user reads our memory */
	return true;
}

int child_main(void)
{
	static struct birth b = {.worker.receive = -1};
	static struct shm shm;
	crash_install("child");
	fcntl(CHILD_CHANNEL_FD, F_SETFD, FD_CLOEXEC);
	if (!listen_to_master(&b)) {
		if (errno == ENOTSOCK || errno == EBADF)
			fputs("weir: --child is for weir itself to use\n", stderr);
		return errno == ENOTSOCK || errno == EBADF ? 2 : 0;
	}
	take_name(&b);
	crash_install(b.name);
	if (!join_memory(&b, &shm))
		return fail("the shared memory cannot be joined: %s", strerror(errno));
	struct log_setup setup = {LOG_INFO, b.info.log_json, b.name};
	log_setup(&setup);
	struct conf *conf = load(b.bundle_fd);
	if (!conf)
		return 1;
	log_set_level(conf->log.level);
	if (!settle(conf)) {
		conf_free(conf);
		return 1;
	}
	if (b.info.kind == PROC_WORKER)
		return worker_main(CHILD_CHANNEL_FD, &b.info, &shm, conf, &b.worker);
	conf_wipe_keys(conf); /* they are the workers' */
	return control_main(CHILD_CHANNEL_FD, &b.info, &shm, conf, b.control_fd);
}
