/* SPDX-License-Identifier: MIT */
#include "proxy/reply.h"

#include <string.h>
#include <sys/socket.h>

#include "base/fmt.h"
#include "proxy/render.h"

#define LIT(p, text) ((char *)mempcpy(p, text, sizeof(text) - 1))
#define DRAIN_MAX (64u << 10) /* of a request's body that is read and dropped to keep the connection */
#define BODY_ROOM 512
#define HEAD_ROOM (1024 + RENDER_LIMITS + CORS_HEADERS_MAX)

static const struct phrase {
	uint16_t status;
	const char *text;
} phrases[] = {
	{200, "OK"},
	{204, "No Content"},
	{400, "Bad Request"},
	{403, "Forbidden"},
	{405, "Method Not Allowed"},
	{408, "Request Timeout"},
	{413, "Content Too Large"},
	{414, "URI Too Long"},
	{417, "Expectation Failed"},
	{421, "Misdirected Request"},
	{429, "Too Many Requests"},
	{431, "Request Header Fields Too Large"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
	{505, "HTTP Version Not Supported"},
};

static const char *phrase_of(unsigned status)
{
	for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
		if (phrases[i].status == status)
			return phrases[i].text;
	return "Error";
}

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
	worker_time(x->worker);
	p = LIT(p, "HTTP/1.1 ");
	p = fmt_pad(p, status, 3);
	*p++ = ' ';
	p = fmt_str(p, str_of(phrase_of(status)));
	p = LIT(p, "\r\nDate: ");
	p = fmt_str(p, str_of(x->worker->time.date));
	p = LIT(p, "\r\nX-Request-Id: ");
	p = mempcpy(p, x->id, REQUEST_ID);
	p = LIT(p, "\r\n");
	p = render_limits(x, p, status == 429);
	p = put_cors(p, x, preflight);
	if (status == 405)
		p = LIT(p, "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n");
	if (status == 503 || (status == 429 && !x->asked))
		p = LIT(p, "Retry-After: 1\r\n");
	if (!x->keep)
		p = LIT(p, "Connection: close\r\n");
	else if (x->block && x->req.version_minor == 0)
		p = LIT(p, "Connection: keep-alive\r\n");
	return p;
}

static char *put_problem(char *p, const struct exchange *x, unsigned status, const char *detail)
{
	p = LIT(p, "{\"title\":\"");
	p = fmt_str(p, str_of(phrase_of(status)));
	p = LIT(p, "\",\"status\":");
	p = fmt_u64(p, status);
	p = LIT(p, ",\"detail\":\"");
	p = fmt_str(p, str_of(detail)); /* our own texts: nothing to escape */
	p = LIT(p, "\",\"requestId\":\"");
	p = mempcpy(p, x->id, REQUEST_ID);
	return LIT(p, "\"}\n");
}

/* Sends head and body, then lets the exchange go on to its end: the forward stage knows how to finish one. */
static void answer(struct exchange *x, unsigned status, const char *type, struct str body, bool preflight)
{
	struct client *c = x->client;
	size_t room;
	settle_keep(x);
	char *start = buf_room(&c->out, HEAD_ROOM + body.n, &room);
	if (!start) {
		client_shed(c);
		return;
	}
	char *p = put_head(start, x, status, preflight);
	if (status != 204) {
		p = LIT(p, "Content-Type: ");
		p = fmt_str(p, str_of(type));
		p = LIT(p, "\r\nCache-Control: no-store\r\nContent-Length: ");
		p = fmt_u64(p, body.n);
		p = LIT(p, "\r\n");
	}
	p = LIT(p, "\r\n");
	if (x->block && x->req.method == METHOD_HEAD)
		body.n = 0;
	p = fmt_str(p, body);
	buf_commit(&c->out, (size_t)(p - start));
	x->status = (uint16_t)status;
	x->out_bytes = body.n;
	x->resp_begun = x->resp_done = true;
	forward(x);
}

void reply(struct exchange *x, unsigned status, const char *detail)
{
	char body[BODY_ROOM];
	x->note = detail;
	char *end = put_problem(body, x, status, detail);
	answer(x, status, "application/problem+json", (struct str){body, (size_t)(end - body)}, false);
}

void reply_health(struct exchange *x, bool well)
{
	answer(x, well ? 200 : 503, "text/plain", well ? STR("ok\n") : STR("draining\n"), false);
}

void reply_options(struct exchange *x)
{
	struct client *c = x->client;
	size_t room;
	settle_keep(x);
	char *start = buf_room(&c->out, HEAD_ROOM, &room);
	if (!start) {
		client_shed(c);
		return;
	}
	char *p = put_head(start, x, 204, false);
	p = LIT(p, "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n\r\n");
	buf_commit(&c->out, (size_t)(p - start));
	x->status = 204;
	x->resp_begun = x->resp_done = true;
	forward(x);
}

bool reply_is_preflight(const struct exchange *x)
{
	return x->req.method == METHOD_OPTIONS && x->worker->conf->cors_set &&
	       h1_find(&x->req, FIELD_ACCESS_CONTROL_REQUEST_METHOD) &&
	       cors_allows(x->worker->origin, x->worker->conf->origins, exchange_field(x, FIELD_ORIGIN));
}

void reply_preflight(struct exchange *x)
{
	answer(x, 204, "", STR_NONE, true);
}

void reply_overload(struct worker *w, int fd)
{
	char text[256], waste[BLOCK_SMALL];
	char *p = LIT(text, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
			    "Content-Length: 0\r\nX-Request-Id: ");
	exchange_put_id(w, p);
	p = LIT(p + REQUEST_ID, "\r\n\r\n");
	ssize_t ignored = send(fd, text, (size_t)(p - text), MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	ignored = recv(fd, waste, sizeof(waste),
		       MSG_DONTWAIT); /* a request left unread would make a reset of the end */
	(void)ignored;
}
