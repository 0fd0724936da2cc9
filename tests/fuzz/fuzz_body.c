/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a message's body on its way through, in any framing to any other, however the bytes come in
 * and however little the sink takes at a time: the same content, the same verdict, and what stands behind the
 * body is left alone.
 *
 * Input: the framing it comes in (L length, C chunked, U until close, N none), that of the sink (c chunked, p
 * plain), a line with the length in digits, a line of paces (a byte each: how much comes in, how much the
 * sink takes), then the bytes. The sink is not a socket: stream_write and stream_writev are this file's own.
 */
#include "proxy/body.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/h1_check.h"

enum { MOST = 2048, OUT_MOST = 16 * MOST };

static const struct h1_limits limits = {.line = 200, .head = 600, .fields = 8};
/* What is written anew may be longer: a blank stands behind each colon. */
static const struct h1_limits limits_out = {.line = 300, .head = 900, .fields = 8};

static struct {
	char bytes[OUT_MOST];
	size_t n;
	size_t budget; /* bytes that are taken until the sink is full */
} sink;

ssize_t stream_writev(struct stream *s, const struct iovec *v, int count)
{
	size_t taken = 0;

	promise(s->can_write && count > 0);
	for (int i = 0; i < count; i++) {
		size_t n = v[i].iov_len < sink.budget ? v[i].iov_len : sink.budget;
		promise(v[i].iov_len > 0 && n <= sizeof(sink.bytes) - sink.n);
		memcpy(sink.bytes + sink.n, v[i].iov_base, n);
		sink.n += n;
		sink.budget -= n;
		taken += n;
		if (n < v[i].iov_len) {
			s->can_write = false;
			break;
		}
	}
	return taken ? (ssize_t)taken : STREAM_AGAIN;
}

ssize_t stream_write(struct stream *s, const void *p, size_t n)
{
	struct iovec v = {(void *)(uintptr_t)p, n};

	return stream_writev(s, &v, 1);
}

struct passage {
	enum h1_framing framing;
	uint64_t length;
	bool chunked_sink;
	struct str bytes;
	struct str paces;
};

struct outcome {
	enum body_move end;
	unsigned error;
	char out[OUT_MOST];
	size_t n;
	size_t left; /* bytes behind the body */
	uint64_t total;
};

static size_t pace(const struct passage *p, size_t *at)
{
	return p->paces.n ? (unsigned char)p->paces.p[(*at)++ % p->paces.n] % 40 : SIZE_MAX;
}

/* More of the input into the buf; true once there is no more. */
static bool come_in(const struct passage *p, struct buf *from, size_t *fed, size_t *at)
{
	size_t n = pace(p, at);

	if (n > p->bytes.n - *fed)
		n = p->bytes.n - *fed;
	promise(n == 0 || buf_append(from, p->bytes.p + *fed, n));
	*fed += n;
	return *fed == p->bytes.n;
}

static void pass(const struct passage *p, bool whole, struct outcome *o)
{
	struct passage q = *p;
	struct stream to = {.fd = 0, .can_write = true};
	struct buf from = {0}, held = {0};
	struct body_out out = {.to = &to, .held = &held, .chunked = p->chunked_sink};
	struct body_in in;
	size_t fed = 0, at = 0;

	if (whole)
		q.paces = STR_NONE;
	memset(&in, 0xa5, sizeof(in));
	sink.n = 0;
	body_begin(&in, p->framing, p->length, &limits);
	for (unsigned turns = 0;; turns++) {
		if (turns > MOST) /* paces of zero alone would never end */
			q.paces = STR_NONE;
		bool last = come_in(&q, &from, &fed, &at);
		sink.budget = pace(&q, &at);
		to.can_write = true;
		o->end = body_move(&in, &from, last, &out);
		promise(buf_len(&held) <= BODY_HELD_MAX + MOST);
		promise(o->end != BODY_MOVE_LOST && o->end != BODY_MOVE_NO_MEMORY);
		promise(o->end != BODY_MOVE_HUNGRY || !last);
		promise(o->end != BODY_MOVE_FULL || !to.can_write);
		if (o->end == BODY_MOVE_DONE || o->end == BODY_MOVE_BAD)
			break;
	}
	while (o->end == BODY_MOVE_DONE && buf_len(&held)) {
		sink.budget = SIZE_MAX;
		to.can_write = true;
		promise(body_flush(&to, &held));
	}
	memcpy(o->out, sink.bytes, sink.n);
	o->n = sink.n;
	o->error = o->end == BODY_MOVE_BAD ? in.error : 0;
	o->total = in.total;
	o->left = buf_len(&from) + (p->bytes.n - fed);
	promise(o->end != BODY_MOVE_BAD || (in.error >= 400 && in.why));
	promise(o->end != BODY_MOVE_DONE || in.done);
	buf_drop(&from);
	buf_drop(&held);
}

/* The content that a good body has, and the bytes behind it, by h1_check's own loop. */
static void check_content(const struct passage *p, const struct outcome *o)
{
	static struct unchunked want, got;
	struct str content = p->bytes;
	size_t used = p->bytes.n;

	if (p->framing == H1_FRAMING_CHUNKED) {
		promise(unchunk(&limits, p->bytes.p, p->bytes.n, p->bytes.n + 1, &want) == NULL);
		promise((want.end == BODY_END) == (o->end == BODY_MOVE_DONE));
		used = want.used;
		const char *trailers = memchr(want.text, '|', want.n);
		if (!p->chunked_sink && trailers && o->total < want.n)
			want.n = (size_t)o->total;
		content = (struct str){want.text, want.n};
	} else if (p->framing == H1_FRAMING_LENGTH || p->framing == H1_FRAMING_NONE) {
		uint64_t n = p->framing == H1_FRAMING_NONE ? 0 : p->length;
		promise((n <= p->bytes.n) == (o->end == BODY_MOVE_DONE));
		used = content.n = n < p->bytes.n ? (size_t)n : p->bytes.n;
	} else {
		promise(o->end == BODY_MOVE_DONE);
	}
	if (o->end != BODY_MOVE_DONE)
		return;
	promise(o->left == p->bytes.n - used);
	if (!p->chunked_sink) {
		promise(str_eq((struct str){o->out, o->n}, content));
		return;
	}
	if (p->framing == H1_FRAMING_NONE) {
		promise(o->n == 0);
		return;
	}
	promise(unchunk(&limits_out, o->out, o->n, o->n, &got) == NULL);
	promise(got.end == BODY_END && got.used == o->n);
	promise(str_eq((struct str){got.text, got.n}, content));
}

/* A body that is broken off must not look like one that is whole. */
static void check_broken(const struct passage *p, const struct outcome *o)
{
	static struct unchunked got;

	if (o->end != BODY_MOVE_BAD || !p->chunked_sink)
		return;
	promise(unchunk(&limits_out, o->out, o->n, o->n + 1, &got) == NULL);
	promise(got.end == BODY_MORE);
}

static void check_drop(const struct passage *p, const struct outcome *o)
{
	struct buf from = {0};
	struct body_in in;
	uint64_t dropped = 0;

	body_begin(&in, p->framing, p->length, &limits);
	promise(p->bytes.n == 0 || buf_append(&from, p->bytes.p, p->bytes.n));
	enum body_move end = body_drop(&in, &from, true, &dropped);
	promise(end == o->end && (end != BODY_MOVE_BAD || in.error == o->error));
	promise(end != BODY_MOVE_DONE || (buf_len(&from) == o->left && dropped == p->bytes.n - o->left));
	promise(end != BODY_MOVE_DONE || in.total == o->total);
	buf_drop(&from);
}

static bool read_passage(struct feed *f, struct passage *p)
{
	static const char kinds[] = "NLCU";
	static const enum h1_framing framings[] = {H1_FRAMING_NONE, H1_FRAMING_LENGTH, H1_FRAMING_CHUNKED,
						   H1_FRAMING_UNTIL_CLOSE};
	const char *kind = memchr(kinds, (int)feed_byte(f), 4);

	if (!kind)
		return false;
	p->framing = framings[kind - kinds];
	p->chunked_sink = feed_byte(f) == 'c';
	p->length = 0;
	struct str digits = feed_until(f, '\n');
	for (size_t i = 0; i < digits.n && i < 18; i++)
		p->length = p->length * 10 + (unsigned char)digits.p[i] % 10;
	p->paces = feed_until(f, '\n');
	p->bytes = feed_rest(f);
	return p->bytes.n <= MOST;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct outcome whole, paced;
	struct feed f = feed_of(data, size);
	struct passage p;

	if (!read_passage(&f, &p))
		return 0;
	pass(&p, true, &whole);
	pass(&p, false, &paced);
	promise(whole.end == paced.end && whole.error == paced.error);
	check_content(&p, &whole);
	check_content(&p, &paced);
	check_broken(&p, &whole);
	check_broken(&p, &paced);
	check_drop(&p, &whole);
	block_pools_free();
	return 0;
}
