/* SPDX-License-Identifier: MIT */
#include "proxy/h1_parse.h"

enum { STATUS_N = 12 }; /* HTTP/1.1 200 */

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

/* HTTP-version SP status-code, as far as it has come. */
static const char *check_status(const char *p, size_t n)
{
	static const char form[STATUS_N + 1] = "HTTP/1.d ddd";

	for (size_t i = 0; i < n && i < STATUS_N; i++) {
		if (form[i] == 'd' ? !digit(p[i]) : p[i] != form[i])
			return "a response that does not begin with HTTP/1.x and a status";
		if (i == 9 && p[i] == '0')
			return "a status below 100";
	}
	if (n > STATUS_N && p[STATUS_N] != ' ')
		return "a status that is not three digits";
	return NULL;
}

/* The same at a glance, for almost all of them. */
static bool usual_status(const char *p, size_t n)
{
	return n > STATUS_N && memcmp(p, "HTTP/1.1 ", 9) == 0 && p[9] >= '1' && p[9] <= '9' && digit(p[10]) &&
	       digit(p[11]) && p[12] == ' ';
}

/* RFC 9112, 4. The reason may be missing, with its SP or without; it says nothing to anybody. */
static enum h1_result parse_status_line(struct h1_head *h, const char *buf, size_t end)
{
	const char *why = usual_status(buf, end) ? NULL : check_status(buf, end);

	if (!why && end < STATUS_N)
		why = "a status line that is too short";
	if (why)
		return h1_fail(h, 502, why);
	h->version_minor = buf[7] != '0';
	h->status = (uint16_t)((buf[9] - '0') * 100 + (buf[10] - '0') * 10 + (buf[11] - '0'));
	h->reason.at = (uint32_t)(end > STATUS_N ? STATUS_N + 1 : STATUS_N);
	h->reason.n = (uint32_t)end - h->reason.at;
	return H1_DONE;
}

static enum h1_result parse_start(struct h1_head *h, const struct h1_limits *limits, const char *buf,
				  size_t len)
{
	size_t end = h1_scan_value(buf, h->clean, len);
	const char *why = NULL;

	/* What is not HTTP must not wait for a line's end that never comes. */
	if (end > limits->line || !h1_crlf(buf, end, len))
		why = check_status(buf, end < limits->line ? end : limits->line);
	if (why)
		return h1_fail(h, 502, why);
	enum h1_result r = h1_line_end(h, limits, 502, buf, end, len);
	if (r == H1_DONE)
		r = parse_status_line(h, buf, end);
	if (r == H1_DONE) {
		h->line_at = h->clean = (uint32_t)end + 2;
		h->state = H1_STATE_FIELDS;
	}
	return r;
}

/* RFC 9112, 6.3. What may be repaired there by closing is refused: an origin's desync is never passed on. */
static const char *response_framing(struct h1_head *h, const char *buf, enum http_method asked)
{
	const char *why = h1_content_length(h, buf);
	const struct h1_field *coding = h1_find(h, FIELD_TRANSFER_ENCODING);
	const unsigned status = h->status;
	const bool never = status < 200 || status == 204; /* these end with their head, whatever it says */

	if (why)
		return why;
	if (coding && h->has_length)
		return "both Content-Length and Transfer-Encoding";
	if (coding && h->version_minor == 0)
		return "a Transfer-Encoding in HTTP/1.0";
	if (coding && !h1_says(h1_value(buf, coding), "chunked"))
		return "a transfer coding other than chunked";
	/* RFC 9110, 8.6 and RFC 9112, 6.1 forbid both fields here; a length of 0 is common, and true. */
	if (never && (coding || h->content_length))
		return "a body announced by a status that has none";
	if (never || status == 304 || asked == METHOD_HEAD)
		h->framing = H1_FRAMING_NONE;
	else if (coding)
		h->framing = H1_FRAMING_CHUNKED;
	else
		h->framing = h->has_length ? H1_FRAMING_LENGTH : H1_FRAMING_UNTIL_CLOSE;
	return NULL;
}

/* Keep-Alive: timeout=5, max=100 (RFC 2068, 19.7.1). A timeout of 0 is a close. */
static void read_keep_alive(struct h1_head *h, const char *buf)
{
	const struct h1_field *f = h1_find(h, FIELD_KEEP_ALIVE);
	struct str list = f ? h1_value(buf, f) : STR_NONE, parameter;
	uint64_t seconds;

	while (str_next_element(&list, &parameter)) {
		if (parameter.n < 9 || !field_same(parameter.p, "timeout", 7) || parameter.p[7] != '=')
			continue;
		if (!h1_number((struct str){parameter.p + 8, parameter.n - 8}, UINT32_MAX, &seconds))
			continue;
		h->keep_alive_s = (uint32_t)seconds;
		h->keep_alive = h->keep_alive && seconds > 0;
		return;
	}
}

static const char *finish(struct h1_head *h, const char *buf, enum http_method asked)
{
	const char *why = response_framing(h, buf, asked);

	if (why)
		return why;
	if (h1_find(h, FIELD_CONNECTION) && !h1_connection(h, buf))
		return "too many options in Connection";
	/* Options that can't be read may have meant a close; the response is as good as any. */
	h->keep_alive = h->framing != H1_FRAMING_UNTIL_CLOSE &&
			!(h->options & (H1_OPTION_CLOSE | H1_OPTION_UNREADABLE)) &&
			(h->version_minor || (h->options & H1_OPTION_KEEP_ALIVE));
	h->connection_upgrade = h->version_minor && (h->options & H1_OPTION_UPGRADE);
	read_keep_alive(h, buf);
	return NULL;
}

enum h1_result h1_response_parse(struct h1_head *h, const struct h1_limits *limits, const char *buf,
				 size_t len, enum http_method asked)
{
	enum h1_result r = H1_DONE;
	const char *why;

	if (h->state >= H1_STATE_COMPLETE)
		return h->state == H1_STATE_COMPLETE ? H1_DONE : H1_BAD;
	if (len > limits->head)
		len = limits->head;
	if (h->state == H1_STATE_START)
		r = parse_start(h, limits, buf, len);
	if (r == H1_DONE)
		r = h1_fields(h, limits, buf, len, false);
	if (r == H1_DONE && (why = finish(h, buf, asked)) != NULL)
		return h1_fail(h, 502, why);
	if (r == H1_MORE && len == limits->head)
		return h1_fail(h, 502, "a head that is too long");
	if (r == H1_BAD)
		h->error = 502; /* whatever a client would be told, this one came from an origin */
	return r;
}
