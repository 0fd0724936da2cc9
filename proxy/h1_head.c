/* SPDX-License-Identifier: MIT */
#include "proxy/h1_parse.h"

void h1_head_init(struct h1_head *h, struct h1_field *field, uint16_t cap)
{
	memset(h, 0, offsetof(struct h1_head, method_text));
	h->reason = (struct h1_span){0, 0};
	h->field = field;
	h->field_cap = cap;
	h->host_port = -1;
}

enum h1_result h1_fail(struct h1_head *h, unsigned status, const char *why)
{
	h->state = H1_STATE_BROKEN;
	h->error = (uint16_t)status;
	h->why = why;
	return H1_BAD;
}

/* Enters a field into the index of known names. False: a second line of a field that may come but once. */
static inline bool index_field(struct h1_head *h, enum field_id id, unsigned place)
{
	uint64_t *word = &h->present[id / 64];
	uint64_t bit = UINT64_C(1) << id % 64;

	if (id == FIELD_OTHER)
		return true;
	if (!(*word & bit)) {
		*word |= bit;
		h->first[id] = (uint16_t)place;
		return true;
	}
	h->field[h->first[id]].flags |= H1_FIELD_REPEATED;
	return !field_is(id, FIELD_SINGLE);
}

static const char twice[] = "a field that may come only once came twice";

static enum h1_result complete(struct h1_head *h)
{
	h->length = h->line_at;
	h->state = H1_STATE_COMPLETE;
	return H1_DONE;
}

/*
 * A line that is not the usual one: incomplete, resumed, odd or bad; or the empty one. `end`: up to there its
 * bytes are known to be sound. Kept apart so that the usual ones have the registers.
 */
static __attribute__((noinline)) enum h1_result other_line(struct h1_head *h, const struct h1_limits *limits,
							   const char *buf, size_t end, size_t len,
							   bool guard)
{
	bool odd;
	size_t at = h->line_at;

	end = h1_scan_value(buf, end, len);
	enum h1_result r = h1_line_end(h, limits, 431, buf, end, len);
	if (r != H1_DONE)
		return r;
	h->line_at = h->clean = (uint32_t)end + 2;
	if (end == at)
		return complete(h);
	if (h->fields >= h->field_cap || h->fields >= limits->fields)
		return h1_fail(h, 431, "too many fields");
	struct h1_field *f = &h->field[h->fields];
	const char *why = h1_split_field(f, buf, at, end, &odd);
	if (why)
		return h1_fail(h, 400, why);
	if (odd && guard && field_imitated(buf + at, f->name_len) != FIELD_OTHER)
		return h1_fail(h, 400, "a field name that looks like another one to the origin");
	return index_field(h, f->id, h->fields++) ? H1_DONE : h1_fail(h, 400, twice);
}

/*
 * Usual lines from h->line_at on; stops in front of the first that is none. It works on locals, since each
 * store to a field's bytes could change anything that is reached through a pointer.
 */
static enum h1_result usual_lines(struct h1_head *h, const struct h1_limits *limits, const char *buf,
				  size_t len)
{
	const size_t most_line = limits->line;
	const unsigned most = h->field_cap < limits->fields ? h->field_cap : limits->fields;
	unsigned n = h->fields;
	struct h1_field *f = h->field + n;
	size_t at = h->line_at, end;
	bool once = true;

	while (at < len && buf[at] != '\r' && n < most) {
		end = h1_usual_field(f, buf, at, len);
		if (end - at > most_line) /* or 0, which is behind a start line */
			break;
		at = end + 2;
		once = index_field(h, f++->id, n++);
		if (!once)
			break;
	}
	h->fields = (uint16_t)n;
	h->line_at = h->clean = (uint32_t)at;
	if (!once)
		return h1_fail(h, 400, twice);
	if (!h1_crlf(buf, at, len))
		return H1_DONE;
	h->line_at += 2;
	return complete(h);
}

enum h1_result h1_fields(struct h1_head *h, const struct h1_limits *limits, const char *buf, size_t len,
			 bool guard)
{
	enum h1_result r = H1_DONE;

	while (r == H1_DONE && h->state == H1_STATE_FIELDS) {
		if (h->clean <= h->line_at) /* not in the midst of a line */
			r = usual_lines(h, limits, buf, len);
		if (r == H1_DONE && h->state == H1_STATE_FIELDS)
			r = other_line(h, limits, buf, h->clean, len, guard);
	}
	return r;
}

const struct h1_field *h1_find_later(const struct h1_head *h, const struct h1_field *after)
{
	for (const struct h1_field *f = after + 1; f < h->field + h->fields; f++)
		if (f->id == after->id)
			return f;
	return NULL;
}

const struct h1_field *h1_find_name(const struct h1_head *h, const char *buf, struct str name,
				    const struct h1_field *after)
{
	enum field_id id = field_lookup(name.p, name.n);

	if (id != FIELD_OTHER)
		return after ? h1_find_next(h, after) : h1_find(h, id);
	const struct h1_field *end = h->field + h->fields;
	for (const struct h1_field *f = after ? after + 1 : h->field; f < end; f++)
		if (f->id == FIELD_OTHER && str_ieq(h1_name(buf, f), name))
			return f;
	return NULL;
}

/* `Connection: NAME`. What weir writes itself, or what the other end relies on, does not go by it. */
static void mark_named(struct h1_head *h, const char *buf, enum field_id id, struct str name)
{
	if (field_is(id, FIELD_OURS | FIELD_KEEP) || (id != FIELD_OTHER && !h1_has(h, id)))
		return;
	for (struct h1_field *f = h->field; f < h->field + h->fields; f++)
		if (f->id == id && (id != FIELD_OTHER || str_ieq(h1_name(buf, f), name)))
			f->flags |= H1_FIELD_STOPS;
}

/* The fields Keep-Alive and Upgrade stop here anyway, and there is none named Close. */
static void connection_option(struct h1_head *h, const char *buf, struct str option)
{
	enum field_id id = field_lookup(option.p, option.n);

	if (id == FIELD_KEEP_ALIVE)
		h->options |= H1_OPTION_KEEP_ALIVE;
	else if (id == FIELD_UPGRADE)
		h->options |= H1_OPTION_UPGRADE;
	else if (h1_says(option, "close"))
		h->options |= H1_OPTION_CLOSE;
	else if (h1_is_token(option)) {
		h->connection_fields |= !field_is(id, FIELD_HOP);
		mark_named(h, buf, id, option);
	} else
		h->options |= H1_OPTION_UNREADABLE;
}

bool h1_connection(struct h1_head *h, const char *buf)
{
	struct str option;

	for (const struct h1_field *f = h1_find(h, FIELD_CONNECTION); f; f = h1_find_next(h, f)) {
		struct str list = h1_value(buf, f);
		if (h1_says(list, "keep-alive")) {
			h->options |= H1_OPTION_KEEP_ALIVE;
			continue;
		}
		while (str_next_element(&list, &option)) {
			if (h->connection_names++ == H1_CONNECTION_MAX)
				return false;
			connection_option(h, buf, option);
		}
	}
	return true;
}

bool h1_number(struct str s, uint64_t max, uint64_t *number)
{
	uint64_t v = 0;

	if (s.n == 0 || s.n > 19) /* 19 digits cannot overflow 64 bits */
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = (unsigned char)s.p[i] - (unsigned)'0';
		if (digit > 9)
			return false;
		v = v * 10 + digit;
	}
	*number = v;
	return v <= max;
}

/* RFC 9110, 8.6. A list of equal values, which may pass there, is one more thing to read differently. */
const char *h1_content_length(struct h1_head *h, const char *buf)
{
	const struct h1_field *f = h1_find(h, FIELD_CONTENT_LENGTH);

	if (!f)
		return NULL;
	if (!h1_number(h1_value(buf, f), INT64_MAX, &h->content_length))
		return "a Content-Length that is not one number up to 2^63-1";
	h->has_length = true;
	return NULL;
}
