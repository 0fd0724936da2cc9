/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"

static unsigned rng = 777;

static unsigned rnd(unsigned below)
{
	rng = rng * 1103515245u + 12345u;
	return (rng >> 8) % below;
}

static int nothing_is_used(void **state)
{
	(void)state;
	assert_int_equal(block_bytes_used(), 0);
	block_pools_free();
	return 0;
}

static void a_block_holds_what_was_asked_for(void **state)
{
	static const size_t wants[] = {1,      100,    4000,  BLOCK_SMALL - sizeof(struct block), BLOCK_SMALL,
				       10000,  16384,  65000, BLOCK_LARGE - sizeof(struct block), 65536,
				       200000, 1000000};
	(void)state;
	for (size_t i = 0; i < sizeof(wants) / sizeof(wants[0]); i++) {
		struct block *b = block_get(wants[i]);
		assert_non_null(b);
		assert_true(b->cap >= wants[i]);
		assert_int_equal(b->holders, 1);
		assert_int_equal((uintptr_t)b->data % BLOCK_ALIGN, 0);
		memset(b->data, 0xa5, b->cap); /* all of it is ours */
		assert_int_equal(block_bytes_used(), b->cap + sizeof(struct block));
		block_put(b);
		assert_int_equal(block_bytes_used(), 0);
	}
	struct block *b = block_get(BLOCK_SMALL - sizeof(struct block));
	assert_int_equal(b->cap, BLOCK_SMALL - sizeof(struct block)); /* a whole page, and no more */
	block_put(b);
}

static void a_block_lives_as_long_as_anybody_holds_it(void **state)
{
	(void)state;
	struct block *b = block_get(10);
	strcpy(b->data, "kept");
	assert_ptr_equal(block_hold(b), b);
	block_put(b);
	assert_true(block_bytes_used() > 0);
	assert_string_equal(b->data, "kept");
	block_put(b);
}

#ifdef __SANITIZE_ADDRESS__
#define POOLED 0 /* nothing is kept there */
#else
#define POOLED 1
#endif

static void get_and_put(unsigned n)
{
	struct block *b[10];
	for (unsigned i = 0; i < n; i++)
		b[i] = block_get(1);
	for (unsigned i = 0; i < n; i++)
		block_put(b[i]);
}

static void pools_give_back_what_was_not_needed(void **state)
{
	(void)state;
	block_pools_trim();
	get_and_put(10);
	assert_int_equal(block_pools_trim(), 0); /* all were needed since */
	get_and_put(4);
	assert_int_equal(block_pools_trim(), POOLED * 6 * BLOCK_SMALL);
	assert_int_equal(block_pools_trim(), POOLED * 4 * BLOCK_SMALL);
	assert_int_equal(block_pools_trim(), 0);
	get_and_put(2);
}

static void an_empty_buf_holds_nothing(void **state)
{
	struct buf b = {NULL, 0, 0};
	size_t room;
	(void)state;
	assert_int_equal(buf_len(&b), 0);
	buf_drop(&b);
	assert_true(buf_append(&b, "", 0));
	assert_null(b.block);
	assert_non_null(buf_room(&b, 10, &room));
	assert_true(room >= 10);
	buf_settle(&b);
	assert_null(b.block);
	assert_true(buf_append(&b, "abc", 3));
	buf_settle(&b);
	assert_int_equal(buf_len(&b), 3);
	assert_memory_equal(buf_head(&b), "abc", 3);
	buf_consume(&b, 2);
	assert_memory_equal(buf_head(&b), "c", 1);
	buf_consume(&b, 1);
	assert_null(b.block);
	assert_true(buf_append(&b, "xyz", 3));
	buf_drop(&b);
	assert_null(b.block);
}

/* A request's head stays where it was parsed while its exchange holds it, whatever comes behind it. */
static void bytes_that_another_holds_never_move(void **state)
{
	struct buf b = {NULL, 0, 0};
	static char big[100000];
	(void)state;
	memset(big, 'b', sizeof(big));
	assert_true(buf_append(&b, "HEAD", 4));
	assert_true(buf_append(&b, "body", 4));
	struct block *held = block_hold(b.block);
	char *head = buf_head(&b);
	buf_consume(&b, 4);
	size_t fits = held->cap - b.end;
	assert_true(buf_append(&b, big, fits)); /* still room behind */
	assert_ptr_equal(b.block, held);
	assert_true(buf_append(&b, big, 3000)); /* the front of the block is free, but must not be used */
	assert_ptr_not_equal(b.block, held);
	assert_memory_equal(head, "HEADbody", 8);
	assert_int_equal(buf_len(&b), 4 + fits + 3000);
	assert_memory_equal(buf_head(&b), "bodybbb", 7);
	assert_int_equal(held->holders, 1);
	buf_drop(&b);
	assert_memory_equal(head, "HEADbody", 8);
	block_put(held);
}

static void bytes_that_nobody_else_holds_move_to_the_front(void **state)
{
	struct buf b = {NULL, 0, 0};
	size_t room;
	(void)state;
	assert_true(buf_append(&b, "0123456789", 10));
	struct block *block = b.block;
	buf_room(&b, 1, &room);
	buf_commit(&b, room); /* full */
	buf_consume(&b, buf_len(&b) - 3);
	memcpy(buf_head(&b), "end", 3);
	char *to = buf_room(&b, block->cap - 3, &room);
	assert_ptr_equal(b.block, block);
	assert_int_equal(room, block->cap - 3);
	assert_ptr_equal(to, block->data + 3);
	assert_memory_equal(buf_head(&b), "end", 3);
	buf_drop(&b);
}

#define MODEL (300 * 1024)
static char model[MODEL];

/* Against a plain array, with a second holder coming and going. */
static void any_order_of_calls_keeps_the_bytes(void **state)
{
	struct buf b = {NULL, 0, 0};
	struct block *other = NULL;
	char *seen = NULL, copy[64];
	size_t n = 0, seen_n = 0;
	unsigned char next = 0;
	(void)state;
	for (int step = 0; step < 40000; step++) {
		unsigned what = rnd(10);
		if (what < 5) {
			size_t add = rnd(what ? 3000 : 40000);
			if (n + add > MODEL)
				add = 0;
			for (size_t i = 0; i < add; i++)
				model[n + i] = (char)next++;
			if (what & 1) {
				assert_true(buf_append(&b, model + n, add));
			} else if (add) {
				size_t room;
				char *to = buf_room(&b, add, &room);
				assert_true(room >= add);
				memcpy(to, model + n, add);
				buf_commit(&b, add);
			}
			n += add;
		} else if (what < 9) {
			size_t take = n ? rnd((unsigned)n + 1) : 0;
			buf_consume(&b, take);
			memmove(model, model + take, n - take);
			n -= take;
		} else if (other) {
			assert_memory_equal(seen, copy, seen_n);
			block_put(other);
			other = NULL;
		} else if (n) {
			other = block_hold(b.block);
			seen = buf_head(&b);
			seen_n = n < sizeof(copy) ? n : sizeof(copy);
			memcpy(copy, seen, seen_n);
		}
		assert_int_equal(buf_len(&b), n);
		assert_int_equal(b.block != NULL, n > 0);
		if (n && step % 16 == 0)
			assert_memory_equal(buf_head(&b), model, n);
	}
	buf_drop(&b);
	if (other)
		block_put(other);
}

static void blocks_in_use_are_all_different_in_every_round(void **state)
{
	enum { N = 3000 };
	static struct block *all[N];
	(void)state;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < N; i++) {
			all[i] = block_get(i % 3 ? 4000 : 60000);
			assert_non_null(all[i]);
			memset(all[i]->data, i, 8);
		}
		for (int i = 0; i < N; i++)
			assert_int_equal((unsigned char)all[i]->data[7],
					 i & 0xff); /* none was given out twice */
		for (int i = 0; i < N; i++)
			block_put(all[i]);
		assert_int_equal(block_bytes_used(), 0);
	}
}

#define CLEAN(test) cmocka_unit_test_teardown(test, nothing_is_used)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLEAN(a_block_holds_what_was_asked_for),
		CLEAN(a_block_lives_as_long_as_anybody_holds_it),
		CLEAN(pools_give_back_what_was_not_needed),
		CLEAN(an_empty_buf_holds_nothing),
		CLEAN(bytes_that_another_holds_never_move),
		CLEAN(bytes_that_nobody_else_holds_move_to_the_front),
		CLEAN(any_order_of_calls_keeps_the_bytes),
		CLEAN(blocks_in_use_are_all_different_in_every_round),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
