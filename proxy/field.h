/* SPDX-License-Identifier: MIT */
/*
 * The names of header fields that weir knows (RFC 9110, 5.1). Each is a row of fields.def: a symbol, the name
 * in lower case, what weir has to do about it, and its place in the lookup table. Pure functions over
 * constant tables: no state, no allocation, no errors; a name that is not in the table is FIELD_OTHER.
 *
 * To add a name: write a row with any free slot and run test_field, which tells the slot that it belongs in,
 * or, when that one is taken (two rows of one slot don't compile), another multiplier and the slots of all.
 */
#ifndef WEIR_PROXY_FIELD_H
#define WEIR_PROXY_FIELD_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum field_id {
	FIELD_OTHER = 0, /* a name that weir does not know */
#define FIELD(sym, name, flags, slot) FIELD_##sym,
#include "proxy/fields.def"
#undef FIELD
	FIELD_COUNT
};

enum field_flag {
	FIELD_HOP = 1 << 0, /* hop-by-hop: it stops here (RFC 9110, 7.6.1 and 11.7; 9113, 3.2.1) */
	FIELD_NO_TRAILER =
		1 << 1, /* not allowed in trailers (RFC 9110, 6.5.1), or would pass for weir's own word */
	FIELD_OURS = 1 << 2, /* weir writes it itself, so `Connection: NAME` never removes it */
	FIELD_KEEP = 1 << 3, /* passed on, and `Connection: NAME` does not remove it either: the origin relies
				on what the load balancer said, the recipient on how the content is coded */
	FIELD_SINGLE = 1 << 4, /* a second line of it makes the head ambiguous and is refused */
	FIELD_GUARD =
		1 << 5, /* a look-alike (`X_Real_IP`), which CGI-like origins cannot tell apart, is refused */
	FIELD_OF_PROXY =
		1 << 6,	     /* a stranger's word of it is worth nothing: it passes from trusted peers only */
	FIELD_PATH = 1 << 7, /* names a path that no rule has looked at: it stops at sites with path rules */
};

struct field_row {     /* 32 bytes, for a shift as index */
	char name[30]; /* lower case, padded with NUL if shorter */
	uint8_t n;
	uint8_t flags; /* of enum field_flag */
};

extern const struct field_row field_table[FIELD_COUNT]; /* by id; the row of FIELD_OTHER is empty */
extern const uint8_t field_slots[256];			/* id by field_slot() */

/* Gives each known name a slot of its own; test_field finds another one if need be. */
#define FIELD_MULTIPLIER 0xb6cbe1dfu

/* What tells all known names apart, case-blind: the last four bytes and the length. n must not be 0. */
static inline uint32_t field_key(const char *name, size_t n)
{
	uint32_t last;

	if (n >= 4) {
		memcpy(&last, name + n - 4, 4);
		last = le32toh(last);
	} else {
		last = (unsigned char)name[0] | (uint32_t)(unsigned char)name[n / 2] << 8 |
		       (uint32_t)(unsigned char)name[n - 1] << 16;
	}
	return (last | 0x20202020) + (uint32_t)n;
}

static inline unsigned field_slot(const char *name, size_t n)
{
	return field_key(name, n) * FIELD_MULTIPLIER >> 24;
}

/*
 * In a known name only letters have bit 0x40, so that moved down by one it gives the case bit to set in what
 * came: exactly the two cases of each letter match, and nothing else matches a digit or dash.
 */
static inline bool field_same8(const char *came, const char *known)
{
	uint64_t a, b;

	memcpy(&a, came, 8);
	memcpy(&b, known, 8);
	return (a | (b >> 1 & 0x2020202020202020)) == b;
}

static inline bool field_same4(const char *came, const char *known)
{
	uint32_t a, b;

	memcpy(&a, came, 4);
	memcpy(&b, known, 4);
	return (a | (b >> 1 & 0x20202020)) == b;
}

/*
 * Case-blind equality of n bytes by words, which overlap at the end. `known` is of lower-case letters, digits
 * and dashes; what came may be anything.
 */
static inline bool field_same(const char *came, const char *known, size_t n)
{
	if (n >= 8) {
		if (!field_same8(came, known) || !field_same8(came + n - 8, known + n - 8))
			return false;
		for (size_t i = 8; i + 8 < n; i += 8)
			if (!field_same8(came + i, known + i))
				return false;
		return true;
	}
	if (n >= 4)
		return field_same4(came, known) && field_same4(came + n - 4, known + n - 4);
	for (size_t i = 0; i < n; i++)
		if (((unsigned char)came[i] | (known[i] >> 1 & 0x20)) != known[i])
			return false;
	return true;
}

/* Case-blind; any bytes may be asked for. One slot of a perfect hash and one comparison. */
static inline __attribute__((always_inline)) enum field_id field_lookup(const char *name, size_t n)
{
	if (n == 0)
		return FIELD_OTHER;
	enum field_id id = field_slots[field_slot(name, n)];
	return field_table[id].n == n && field_same(name, field_table[id].name, n) ? id : FIELD_OTHER;
}

/*
 * The guarded field that an origin would take this unknown name for when it reads every byte other than a
 * letter or digit as `-`, as CGI, WSGI and their like do (RFC 3875, 4.1.18); FIELD_OTHER if there is none.
 */
enum field_id field_imitated(const char *name, size_t n);

static inline struct str field_name(enum field_id id)
{
	return (struct str){field_table[id].name, field_table[id].n};
}

static inline bool field_is(enum field_id id, unsigned flags)
{
	return (field_table[id].flags & flags) != 0;
}

#endif
