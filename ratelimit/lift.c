/* SPDX-License-Identifier: MIT */
#include "ratelimit/lift.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/*
 * Two copies of the list. Control writes the one that nobody reads and then counts `version` up, which makes
 * it the other's turn; so a control that dies while it writes leaves nothing half written in sight. A reader
 * whose version is still the same afterwards has read one list.
 */
struct list_copy {
	unsigned count;
	struct lift lift[LIFTS_MAX];
};

struct ended {
	_Atomic int64_t until; /* 0: free; written last */
	char id[LIFT_ID];
	bool token;
};

struct lifts {
	_Atomic int64_t latest, latest_block; /* the last end of any lift, of any block; 0: none */
	_Atomic uint64_t version;
	struct list_copy copy[2];
	struct ended ended[LIFTS_ENDED_MAX];
};

#define READ_TRIES 64

const char *lift_effect_name(enum lift_effect e)
{
	static const char *const names[] = {"none", "full", "shadow", "block"};
	return names[e];
}

size_t lifts_bytes(void)
{
	return sizeof(struct lifts);
}

static bool is_block(const struct lift *l)
{
	return l->effect == LIFT_BLOCK;
}

static struct list_copy *begin_write(struct lifts *ls)
{
	uint64_t v = atomic_load_explicit(&ls->version, memory_order_relaxed);
	struct list_copy *to = &ls->copy[(v + 1) & 1];
	const struct list_copy *from = &ls->copy[v & 1];
	to->count = from->count;
	memcpy(to->lift, from->lift, sizeof(to->lift[0]) * from->count);
	return to;
}

static void end_write(struct lifts *ls, const struct list_copy *c)
{
	usec_t latest = 0, latest_block = 0;
	for (unsigned i = 0; i < c->count; i++) {
		usec_t *of = is_block(&c->lift[i]) ? &latest_block : &latest;
		if (c->lift[i].until > *of)
			*of = c->lift[i].until;
	}
	atomic_fetch_add_explicit(&ls->version, 1, memory_order_seq_cst);
	atomic_store_explicit(&ls->latest, latest, memory_order_release);
	atomic_store_explicit(&ls->latest_block, latest_block, memory_order_release);
	/* The next write goes where readers of this version's elder may still be: it must not start before.
	 */
	atomic_thread_fence(memory_order_seq_cst);
}

static int find(const struct list_copy *c, const char *id)
{
	for (unsigned i = 0; i < c->count; i++)
		if (strncmp(c->lift[i].id, id, LIFT_ID) == 0)
			return (int)i;
	return -1;
}

static bool has_room(const struct list_copy *c, const struct lift *l, usec_t now)
{
	unsigned alike = 0;
	for (unsigned i = 0; i < c->count; i++)
		alike += c->lift[i].until > now && is_block(&c->lift[i]) == is_block(l);
	return alike < (is_block(l) ? LIFTS_BLOCKING : LIFTS_FREEING);
}

/* The place of one that is over, or behind the last; there is one where has_room. */
static int find_place(const struct list_copy *c, usec_t now)
{
	for (unsigned i = 0; i < c->count; i++)
		if (c->lift[i].until <= now)
			return (int)i;
	return (int)c->count;
}

bool lifts_put(struct lifts *ls, const struct lift *l)
{
	struct list_copy *c = begin_write(ls);
	usec_t now = clock_mono();
	int at = find(c, l->id);
	if (at < 0 && !has_room(c, l, now))
		return false;
	if (at < 0)
		at = find_place(c, now);
	c->lift[at] = *l;
	if ((unsigned)at == c->count)
		c->count++;
	end_write(ls, c);
	return true;
}

bool lifts_remove(struct lifts *ls, const char *id)
{
	struct list_copy *c = begin_write(ls);
	int at = find(c, id);
	if (at < 0)
		return false;
	c->lift[at] = c->lift[--c->count];
	end_write(ls, c);
	return true;
}

static bool unchanged(const struct lifts *ls, uint64_t version)
{
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&ls->version, memory_order_relaxed) == version;
}

/* What a reader sees may be torn until its version was checked, so no count is believed beyond its array. */
static unsigned at_most(unsigned n, unsigned max)
{
	return n < max ? n : max;
}

static unsigned list_once(const struct list_copy *c, usec_t now, struct lift *out)
{
	unsigned n = 0, count = at_most(c->count, LIFTS_MAX);
	for (unsigned i = 0; i < count; i++)
		if (c->lift[i].until > now)
			out[n++] = c->lift[i];
	return n;
}

unsigned lifts_list(const struct lifts *ls, usec_t now, struct lift *out)
{
	for (int i = 0; i < READ_TRIES; i++) {
		uint64_t v = atomic_load_explicit(&ls->version, memory_order_acquire);
		unsigned n = list_once(&ls->copy[v & 1], now, out);
		if (unchanged(ls, v))
			return n;
	}
	return 0;
}

/* As cidr_has does: an IPv6 network wider than /96 speaks of IPv6 only. */
static bool net_has(const struct lift_net *n, const uint8_t addr[16])
{
	static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
	unsigned bits = at_most(n->bits, 128), whole = bits / 8, rest = bits % 8;
	if (bits < 96 && memcmp(addr, mapped, sizeof(mapped)) == 0)
		return false;
	if (memcmp(n->addr, addr, whole) != 0)
		return false;
	return rest == 0 || ((n->addr[whole] ^ addr[whole]) >> (8 - rest)) == 0;
}

static bool client_in(const struct lift *l, const uint8_t addr[16])
{
	unsigned n = at_most(l->clients, LIFT_CLIENTS);
	for (unsigned i = 0; i < n; i++)
		if (net_has(&l->client[i], addr))
			return true;
	return n == 0;
}

static bool site_in(const struct lift *l, struct str site)
{
	unsigned n = at_most(l->sites, LIFT_SITES);
	for (unsigned i = 0; i < n; i++)
		if (site.n == strnlen(l->site[i], LIFT_SITE) && memcmp(l->site[i], site.p, site.n) == 0)
			return true;
	return n == 0;
}

bool lift_covers(const struct lift *l, const uint8_t addr[16], struct str site)
{
	return client_in(l, addr) && site_in(l, site);
}

static enum lift_effect match_once(const struct list_copy *c, usec_t now, const uint8_t addr[16],
				   struct str site, char *id)
{
	enum lift_effect found = LIFT_NONE;
	unsigned count = at_most(c->count, LIFTS_MAX);
	for (unsigned i = 0; i < count; i++) {
		const struct lift *l = &c->lift[i];
		if (l->until <= now || is_block(l) || l->effect == found || !lift_covers(l, addr, site))
			continue;
		memcpy(id, l->id, LIFT_ID);
		id[LIFT_ID - 1] = 0;
		if (l->effect == LIFT_FULL)
			return LIFT_FULL;
		found = LIFT_SHADOW;
	}
	return found;
}

static bool block_once(const struct list_copy *c, usec_t now, const uint8_t addr[16], char *id)
{
	unsigned count = at_most(c->count, LIFTS_MAX);
	for (unsigned i = 0; i < count; i++) {
		const struct lift *l = &c->lift[i];
		if (!is_block(l) || l->until <= now || !client_in(l, addr))
			continue;
		memcpy(id, l->id, LIFT_ID);
		id[LIFT_ID - 1] = 0;
		return true;
	}
	return false;
}

enum lift_effect lifts_match(const struct lifts *ls, usec_t now, const uint8_t addr[16], struct str site,
			     char *id)
{
	if (atomic_load_explicit(&ls->latest, memory_order_acquire) <= now)
		return LIFT_NONE;
	for (int i = 0; i < READ_TRIES; i++) {
		uint64_t v = atomic_load_explicit(&ls->version, memory_order_acquire);
		enum lift_effect e = match_once(&ls->copy[v & 1], now, addr, site, id);
		if (unchanged(ls, v))
			return e;
	}
	return LIFT_NONE;
}

bool lifts_block(const struct lifts *ls, usec_t now, const uint8_t addr[16], char *id)
{
	if (atomic_load_explicit(&ls->latest_block, memory_order_acquire) <= now)
		return false;
	for (int i = 0; i < READ_TRIES; i++) {
		uint64_t v = atomic_load_explicit(&ls->version, memory_order_acquire);
		bool blocked = block_once(&ls->copy[v & 1], now, addr, id);
		if (unchanged(ls, v))
			return blocked;
	}
	return false;
}

static bool goes_before(const struct ended *a, const struct ended *b, usec_t now)
{
	bool over = a->until <= now;
	if (over || b->until <= now)
		return over && b->until > now;
	return a->token == b->token ? a->until < b->until : b->token;
}

static bool may_have(const struct ended *room, const struct lift_ended *l, bool own, usec_t now)
{
	if (own || room->until <= now)
		return true;
	return l->token == room->token ? l->until > room->until + USEC_PER_SEC : l->token;
}

bool lifts_bury(struct lifts *ls, const struct lift_ended *l, bool own, usec_t now)
{
	struct ended *room = &ls->ended[0];
	for (unsigned i = 0; i < LIFTS_ENDED_MAX; i++) {
		struct ended *e = &ls->ended[i];
		if (e->until > now && strncmp(e->id, l->id, LIFT_ID) == 0) {
			e->token |= l->token;
			if (l->until > e->until)
				e->until = l->until;
			return false;
		}
		if (goes_before(e, room, now))
			room = e;
	}
	if (!may_have(room, l, own, now))
		return false;
	room->until = 0;
	memcpy(room->id, l->id, LIFT_ID);
	room->token = l->token;
	room->until = l->until;
	return true;
}

unsigned lifts_buried(const struct lifts *ls, usec_t now, struct lift_ended *out)
{
	unsigned n = 0;
	for (unsigned i = 0; i < LIFTS_ENDED_MAX; i++) {
		const struct ended *e = &ls->ended[i];
		if (e->until <= now)
			continue;
		memcpy(out[n].id, e->id, LIFT_ID);
		out[n].token = e->token;
		out[n++].until = e->until;
	}
	return n;
}

/* A row that control writes anew meanwhile has another end afterwards. */
bool lifts_is_buried(const struct lifts *ls, const char *id, usec_t now)
{
	for (unsigned i = 0; i < LIFTS_ENDED_MAX; i++) {
		const struct ended *e = &ls->ended[i];
		usec_t until = e->until;
		if (until > now && strncmp(e->id, id, LIFT_ID) == 0 && e->until >= until)
			return true;
	}
	return false;
}

bool lifts_full_of_tokens(const struct lifts *ls, usec_t now)
{
	for (unsigned i = 0; i < LIFTS_ENDED_MAX; i++)
		if (!ls->ended[i].token || ls->ended[i].until <= now)
			return false;
	return true;
}
