/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/str.h"

static void equality_is_of_length_and_bytes(void **state)
{
	(void)state;
	assert_true(str_eq(STR("abc"), STR("abc")));
	assert_false(str_eq(STR("abc"), STR("abd")));
	assert_false(str_eq(STR("abc"), STR("ab")));
	assert_true(str_eq(STR("a\0b"), STR("a\0b")));
	assert_false(str_eq(STR("a\0b"), STR("a\0c")));
	assert_true(str_eq(STR_NONE, STR("")));
	assert_true(str_eq(str_of(NULL), STR_NONE));
	assert_true(str_eq(str_of("x y"), STR("x y")));
}

/* Not a byte but the letters of ASCII, in any locale. */
static void case_is_blind_for_ascii_letters_alone(void **state)
{
	(void)state;
	for (int a = 0; a < 256; a++) {
		int low = a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a;
		assert_int_equal(ascii_lower((unsigned char)a), low);
		for (int b = 0; b < 256; b++) {
			char x = (char)a, y = (char)b;
			int low_b = b >= 'A' && b <= 'Z' ? b - 'A' + 'a' : b;
			assert_int_equal(str_ieq((struct str){&x, 1}, (struct str){&y, 1}), low == low_b);
		}
	}
	assert_true(str_ieq(STR("Keep-Alive"), STR("keep-aLIVE")));
	assert_false(str_ieq(STR("[@"), STR("{`")));
	assert_false(str_ieq(STR("close"), STR("closed")));
	assert_true(str_ieq(STR_NONE, STR_NONE));
}

/* Every byte at every place of inputs of all lengths, and not a byte behind. */
static void lower_copies_are_as_byte_by_byte(void **state)
{
	(void)state;
	for (size_t n = 0; n < 40; n++)
		for (size_t at = 0; at < (n ? n : 1); at++)
			for (int c = 0; c < 256; c++) {
				char in[40], got[41];
				memset(in, c & 1 ? 'Q' : '\xc1', sizeof(in));
				memset(got, '~', sizeof(got));
				in[at] = (char)c;
				ascii_lower_copy(got, in, n);
				for (size_t i = 0; i < n; i++)
					assert_int_equal((unsigned char)got[i],
							 ascii_lower((unsigned char)in[i]));
				assert_int_equal(got[n], '~');
			}
}

static void trim_takes_blanks_and_tabs_alone(void **state)
{
	(void)state;
	assert_true(str_eq(str_trim(STR(" \t a b\t ")), STR("a b")));
	assert_true(str_eq(str_trim(STR("\r a\n")), STR("\r a\n")));
	assert_int_equal(str_trim(STR(" \t ")).n, 0);
	assert_int_equal(str_trim(STR_NONE).n, 0);
}

static void lists_are_cut_at_commas_and_empty_elements_passed_over(void **state)
{
	static const struct {
		struct str list;
		const char *want[4];
	} rows[] = {
		{STR("a,b,c"), {"a", "b", "c"}},
		{STR(" a ,\tb\t, c d "), {"a", "b", "c d"}},
		{STR(",, a,, ,b,"), {"a", "b"}},
		{STR("one"), {"one"}},
		{STR(""), {NULL}},
		{STR(" , ,\t,"), {NULL}},
		{STR("a;q=\"1\""), {"a;q=\"1\""}},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct str list = rows[i].list, e = STR_NONE;
		for (int n = 0; rows[i].want[n]; n++) {
			assert_true(str_next_element(&list, &e));
			assert_true(str_eq(e, str_of(rows[i].want[n])));
		}
		assert_false(str_next_element(&list, &e));
		assert_int_equal(list.n, 0);
	}
}

static void an_element_is_found_whole_and_in_any_case(void **state)
{
	(void)state;
	assert_true(str_list_has(STR("foo, Close"), STR("close")));
	assert_false(str_list_has(STR("closed, foo"), STR("close")));
	assert_false(str_list_has(STR("clo se"), STR("close")));
	assert_false(str_list_has(STR_NONE, STR("close")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(equality_is_of_length_and_bytes),
		cmocka_unit_test(case_is_blind_for_ascii_letters_alone),
		cmocka_unit_test(lower_copies_are_as_byte_by_byte),
		cmocka_unit_test(trim_takes_blanks_and_tabs_alone),
		cmocka_unit_test(lists_are_cut_at_commas_and_empty_elements_passed_over),
		cmocka_unit_test(an_element_is_found_whole_and_in_any_case),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
