/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "proxy/field.h"

/* A multiplier under which no two names share a slot; 0 when there is none among the first few million. */
static uint32_t find_multiplier(void)
{
	uint32_t m = FIELD_MULTIPLIER;

	for (unsigned tries = 0; tries < 4000000; tries++, m = (m * 1664525u + 1013904223u) | 1) {
		uint64_t used[4] = {0};
		unsigned id;
		for (id = 1; id < FIELD_COUNT; id++) {
			unsigned slot = field_key(field_table[id].name, field_table[id].n) * m >> 24;
			if (used[slot / 64] >> slot % 64 & 1)
				break;
			used[slot / 64] |= UINT64_C(1) << slot % 64;
		}
		if (id == FIELD_COUNT)
			return m;
	}
	return 0;
}

/* Every row is found; when one is not, this says what to write into fields.def. */
static void table_is_right(void **state)
{
	(void)state;
	uint32_t m = find_multiplier();
	unsigned wrong = 0;

	assert_int_not_equal(m, 0);
	for (unsigned id = 1; id < FIELD_COUNT; id++)
		wrong += field_slots[field_key(field_table[id].name, field_table[id].n) * m >> 24] != id;
	if (wrong == 0 && m == FIELD_MULTIPLIER)
		return;
	print_error("FIELD_MULTIPLIER 0x%xu, and these slots:\n", m);
	for (unsigned id = 1; id < FIELD_COUNT; id++)
		print_error("%-32s %u\n", field_table[id].name,
			    field_key(field_table[id].name, field_table[id].n) * m >> 24);
	fail();
}

static void each_name_is_found(void **state)
{
	(void)state;
	for (unsigned id = 1; id < FIELD_COUNT; id++) {
		struct str name = field_name(id);
		char other[64];
		assert_int_equal(field_lookup(name.p, name.n), id);
		for (size_t i = 0; i < name.n; i++)
			other[i] = (char)(name.p[i] >= 'a' && name.p[i] <= 'z' ? name.p[i] - 32 : name.p[i]);
		assert_int_equal(field_lookup(other, name.n), id);
		other[0] = (char)(other[0] | 0x20);
		assert_int_equal(field_lookup(other, name.n), id);
	}
}

static bool same_letter(unsigned char a, unsigned char b)
{
	return ascii_lower(a) == ascii_lower(b);
}

/* Any other byte makes another name: `[`, `@`, CR and 0x10 are what sloppy case folding gets wrong. */
static void other_bytes_make_other_names(void **state)
{
	(void)state;
	for (unsigned id = 1; id < FIELD_COUNT; id++) {
		struct str name = field_name(id);
		char other[64];
		for (size_t i = 0; i < name.n; i++)
			for (unsigned c = 0; c < 256; c++) {
				memcpy(other, name.p, name.n);
				other[i] = (char)c;
				enum field_id found = field_lookup(other, name.n);
				if (same_letter((unsigned char)c, (unsigned char)name.p[i]))
					assert_int_equal(found, id);
				else
					assert_int_not_equal(found, id);
				if (found != FIELD_OTHER)
					assert_true(str_ieq(field_name(found), (struct str){other, name.n}));
			}
	}
}

static void longer_and_shorter_names_are_others(void **state)
{
	(void)state;
	for (unsigned id = 1; id < FIELD_COUNT; id++) {
		struct str name = field_name(id);
		char other[64] = "";
		memcpy(other, name.p, name.n);
		other[name.n] = 'x';
		assert_int_not_equal(field_lookup(other, name.n + 1), id);
		assert_int_not_equal(field_lookup(name.p, name.n - 1), id);
		assert_int_not_equal(field_lookup(name.p + 1, name.n - 1), id);
	}
	assert_int_equal(field_lookup("", 0), FIELD_OTHER);
	assert_int_equal(field_lookup("x", 1), FIELD_OTHER);
}

static void look_alikes(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		enum field_id id;
	} rows[] = {
		{"Content_Length", FIELD_CONTENT_LENGTH},
		{"content_LENGTH", FIELD_CONTENT_LENGTH},
		{"Content.Length", FIELD_CONTENT_LENGTH},
		{"Transfer_Encoding", FIELD_TRANSFER_ENCODING},
		{"Transfer~Encoding", FIELD_TRANSFER_ENCODING},
		{"X_Forwarded_For", FIELD_X_FORWARDED_FOR},
		{"X-Forwarded_For", FIELD_X_FORWARDED_FOR},
		{"x!forwarded!for", FIELD_X_FORWARDED_FOR},
		{"X_Real_IP", FIELD_X_REAL_IP},
		{"x_weir_lift", FIELD_X_WEIR_LIFT},
		{"x_request_id", FIELD_X_REQUEST_ID},
		{"Content-Length", FIELD_OTHER}, /* the field itself */
		{"User_Agent", FIELD_OTHER},	 /* known, but nothing hangs on it */
		{"Content__Length", FIELD_OTHER},
		{"ContentLength", FIELD_OTHER},
		{"Content_Lengths", FIELD_OTHER},
		{"_", FIELD_OTHER},
		{"my_very_long_name_that_is_longer_than_all_names_of_the_table", FIELD_OTHER},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(field_imitated(rows[i].name, strlen(rows[i].name)), rows[i].id);
}

/* Every guarded name has a dash to imitate; framing and weir's own words never are trailers. */
static void flags_make_sense(void **state)
{
	(void)state;
	for (unsigned id = 1; id < FIELD_COUNT; id++) {
		assert_in_range(field_table[id].n, 1, sizeof(field_table[id].name));
		assert_int_equal(strnlen(field_table[id].name, sizeof(field_table[id].name)),
				 field_table[id].n);
		if (field_is(id, FIELD_GUARD))
			assert_non_null(memchr(field_table[id].name, '-', field_table[id].n));
		if (field_is(id, FIELD_HOP | FIELD_OURS))
			assert_true(field_is(id, FIELD_NO_TRAILER));
	}
	assert_int_equal(field_table[FIELD_OTHER].flags, 0);
	static const enum field_id never_in_trailers[] = {FIELD_TRANSFER_ENCODING,
							  FIELD_CONTENT_LENGTH,
							  FIELD_HOST,
							  FIELD_CACHE_CONTROL,
							  FIELD_EXPECT,
							  FIELD_MAX_FORWARDS,
							  FIELD_PRAGMA,
							  FIELD_RANGE,
							  FIELD_TE,
							  FIELD_AUTHORIZATION,
							  FIELD_SET_COOKIE,
							  FIELD_COOKIE,
							  FIELD_AGE,
							  FIELD_EXPIRES,
							  FIELD_DATE,
							  FIELD_LOCATION,
							  FIELD_RETRY_AFTER,
							  FIELD_VARY,
							  FIELD_CONTENT_ENCODING,
							  FIELD_CONTENT_TYPE,
							  FIELD_CONTENT_RANGE,
							  FIELD_TRAILER};
	for (size_t i = 0; i < sizeof(never_in_trailers) / sizeof(never_in_trailers[0]); i++)
		assert_true(field_is(never_in_trailers[i], FIELD_NO_TRAILER));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_is_right),
		cmocka_unit_test(each_name_is_found),
		cmocka_unit_test(other_bytes_make_other_names),
		cmocka_unit_test(longer_and_shorter_names_are_others),
		cmocka_unit_test(look_alikes),
		cmocka_unit_test(flags_make_sense),
	};
	return cmocka_run_group_tests_name("field", tests, NULL, NULL);
}
