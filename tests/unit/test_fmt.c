/* SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/fmt.h"

#define GUARD '~'

/* Compares with printf, and that not a byte is touched behind the room that was asked for. */
static void check_u64(uint64_t v)
{
	char got[FMT_U64_MAX + 1], want[32];
	memset(got, GUARD, sizeof(got));
	int n = snprintf(want, sizeof(want), "%" PRIu64, v);
	char *end = fmt_u64(got, v);
	assert_int_equal(end - got, n);
	assert_memory_equal(got, want, n);
	assert_int_equal(got[FMT_U64_MAX], GUARD);
	assert_int_equal(fmt_u64_len(v), n);
}

static void check_i64(int64_t v)
{
	char got[FMT_I64_MAX + 1], want[32];
	memset(got, GUARD, sizeof(got));
	int n = snprintf(want, sizeof(want), "%" PRId64, v);
	char *end = fmt_i64(got, v);
	assert_int_equal(end - got, n);
	assert_memory_equal(got, want, n);
	assert_int_equal(got[FMT_I64_MAX], GUARD);
}

static void decimals_are_as_printf_writes_them(void **state)
{
	(void)state;
	for (uint64_t v = 0; v < 20000; v++)
		check_u64(v);
	for (uint64_t p = 1; p <= UINT64_MAX / 10; p *= 10) {
		check_u64(p - 1);
		check_u64(p);
		check_u64(p + 1);
		check_u64(p * 9);
	}
	check_u64(10000000000000000000u);
	check_u64(9999999999999999999u);
	check_u64(UINT64_MAX);
	uint64_t x = 88172645463325252u; /* xorshift, the same numbers in every run */
	for (int i = 0; i < 100000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		check_u64(x >> (i & 63));
	}
}

static void signed_decimals_reach_both_ends(void **state)
{
	(void)state;
	for (int64_t v = -1100; v <= 1100; v++)
		check_i64(v);
	check_i64(INT64_MIN);
	check_i64(INT64_MIN + 1);
	check_i64(INT64_MAX);
}

static void padding_writes_the_width(void **state)
{
	static const struct {
		uint64_t v;
		unsigned width;
		const char *want;
	} rows[] = {
		{7, 1, "7"},	 {7, 2, "07"},	  {45, 3, "045"},	{2026, 4, "2026"},
		{0, 5, "00000"}, {1234, 2, "34"}, {123456, 5, "23456"}, {9, 0, ""},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char got[16];
		memset(got, GUARD, sizeof(got));
		char *end = fmt_pad(got, rows[i].v, rows[i].width);
		assert_int_equal(end - got, rows[i].width);
		assert_memory_equal(got, rows[i].want, rows[i].width);
		assert_int_equal(*end, GUARD);
	}
}

static void hex_writes_the_width(void **state)
{
	char got[17] = "";
	(void)state;
	*fmt_hex(got, 0xdeadbeef, 8) = '\0';
	assert_string_equal(got, "deadbeef");
	*fmt_hex(got, 0xab, 4) = '\0';
	assert_string_equal(got, "00ab");
	*fmt_hex(got, UINT64_MAX, 16) = '\0';
	assert_string_equal(got, "ffffffffffffffff");
	*fmt_hex(got, 0x1234, 2) = '\0';
	assert_string_equal(got, "34");
}

static void thirty_two_hex_digits_at_once_are_the_same(void **state)
{
	(void)state;
	uint64_t x = 88172645463325252u, before = 0;
	for (uint32_t i = 0; i < 100000; i++) {
		char got[33], want[33];
		got[32] = GUARD;
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		uint64_t v = i < 256 ? i * UINT64_C(0x0101010101010101) : x;
		snprintf(want, sizeof(want), "%016" PRIx64 "%016" PRIx64, v, before);
		assert_ptr_equal(fmt_hex32(got, v, before), got + 32);
		assert_memory_equal(got, want, 32);
		assert_int_equal(got[32], GUARD);
		before = v;
	}
}

static void dotted_quads_are_as_printf_writes_them(void **state)
{
	(void)state;
	for (unsigned v = 0; v < 256 * 4; v++) {
		uint8_t b[4] = {1, 22, 133, 0};
		char got[FMT_DOTTED_ROOM + 1], want[16];
		b[v / 256] = (uint8_t)v;
		got[FMT_DOTTED_ROOM] = GUARD;
		int n = snprintf(want, sizeof(want), "%u.%u.%u.%u", b[0], b[1], b[2], b[3]);
		assert_int_equal(fmt_dotted(got, b) - got, n);
		assert_memory_equal(got, want, n);
		assert_int_equal(got[FMT_DOTTED_ROOM], GUARD);
	}
}

static void strings_are_copied_and_none_is_nothing(void **state)
{
	char got[8] = "~~~~~~~";
	(void)state;
	assert_ptr_equal(fmt_str(got, STR("abc")), got + 3);
	assert_memory_equal(got, "abc~", 4);
	assert_ptr_equal(fmt_str(got, STR_NONE), got);
	assert_memory_equal(got, "abc~", 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(decimals_are_as_printf_writes_them),
		cmocka_unit_test(signed_decimals_reach_both_ends),
		cmocka_unit_test(padding_writes_the_width),
		cmocka_unit_test(hex_writes_the_width),
		cmocka_unit_test(thirty_two_hex_digits_at_once_are_the_same),
		cmocka_unit_test(dotted_quads_are_as_printf_writes_them),
		cmocka_unit_test(strings_are_copied_and_none_is_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
