/* SPDX-License-Identifier: MIT */
/*
 * What a decision costs Redis: the CPU of a redis-server a command, pipelined, for the script of
 * ratelimit/redis_script.c and, in the same run and turn by turn, for a bare script that does INCR.
 *
 *     build/loadtest/script_cost [commands, 400000] [a file with another script]
 *
 * granted   10,000 clients, one after the other, with room: what an ordinary request costs
 * expiring  the same clients in a window of a second, so that what is pushed pushes out what has expired
 * refused   clients at their limit (weir itself asks such a thing once a slot, and not once a request)
 * together  as granted, thirteen in one command (ratelimit/redis_joint.h), as 32 connections make of a turn
 */
#include <inttypes.h>

#include "ratelimit/redis_script.h"
#include "tests/unit/redis_rig.h"

#define CLIENTS 10000u
#define BATCH 500u
#define ROUNDS 8u
#define TOGETHER 13u

static struct rig_redis redis;
static char question_sha[REDIS_SHA + 1], many_sha[REDIS_SHA + 1], incr_sha[REDIS_SHA + 1];
static unsigned turn;

static double cpu_us(void)
{
	char path[64];
	uint64_t ns = 0;
	snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)redis.pid);
	FILE *f = fopen(path, "r");
	if (!f || fscanf(f, "%" SCNu64, &ns) != 1)
		rig_die(path);
	fclose(f);
	return (double)ns / 1000;
}

static void load(const char *text, char sha[REDIS_SHA + 1])
{
	redisReply *r = rig_command(&redis, "SCRIPT LOAD %s", text);
	if (r->type != REDIS_REPLY_STRING || r->len != REDIS_SHA)
		rig_die(r->str);
	memcpy(sha, r->str, REDIS_SHA);
	freeReplyObject(r);
}

static struct client_id client_of(unsigned i)
{
	return (struct client_id){{[10] = 0xff,
				   [11] = 0xff,
				   [12] = 198,
				   [13] = 18,
				   [14] = (uint8_t)(i >> 8),
				   [15] = (uint8_t)i}};
}

static void put_incr(uint32_t limit, usec_t window)
{
	char key[160], name[128];
	struct policy p = {.name = "default", .window_us = 60 * USEC_PER_SEC};
	struct client_id c = client_of(turn % CLIENTS);
	size_t n = redis_script_key(name, STR("incr:"), &p, &c);
	int len =
		snprintf(key, sizeof(key), "*4\r\n$7\r\nEVALSHA\r\n$40\r\n%s\r\n$1\r\n1\r\n$%zu\r\n%.*s\r\n",
			 incr_sha, n, (int)n, name);
	(void)limit, (void)window;
	redisAppendFormattedCommand(redis.admin, key, (size_t)len);
}

static void put_question(uint32_t limit, usec_t window)
{
	char out[1024];
	struct policy p = {.name = "default", .window_us = window};
	struct table_ask ask = {&p, limit};
	struct client_id c = client_of(turn % CLIENTS);
	struct redis_question q = {.sha = question_sha,
				   .prefix = STR("weir:"),
				   .client = &c,
				   .ask = &ask,
				   .asks = 1,
				   .n = 1,
				   .deadline = clock_wall() + 60 * USEC_PER_SEC};
	redisAppendFormattedCommand(redis.admin, out, redis_script_question(out, &q));
}

static void put_together(uint32_t limit, usec_t window)
{
	static char out[TOGETHER * 1024];
	struct policy p = {.name = "default", .window_us = window};
	struct table_ask ask = {&p, limit};
	char *at = redis_script_many_head(out, TOGETHER, many_sha);
	for (unsigned i = 0; i < TOGETHER; i++) {
		struct client_id c = client_of((turn * TOGETHER + i) % CLIENTS);
		struct redis_question q = {.prefix = STR("weir:"), .client = &c, .ask = &ask};
		at = redis_script_many_client(at, &q);
	}
	at = redis_script_many_end(at, &ask, clock_wall() + 60 * USEC_PER_SEC);
	redisAppendFormattedCommand(redis.admin, out, (size_t)(at - out));
}

/* The cost of a command. */
static double run(unsigned commands, void (*put)(uint32_t, usec_t), uint32_t limit, usec_t window)
{
	double before = cpu_us();
	for (unsigned done = 0; done < commands; done += BATCH) {
		for (unsigned i = 0; i < BATCH; i++, turn++)
			put(limit, window);
		for (unsigned i = 0; i < BATCH; i++) {
			void *reply;
			if (redisGetReply(redis.admin, &reply) != REDIS_OK)
				rig_die("redis-server is gone");
			if (((redisReply *)reply)->type == REDIS_REPLY_ERROR)
				rig_die(((redisReply *)reply)->str);
			freeReplyObject(reply);
		}
	}
	return (cpu_us() - before) / commands;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Turn by turn, so that whatever else the machine does meets both alike; the median of the turns. */
static void compare(const char *name, void (*put)(uint32_t, usec_t), unsigned decides, unsigned commands,
		    uint32_t limit, usec_t window)
{
	double incr[ROUNDS], question[ROUNDS], ratio[ROUNDS];
	rig_do(&redis, "FLUSHALL");
	run(2 * CLIENTS, put_incr, 0, 0);
	run(2 * CLIENTS, put, limit, window);
	for (unsigned i = 0; i < ROUNDS; i++) {
		incr[i] = run(commands / ROUNDS, put_incr, 0, 0);
		question[i] = run(commands / ROUNDS, put, limit, window) / decides;
		ratio[i] = question[i] / incr[i];
	}
	qsort(incr, ROUNDS, sizeof(double), by_value);
	qsort(question, ROUNDS, sizeof(double), by_value);
	qsort(ratio, ROUNDS, sizeof(double), by_value);
	printf("%-10s %8.2f us   INCR %6.2f us   x%.2f\n", name, question[ROUNDS / 2], incr[ROUNDS / 2],
	       ratio[ROUNDS / 2]);
}

static char *file(const char *path)
{
	static char text[65536];
	FILE *f = fopen(path, "r");
	if (!f)
		rig_die(path);
	text[fread(text, 1, sizeof(text) - 1, f)] = 0;
	fclose(f);
	return text;
}

int main(int argc, char **argv)
{
	unsigned commands = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 400000;
	commands = commands / (BATCH * ROUNDS) * BATCH * ROUNDS;
	if (!commands)
		return 2;
	rig_start(&redis);
	load(argc > 2 ? file(argv[2]) : redis_scripts[REDIS_SCRIPT_ASK], question_sha);
	load(redis_scripts[REDIS_SCRIPT_ASK_MANY], many_sha);
	load("return redis.call('INCR', KEYS[1])", incr_sha);
	unsigned fewer = commands / 4 / (BATCH * ROUNDS) * (BATCH * ROUNDS);
	compare("granted", put_question, 1, commands, 1000000, 60 * USEC_PER_SEC);
	compare("together", put_together, TOGETHER, fewer, 1000000, 60 * USEC_PER_SEC);
	compare("expiring", put_question, 1, commands, 1000000, 1 * USEC_PER_SEC);
	compare("refused", put_question, 1, fewer, 1, 60 * USEC_PER_SEC);
	rig_end(&redis);
	return 0;
}
