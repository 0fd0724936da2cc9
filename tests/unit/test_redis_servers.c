/* SPDX-License-Identifier: MIT */
/*
 * Calls among the nodes of a cluster, with scripted servers that redirect, refuse and stay silent as no real
 * one would on demand. Real clusters: tests/edge/test_redis_cluster.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/buf.h"
#include "ratelimit/redis_command.h"
#include "tests/unit/redis_rig.h"

#define TIMEOUT (100 * USEC_PER_MSEC)
#define NODES 3

static struct loop loop;

/* --- a cluster of scripts --- */

struct stage;

struct node {
	struct rig_fake fake;
	struct stage *stage;
	unsigned asked, asking, maps; /* GETs, ASKINGs and CLUSTER SLOTS that came */
	const char *answer;	      /* to GET; NULL: none */
	const char *once;	      /* instead, to the first */
	bool up;
};

struct stage {
	struct node node[NODES];
	char map[512]; /* the answer to CLUSTER SLOTS; "": none */
	const char *info;
	struct redis_servers *servers;
	unsigned changes, node_changes;
	enum store_state state;
	bool (*held)(struct stage *);
};

/* All slots with the first, or with `owner`. */
static void draw_map(struct stage *s, unsigned owner)
{
	snprintf(s->map, sizeof(s->map),
		 "*1\r\n*3\r\n:0\r\n:16383\r\n*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$2\r\nid\r\n",
		 s->node[owner].fake.port);
}

static const char *play_line(void *ctx, const char *command)
{
	struct node *n = ctx;
	if (strstr(command, "SLOTS")) {
		n->maps++;
		return n->stage->map[0] ? n->stage->map : NULL;
	}
	if (strstr(command, "SCRIPT"))
		return "$40\r\n0123456789abcdef0123456789abcdef01234567\r\n";
	if (strstr(command, "INFO"))
		return n->stage->info;
	if (strstr(command, "TIME"))
		return "*2\r\n$10\r\n1763900000\r\n$6\r\n000000\r\n";
	if (strstr(command, "PING"))
		return "+PONG\r\n";
	if (strstr(command, "ASKING")) {
		n->asking++;
		return "+OK\r\n";
	}
	if (!strstr(command, "GET"))
		return "+OK\r\n";
	n->asked++;
	const char *once = n->once;
	n->once = NULL;
	return once ? once : n->answer;
}

static bool play_on(void *ctx)
{
	struct stage *s = ctx;
	for (unsigned i = 0; i < NODES; i++)
		if (s->node[i].up)
			fake_serve(&s->node[i].fake, play_line, &s->node[i]);
	return s->held(s);
}

#define play_until(s, condition)                                                                             \
	do {                                                                                                 \
		(s)->held = condition;                                                                       \
		assert_true(rig_turn(&loop, play_on, s, RIG_PATIENCE));                                      \
	} while (0)

static void on_changed(void *owner, enum store_state from, enum store_state to, const char *why)
{
	struct stage *s = owner;
	assert_int_equal(from, s->state);
	assert_true(strlen(why) > 0 || to == STORE_PROBING);
	s->state = to;
	s->changes++;
}

static void on_node_changed(void *owner, const char *place, enum store_state from, enum store_state to,
			    const char *why)
{
	struct stage *s = owner;
	(void)from, (void)to, (void)why;
	assert_non_null(strchr(place, ':'));
	s->node_changes++;
}

static void stage_open(struct stage *s, enum redis_cluster cluster)
{
	*s = (struct stage){.info = "$19\r\ncluster_enabled:1\r\n\r\n"};
	for (unsigned i = 0; i < NODES; i++) {
		s->node[i].stage = s;
		s->node[i].answer = "$1\r\nv\r\n";
		s->node[i].up = true;
		fake_open(&s->node[i].fake);
	}
	draw_map(s, 0);
	struct redis_target target = rig_target(s->node[0].fake.port);
	target.cluster = cluster;
	const struct redis_servers_setup setup = {
		.loop = &loop,
		.target = &target,
		.timeout_us = TIMEOUT,
		.owner = s,
		.changed = on_changed,
		.node_changed = on_node_changed,
	};
	s->servers = redis_servers_new(&setup);
	assert_non_null(s->servers);
}

static bool never(struct stage *s)
{
	(void)s;
	return false;
}

static void play_for(struct stage *s, usec_t length)
{
	s->held = never;
	rig_turn(&loop, play_on, s, length);
}

static void stage_close(struct stage *s)
{
	redis_servers_free(s->servers);
	play_for(s, 3 * USEC_PER_MSEC);
	for (unsigned i = 0; i < NODES; i++)
		if (s->node[i].up)
			fake_close(&s->node[i].fake);
}

static bool is_ready(struct stage *s)
{
	return s->state == STORE_READY;
}

static void stage_ready(struct stage *s, enum redis_cluster cluster)
{
	stage_open(s, cluster);
	play_until(s, is_ready);
}

/* --- calls --- */

struct get {
	struct redis_command command;
	unsigned done;
	enum redis_kind kind;
	enum redis_failure failure;
	usec_t took;
};

static struct get *awaited;

static bool is_done(struct stage *s)
{
	(void)s;
	return awaited->done > 0;
}

static void on_done(struct redis_command *c, const struct redis_reply *r)
{
	struct get *g = list_entry(c, struct get, command);
	g->done++;
	g->kind = r->kind;
	g->failure = r->failure;
}

static bool get(struct stage *s, struct get *g)
{
	*g = (struct get){.command = {.done = on_done}};
	loop.now = clock_mono();
	return redis_command_send(s->servers, &g->command, 7, loop.now + TIMEOUT, 2,
				  (struct str[]){STR("GET"), STR("k")});
}

static void got(struct stage *s, struct get *g)
{
	usec_t began = clock_mono();
	assert_true(get(s, g));
	awaited = g;
	play_until(s, is_done);
	assert_int_equal(g->done, 1);
	g->took = clock_mono() - began;
}

static void redirect(char *out, const char *word, int port)
{
	sprintf(out, "-%s 7 127.0.0.1:%d\r\n", word, port);
}

/* --- tests --- */

static void it_learns_that_it_is_a_cluster(void **state)
{
	(void)state;
	struct stage s;
	struct get g;
	stage_ready(&s, REDIS_CLUSTER_AUTO);
	assert_true(redis_servers_is_cluster(s.servers));
	assert_int_equal(s.node[0].maps, 1);
	got(&s, &g);
	assert_int_equal(g.kind, REDIS_STRING);
	enum store_state node;
	const char *place;
	const struct redis_server *server = redis_servers_each(s.servers, 0, &node, &place);
	assert_int_equal(node, STORE_READY);
	assert_non_null(server->slots);
	assert_string_equal(server->tag, "0"); /* it has every slot */
	assert_null(redis_servers_each(s.servers, 1, &node, &place));
	stage_close(&s);
}

static bool is_told(struct stage *s)
{
	return s->state == STORE_READY && s->node[0].asked == 0;
}

static void one_server_stays_one(void **state)
{
	(void)state;
	struct stage s;
	struct get g;
	stage_open(&s, REDIS_CLUSTER_AUTO);
	s.info = "$19\r\ncluster_enabled:0\r\n\r\n";
	play_until(&s, is_told);
	assert_false(redis_servers_is_cluster(s.servers));
	got(&s, &g);
	assert_int_equal(s.node[0].maps, 0);
	assert_int_equal(s.node_changes, 0);
	stage_close(&s);
}

/* INFO may be denied: then the first MOVED tells. */
static void a_moved_tells_that_it_is_a_cluster(void **state)
{
	(void)state;
	struct stage s;
	struct get g;
	char moved[64];
	stage_open(&s, REDIS_CLUSTER_AUTO);
	s.info = "-NOPERM no\r\n";
	play_until(&s, is_ready);
	assert_false(redis_servers_is_cluster(s.servers));
	redirect(moved, "MOVED", s.node[1].fake.port);
	s.node[0].answer = moved;
	draw_map(&s, 1);
	got(&s, &g);
	assert_int_equal(g.kind, REDIS_STRING);
	assert_int_equal(s.node[1].asked, 1);
	assert_true(redis_servers_is_cluster(s.servers));
	play_until(&s, is_ready);
	stage_close(&s);
}

static void moved_corrects_the_map(void **state)
{
	(void)state;
	struct stage s;
	struct get g;
	char moved[64];
	stage_ready(&s, REDIS_CLUSTER_ON);
	redirect(moved, "MOVED", s.node[1].fake.port);
	s.node[0].answer = moved;
	draw_map(&s, 1);
	for (unsigned i = 0; i < 5; i++) {
		got(&s, &g);
		assert_int_equal(g.kind, REDIS_STRING);
	}
	assert_int_equal(s.node[0].asked, 1);
	assert_int_equal(s.node[1].asked, 5);
	stage_close(&s);
}

/* All that is asked while the new node is being connected waits for it. */
static void calls_wait_for_a_node_that_comes(void **state)
{
	(void)state;
	enum { N = 20 };
	struct stage s;
	static struct get g[N];
	char moved[64];
	stage_ready(&s, REDIS_CLUSTER_ON);
	redirect(moved, "MOVED", s.node[1].fake.port);
	s.node[0].once = moved;
	draw_map(&s, 1);
	got(&s, &g[0]);
	redirect(moved, "MOVED", s.node[2].fake.port);
	s.node[1].once = moved;
	draw_map(&s, 2);
	for (unsigned i = 0; i < N; i++) {
		assert_true(get(&s, &g[i]));
		rig_turn(&loop, play_on, &s, USEC_PER_MSEC / 2);
	}
	awaited = &g[N - 1];
	play_until(&s, is_done);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(g[i].done, 1);
		assert_int_equal(g[i].kind, REDIS_STRING);
	}
	stage_close(&s);
}

static void ask_goes_there_this_once(void **state)
{
	(void)state;
	struct stage s;
	struct get g;
	char ask[64];
	stage_ready(&s, REDIS_CLUSTER_ON);
	redirect(ask, "ASK", s.node[1].fake.port);
	for (unsigned i = 1; i <= 3; i++) {
		s.node[0].once = ask;
		got(&s, &g);
		assert_int_equal(g.kind, REDIS_STRING);
		assert_int_equal(s.node[0].asked, 2 * i - 1);
		assert_int_equal(s.node[1].asked, i);
		assert_int_equal(s.node[1].asking, i);
		got(&s, &g); /* and not the next */
		assert_int_equal(s.node[1].asked, i);
	}
	stage_close(&s);
}

static void try_again_is_tried_again(void **state)
{
	(void)state;
	struct stage s;
	struct get g;
	stage_ready(&s, REDIS_CLUSTER_ON);
	s.node[0].once = "-TRYAGAIN Multiple keys request during rehashing of slot\r\n";
	got(&s, &g);
	assert_int_equal(g.kind, REDIS_STRING);
	assert_int_equal(s.node[0].asked, 2);
	/* But not for ever. */
	s.node[0].answer = "-TRYAGAIN Multiple keys request during rehashing of slot\r\n";
	got(&s, &g);
	assert_int_equal(g.failure, REDIS_TRYAGAIN);
	assert_in_range(s.node[0].asked, 4, 10);
	assert_true(g.took < 50 * TIMEOUT);
	stage_close(&s);
}

/* Two that send to each other, for ever. */
static void a_circle_has_an_end(void **state)
{
	(void)state;
	struct stage s;
	struct get g;
	char there[64], back[64];
	stage_ready(&s, REDIS_CLUSTER_ON);
	redirect(there, "MOVED", s.node[1].fake.port);
	redirect(back, "MOVED", s.node[0].fake.port);
	s.node[0].answer = there;
	s.node[1].answer = back;
	got(&s, &g);
	assert_int_equal(g.failure, REDIS_MOVED);
	assert_in_range(s.node[0].asked + s.node[1].asked, 2, 6);
	stage_close(&s);
}

static bool is_not_ready(struct stage *s)
{
	return s->state != STORE_READY;
}

/* It was moved to a place where nobody is. */
static void a_place_that_is_empty(void **state)
{
	(void)state;
	struct stage s;
	struct get g;
	char moved[64];
	stage_ready(&s, REDIS_CLUSTER_ON);
	int port = s.node[2].fake.port;
	fake_close(&s.node[2].fake);
	s.node[2].up = false;
	redirect(moved, "MOVED", port);
	s.node[0].once = moved;
	s.map[0] = 0; /* and nobody knows better */
	got(&s, &g);
	assert_int_equal(g.failure, REDIS_MOVED);
	assert_true(g.took < 50 * TIMEOUT); /* its time is TIMEOUT */
	/* Then nothing is taken, and the map is asked for until it helps. */
	play_until(&s, is_not_ready);
	play_for(&s, TIMEOUT);
	loop.now = clock_mono();
	assert_false(redis_servers_open(s.servers, 7));
	assert_false(get(&s, &g));
	draw_map(&s, 0);
	play_until(&s, is_ready);
	got(&s, &g);
	assert_int_equal(g.kind, REDIS_STRING);
	stage_close(&s);
}

static void what_is_no_map_changes_nothing(void **state)
{
	(void)state;
	static const char *const bad[] = {"*0\r\n",
					  "+OK\r\n",
					  "*1\r\n:5\r\n",
					  "-ERR no\r\n",
					  "*1\r\n*3\r\n:0\r\n:99999\r\n*2\r\n$1\r\na\r\n:1\r\n",
					  "*2\r\n*3\r\n:0\r\n:9\r\n*2\r\n$1\r\na\r\n:1\r\n"
					  "*3\r\n:9\r\n:10\r\n*2\r\n$1\r\na\r\n:1\r\n",
					  "*1\r\n*3\r\n:0\r\n:9\r\n*2\r\n$3\r\na b\r\n:1\r\n"};
	struct stage s;
	struct get g;
	char moved[64];
	stage_ready(&s, REDIS_CLUSTER_ON);
	uint64_t told = rig_failures("garbage");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		unsigned to = i % 2 == 0, from = !to;
		redirect(moved, "MOVED", s.node[to].fake.port);
		s.node[from].once = moved;
		snprintf(s.map, sizeof(s.map), "%s", bad[i]);
		got(&s, &g);
		assert_int_equal(g.kind, REDIS_STRING);
		play_for(&s, 2 * TIMEOUT); /* it is asked for, and is none */
		got(&s, &g);
		assert_int_equal(g.kind, REDIS_STRING);
	}
	assert_true(s.node[0].maps + s.node[1].maps > 3);
	assert_true(rig_failures("garbage") - told >= 3); /* an error is told as one */
	stage_close(&s);
}

static void freed_with_calls_under_way(void **state)
{
	(void)state;
	struct stage s;
	struct get sent, parked;
	char moved[64];
	stage_ready(&s, REDIS_CLUSTER_ON);
	s.node[0].answer = NULL;
	assert_true(get(&s, &sent));
	play_for(&s, USEC_PER_MSEC);
	redirect(moved, "MOVED", s.node[1].fake.port);
	s.node[0].once = moved;
	s.node[1].up = false; /* it is not answered there */
	assert_true(get(&s, &parked));
	play_for(&s, 5 * USEC_PER_MSEC);
	redis_servers_free(s.servers);
	s.servers = NULL;
	assert_int_equal(sent.done, 1);
	assert_int_equal(parked.done, 1);
	assert_int_equal(sent.kind, REDIS_ERROR);
	assert_int_equal(parked.kind, REDIS_ERROR);
	s.node[1].up = true;
	stage_close(&s);
}

static int set_up(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	return loop_init(&loop) ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	loop_free(&loop);
	block_pools_free();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_learns_that_it_is_a_cluster),
		cmocka_unit_test(one_server_stays_one),
		cmocka_unit_test(a_moved_tells_that_it_is_a_cluster),
		cmocka_unit_test(moved_corrects_the_map),
		cmocka_unit_test(calls_wait_for_a_node_that_comes),
		cmocka_unit_test(ask_goes_there_this_once),
		cmocka_unit_test(try_again_is_tried_again),
		cmocka_unit_test(a_circle_has_an_end),
		cmocka_unit_test(a_place_that_is_empty),
		cmocka_unit_test(what_is_no_map_changes_nothing),
		cmocka_unit_test(freed_with_calls_under_way),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
