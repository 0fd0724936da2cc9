/* SPDX-License-Identifier: MIT */
/*
 * The names of header fields that weir knows (RFC 9110, 5.1). Each is a row of fields.def: a symbol, the name in
 * lower case, what weir has to do about it, and its place in the lookup table. Pure functions over constant
 * tables: no state, no allocation, no errors; a name that is not in the table is FIELD_OTHER.
 *
 * To add a name: write a row with any free slot and run test_field, which tells the slot that it belongs in
 * (two names in one slot don't compile).
 */
#ifndef WEIR_PROXY_FIELD_H
#define WEIR_PROXY_FIELD_H

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
	FIELD_HOP = 1 << 0,	   /* hop-by-hop: it stops here (RFC 9110, 7.6.1 and 11.7; 9113, 3.2.1) */
	FIELD_NO_TRAILER = 1 << 1, /* not allowed in trailers (RFC 9110, 6.5.1), or would pass for weir's own word */
	FIELD_OURS = 1 << 2,	   /* weir writes it itself, so `Connection: NAME` never removes it */
	FIELD_KEEP = 1 << 3,	   /* passed on, and `Connection: NAME` does not remove it either: the origin relies
				      on what the load balancer said, the recipient on how the content is coded */
	FIELD_SINGLE = 1 << 4,	   /* a second line of it makes the head ambiguous and is refused */
	FIELD_GUARD = 1 << 5,	   /* a look-alike (`X_Real_IP`), which CGI-like origins cannot tell apart, is refused */
};

struct field_row {
	char name[32]; /* lower case, padded with NUL to whole words */
	uint8_t n;
	uint8_t flags; /* of enum field_flag */
};

extern const struct field_row field_table[FIELD_COUNT]; /* by id; the row of FIELD_OTHER is empty */

/* Case-blind; any bytes may be asked for. One slot of a perfect hash and one comparison, whatever the name. */
enum field_id field_lookup(const char *name, size_t n);

/* The slot that a name belongs in; for the table itself and its test. n must not be 0. */
unsigned field_slot(const char *name, size_t n);

/*
 * The guarded field that an origin would take this unknown name for when it reads every byte other than a letter
 * or digit as `-`, as CGI, WSGI and their like do (RFC 3875, 4.1.18); FIELD_OTHER if there is none.
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
