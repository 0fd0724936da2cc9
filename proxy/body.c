/* SPDX-License-Identifier: MIT */
#include "proxy/body.h"

#include <string.h>

void body_begin(struct body_in *b, enum h1_framing framing, uint64_t length, const struct h1_limits *limits)
{
	b->framing = (uint8_t)framing;
	b->done = framing == H1_FRAMING_NONE || (framing == H1_FRAMING_LENGTH && length == 0);
	b->no_trailers = false;
	b->error = 0;
	b->why = NULL;
	b->stops = STR_NONE;
	b->left = length;
	b->total = 0;
	if (framing == H1_FRAMING_CHUNKED)
		h1_chunked_init(&b->chunked, limits);
}

bool body_flush(struct stream *to, struct buf *held)
{
	while (buf_len(held) && to->can_write) {
		ssize_t n = stream_write(to, buf_head(held), buf_len(held));
		if (n == STREAM_ERROR)
			return false;
		if (n > 0)
			buf_consume(held, (size_t)n);
	}
	return true;
}

/* Content bytes at the source's front, of a framing that needs no decoding. */
static size_t plain_bytes(const struct body_in *b, const struct buf *from)
{
	size_t n = buf_len(from);
	if (b->framing == H1_FRAMING_LENGTH && n > b->left)
		n = (size_t)b->left;
	return n;
}

static void took(struct body_in *b, struct buf *from, size_t n)
{
	if (!n)
		return;
	buf_consume(from, n);
	b->total += n;
	if (b->framing == H1_FRAMING_LENGTH) {
		b->left -= n;
		b->done = b->left == 0;
	}
}

static enum body_move used_up(struct body_in *b, bool eof)
{
	if (!eof)
		return BODY_MOVE_HUNGRY;
	if (b->framing == H1_FRAMING_UNTIL_CLOSE) {
		b->done = true;
		return BODY_MOVE_DONE;
	}
	b->error = 400;
	b->why = "the connection ended in the middle of a body";
	return BODY_MOVE_BAD;
}

/* Straight from the source's buf, behind what the sink holds already, in one write. */
static enum body_move move_plain(struct body_in *b, struct buf *from, bool eof, struct body_out *out)
{
	for (;;) {
		size_t n = plain_bytes(b, from), held = buf_len(out->held);
		if (n == 0 && (b->done || held == 0))
			return b->done ? BODY_MOVE_DONE : used_up(b, eof);
		if (!out->to->can_write)
			return n ? BODY_MOVE_FULL : used_up(b, eof);
		struct iovec v[2];
		int count = 0;
		if (held)
			v[count++] = (struct iovec){buf_head(out->held), held};
		if (n)
			v[count++] = (struct iovec){buf_head(from), n};
		ssize_t sent = stream_writev(out->to, v, count);
		if (sent == STREAM_ERROR)
			return BODY_MOVE_LOST;
		if (sent < 0)
			continue;
		size_t of_held = (size_t)sent < held ? (size_t)sent : held;
		if (of_held)
			buf_consume(out->held, of_held);
		took(b, from, (size_t)sent - of_held);
	}
}

static bool put_chunk(struct body_out *out, struct str data)
{
	char size[H1_CHUNK_HEADER_MAX];
	if (!out->chunked)
		return buf_append(out->held, data.p, data.n);
	size_t n = h1_chunk_header(size, data.n), room;
	char *to = buf_room(out->held, n + data.n + 2, &room);
	if (!to)
		return false;
	memcpy(to, size, n);
	memcpy(to + n, data.p, data.n);
	memcpy(to + n + data.n, "\r\n", 2);
	buf_commit(out->held, n + data.n + 2);
	return true;
}

static bool put_last_chunk(struct body_out *out)
{
	if (!out->chunked || out->last_chunk_out)
		return true;
	out->last_chunk_out = true;
	return buf_append(out->held, "0\r\n", 3);
}

static bool put_trailer(struct body_out *out, const struct h1_chunked *c)
{
	if (!out->chunked)
		return true; /* a framing without trailers: they may be dropped (RFC 9110, 6.5.1) */
	return put_last_chunk(out) && buf_append(out->held, c->name.p, c->name.n) &&
	       buf_append(out->held, ": ", 2) && buf_append(out->held, c->value.p, c->value.n) &&
	       buf_append(out->held, "\r\n", 2);
}

static bool drops_trailer(const struct body_in *b)
{
	return b->no_trailers || (b->stops.n && str_ieq(b->chunked.name, b->stops));
}

static bool put_end(struct body_out *out)
{
	return !out->chunked || (put_last_chunk(out) && buf_append(out->held, "\r\n", 2));
}

static enum h1_body_step next_slice(struct body_in *b, struct buf *from, bool eof, struct str *slice,
				    size_t *used)
{
	if (b->framing == H1_FRAMING_CHUNKED) {
		enum h1_body_step step = h1_chunked_step(&b->chunked, buf_len(from) ? buf_head(from) : "",
							 buf_len(from), used, slice);
		if (step == BODY_BAD) {
			b->error = b->chunked.error;
			b->why = b->chunked.why;
		}
		return step;
	}
	size_t n = plain_bytes(b, from);
	*slice = (struct str){n ? buf_head(from) : "", n};
	*used = n;
	if (n)
		return BODY_DATA;
	return b->done || (eof && b->framing == H1_FRAMING_UNTIL_CLOSE) ? BODY_END : BODY_MORE;
}

/* The slice is dead after this: its bytes may be gone with the buf's block. */
static void consume_step(struct body_in *b, struct buf *from, enum h1_body_step step, size_t used,
			 size_t content)
{
	if (used)
		buf_consume(from, used);
	if (step == BODY_DATA) {
		b->total += content;
		if (b->framing == H1_FRAMING_LENGTH)
			b->left -= content;
	}
	if (step == BODY_END || (b->framing == H1_FRAMING_LENGTH && b->left == 0))
		b->done = true;
}

static enum body_move move_framed(struct body_in *b, struct buf *from, bool eof, struct body_out *out)
{
	for (;;) {
		struct str slice;
		size_t used = 0;
		if (buf_len(out->held) >= BODY_HELD_MAX) {
			if (!body_flush(out->to, out->held))
				return BODY_MOVE_LOST;
			if (buf_len(out->held) >= BODY_HELD_MAX)
				return BODY_MOVE_FULL;
		}
		enum h1_body_step step = next_slice(b, from, eof, &slice, &used);
		bool ok = true;
		switch (step) {
		case BODY_DATA:
			ok = put_chunk(out, slice);
			break;
		case BODY_TRAILER:
			ok = drops_trailer(b) || put_trailer(out, &b->chunked);
			break;
		case BODY_END:
			ok = put_end(out);
			break;
		case BODY_MORE:
			consume_step(b, from, step, used, slice.n);
			if (!body_flush(out->to, out->held))
				return BODY_MOVE_LOST;
			return used_up(b, eof);
		case BODY_BAD:
			return BODY_MOVE_BAD;
		}
		if (!ok)
			return BODY_MOVE_NO_MEMORY;
		consume_step(b, from, step, used, slice.n);
		if (step == BODY_END) {
			b->done = true;
			return body_flush(out->to, out->held) ? BODY_MOVE_DONE : BODY_MOVE_LOST;
		}
	}
}

enum body_move body_move(struct body_in *b, struct buf *from, bool eof, struct body_out *out)
{
	if (b->done) {
		bool open = b->framing != H1_FRAMING_NONE && out->chunked && !out->last_chunk_out;
		if (open && !put_end(out)) /* its length was used up before its end could be written */
			return BODY_MOVE_NO_MEMORY;
		return body_flush(out->to, out->held) ? BODY_MOVE_DONE : BODY_MOVE_LOST;
	}
	if (!out->chunked && b->framing != H1_FRAMING_CHUNKED)
		return move_plain(b, from, eof, out);
	return move_framed(b, from, eof, out);
}

enum body_move body_drop(struct body_in *b, struct buf *from, bool eof, uint64_t *dropped)
{
	while (!b->done) {
		struct str slice;
		size_t used = 0;
		enum h1_body_step step = next_slice(b, from, eof, &slice, &used);
		consume_step(b, from, step, used, slice.n);
		*dropped += used;
		if (step == BODY_MORE)
			return used_up(b, eof);
		if (step == BODY_BAD)
			return BODY_MOVE_BAD;
	}
	return BODY_MOVE_DONE;
}
