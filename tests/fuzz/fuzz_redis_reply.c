/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as what Redis answers: the same replies however they come in, each written anew in RESP is read
 * as the same, and what is taken for the script's answer keeps its promises to the limiter.
 *
 * Input: a digit for the number of policies asked (1 to 4, an `s` before it: the last is in shadow), one for
 * the number of requests, then the bytes.
 */
#include "ratelimit/redis_info.h"
#include "ratelimit/redis_map.h"
#include "ratelimit/redis_script.h"
#include "ratelimit/redis_slots.h"
#include "tests/fuzz/fuzz.h"

enum { BYTES_MOST = 2048, DEPTH_MOST = 12, TEXT_MOST_BYTES = 1 << 17 };

/* ---- replies as one text ---- */

static void put_number(struct sheet *s, char kind, long long v)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "%c%lld\r\n", kind, v);

	sheet_bytes(s, line, (size_t)n);
}

static void put_line(struct sheet *s, char kind, struct str text)
{
	sheet_bytes(s, &kind, 1);
	sheet_str(s, text);
	sheet_bytes(s, "\r\n", 2);
}

static void write_reply(struct sheet *s, const struct redis_reply *r, unsigned depth)
{
	promise(depth < DEPTH_MOST);
	switch (r->kind) {
	case REDIS_NIL:
		sheet_bytes(s, "$-1\r\n", 5);
		break;
	case REDIS_INTEGER:
		put_number(s, ':', (long long)r->integer);
		break;
	case REDIS_STRING:
		put_number(s, '$', (long long)r->text.n);
		sheet_str(s, r->text);
		sheet_bytes(s, "\r\n", 2);
		break;
	case REDIS_STATUS:
	case REDIS_ERROR:
		promise(r->text.p && !memmem(r->text.p, r->text.n, "\r\n", 2));
		put_line(s, r->kind == REDIS_STATUS ? '+' : '-', r->text);
		break;
	case REDIS_ARRAY:
		put_number(s, '*', r->count);
		for (unsigned i = 0; i < r->count; i++)
			write_reply(s, &r->element[i], depth + 1);
		break;
	default:
		promise(!"a kind that is none");
	}
	promise(r->kind == REDIS_ERROR ? r->failure != REDIS_FINE && r->failure < REDIS_FAILURES
				       : r->failure == REDIS_FINE);
}

/* ---- answers ---- */

struct question {
	struct policy policy[POLICY_MAX_APPLIED];
	struct table_ask ask[POLICY_MAX_APPLIED];
	unsigned asks, n;
};

static void check_answer(const struct redis_reply *r, const struct question *q)
{
	struct redis_answer a;
	bool refused = false;

	memset(&a, 0xa5, sizeof(a));
	if (!redis_script_answer(r, q->ask, q->asks, q->n, &a) || a.late)
		return;
	promise(a.granted <= q->n && a.server_us >= 0);
	for (unsigned i = 0; i < q->asks; i++) {
		const struct window_state *s = &a.state[i];
		promise(a.took[i] <= a.granted && (a.took[i] == a.granted || q->policy[i].shadow));
		promise(s->limit == q->ask[i].limit && s->used >= a.took[i]);
		promise(s->remaining == (s->limit > s->used ? s->limit - s->used : 0));
		promise(q->policy[i].shadow || a.granted == 0 || s->used <= s->limit);
		promise(s->retry_after_us >= 0 && s->reset_us >= 0);
		promise(s->remaining == 0 || s->retry_after_us == 0);
		refused |= !q->policy[i].shadow && s->remaining == 0;
	}
	promise(a.granted == q->n || refused);
}

/* What is sound is one part for each client, and each part is an answer, late, or nothing. */
static void check_many(const struct redis_reply *r, const struct question *q)
{
	unsigned clients = r->kind == REDIS_ARRAY && r->count > 1 ? r->count - 1 : 1;
	for (unsigned n = clients; n <= clients + 1; n++) {
		if (n < 2 || r->kind == REDIS_ERROR || !redis_script_sound(r, n))
			continue;
		for (unsigned i = 0; i < n; i++) {
			struct redis_reply part;
			if (redis_script_part(r, i, &part))
				check_answer(&part, q);
			else
				promise(part.kind == REDIS_INTEGER && !part.integer);
		}
	}
}

/* ---- a cluster ---- */

static void check_range(const struct redis_reply *r)
{
	struct redis_range range;

	memset(&range, 0xa5, sizeof(range));
	if (!redis_range_read(r, &range))
		return;
	promise(range.first <= range.last && range.last < REDIS_SLOTS);
	promise(range.places > 0 && range.places <= REDIS_RANGE_PLACES);
	for (unsigned i = 0; i < range.places; i++)
		promise(range.place[i].port > 0 && (!range.place[i].host.n || range.place[i].host.p));
}

/* All of what is believed is ranges, and no slot has two masters. */
static void check_map(const struct redis_reply *r)
{
	static bool taken[REDIS_SLOTS];
	struct redis_range range;

	if (redis_map_fault(r))
		return;
	memset(taken, 0, sizeof(taken));
	for (unsigned i = 0; i < r->count; i++) {
		promise(redis_range_read(&r->element[i], &range) && range.places);
		for (unsigned slot = range.first; slot <= range.last; slot++) {
			promise(!taken[slot]);
			taken[slot] = true;
		}
		for (unsigned k = 0; k < range.places; k++)
			promise(redis_host_fits(range.place[k].host));
	}
}

static void check_redirect(struct str error)
{
	struct redis_redirect d = redis_redirect_read(error);

	if (d.kind != REDIS_MOVE && d.kind != REDIS_ASK_THERE)
		return;
	promise(d.slot < REDIS_SLOTS && d.place.port > 0);
	promise(!d.place.host.n ||
		(d.place.host.p > error.p && d.place.host.p + d.place.host.n < error.p + error.n));
}

static void check_info(struct str text)
{
	struct redis_info info;

	memset(&info, 0xa5, sizeof(info));
	redis_info_read(text, &info);
	promise(memchr(info.version, 0, sizeof(info.version)) && memchr(info.policy, 0, sizeof(info.policy)));
	promise(redis_slot(text) < REDIS_SLOTS);
}

static void check_cluster(const struct redis_reply *r)
{
	check_map(r);
	check_range(r);
	for (unsigned i = 0; r->kind == REDIS_ARRAY && i < r->count; i++)
		check_range(&r->element[i]);
	if (r->kind == REDIS_ERROR)
		check_redirect(r->text);
	if (r->kind == REDIS_STRING)
		check_info(r->text);
}

/* ---- streams of replies ---- */

struct read {
	char text[TEXT_MOST_BYTES];
	struct sheet sheet;
	unsigned replies;
	bool failed;
};

static void read_all(struct redis_parser *p, struct str bytes, size_t piece, const struct question *q,
		     struct read *out)
{
	promise(redis_parser_reset(p));
	out->sheet = (struct sheet){out->text, 0, sizeof(out->text)};
	out->replies = 0;
	out->failed = false;
	for (size_t at = 0; at < bytes.n && !out->failed;) {
		size_t n = piece < bytes.n - at ? piece : bytes.n - at;
		char *exact = exact_copy(bytes.p + at, n);
		const struct redis_reply *r;
		promise(redis_parser_feed(p, exact, n));
		free(exact);
		at += n;
		while ((r = redis_parser_next(p, &out->failed)) != NULL) {
			write_reply(&out->sheet, r, 0);
			out->replies++;
			if (q) {
				check_answer(r, q);
				check_many(r, q);
				check_cluster(r);
			}
		}
	}
}

static struct question read_question(struct feed *f)
{
	struct question q = {.asks = 1};
	unsigned c = feed_byte(f);
	bool shadow = c == 's';

	if (shadow)
		c = feed_byte(f);
	q.asks = c >= '1' && c <= '4' ? c - '0' : 1;
	c = feed_byte(f);
	q.n = c >= '0' && c <= '9' ? c - '0' : c;
	for (unsigned i = 0; i < q.asks; i++) {
		q.policy[i] = (struct policy){.name = "p", .requests = 1000, .window_us = 60 * USEC_PER_SEC};
		q.policy[i].shadow = shadow && i + 1 == q.asks;
		q.ask[i].limit = 1000u >> (3 * i);
	}
	return q;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct redis_parser *parser;
	static struct read whole, other;
	struct feed f = feed_of(data, size);
	struct question q = read_question(&f);
	struct str bytes = feed_rest(&f);

	for (unsigned i = 0; i < q.asks; i++)
		q.ask[i].policy = &q.policy[i];
	if (bytes.n > BYTES_MOST)
		return 0;
	if (!parser && !(parser = redis_parser_new()))
		return 0;
	read_all(parser, bytes, bytes.n, &q, &whole);
	for (size_t piece = 1; piece < bytes.n && piece < 9; piece++) {
		read_all(parser, bytes, piece, NULL, &other);
		promise(other.failed == whole.failed);
		promise(other.replies == whole.replies);
		promise(str_eq(sheet_text(&other.sheet), sheet_text(&whole.sheet)));
	}
	read_all(parser, sheet_text(&whole.sheet), TEXT_MOST_BYTES, NULL, &other);
	promise(!other.failed && other.replies == whole.replies);
	promise(str_eq(sheet_text(&other.sheet), sheet_text(&whole.sheet)));
	redis_failure_of(bytes);
	return 0;
}
