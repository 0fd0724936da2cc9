/* SPDX-License-Identifier: MIT */
/* What a cluster's nodes answer to CLUSTER SLOTS, byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ratelimit/redis_map.h"

static const struct redis_reply *parsed(struct redis_parser *p, const char *bytes)
{
	bool failed;
	assert_true(redis_parser_reset(p));
	assert_true(redis_parser_feed(p, bytes, strlen(bytes)));
	const struct redis_reply *r = redis_parser_next(p, &failed);
	assert_non_null(r);
	return r;
}

static void ranges_are_read(void **state)
{
	(void)state;
	struct redis_parser *p = redis_parser_new();
	struct redis_range r;
	assert_true(redis_range_read(parsed(p, "*4\r\n:5461\r\n:10922\r\n"
					       "*4\r\n$9\r\n127.0.0.1\r\n:7001\r\n$2\r\nid\r\n*0\r\n"
					       "*3\r\n$7\r\nreplica\r\n:7004\r\n$2\r\nid\r\n"),
				     &r));
	assert_int_equal(r.first, 5461);
	assert_int_equal(r.last, 10922);
	assert_int_equal(r.places, 2);
	assert_true(str_eq(r.place[0].host, STR("127.0.0.1")));
	assert_int_equal(r.place[0].port, 7001);
	assert_true(str_eq(r.place[1].host, STR("replica")));
	/* Where it does not say its host it is on that of the one that was asked. */
	static const char *const here[] = {
		"*3\r\n:0\r\n:0\r\n*3\r\n$0\r\n\r\n:7001\r\n$2\r\nid\r\n",
		"*3\r\n:0\r\n:0\r\n*4\r\n$-1\r\n:7001\r\n$2\r\nid\r\n*2\r\n$2\r\nip\r\n$9\r\n127.0.0.9\r\n",
		"*3\r\n:0\r\n:0\r\n*3\r\n$1\r\n?\r\n:7001\r\n$2\r\nid\r\n",
	};
	for (size_t i = 0; i < sizeof(here) / sizeof(here[0]); i++) {
		assert_true(redis_range_read(parsed(p, here[i]), &r));
		assert_int_equal(r.place[0].host.n, 0);
		assert_int_equal(r.place[0].port, 7001);
	}
	/* A node that should be named and has no name: its address is told beside. */
	assert_true(redis_range_read(
		parsed(p, "*3\r\n:0\r\n:0\r\n*4\r\n$1\r\n?\r\n:7001\r\n$2\r\nid\r\n*2\r\n$2\r\nip\r\n"
			  "$9\r\n127.0.0.9\r\n"),
		&r));
	assert_true(str_eq(r.place[0].host, STR("127.0.0.9")));
	redis_parser_free(p);
}

static void ranges_that_are_none(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"+OK\r\n",
		"*0\r\n",
		"*2\r\n:0\r\n:5\r\n",
		"*3\r\n:5\r\n:0\r\n*2\r\n$1\r\na\r\n:1\r\n",
		"*3\r\n:-1\r\n:0\r\n*2\r\n$1\r\na\r\n:1\r\n",
		"*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n",
		"*3\r\n:0\r\n:5\r\n*2\r\n$1\r\na\r\n:0\r\n",
		"*3\r\n:0\r\n:5\r\n*2\r\n$1\r\na\r\n:65536\r\n",
		"*3\r\n:0\r\n:5\r\n*2\r\n:1\r\n:1\r\n",
		"*3\r\n:0\r\n:5\r\n$1\r\na\r\n",
		"*3\r\n$1\r\n0\r\n:5\r\n*2\r\n$1\r\na\r\n:1\r\n",
		/* Hosts of odd bytes, and replicas that are none. */
		"*3\r\n:0\r\n:5\r\n*2\r\n$3\r\na b\r\n:1\r\n",
		"*3\r\n:0\r\n:5\r\n*2\r\n$3\r\na\nb\r\n:1\r\n",
		"*3\r\n:0\r\n:5\r\n*2\r\n$2\r\n\xc3\xa4\r\n:1\r\n",
		"*4\r\n:0\r\n:5\r\n*2\r\n$1\r\na\r\n:1\r\n:7\r\n",
		"*4\r\n:0\r\n:5\r\n*2\r\n$1\r\na\r\n:1\r\n*2\r\n$1\r\n/\r\n:1\r\n",
		"*4\r\n:0\r\n:5\r\n*2\r\n$1\r\na\r\n:1\r\n*2\r\n$1\r\nb\r\n:-1\r\n",
		"*4\r\n:0\r\n:5\r\n*2\r\n$1\r\na\r\n:1\r\n*2\r\n$1\r\nb\r\n$1\r\n1\r\n",
	};
	struct redis_parser *p = redis_parser_new();
	struct redis_range r;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (redis_range_read(parsed(p, bad[i]), &r))
			fail_msg("taken: %s", bad[i]);
	redis_parser_free(p);
}

/* A replica that nobody knows how to reach is passed over, and so are more than there is room for. */
static void replicas_that_cannot_be_reached(void **state)
{
	(void)state;
	struct redis_parser *p = redis_parser_new();
	struct redis_range r;
	char text[1024];
	assert_true(redis_range_read(parsed(p, "*5\r\n:0\r\n:5\r\n*2\r\n$1\r\na\r\n:1\r\n"
					       "*2\r\n$0\r\n\r\n:0\r\n*2\r\n$1\r\nb\r\n:2\r\n"),
				     &r));
	assert_int_equal(r.places, 2);
	assert_int_equal(r.place[1].port, 2);
	int n = sprintf(text, "*14\r\n:0\r\n:5\r\n");
	for (unsigned i = 1; i <= 12; i++)
		n += sprintf(text + n, "*2\r\n$1\r\na\r\n:%u\r\n", i);
	assert_true(redis_range_read(parsed(p, text), &r));
	assert_int_equal(r.places, REDIS_RANGE_PLACES);
	redis_parser_free(p);
}

/* The bytes of a map of `ranges` one slot wide, of as many masters; the text is the caller's to free. */
static char *many_masters(unsigned ranges)
{
	char *text = malloc(64 + ranges * 64), *at = text;
	assert_non_null(text);
	at += sprintf(at, "*%u\r\n", ranges);
	for (unsigned i = 0; i < ranges; i++)
		at += sprintf(at, "*3\r\n:%u\r\n:%u\r\n*2\r\n$1\r\na\r\n:%u\r\n", i, i, i + 1);
	return text;
}

static void a_map_is_believed_as_a_whole(void **state)
{
	(void)state;
#define RANGE(first, last) "*3\r\n:" #first "\r\n:" #last "\r\n*2\r\n$1\r\na\r\n:1\r\n"
	static const struct {
		const char *text, *fault;
	} rows[] = {
		{"*2\r\n" RANGE(0, 5) RANGE(6, 16383), NULL},
		{"*2\r\n" RANGE(6, 16383) RANGE(0, 5), NULL},
		{"*1\r\n" RANGE(7, 7), NULL},
		{"*2\r\n" RANGE(0, 5) RANGE(5, 16383), "two of its ranges overlap"},
		{"*2\r\n" RANGE(0, 16383) RANGE(63, 64), "two of its ranges overlap"},
		{"*2\r\n" RANGE(0, 5) RANGE(6, 16384), "one of its ranges is none"},
		{"*2\r\n" RANGE(0, 5) ":6\r\n", "one of its ranges is none"},
		{"*0\r\n", "nobody has a slot"},
		{"+OK\r\n", "it is no list of ranges"},
		{"$-1\r\n", "it is no list of ranges"},
	};
	struct redis_parser *p = redis_parser_new();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *fault = redis_map_fault(parsed(p, rows[i].text));
		if (!fault != !rows[i].fault || (fault && strcmp(fault, rows[i].fault) != 0))
			fail_msg("%s: %s", rows[i].text, fault);
	}
	char *text = many_masters(REDIS_MAP_MASTERS);
	assert_null(redis_map_fault(parsed(p, text)));
	free(text);
	text = many_masters(REDIS_MAP_MASTERS + 1);
	assert_string_equal(redis_map_fault(parsed(p, text)), "it has too many masters");
	free(text);
	redis_parser_free(p);
}

static void slots_are_given(void **state)
{
	(void)state;
	uint64_t slots[REDIS_SLOTS / 64] = {0};
	char tag[8];
	struct redis_map *m = redis_map_new();
	assert_non_null(m);
	assert_int_equal(m->owner[0], REDIS_NOBODY);
	redis_map_give(m, &(struct redis_range){.first = 0, .last = 16382}, 3);
	assert_true(redis_map_has_gaps(m));
	redis_map_give(m, &(struct redis_range){.first = 16383, .last = 16383}, 4);
	assert_false(redis_map_has_gaps(m));
	assert_int_equal(m->owner[16382], 3);
	assert_int_equal(m->owner[16383], 4);
	redis_map_clear(m);
	assert_true(redis_map_has_gaps(m));
	free(m);
	for (unsigned slot = 0; slot < REDIS_SLOTS; slot += 1000) {
		memset(slots, 0, sizeof(slots));
		slots[slot / 64] = (uint64_t)1 << slot % 64;
		redis_map_tag(slots, tag, sizeof(tag));
		assert_int_equal(redis_slot(str_of(tag)), slot);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_are_read),
		cmocka_unit_test(ranges_that_are_none),
		cmocka_unit_test(replicas_that_cannot_be_reached),
		cmocka_unit_test(a_map_is_believed_as_a_whole),
		cmocka_unit_test(slots_are_given),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
