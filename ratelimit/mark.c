/* SPDX-License-Identifier: MIT */
#include "ratelimit/mark.h"

#include <stdlib.h>
#include <string.h>

#include "base/fmt.h"
#include "ratelimit/journal.h"
#include "ratelimit/slots.h"

#define RELAXED __ATOMIC_RELAXED

/*
 * A mark only rises: two workers may write theirs in either order. It says as well behind which it came, and
 * which was the first, that found nothing: the birth of the data.
 */
static const char script[] =
	"local stood, last, first = redis.call('GET', KEYS[1]), '0', ARGV[1]\n"
	"local twin = redis.call('GET', KEYS[2])\n"
	"stood = stood or twin\n"
	"if stood then last, first = string.match(stood, '^(%d+) %d+ (%d+)$') end\n"
	"if last + 0 < ARGV[1] + 0 then\n"
	"  for i = 1, 2 do\n"
	"    redis.call('SET', KEYS[i], ARGV[1] .. ' ' .. last .. ' ' .. first, 'PX', ARGV[2])\n"
	"  end\n"
	"end\n"
	"return stood\n";

/* What stood on the server when the mark came. */
struct stood {
	usec_t last, before, birth;
};

static uint64_t hash(const struct mark *m, struct str s)
{
	return siphash24(m->table->hash_key, s.p, s.n);
}

void mark_init(struct mark *m, struct table *t, struct str store)
{
	*m = (struct mark){.table = t};
	if (t)
		m->store = hash(m, store);
}

/* The place of a server's mark for all workers; the one that was written to least lately goes where all are
 * taken. */
static struct confirmed *find(const struct mark *m)
{
	struct confirmed *all = m->table->shared->journal.confirmed, *oldest = all;

	for (unsigned i = 0; i < SLOTS_MARKS; i++) {
		struct confirmed *c = &all[(m->who + i) % SLOTS_MARKS];
		uint64_t who = __atomic_load_n(&c->who, RELAXED);
		if (who == m->who)
			return c;
		if (!who && __atomic_compare_exchange_n(&c->who, &who, m->who, false, RELAXED, RELAXED))
			return c;
		if (who == m->who)
			return c;
		if (__atomic_load_n(&c->next, RELAXED) < __atomic_load_n(&oldest->next, RELAXED))
			oldest = c;
	}
	__atomic_store_n(&oldest->value, 0, RELAXED);
	__atomic_store_n(&oldest->birth, 0, RELAXED);
	__atomic_store_n(&oldest->who, m->who, RELAXED);
	return oldest;
}

/* One worker in turn; the one that comes first has it. */
static bool is_due(struct confirmed *c, usec_t now)
{
	usec_t next = __atomic_load_n(&c->next, RELAXED);

	return next <= now &&
	       __atomic_compare_exchange_n(&c->next, &next, now + MARK_EVERY, false, RELAXED, RELAXED);
}

static void pay(struct mark *m)
{
	if (m->owes)
		m->owes = !journal_lost(m->table, m->lost_since, m->single ? NULL : m->slots);
}

static struct str put_key(char *out, struct str prefix, const char *tag, struct str kind, uint64_t weir)
{
	char *at = fmt_str(out, prefix);

	*at++ = '{';
	at = fmt_str(at, str_of(tag));
	at = fmt_str(at, kind);
	fmt_hex(at, weir, 16);
	return (struct str){out, (size_t)(at + 16 - out)};
}

static struct str put_number(char *out, usec_t v)
{
	return (struct str){out, (size_t)(fmt_u64(out, (uint64_t)v) - out)};
}

unsigned mark_write(struct mark *m, struct str prefix, const char *tag, const uint64_t *slots, bool first,
		    usec_t now, struct mark_text *text, struct str argv[MARK_ARGS])
{
	if (!m->table || !tag[0] || prefix.n + strlen(tag) + 40 > sizeof(text->key))
		return 0;
	pay(m);
	if (m->owes)
		return 0; /* those slots are still to be told of */
	m->single = !slots;
	argv[3] = put_key(text->key, prefix, tag, STR("}:mark:"), journal_weir(m->table));
	m->who = hash(m, argv[3]) ^ m->store;
	m->who += !m->who;
	struct confirmed *c = find(m);
	if (!is_due(c, now) && !first)
		return 0;
	m->value = now;
	m->birth = __atomic_load_n(&c->birth, RELAXED);
	m->confirmed = __atomic_load_n(&c->value, RELAXED);
	if (slots)
		memcpy(m->slots, slots, sizeof(m->slots));
	argv[0] = STR("EVAL");
	argv[1] = (struct str){script, sizeof(script) - 1};
	argv[2] = STR("2");
	argv[4] = put_key(text->twin, prefix, tag, STR("}:twin:"), journal_weir(m->table));
	argv[5] = put_number(text->value, now);
	argv[6] = put_number(text->ttl, MARK_TTL_MS);
	return MARK_ARGS;
}

/* Data of another birth than was known, and later: all was lost. One worker finds it news. */
static bool is_born_again(const struct mark *m, struct confirmed *c, const struct stood *s)
{
	usec_t was = __atomic_load_n(&c->birth, RELAXED);

	while (was < s->birth)
		if (__atomic_compare_exchange_n(&c->birth, &was, s->birth, true, RELAXED, RELAXED)) {
			__atomic_store_n(&c->value, 0, RELAXED);
			return was || (m->single && !s->last);
		}
	return false;
}

static bool is_news(struct confirmed *c, usec_t by)
{
	usec_t was = __atomic_load_n(&c->lost_by, RELAXED);

	while (was < by)
		if (__atomic_compare_exchange_n(&c->lost_by, &was, by, true, RELAXED, RELAXED))
			return true;
	return false;
}

/*
 * Less stood there than was confirmed before it was asked: of the marks that are written after a loss the
 * first one meets that. Its answer may be lost, or come after that of the second; the second meets the first
 * one, which was not confirmed, and sees behind what it came. The first one's number is the loss's own.
 */
static bool went_back(const struct mark *m, struct confirmed *c, const struct stood *s, usec_t *since)
{
	bool second = s->last > m->confirmed;

	if (s->birth > m->birth)
		return false;
	*since = second ? s->before : s->last;
	return *since < m->confirmed && is_news(c, second ? s->last : m->value);
}

static void confirm(struct confirmed *c, const struct stood *s, usec_t value)
{
	usec_t was = __atomic_load_n(&c->value, RELAXED);

	value = s->last > value ? s->last : value;
	while (was < value && s->birth >= __atomic_load_n(&c->birth, RELAXED) &&
	       !__atomic_compare_exchange_n(&c->value, &was, value, true, RELAXED, RELAXED))
		;
}

static bool read_stood(const struct mark *m, const struct redis_reply *r, struct stood *s)
{
	char *end;

	*s = (struct stood){.birth = m->value};
	if (r->kind != REDIS_STRING)
		return r->kind == REDIS_NIL; /* writes are refused, or scripts: it says nothing */
	s->last = strtoll(r->text.p, &end, 10);
	s->before = strtoll(end, &end, 10);
	s->birth = strtoll(end, NULL, 10);
	return true;
}

bool mark_answered(struct mark *m, const struct redis_reply *r)
{
	struct confirmed *c = find(m);
	struct stood s;

	if (!read_stood(m, r, &s))
		return false;
	m->lost_since = 0;
	m->owes = is_born_again(m, c, &s) || went_back(m, c, &s, &m->lost_since);
	bool lost = m->owes && m->confirmed;
	pay(m);
	confirm(c, &s, m->value);
	return lost;
}
