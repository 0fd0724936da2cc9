/* SPDX-License-Identifier: MIT */
#include "proxy/worker.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/board.h"
#include "base/buf.h"
#include "base/events.h"
#include "base/log.h"
#include "base/ring.h"
#include "conf/redis_url.h"
#include "proxy/access_log.h"
#include "proxy/capacity.h"
#include "proxy/client.h"
#include "proxy/exchange.h"
#include "proxy/listener.h"
#include "proxy/token.h"
#include "ratelimit/table.h"

#define LINGER_US (5 * USEC_PER_SEC)
#define BEAT_US USEC_PER_SEC
#define TRIM_BEATS 4	    /* memory is given back so often */
#define TRIM_MIN (1u << 20) /* when so much was not needed: less is no reason to look through all of it */
#define STORE_WAIT_US                                                                                        \
	(500 * USEC_PER_MSEC) /* for the store's first answer, before requests are taken without it */
#define STORE_LOOK_US (5 * USEC_PER_MSEC)

/* --- states --- */

static const char *const state_names[] = {"starting", "serving", "quiescing", "grace", "closing"};

static void set_state(struct worker *w, enum worker_state to)
{
	assert(to > w->state);
	log_debug("%s -> %s", state_names[w->state], state_names[to]);
	w->state = to;
	if (to == WORKER_SERVING)
		atomic_store(&board_self()->state, PROC_SERVING);
}

static void on_leave(struct task *t)
{
	struct worker *w = list_entry(t, struct worker, leave);
	bool leaving = w->state == WORKER_QUIESCING || w->state == WORKER_CLOSING;
	if (leaving && !w->client_count)
		loop_stop(&w->loop);
}

void worker_client_gone(struct worker *w)
{
	if (!w->client_count && worker_leaving(w))
		loop_soon(&w->loop, &w->leave);
}

static void say(int channel, enum msg_type type, const char *text)
{
	static struct channel_msg m;
	m.type = type;
	m.arg = 0;
	m.fds = 0;
	m.len = strlen(text);
	memcpy(m.bytes, text, m.len);
	channel_send(channel, &m);
}

static void stop_accepting(struct worker *w, bool last)
{
	struct listeners *l = w->listeners;
	w->listeners = NULL;
	listeners_close(l, last);
}

/*
 * Those between two requests, but where something may have come already and was not read yet, or in a
 * handshake: these get a moment. Those in a request leave by themselves, since worker_leaving is true.
 */
static void close_idle(struct worker *w, bool all)
{
	for (struct list *i = w->clients.next, *next; i != &w->clients; i = next) {
		struct client *c = list_entry(i, struct client, link);
		next = i->next;
		if (all || (c->state == CLIENT_IDLE && !c->stream.can_read) || c->state == CLIENT_PREFACE)
			client_close(c, all ? END_CUT : END_LEAVING);
		else if (c->state == CLIENT_IDLE || c->state == CLIENT_HANDSHAKE)
			timeout_arm(&w->linger, &c->timeout);
	}
}

static void quiesce(struct worker *w)
{
	if (w->state >= WORKER_QUIESCING)
		return;
	set_state(w, WORKER_QUIESCING);
	stop_accepting(w, true); /* of an address that the new config has not, nobody else takes the queue */
	loop_soon(&w->loop, &w->leave);
}

static void close_down(struct worker *w)
{
	if (w->state == WORKER_CLOSING)
		return;
	set_state(w, WORKER_CLOSING);
	stop_accepting(w, true);
	close_idle(w, false);
	loop_soon(&w->loop, &w->leave);
}

static void on_grace_over(struct timeout *t)
{
	close_down(list_entry(t, struct worker, grace_timeout));
}

static void on_cut(struct timeout *t)
{
	struct worker *w = list_entry(t, struct worker, cut_timeout);
	unsigned n = w->client_count;
	if (w->state < WORKER_CLOSING)
		close_down(w);
	if (n)
		log_warn("drain.timeout is over: %u connections are cut", n);
	close_idle(w, true);
	loop_soon(&w->loop, &w->leave);
}

static void drain(struct worker *w, bool now)
{
	if (!timeout_armed(&w->cut_timeout))
		timeout_arm(&w->cut, &w->cut_timeout);
	if (now || w->state == WORKER_QUIESCING || w->state == WORKER_STARTING) {
		close_down(w);
		return;
	}
	if (w->state == WORKER_SERVING) {
		set_state(w, WORKER_GRACE);
		timeout_arm(&w->grace, &w->grace_timeout);
	}
}

/* --- the master's word --- */

static void on_channel(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	static struct channel_msg m;
	(void)what;
	loop_wake(&w->loop);
	for (;;) {
		int r = channel_recv(fd, &m);
		if (r < 0)
			return;
		for (unsigned i = 0; r > 0 && i < m.fds; i++)
			close(m.fd[i]); /* no message that we get now brings any */
		if (r == 0) {
			event_del(&w->channel_event);
			log_warn("the master is gone: leaving");
			quiesce(w);
			return;
		}
		if (m.type == MSG_QUIESCE) {
			quiesce(w);
			say(w->channel, MSG_QUIESCED, "");
		} else if (m.type == MSG_DRAIN) {
			drain(w, m.arg == 1);
		}
	}
}

/* What a peak has left behind goes back to the system; malloc keeps it otherwise, between what is in use. */
static void trim(struct worker *w)
{
	size_t freed = block_pools_trim() + exchange_trim(w);
	if (freed >= TRIM_MIN)
		malloc_trim(0);
}

static void on_beat(struct timeout *t)
{
	struct worker *w = list_entry(t, struct worker, beat_timeout);
	atomic_store(&board_self()->beat_us, w->loop.now);
	timeout_arm(&w->beat, &w->beat_timeout);
	tickets_advance(&w->tickets, w->loop.now); /* old keys go in time, whoever asks for them */
	if (++w->beats % TRIM_BEATS == 0)
		trim(w);
}

/* --- time and chance --- */

void worker_time(struct worker *w)
{
	if (w->loop.now < w->time.next)
		return;
	wall_t now = clock_wall();
	w->time.offset = now - w->loop.now;
	time_t s = (time_t)(now / USEC_PER_SEC);
	struct tm tm;
	gmtime_r(&s, &tm);
	strftime(w->time.second, sizeof(w->time.second), "%Y-%m-%dT%H:%M:%S", &tm);
	strftime(w->time.date, sizeof(w->time.date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	w->time.next = w->loop.now + (USEC_PER_SEC - now % USEC_PER_SEC);
}

static uint64_t rotated(uint64_t v, int n)
{
	return v << n | v >> (64 - n);
}

/* xoshiro256**: for ids that need to be different, not secret. */
uint64_t worker_random(struct worker *w)
{
	uint64_t *s = w->random, result = rotated(s[1] * 5, 7) * 9, t = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotated(s[3], 45);
	return result;
}

bool worker_close_pooled(struct worker *w)
{
	unsigned closed = 0;
	for (unsigned i = 0; i < w->conf->upstreams; i++)
		closed += upstream_close_pooled(&w->upstream[i]);
	return closed > 0;
}

void worker_warn_unnamed(struct worker *w)
{
	uint32_t now = w->info.generation;
	if (atomic_load_explicit(&board()->unnamed_said, memory_order_relaxed) == now ||
	    atomic_exchange(&board()->unnamed_said, now) == now)
		return;
	log_warn("a trusted proxy sent a request that names no client: nobody is not limited and enters no "
		 "guarded place. "
		 "Is the load balancer's X-Forwarded-For mode `append`?");
}

/* --- starting to serve --- */

static void serve(struct worker *w)
{
	w->listeners = listeners_open(w, w->fds);
	if (!w->listeners) {
		say(w->channel, MSG_FAILED, "out of memory");
		loop_stop(&w->loop);
		return;
	}
	w->fds = NULL;
	set_state(w, WORKER_SERVING);
	say(w->channel, MSG_READY, "");
}

/* Requests that came before the store could be asked would be decided without it, and the limit not be exact.
 */
static void on_store(struct timeout *t)
{
	struct worker *w = list_entry(t, struct worker, store_timeout);
	if (w->state != WORKER_STARTING)
		return;
	if (limiter_ready(w->limiter) || w->loop.now >= w->store_until)
		serve(w);
	else
		timeout_arm(&w->store, &w->store_timeout);
}

/* --- setting up --- */

static series_t plain(enum metric m)
{
	return metric_series(m, "");
}

static void open_counters(struct worker *w)
{
	w->count.connections = plain(METRIC_CONNECTIONS);
	w->count.accepted = plain(METRIC_CONNECTIONS_TOTAL);
	w->count.active = plain(METRIC_REQUESTS_ACTIVE);
	w->count.bytes_in = plain(METRIC_BYTES_IN);
	w->count.bytes_out = plain(METRIC_BYTES_OUT);
	w->count.malformed = plain(METRIC_MALFORMED);
	w->count.unnamed = plain(METRIC_CLIENT_UNNAMED);
	w->count.shortages = plain(METRIC_MEMORY_SHORTAGES);
	w->count.handed_over = plain(METRIC_HANDED_OVER);
	w->count.log_dropped = metric_series(METRIC_LOG_DROPPED, ring_label(RING_ACCESS));
	w->count.log_folded = plain(METRIC_LOG_FOLDED);
	static const char *const handshakes[] = {"full", "resumed", "failed"};
	for (int i = 0; i < 3; i++) {
		char label[METRIC_LABELS];
		metric_label(label, sizeof(label), "result", handshakes[i]);
		w->count.handshakes[i] = metric_series(METRIC_TLS_HANDSHAKES, label);
	}
	histogram_open(&w->count.added, METRIC_ADDED_SECONDS, "");
	for (int i = 0; i < END_REASONS; i++) {
		char label[METRIC_LABELS];
		metric_label(label, sizeof(label), "reason", client_end_word((enum client_end)i));
		w->count.closed[i] = metric_series(METRIC_CONNECTIONS_CLOSED, label);
	}
}

static void open_timeouts(struct worker *w)
{
	const struct conf *c = w->conf;
	timeout_class_init(&w->head, &w->loop, c->timeouts.head_us);
	timeout_class_init(&w->body, &w->loop, c->timeouts.body_us);
	w->body_quota = c->caps.min_rate * c->timeouts.body_us / USEC_PER_SEC;
	if (w->body_quota < 1)
		w->body_quota = 1;
	timeout_class_init(&w->idle, &w->loop, c->timeouts.idle_us);
	timeout_class_init(&w->tunnel, &w->loop, c->timeouts.tunnel_us);
	timeout_class_init(&w->linger, &w->loop, LINGER_US);
	timeout_class_init(&w->beat, &w->loop, BEAT_US);
	timeout_class_init(&w->grace, &w->loop, c->drain.grace_us);
	timeout_class_init(&w->cut, &w->loop, c->drain.timeout_us);
	timeout_class_init(&w->store, &w->loop, STORE_LOOK_US);
	timeout_init(&w->beat_timeout, on_beat);
	timeout_init(&w->grace_timeout, on_grace_over);
	timeout_init(&w->cut_timeout, on_cut);
	timeout_init(&w->store_timeout, on_store);
	task_init(&w->leave, on_leave);
}

static bool open_cookies(struct worker *w)
{
	const struct conf_cookies *c = &w->conf->cookies;
	struct cookie_rule *rule = calloc(c->shares + 1, sizeof(*rule));
	if (!rule)
		return false;
	for (unsigned i = 0; i < c->shares; i++) {
		static const enum cookie_same_site same_site[] = {
			[SAME_SITE_LEAVE] = COOKIE_SAME_SITE_NONE_SET,
			[SAME_SITE_STRICT] = COOKIE_SAME_SITE_STRICT,
			[SAME_SITE_LAX] = COOKIE_SAME_SITE_LAX,
			[SAME_SITE_NONE] = COOKIE_SAME_SITE_NONE,
		};
		const struct conf_cookie *s = &c->share[i];
		rule[i] = (struct cookie_rule){
			.name = s->name,
			.secure = s->secure == FLAG_ON ? COOKIE_FLAG_ON : COOKIE_FLAG_LEAVE,
			.http_only = s->http_only == FLAG_ON ? COOKIE_FLAG_ON : COOKIE_FLAG_LEAVE,
			.same_site = same_site[s->same_site],
		};
	}
	w->cookie_rules = (struct cookie_rules){.domain = c->domain,
						.rule = rule,
						.rules = c->shares,
						.retire_host_only = c->retire_host_only};
	return true;
}

static bool open_origins(struct worker *w)
{
	w->origin = calloc(w->conf->origins + 1, sizeof(*w->origin));
	for (unsigned i = 0; w->origin && i < w->conf->origins; i++) {
		const char *wrong = cors_origin_check(w->conf->origin[i], &w->origin[i]);
		if (wrong) {
			log_error("cors.origins: %s", wrong);
			return false;
		}
	}
	return w->origin != NULL;
}

static bool open_policies(struct worker *w)
{
	unsigned n = w->conf->rate_limit.policies;
	w->shadow = calloc(n + 1, sizeof(*w->shadow));
	w->limit_text = calloc(n + 1, sizeof(*w->limit_text));
	for (unsigned i = 0; w->shadow && i < n; i++) {
		w->shadow[i] = w->conf->rate_limit.policy[i].policy;
		w->shadow[i].shadow = true;
	}
	return w->shadow && w->limit_text;
}

static bool open_sites(struct worker *w)
{
	const struct conf *c = w->conf;
	w->site = calloc(c->sites + 1, sizeof(*w->site));
	w->upstream = calloc(c->upstreams + 1, sizeof(*w->upstream));
	if (!w->site || !w->upstream)
		return false;
	for (unsigned i = 0; i <= c->sites; i++)
		if (!site_open(&w->site[i], i < c->sites ? &c->site[i] : NULL, c->rate_limit.policies))
			return false;
	upstream_shared_init(&w->shared);
	for (unsigned i = 0; i < c->upstreams; i++)
		if (!upstream_open(&w->upstream[i], &w->loop, &c->upstream[i], &w->shared))
			return false;
	return true;
}

/* NULL: out of memory. The caller's. */
static const struct policy **list_policies(const struct conf_rate_limit *c)
{
	const struct policy **list = calloc(c->policies + 1, sizeof(const struct policy *));
	for (unsigned i = 0; list && i < c->policies; i++)
		list[i] = &c->policy[i].policy;
	return list;
}

static bool open_limiter(struct worker *w, struct shm *shm)
{
	static const enum limiter_on_failure on_failure[] = {[ON_FAILURE_LOCAL] = LIMITER_LOCAL,
							     [ON_FAILURE_ALLOW] = LIMITER_ALLOW,
							     [ON_FAILURE_DENY] = LIMITER_DENY};
	const struct conf_rate_limit *c = &w->conf->rate_limit;
	struct redis_target target = {.tls = NULL};
	size_t size;
	void *section = shm_section(shm, SHM_TABLE, &size);
	w->table = table_attach(section, size, (uint16_t)w->info.slot);
	const struct policy **policy = w->table ? list_policies(c) : NULL;
	if (!policy || (c->redis && !redis_url_target(&c->server, &target))) {
		free(policy);
		return false;
	}
	struct limiter_setup setup = {
		.loop = &w->loop,
		.table = w->table,
		.redis = c->redis ? &target : NULL,
		.timeout_us = c->server.timeout_us,
		.on_failure = on_failure[c->server.on_failure],
		.policy = policy,
		.policies = c->policies,
		.fleet = c->fleet,
	};
	w->limiter = limiter_new(&setup);
	tls_client_drop(target.tls);
	free(policy);
	w->lifts = shm_section(shm, SHM_LIFTS, NULL);
	w->tokens = tokens_new();
	return w->limiter && w->tokens;
}

static struct tls_server *make_server(const struct conf_listen *l, const struct tickets *tickets)
{
	struct tls_cert **cert = calloc(l->certificates, sizeof(struct tls_cert *));
	struct tls_server *s = NULL;
	struct tls_wrong wrong;
	unsigned n = 0, which;
	while (cert && n < l->certificates) {
		const struct conf_certificate *c = &l->certificate[n];
		cert[n] = tls_cert_new(c->certificate.content, c->key.content, &wrong);
		if (!cert[n])
			break;
		n++;
	}
	if (cert && n == l->certificates)
		s = tls_server_new(cert, n, tickets, &which, &wrong);
	while (n)
		tls_cert_free(cert[--n]);
	free(cert);
	return s;
}

static bool open_tls(struct worker *w)
{
	tickets_open(&w->tickets, &w->info.tickets, w->loop.now);
	explicit_bzero(&w->info.tickets, sizeof(w->info.tickets));
	w->tls = calloc(w->conf->listens, sizeof(struct tls_server *));
	for (unsigned i = 0; w->tls && i < w->conf->listens; i++) {
		const struct conf_listen *l = &w->conf->listen[i];
		if (l->certificates && !(w->tls[i] = make_server(l, &w->tickets)))
			return false;
	}
	return w->tls != NULL;
}

/* As many connections as descriptors allow: the master has raised the limit as far as it may. */
static void find_capacity(struct worker *w)
{
	struct rlimit r;
	unsigned fit = getrlimit(RLIMIT_NOFILE, &r) == 0 ? capacity_of_files(r.rlim_cur) : UINT_MAX;
	w->client_max = conf_connections(w->conf);
	if (fit < w->client_max)
		w->client_max = fit;
}

static bool set_up(struct worker *w, struct shm *shm)
{
	const struct conf *c = w->conf;
	if (getrandom(w->random, sizeof(w->random), 0) != (ssize_t)sizeof(w->random) || !loop_init(&w->loop))
		return false;
	list_init(&w->clients);
	w->request_limits =
		(struct h1_limits){.line = c->caps.line, .head = c->caps.head, .fields = c->caps.fields};
	w->response_limits = w->request_limits;
	open_counters(w);
	open_timeouts(w);
	find_capacity(w);
	w->log = access_log_open(w);
	w->client_memo = calloc(1, sizeof(*w->client_memo));
	worker_time(w);
	return w->log && w->client_memo && open_tls(w) && open_sites(w) && open_cookies(w) &&
	       open_origins(w) && open_policies(w) && open_limiter(w, shm);
}

static void tear_down(struct worker *w)
{
	const struct conf *c = w->conf;
	access_log_close(w->log);
	for (unsigned i = 0; i < c->upstreams; i++)
		upstream_close(&w->upstream[i]);
	upstream_shared_close(&w->shared);
	limiter_free(w->limiter);
	tokens_free(w->tokens);
	table_detach(w->table);
	for (unsigned i = 0; i <= c->sites; i++)
		site_close(&w->site[i]);
	w->spares_unused = w->spares;
	exchange_trim(w);
	event_del(&w->channel_event);
	loop_free(&w->loop);
	block_pools_free();
	for (unsigned i = 0; i < c->listens; i++)
		tls_server_free(w->tls[i]);
	explicit_bzero(&w->tickets, sizeof(w->tickets));
	free(w->tls);
	free(w->site);
	free(w->upstream);
	free(w->shadow);
	free(w->limit_text);
	free(w->client_memo);
	free(w->origin);
	free((void *)(uintptr_t)w->cookie_rules.rule);
}

int worker_main(int channel, struct start_info *info, struct shm *shm, struct conf *conf,
		const struct worker_fds *fds)
{
	_Static_assert(END_REASONS <= sizeof(((struct worker *)0)->count.closed) / sizeof(series_t),
		       "a counter for each");
	static struct worker w;
	w.channel = channel;
	w.info = *info;
	explicit_bzero(&info->tickets, sizeof(info->tickets));
	w.conf = conf;
	w.fds = fds;
	if (!set_up(&w, shm)) {
		say(channel, MSG_FAILED, "out of memory or descriptors");
		return 1;
	}
	conf_wipe_keys(conf);
	event_assign(&w.channel_event, w.loop.base, channel, EV_READ | EV_PERSIST, on_channel, &w);
	event_add(&w.channel_event, NULL);
	on_beat(&w.beat_timeout);
	w.store_until = w.loop.now + STORE_WAIT_US;
	timeout_arm(&w.store, &w.store_timeout);
	loop_run(&w.loop);
	log_debug("leaving: nothing is left to do");
	tear_down(&w);
	conf_free(conf);
	close(channel);
	return w.state == WORKER_STARTING;
}
