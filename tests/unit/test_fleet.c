/* SPDX-License-Identifier: MIT */
/* Forgivings on their way to the other weirs: as many as may wait, and no word of more than that. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "control/fleet_inside.h"
#include "tests/unit/redis_rig.h"

static void on_changed(void *owner, enum store_state from, enum store_state to, const char *why)
{
	(void)owner, (void)from, (void)to, (void)why;
}

static void forgivings_that_nobody_will_hear_of(void **state)
{
	(void)state;
	static struct control control;
	static struct fleet f;
	struct rig_fake silent;
	struct client_id client = {{0}};
	assert_true(loop_init(&control.loop));
	fake_open(&silent);
	struct redis_target target = rig_target(silent.port);
	const struct redis_servers_setup setup = {
		.loop = &control.loop, .target = &target, .timeout_us = USEC_PER_SEC, .changed = on_changed};
	f.c = &control;
	f.servers = redis_servers_new(&setup);
	assert_non_null(f.servers);
	f.state = FLEET_AWAY;
	assert_false(fleet_forgiven(&f, &client));
	f.state = FLEET_READY;
	for (unsigned i = 0; i < SYNC_FORGIVEN; i++) {
		client.b[15] = (uint8_t)i;
		assert_true(fleet_forgiven(&f, &client));
	}
	assert_false(fleet_forgiven(&f, &client));
	assert_int_equal(f.outbox_n, SYNC_FORGIVEN);
	assert_int_equal(f.outbox[7].client.b[15], 7);
	redis_servers_free(f.servers);
	rig_turn(&control.loop, NULL, NULL, USEC_PER_MSEC);
	fake_close(&silent);
	loop_free(&control.loop);
	block_pools_free();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forgivings_that_nobody_will_hear_of),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
