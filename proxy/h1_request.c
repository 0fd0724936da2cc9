/* SPDX-License-Identifier: MIT */
#include <arpa/inet.h>

#include "proxy/h1_parse.h"

enum {
	METHOD_MAX = 32, /* bytes; RFC 9112, 3 asks for 501 when a method is longer than any that is known */
	VERSION_N = 8,	 /* HTTP/1.1 */
	HOST_MAX = 255,	 /* bytes of a host; DNS has names of 253 and a dot */
};

/* Each with the SP behind it, which ends it; the usual ones first. */
static const struct method_row {
	char text[8];
	char mask[8]; /* what of eight bytes to compare */
	uint8_t n;
	uint8_t method;
} methods[] = {
	{"GET ", "\xff\xff\xff\xff", 3, METHOD_GET},
	{"POST ", "\xff\xff\xff\xff\xff", 4, METHOD_POST},
	{"HEAD ", "\xff\xff\xff\xff\xff", 4, METHOD_HEAD},
	{"PUT ", "\xff\xff\xff\xff", 3, METHOD_PUT},
	{"DELETE ", "\xff\xff\xff\xff\xff\xff\xff", 6, METHOD_DELETE},
	{"PATCH ", "\xff\xff\xff\xff\xff\xff", 5, METHOD_PATCH},
	{"OPTIONS ", "\xff\xff\xff\xff\xff\xff\xff\xff", 7, METHOD_OPTIONS},
	{"CONNECT ", "\xff\xff\xff\xff\xff\xff\xff\xff", 7, METHOD_CONNECT},
	{"TRACE ", "\xff\xff\xff\xff\xff\xff", 5, METHOD_TRACE},
};

static struct h1_span span(size_t from, size_t to)
{
	return (struct h1_span){(uint32_t)from, (uint32_t)(to - from)};
}

static const char long_method[] = "a method that is too long";

/* A method in progress or not known, of bytes that a request line may have. NULL, or what is wrong. */
static const char *check_method(const char *p, size_t n)
{
	size_t i = 0;

	while (i < n && h1_is(p[i], H1_TCHAR))
		i++;
	if (i > METHOD_MAX)
		return long_method;
	if (i == n || (p[i] == ' ' && i > 0))
		return NULL;
	return i == 0 ? "a request line that does not begin with a method" : "a byte that no method may have";
}

static enum h1_result fail_method(struct h1_head *h, const char *why)
{
	return h1_fail(h, why == long_method ? 501 : 400, why);
}

static bool known_method(struct h1_head *h, const char *buf, size_t at)
{
	uint64_t came, text, mask;

	memcpy(&came, buf + at, 8);
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		memcpy(&text, methods[i].text, 8);
		memcpy(&mask, methods[i].mask, 8);
		if ((came & mask) == text) {
			h->method = methods[i].method;
			h->method_text = span(at, at + methods[i].n);
			return true;
		}
	}
	return false;
}

/* HTTP-version is case-sensitive, and has one digit on each side (RFC 9112, 2.3). */
static enum h1_result parse_version(struct h1_head *h, const char *p)
{
	if (memcmp(p, "HTTP/1.1", VERSION_N) == 0) {
		h->version_minor = 1;
		return H1_DONE;
	}
	unsigned major = (unsigned char)p[5] - (unsigned)'0';
	unsigned minor = (unsigned char)p[7] - (unsigned)'0';
	if (memcmp(p, "HTTP/", 5) != 0 || major > 9 || p[6] != '.' || minor > 9)
		return h1_fail(h, 400, "a request line without a valid version at its end");
	if (major != 1)
		return h1_fail(h, 505, "a version of HTTP other than 1.x");
	h->version_minor = minor > 0;
	return H1_DONE;
}

/* RFC 3986, 3.2.2; no zone, no future versions. */
static bool valid_ipv6(const char *p, size_t n)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr address;

	if (n >= sizeof(text))
		return false;
	memcpy(text, p, n);
	text[n] = '\0';
	return inet_pton(AF_INET6, text, &address) == 1;
}

/* *DIGIT (RFC 3986, 3.2.3), up to 65535; -1 when there are none. */
static bool parse_port(struct h1_head *h, const char *p, size_t n)
{
	int32_t port = 0;

	if (n > 5)
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned digit = (unsigned char)p[i] - (unsigned)'0';
		if (digit > 9)
			return false;
		port = port * 10 + (int32_t)digit;
	}
	h->host_port = n ? port : -1;
	return port <= 65535;
}

/* uri-host [ ":" port ] (RFC 9110, 4.2 and 7.2), behind which stands a byte that no host has. NULL, or what
 * is wrong. */
static const char *parse_authority(struct h1_head *h, const char *buf, size_t at, size_t end, size_t len)
{
	size_t host_end;

	if (at < end && buf[at] == '[') {
		const char *close = memchr(buf + at, ']', end - at);
		if (!close || !valid_ipv6(buf + at + 1, (size_t)(close - buf) - at - 1))
			return "a host in brackets that is no IPv6 address";
		host_end = (size_t)(close - buf) + 1;
	} else {
		host_end = h1_scan_host(buf, at, len);
	}
	if (host_end == at || host_end - at > HOST_MAX)
		return "a host that is empty, too long or not a name or address";
	h->host = span(at, host_end);
	h->host_port = -1;
	if (host_end == end)
		return NULL;
	if (buf[host_end] != ':')
		return "a byte that no host may have";
	return parse_port(h, buf + host_end + 1, end - host_end - 1)
		       ? NULL
		       : "a port that is not a number up to 65535";
}

/* path [ "?" query ], of visible ASCII. The SP at `end` stops the scans at the latest. */
static const char *parse_path(struct h1_head *h, const char *buf, size_t at, size_t end, size_t len)
{
	size_t stop = h1_scan_target(buf, at, len);

	h->path = span(at, stop);
	if (stop < end && buf[stop] == '?') {
		h->has_query = true;
		at = stop + 1;
		stop = h1_scan_query(buf, at, len);
		h->query = span(at, stop);
	}
	if (stop == end)
		return NULL;
	return buf[stop] == '#' ? "a fragment in the target" : "a space in the target";
}

/* RFC 9112, 3.2.2. No userinfo (RFC 9110, 4.2.4), no other scheme than ours. */
static const char *parse_absolute(struct h1_head *h, const char *buf, size_t at, size_t end, size_t len)
{
	struct str target = {buf + at, end - at};
	size_t scheme_n = target.n > 8 && str_ieq((struct str){target.p, 8}, STR("https://")) ? 5 : 4;

	if (scheme_n == 4 && !(target.n > 7 && str_ieq((struct str){target.p, 7}, STR("http://"))))
		return "a target that is neither a path nor an http or https URI";
	h->scheme = span(at, at + scheme_n);
	size_t from = at + scheme_n + 3, to = from;
	while (to < end && buf[to] != '/' && buf[to] != '?')
		to++;
	h->authority = span(from, to);
	h->form = H1_TARGET_ABSOLUTE;
	const char *why = parse_authority(h, buf, from, to, len);
	if (!why)
		why = parse_path(h, buf, to, end, len);
	if (why || h->path.n)
		return why;
	if (h->method == METHOD_OPTIONS && !h->has_query)
		h->form = H1_TARGET_ASTERISK;
	else
		h->path = span(from - 1, from); /* empty means "/" (RFC 9110, 4.2.3); that of :// will do */
	return NULL;
}

static const char *parse_connect(struct h1_head *h, const char *buf, size_t at, size_t end, size_t len)
{
	h->form = H1_TARGET_AUTHORITY;
	h->authority = span(at, end);
	const char *why = parse_authority(h, buf, at, end, len);
	return why || h->host_port >= 0 ? why : "a CONNECT without a port"; /* RFC 9112, 3.2.3 */
}

static enum h1_result parse_target(struct h1_head *h, const char *buf, size_t at, size_t end, size_t len)
{
	const char *why;

	h->target = span(at, end);
	if (h->method == METHOD_CONNECT) {
		why = parse_connect(h, buf, at, end, len);
	} else if (buf[at] == '/') {
		h->form = H1_TARGET_ORIGIN;
		why = parse_path(h, buf, at, end, len);
	} else if (buf[at] == '*' && end - at == 1) {
		h->form = H1_TARGET_ASTERISK;
		why = h->method == METHOD_OPTIONS ? NULL : "a target `*` of another method than OPTIONS";
	} else {
		why = parse_absolute(h, buf, at, end, len);
	}
	return why ? h1_fail(h, 400, why) : H1_DONE;
}

/* method SP request-target SP HTTP-version (RFC 9112, 3), in which h1_scan_start found nothing. */
static enum h1_result parse_request_line(struct h1_head *h, const char *buf, size_t at, size_t end,
					 size_t len)
{
	if (at == end)
		return h1_fail(h, 400, "more than one empty line before the request line");
	if (end - at < VERSION_N || !known_method(h, buf, at)) {
		const char *why = check_method(buf + at, end - at);
		if (why)
			return fail_method(h, why);
		const char *sp = memchr(buf + at, ' ', end - at);
		h->method_text = span(at, sp ? (size_t)(sp - buf) : end);
	}
	size_t target = at + h->method_text.n + 1;
	if (target + 1 + VERSION_N > end || buf[end - VERSION_N - 1] != ' ')
		return h1_fail(h, 400, "a request line without a valid version at its end");
	enum h1_result r = parse_version(h, buf + end - VERSION_N);
	if (r != H1_DONE)
		return r;
	end -= VERSION_N + 1;
	if (target >= end)
		return h1_fail(h, 400, "a request line without a target");
	/* RFC 9113, 3.4 and 11.6: reserved, so that no request is ever taken for the preface of HTTP/2. */
	if (h->method == METHOD_OTHER && str_eq(h1_text(buf, h->method_text), STR("PRI")))
		return h1_fail(h, 400, "the method PRI, which begins HTTP/2 and nothing else");
	return parse_target(h, buf, target, end, len);
}

/* The request line when it is not there as a whole, or has a byte that it must not have. */
static enum h1_result unfinished(struct h1_head *h, const struct h1_limits *limits, const char *buf,
				 size_t stop, size_t len)
{
	size_t n = stop - h->line_at;
	const char *why = check_method(buf + h->line_at, n < limits->line ? n : limits->line);

	if (why)
		return fail_method(h, why);
	return h1_line_end(h, limits, 414, buf, stop, len);
}

static enum h1_result parse_start(struct h1_head *h, const struct h1_limits *limits, const char *buf,
				  size_t len)
{
	/* RFC 9112, 2.2: old clients send an empty line behind the last body. */
	if (h->line_at == 0 && h1_crlf(buf, 0, len))
		h->line_at = h->clean = 2;
	size_t end = h1_scan_start(buf, h->clean, len);
	if (end - h->line_at > limits->line || !h1_crlf(buf, end, len))
		return unfinished(h, limits, buf, end, len);
	enum h1_result r = parse_request_line(h, buf, h->line_at, end, len);
	if (r == H1_DONE) {
		h->line_at = h->clean = (uint32_t)end + 2;
		h->state = H1_STATE_FIELDS;
	}
	return r;
}

/*
 * Chunked at the end of several codings: we know what it means but don't do it (RFC 9112, 6.1). All else is a
 * length that nobody can tell (6.3).
 */
static enum h1_result refuse_coding(struct h1_head *h, struct str list)
{
	struct str coding;
	bool last_chunked = false;
	unsigned chunked = 0;

	while (str_next_element(&list, &coding)) {
		struct str name = {coding.p, 0};
		while (name.n < coding.n && h1_is(coding.p[name.n], H1_TCHAR))
			name.n++;
		if (name.n == 0)
			return h1_fail(h, 400, "a Transfer-Encoding that cannot be read");
		last_chunked = h1_says(coding, "chunked");
		chunked += h1_says(name, "chunked");
	}
	if (last_chunked && chunked == 1)
		return h1_fail(h, 501, "a transfer coding other than chunked");
	return h1_fail(h, 400, "a Transfer-Encoding that does not end in one chunked");
}

/* RFC 9112, 6.3. */
static enum h1_result request_framing(struct h1_head *h, const char *buf)
{
	const char *why = h1_content_length(h, buf);
	const struct h1_field *coding = h1_find(h, FIELD_TRANSFER_ENCODING);

	if (why)
		return h1_fail(h, 400, why);
	h->framing = h->has_length ? H1_FRAMING_LENGTH : H1_FRAMING_NONE;
	if (!coding)
		return H1_DONE;
	if (h->has_length)
		return h1_fail(h, 400, "both Content-Length and Transfer-Encoding");
	if (h->version_minor == 0)
		return h1_fail(h, 400, "a Transfer-Encoding in HTTP/1.0");
	h->framing = H1_FRAMING_CHUNKED;
	struct str value = h1_value(buf, coding);
	return h1_says(value, "chunked") ? H1_DONE : refuse_coding(h, value);
}

/* RFC 9112, 3.2 and 3.3: Host must be sound even where the target's authority wins over it. */
static enum h1_result request_host(struct h1_head *h, const char *buf)
{
	const struct h1_field *f = h1_find(h, FIELD_HOST);
	struct h1_span of_target = h->host;
	int32_t port_of_target = h->host_port;

	if (!f)
		return h->version_minor ? h1_fail(h, 400, "no Host") : H1_DONE;
	const char *why = parse_authority(h, buf, f->value_at, f->value_at + f->value_len, h->length);
	if (why)
		return h1_fail(h, 400, why);
	if (of_target.n) {
		h->host = of_target;
		h->host_port = port_of_target;
	}
	return H1_DONE;
}

static enum h1_result request_connection(struct h1_head *h, const char *buf)
{
	if (h1_find(h, FIELD_CONNECTION) && !h1_connection(h, buf))
		return h1_fail(h, 400, "too many options in Connection");
	if (h->options & H1_OPTION_UNREADABLE)
		return h1_fail(h, 400, "an option of Connection that is no token");
	h->keep_alive =
		!(h->options & H1_OPTION_CLOSE) && (h->version_minor || (h->options & H1_OPTION_KEEP_ALIVE));
	h->connection_upgrade = h->version_minor && (h->options & H1_OPTION_UPGRADE);
	return H1_DONE;
}

/* RFC 9110, 10.1.1. */
static enum h1_result request_expect(struct h1_head *h, const char *buf)
{
	const bool content = h->framing == H1_FRAMING_CHUNKED || h->content_length > 0;

	if (!h1_has(h, FIELD_EXPECT))
		return H1_DONE;
	struct h1_field *f = &h->field[h->first[FIELD_EXPECT]];
	if (!h1_says(h1_value(buf, f), "100-continue"))
		return h1_fail(h, 417, "an expectation other than 100-continue");
	h->expect_continue = h->version_minor && content;
	if (!h->expect_continue)
		f->flags |= H1_FIELD_STOPS;
	return H1_DONE;
}

/* What the fields mean together. */
static enum h1_result finish(struct h1_head *h, const char *buf)
{
	enum h1_result r = request_framing(h, buf);

	if (r == H1_DONE)
		r = request_host(h, buf);
	if (r == H1_DONE)
		r = request_connection(h, buf);
	return r == H1_DONE ? request_expect(h, buf) : r;
}

enum h1_result h1_request_parse(struct h1_head *h, const struct h1_limits *limits, const char *buf,
				size_t len)
{
	enum h1_result r = H1_DONE;

	if (h->state >= H1_STATE_COMPLETE)
		return h->state == H1_STATE_COMPLETE ? H1_DONE : H1_BAD;
	if (len > limits->head)
		len = limits->head;
	if (h->state == H1_STATE_START)
		r = parse_start(h, limits, buf, len);
	if (r == H1_DONE)
		r = h1_fields(h, limits, buf, len, true);
	if (r == H1_DONE)
		r = finish(h, buf);
	if (r == H1_MORE && len == limits->head)
		return h1_fail(h, h->state == H1_STATE_START ? 414 : 431, "a head that is too long");
	return r;
}
