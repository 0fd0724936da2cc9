/* SPDX-License-Identifier: MIT */
#include "master/reload.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/events.h"
#include "base/log.h"
#include "master/files.h"
#include "master/spawn.h"

#define SPARE_SLOTS 4			 /* for replacements meanwhile */
#define SETTLE_US (2 * USEC_PER_SEC)	 /* for old workers, who may be stuck, to hear of it */
#define KILL_AFTER_US (2 * USEC_PER_SEC) /* what drain.timeout should have ended */

bool reload_same_log(const struct conf *a, const struct conf *b)
{
	return a->log.access == b->log.access && str_eq(a->log.path, b->log.path);
}

static void answer(struct master *m, unsigned askers, bool well, const char *text)
{
	struct child *control = master_control(m);
	while (control && askers--)
		child_tell(control, MSG_RELOADED, well, text);
}

/* The hash of the config in force, and a line for each warning of it. */
static void answer_well(struct master *m, unsigned askers)
{
	char text[CONF_HASH + 1 + PROBLEMS_TEXT];
	const struct problems *warned = &m->config->warned;
	snprintf(text, sizeof(text), "%s%s%s", m->config->conf->hash, warned->n ? "\n" : "", warned->text);
	answer(m, askers, true, text);
}

/* --- beginning --- */

static bool open_log(struct master *m, struct problems *p)
{
	const struct conf *next = m->reload.next->conf;
	unsigned before = p->count;
	m->reload.access_log = -1;
	m->reload.log_changes = !reload_same_log(m->config->conf, next);
	if (m->reload.log_changes && next->log.access == ACCESS_LOG_PATH)
		m->reload.access_log = files_open_log(next->log.path, p);
	return p->count == before;
}

static bool has_room(struct master *m, struct problems *p)
{
	unsigned want = m->reload.next->conf->workers + SPARE_SLOTS, leaving = 0;
	if (procs_free(&m->procs) >= want)
		return true;
	for (unsigned i = 1; i < PROC_MAX; i++)
		leaving += m->procs.child[i].state == CHILD_LEAVING;
	problems_add(p,
		     "%u workers of earlier configs still serve their last connections, and there is no "
		     "room for %u processes more (try again later, or set reload.timeout)",
		     leaving, want);
	return false;
}

static bool start_workers(struct master *m, struct problems *p)
{
	for (unsigned i = 0; i < m->reload.next->conf->workers; i++)
		if (!spawn_worker(m, m->reload.next, i, p))
			return false;
	return true;
}

static bool prepare(struct master *m, struct problems *p)
{
	struct config *next = config_load(m->path, m->generations + 1, false, p);
	if (!next)
		return false;
	m->generations++;
	m->reload.next = next;
	if (!config_may_follow(m->config->conf, next->conf, p) || !has_room(m, p))
		return false;
	files_raise_limit(next->conf);
	bool opened = open_log(m, p);
	opened = sockets_open(&m->sockets, next->conf, &m->owner, p) && opened;
	return opened && spawn_open_peers(m, next->conf->workers, p) && master_claim_servers(m, next, p) &&
	       start_workers(m, p);
}

/* --- one end: as it was before --- */

/* With reload.timeout: in time to be through by then, it is told to drain, and cuts what is left after
 * drain.timeout. */
static void dismiss(struct master *m, struct child *c, const struct conf *conf)
{
	c->accepts = child_tell(c, MSG_QUIESCE, 0, "");
	child_leaves(c, m->now);
	if (conf->reload_timeout_us == USEC_NEVER)
		return;
	usec_t bound = conf->reload_timeout_us, drain = conf->drain.timeout_us;
	c->cut_at = m->now + (bound > drain ? bound - drain : 0);
	c->kill_at = m->now + bound + KILL_AFTER_US;
}

static void dismiss_generation(struct master *m, uint32_t generation, bool that, const struct conf *conf)
{
	for (unsigned i = 1; i < PROC_MAX; i++) {
		struct child *c = &m->procs.child[i];
		if (c->kind == PROC_WORKER && child_stays(c) && (c->generation == generation) == that)
			dismiss(m, c, conf);
	}
}

static void undo(struct master *m)
{
	struct reload *r = &m->reload;
	sockets_undo(&m->sockets);
	if (!r->next)
		return;
	dismiss_generation(m, r->next->generation, true, r->next->conf);
	if (r->log_changes && r->access_log >= 0)
		close(r->access_log);
	r->log_changes = false;
	config_free(r->next);
	r->next = NULL;
}

static void refuse(struct master *m, const struct problems *p)
{
	undo(m);
	atomic_fetch_add(&board()->reloads_failed, 1);
	problems_log(p);
	log_error("the reload is refused, config %s stays in force", m->config->conf->hash);
	events_add(EVENT_RELOAD, "refused, %u errors, the first: %.*s", p->count, (int)strcspn(p->text, "\n"),
		   p->text);
	answer(m, m->reload.askers, false, p->text);
	m->reload.askers = 0;
}

/* --- the other end: in force --- */

static void swap_log(struct master *m)
{
	if (!m->reload.log_changes)
		return;
	if (m->access_log >= 0)
		close(m->access_log);
	m->access_log = m->reload.access_log;
	m->reload.log_changes = false;
}

static void commit(struct master *m)
{
	struct config *old = m->config;
	struct child *control = master_control(m);
	m->config = m->reload.next;
	m->reload.next = NULL;
	swap_log(m);
	log_set_level(m->config->conf->log.level);
	master_announce(m);
	memset(m->worker_seat, 0, sizeof(m->worker_seat));
	if (control)
		spawn_tell_reload(m, control);
	dismiss_generation(m, m->config->generation, false, m->config->conf);
	sockets_keep(&m->sockets, m->config->conf);
	config_free(old);
	events_add(EVENT_RELOAD, "config %s is in force (generation %u, %u workers)", m->config->conf->hash,
		   m->config->generation, m->config->conf->workers);
	m->reload.settling = m->reload.askers;
	m->reload.askers = 0;
	m->reload.settles_at = m->now + SETTLE_US;
	reload_settle(m);
}

/* Whoever asked may rely on the new config from the answer on, so no old worker may take a connection after
 * it.
 */
void reload_settle(struct master *m)
{
	struct reload *r = &m->reload;
	for (unsigned i = 1; r->settling && m->now < r->settles_at && i < PROC_MAX; i++)
		if (m->procs.child[i].state == CHILD_LEAVING && m->procs.child[i].accepts)
			return;
	answer_well(m, r->settling);
	r->settling = 0;
}

/* --- what happens --- */

static void begin(struct master *m)
{
	static struct problems p;
	memset(&p, 0, sizeof(p));
	log_info("reload: reading %s", m->path);
	if (!prepare(m, &p))
		refuse(m, &p);
}

void reload_ask(struct master *m, bool asked)
{
	m->reload.queued = true;
	m->reload.askers_later += asked;
	if (m->state > MASTER_SERVING)
		reload_refuse_all(m, "weir is draining");
	reload_advance(m);
}

void reload_advance(struct master *m)
{
	struct reload *r = &m->reload;
	reload_settle(m);
	if (!r->queued || r->next || r->settling || m->state != MASTER_SERVING)
		return;
	r->queued = false;
	r->askers = r->askers_later;
	r->askers_later = 0;
	begin(m);
}

void reload_on_ready(struct master *m)
{
	const struct config *next = m->reload.next;
	for (unsigned i = 0; next && i < next->conf->workers; i++) {
		const struct child *c = procs_find(&m->procs, PROC_WORKER, i, next->generation);
		if (!c || c->state != CHILD_SERVING)
			return;
	}
	if (next)
		commit(m);
}

bool reload_on_end(struct master *m, uint32_t generation, const char *text)
{
	static struct problems p;
	if (!m->reload.next || m->reload.next->generation != generation)
		return false;
	memset(&p, 0, sizeof(p));
	problems_add(&p, "the new config could not be taken into force: %s", text);
	refuse(m, &p);
	return true;
}

void reload_refuse_all(struct master *m, const char *why)
{
	struct reload *r = &m->reload;
	if (r->next)
		undo(m);
	answer_well(m, r->settling);
	r->settling = 0;
	answer(m, r->askers + r->askers_later, false, why);
	r->askers = r->askers_later = 0;
	r->queued = false;
}
