/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/list.h"

struct item {
	int number;
	struct list link;
};

static struct item items[4];

static void fresh(struct list *head)
{
	list_init(head);
	for (int i = 0; i < 4; i++) {
		items[i].number = i;
		list_init(&items[i].link);
	}
}

/* The numbers in order as decimal digits behind a 9, forwards; and the same backwards. */
static void check(const struct list *head, int want, int want_back)
{
	int got = 9, back = 9;
	for (const struct list *l = head->next; l != head; l = l->next)
		got = got * 10 + list_entry((struct list *)(uintptr_t)l, struct item, link)->number;
	for (const struct list *l = head->prev; l != head; l = l->prev)
		back = back * 10 + list_entry((struct list *)(uintptr_t)l, struct item, link)->number;
	assert_int_equal(got, want);
	assert_int_equal(back, want_back);
}

static void push_goes_to_the_tail_and_push_front_to_the_head(void **state)
{
	struct list head;
	(void)state;
	fresh(&head);
	assert_true(list_empty(&head));
	assert_null(list_first(&head));
	list_push(&head, &items[1].link);
	list_push(&head, &items[2].link);
	list_push_front(&head, &items[0].link);
	list_insert_before(&items[2].link, &items[3].link);
	check(&head, 90132, 92310);
	assert_ptr_equal(list_first(&head), &items[0].link);
	assert_false(list_empty(&head));
}

static void a_link_that_was_taken_out_may_be_taken_out_again(void **state)
{
	struct list head;
	(void)state;
	fresh(&head);
	for (int i = 0; i < 4; i++)
		list_push(&head, &items[i].link);
	list_del(&items[1].link);
	list_del(&items[1].link);
	check(&head, 9023, 9320);
	assert_true(list_empty(&items[1].link));
	list_del(&items[0].link);
	list_del(&items[3].link);
	check(&head, 92, 92);
	list_push(&head, &items[1].link);
	check(&head, 921, 912);
}

static void pop_takes_from_the_head_until_nothing_is_left(void **state)
{
	struct list head;
	(void)state;
	fresh(&head);
	for (int i = 0; i < 4; i++)
		list_push(&head, &items[i].link);
	for (int i = 0; i < 4; i++) {
		struct list *l = list_pop(&head);
		assert_ptr_equal(l, &items[i].link);
		assert_true(list_empty(l));
	}
	assert_null(list_pop(&head));
	assert_true(list_empty(&head));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(push_goes_to_the_tail_and_push_front_to_the_head),
		cmocka_unit_test(a_link_that_was_taken_out_may_be_taken_out_again),
		cmocka_unit_test(pop_takes_from_the_head_until_nothing_is_left),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
