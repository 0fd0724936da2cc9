/* SPDX-License-Identifier: MIT */
#include "proxy/field.h"

const struct field_row field_table[FIELD_COUNT] = {
#define FIELD(sym, text, bits, slot) [FIELD_##sym] = {.name = text, .n = sizeof(text) - 1, .flags = (bits)},
#include "proxy/fields.def"
#undef FIELD
};

_Static_assert(FIELD_COUNT <= 128, "h1_head.present has a bit for each");

/* Two rows with one slot are a double initializer, which the compiler refuses (-Woverride-init). */
const uint8_t field_slots[256] = {
#define FIELD(sym, name, flags, slot) [slot] = FIELD_##sym,
#include "proxy/fields.def"
#undef FIELD
};

enum field_id field_imitated(const char *name, size_t n)
{
	char folded[sizeof(field_table[0].name)];

	if (n > sizeof(folded))
		return FIELD_OTHER;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = ascii_lower((unsigned char)name[i]);
		bool alnum = (unsigned char)(c - 'a') < 26 || (unsigned char)(c - '0') < 10;
		folded[i] = (char)(alnum ? c : '-');
	}
	enum field_id id = field_lookup(folded, n);
	return field_is(id, FIELD_GUARD) && !str_ieq((struct str){name, n}, field_name(id)) ? id
											    : FIELD_OTHER;
}
