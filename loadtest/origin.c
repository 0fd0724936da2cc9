/* SPDX-License-Identifier: MIT */
/*
 * A small, fast HTTP/1.1 origin to stand behind weir in the demo, the load tests and the benchmark: one
 * process, one thread, any number of ports, each with its own name. It is no general server: it speaks to a
 * proxy that frames its requests well, and closes the connection on what it cannot read.
 *
 *   origin [-a ADDRESS] [-n NAME] [-p PORT] [[-n NAME] -p PORT]...     (a name goes for the ports after it)
 *
 * A connection is read into one buffer and answered from another; it is read only while its answers drain:
 *
 *   READING -> (an answer is due later: WAITING) -> READING ... -> TUNNEL (WebSocket) -> closed
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/str.h"

#define IN_SIZE 32768
#define PORTS_MAX 64
#define EVENTS_MAX 256
#define PIECE (1 << 20) /* of a long body, sent or dropped at a time */

struct port {
	int fd;
	int number;
	const char *name;
};

enum conn_state { READING, WAITING, TUNNEL };

struct conn {
	struct list link;
	int fd;
	enum conn_state state;
	const struct port *port;
	bool writing;	  /* EPOLLOUT is asked for */
	bool close_after; /* once the output is out */
	uint64_t skip;	  /* bytes of a request body still to drop */
	bool hold;	  /* the answer waits for the end of the request's body */
	bool chunked;	  /* a chunked body is being dropped */
	uint64_t fill;	  /* bytes of a long response body still to make */
	usec_t due;	  /* when WAITING ends */
	size_t in_n;	  /* bytes in `in` */
	char *out;	  /* grows as needed, kept for the next answer */
	size_t out_n, out_at, out_cap;
	char in[IN_SIZE];
};

struct request {
	struct str head, method, target, path, upgrade, ws_key, cookie, client;
	bool http10, close, keep, expect;
};

struct route {
	const char *prefix;
	void (*answer)(struct conn *, const struct request *);
};

static int poller;
static struct port ports[PORTS_MAX];
static unsigned port_count;
static struct list serving, waiting, freed; /* each connection is in one of them */
static volatile sig_atomic_t stopping;
static int filling; /* a piece of a long body: it goes out by sendfile, so that making it costs nothing */

/* The answer that the benchmark asks for, ready to be copied: 130 bytes of body. */
static const char fixed[] =
	"HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Type: application/json\r\nContent-Length: 130\r\n\r\n"
	"{\"ok\": true, \"items\": [1, 2, 3, 4, 5, 6, 7, 8], \"text\": \"a small answer, as most of the "
	"answers of an "
	"API are: under one packet\"}\n";

/* Output */

static void reserve(struct conn *c, size_t n)
{
	if (c->out_at == c->out_n)
		c->out_at = c->out_n = 0;
	if (c->out_n + n <= c->out_cap)
		return;
	size_t cap = c->out_cap ? c->out_cap : 4096;
	while (cap < c->out_n + n)
		cap *= 2;
	char *grown = realloc(c->out, cap);
	if (!grown) {
		perror("origin: out of memory");
		exit(1);
	}
	c->out = grown;
	c->out_cap = cap;
}

static void put(struct conn *c, const void *p, size_t n)
{
	reserve(c, n);
	memcpy(c->out + c->out_n, p, n);
	c->out_n += n;
}

__attribute__((format(printf, 2, 3))) static void putf(struct conn *c, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	reserve(c, (size_t)n + 1);
	vsnprintf(c->out + c->out_n, (size_t)n + 1, fmt, again);
	va_end(again);
	c->out_n += (size_t)n;
}

/* The head without its empty line. A 204 has no length (RFC 9110, 8.6). */
static void put_head(struct conn *c, const struct request *r, const char *status, const char *type,
		     uint64_t length)
{
	putf(c, "HTTP/1.1 %s\r\nServer: origin\r\nX-Origin: %s\r\n", status, c->port->name);
	if (memcmp(status, "204", 3) != 0)
		putf(c, "Content-Type: %s\r\nContent-Length: %llu\r\n", type, (unsigned long long)length);
	if (r->close)
		putf(c, "Connection: close\r\n");
	else if (r->http10)
		putf(c, "Connection: keep-alive\r\n");
}

static bool is_head(const struct request *r)
{
	return str_eq(r->method, STR("HEAD"));
}

/* A whole answer; `extra` is header lines with their CRLF, or empty. */
static void put_answer(struct conn *c, const struct request *r, const char *status, const char *type,
		       const char *extra, const char *body)
{
	put_head(c, r, status, type, strlen(body));
	putf(c, "%s\r\n", extra);
	if (!is_head(r))
		put(c, body, strlen(body));
}

static void watch(struct conn *c, bool writing)
{
	if (c->writing == writing)
		return;
	struct epoll_event ev = {.events = writing ? EPOLLOUT : EPOLLIN, .data.ptr = c};
	if (epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &ev) == 0)
		c->writing = writing;
}

static ssize_t send_out(struct conn *c)
{
	ssize_t n = send(c->fd, c->out + c->out_at, c->out_n - c->out_at, c->fill ? MSG_MORE : 0);
	if (n > 0)
		c->out_at += (size_t)n;
	return n;
}

static ssize_t send_fill(struct conn *c)
{
	off_t at = 0;
	ssize_t n = sendfile(c->fd, filling, &at, c->fill < PIECE ? (size_t)c->fill : PIECE);
	if (n > 0)
		c->fill -= (uint64_t)n;
	return n;
}

/* Writes what there is. False when the connection is to go. */
static bool flush(struct conn *c)
{
	if (c->state == WAITING || (c->hold && (c->skip || c->chunked)))
		return true;
	while (c->out_at < c->out_n || c->fill) {
		ssize_t n = c->out_at < c->out_n ? send_out(c) : send_fill(c);
		if (n < 0 && errno == EAGAIN) {
			watch(c, true);
			return true;
		}
		if (n < 0)
			return false;
	}
	watch(c, false);
	return !(c->close_after && c->skip == 0 && !c->chunked);
}

/* Answers */

static void answer_fixed(struct conn *c, const struct request *r)
{
	if (r->close || r->http10 || is_head(r))
		put_answer(c, r, "200 OK", "application/json", "", "{\"ok\": true}\n");
	else
		put(c, fixed, sizeof(fixed) - 1);
}

static void answer_page(struct conn *c, const struct request *r)
{
	char body[1024];
	snprintf(body, sizeof(body),
		 "<!doctype html>\n<html lang=en><meta charset=utf-8><title>%s</title>\n"
		 "<h1>%s</h1>\n<p>A demo service behind weir.\n<ul>\n"
		 "<li><a href=/login>/login</a> sets a session cookie, <a href=/logout>/logout</a> deletes "
		 "it, "
		 "<a href=/whoami>/whoami</a> tells it\n"
		 "<li><a href=/headers>/headers</a> shows what arrived here\n"
		 "<li><a href=/slow/500>/slow/500</a>, <a href=/bytes/100000>/bytes/100000</a>, "
		 "<a href=/api/items>/api/items</a>\n</ul>\n</html>\n",
		 c->port->name, c->port->name);
	put_answer(c, r, "200 OK", "text/html; charset=utf-8", "", body);
}

/* The target goes into a JSON string: what could break out of it is left out. */
static void answer_api(struct conn *c, const struct request *r)
{
	char path[256], body[512];
	size_t n = 0;
	for (size_t i = 0; i < r->path.n && n < sizeof(path) - 1; i++)
		if (r->path.p[i] > 0x20 && r->path.p[i] != '"' && r->path.p[i] != '\\' &&
		    r->path.p[i] != 0x7f)
			path[n++] = r->path.p[i];
	path[n] = '\0';
	snprintf(body, sizeof(body),
		 "{\"server\": \"%s\", \"method\": \"%.*s\", \"path\": \"%s\", \"client\": \"%.*s\"}\n",
		 c->port->name, (int)(r->method.n < 16 ? r->method.n : 16), r->method.p, path,
		 (int)(r->client.n < 64 ? r->client.n : 64), r->client.n ? r->client.p : "");
	put_answer(c, r, "200 OK", "application/json", "", body);
}

static void answer_health(struct conn *c, const struct request *r)
{
	put_answer(c, r, "200 OK", "text/plain", "", "ok\n");
}

static void answer_login(struct conn *c, const struct request *r)
{
	unsigned char id[12];
	char extra[160], hex[2 * sizeof(id) + 1];
	RAND_bytes(id, sizeof(id));
	for (size_t i = 0; i < sizeof(id); i++)
		snprintf(hex + 2 * i, 3, "%02x", id[i]);
	snprintf(extra, sizeof(extra),
		 "Set-Cookie: session=%s; Path=/; HttpOnly\r\nSet-Cookie: csrf_token=%.8s; "
		 "Path=/\r\nX-User-Id: u-%.6s\r\n",
		 hex, hex, hex);
	put_answer(c, r, "200 OK", "text/plain", extra, "logged in\n");
}

static void answer_logout(struct conn *c, const struct request *r)
{
	put_answer(
		c, r, "200 OK", "text/plain",
		"Set-Cookie: session=; Path=/; Max-Age=0\r\nSet-Cookie: csrf_token=; Path=/; Max-Age=0\r\n",
		"logged out\n");
}

static void answer_whoami(struct conn *c, const struct request *r)
{
	char body[512];
	if (r->cookie.n)
		snprintf(body, sizeof(body), "%s: you sent %.*s\n", c->port->name,
			 (int)(r->cookie.n < 400 ? r->cookie.n : 400), r->cookie.p);
	else
		snprintf(body, sizeof(body), "%s: you sent no cookie\n", c->port->name);
	put_answer(c, r, "200 OK", "text/plain", "", body);
}

static void answer_headers(struct conn *c, const struct request *r)
{
	put_head(c, r, "200 OK", "text/plain", r->head.n);
	putf(c, "\r\n");
	if (!is_head(r))
		put(c, r->head.p, r->head.n);
}

/* The number that ends the path, /bytes/N; 0 to `max`, or `otherwise` where none stands. */
static uint64_t path_number(struct str path, uint64_t otherwise, uint64_t max)
{
	uint64_t n = 0;
	size_t i = path.n;
	while (i && path.p[i - 1] >= '0' && path.p[i - 1] <= '9')
		i--;
	if (i == path.n)
		return otherwise;
	for (; i < path.n && n <= max; i++)
		n = n * 10 + (uint64_t)(path.p[i] - '0');
	return n > max ? max : n;
}

static void answer_bytes(struct conn *c, const struct request *r)
{
	uint64_t n = path_number(r->path, 1024, (uint64_t)1 << 40);
	put_head(c, r, "200 OK", "application/octet-stream", n);
	putf(c, "\r\n");
	c->fill = is_head(r) ? 0 : n;
}

static void answer_upload(struct conn *c, const struct request *r)
{
	put_answer(c, r, "200 OK", "text/plain", "", "all of it came\n");
	c->hold = true;
}

static void answer_status(struct conn *c, const struct request *r)
{
	char status[24];
	unsigned code = (unsigned)path_number(r->path, 200, 599);
	snprintf(status, sizeof(status), "%u Status", code < 200 ? 200 : code);
	put_answer(c, r, status, "text/plain", "", code == 204 || code == 304 ? "" : "as you asked\n");
}

static void answer_slow(struct conn *c, const struct request *r)
{
	usec_t ms = (usec_t)path_number(r->path, 1000, 600000);
	put_answer(c, r, "200 OK", "text/plain", "", "it took its time\n");
	c->state = WAITING;
	c->due = clock_mono() + ms * USEC_PER_MSEC;
	list_del(&c->link);
	list_push(&waiting, &c->link);
}

/* RFC 6455, 4.2.2 */
static void answer_websocket(struct conn *c, const struct request *r)
{
	char joined[128], accept[32];
	unsigned char digest[SHA_DIGEST_LENGTH];
	if (!str_ieq(r->upgrade, STR("websocket")) || r->ws_key.n == 0 || r->ws_key.n > 64) {
		put_answer(c, r, "426 Upgrade Required", "text/plain", "Upgrade: websocket\r\n",
			   "a WebSocket is here\n");
		return;
	}
	int n = snprintf(joined, sizeof(joined), "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", (int)r->ws_key.n,
			 r->ws_key.p);
	SHA1((const unsigned char *)joined, (size_t)n, digest);
	EVP_EncodeBlock((unsigned char *)accept, digest, sizeof(digest));
	putf(c,
	     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: "
	     "Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
	     accept);
	c->state = TUNNEL;
}

static void answer_missing(struct conn *c, const struct request *r)
{
	put_answer(c, r, "404 Not Found", "text/plain", "", "nothing here\n");
}

/* The first row whose prefix the path starts with. */
static const struct route routes[] = {
	{"/bench", answer_fixed},     {"/api/health-check", answer_health},
	{"/api/", answer_api},	      {"/login", answer_login},
	{"/logout", answer_logout},   {"/whoami", answer_whoami},
	{"/headers", answer_headers}, {"/bytes", answer_bytes},
	{"/status/", answer_status},  {"/slow", answer_slow},
	{"/ws", answer_websocket},    {"/upload", answer_upload},
};

static void answer(struct conn *c, const struct request *r)
{
	if (r->path.n == 1) {
		answer_page(c, r);
		return;
	}
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		size_t n = strlen(routes[i].prefix);
		if (r->path.n >= n && memcmp(r->path.p, routes[i].prefix, n) == 0) {
			routes[i].answer(c, r);
			return;
		}
	}
	answer_missing(c, r);
}

/* Input */

static void take_header(struct conn *c, struct request *r, struct str name, struct str value)
{
	switch (name.n) { /* the length tells most headers apart without a look at their letters */
	case 6:
		if (str_ieq(name, STR("cookie")))
			r->cookie = value;
		else if (str_ieq(name, STR("expect")))
			r->expect = true;
		break;
	case 7:
		if (str_ieq(name, STR("upgrade")))
			r->upgrade = value;
		break;
	case 9:
		if (str_ieq(name, STR("x-real-ip")))
			r->client = value;
		break;
	case 10:
		if (str_ieq(name, STR("connection"))) {
			r->close = str_list_has(value, STR("close"));
			r->keep = str_list_has(value, STR("keep-alive"));
		}
		break;
	case 14:
		if (str_ieq(name, STR("content-length")))
			c->skip = strtoull(value.p, NULL, 10);
		break;
	case 17:
		if (str_ieq(name, STR("transfer-encoding")))
			c->chunked = true;
		else if (str_ieq(name, STR("sec-websocket-key")))
			r->ws_key = value;
		break;
	default:
		break;
	}
}

static bool take_line(struct str line, struct request *r)
{
	const char *sp = memchr(line.p, ' ', line.n);
	if (!sp || line.n < 14 || memcmp(line.p + line.n - 9, " HTTP/1.", 8) != 0)
		return false;
	r->method = (struct str){line.p, (size_t)(sp - line.p)};
	r->target = (struct str){sp + 1, line.n - r->method.n - 10};
	const char *query = memchr(r->target.p, '?', r->target.n);
	r->path = (struct str){r->target.p, query ? (size_t)(query - r->target.p) : r->target.n};
	r->http10 = line.p[line.n - 1] == '0';
	return r->path.n > 0;
}

/* False when the head cannot be read. */
static bool take_head(struct conn *c, struct str head, struct request *r)
{
	const char *p = head.p, *end = head.p + head.n - 2;
	bool first = true;
	while (p < end) {
		const char *eol = memmem(p, (size_t)(end - p) + 2, "\r\n", 2);
		struct str line = {p, (size_t)(eol - p)};
		const char *colon = first ? NULL : memchr(line.p, ':', line.n);
		if (first ? !take_line(line, r) : !colon)
			return false;
		if (colon)
			take_header(c, r, (struct str){line.p, (size_t)(colon - line.p)},
				    str_trim((struct str){colon + 1, line.n - (size_t)(colon - line.p) - 1}));
		first = false;
		p = eol + 2;
	}
	if (r->http10 && !r->keep)
		r->close = true;
	return true;
}

/*
 * Drops as much of a request's body as has come. How many bytes of `in` were used; *done when the body is
 * over; -1 when a chunk cannot be read.
 */
static ssize_t drop_body(struct conn *c, const char *p, size_t n, bool *done)
{
	size_t used = 0;
	*done = false;
	for (;;) {
		size_t take = c->skip < n - used ? (size_t)c->skip : n - used;
		used += take;
		c->skip -= take;
		if (c->skip)
			return (ssize_t)used;
		if (!c->chunked) {
			*done = true;
			return (ssize_t)used;
		}
		const char *eol = memmem(p + used, n - used, "\r\n", 2);
		if (!eol)
			return n - used > 64 ? -1 : (ssize_t)used;
		unsigned long long size = strtoull(p + used, NULL, 16);
		if (size == 0) { /* the last chunk: trailers up to an empty line */
			const char *end = memmem(p + used, n - used, "\r\n\r\n", 4);
			if (!end)
				return (ssize_t)used;
			used = (size_t)(end + 4 - p);
			c->chunked = false;
			*done = true;
			return (ssize_t)used;
		}
		used = (size_t)(eol + 2 - p);
		c->skip = size + 2;
	}
}

/* Answers the request at p, if it is there whole up to its body. Bytes used, 0 for "more is needed", -1 for
 * broken. */
static ssize_t take_request(struct conn *c, const char *p, size_t n)
{
	const char *end = memmem(p, n, "\r\n\r\n", 4);
	if (!end)
		return n == IN_SIZE ? -1 : 0;
	size_t used = (size_t)(end + 4 - p);
	struct request r = {.head = {p, used}};
	if (!take_head(c, r.head, &r))
		return -1;
	c->hold = false;
	if (r.expect && (c->skip || c->chunked)) {
		putf(c, "HTTP/1.1 100 Continue\r\n\r\n");
		if (!flush(c))
			return -1;
	}
	answer(c, &r);
	c->close_after = r.close;
	return (ssize_t)used;
}

/* Works through what is in the buffer; false when the connection has to go. */
static bool work(struct conn *c)
{
	size_t at = 0;
	bool fine = true;
	while (at < c->in_n && c->state == READING && c->fill == 0) {
		ssize_t used;
		bool done = true;
		if (c->skip || c->chunked)
			used = drop_body(c, c->in + at, c->in_n - at, &done);
		else if (c->close_after)
			break;
		else
			used = take_request(c, c->in + at, c->in_n - at);
		if (used < 0)
			fine = false;
		if (used <= 0)
			break;
		at += (size_t)used;
	}
	memmove(c->in, c->in + at, c->in_n - at);
	c->in_n -= at;
	return fine;
}

/* WebSocket echo: a client's frames are masked (RFC 6455, 5.2), ours go back bare. False ends the tunnel. */
static bool echo(struct conn *c)
{
	for (;;) {
		unsigned char *f = (unsigned char *)c->in;
		if (c->in_n < 6)
			return true;
		uint64_t n = f[1] & 0x7f;
		size_t at = 2;
		if (n == 127 || !(f[1] & 0x80))
			return false; /* longer than the buffer, or not masked */
		if (n == 126) {
			n = (uint64_t)f[2] << 8 | f[3];
			at = 4;
		}
		if (n + at + 4 > IN_SIZE)
			return false;
		if (c->in_n < at + 4 + n)
			return true;
		unsigned char *mask = f + at, *data = f + at + 4;
		for (uint64_t i = 0; i < n; i++)
			data[i] ^= mask[i & 3];
		unsigned opcode = f[0] & 0x0f;
		unsigned char head[4] = {(unsigned char)(opcode == 9 ? (f[0] & 0xf0) | 10 : f[0]),
					 (unsigned char)n};
		size_t head_n = 2;
		if (n >= 126) {
			head[1] = 126;
			head[2] = (unsigned char)(n >> 8);
			head[3] = (unsigned char)n;
			head_n = 4;
		}
		put(c, head, head_n);
		put(c, data, (size_t)n);
		size_t used = at + 4 + (size_t)n;
		memmove(c->in, c->in + used, c->in_n - used);
		c->in_n -= used;
		if (opcode == 8)
			c->close_after = true;
	}
}

/* Connections */

static void free_conn(struct conn *c)
{
	close(c->fd);
	list_del(&c->link);
	list_push(&freed, &c->link); /* events of this turn may still point to it */
	c->fd = -1;
}

static void sweep(void)
{
	struct list *l;
	while ((l = list_pop(&freed)) != NULL) {
		struct conn *c = list_entry(l, struct conn, link);
		free(c->out);
		free(c);
	}
}

static void close_all(struct list *conns)
{
	while (!list_empty(conns))
		free_conn(list_entry(list_first(conns), struct conn, link));
}

/* Work and output by turns, until neither has anything to do. */
static void go_on(struct conn *c)
{
	for (;;) {
		size_t before = c->in_n;
		bool held = c->fill > 0;
		bool fine = c->state == TUNNEL ? echo(c) : work(c);
		if (!flush(c) || !fine) {
			free_conn(c);
			return;
		}
		bool moved = c->in_n != before || held;
		if (!moved || c->in_n == 0 || c->writing || c->state == WAITING)
			return;
	}
}

static void on_readable(struct conn *c)
{
	bool drop = c->in_n == 0 && c->skip > IN_SIZE; /* unread: a copy of it serves nobody */
	if (c->in_n == IN_SIZE)
		return;
	ssize_t n = drop ? recv(c->fd, NULL, c->skip < PIECE ? (size_t)c->skip : PIECE, MSG_TRUNC)
			 : read(c->fd, c->in + c->in_n, IN_SIZE - c->in_n);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		free_conn(c);
		return;
	}
	if (drop)
		c->skip -= (uint64_t)n;
	else
		c->in_n += (size_t)n;
	go_on(c);
}

static void on_accept(struct port *port)
{
	for (;;) {
		int fd = accept4(port->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
		if (fd < 0)
			return;
		struct conn *c = malloc(sizeof(*c));
		if (!c) {
			close(fd);
			return;
		}
		memset(c, 0, offsetof(struct conn, in));
		list_push(&serving, &c->link);
		c->fd = fd;
		c->port = port;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
		if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &ev) != 0)
			free_conn(c);
	}
}

/* Sends the answers whose time has come. The milliseconds until the next one, or -1. */
static int serve_waiting(void)
{
	usec_t now = clock_mono(), next = USEC_NEVER;
	struct list due, *l;
	list_init(&due);
	for (l = waiting.next; l != &waiting;) {
		struct conn *c = list_entry(l, struct conn, link);
		l = l->next;
		if (c->due <= now) {
			list_del(&c->link);
			list_push(&due, &c->link);
		}
	}
	while ((l = list_pop(&due)) != NULL) {
		struct conn *c = list_entry(l, struct conn, link);
		c->state = READING;
		list_push(&serving, &c->link);
		go_on(c); /* may wait anew */
	}
	for (l = waiting.next; l != &waiting; l = l->next) {
		struct conn *c = list_entry(l, struct conn, link);
		next = c->due < next ? c->due : next;
	}
	return next == USEC_NEVER ? -1 : next <= now ? 0 : (int)((next - now) / USEC_PER_MSEC) + 1;
}

static bool is_port(const void *p)
{
	return (const char *)p >= (const char *)ports && (const char *)p < (const char *)(ports + PORTS_MAX);
}

static void turn(void)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(poller, events, EVENTS_MAX, serve_waiting());
	for (int i = 0; i < n; i++) {
		if (is_port(events[i].data.ptr)) {
			on_accept(events[i].data.ptr);
			continue;
		}
		struct conn *c = events[i].data.ptr;
		if (c->fd < 0)
			continue;
		if (events[i].events & EPOLLOUT)
			go_on(c);
		else if (c->state == WAITING && (events[i].events & (EPOLLHUP | EPOLLERR)))
			free_conn(c);
		else
			on_readable(c);
	}
	sweep();
}

static void listen_at(const char *address, const char *name, const char *text)
{
	char *end;
	long number = strtol(text, &end, 10);
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)number)};
	if (*end || number < 1 || number > 65535 || port_count == PORTS_MAX ||
	    inet_pton(AF_INET, address, &sin.sin_addr) != 1) {
		fprintf(stderr,
			"origin: %s %s: not an IPv4 address and a port from 1 to 65535, at most %d times\n",
			address, text, PORTS_MAX);
		exit(2);
	}
	struct port *p = &ports[port_count++];
	int on = 1;
	p->number = (int)number;
	p->name = name;
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(p->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(p->fd, (struct sockaddr *)&sin, sizeof(sin)) != 0 || listen(p->fd, 1024) != 0) {
		fprintf(stderr, "origin: %s:%ld: %s\n", address, number, strerror(errno));
		exit(1);
	}
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = p};
	epoll_ctl(poller, EPOLL_CTL_ADD, p->fd, &ev);
}

static void make_filling(void)
{
	static char piece[PIECE];
	memset(piece, 'x', sizeof(piece));
	filling = memfd_create("filling", MFD_CLOEXEC);
	if (filling < 0 || write(filling, piece, sizeof(piece)) != PIECE) {
		perror("origin: no memory for bodies");
		exit(1);
	}
}

static void on_signal(int sig)
{
	(void)sig;
	stopping = 1;
}

int main(int argc, char **argv)
{
	const char *name = "origin", *address = "127.0.0.1";
	struct sigaction sa = {.sa_handler = on_signal};
	struct rlimit files = {0};
	int opt;
	poller = epoll_create1(EPOLL_CLOEXEC);
	list_init(&serving);
	list_init(&waiting);
	list_init(&freed);
	make_filling();
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	bool wrong = false;
	while ((opt = getopt(argc, argv, "a:n:p:")) != -1) {
		if (opt == 'a')
			address = optarg;
		else if (opt == 'n')
			name = optarg;
		else if (opt == 'p')
			listen_at(address, name, optarg);
		else
			wrong = true;
	}
	if (wrong || optind != argc || (port_count == 0 && argc > 1)) {
		fprintf(stderr, "usage: origin [-a ADDRESS] [-n NAME] -p PORT [[-n NAME] -p PORT]...\n");
		return 2;
	}
	if (port_count == 0)
		listen_at(address, name, "9000");
	while (!stopping)
		turn();
	close_all(&serving);
	close_all(&waiting);
	sweep();
	return 0;
}
