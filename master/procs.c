/* SPDX-License-Identifier: MIT */
#include "master/procs.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "proxy/servers.h"
#include "proxy/tally.h"
#include "ratelimit/table.h"

#define HELD_UP_US (2 * USEC_PER_SEC) /* turns are at most 1 s apart when nothing holds the master up */

void procs_init(struct procs *p, const struct shm *shm)
{
	static const enum proc_kind kinds[] = {PROC_CONTROL, PROC_WORKER};
	memset(p, 0, sizeof(*p));
	p->shm = shm;
	for (unsigned i = 0; i < PROC_MAX; i++) {
		p->child[i].slot = i;
		p->child[i].channel = -1;
	}
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		char label[METRIC_LABELS];
		metric_label(label, sizeof(label), "kind", proc_kind_name(kinds[i]));
		p->crashes[kinds[i]] = metric_series(METRIC_WORKER_CRASHES, label);
	}
}

const char *child_name(const struct child *c)
{
	static char name[64];
	if (c->kind == PROC_WORKER)
		snprintf(name, sizeof(name), "worker %u (pid %d)", c->worker, (int)c->pid);
	else
		snprintf(name, sizeof(name), "%s (pid %d)", proc_kind_name(c->kind), (int)c->pid);
	return name;
}

/* --- states --- */

static void set_state(struct child *c, enum child_state to, usec_t now)
{
	static const unsigned char edges[] = {
		[CHILD_EMPTY] = 1 << CHILD_STARTING,
		[CHILD_STARTING] =
			1 << CHILD_SERVING | 1 << CHILD_LEAVING | 1 << CHILD_COOLING | 1 << CHILD_EMPTY,
		[CHILD_SERVING] = 1 << CHILD_LEAVING | 1 << CHILD_COOLING,
		[CHILD_LEAVING] = 1 << CHILD_COOLING,
		[CHILD_COOLING] = 1 << CHILD_EMPTY,
	};
	static const char *const names[] = {"empty", "starting", "serving", "leaving", "cooling"};
	struct proc *row = &board()->proc[c->slot];
	assert(edges[c->state] & 1 << to);
	log_debug("%s: %s -> %s", child_name(c), names[c->state], names[to]);
	c->state = to;
	c->since = now;
	if (to == CHILD_STARTING || to == CHILD_LEAVING)
		atomic_store(&row->state, to == CHILD_STARTING ? PROC_STARTING : PROC_LEAVING);
	if (to == CHILD_COOLING || to == CHILD_EMPTY) {
		atomic_store(&row->state, PROC_FREE);
		atomic_store(&row->clients, 0);
		atomic_store(&row->pid, 0);
	}
	if (to == CHILD_EMPTY)
		atomic_store(&row->kind, PROC_NONE);
}

void child_ready(struct child *c, usec_t now)
{
	if (c->state == CHILD_STARTING)
		set_state(c, CHILD_SERVING, now);
}

void child_leaves(struct child *c, usec_t now)
{
	if (child_stays(c))
		set_state(c, CHILD_LEAVING, now);
}

/* --- slots --- */

/* The lowest free one; when there is none, the one that has cooled down longest, if it was a second at least.
 */
static struct child *free_slot(struct procs *p, usec_t now)
{
	struct child *best = NULL;
	for (unsigned i = 1; i < PROC_MAX; i++) {
		struct child *c = &p->child[i];
		if (c->state == CHILD_EMPTY)
			return c;
		if (c->state == CHILD_COOLING && now - c->since >= COOL_US / 2 &&
		    (!best || c->since < best->since))
			best = c;
	}
	if (best)
		set_state(best, CHILD_EMPTY, now);
	return best;
}

struct child *procs_take(struct procs *p, enum proc_kind kind, unsigned worker, uint32_t generation,
			 usec_t now)
{
	struct child *c = free_slot(p, now);
	if (!c)
		return NULL;
	struct proc *row = &board()->proc[c->slot];
	*c = (struct child){.slot = c->slot,
			    .kind = kind,
			    .worker = worker,
			    .generation = generation,
			    .channel = -1,
			    .started = now,
			    .cut_at = USEC_NEVER,
			    .kill_at = USEC_NEVER};
	atomic_store(&row->generation, generation);
	atomic_store(&row->worker, worker);
	atomic_store(&row->beat_us, now);
	atomic_store(&row->clients, 0);
	set_state(c, CHILD_STARTING, now);
	atomic_store(&row->kind, kind);
	return c;
}

void procs_spawned(struct child *c, pid_t pid, int channel)
{
	c->pid = pid;
	c->channel = channel;
	atomic_store(&board()->proc[c->slot].pid, pid);
}

void procs_unspawned(struct child *c, usec_t now)
{
	set_state(c, CHILD_EMPTY, now);
}

struct child *procs_find(struct procs *p, enum proc_kind kind, unsigned worker, uint32_t generation)
{
	for (unsigned i = 1; i < PROC_MAX; i++) {
		struct child *c = &p->child[i];
		if (child_stays(c) && c->kind == kind && c->worker == worker &&
		    (!generation || c->generation == generation))
			return c;
	}
	return NULL;
}

struct child *procs_by_pid(struct procs *p, pid_t pid)
{
	for (unsigned i = 1; i < PROC_MAX; i++)
		if (child_lives(&p->child[i]) && p->child[i].pid == pid)
			return &p->child[i];
	return NULL;
}

unsigned procs_free(const struct procs *p)
{
	unsigned n = 0;
	for (unsigned i = 1; i < PROC_MAX; i++)
		n += !child_lives(&p->child[i]);
	return n;
}

unsigned procs_living(const struct procs *p, enum proc_kind kind)
{
	unsigned n = 0;
	for (unsigned i = 1; i < PROC_MAX; i++)
		n += child_lives(&p->child[i]) && (kind == PROC_NONE || p->child[i].kind == kind);
	return n;
}

uint32_t procs_oldest(const struct procs *p, uint32_t generation)
{
	for (unsigned i = 1; i < PROC_MAX; i++) {
		const struct child *c = &p->child[i];
		if (child_lives(c) && c->kind == PROC_WORKER && c->generation < generation)
			generation = c->generation;
	}
	return generation;
}

/* --- telling --- */

bool child_send(struct child *c, const struct channel_msg *m)
{
	if (c->channel < 0)
		return false;
	if (channel_send(c->channel, m) == 0)
		return true;
	if (errno == EPIPE || errno == ECONNRESET) /* it has ended, which waitpid will tell */
		return false;
	char why[128];
	snprintf(why, sizeof(why), "it cannot be told anything: %s", strerror(errno));
	child_kill(c, SIGKILL, why);
	return false;
}

bool child_tell(struct child *c, enum msg_type type, uint32_t arg, const char *text)
{
	static struct channel_msg m;
	m.type = type;
	m.arg = arg;
	m.fds = 0;
	m.len = strnlen(text, sizeof(m.bytes));
	memcpy(m.bytes, text, m.len);
	return child_send(c, &m);
}

void child_kill(struct child *c, int sig, const char *why)
{
	if (!child_lives(c) || c->pid <= 0)
		return;
	if (!c->killed)
		snprintf(c->why, sizeof(c->why), "%s", why);
	c->killed = true;
	kill(c->pid, sig);
}

/* --- the end --- */

static const char *signal_name(int sig, char *room, size_t cap)
{
	const char *abbreviation = sigabbrev_np(sig);
	if (abbreviation)
		snprintf(room, cap, "SIG%s", abbreviation);
	else
		snprintf(room, cap, "signal %d", sig);
	return room;
}

static void describe(const struct child *c, int status, char *text, size_t cap)
{
	char name[32];
	int n;
	if (WIFSIGNALED(status))
		n = snprintf(text, cap, "%s was killed by %s", child_name(c),
			     signal_name(WTERMSIG(status), name, sizeof(name)));
	else
		n = snprintf(text, cap, "%s ended with exit code %d", child_name(c), WEXITSTATUS(status));
	if (c->why[0] && n > 0 && (size_t)n < cap)
		snprintf(text + n, cap - (size_t)n, ": %s", c->why);
}

bool procs_bury(struct procs *p, struct child *c, int status, usec_t now, char *text, size_t cap)
{
	bool well = c->state == CHILD_LEAVING && WIFEXITED(status) && WEXITSTATUS(status) == 0;
	describe(c, status, text, cap);
	if (c->channel >= 0)
		close(c->channel);
	c->channel = -1;
	metric_fold(c->slot);
	if (!well)
		metric_add(p->crashes[c->kind], 1);
	servers_recover(c->slot);
	tally_recover(c->slot);
	unsigned wiped = table_recover(shm_section(p->shm, SHM_TABLE, NULL), (uint16_t)c->slot);
	if (wiped)
		log_warn("%s held %u buckets of the table of clients locked: what they counted is forgotten",
			 child_name(c), wiped);
	set_state(c, CHILD_COOLING, now);
	return well;
}

/* --- the watch --- */

static void watch_silence(struct procs *p, struct child *c, usec_t now)
{
	usec_t heard = atomic_load(&board()->proc[c->slot].beat_us);
	if (heard < p->woke)
		heard = p->woke;
	if (heard < c->since && c->state == CHILD_SERVING)
		heard = c->since;
	if (c->aborted || now - heard < SILENT_US)
		return;
	log_error("%s has been silent for %d s and is aborted", child_name(c),
		  (int)((now - heard) / USEC_PER_SEC));
	child_kill(c, SIGABRT, "it was silent for too long and aborted");
	c->aborted = true;
	c->kill_at = now + ABORT_US;
}

static void watch_child(struct procs *p, struct child *c, usec_t now)
{
	if (c->state == CHILD_STARTING && now - (c->since > p->woke ? c->since : p->woke) >= START_US)
		child_kill(c, SIGKILL, "it did not become ready within 30 s");
	if (c->state != CHILD_STARTING)
		watch_silence(p, c, now);
	if (now >= c->cut_at) {
		c->cut_at = USEC_NEVER;
		child_tell(c, MSG_DRAIN, 1, "");
	}
	if (now >= c->kill_at) {
		c->kill_at = USEC_NEVER;
		child_kill(c, SIGKILL, "it did not leave in time");
	}
}

void procs_watch(struct procs *p, usec_t now)
{
	if (now - p->watched >=
	    HELD_UP_US) /* stopped as a whole, maybe: everybody gets time to be heard again */
		p->woke = now;
	p->watched = now;
	for (unsigned i = 1; i < PROC_MAX; i++) {
		struct child *c = &p->child[i];
		if (child_lives(c))
			watch_child(p, c, now);
		else if (c->state == CHILD_COOLING && now - c->since >= COOL_US)
			set_state(c, CHILD_EMPTY, now);
	}
}
