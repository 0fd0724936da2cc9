/* SPDX-License-Identifier: MIT */
#include "proxy/render.h"

#include <string.h>

#include "base/fmt.h"

#define LIT(p, text) ((char *)mempcpy(p, text, sizeof(text) - 1))

#define REQUEST_OVERHEAD                                                                                     \
	3072 /* all that is added to a request: forwarding fields with 32 hops, the id, framing */
#define RESPONSE_OVERHEAD (512 + RENDER_LIMITS)
#define STATUS_AT 9	    /* where the status stands in a response head */
#define COOKIE_OVERHEAD 256 /* what rewriting adds to one line, besides the domain */

static char *put_field(char *p, struct str name, struct str value)
{
	p = fmt_str(p, name);
	*p++ = ':';
	*p++ = ' ';
	p = fmt_str(p, value);
	*p++ = '\r';
	*p++ = '\n';
	return p;
}

/* A piece of a head that is to be copied as it stands. */
struct run {
	const char *base;
	uint32_t from, to; /* offsets into the head */
};

static inline char *end_run(struct run *r, char *p)
{
	p = mempcpy(p, r->base + r->from, r->to - r->from);
	r->from = r->to = 0;
	return p;
}

/*
 * Lines that stand in the head as weir writes them go out in one copy as long as none between them stays
 * behind. A line costs 22 instructions so, and 85 when its parts are written one by one (callgrind).
 */
static inline char *put_line(struct run *r, char *p, const struct h1_field *f)
{
	if (!(f->flags & H1_FIELD_AS_WRITTEN))
		return put_field(end_run(r, p), h1_name(r->base, f), h1_value(r->base, f));
	if (f->name_at != r->to) {
		p = end_run(r, p);
		r->from = f->name_at;
	}
	r->to = f->value_at + f->value_len + 2;
	return p;
}

static char *put_method(char *p, struct exchange *x)
{
	p = fmt_str(p, h1_text(x->base, x->req.method_text));
	*p++ = ' ';
	if (x->req.form == H1_TARGET_ORIGIN)
		return fmt_str(p, h1_text(x->base, x->req.target));
	struct str path = h1_text(
		x->base, x->req.path); /* an absolute target goes on in origin form (RFC 9112, 3.2.2) */
	p = fmt_str(p, path.n ? path : STR("/"));
	if (x->req.has_query) {
		*p++ = '?';
		p = fmt_str(p, h1_text(x->base, x->req.query));
	}
	return p;
}

/* The authority that counts, as it was written: the absolute target's, else Host's. */
static struct str authority(const struct exchange *x)
{
	if (x->req.form == H1_TARGET_ABSOLUTE)
		return h1_text(x->base, x->req.authority);
	return exchange_field(x, FIELD_HOST);
}

/*
 * Lines of one name read as one list, to which each proxy appends at the right, as to X-Forwarded-For: the
 * trusted peer's own word is the last. What stands left of it may be anybody's.
 */
static struct str last_word(const struct exchange *x, enum field_id id)
{
	const struct h1_field *last = NULL;
	for (const struct h1_field *f = h1_find(&x->req, id); f; f = h1_find_next(&x->req, f))
		last = f;
	if (!last)
		return STR_NONE;
	struct str value = h1_value(x->base, last);
	const char *comma = value.n ? memrchr(value.p, ',', value.n) : NULL;
	size_t skip = comma ? (size_t)(comma + 1 - value.p) : 0;
	return str_trim((struct str){value.p + skip, value.n - skip});
}

/* One of the two, as we write it; of a trusted peer that says neither, what the connection shows counts. */
static struct str forwarded_proto(const struct exchange *x)
{
	bool secure = x->client->secure;
	if (x->client->peer_trusted) {
		struct str said = last_word(x, FIELD_X_FORWARDED_PROTO);
		if (str_ieq(said, STR("https")))
			secure = true;
		else if (str_ieq(said, STR("http")))
			secure = false;
	}
	return secure ? STR("https") : STR("http");
}

static char *put_forwarding(char *p, struct exchange *x, struct str host)
{
	char *value = LIT(p, "X-Forwarded-For: ");
	size_t xff = client_ip_xff(value, &x->who, x->client->peer_known ? &x->client->peer : NULL);
	if (xff) /* none for nobody on a unix socket */
		p = LIT(value + xff, "\r\n");
	p = LIT(p, "X-Forwarded-Proto: ");
	p = fmt_str(p, forwarded_proto(x));
	p = LIT(p, "\r\nX-Forwarded-Host: ");
	p = fmt_str(p, host);
	if (x->who.kind != CLIENT_NOBODY) { /* whom the list above begins with */
		const char *comma = memchr(value, ',', xff);
		p = put_field(p, STR("\r\nX-Real-IP"),
			      (struct str){value, comma ? (size_t)(comma - value) : xff});
	} else {
		p = LIT(p, "\r\n");
	}
	p = LIT(p, "X-Request-Id: ");
	p = mempcpy(p, x->id, REQUEST_ID);
	return LIT(p, "\r\n");
}

/* RFC 9110, 7.6.2 and 7.6.3. */
static char *put_hops(char *p, const struct exchange *x)
{
	if (x->forwards) {
		p = LIT(p, "Max-Forwards: ");
		p = fmt_u64(p, x->forwards - 1u);
		p = LIT(p, "\r\n");
	}
	if (!x->up->conf->via)
		return p;
	return x->req.version_minor ? LIT(p, "Via: 1.1 weir\r\n") : LIT(p, "Via: 1.0 weir\r\n");
}

/* The client's TE says so (RFC 9110, 10.1.4), and its version has somewhere to put them. */
static bool takes_trailers(const struct exchange *x)
{
	const struct h1_field *f = h1_find(&x->req, FIELD_TE);
	for (; f; f = h1_find_next(&x->req, f))
		if (str_list_has(h1_value(x->base, f), STR("trailers")))
			return x->req.version_minor > 0;
	return false;
}

static char *put_request_framing(char *p, struct exchange *x)
{
	if (x->upgrade.n) {
		p = LIT(p, "Connection: upgrade\r\nUpgrade: ");
		p = fmt_str(p, x->upgrade);
		p = LIT(p, "\r\n");
	} else if (takes_trailers(x)) {
		p = LIT(p, "Connection: TE\r\nTE: trailers\r\n");
	}
	if (x->req.framing == H1_FRAMING_CHUNKED)
		return LIT(p, "Transfer-Encoding: chunked\r\n");
	if (x->req.has_length) {
		p = LIT(p, "Content-Length: ");
		p = fmt_u64(p, x->req.content_length);
		p = LIT(p, "\r\n");
	}
	return p;
}

/* What stays behind of this request (enum field_flag). */
static unsigned request_stops(const struct exchange *x)
{
	unsigned flags = FIELD_HOP | FIELD_OURS;
	if (!x->client->peer_trusted)
		flags |= FIELD_OF_PROXY;
	if (x->site->rules)
		flags |= FIELD_PATH;
	return flags;
}

bool render_request(struct exchange *x)
{
	const struct h1_head *h = &x->req;
	struct str host = authority(x);
	size_t room;
	char *start = buf_room(&x->up_out, 2 * (size_t)h->length + 2 * host.n + REQUEST_OVERHEAD, &room);
	if (!start)
		return false;
	char *p = put_method(start, x);
	p = LIT(p, " HTTP/1.1\r\nHost: ");
	p = fmt_str(p, host);
	p = LIT(p, "\r\n");
	struct run run = {.base = x->base};
	const unsigned stops = request_stops(x);
	for (const struct h1_field *f = h->field, *end = f + h->fields; f < end; f++) {
		if (field_is(f->id, stops) || f->flags & H1_FIELD_STOPS)
			continue;
		p = put_line(&run, p, f);
	}
	p = put_forwarding(end_run(&run, p), x, host);
	p = put_hops(p, x);
	p = put_request_framing(p, x);
	p = LIT(p, "\r\n");
	buf_commit(&x->up_out, (size_t)(p - start));
	return true;
}

uint64_t render_seconds(usec_t us)
{
	return us <= 0 ? 1 : (uint64_t)((us + USEC_PER_SEC - 1) / USEC_PER_SEC);
}

static char *put_quoted_name(char *p, const struct policy *policy)
{
	*p++ = '"';
	p = fmt_str(p, str_of(policy->name));
	*p++ = '"';
	return p;
}

/*
 * What is always said of a policy, but for clients with another limit than the last one's, is laid out once
 * and kept: both fields cost 190 instructions with it, 454 without (callgrind).
 */
static const struct limit_text *limit_text(struct worker *w, const struct table_ask *ask)
{
	struct limit_text *t = &w->limit_text[ask->policy->id];
	if (t->quota_n && t->limit == ask->limit)
		return t;
	char *p = put_quoted_name(t->quota, ask->policy);
	p = LIT(p, ";q=");
	p = fmt_u64(p, ask->limit);
	p = LIT(p, ";w=");
	p = fmt_u64(p, render_seconds(ask->policy->window_us));
	t->quota_n = (uint8_t)(p - t->quota);
	p = LIT(put_quoted_name(t->left, ask->policy), ";r=");
	t->left_n = (uint8_t)(p - t->left);
	t->limit = ask->limit;
	return t;
}

/* draft-ietf-httpapi-ratelimit-headers: lists of items, each a policy's name with its parameters. */
static char *put_standard(struct exchange *x, char *p)
{
	const struct limit_text *text[POLICY_MAX_APPLIED];
	const struct ticket *t = &x->ticket;
	bool any = false;
	for (unsigned i = 0; i < t->asks; i++) {
		if (t->ask[i].policy->shadow)
			continue;
		p = any ? LIT(p, ", ") : LIT(p, "RateLimit-Policy: ");
		any = true;
		text[i] = limit_text(x->worker, &t->ask[i]);
		p = mempcpy(p, text[i]->quota, text[i]->quota_n);
	}
	if (!any)
		return p;
	any = false;
	for (unsigned i = 0; i < t->asks; i++) {
		if (t->ask[i].policy->shadow)
			continue;
		p = any ? LIT(p, ", ") : LIT(p, "\r\nRateLimit: ");
		any = true;
		p = mempcpy(p, text[i]->left, text[i]->left_n);
		p = fmt_u64(p, t->verdict.state[i].remaining);
		p = LIT(p, ";t=");
		p = fmt_u64(p, render_seconds(t->verdict.state[i].reset_us));
	}
	return LIT(p, "\r\n");
}

/* The policy with the least left: the one that a client will meet first. -1: all are in shadow. */
static int tightest(const struct ticket *t)
{
	int best = -1;
	for (unsigned i = 0; i < t->asks; i++)
		if (!t->ask[i].policy->shadow &&
		    (best < 0 || t->verdict.state[i].remaining < t->verdict.state[best].remaining))
			best = (int)i;
	return best;
}

static char *put_legacy(struct exchange *x, char *p)
{
	int i = tightest(&x->ticket);
	if (i < 0)
		return p;
	p = LIT(p, "X-RateLimit-Limit: ");
	p = fmt_u64(p, x->ticket.ask[i].limit);
	p = LIT(p, "\r\nX-RateLimit-Remaining: ");
	p = fmt_u64(p, x->ticket.verdict.state[i].remaining);
	p = LIT(p, "\r\nX-RateLimit-Reset: ");
	p = fmt_u64(p, render_seconds(x->ticket.verdict.state[i].reset_us));
	return LIT(p, "\r\n");
}

static usec_t longest_wait(const struct ticket *t)
{
	usec_t wait = 0;
	for (unsigned i = 0; i < t->asks; i++)
		if (t->verdict.refused_by >> i & 1 && t->verdict.state[i].retry_after_us > wait)
			wait = t->verdict.state[i].retry_after_us;
	return wait;
}

static char *put_limits(struct exchange *x, char *p, bool refused)
{
	if (refused) {
		p = LIT(p, "Retry-After: ");
		p = fmt_u64(p, render_seconds(longest_wait(&x->ticket)));
		p = LIT(p, "\r\n");
	}
	switch (x->worker->conf->rate_limit.headers) {
	case LIMIT_HEADERS_STANDARD:
		return put_standard(x, p);
	case LIMIT_HEADERS_LEGACY:
		return put_legacy(x, p);
	case LIMIT_HEADERS_OFF:
		break;
	}
	return p;
}

/*
 * In a flood the same is said again for a second: 95 instructions when it is kept, 323 when it is written
 * each time (callgrind).
 */
static char *put_refusal(struct exchange *x, char *p)
{
	struct refusal_text *r = &x->worker->refusal_text;
	const struct table_ask *ask = &x->ticket.ask[0];
	const struct window_state *s = &x->ticket.verdict.state[0];
	if (x->ticket.asks != 1)
		return put_limits(x, p, true);
	uint64_t retry_s = render_seconds(s->retry_after_us), reset_s = render_seconds(s->reset_us);
	if (r->policy != ask->policy || r->limit != ask->limit || r->left != s->remaining ||
	    r->retry_s != retry_s || r->reset_s != reset_s) {
		r->policy = ask->policy;
		r->limit = ask->limit;
		r->left = s->remaining;
		r->retry_s = retry_s;
		r->reset_s = reset_s;
		r->n = (uint32_t)(put_limits(x, r->text, true) - r->text);
	}
	return mempcpy(p, r->text, r->n);
}

char *render_limits(struct exchange *x, char *p, bool refused)
{
	if (x->token > TOKEN_GOOD) {
		p = LIT(p, "X-Weir-Lift: ");
		p = fmt_str(p, str_of(token_worth_word(x->token)));
		p = LIT(p, "\r\n");
	}
	if (!x->asked)
		return p;
	return refused ? put_refusal(x, p) : put_limits(x, p, false);
}

/* Status and reason, as a run that goes on with the fields. */
static char *put_status_line(struct run *r, char *p, const struct h1_head *h)
{
	p = LIT(p, "HTTP/1.1 ");
	if (r->base[STATUS_AT + 3] == ' ') {
		*r = (struct run){r->base, STATUS_AT, h->reason.at + h->reason.n + 2};
		return p;
	}
	p = fmt_pad(p, h->status, 3); /* its SP may be missing where there is no reason, but not here */
	return LIT(p, " \r\n");
}

/* Where the origin has left it out (RFC 9110, 6.6.1). */
static char *put_date(char *p, struct exchange *x)
{
	if (h1_has(&x->resp, FIELD_DATE))
		return p;
	worker_time(x->worker);
	p = LIT(p, "Date: ");
	p = mempcpy(p, x->worker->time.date, DATE_LENGTH);
	return LIT(p, "\r\n");
}

/* Says what becomes of the connection only where the version's default does not (RFC 9112, 9.3). */
static char *put_connection(char *p, const struct exchange *x)
{
	if (!x->keep)
		return LIT(p, "Connection: close\r\n");
	return x->req.version_minor == 0 ? LIT(p, "Connection: keep-alive\r\n") : p;
}

/* Of a 101 the protocol that was agreed on; of a 426 those that the site lists (RFC 9110, 7.8 and 15.5.22).
 */
static char *put_upgrade(char *p, struct exchange *x, const char *base)
{
	struct str token;
	char *start = p;
	p = LIT(p, "Connection: upgrade\r\nUpgrade: ");
	char *first = p;
	for (const struct h1_field *f = h1_find(&x->resp, FIELD_UPGRADE); f; f = h1_find_next(&x->resp, f)) {
		struct str list = h1_value(base, f);
		while (str_next_element(&list, &token)) {
			if (!exchange_may_upgrade(x, token))
				continue;
			if (p > first)
				*p++ = ',';
			p = fmt_str(p, token);
		}
	}
	return p > first ? LIT(p, "\r\n") : start;
}

static char *put_response_framing(char *p, struct exchange *x, enum out_framing framing)
{
	switch (framing) {
	case OUT_LENGTH:
		p = LIT(p, "Content-Length: ");
		p = fmt_u64(p, x->resp.content_length);
		return LIT(p, "\r\n");
	case OUT_CHUNKED:
		return LIT(p, "Transfer-Encoding: chunked\r\n");
	case OUT_NONE:
	case OUT_UNTIL_CLOSE:
		break;
	}
	return p;
}

static bool rewrites_cookies(const struct exchange *x)
{
	return x->site && x->site->cookies && x->worker->cookie_rules.domain.n;
}

static char *put_cookie(char *p, struct exchange *x, struct str name, struct str value)
{
	struct cookie_out out[COOKIE_OUT_MAX];
	wall_t now = x->worker->loop.now + x->worker->time.offset;
	unsigned lines = cookie_rewrite(&x->worker->cookie_rules, x->host, value, now, out);
	if (!lines)
		return put_field(p, name, value);
	for (unsigned i = 0; i < lines; i++) {
		p = fmt_str(p, name);
		p = LIT(p, ": ");
		for (unsigned part = 0; part < out[i].parts; part++)
			p = fmt_str(p, out[i].part[part]);
		p = LIT(p, "\r\n");
	}
	return p;
}

/* The origin's word on whom it served goes to the log and no further. */
static bool took_user(struct exchange *x, const char *base, const struct h1_field *f)
{
	struct str header = x->worker->conf->log.user_header;
	if (!header.n || f->name_len != header.n || !str_ieq(h1_name(base, f), header))
		return false;
	struct str v = h1_value(base, f);
	x->user_len = (uint8_t)(v.n < sizeof(x->user) ? v.n : sizeof(x->user));
	if (x->user_len)
		memcpy(x->user, v.p, x->user_len);
	return true;
}

static bool ours_in_response(const struct exchange *x, enum field_id id)
{
	switch (id) {
	case FIELD_CONTENT_LENGTH:
	case FIELD_X_REQUEST_ID:
	case FIELD_X_WEIR_LIFT:
		return true;
	case FIELD_RATELIMIT:
	case FIELD_RATELIMIT_POLICY:
	case FIELD_X_RATELIMIT_LIMIT:
	case FIELD_X_RATELIMIT_REMAINING:
	case FIELD_X_RATELIMIT_RESET:
		return x->asked && x->worker->conf->rate_limit.headers != LIMIT_HEADERS_OFF;
	default:
		return false;
	}
}

static bool stays_behind(struct exchange *x, const char *base, const struct h1_field *f)
{
	if (f->flags & H1_FIELD_STOPS || field_is(f->id, FIELD_HOP))
		return true;
	return (field_is(f->id, FIELD_OURS) && ours_in_response(x, f->id)) || took_user(x, base, f);
}

static char *put_response_fields(struct run *run, char *p, struct exchange *x)
{
	const struct h1_head *h = &x->resp;
	bool cookies = rewrites_cookies(x);
	for (const struct h1_field *f = h->field, *end = f + h->fields; f < end; f++) {
		if (stays_behind(x, run->base, f))
			continue;
		if (f->id == FIELD_SET_COOKIE && cookies)
			p = put_cookie(end_run(run, p), x, h1_name(run->base, f), h1_value(run->base, f));
		else
			p = put_line(run, p, f);
	}
	return end_run(run, p);
}

/* A head as it was, written anew: a blank more behind each colon, and one behind the status. */
static size_t written_room(const struct h1_head *h)
{
	return h->length + h->fields + 1;
}

static size_t cookie_room(const struct exchange *x)
{
	size_t n = 0;
	const struct h1_field *f = rewrites_cookies(x) ? h1_find(&x->resp, FIELD_SET_COOKIE) : NULL;
	for (; f; f = h1_find_next(&x->resp, f))
		n += COOKIE_OUT_MAX * (f->value_len + x->worker->cookie_rules.domain.n + COOKIE_OVERHEAD);
	return n;
}

bool render_response(struct exchange *x, const char *base, enum out_framing framing)
{
	size_t room;
	struct buf *out = &x->client->out;
	char *start = buf_room(out, written_room(&x->resp) + cookie_room(x) + RESPONSE_OVERHEAD, &room);
	if (!start)
		return false;
	struct run run = {.base = base};
	char *p = put_status_line(&run, start, &x->resp);
	p = put_response_fields(&run, p, x);
	p = put_response_framing(p, x, framing);
	p = render_limits(x, p, false);
	p = LIT(p, "X-Request-Id: ");
	p = mempcpy(p, x->id, REQUEST_ID);
	p = LIT(p, "\r\n");
	if (x->resp.status != 101)
		p = put_date(put_connection(p, x), x);
	if (x->resp.status == 101 || x->resp.status == 426)
		p = put_upgrade(p, x, base);
	p = LIT(p, "\r\n");
	buf_commit(out, (size_t)(p - start));
	return true;
}

bool render_interim(struct exchange *x, const char *base)
{
	size_t room;
	struct buf *out = &x->client->out;
	char *start = buf_room(out, written_room(&x->resp), &room);
	if (!start)
		return false;
	struct run run = {.base = base};
	char *p = put_status_line(&run, start, &x->resp);
	for (const struct h1_field *f = x->resp.field, *end = f + x->resp.fields; f < end; f++) {
		if (f->flags & H1_FIELD_STOPS || field_is(f->id, FIELD_HOP) ||
		    f->id == FIELD_CONTENT_LENGTH || took_user(x, base, f))
			continue;
		p = put_line(&run, p, f);
	}
	p = LIT(end_run(&run, p), "\r\n");
	buf_commit(out, (size_t)(p - start));
	return true;
}
