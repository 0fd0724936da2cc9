/* SPDX-License-Identifier: MIT */
#include "ratelimit/redis_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- one range --- */

static bool is_text(const struct redis_reply *r)
{
	return r->kind == REDIS_STRING || r->kind == REDIS_STATUS;
}

/*
 * [host, port, id, [more]]: the host is nil where the server prefers not to say, and "?" where a name is
 * preferred and the node has none; then `more` (since 7.0: "ip", address, "hostname", name) may know it.
 */
static struct str host_of(const struct redis_reply *place)
{
	const struct redis_reply *host = &place->element[0];
	const struct redis_reply *more = place->count > 3 ? &place->element[3] : NULL;
	if (is_text(host) && !str_eq(host->text, STR("?")))
		return host->text;
	if (host->kind == REDIS_NIL || !more || more->kind != REDIS_ARRAY)
		return STR_NONE;
	for (unsigned i = 0; i + 1 < more->count; i += 2)
		if (is_text(&more->element[i]) && str_eq(more->element[i].text, STR("ip")) &&
		    is_text(&more->element[i + 1]))
			return more->element[i + 1].text;
	return STR_NONE;
}

/* Its port may be 0: the server does not know how it is reached. */
static bool read_place(const struct redis_reply *r, struct redis_place *p)
{
	if (r->kind != REDIS_ARRAY || r->count < 2 || r->element[1].kind != REDIS_INTEGER)
		return false;
	if (!is_text(&r->element[0]) && r->element[0].kind != REDIS_NIL)
		return false;
	int64_t port = r->element[1].integer;
	*p = (struct redis_place){host_of(r), (uint16_t)port};
	return port >= 0 && port <= UINT16_MAX && redis_host_fits(p->host);
}

bool redis_range_read(const struct redis_reply *r, struct redis_range *out)
{
	struct redis_place p;
	if (r->kind != REDIS_ARRAY || r->count < 3 || r->element[0].kind != REDIS_INTEGER ||
	    r->element[1].kind != REDIS_INTEGER)
		return false;
	int64_t first = r->element[0].integer, last = r->element[1].integer;
	if (first < 0 || last < first || last >= REDIS_SLOTS)
		return false;
	out->first = (unsigned)first;
	out->last = (unsigned)last;
	out->places = 0;
	for (unsigned i = 2; i < r->count; i++) {
		if (!read_place(&r->element[i], &p) || (i == 2 && !p.port))
			return false;
		if (p.port && out->places < REDIS_RANGE_PLACES)
			out->place[out->places++] = p;
	}
	return true;
}

/* --- the whole answer --- */

/* True: somebody had one of them already. */
static bool take_slots(uint64_t *taken, const struct redis_range *range)
{
	bool twice = false;
	for (unsigned slot = range->first; slot <= range->last; slot++) {
		twice |= taken[slot / 64] >> slot % 64 & 1;
		taken[slot / 64] |= (uint64_t)1 << slot % 64;
	}
	return twice;
}

static bool same_place(const struct redis_place *a, const struct redis_place *b)
{
	return a->port == b->port && str_eq(a->host, b->host);
}

/* False: there are too many. */
static bool note_master(struct redis_place *masters, unsigned *n, const struct redis_place *p)
{
	for (unsigned i = *n; i--;)
		if (same_place(&masters[i], p))
			return true;
	if (*n == REDIS_MAP_MASTERS)
		return false;
	masters[(*n)++] = *p;
	return true;
}

const char *redis_map_fault(const struct redis_reply *r)
{
	uint64_t taken[REDIS_SLOTS / 64] = {0};
	struct redis_place masters[REDIS_MAP_MASTERS];
	struct redis_range range;
	unsigned n = 0;
	if (r->kind != REDIS_ARRAY)
		return "it is no list of ranges";
	if (!r->count)
		return "nobody has a slot";
	for (unsigned i = 0; i < r->count; i++) {
		if (!redis_range_read(&r->element[i], &range))
			return "one of its ranges is none";
		if (take_slots(taken, &range))
			return "two of its ranges overlap";
		if (!note_master(masters, &n, &range.place[0]))
			return "it has too many masters";
	}
	return NULL;
}

/* --- who has what --- */

struct redis_map *redis_map_new(void)
{
	struct redis_map *m = malloc(sizeof(*m));
	if (m)
		redis_map_clear(m);
	return m;
}

void redis_map_clear(struct redis_map *m)
{
	for (unsigned slot = 0; slot < REDIS_SLOTS; slot++)
		m->owner[slot] = REDIS_NOBODY;
}

void redis_map_give(struct redis_map *m, const struct redis_range *range, uint16_t node)
{
	for (unsigned slot = range->first; slot <= range->last; slot++)
		m->owner[slot] = node;
}

bool redis_map_has_gaps(const struct redis_map *m)
{
	for (unsigned slot = 0; slot < REDIS_SLOTS; slot++)
		if (m->owner[slot] == REDIS_NOBODY)
			return true;
	return false;
}

void redis_map_tag(const uint64_t slots[REDIS_SLOTS / 64], char *tag, size_t cap)
{
	for (unsigned i = 0; i < 10 * REDIS_SLOTS; i++) {
		snprintf(tag, cap, "%u", i);
		unsigned slot = redis_slot(str_of(tag));
		if (slots[slot / 64] >> slot % 64 & 1)
			break;
	}
}
