/* SPDX-License-Identifier: MIT */
#include "proxy/tally.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/board.h"

#define TAKEN (UINT32_C(1) << 31) /* so that no place is 0 */

struct sketch {
	_Atomic uint32_t at[TALLY_ROWS][TALLY_WIDTH];
};

struct tally {
	uint64_t key[2];
	struct sketch sum[TALLY_KINDS];
	struct sketch own[PROC_MAX][TALLY_KINDS]; /* pages of slots without a worker stay untouched */
};

static struct tally *tally;
static struct sketch *own; /* TALLY_KINDS of them, this process's */

size_t tally_bytes(void)
{
	return sizeof(struct tally);
}

void tally_attach(void *section)
{
	tally = section;
	own = tally->own[board_slot()];
}

void tally_format(void *section, const uint8_t key[16])
{
	struct tally *t = section;
	memcpy(t->key, key, sizeof(t->key));
}

/* The product of both halves, folded: a dozen instructions where a hash for strangers' eyes takes 150. Nobody
 * sees what comes out, and the key is fresh with each start. */
static inline uint32_t place_of(const struct addr *a)
{
	uint64_t half[2];
	memcpy(half, a->b, sizeof(half));
	unsigned __int128 p = (unsigned __int128)(half[0] ^ tally->key[0]) * (half[1] ^ tally->key[1]);
	uint64_t h = (uint64_t)p ^ (uint64_t)(p >> 64);
	return TAKEN | (uint32_t)(h >> (64 - TALLY_ROWS * TALLY_BITS));
}

static inline unsigned column(uint32_t place, unsigned row)
{
	return place >> row * TALLY_BITS & (TALLY_WIDTH - 1);
}

/* Of what only this process writes: no locked instruction is needed. */
static inline void add_own(_Atomic uint32_t *at, uint32_t n)
{
	atomic_store_explicit(at, atomic_load_explicit(at, memory_order_relaxed) + n, memory_order_release);
}

static inline void take_back(struct sketch *sum, uint32_t place)
{
	for (unsigned r = 0; r < TALLY_ROWS; r++)
		atomic_fetch_sub_explicit(&sum->at[r][column(place, r)], 1, memory_order_relaxed);
}

/* A sum is never below what is taken back of it when a process is killed, wherever that happens. */
uint32_t tally_enter(enum tally_kind kind, const struct addr *a, uint32_t cap)
{
	struct sketch *sum = &tally->sum[kind];
	uint32_t place = place_of(a), held = UINT32_MAX;
	for (unsigned r = 0; r < TALLY_ROWS; r++) {
		uint32_t n =
			atomic_fetch_add_explicit(&sum->at[r][column(place, r)], 1, memory_order_relaxed);
		held = n < held ? n : held;
	}
	if (__builtin_expect(held >= cap, 0)) {
		take_back(sum, place);
		return 0;
	}
	for (unsigned r = 0; r < TALLY_ROWS; r++)
		add_own(&own[kind].at[r][column(place, r)], 1);
	return place;
}

void tally_leave(enum tally_kind kind, uint32_t place)
{
	for (unsigned r = 0; r < TALLY_ROWS; r++)
		add_own(&own[kind].at[r][column(place, r)], UINT32_MAX);
	take_back(&tally->sum[kind], place);
}

uint32_t tally_held(enum tally_kind kind, const struct addr *a)
{
	uint32_t held = UINT32_MAX;
	if (!tally)
		return 0;
	uint32_t place = place_of(a);
	for (unsigned r = 0; r < TALLY_ROWS; r++) {
		uint32_t n = atomic_load(&tally->sum[kind].at[r][column(place, r)]);
		if (n < held)
			held = n;
	}
	return held;
}

void tally_recover(unsigned slot)
{
	for (int kind = 0; kind < TALLY_KINDS; kind++) {
		struct sketch *sum = &tally->sum[kind], *of = &tally->own[slot][kind];
		for (unsigned r = 0; r < TALLY_ROWS; r++)
			for (unsigned i = 0; i < TALLY_WIDTH; i++)
				if (atomic_load(&of->at[r][i]))
					atomic_fetch_sub(&sum->at[r][i], atomic_exchange(&of->at[r][i], 0));
	}
}
