/* SPDX-License-Identifier: MIT */
#include "proxy/field.h"

const struct field_row field_table[FIELD_COUNT] = {
#define FIELD(sym, text, bits, slot) [FIELD_##sym] = {.name = text, .n = sizeof(text) - 1, .flags = (bits)},
#include "proxy/fields.def"
#undef FIELD
};

_Static_assert(FIELD_COUNT <= 256, "a field's id is kept in a byte");

/* Two rows with one slot are a double initializer, which the compiler refuses (-Woverride-init). */
static const uint8_t slots[256] = {
#define FIELD(sym, name, flags, slot) [slot] = FIELD_##sym,
#include "proxy/fields.def"
#undef FIELD
};

/* The length and three bytes tell all names of the table apart; 0x20 folds case (and more, which costs nothing). */
unsigned field_slot(const char *name, size_t n)
{
	unsigned first = (unsigned char)name[0] | 0x20u;
	unsigned last = (unsigned char)name[n - 1] | 0x20u;
	unsigned fourth_last = (unsigned char)name[n > 4 ? n - 4 : 0] | 0x20u;

	return ((unsigned)n * 13 + first * 2 + last * 8 + fourth_last) & 255;
}

/*
 * Eight bytes at once. In a known name only letters have bit 0x40, so that moved down by one it gives the case bit
 * to set in what came: exactly the two cases of each letter match, and nothing else matches a digit or dash.
 */
static inline bool same8(const char *came, const char *known)
{
	uint64_t a, b;

	memcpy(&a, came, 8);
	memcpy(&b, known, 8);
	return (a | (b >> 1 & 0x2020202020202020)) == b;
}

static bool same_name(const char *came, const char *known, size_t n)
{
	if (n < 8) {
		for (size_t i = 0; i < n; i++)
			if (((unsigned char)came[i] | (known[i] >> 1 & 0x20)) != known[i])
				return false;
		return true;
	}
	for (size_t i = 0; i + 8 < n; i += 8)
		if (!same8(came + i, known + i))
			return false;
	return same8(came + n - 8, known + n - 8);
}

enum field_id field_lookup(const char *name, size_t n)
{
	if (n == 0)
		return FIELD_OTHER;
	enum field_id id = slots[field_slot(name, n)];
	return field_table[id].n == n && same_name(name, field_table[id].name, n) ? id : FIELD_OTHER;
}

enum field_id field_imitated(const char *name, size_t n)
{
	char folded[sizeof(field_table[0].name)];

	if (n > sizeof(folded))
		return FIELD_OTHER;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = ascii_lower((unsigned char)name[i]);
		bool alnum = (unsigned char)(c - 'a') < 26 || (unsigned char)(c - '0') < 10;
		folded[i] = alnum ? (char)c : '-';
	}
	enum field_id id = field_lookup(folded, n);
	return field_is(id, FIELD_GUARD) && !str_ieq((struct str){name, n}, field_name(id)) ? id : FIELD_OTHER;
}
