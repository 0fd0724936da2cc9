/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/body.h"

#define GIVE_UP_S 240
#define NEXT "GET /next HTTP/1.1\r\n\r\n" /* what follows the body on a kept connection */

static const struct h1_limits limits = {.line = 1000, .head = 3000, .fields = 10};
static struct loop loop;
static unsigned rng;

static unsigned rnd(unsigned below)
{
	rng = rng * 1103515245u + 12345u;
	return (rng >> 8) % below;
}

/* --- bytes that grow --- */

struct bytes {
	char *p;
	size_t n, cap;
};

static void add(struct bytes *b, const void *p, size_t n)
{
	if (b->n + n + 1 > b->cap) {
		b->cap = (b->n + n + 1) * 2;
		b->p = realloc(b->p, b->cap);
		assert_non_null(b->p);
	}
	if (n)
		memcpy(b->p + b->n, p, n);
	b->n += n;
	b->p[b->n] = 0;
}

static void add_text(struct bytes *b, const char *text)
{
	add(b, text, strlen(text));
}

static void clear(struct bytes *b)
{
	free(b->p);
	*b = (struct bytes){NULL, 0, 0};
}

static void add_content(struct bytes *b, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char c = (char)(i * 31 + (i >> 8) * 7);
		add(b, &c, 1);
	}
}

/* In chunks of many sizes, with extensions; trailers, or none. */
static void add_chunked(struct bytes *to, const struct bytes *content, unsigned chunk_max,
			const char *trailers)
{
	char head[64];
	for (size_t at = 0; at < content->n;) {
		size_t n = 1 + rnd(chunk_max);
		if (n > content->n - at)
			n = content->n - at;
		static const char *const forms[] = {"%zx\r\n", "%zX\r\n", "00%zx\r\n", "%zx;e=v\r\n",
						    "%zx;q=\"\\\"z\"\r\n"};
		snprintf(head, sizeof(head), forms[rnd(5)], n);
		add_text(to, head);
		add(to, content->p + at, n);
		add_text(to, "\r\n");
		at += n;
	}
	add_text(to, "0\r\n");
	add_text(to, trailers);
	add_text(to, "\r\n");
}

/* --- the other end of the sink: reads as told, and decodes by other code than is tested --- */

struct sink {
	struct stream stream;
	struct buf held;
	struct body_out out;
	int peer;
	struct bytes got; /* as they came */
};

static struct sink sink; /* one at a time; not on the stack, where a test that fails would leave its event */

static void unused_ready(struct stream *s)
{
	(void)s;
}

static void sink_close(struct sink *k)
{
	stream_close(&k->stream);
	if (k->peer >= 0)
		close(k->peer);
	buf_drop(&k->held);
	clear(&k->got);
	k->stream.fd = k->peer = -1;
}

static void sink_open(struct sink *k, bool chunked, int send_buffer)
{
	int fd[2];
	sink_close(k);
	memset(k, 0, sizeof(*k));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
	if (send_buffer)
		setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer));
	assert_true(stream_open(&k->stream, &loop, fd[0], unused_ready));
	k->peer = fd[1];
	k->out = (struct body_out){.to = &k->stream, .held = &k->held, .chunked = chunked};
}

/* Reads up to n bytes; the loop would then tell that there is room. */
static size_t sink_read(struct sink *k, size_t n)
{
	static char bytes[1 << 17];
	size_t total = 0;
	while (total < n) {
		size_t want = n - total < sizeof(bytes) ? n - total : sizeof(bytes);
		ssize_t r = recv(k->peer, bytes, want, 0);
		if (r <= 0)
			break;
		add(&k->got, bytes, (size_t)r);
		total += (size_t)r;
	}
	struct pollfd p = {.fd = k->stream.fd, .events = POLLOUT};
	if (poll(&p, 1, 0) == 1 && p.revents & POLLOUT)
		k->stream.can_write = true;
	return total;
}

/* Empties what is held and what is on its way. */
static void sink_drain(struct sink *k)
{
	do {
		sink_read(k, SIZE_MAX);
		assert_true(body_flush(&k->stream, &k->held));
	} while (buf_len(&k->held));
	sink_read(k, SIZE_MAX);
}

/* True when the bytes are whole chunks with an end; content and trailers are taken out of them. */
static bool unchunk(const struct bytes *in, struct bytes *content, struct bytes *trailers)
{
	const char *p = in->n ? in->p : "", *end = p + in->n;
	while (p < end) {
		char *after;
		size_t n = strtoul(p, &after, 16);
		assert_true(after > p && after[0] == '\r' && after[1] == '\n');
		p = after + 2;
		if (n == 0) {
			bool empty = end - p == 2 && memcmp(p, "\r\n", 2) == 0;
			if (!empty && (end - p < 4 || memcmp(end - 4, "\r\n\r\n", 4) != 0))
				return false;
			add(trailers, p, (size_t)(end - p) - 2);
			return true;
		}
		if ((size_t)(end - p) < n + 2) {
			add(content, p, (size_t)(end - p) < n ? (size_t)(end - p) : n);
			return false;
		}
		add(content, p, n);
		assert_memory_equal(p + n, "\r\n", 2);
		p += n + 2;
	}
	return false;
}

/* --- one passage --- */

struct passage {
	enum h1_framing framing;
	bool chunked_sink;
	int send_buffer;      /* 0: as it comes */
	size_t reads;	      /* bytes that the peer reads when the sink is full; 0: all */
	const char *trailers; /* as they should arrive */
};

static struct body_in in;

/* Feeds message[0, n) in the pieces that cut() asks for, with eof behind it or not. Returns how it ended. */
static enum body_move pass(struct sink *k, const struct passage *p, uint64_t length,
			   const struct bytes *message, bool eof, size_t (*cut)(size_t at, size_t left),
			   struct bytes *rest)
{
	struct buf from = {NULL, 0, 0};
	size_t fed = 0;
	unsigned stuck = 0;
	enum body_move m;
	body_begin(&in, p->framing, length, &limits);
	for (;;) {
		bool ended = eof && fed == message->n;
		size_t held = buf_len(&k->held);
		m = body_move(&in, &from, ended, &k->out);
		assert_true(buf_len(&k->held) <= BODY_HELD_MAX + buf_len(&from) + BLOCK_LARGE * 4);
		if (m == BODY_MOVE_FULL) {
			assert_false(k->stream.can_write);
			size_t read = sink_read(k, p->reads ? p->reads : SIZE_MAX);
			stuck = read || held != buf_len(&k->held) ? 0 : stuck + 1;
			assert_true(stuck < 10);
		} else if (m == BODY_MOVE_HUNGRY) {
			if (fed == message->n)
				break;
			size_t n = cut(fed, message->n - fed);
			assert_true(buf_append(&from, message->p + fed, n));
			fed += n;
			sink_read(k, p->reads ? p->reads : SIZE_MAX);
		} else {
			break;
		}
	}
	if (buf_len(&from))
		add(rest, buf_head(&from), buf_len(&from));
	add(rest, message->p + fed, message->n - fed);
	buf_drop(&from);
	return m;
}

static void check_arrived(struct sink *k, const struct passage *p, const struct bytes *content)
{
	if (!p->chunked_sink || p->framing == H1_FRAMING_NONE) {
		assert_int_equal(k->got.n, content->n);
		if (content->n)
			assert_memory_equal(k->got.p, content->p, content->n);
		return;
	}
	struct bytes got = {NULL, 0, 0}, trailers = {NULL, 0, 0};
	assert_true(unchunk(&k->got, &got, &trailers));
	assert_int_equal(got.n, content->n);
	if (content->n)
		assert_memory_equal(got.p, content->p, content->n);
	assert_string_equal(trailers.n ? trailers.p : "", p->trailers);
	clear(&got);
	clear(&trailers);
}

static void passes_whole(const struct passage *p, const struct bytes *message, const struct bytes *content,
			 size_t (*cut)(size_t, size_t))
{
	struct bytes rest = {NULL, 0, 0};
	bool until_close = p->framing == H1_FRAMING_UNTIL_CLOSE;
	sink_open(&sink, p->chunked_sink, p->send_buffer);
	enum body_move m = pass(&sink, p, content->n, message, until_close, cut, &rest);
	assert_int_equal(m, BODY_MOVE_DONE);
	assert_true(in.done);
	assert_int_equal(in.total, content->n);
	sink_drain(&sink);
	struct buf none = {NULL, 0, 0};
	assert_int_equal(body_move(&in, &none, true, &sink.out),
			 BODY_MOVE_DONE); /* asked again: nothing more */
	sink_drain(&sink);
	check_arrived(&sink, p, content);
	assert_string_equal(rest.n ? rest.p : "", until_close ? "" : NEXT);
	clear(&rest);
	sink_close(&sink);
	assert_int_equal(block_bytes_used(), 0);
}

static void make_message(struct bytes *message, const struct passage *p, const struct bytes *content,
			 unsigned chunk_max, const char *trailers)
{
	if (p->framing == H1_FRAMING_CHUNKED)
		add_chunked(message, content, chunk_max, trailers);
	else
		add(message, content->p, content->n);
	if (p->framing != H1_FRAMING_UNTIL_CLOSE)
		add_text(message, NEXT);
}

/* --- ways to cut --- */

static size_t piece, first_cut, second_cut;

static size_t in_pieces(size_t at, size_t left)
{
	(void)at;
	return piece < left ? piece : left;
}

static size_t at_random(size_t at, size_t left)
{
	(void)at;
	size_t n = 1 + rnd(rnd(4) ? 40 : 70000);
	return n < left ? n : left;
}

static size_t at_two_places(size_t at, size_t left)
{
	size_t next = at < first_cut ? first_cut - at : at < second_cut ? second_cut - at : left;
	return next && next < left ? next : left;
}

static const enum h1_framing framings[] = {H1_FRAMING_NONE, H1_FRAMING_LENGTH, H1_FRAMING_CHUNKED,
					   H1_FRAMING_UNTIL_CLOSE};

static void short_bodies_pass_in_every_split(void **state)
{
	static const char *const trailer_rows[][2] = {
		{"", ""},
		{"X-Sum: 7f\r\n", "X-Sum: 7f\r\n"},
		{"A:1\r\nContent-Length: 3\r\nX-B: \t two \r\n",
		 "A: 1\r\nX-B: two\r\n"}, /* one that may not pass */
	};
	(void)state;
	for (unsigned f = 0; f < 4; f++)
		for (unsigned chunked = 0; chunked < 2; chunked++)
			for (size_t n = 0; n <= 9; n += n < 2 ? 1 : 7)
				for (unsigned t = 0; t < (framings[f] == H1_FRAMING_CHUNKED ? 3 : 1); t++) {
					struct passage p = {framings[f], chunked, 0, 0, trailer_rows[t][1]};
					struct bytes content = {NULL, 0, 0}, message = {NULL, 0, 0};
					rng = 42;
					add_content(&content, framings[f] == H1_FRAMING_NONE ? 0 : n);
					make_message(&message, &p, &content, 5, trailer_rows[t][0]);
					size_t body =
						message.n -
						(framings[f] == H1_FRAMING_UNTIL_CLOSE ? 0 : strlen(NEXT)) +
						1;
					for (first_cut = 0; first_cut <= body; first_cut++)
						for (second_cut = first_cut; second_cut <= body;
						     second_cut += 1 + t * 2)
							passes_whole(&p, &message, &content, at_two_places);
					clear(&content);
					clear(&message);
				}
}

/* Dropped ones are parsed as strictly as others. */
static void trailers_are_dropped_where_told(void **state)
{
	static const struct {
		const char *text;
		enum body_move ends;
	} rows[] = {
		{"3\r\nabc\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n", BODY_MOVE_DONE},
		{"3\r\nabc\r\n0\r\nX-A : 1\r\n\r\n", BODY_MOVE_BAD},
	};
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct body_in b;
		struct buf from = {NULL, 0, 0};
		sink_open(&sink, true, 0);
		body_begin(&b, H1_FRAMING_CHUNKED, 0, &limits);
		b.no_trailers = true;
		assert_true(buf_append(&from, rows[i].text, strlen(rows[i].text)));
		assert_int_equal(body_move(&b, &from, false, &sink.out), rows[i].ends);
		sink_read(&sink, SIZE_MAX);
		if (rows[i].ends == BODY_MOVE_DONE)
			assert_string_equal(sink.got.p, "3\r\nabc\r\n0\r\n\r\n");
		buf_drop(&from);
		sink_close(&sink);
	}
}

static void long_bodies_pass_into_sinks_that_take_little(void **state)
{
	static const size_t sizes[] = {1, 4095, 4096, 65535, 65536, 65537, 300000};
	static const struct {
		int send_buffer;
		size_t reads;
	} sinks[] = {{0, 0}, {2000, 700}, {5000, 0}, {2000, 60000}};
	(void)state;
	for (unsigned f = 1; f < 4; f++)
		for (unsigned chunked = 0; chunked < 2; chunked++)
			for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
				for (unsigned k = 0; k < sizeof(sinks) / sizeof(sinks[0]); k++) {
					struct passage p = {
						framings[f], chunked, sinks[k].send_buffer, sinks[k].reads,
						framings[f] == H1_FRAMING_CHUNKED ? "X-T: v\r\n" : ""};
					struct bytes content = {NULL, 0, 0}, message = {NULL, 0, 0};
					rng = s * 100 + k;
					add_content(&content, sizes[s]);
					make_message(&message, &p, &content, s & 1 ? 100 : 50000,
						     "X-T: v\r\n");
					passes_whole(&p, &message, &content, at_random);
					for (piece = 1000; piece < 200000; piece *= 12)
						passes_whole(&p, &message, &content, in_pieces);
					clear(&content);
					clear(&message);
				}
}

/* The end of a known length comes while the sink is full: its last chunk must not be forgotten. */
static void a_full_sink_at_the_end_of_a_length_still_gets_its_last_chunk(void **state)
{
	struct bytes content = {NULL, 0, 0}, rest = {NULL, 0, 0};
	struct passage p = {H1_FRAMING_LENGTH, true, 2000, 0, ""};
	struct buf from = {NULL, 0, 0};
	(void)state;
	add_content(&content, BODY_HELD_MAX + 20000);
	sink_open(&sink, true, 2000);
	body_begin(&in, H1_FRAMING_LENGTH, content.n, &limits);
	assert_true(buf_append(&from, content.p, content.n));
	assert_int_equal(body_move(&in, &from, false, &sink.out), BODY_MOVE_FULL);
	assert_int_equal(buf_len(&from), 0);
	enum body_move m;
	for (int i = 0; (m = body_move(&in, &from, false, &sink.out)) == BODY_MOVE_FULL && i < 1000; i++)
		sink_read(&sink, SIZE_MAX);
	assert_int_equal(m, BODY_MOVE_DONE);
	sink_drain(&sink);
	check_arrived(&sink, &p, &content);
	sink_close(&sink);
	clear(&content);
	clear(&rest);
}

/* --- what does not end well --- */

static void a_source_that_ends_in_the_middle_is_bad_and_never_looks_whole(void **state)
{
	(void)state;
	for (unsigned f = 1; f < 3; f++)
		for (unsigned chunked = 0; chunked < 2; chunked++) {
			struct passage p = {framings[f], chunked, 0, 0, ""};
			struct bytes content = {NULL, 0, 0}, message = {NULL, 0, 0}, rest = {NULL, 0, 0};
			add_content(&content, 40);
			make_message(&message, &p, &content, 9, "X-T: v\r\n");
			size_t whole = message.n - strlen(NEXT);
			for (size_t n = 0; n < whole; n++) {
				struct bytes part = {NULL, 0, 0}, got = {NULL, 0, 0}, trailers = {NULL, 0, 0};
				add(&part, message.p, n);
				piece = 1 + n % 7;
				sink_open(&sink, chunked, 0);
				assert_int_equal(pass(&sink, &p, content.n, &part, true, in_pieces, &rest),
						 BODY_MOVE_BAD);
				assert_int_equal(in.error, 400);
				assert_non_null(in.why);
				assert_false(in.done);
				sink_drain(&sink);
				if (chunked)
					assert_false(unchunk(&sink.got, &got, &trailers));
				else
					add(&got, sink.got.p, sink.got.n);
				assert_int_equal(got.n, in.total); /* what came before is not kept back */
				if (got.n)
					assert_memory_equal(got.p, content.p, got.n);
				sink_close(&sink);
				clear(&part);
				clear(&got);
				clear(&trailers);
				clear(&rest);
			}
			clear(&content);
			clear(&message);
		}
}

static void a_source_that_breaks_its_framing_is_bad(void **state)
{
	static char long_line[1200], many[500];
	const struct {
		const char *message;
		unsigned error;
	} rows[] = {
		{"5\r\nhelloX\r\n0\r\n\r\n", 400},	 /* longer than its size */
		{"5\r\nhello\n0\r\n\r\n", 400},		 /* LF alone */
		{"g\r\n", 400},				 /* no number */
		{"\r\n", 400},				 /* none at all */
		{"-5\r\nhello\r\n", 400},		 /* a sign */
		{" 5\r\nhello\r\n", 400},		 /* a blank */
		{"8000000000000000\r\n", 400},		 /* above 2^63-1 */
		{"00000000000000005\r\nhello\r\n", 400}, /* 17 digits */
		{"0\r\nBad Name: x\r\n\r\n", 400},	 /* in a trailer */
		{"0\r\nX: a\rb\r\n\r\n", 400},
		{long_line, 431},
		{many, 431},
	};
	(void)state;
	memset(long_line, 'x', sizeof(long_line) - 1);
	memcpy(long_line, "0\r\nX: ", 6);
	memcpy(many, "0\r\n", 4);
	for (int i = 0; i < 11; i++)
		strcat(many, "X: y\r\n");
	strcat(many, "\r\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (unsigned chunked = 0; chunked < 2; chunked++)
			for (piece = 1; piece < 2000; piece = piece * 3 + 1) {
				struct passage p = {H1_FRAMING_CHUNKED, chunked, 0, 0, ""};
				struct bytes message = {NULL, 0, 0}, rest = {NULL, 0, 0};
				add_text(&message, rows[i].message);
				sink_open(&sink, chunked, 0);
				assert_int_equal(pass(&sink, &p, 0, &message, false, in_pieces, &rest),
						 BODY_MOVE_BAD);
				assert_int_equal(in.error, rows[i].error);
				assert_non_null(in.why);
				sink_drain(&sink);
				assert_true(sink.got.n < 5 ||
					    memcmp(sink.got.p + sink.got.n - 5, "0\r\n\r\n", 5) != 0);
				sink_close(&sink);
				clear(&message);
				clear(&rest);
			}
}

static void a_sink_that_is_gone_is_lost(void **state)
{
	(void)state;
	for (unsigned f = 1; f < 4; f++)
		for (unsigned chunked = 0; chunked < 2; chunked++) {
			struct passage p = {framings[f], chunked, 0, 0, ""};
			struct bytes content = {NULL, 0, 0}, message = {NULL, 0, 0};
			struct buf from = {NULL, 0, 0};
			add_content(&content, 5000);
			make_message(&message, &p, &content, 600, "");
			sink_open(&sink, chunked, 0);
			close(sink.peer);
			sink.peer = -1;
			body_begin(&in, framings[f], content.n, &limits);
			assert_true(buf_append(&from, message.p, message.n));
			assert_int_equal(body_move(&in, &from, true, &sink.out), BODY_MOVE_LOST);
			assert_int_equal(sink.stream.err, EPIPE);
			buf_drop(&from);
			sink_close(&sink);
			clear(&content);
			clear(&message);
		}
}

/* Without bytes of its own a sink is not written to: a source that pauses costs no call. */
static void a_hungry_source_writes_nothing(void **state)
{
	struct buf from = {NULL, 0, 0};
	(void)state;
	for (unsigned f = 1; f < 4; f++)
		for (unsigned chunked = 0; chunked < 2; chunked++) {
			sink_open(&sink, chunked, 0);
			body_begin(&in, framings[f], 10, &limits);
			assert_int_equal(body_move(&in, &from, false, &sink.out), BODY_MOVE_HUNGRY);
			sink_read(&sink, SIZE_MAX);
			assert_int_equal(sink.got.n, 0);
			sink_close(&sink);
		}
}

static void what_was_held_before_goes_out_first(void **state)
{
	(void)state;
	for (unsigned f = 0; f < 4; f++)
		for (unsigned chunked = 0; chunked < 2; chunked++) {
			struct buf from = {NULL, 0, 0};
			const char *message =
				framings[f] == H1_FRAMING_CHUNKED ? "4\r\nbody\r\n0\r\n\r\n" : "body";
			sink_open(&sink, chunked, 0);
			assert_true(buf_append(&sink.held, "HEAD", 4));
			body_begin(&in, framings[f], 4, &limits);
			if (f)
				assert_true(buf_append(&from, message, strlen(message)));
			assert_int_equal(
				body_move(&in, &from, framings[f] == H1_FRAMING_UNTIL_CLOSE, &sink.out),
				BODY_MOVE_DONE);
			sink_drain(&sink);
			assert_string_equal(sink.got.p, !f	  ? "HEAD"
							: chunked ? "HEAD4\r\nbody\r\n0\r\n\r\n"
								  : "HEADbody");
			sink_close(&sink);
		}
}

/* --- drop --- */

static void a_dropped_body_is_counted_and_leaves_what_follows(void **state)
{
	(void)state;
	for (unsigned f = 0; f < 4; f++)
		for (piece = 1; piece < 90000; piece *= 7) {
			struct passage p = {framings[f], false, 0, 0, ""};
			struct bytes content = {NULL, 0, 0}, message = {NULL, 0, 0};
			struct buf from = {NULL, 0, 0};
			uint64_t dropped = 0;
			size_t fed = 0;
			enum body_move m;
			bool until_close = framings[f] == H1_FRAMING_UNTIL_CLOSE;
			rng = (unsigned)piece;
			add_content(&content, f ? 3000 : 0);
			make_message(&message, &p, &content, 90, "X-T: v\r\n");
			body_begin(&in, framings[f], content.n, &limits);
			while ((m = body_drop(&in, &from, until_close && fed == message.n, &dropped)) ==
			       BODY_MOVE_HUNGRY) {
				assert_true(fed < message.n);
				size_t n = in_pieces(fed, message.n - fed);
				assert_true(buf_append(&from, message.p + fed, n));
				fed += n;
			}
			assert_int_equal(m, BODY_MOVE_DONE);
			assert_true(in.done);
			assert_int_equal(in.total, content.n);
			assert_int_equal(dropped, message.n - (until_close ? 0 : strlen(NEXT)));
			assert_int_equal(buf_len(&from), fed - dropped);
			assert_true(fed - dropped == 0 || memcmp(buf_head(&from), NEXT, fed - dropped) == 0);
			assert_int_equal(body_drop(&in, &from, true, &dropped), BODY_MOVE_DONE);
			buf_drop(&from);
			clear(&content);
			clear(&message);
		}
}

static void a_drop_sees_the_same_faults(void **state)
{
	struct buf from = {NULL, 0, 0};
	uint64_t dropped = 0;
	(void)state;
	body_begin(&in, H1_FRAMING_LENGTH, 10, &limits);
	assert_true(buf_append(&from, "abc", 3));
	assert_int_equal(body_drop(&in, &from, false, &dropped), BODY_MOVE_HUNGRY);
	assert_int_equal(dropped, 3);
	assert_int_equal(in.left, 7);
	assert_int_equal(body_drop(&in, &from, true, &dropped), BODY_MOVE_BAD);
	assert_int_equal(in.error, 400);
	body_begin(&in, H1_FRAMING_CHUNKED, 0, &limits);
	assert_true(buf_append(&from, "zz\r\n", 4));
	assert_int_equal(body_drop(&in, &from, false, &dropped), BODY_MOVE_BAD);
	assert_int_equal(in.error, 400);
	buf_drop(&from);
}

static int set_up(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	alarm(GIVE_UP_S);
	sink.stream.fd = sink.peer = -1;
	return loop_init(&loop) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	sink_close(&sink);
	loop_free(&loop);
	block_pools_free();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_bodies_pass_in_every_split),
		cmocka_unit_test(trailers_are_dropped_where_told),
		cmocka_unit_test(long_bodies_pass_into_sinks_that_take_little),
		cmocka_unit_test(a_full_sink_at_the_end_of_a_length_still_gets_its_last_chunk),
		cmocka_unit_test(a_source_that_ends_in_the_middle_is_bad_and_never_looks_whole),
		cmocka_unit_test(a_source_that_breaks_its_framing_is_bad),
		cmocka_unit_test(a_sink_that_is_gone_is_lost),
		cmocka_unit_test(a_hungry_source_writes_nothing),
		cmocka_unit_test(what_was_held_before_goes_out_first),
		cmocka_unit_test(a_dropped_body_is_counted_and_leaves_what_follows),
		cmocka_unit_test(a_drop_sees_the_same_faults),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
