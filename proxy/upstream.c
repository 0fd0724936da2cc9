/* SPDX-License-Identifier: MIT */
#include "proxy/upstream.h"

#include <assert.h>
#include <errno.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/events.h"
#include "base/log.h"

#define KEEP_MARGIN_US                                                                                       \
	(500 * USEC_PER_MSEC) /* closed before the origin closes, so that no request meets its FIN */

#define TLS_SAID_EVERY (10 * USEC_PER_SEC)
#define RETRY_PRICE 10
#define RETRY_CREDIT_MAX (100 * RETRY_PRICE)
#define RETRY_CREDIT_START (10 * RETRY_PRICE)

static struct upstream_shared *shared;

void upstream_shared_init(struct upstream_shared *c)
{
	memset(c, 0, sizeof(*c));
}

void upstream_shared_close(struct upstream_shared *c)
{
	X509_STORE_free(c->trust);
	c->trust = NULL;
}

static series_t series_of(enum metric m, struct str name)
{
	char label[METRIC_LABELS], text[SERVERS_NAME];
	snprintf(text, sizeof(text), "%.*s", (int)name.n, name.p);
	metric_label(label, sizeof(label), "upstream", text);
	return metric_series(m, label);
}

static void open_series(struct upstream *u, struct str name)
{
	char label[METRIC_LABELS], text[SERVERS_NAME];
	u->connects = series_of(METRIC_UP_CONNECTS, name);
	u->connect_failures = series_of(METRIC_UP_CONNECT_FAILURES, name);
	u->requests = series_of(METRIC_UP_REQUESTS, name);
	u->pooled = series_of(METRIC_UP_POOLED, name);
	u->pool_full = series_of(METRIC_UP_POOL_FULL, name);
	u->retries = series_of(METRIC_UP_RETRIES, name);
	u->ejections = series_of(METRIC_UP_EJECTIONS, name);
	snprintf(text, sizeof(text), "%.*s", (int)name.n, name.p);
	metric_label(label, sizeof(label), "upstream", text);
	histogram_open(&u->latency, METRIC_UP_SECONDS, label);
}

/* --- TLS --- */

/* Upstreams that trust the same (in most cases what the machine trusts) share one store. */
static X509_STORE *trust_of(struct str text)
{
	if (!shared->trust || shared->trusted.p != text.p) {
		upstream_shared_close(shared);
		shared->trust = tls_trust_new(text);
		shared->trusted = text;
	}
	return shared->trust;
}

static bool open_tls(struct upstream *u)
{
	const struct conf_upstream_tls *t = &u->conf->tls;
	struct tls_client_setup setup = {.http = true};
	struct tls_cert *own = NULL;
	struct tls_wrong wrong;
	if (!t->on)
		return true;
	if (t->verify && !(setup.trust = trust_of(t->trust)))
		return false;
	if (t->own.certificate.path.n) {
		setup.own = own = tls_cert_new(t->own.certificate.content, t->own.key.content, &wrong);
		if (!own)
			return false;
	}
	u->tls = tls_client_new(&setup, &wrong);
	tls_cert_free(own);
	return u->tls != NULL;
}

static void name_server(struct server *s)
{
	const struct conf_upstream_tls *t = &s->up->conf->tls;
	struct addr a;
	if (t->name.n) {
		s->tls_name = t->name.p;
	} else if (addr_of_sockaddr((const struct sockaddr *)&s->conf->sa, &a, NULL)) {
		s->address[addr_format(s->address, &a)] = 0;
		s->tls_name = s->address;
	}
}

/* --- upstreams --- */

bool upstream_open(struct upstream *u, struct loop *loop, const struct conf_upstream *conf,
		   struct upstream_shared *c)
{
	shared = c;
	*u = (struct upstream){.conf = conf, .loop = loop};
	u->server = calloc(conf->servers, sizeof(*u->server));
	if (!u->server || !open_tls(u))
		return false;
	for (unsigned i = 0; i < conf->servers; i++) {
		struct server *s = &u->server[i];
		*s = (struct server){.conf = &conf->server[i], .up = u};
		s->row = servers_find(conf->name, conf->server[i].text);
		assert(s->row); /* claimed by the master before it spawned us */
		list_init(&s->pooled);
		list_init(&s->resting);
		name_server(s);
	}
	u->next = board_slot() % conf->servers;
	u->retry_credit = RETRY_CREDIT_START;
	timeout_class_init(&u->connect, loop, conf->connect_us);
	timeout_class_init(&u->response, loop, conf->response_us);
	timeout_class_init(&u->idle, loop, conf->idle_us);
	timeout_class_init(&u->keepalive, loop, conf->keepalive_us);
	open_series(u, conf->name);
	return true;
}

static unsigned close_all(struct list *of)
{
	unsigned closed = 0;
	for (struct list *l; (l = list_first(of)); closed++)
		sconn_close(list_entry(l, struct sconn, link));
	return closed;
}

unsigned upstream_close_pooled(struct upstream *u)
{
	unsigned closed = 0;
	for (unsigned i = 0; i < u->conf->servers; i++)
		closed += close_all(&u->server[i].pooled) + close_all(&u->server[i].resting);
	return closed;
}

void upstream_close(struct upstream *u)
{
	if (!u->server)
		return;
	upstream_close_pooled(u);
	for (unsigned i = 0; i < u->conf->servers; i++)
		tls_memory_forget(&u->server[i].session);
	tls_client_drop(u->tls);
	free(u->server);
	u->server = NULL;
	timeout_class_drop(&u->connect);
	timeout_class_drop(&u->response);
	timeout_class_drop(&u->idle);
	timeout_class_drop(&u->keepalive);
}

static void free_sconn(struct grave *g)
{
	free(list_entry(g, struct sconn, grave));
}

static bool edge_allowed(enum sconn_state from, enum sconn_state to)
{
	switch (from) {
	case SCONN_CONNECTING:
		return to == SCONN_HANDSHAKING || to == SCONN_BUSY || to == SCONN_DEAD;
	case SCONN_HANDSHAKING:
		return to == SCONN_BUSY || to == SCONN_DEAD;
	case SCONN_BUSY:
		return to == SCONN_POOLED || to == SCONN_DEAD;
	case SCONN_POOLED:
		return to == SCONN_BUSY || to == SCONN_DEAD;
	case SCONN_DEAD:
		break;
	}
	return false;
}

/* It counts as a request in flight at its server. */
static bool in_flight(enum sconn_state state)
{
	return state == SCONN_CONNECTING || state == SCONN_HANDSHAKING || state == SCONN_BUSY;
}

static void set_state(struct sconn *s, enum sconn_state to)
{
	struct upstream *u = s->server->up;
	assert(edge_allowed(s->state, to));
	if (s->state == SCONN_POOLED) {
		list_del(&s->link);
		s->server->pooled_n--;
		metric_sub(u->pooled, 1);
	}
	if (in_flight(s->state) && !in_flight(to))
		server_end(s->server->row);
	if (!in_flight(s->state) && in_flight(to))
		server_begin(s->server->row);
	if (to != SCONN_HANDSHAKING) /* whose time is that of the connection */
		timeout_disarm(&s->timeout);
	s->state = to;
	if (to == SCONN_POOLED) {
		s->user = NULL;
		s->user_ctx = NULL;
		if (s->rests)
			list_push(&s->server->resting, &s->link);
		else
			list_push_front(&s->server->pooled, &s->link);
		s->server->pooled_n++;
		metric_add(u->pooled, 1);
	}
}

void sconn_close(struct sconn *s)
{
	set_state(s, SCONN_DEAD);
	s->user = NULL;
	stream_close(&s->stream);
	buf_drop(&s->in);
	loop_bury(s->server->up->loop, &s->grave, free_sconn);
}

void server_count_failure(struct server *s, const char *kind)
{
	struct upstream *u = s->up;
	char labels[METRIC_LABELS], name[SERVERS_NAME];
	snprintf(name, sizeof(name), "%.*s", (int)u->conf->name.n, u->conf->name.p);
	size_t n = metric_label(labels, sizeof(labels), "upstream", name);
	snprintf(labels + n, sizeof(labels) - n, ",kind=\"%s\"", kind);
	metric_add(metric_series(METRIC_UP_FAILURES, labels), 1);
	if (!server_failed(s->row, u->loop->now) || u->conf->servers < 2)
		return;
	metric_add(u->ejections, 1);
	usec_t until = atomic_load(&s->row->ejected_until);
	events_add(EVENT_UPSTREAM, "server %s of upstream %s is out of turn for %.1f s: %s", s->row->server,
		   name, (double)(until - u->loop->now) / 1e6, kind);
}

static const struct connect_failure refused = {"refused", 502, "the upstream refused the connection"},
				    unreachable = {"unreachable", 502, "the upstream refused the connection"},
				    too_slow = {"connect_timeout", 504,
						"the upstream took no connection in time"},
				    no_tls = {"tls", 502, "the TLS handshake with the upstream failed"},
				    untrusted = {"untrusted", 502,
						 "the upstream's certificate is not to be trusted"};

/* Of a connection that was not made, by its errno. */
static const struct connect_failure *failure_of(int err)
{
	return err == ECONNREFUSED ? &refused : err == ETIMEDOUT ? &too_slow : &unreachable;
}

static void connect_failed(struct sconn *s, const struct connect_failure *why)
{
	const struct upstream_user *user = s->user;
	void *ctx = s->user_ctx;
	struct upstream *u = s->server->up;
	metric_add(u->connect_failures, 1);
	server_count_failure(s->server, why->kind);
	sconn_close(s);
	user->failed(ctx, s, why);
}

/* It takes an operator to mend it, who wants to know which certificate it is, and why. */
static void handshake_failed(struct sconn *s)
{
	struct upstream *u = s->server->up;
	unsigned missed;
	if (log_limit_pass(&u->tls_said, u->loop->now, TLS_SAID_EVERY, &missed))
		log_warn("upstream %.*s: no TLS with server %s: %s (%u more failed since the last message)",
			 (int)u->conf->name.n, u->conf->name.p, s->server->row->server,
			 stream_error_text(&s->stream), missed);
	tls_memory_forget(&s->server->session);
	connect_failed(s, stream_tls_fault(&s->stream) == STREAM_TLS_UNTRUSTED ? &untrusted : &no_tls);
}

/* True: it goes on, in state BUSY. */
static bool shake_hands(struct sconn *s)
{
	switch (stream_handshake(&s->stream)) {
	case STREAM_HANDSHAKE_DONE:
		set_state(s, SCONN_BUSY);
		return true;
	case STREAM_HANDSHAKE_FAILED:
		handshake_failed(s);
		break;
	case STREAM_HANDSHAKE_MORE:
		break;
	}
	return false;
}

/* True: it may be written to. */
static bool on_connected(struct sconn *s)
{
	struct upstream *u = s->server->up;
	int err = stream_connected(&s->stream);
	if (!err && u->tls &&
	    !stream_connect_tls(&s->stream, u->tls, s->server->tls_name, &s->server->session))
		err = ENOMEM;
	if (err) {
		connect_failed(s, failure_of(err));
		return false;
	}
	set_state(s, u->tls ? SCONN_HANDSHAKING : SCONN_BUSY);
	return !u->tls || shake_hands(s);
}

static void on_ready(struct stream *st)
{
	struct sconn *s = list_entry(st, struct sconn, stream);
	if (s->state ==
	    SCONN_POOLED) { /* closed, or bytes that nobody asked for: either way of no more use */
		if (!stream_quiet(st))
			sconn_close(s);
		return;
	}
	if (s->reused && s->taken_at == st->loop->now && st->can_read && !stream_quiet(st))
		s->unasked = true; /* this turn's events are older than what was written in it */
	if (s->state == SCONN_CONNECTING && !on_connected(s))
		return;
	if (s->state == SCONN_HANDSHAKING && !shake_hands(s))
		return;
	s->user->ready(s->user_ctx, s);
}

static void on_timeout(struct timeout *t)
{
	struct sconn *s = list_entry(t, struct sconn, timeout);
	if (s->state == SCONN_POOLED)
		sconn_close(s);
	else if (s->state == SCONN_CONNECTING || s->state == SCONN_HANDSHAKING)
		connect_failed(s, &too_slow);
	else
		s->user->timed_out(s->user_ctx, s);
}

/* What connect() and socket() say when it is this machine that has no more to give. */
static bool is_shortage(int err)
{
	static const int ours[] = {EMFILE, ENFILE, ENOMEM, ENOBUFS, EADDRNOTAVAIL};
	for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
		if (err == ours[i])
			return true;
	return false;
}

/* NULL: errno says why. */
static struct sconn *connect_to(struct server *srv, const struct upstream_user *user, void *ctx)
{
	struct upstream *u = srv->up;
	struct sconn *s = calloc(1, sizeof(*s));
	if (!s) {
		errno = ENOMEM;
		return NULL;
	}
	*s = (struct sconn){.state = SCONN_CONNECTING, .server = srv, .user = user, .user_ctx = ctx};
	list_init(&s->link);
	timeout_init(&s->timeout, on_timeout);
	if (!stream_connect(&s->stream, u->loop, (const struct sockaddr *)&srv->conf->sa, srv->conf->sa_len,
			    on_ready)) {
		int err = errno;
		if (!is_shortage(err)) {
			metric_add(u->connects, 1);
			metric_add(u->connect_failures, 1);
			server_count_failure(srv, failure_of(err)->kind);
		}
		free(s);
		errno = err;
		return NULL;
	}
	metric_add(u->connects, 1);
	server_begin(srv->row);
	timeout_arm(&u->connect, &s->timeout);
	return s;
}

static struct sconn *from_pool(struct server *srv, const struct upstream_user *user, void *ctx)
{
	struct list *first = list_first(&srv->pooled);
	if (!first)
		first = list_first(&srv->resting);
	if (!first)
		return NULL;
	struct sconn *s = list_entry(first, struct sconn, link);
	if (s->rests > srv->up->loop->now) /* it is the one that rested longest */
		return NULL;
	set_state(s, SCONN_BUSY);
	s->user = user;
	s->user_ctx = ctx;
	s->reused = true;
	s->rests = 0;
	s->taken_at = srv->up->loop->now;
	return s;
}

static bool full(const struct server *s)
{
	uint32_t cap = s->up->conf->max_requests;
	return cap && atomic_load_explicit(&s->row->in_flight, memory_order_relaxed) >= cap;
}

/* First the well ones in turn; then, rather than to make an outage out of caution, those out of turn too. */
enum round { ROUND_WELL, ROUND_EJECTED, ROUND_AVOIDED, ROUNDS };

static bool fits(const struct server *s, enum round round, const struct server *avoid, usec_t now)
{
	bool ejected = server_ejected(s->row, now);
	if (round == ROUND_AVOIDED)
		return s == avoid;
	return s != avoid && ejected == (round == ROUND_EJECTED);
}

enum upstream_take upstream_take(struct upstream *u, bool fresh, const struct server *avoid,
				 const struct upstream_user *user, void *ctx, struct sconn **out)
{
	unsigned n = u->conf->servers, start = u->next, tried = 0;
	for (enum round round = ROUND_WELL; round < ROUNDS; round++) {
		for (unsigned i = 0; i < n; i++) {
			unsigned at = start + i < n ? start + i : start + i - n;
			struct server *srv = &u->server[at];
			if (!fits(srv, round, avoid, u->loop->now) || full(srv))
				continue;
			tried++;
			*out = fresh ? NULL : from_pool(srv, user, ctx);
			if (!*out)
				*out = connect_to(srv, user, ctx);
			if (!*out && is_shortage(errno))
				return TAKEN_SHORT;
			if (!*out)
				continue;
			u->next = at + 1 < n ? at + 1 : 0;
			metric_add(u->requests, 1);
			u->retry_credit += u->retry_credit < RETRY_CREDIT_MAX;
			return (*out)->state == SCONN_BUSY ? TAKEN_CONNECTED : TAKEN_CONNECTING;
		}
	}
	return tried ? TAKEN_NONE : TAKEN_FULL;
}

bool upstream_may_retry(struct upstream *u)
{
	if (u->retry_credit < RETRY_PRICE)
		return false;
	u->retry_credit -= RETRY_PRICE;
	metric_add(u->retries, 1);
	return true;
}

static struct timeout_class *keep_class(struct sconn *s)
{
	struct upstream *u = s->server->up;
	usec_t asked = (usec_t)s->keep_s * USEC_PER_SEC - KEEP_MARGIN_US;
	if (!s->keep_s || asked >= u->conf->keepalive_us || s->keep_s > KEEP_SECONDS_MAX)
		return &u->keepalive;
	struct timeout_class *c = &shared->keep[s->keep_s];
	if (!c->loop)
		timeout_class_init(c, u->loop, asked);
	return c;
}

/* Of a pool that is not empty: the longest idle of those that rested, or of the others. */
static struct sconn *longest_idle(struct server *s)
{
	struct list *rested = list_first(&s->resting);
	struct list *other = list_empty(&s->pooled) ? NULL : s->pooled.prev;
	if (!rested || !other)
		return list_entry(rested ? rested : other, struct sconn, link);
	struct sconn *a = list_entry(rested, struct sconn, link), *b = list_entry(other, struct sconn, link);
	return a->pooled_at < b->pooled_at ? a : b;
}

static void make_room(struct server *s)
{
	if (s->pooled_n < s->up->conf->pool)
		return;
	metric_add(s->up->pool_full, 1);
	sconn_close(longest_idle(s));
}

void sconn_release(struct sconn *s, usec_t rest)
{
	struct stream *st = &s->stream;
	if (buf_len(&s->in) || !stream_quiet(st) || s->server->up->conf->keepalive_us == 0) {
		sconn_close(s);
		return;
	}
	st->unsure = false; /* a reset behind the last bytes is met by the next write; a try to read costs a
			       call */
	make_room(s->server);
	s->pooled_at = st->loop->now;
	s->rests = rest ? s->pooled_at + rest : 0;
	set_state(s, SCONN_POOLED);
	timeout_arm(keep_class(s), &s->timeout);
}
