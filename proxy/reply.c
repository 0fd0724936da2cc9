/* SPDX-License-Identifier: MIT */
#include "proxy/reply.h"

#include <assert.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fmt.h"
#include "proxy/render.h"

#define LIT(p, text) ((char *)mempcpy(p, text, sizeof(text) - 1))
#define DRAIN_MAX (64u << 10) /* of a request's body that is read and dropped to keep the connection */
#define ALLOW "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
#define DETAIL_MAX 200
#define PROBLEM_END "\"}\n"
#define HEAD_ROOM (1024 + RENDER_LIMITS + CORS_HEADERS_MAX)

static const struct phrase {
	uint16_t status;
	struct str text;
} phrases[] = {
	{429, STR("Too Many Requests")},
	{403, STR("Forbidden")},
	{200, STR("OK")},
	{204, STR("No Content")},
	{400, STR("Bad Request")},
	{405, STR("Method Not Allowed")},
	{408, STR("Request Timeout")},
	{413, STR("Content Too Large")},
	{414, STR("URI Too Long")},
	{417, STR("Expectation Failed")},
	{421, STR("Misdirected Request")},
	{431, STR("Request Header Fields Too Large")},
	{500, STR("Internal Server Error")},
	{501, STR("Not Implemented")},
	{502, STR("Bad Gateway")},
	{503, STR("Service Unavailable")},
	{504, STR("Gateway Timeout")},
	{505, STR("HTTP Version Not Supported")},
};

static struct str phrase_of(unsigned status)
{
	for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
		if (phrases[i].status == status)
			return phrases[i].text;
	return STR("Error");
}

/*
 * What is the same in each answer of a kind. `line` is the status line and the name of the first field,
 * `text` what stands behind the fields that differ from answer to answer: more fields, the empty line, and
 * content.
 */
struct rest {
	struct str line;
	struct str text;
	size_t head_n;	     /* of it, up to the content */
	struct str after_id; /* n > 0: the request's id follows the text, and then this */
};

/* What has come already is thrown away at once; of what may be left, a length tells and a chunked body does
 * not. */
static enum body_move drop_arrived(struct exchange *x)
{
	struct client *c = x->client;
	for (;;) {
		enum body_move m = body_drop(&x->req_body, &c->in, c->stream.eof, &x->dropped);
		if (m != BODY_MOVE_HUNGRY || x->dropped > DRAIN_MAX || !stream_may_read(&c->stream))
			return m;
		ssize_t n = client_fill(c, BLOCK_MEDIUM / 2);
		if (n == STREAM_ERROR)
			return BODY_MOVE_BAD;
	}
}

static void settle_keep(struct exchange *x)
{
	if (!x->block || worker_leaving(x->worker))
		x->keep = false;
	if (!x->keep || x->req_body.done)
		return;
	enum body_move m = drop_arrived(x);
	if (m == BODY_MOVE_DONE)
		return;
	bool small = x->req.framing == H1_FRAMING_LENGTH && x->req_body.left <= DRAIN_MAX;
	x->keep = m == BODY_MOVE_HUNGRY && small && !x->req.expect_continue;
	x->dropped = 0; /* what was thrown away so far is none of what was promised to be read */
}

static char *put_cors(char *p, const struct exchange *x, bool preflight)
{
	const struct worker *w = x->worker;
	if (!w->conf->cors_set || !x->block)
		return p;
	struct str origin = exchange_field(x, FIELD_ORIGIN);
	if (!cors_allows(w->origin, w->conf->origins, origin))
		origin = STR_NONE;
	struct str headers = exchange_field(x, FIELD_ACCESS_CONTROL_REQUEST_HEADERS);
	return p + cors_headers(p, CORS_HEADERS_MAX, origin, preflight, headers);
}

static char *put_head(char *p, struct exchange *x, unsigned status, bool preflight)
{
	struct worker *w = x->worker;
	worker_time(w);
	p = mempcpy(p, w->time.date, DATE_LENGTH);
	p = LIT(p, "\r\nX-Request-Id: ");
	p = mempcpy(p, x->id, REQUEST_ID);
	p = LIT(p, "\r\n");
	p = render_limits(x, p, status == 429);
	p = put_cors(p, x, preflight);
	if (status == 503 || (status == 429 && !x->asked))
		p = LIT(p, "Retry-After: 1\r\n");
	if (!x->keep)
		p = LIT(p, "Connection: close\r\n");
	else if (x->block && x->req.version_minor == 0)
		p = LIT(p, "Connection: keep-alive\r\n");
	return p;
}

/* Sends head and content, then lets the exchange go on to its end: the forward stage knows how to finish one.
 */
static void answer(struct exchange *x, unsigned status, const struct rest *r, bool preflight)
{
	struct client *c = x->client;
	size_t content = r->text.n - r->head_n + (r->after_id.n ? REQUEST_ID + r->after_id.n : 0), room;
	settle_keep(x);
	char *start = buf_room(&c->out, HEAD_ROOM + r->head_n + content, &room);
	if (!start) {
		client_shed(c);
		return;
	}
	char *p = put_head(fmt_str(start, r->line), x, status, preflight);
	if (x->block && x->req.method == METHOD_HEAD) {
		p = mempcpy(p, r->text.p, r->head_n);
		content = 0;
	} else {
		p = mempcpy(p, r->text.p, r->text.n);
		if (r->after_id.n)
			p = fmt_str(mempcpy(p, x->id, REQUEST_ID), r->after_id);
	}
	buf_commit(&c->out, (size_t)(p - start));
	x->status = (uint16_t)status;
	x->out_bytes = content;
	x->resp_begun = x->resp_done = true;
	forward(x);
}

static char *put_status_line(char *p, unsigned status)
{
	p = LIT(p, "HTTP/1.1 ");
	p = fmt_pad(p, status, 3);
	*p++ = ' ';
	p = fmt_str(p, phrase_of(status));
	return LIT(p, "\r\nDate: ");
}

static char *put_content_fields(char *p, unsigned status, struct str type, size_t length)
{
	if (status == 405)
		p = LIT(p, ALLOW);
	p = LIT(p, "Content-Type: ");
	p = fmt_str(p, type);
	p = LIT(p, "\r\nCache-Control: no-store\r\nContent-Length: ");
	p = fmt_u64(p, length);
	return LIT(p, "\r\n\r\n");
}

/* RFC 9457, up to the request's id. */
static char *put_problem(char *p, unsigned status, struct str detail)
{
	p = LIT(p, "{\"title\":\"");
	p = fmt_str(p, phrase_of(status));
	p = LIT(p, "\",\"status\":");
	p = fmt_pad(p, status, 3);
	p = LIT(p, ",\"detail\":\"");
	p = fmt_str(p, detail); /* our own texts: nothing to escape */
	return LIT(p, "\",\"requestId\":\"");
}

/*
 * What is the same in each answer of one kind is laid out once, and kept while the same is said again: a
 * flood is refused with one text. With it an answer costs 430 instructions, without 760 (callgrind).
 */
static const struct own_answer *lay_out(struct own_answer *a, unsigned status, const char *detail)
{
	char content[OWN_ANSWER_ROOM / 2];
	if (a->status == status && a->detail == detail)
		return a;
	assert(strlen(detail) < DETAIL_MAX);
	size_t n = (size_t)(put_problem(content, status, str_of(detail)) - content);
	char *fields = put_status_line(a->text, status);
	char *end = put_content_fields(fields, status, STR("application/problem+json"),
				       n + REQUEST_ID + sizeof(PROBLEM_END) - 1);
	a->line_n = (uint16_t)(fields - a->text);
	a->head_n = (uint16_t)(end - fields);
	end = mempcpy(end, content, n);
	a->n = (uint16_t)(end - fields);
	a->status = (uint16_t)status;
	a->detail = detail;
	return a;
}

void reply(struct exchange *x, unsigned status, const char *detail)
{
	const struct own_answer *a = lay_out(&x->worker->own_answer, status, detail);
	struct rest r = {{a->text, a->line_n}, {a->text + a->line_n, a->n}, a->head_n, STR(PROBLEM_END)};
	x->note = detail;
	answer(x, status, &r, false);
}

void reply_health(struct exchange *x, bool well)
{
	char text[256];
	unsigned status = well ? 200 : 503;
	struct str word = well ? STR("ok\n") : STR("draining\n");
	char *fields = put_status_line(text, status);
	char *content = put_content_fields(fields, status, STR("text/plain"), word.n);
	char *end = fmt_str(content, word);
	struct rest r = {{text, (size_t)(fields - text)},
			 {fields, (size_t)(end - fields)},
			 (size_t)(content - fields),
			 STR_NONE};
	answer(x, status, &r, false);
}

/* 204, with these fields last. */
static void answer_empty(struct exchange *x, struct str fields, bool preflight)
{
	char line[64];
	struct rest r = {{line, (size_t)(put_status_line(line, 204) - line)}, fields, fields.n, STR_NONE};
	answer(x, 204, &r, preflight);
}

void reply_options(struct exchange *x)
{
	answer_empty(x, STR(ALLOW "\r\n"), false);
}

void reply_preflight(struct exchange *x)
{
	answer_empty(x, STR("\r\n"), true);
}

bool reply_is_preflight(const struct exchange *x)
{
	return x->req.method == METHOD_OPTIONS && x->worker->conf->cors_set &&
	       h1_find(&x->req, FIELD_ACCESS_CONTROL_REQUEST_METHOD) &&
	       cors_allows(x->worker->origin, x->worker->conf->origins, exchange_field(x, FIELD_ORIGIN));
}

static size_t overload_text(struct worker *w, char text[256])
{
	char *p = LIT(text, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
			    "Content-Length: 0\r\nX-Request-Id: ");
	exchange_put_id(w, p);
	p = LIT(p + REQUEST_ID, "\r\n\r\n");
	return (size_t)(p - text);
}

void reply_overload(struct worker *w, int fd)
{
	char text[256], waste[BLOCK_SMALL];
	(void)send(fd, text, overload_text(w, text), MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	/* A request left unread would make a reset of the end. */
	(void)recv(fd, waste, sizeof(waste), MSG_DONTWAIT);
}

void reply_shed(struct worker *w, struct stream *s)
{
	char text[256], waste[BLOCK_SMALL];
	stream_write(s, text, overload_text(w, text));
	stream_shutdown(s);
	stream_read(s, waste, sizeof(waste));
}

void reply_plain_http(struct worker *w, int fd)
{
	static const char body[] = "This port serves HTTPS: what came is plain HTTP.\n";
	char text[512];
	char *p = LIT(text, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: "
			    "text/plain\r\nContent-Length: ");
	p = fmt_u64(p, sizeof(body) - 1);
	p = LIT(p, "\r\nX-Request-Id: ");
	exchange_put_id(w, p);
	p = LIT(p + REQUEST_ID, "\r\n\r\n");
	p = mempcpy(p, body, sizeof(body) - 1);
	(void)send(fd, text, (size_t)(p - text), MSG_DONTWAIT | MSG_NOSIGNAL);
}
