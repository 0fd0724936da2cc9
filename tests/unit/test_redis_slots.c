/* SPDX-License-Identifier: MIT */
/* Hash slots by the known vectors, and what a cluster's servers say of places, byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "ratelimit/redis_info.h"
#include "ratelimit/redis_slots.h"

static void crc16_of_the_known_vectors(void **state)
{
	(void)state;
	/* The check value of CRC-16/XMODEM, and values that follow from the polynomial by hand. */
	assert_int_equal(redis_crc16("123456789", 9), 0x31c3);
	assert_int_equal(redis_crc16("", 0), 0);
	assert_int_equal(redis_crc16("\x01", 1), 0x1021);
	assert_int_equal(redis_crc16("\0\0\0", 3), 0);
	assert_int_equal(redis_crc16("A", 1), 0x58e5);
}

/* As CLUSTER KEYSLOT of Redis 7.0 answers. */
static void keys_have_their_slots(void **state)
{
	(void)state;
	static const struct {
		const char *key;
		unsigned slot;
	} rows[] = {
		{"123456789", 12739},	  {"foo", 12182},
		{"somekey", 11058},	  {"foo{hash_tag}", 2515},
		{"hash_tag", 2515},	  {"{hash_tag}bar", 2515},
		{"a{hash_tag}{b}", 2515}, {"", 0},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(redis_slot(str_of(rows[i].key)), rows[i].slot);
	/* An empty tag is none, and neither is one that does not end. */
	assert_int_equal(redis_slot(STR("{}a")), redis_crc16("{}a", 3) % REDIS_SLOTS);
	assert_int_equal(redis_slot(STR("a{b")), redis_crc16("a{b", 3) % REDIS_SLOTS);
	assert_int_equal(redis_slot(STR("{{a}}")), redis_crc16("{a", 2) % REDIS_SLOTS);
	assert_int_equal(redis_slot(STR("weir:1:default:60000:{203.0.113.9}")),
			 redis_slot(STR("203.0.113.9")));
}

static void redirects_are_read(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum redis_redirect_kind kind;
		unsigned slot;
		const char *host;
		uint16_t port;
	} rows[] = {
		{"MOVED 3999 127.0.0.1:6381", REDIS_MOVE, 3999, "127.0.0.1", 6381},
		{"ASK 16383 node-2.example:7000", REDIS_ASK_THERE, 16383, "node-2.example", 7000},
		{"MOVED 0 :6381", REDIS_MOVE, 0, "", 6381}, /* on its own host */
		{"MOVED 0 ?:6381", REDIS_MOVE, 0, "", 6381},
		{"MOVED 1 ::1:6381", REDIS_MOVE, 1, "::1", 6381},
		{"TRYAGAIN Multiple keys request during rehashing of slot", REDIS_TRY_AGAIN, 0, "", 0},
		{"MOVED", REDIS_STAY, 0, "", 0},
		{"MOVED 16384 127.0.0.1:6381", REDIS_STAY, 0, "", 0},
		{"MOVED x 127.0.0.1:6381", REDIS_STAY, 0, "", 0},
		{"MOVED 99999999999999999999 127.0.0.1:6381", REDIS_STAY, 0, "", 0},
		{"MOVED 1 127.0.0.1", REDIS_STAY, 0, "", 0},
		{"MOVED 1 127.0.0.1 :6381", REDIS_STAY, 0, "", 0},
		{"MOVED 1 node\x01:6381", REDIS_STAY, 0, "", 0},
		{"MOVED 1 node/../x:6381", REDIS_STAY, 0, "", 0},
		{"MOVED 1 127.0.0.1:", REDIS_STAY, 0, "", 0},
		{"MOVED 1 127.0.0.1:0", REDIS_STAY, 0, "", 0},
		{"MOVED 1 127.0.0.1:65536", REDIS_STAY, 0, "", 0},
		{"MOVED 1 127.0.0.1:80 ", REDIS_STAY, 0, "", 0},
		{"ASKING 1 127.0.0.1:80", REDIS_STAY, 0, "", 0},
		{"CLUSTERDOWN The cluster is down", REDIS_STAY, 0, "", 0},
		{"", REDIS_STAY, 0, "", 0},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct redis_redirect r = redis_redirect_read(str_of(rows[i].text));
		if (r.kind != rows[i].kind)
			fail_msg("%s: kind %d", rows[i].text, r.kind);
		if (r.kind != REDIS_MOVE && r.kind != REDIS_ASK_THERE)
			continue;
		assert_int_equal(r.slot, rows[i].slot);
		assert_int_equal(r.place.port, rows[i].port);
		assert_true(str_eq(r.place.host, str_of(rows[i].host)));
	}
}

/* --- INFO --- */

static void info_is_read(void **state)
{
	(void)state;
	struct redis_info i;
	redis_info_read(
		STR("# Server\r\nredis_version:7.0.15\r\n\r\n# Memory\r\nused_memory:1048576\r\n"
		    "maxmemory:2097152\r\nmaxmemory_policy:allkeys-lru\r\n# Stats\r\nevicted_keys:12\r\n"
		    "# Cluster\r\ncluster_enabled:1\r\n"),
		&i);
	assert_string_equal(i.version, "7.0.15");
	assert_string_equal(i.policy, "allkeys-lru");
	assert_int_equal(i.used_memory, 1048576);
	assert_int_equal(i.maxmemory, 2097152);
	assert_int_equal(i.evicted_keys, 12);
	assert_true(i.cluster);
	assert_true(redis_info_may_evict(&i));
	redis_info_read(STR("maxmemory_policy:noeviction\ncluster_enabled:0"), &i);
	assert_false(i.cluster);
	assert_false(redis_info_may_evict(&i));
	assert_int_equal(i.evicted_keys, 0);
	/* What is too long or missing is as if it were not told. */
	redis_info_read(
		STR("maxmemory_policy:a-policy-whose-name-is-far-too-long\r\nredis_version\r\n:\r\n\n"), &i);
	assert_string_equal(i.policy, "");
	assert_false(redis_info_may_evict(&i));
	redis_info_read(STR_NONE, &i);
	assert_string_equal(i.version, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc16_of_the_known_vectors),
		cmocka_unit_test(keys_have_their_slots),
		cmocka_unit_test(redirects_are_read),
		cmocka_unit_test(info_is_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
