/* SPDX-License-Identifier: MIT */
#include "control/metrics_http.h"

#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/util.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/board.h"
#include "control/prometheus.h"
#include "control/request.h"
#include "control/status.h"
#include "control/status_page.h"

#define HEAD_MOST 8192
#define BODY_MOST 1024
#define IDLE_S 30 /* above the usual scrape interval of 15 s, so that a scraper's connection lives */
#define ALL_METHODS 0xffff

struct metrics_http {
	struct control *control;
	struct evhttp *http;
	int fd;
};

/* What a path shows; false: it could not be written (out of memory). */
struct page {
	const char *path, *type;
	bool (*write)(const struct control *, struct text *);
};

static bool write_metrics(const struct control *c, struct text *t)
{
	prometheus_write(c, t);
	return !t->cut;
}

static bool write_status(const struct control *c, struct text *t)
{
	status_page_write(c, t);
	return !t->cut;
}

static bool write_json(const struct control *c, struct text *t)
{
	struct json *j = request_json();
	status_json(c, j);
	size_t n = json_finish(j);
	text_bytes(t, j->start, n);
	text_bytes(t, "\n", 1);
	return n && !t->cut;
}

static bool write_health(const struct control *c, struct text *t)
{
	(void)c;
	text_add(t, atomic_load(&board()->draining) ? "draining\n" : "ok\n");
	return !t->cut;
}

static const struct page pages[] = {
	{"/metrics", "text/plain; version=0.0.4; charset=utf-8", write_metrics},
	{"/status", "text/html; charset=utf-8", write_status},
	{"/status.json", "application/json", write_json},
	{"/healthz", "text/plain; charset=utf-8", write_health},
};
#define PAGES (sizeof(pages) / sizeof(pages[0]))

static void set(struct evhttp_request *q, const char *name, const char *value)
{
	evhttp_add_header(evhttp_request_get_output_headers(q), name, value);
}

static void reply(struct evhttp_request *q, int code, const char *reason, const char *type,
		  const struct text *body)
{
	struct evbuffer *b = evhttp_request_get_output_buffer(q);
	set(q, "Content-Type", type);
	set(q, "Cache-Control", "no-store");
	set(q, "X-Content-Type-Options", "nosniff");
	set(q, "Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
	evbuffer_add(b, body->p, body->n);
	evhttp_send_reply(q, code, reason, NULL);
}

static void reply_error(struct evhttp_request *q, int code, const char *reason, const char *why)
{
	struct text t = {0};
	text_add(&t, "%s\n", why);
	reply(q, code, reason, "text/plain; charset=utf-8", &t);
	text_free(&t);
}

static bool loopback(const struct addr *a)
{
	static const uint8_t one[16] = {[15] = 1};
	return addr_is_v4(a) ? a->b[12] == 127 : memcmp(a->b, one, sizeof(one)) == 0;
}

static bool may_look(const struct metrics_http *m, struct evhttp_request *q)
{
	const struct conf *conf = control_conf(m->control);
	struct addr a;
	char *text = NULL;
	ev_uint16_t port;
	evhttp_connection_get_peer(evhttp_request_get_connection(q), &text, &port);
	if (!text || !addr_parse(str_of(text), &a))
		return false;
	return loopback(&a) || netmask_any(&conf->admin.http_allow, netset_lookup(conf->nets, &a));
}

static const struct page *find_page(struct evhttp_request *q)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(q);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL;
	for (unsigned i = 0; path && i < PAGES; i++)
		if (strcmp(path, pages[i].path) == 0)
			return &pages[i];
	return NULL;
}

static void show(const struct metrics_http *m, struct evhttp_request *q, const struct page *p)
{
	struct text t = {0};
	bool draining = p->write == write_health && atomic_load(&board()->draining);
	if (p->write(m->control, &t))
		reply(q, draining ? 503 : HTTP_OK, draining ? "Service Unavailable" : "OK", p->type, &t);
	else
		reply_error(q, HTTP_INTERNAL, "Internal Server Error", "out of memory");
	text_free(&t);
}

static void on_request(struct evhttp_request *q, void *arg)
{
	struct metrics_http *m = arg;
	enum evhttp_cmd_type method = evhttp_request_get_command(q);
	const struct page *p;
	loop_wake(&m->control->loop);
	if (!may_look(m, q)) {
		reply_error(q, 403, "Forbidden", "this address is not in admin.allow");
	} else if (method != EVHTTP_REQ_GET && method != EVHTTP_REQ_HEAD) {
		set(q, "Allow", "GET, HEAD");
		reply_error(q, HTTP_BADMETHOD, "Method Not Allowed", "GET and HEAD only");
	} else if (!(p = find_page(q))) {
		reply_error(q, HTTP_NOTFOUND, "Not Found",
			    "there are /metrics, /status, /status.json and /healthz");
	} else {
		show(m, q, p);
	}
}

struct metrics_http *metrics_http_open(struct control *c, int fd)
{
	struct metrics_http *m = calloc(1, sizeof(*m));
	evutil_make_socket_nonblocking(fd);
	if (m)
		m->http = evhttp_new(c->loop.base);
	if (!m || !m->http || evhttp_accept_socket(m->http, fd) != 0) {
		if (m && m->http)
			evhttp_free(m->http);
		free(m);
		close(fd);
		return NULL;
	}
	m->control = c;
	m->fd = fd;
	evhttp_set_max_headers_size(m->http, HEAD_MOST);
	evhttp_set_max_body_size(m->http, BODY_MOST);
	evhttp_set_timeout(m->http, IDLE_S);
	evhttp_set_allowed_methods(m->http, ALL_METHODS); /* others get our 405 with Allow */
	evhttp_set_gencb(m->http, on_request, m);
	return m;
}

void metrics_http_close(struct metrics_http *m)
{
	evhttp_free(m->http); /* and the socket */
	free(m);
}

int metrics_http_fd(const struct metrics_http *m)
{
	return m->fd;
}
