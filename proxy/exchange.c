/* SPDX-License-Identifier: MIT */
#include "proxy/exchange.h"

#include <stdlib.h>
#include <string.h>

#include "base/fmt.h"
#include "base/log.h"
#include "proxy/access_log.h"
#include "proxy/decide.h"
#include "proxy/reply.h"
#include "proxy/tally.h"

#ifndef __SANITIZE_ADDRESS__
#define SPARES_MAX 256
#else
#define SPARES_MAX 0 /* so that a use after the end is seen */
#endif
#define FORWARDS_MAX 255
#define VALUES_MAX                                                                                           \
	64 /* lines of one forwarding field; of more, the last ones, since they are read from the right */

/* --- making and ending --- */

void exchange_put_id(struct worker *w, char *out)
{
	uint64_t a = worker_random(w), b = worker_random(w);
	a = (a & ~UINT64_C(0xf000)) | 0x4000;		    /* version 4 */
	b = (b & ~(UINT64_C(3) << 62)) | UINT64_C(1) << 63; /* variant */
	char digits[32];
	fmt_hex32(digits, a, b);
	memcpy(out, digits, 8);
	memcpy(out + 9, digits + 8, 4);
	memcpy(out + 14, digits + 12, 4);
	memcpy(out + 19, digits + 16, 4);
	memcpy(out + 24, digits + 20, 12);
	out[8] = out[13] = out[18] = out[23] = '-';
}

static size_t bytes_of(const struct worker *w)
{
	size_t fields = w->request_limits.fields + w->response_limits.fields;
	return sizeof(struct exchange) + fields * sizeof(struct h1_field);
}

struct exchange *exchange_begin(struct client *c)
{
	struct worker *w = c->worker;
	struct exchange *x = w->spare;
	unsigned fields = w->request_limits.fields;
	if (x) {
		w->spare = x->next_spare;
		if (--w->spares < w->spares_unused)
			w->spares_unused = w->spares;
	} else {
		x = malloc(bytes_of(w));
		if (!x)
			return NULL;
		x->resp_field = x->req_field + fields;
	}
	memset(x, 0, offsetof(struct exchange, uncleared));
	x->client = c;
	x->worker = w;
	x->started = w->loop.now;
	x->stats = &w->site[w->conf->sites];
	x->keep = true;
	x->who.kind = CLIENT_NOBODY;
	x->who.nets = NULL;
	x->who.hops_n = 0;
	x->req_body.total = x->resp_body.total = 0;
	x->req_body.done = true;
	list_init(&x->ticket.link);
	x->ticket.asks = 0;
	x->ticket.looked = false;
	x->ticket.question = NULL;
	x->lift_id[0] = 0;
	h1_head_init(&x->req, x->req_field, (uint16_t)fields);
	exchange_put_id(w, x->id);
	metric_add(w->count.active, 1);
	return x;
}

size_t exchange_trim(struct worker *w)
{
	size_t freed = w->spares_unused * bytes_of(w);
	for (; w->spares_unused; w->spares_unused--, w->spares--) {
		struct exchange *x = w->spare;
		w->spare = x->next_spare;
		free(x);
	}
	w->spares_unused = w->spares;
	return freed;
}

static void let_go(struct exchange *x)
{
	limiter_cancel(x->worker->limiter, &x->ticket);
	if (x->server) {
		x->last_server = x->server->server;
		sconn_close(x->server);
		x->server = NULL;
	}
}

void exchange_end(struct exchange *x)
{
	struct worker *w = x->worker;
	let_go(x);
	if (x->held)
		tally_leave(TALLY_REQUESTS, x->held);
	if (!x->unlogged)
		access_log_write(w->log, x);
	metric_sub(w->count.active, 1);
	metric_add(w->count.bytes_in, (x->block ? x->req.length : 0) + x->req_body.total);
	metric_add(w->count.bytes_out, x->out_bytes + x->resp_body.total);
	buf_drop(&x->up_out);
	buf_drop(&x->up_held);
	if (x->block)
		block_put(x->block);
	x->client->x = NULL;
	if (w->spares == SPARES_MAX) {
		free(x);
		return;
	}
	x->next_spare = w->spare;
	w->spare = x;
	w->spares++;
}

static bool response_over(const struct exchange *x)
{
	return x->resp_done && !buf_len(&x->client->out);
}

bool exchange_would_look_whole(const struct exchange *x)
{
	return x->from_upstream && !response_over(x) && !x->tunnel && !x->to_client.chunked &&
	       x->resp.framing != H1_FRAMING_LENGTH;
}

void exchange_cancel(struct exchange *x, const char *why)
{
	if (x->from_upstream && !response_over(x))
		x->gap = why;
	if (!x->status)
		x->keep = false;
	if (!x->status && x->block)
		x->note = "the client closed the connection";
	if (!x->block && !x->status)
		x->unlogged = true; /* there was no request yet */
	exchange_end(x);
}

/* --- stages --- */

static struct client_values values_of(const struct exchange *x, enum field_id id, struct str v[VALUES_MAX])
{
	size_t n = 0;
	for (const struct h1_field *f = h1_find(&x->req, id); f; f = h1_find_next(&x->req, f)) {
		if (n == VALUES_MAX)
			memmove(v, v + 1, --n * sizeof(*v));
		v[n++] = h1_value(x->base, f);
	}
	return (struct client_values){v, n};
}

static struct client_values values_named(const struct exchange *x, struct str name, struct str v[VALUES_MAX])
{
	size_t n = 0;
	const struct h1_field *f = NULL;
	while (name.n && n < VALUES_MAX && (f = h1_find_name(&x->req, x->base, name, f)))
		v[n++] = h1_value(x->base, f);
	return (struct client_values){v, n};
}

static enum client_header header_kind(const struct conf_client_ip *c)
{
	switch (c->header) {
	case CONF_FORWARDED:
		return CLIENT_HEADER_FORWARDED;
	case CONF_SINGLE:
		return client_header_of(c->header_name);
	case CONF_XFF:
		break;
	}
	return CLIENT_HEADER_XFF;
}

static void read_headers(struct exchange *x)
{
	const struct conf_client_ip *c = &x->worker->conf->client_ip;
	struct client *cl = x->client;
	struct str xff[VALUES_MAX], fwd[VALUES_MAX], one[VALUES_MAX], secret[VALUES_MAX];
	struct client_source source = {
		.nets = x->worker->conf->nets,
		.trusted = c->trusted,
		.header = header_kind(c),
		.only_with = c->only_with_value,
	};
	struct client_heard heard = {.xff = values_of(x, FIELD_X_FORWARDED_FOR, xff)};
	if (c->header == CONF_FORWARDED)
		heard.forwarded = values_of(x, FIELD_FORWARDED, fwd);
	if (c->header == CONF_SINGLE) {
		heard.address = values_named(x, c->header_name, one);
		heard.only_with = values_named(x, c->only_with_name, secret);
	}
	client_ip_find(&source, cl->peer_known ? &cl->peer : NULL, cl->peer_nets, &heard, &x->who);
}

/* The one line of X-Forwarded-For, where it is what names clients and there are no others. */
static struct str lone_xff(const struct exchange *x)
{
	const struct h1_field *f = h1_find(&x->req, FIELD_X_FORWARDED_FOR);
	if (!f || f->flags & H1_FIELD_REPEATED || x->worker->conf->client_ip.header != CONF_XFF)
		return STR_NONE;
	return h1_value(x->base, f);
}

static void find_client(struct exchange *x)
{
	struct client *cl = x->client;
	if (!cl->peer_trusted) {
		x->who.kind = CLIENT_PEER;
		x->who.addr = cl->peer;
		x->who.nets = cl->peer_nets;
		return;
	}
	struct str text = lone_xff(x);
	if (client_memo_find(x->worker->client_memo, text, &x->who))
		return;
	read_headers(x);
	client_memo_keep(x->worker->client_memo, text, &x->who);
}

static enum step stage_identify(struct exchange *x)
{
	find_client(x);
	x->key = client_key(x->who.addr, x->worker->conf->client_ip.ipv6_prefix);
	memcpy(x->ticket.client.b, x->key.b, sizeof(x->ticket.client.b));
	limiter_expect(x->worker->limiter, &x->ticket.client);
	return STEP_NEXT;
}

static bool is_health_check(const struct exchange *x)
{
	const struct conf *conf = x->worker->conf;
	if (!str_eq(h1_text(x->base, x->req.path), conf->health_path))
		return false;
	if (x->req.method != METHOD_GET && x->req.method != METHOD_HEAD)
		return false;
	return !h1_find(&x->req, FIELD_X_FORWARDED_FOR) && !h1_find(&x->req, FIELD_FORWARDED);
}

/* 1*DIGIT, of which no more than FORWARDS_MAX is passed on; -1: something else. */
static int read_max_forwards(struct str s)
{
	unsigned v = 0;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = (unsigned char)s.p[i] - (unsigned)'0';
		if (digit > 9)
			return -1;
		v = v * 10 + digit < FORWARDS_MAX ? v * 10 + digit : FORWARDS_MAX;
	}
	return s.n ? (int)v : -1;
}

/* RFC 9110, 7.6.2: whoever it has run out at is the last recipient. TRACE is never forwarded. */
static enum step count_forwards(struct exchange *x)
{
	struct h1_field *f = &x->req_field[x->req.first[FIELD_MAX_FORWARDS]];
	int left = f->flags & H1_FIELD_REPEATED ? -1 : read_max_forwards(h1_value(x->base, f));
	if (left < 0) {
		reply(x, 400, "a Max-Forwards that is not one number");
		return STEP_DONE;
	}
	if (left == 0) {
		reply_options(x);
		return STEP_DONE;
	}
	f->flags |= H1_FIELD_STOPS;
	x->forwards = (uint8_t)left;
	return STEP_NEXT;
}

/* What weir answers itself, whatever the host. */
static enum step stage_answer(struct exchange *x)
{
	if (is_health_check(x)) {
		x->unlogged = true;
		reply_health(x, x->worker->state == WORKER_SERVING || x->worker->state == WORKER_QUIESCING);
		return STEP_DONE;
	}
	if (x->who.kind == CLIENT_NOBODY) {
		metric_add(x->worker->count.unnamed, 1);
		worker_warn_unnamed(x->worker);
	}
	if (x->req.method == METHOD_CONNECT || x->req.method == METHOD_TRACE) {
		reply(x, 405, "this method is not served");
		return STEP_DONE;
	}
	if (x->req.form == H1_TARGET_ASTERISK) {
		reply_options(x);
		return STEP_DONE;
	}
	if (x->req.method == METHOD_OPTIONS && h1_has(&x->req, FIELD_MAX_FORWARDS))
		return count_forwards(x);
	return STEP_NEXT;
}

/* The host without its port, in lower case, without the dot that may end it. */
static void take_host(struct exchange *x)
{
	struct str h = h1_text(x->base, x->req.host);
	if (h.n && h.p[h.n - 1] == '.')
		h.n--;
	if (h.n > HOST_MAX)
		h.n = 0;
	ascii_lower_copy(x->host_text, h.p, h.n);
	x->host = (struct str){x->host_text, h.n};
}

/* An https resource is for connections with TLS, at whichever end of a trusted proxy (RFC 9110, 7.4). */
static bool lacks_tls(const struct exchange *x)
{
	const struct client *c = x->client;
	return x->req.scheme.n == sizeof("https") - 1 && !c->secure && !c->peer_trusted;
}

static const struct conf_site *find_site(struct exchange *x)
{
	struct str came = h1_text(x->base, x->req.host);
	struct site_memo *m = &x->worker->site_memo;
	const struct conf_site *site = site_memo_find(m, came, x->host_text, &x->host.n);
	x->host.p = x->host_text;
	if (site)
		return site;
	take_host(x);
	site = x->host.n ? conf_site_of(x->worker->conf, x->host) : NULL;
	site_memo_keep(m, came, x->host, site);
	return site;
}

static enum step stage_route(struct exchange *x)
{
	x->site = find_site(x);
	if (!x->site || lacks_tls(x)) {
		x->site = NULL;
		x->verdict = VERDICT_UNROUTED;
		reply(x, x->host.n || !x->req.host.n ? 421 : 400, "no site is served under this host");
		return STEP_DONE;
	}
	x->stats = &x->worker->site[x->site->id];
	x->up = &x->worker->upstream[x->site->upstream->id];
	return STEP_NEXT;
}

static enum step forbid(struct exchange *x, enum refusal why)
{
	x->verdict = VERDICT_FORBIDDEN;
	site_count_refusal(x->stats, why);
	reply(x, 403, "this host or path is not open to your network");
	return STEP_DONE;
}

static enum step stage_authorize(struct exchange *x)
{
	struct decision d;
	if (x->who.nets && lifts_block(x->worker->lifts, x->worker->loop.now, x->who.addr.b, x->lift_id)) {
		x->verdict = VERDICT_FORBIDDEN;
		site_count_refusal(x->stats, REFUSAL_BLOCK);
		reply(x, 403, "your address is blocked for a time");
		return STEP_DONE;
	}
	decide(x->worker->conf, x->site, x->who.nets, h1_text(x->base, x->req.path), &d);
	switch (d.kind) {
	case DECISION_PASS:
		break;
	case DECISION_DENIED:
		return forbid(x, REFUSAL_DENY);
	case DECISION_SITE:
		return forbid(x, REFUSAL_SITE);
	case DECISION_PATH:
		return forbid(x, REFUSAL_PATH);
	case DECISION_NOBODY:
		return forbid(x, REFUSAL_NOBODY);
	case DECISION_UNREADABLE:
		x->verdict = VERDICT_MALFORMED;
		reply(x, 400, "the path cannot be read in one way only");
		return STEP_DONE;
	}
	if (x->req.has_length && x->req.content_length > x->worker->conf->caps.body) {
		reply(x, 413, "the request's body is larger than this server takes");
		return STEP_DONE;
	}
	if (d.exempt)
		x->verdict = VERDICT_EXEMPT;
	else
		x->ticket.asks = d.asks;
	if (x->ticket.asks)
		memcpy(x->ticket.ask, d.ask, d.asks * sizeof(d.ask[0]));
	return STEP_NEXT;
}

static enum lift_effect lifted(struct exchange *x)
{
	const struct worker *w = x->worker;
	if (x->lift == LIFT_NONE) /* no token has freed it */
		x->lift = lifts_match(w->lifts, w->loop.now, x->who.addr.b, x->site->name, x->lift_id);
	return x->lift;
}

static void refuse(struct exchange *x, const char *why)
{
	if (reply_is_preflight(x))
		reply_preflight(x);
	else
		reply(x, 429, why);
}

static enum step limit(struct exchange *x)
{
	const struct ticket *t = &x->ticket;
	for (unsigned i = 0; i < t->asks; i++)
		if (t->verdict.refused_by >> i & 1)
			site_count_limited(x->stats, t->ask[i].policy);
	x->verdict = VERDICT_LIMITED;
	refuse(x, "too many requests from your address: see Retry-After");
	return STEP_DONE;
}

static enum step judge(struct exchange *x)
{
	const struct ticket *t = &x->ticket;
	x->asked = true;
	for (unsigned i = 0; i < t->asks; i++)
		if (t->verdict.shadow_over >> i & 1)
			site_count_shadowed(x->stats, t->ask[i].policy);
	if (!t->verdict.granted)
		return limit(x);
	x->verdict = t->verdict.shadow_over ? VERDICT_SHADOW : VERDICT_OK;
	if (x->lift == LIFT_SHADOW)
		x->asked = false; /* nothing is said of limits to clients for whom they are lifted */
	return STEP_NEXT;
}

static void on_answer(struct ticket *t)
{
	exchange_run(list_entry(t, struct exchange, ticket));
}

/* Under a lift in shadow every policy counts and reports, and none refuses. */
static void shadow_asks(struct exchange *x)
{
	for (unsigned i = 0; i < x->ticket.asks; i++)
		x->ticket.ask[i].policy = &x->worker->shadow[x->ticket.ask[i].policy->id];
}

/* What a token frees is freed as by a lift of its id. */
static enum step stage_token(struct exchange *x)
{
	struct worker *w = x->worker;
	if (!h1_find(&x->req, FIELD_X_WEIR_LIFT))
		return STEP_NEXT;
	worker_time(w);
	const struct token_case request = {
		.conf = w->conf,
		.lifts = w->lifts,
		.addr = x->who.nets ? x->who.addr.b : NULL,
		.site = x->site->name,
		.now = w->loop.now,
		.wall = w->loop.now + w->time.offset,
	};
	char id[LIFT_ID];
	x->token = tokens_judge(w->tokens, &request, exchange_field(x, FIELD_X_WEIR_LIFT), id);
	if (x->token == TOKEN_GOOD) {
		x->lift = LIFT_FULL;
		memcpy(x->lift_id, id, LIFT_ID);
	}
	return STEP_NEXT;
}

/* A client of whom the store has said until when it refuses him gets no further: a flood holds nothing. */
static enum step stage_recall(struct exchange *x)
{
	struct ticket *t = &x->ticket;
	if (!t->asks)
		return STEP_NEXT;
	if (lifted(x) == LIFT_FULL) {
		x->verdict = VERDICT_LIFTED;
		return STEP_NEXT;
	}
	if (x->lift == LIFT_SHADOW)
		shadow_asks(x);
	return limiter_refuses(x->worker->limiter, t) ? judge(x) : STEP_NEXT;
}

/* Tunnels count too. Nobody, the exempt and those for whom limits are lifted are held to nothing. */
static enum step stage_hold(struct exchange *x)
{
	const struct conf *conf = x->worker->conf;
	if (!conf->caps.client_requests || x->who.kind == CLIENT_NOBODY || x->verdict == VERDICT_EXEMPT)
		return STEP_NEXT;
	x->held = tally_enter(TALLY_REQUESTS, &x->key, conf->caps.client_requests);
	if (x->held || lifted(x) != LIFT_NONE)
		return STEP_NEXT;
	x->verdict = VERDICT_CROWDED;
	site_count_refusal(x->stats, REFUSAL_IN_FLIGHT);
	refuse(x, "too many requests from your address are being served");
	return STEP_DONE;
}

static enum step stage_admit(struct exchange *x)
{
	struct ticket *t = &x->ticket;
	if (x->ticket_sent) /* called by its answer */
		return judge(x);
	if (!t->asks || x->lift == LIFT_FULL)
		return STEP_NEXT;
	t->answered = on_answer;
	x->ticket_sent = true;
	return limiter_ask(x->worker->limiter, t) == LIMITER_NOW ? judge(x) : STEP_WAIT;
}

bool exchange_may_upgrade(const struct exchange *x, struct str token)
{
	for (unsigned i = 0; i < x->site->upgrades; i++)
		if (str_ieq(token, x->site->upgrade[i]))
			return true;
	return false;
}

/* The first token of the site's list goes on alone, so that nothing else can be agreed on (h2c walks around
 * rules). */
static enum step stage_upgrade(struct exchange *x)
{
	if (!x->req.connection_upgrade || !x->site->upgrades || !x->req_body.done)
		return STEP_NEXT;
	for (const struct h1_field *f = h1_find(&x->req, FIELD_UPGRADE); f; f = h1_find_next(&x->req, f)) {
		struct str list = h1_value(x->base, f), token;
		while (!x->upgrade.n && str_next_element(&list, &token))
			if (exchange_may_upgrade(x, token))
				x->upgrade = token;
	}
	return STEP_NEXT;
}

static enum step stage_measure(struct exchange *x)
{
	histogram_observe(&x->worker->count.added, x->worker->loop.now - x->head_at);
	return STEP_NEXT;
}

/* --- the table --- */

static const struct stage {
	const char *name;
	enum step (*run)(struct exchange *);
} stages[] = {
	{"identify", stage_identify},	{"answer", stage_answer},   {"route", stage_route},
	{"authorize", stage_authorize}, {"token", stage_token},	    {"recall", stage_recall},
	{"hold", stage_hold},		{"admit", stage_admit},	    {"upgrade", stage_upgrade},
	{"measure", stage_measure},	{"connect", stage_connect}, {"forward", stage_forward},
};
#define STAGES (sizeof(stages) / sizeof(stages[0]))

void exchange_run(struct exchange *x)
{
	for (;;) {
		switch (stages[x->stage].run(x)) {
		case STEP_NEXT:
			x->stage++;
			continue;
		case STEP_WAIT:
		case STEP_DONE:
			return;
		}
	}
}

void exchange_connect_again(struct exchange *x)
{
	while (stages[x->stage].run != stage_connect)
		x->stage--;
	exchange_run(x);
}

void exchange_start(struct exchange *x)
{
	struct client *c = x->client;
	x->block = block_hold(c->in.block);
	x->base = buf_head(&c->in);
	x->head_at = x->worker->loop.now;
	x->keep = x->req.keep_alive;
	buf_consume(&c->in, x->req.length);
	body_begin(&x->req_body, (enum h1_framing)x->req.framing, x->req.content_length,
		   &x->worker->request_limits);
	x->req_body.no_trailers = x->req.connection_fields; /* they may be named there (RFC 9110, 7.6.1) */
	exchange_run(x);
}

void exchange_refuse(struct exchange *x, unsigned status, const char *why)
{
	x->keep = false;
	x->verdict = VERDICT_MALFORMED;
	metric_add(x->worker->count.malformed, 1);
	reply(x, status, why);
}
