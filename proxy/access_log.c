/* SPDX-License-Identifier: MIT */
#include "proxy/access_log.h"

#include <stdlib.h>
#include <string.h>

#include "base/fmt.h"
#include "base/json.h"
#include "base/ring.h"
#include "proxy/exchange.h"
#include "proxy/query_redact.h"

#define LIT(p, text) ((char *)mempcpy(p, text, sizeof(text) - 1))

/* Bytes, escaped. LINE_MAX_LOGGED is what a line may come to, whatever a client sends. */
#define TEXT_MAX_LOGGED 4000 /* of the path, and of the query */
#define FIELD_MAX_LOGGED 300
#define FIELDS_LOGGED 9	  /* of that length */
#define FIXED_LOGGED 1024 /* names, punctuation, numbers, addresses */
#define LINE_MAX_LOGGED(text_max) (2 * (text_max) + FIELDS_LOGGED * FIELD_MAX_LOGGED + FIXED_LOGGED)
#define CLOSED_BY_CLIENT 499 /* as nginx says it: no status was sent */

#define FOLDS 1024 /* clients a second with a folded line; more are only counted */
#define FOLD_LINE 4096
#define FOLD_TEXT 180 /* of path and query, where a line is too long to be folded as it is */

_Static_assert(LINE_MAX_LOGGED(TEXT_MAX_LOGGED) <= RING_LINE, "a line fits into the ring");
_Static_assert(LINE_MAX_LOGGED(FOLD_TEXT) <= FOLD_LINE, "a short line fits into a fold");

struct fold {
	struct addr addr;
	uint32_t repeated;
	uint32_t len;
	char line[FOLD_LINE]; /* without its closing brace */
};

struct access_log {
	struct worker *worker;
	bool on;
	usec_t second_ends;
	uint32_t refused;	  /* lines for refusals written in this span */
	uint16_t slot[FOLDS * 2]; /* hash of addresses to folds, plus one; 0: free */
	unsigned folds;
	struct fold *fold;
	struct timeout_class class;
	struct timeout timeout;
};

/* --- fields --- */

static char *put_text(char *p, struct str s, size_t max)
{
	*p++ = '"';
	p = json_escape(p, p + max, s);
	*p++ = '"';
	return p;
}

static char *put_text_or_null(char *p, struct str s, size_t max)
{
	return s.n ? put_text(p, s, max) : LIT(p, "null");
}

/* version-traceid-parentid-flags in lower-case hex; an id of zeros alone is none (W3C Trace Context, 3.2.2).
 */
static bool is_traceparent(struct str t)
{
	if (t.n < 55 || t.p[2] != '-' || t.p[35] != '-' || t.p[52] != '-' || memcmp(t.p, "ff", 2) == 0)
		return false;
	bool zero = true;
	for (unsigned i = 3; i < 35; i++) {
		if (!memchr("0123456789abcdef", t.p[i], 16))
			return false;
		zero = zero && t.p[i] == '0';
	}
	return !zero;
}

/* The trace that a line belongs to: traceparent's (W3C), the load balancer's Root, else the request's own id.
 */
static struct str trace_id(const struct exchange *x)
{
	struct str t = x->block ? exchange_field(x, FIELD_TRACEPARENT) : STR_NONE;
	if (is_traceparent(t))
		return (struct str){t.p + 3, 32};
	t = x->block ? exchange_field(x, FIELD_X_AMZN_TRACE_ID) : STR_NONE;
	while (t.n) {
		const char *semi = memchr(t.p, ';', t.n);
		size_t n = semi ? (size_t)(semi - t.p) : t.n;
		struct str part = str_trim((struct str){t.p, n});
		if (part.n > 5 && memcmp(part.p, "Root=", 5) == 0)
			return (struct str){part.p + 5, part.n - 5};
		t = (struct str){t.p + n + (semi != NULL), t.n - n - (semi != NULL)};
	}
	return (struct str){x->id, REQUEST_ID};
}

static char *put_ms(char *p, usec_t us)
{
	return fmt_u64(p, us > 0 ? (uint64_t)(us + 500) / 1000 : 0);
}

/* Milliseconds with three decimals. */
static char *put_ms_fine(char *p, usec_t us)
{
	uint64_t v = us > 0 ? (uint64_t)us : 0;
	p = fmt_u64(p, v / 1000);
	*p++ = '.';
	return fmt_pad(p, v % 1000, 3);
}

static char *put_time(char *p, struct exchange *x)
{
	struct worker *w = x->worker;
	worker_time(w);
	wall_t now = w->loop.now + w->time.offset;
	p = LIT(p, ",\"time\":\"");
	p = fmt_str(p, str_of(w->time.second));
	*p++ = '.';
	p = fmt_pad(p, (uint64_t)(now / 1000 % 1000), 3);
	*p++ = '"';
	return p;
}

static char *put_query(char *p, struct exchange *x, size_t max)
{
	const struct conf_log *log = &x->worker->conf->log;
	struct str q = x->block ? h1_text(x->base, x->req.query) : STR_NONE;
	p = LIT(p, ",\"context\":{\"args\":");
	if (q.n) {
		*p++ = '"';
		p = query_redact(p, p + max, q, log->redact, log->redacts);
		*p++ = '"';
	} else {
		p = LIT(p, "null");
	}
	return LIT(p, ",\"result\":null}");
}

static char *put_client(char *p, const struct exchange *x)
{
	if (x->who.kind == CLIENT_NOBODY)
		return LIT(p, "null");
	*p++ = '"';
	p += addr_format(p, &x->who.addr);
	*p++ = '"';
	return p;
}

static char *put_peer(char *p, const struct client *c)
{
	if (!c->peer_known)
		return LIT(p, "null");
	*p++ = '"';
	p += addr_format(p, &c->peer);
	*p++ = '"';
	return p;
}

/* The fields that all of the team's services write, in their order. */
static char *put_team_fields(char *p, struct exchange *x, usec_t took, size_t text_max)
{
	struct str method = x->block ? h1_text(x->base, x->req.method_text) : STR_NONE;
	struct str path = x->block ? h1_text(x->base, x->req.path) : STR_NONE;
	p = LIT(p, "{\"server\":");
	p = put_text(p, x->worker->conf->log.server, FIELD_MAX_LOGGED);
	p = LIT(p, ",\"path\":");
	p = put_text_or_null(p, path, text_max);
	p = LIT(p, ",\"method\":");
	p = put_text_or_null(p, method, FIELD_MAX_LOGGED);
	p = LIT(p, ",\"traceId\":");
	p = put_text(p, trace_id(x), FIELD_MAX_LOGGED);
	p = LIT(p, ",\"ip\":");
	p = put_client(p, x);
	p = LIT(p, ",\"layer\":\"EDGE\",\"visitor\":{\"userId\":");
	p = put_text_or_null(p, (struct str){x->user, x->user_len}, FIELD_MAX_LOGGED);
	p = x->user_len ? LIT(p, ",\"role\":\"USER\"}") : LIT(p, ",\"role\":\"GUEST\"}");
	p = put_time(p, x);
	p = LIT(p, ",\"duration\":\"");
	p = put_ms(p, took);
	p = LIT(p, "ms\"");
	return put_query(p, x, text_max);
}

static const char *source_word(enum verdict_source s)
{
	static const char *const words[] = {"redis", "memory", "local"};
	return words[s];
}

/* The policy that refused, or would have; else the first that applied. A ticket has no verdict while it
 * waits, and none if its client left before. */
static const struct policy *policy_of(const struct exchange *x, bool decided)
{
	const struct ticket *t = &x->ticket;
	if (!t->asks)
		return NULL;
	unsigned over = decided ? t->verdict.refused_by | t->verdict.shadow_over : 0;
	return t->ask[over ? (unsigned)__builtin_ctz(over) : 0].policy;
}

static char *put_limit_fields(char *p, const struct exchange *x)
{
	enum verdict_word v = x->verdict >= VERDICT_FORBIDDEN ? VERDICT_NONE : x->verdict;
	bool decided = v == VERDICT_OK || v == VERDICT_LIMITED || v == VERDICT_SHADOW;
	const struct policy *policy = policy_of(x, decided);
	p = LIT(p, ",\"policy\":");
	p = put_text_or_null(p, policy ? str_of(policy->name) : STR_NONE, FIELD_MAX_LOGGED);
	p = LIT(p, ",\"limit\":\"");
	p = fmt_str(p, str_of(verdict_word(v)));
	p = LIT(p, "\",\"source\":");
	p = put_text_or_null(p, decided ? str_of(source_word(x->ticket.verdict.source)) : STR_NONE, 16);
	p = LIT(p, ",\"lift\":");
	return put_text_or_null(p, str_of(x->lift_id), 16);
}

static char *put_own_fields(char *p, struct exchange *x, usec_t took)
{
	const struct server *last = x->last_server;
	p = LIT(p, ",\"requestId\":\"");
	p = mempcpy(p, x->id, REQUEST_ID);
	p = LIT(p, "\",\"host\":");
	p = put_text_or_null(p, x->block ? h1_text(x->base, x->req.host) : STR_NONE, FIELD_MAX_LOGGED);
	p = LIT(p, ",\"status\":");
	p = fmt_u64(p, x->status ? x->status : CLOSED_BY_CLIENT);
	p = LIT(p, ",\"bytes\":");
	p = fmt_u64(p, x->out_bytes + x->resp_body.total);
	p = LIT(p, ",\"durationMs\":");
	p = put_ms_fine(p, took);
	p = LIT(p, ",\"upstream\":");
	p = put_text_or_null(p, last ? last->up->conf->name : STR_NONE, FIELD_MAX_LOGGED);
	p = LIT(p, ",\"upstreamMs\":");
	if (x->first_at)
		p = put_ms_fine(p, x->first_at - (x->sent_at ? x->sent_at : x->head_at));
	else
		p = LIT(p, "null");
	p = put_limit_fields(p, x);
	p = LIT(p, ",\"client\":");
	p = put_client(p, x);
	p = LIT(p, ",\"peer\":");
	p = put_peer(p, x->client);
	p = LIT(p, ",\"upstreamServer\":");
	p = put_text_or_null(p, last ? last->conf->text : STR_NONE, FIELD_MAX_LOGGED);
	const char *note = x->from_upstream ? x->gap : x->note;
	if (note) {
		p = LIT(p, ",\"note\":");
		p = put_text(p, str_of(note), FIELD_MAX_LOGGED);
	}
	return p;
}

/* Without its closing brace and newline. */
static char *lay_out(char *p, struct exchange *x, size_t text_max)
{
	usec_t took = x->worker->loop.now - x->started;
	p = put_team_fields(p, x, took, text_max);
	return put_own_fields(p, x, took);
}

static char *room(struct access_log *l)
{
	char *p = ring_reserve(RING_ACCESS);
	if (!p)
		metric_add(l->worker->count.log_dropped, 1);
	return p;
}

static void write_line(struct access_log *l, struct exchange *x)
{
	char *start = room(l);
	if (!start)
		return;
	char *p = lay_out(start, x, TEXT_MAX_LOGGED);
	p = LIT(p, "}\n");
	ring_commit(RING_ACCESS, (size_t)(p - start));
}

/* --- folding --- */

static void write_fold(struct access_log *l, const struct fold *f)
{
	char *start = room(l);
	if (!start)
		return;
	char *p = mempcpy(start, f->line, f->len);
	p = LIT(p, ",\"repeated\":");
	p = fmt_u64(p, f->repeated);
	p = LIT(p, "}\n");
	ring_commit(RING_ACCESS, (size_t)(p - start));
}

static void write_folds(struct access_log *l)
{
	for (unsigned i = 0; i < l->folds; i++)
		write_fold(l, &l->fold[i]);
	if (l->folds)
		memset(l->slot, 0, sizeof(l->slot));
	l->folds = 0;
}

static void on_second(struct timeout *t)
{
	write_folds(list_entry(t, struct access_log, timeout));
}

static unsigned slot_of(const struct addr *a)
{
	uint64_t h[2];
	memcpy(h, a->b, sizeof(h));
	uint64_t v = (h[0] ^ h[1] >> 7) * UINT64_C(0x9e3779b97f4a7c15) + h[1];
	v = (v ^ v >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	return (unsigned)(v >> 32) % (FOLDS * 2);
}

static struct fold *find_fold(struct access_log *l, const struct addr *a, bool *made)
{
	unsigned at = slot_of(a);
	*made = false;
	for (; l->slot[at]; at = (at + 1) % (FOLDS * 2)) {
		struct fold *f = &l->fold[l->slot[at] - 1];
		if (addr_eq(&f->addr, a))
			return f;
	}
	if (l->folds == FOLDS)
		return NULL;
	struct fold *f = &l->fold[l->folds++];
	l->slot[at] = (uint16_t)l->folds;
	f->addr = *a;
	f->repeated = 0;
	*made = true;
	return f;
}

static void fold(struct access_log *l, struct exchange *x)
{
	static char line[RING_LINE];
	bool made;
	struct fold *f = find_fold(l, &x->who.addr, &made);
	metric_add(l->worker->count.log_folded, 1);
	if (!f)
		return;
	f->repeated++;
	if (!made)
		return;
	size_t n = (size_t)(lay_out(line, x, TEXT_MAX_LOGGED) - line);
	if (n > FOLD_LINE)
		n = (size_t)(lay_out(line, x, FOLD_TEXT) - line);
	memcpy(f->line, line, n);
	f->len = (uint32_t)n;
	if (!timeout_armed(&l->timeout))
		timeout_arm(&l->class, &l->timeout);
}

static bool within_budget(struct access_log *l)
{
	const struct conf_log *log = &l->worker->conf->log;
	usec_t now = l->worker->loop.now;
	if (now >= l->second_ends) {
		l->second_ends = now + log->refusals_us;
		l->refused = 0;
	}
	if (l->refused >= log->refusals)
		return false;
	l->refused++;
	return true;
}

/* --- the module --- */

struct access_log *access_log_open(struct worker *w)
{
	struct access_log *l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->worker = w;
	l->on = w->conf->log.access != ACCESS_LOG_OFF;
	l->fold = malloc(FOLDS * sizeof(*l->fold));
	if (!l->fold) {
		free(l);
		return NULL;
	}
	timeout_class_init(&l->class, &w->loop, USEC_PER_SEC);
	timeout_init(&l->timeout, on_second);
	return l;
}

void access_log_close(struct access_log *l)
{
	if (!l)
		return;
	write_folds(l);
	timeout_class_drop(&l->class);
	free(l->fold);
	free(l);
}

void access_log_write(struct access_log *l, struct exchange *x)
{
	unsigned status = x->status ? x->status : CLOSED_BY_CLIENT;
	metric_add(x->stats->verdict[x->verdict], 1);
	site_count_response(x->stats, x->from_upstream, status);
	if (!l->on)
		return;
	bool refused = x->verdict == VERDICT_LIMITED || x->verdict == VERDICT_FORBIDDEN ||
		       x->verdict == VERDICT_CROWDED;
	if (refused && !within_budget(l))
		fold(l, x);
	else
		write_line(l, x);
}
