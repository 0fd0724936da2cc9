/* SPDX-License-Identifier: MIT */
#include "ratelimit/redis_reply.h"

#include <hiredis/read.h>
#include <stdlib.h>

#define PIECE 4096 /* of memory for replies; larger ones get their own */
#define READER_KEEPS                                                                                         \
	(1u << 20) /* hiredis gives its buffer back above this, and would do so at 16 KB each time */

struct piece {
	struct piece *next;
	size_t used, cap;
	_Alignas(16) char data[];
};

struct redis_parser {
	redisReader *reader;
	struct piece *first; /* kept; those after it are of the present reply only */
	struct redis_reply root;
};

/* Failures */

static const struct failure_row {
	const char *name;
	struct str code[3]; /* first words of errors */
} failures[REDIS_FAILURES] = {
	[REDIS_FINE] = {"none", {{NULL, 0}}},
	[REDIS_REFUSED] = {"refused", {{NULL, 0}}},
	[REDIS_RESOLVE] = {"resolve", {{NULL, 0}}},
	[REDIS_TIMEOUT] = {"timeout", {{NULL, 0}}},
	[REDIS_TLS] = {"tls", {{NULL, 0}}},
	[REDIS_UNTRUSTED] = {"untrusted", {{NULL, 0}}},
	[REDIS_NOAUTH] = {"noauth", {STR("NOAUTH"), STR("DENIED"), {NULL, 0}}},
	[REDIS_WRONGPASS] = {"wrongpass", {STR("WRONGPASS"), {NULL, 0}}},
	[REDIS_NOPERM] = {"noperm", {STR("NOPERM"), {NULL, 0}}},
	[REDIS_LOADING] = {"loading", {STR("LOADING"), {NULL, 0}}},
	[REDIS_READONLY] = {"readonly", {STR("READONLY"), {NULL, 0}}},
	[REDIS_MASTERDOWN] = {"masterdown", {STR("MASTERDOWN"), {NULL, 0}}},
	[REDIS_OOM] = {"oom", {STR("OOM"), {NULL, 0}}},
	[REDIS_MISCONF] = {"misconf", {STR("MISCONF"), STR("NOREPLICAS"), {NULL, 0}}},
	[REDIS_NOSCRIPT] = {"noscript", {STR("NOSCRIPT"), {NULL, 0}}},
	[REDIS_MOVED] = {"moved", {STR("MOVED"), STR("ASK"), {NULL, 0}}},
	[REDIS_TRYAGAIN] = {"tryagain", {STR("TRYAGAIN"), {NULL, 0}}},
	[REDIS_CLUSTER] = {"clusterdown", {STR("CLUSTERDOWN"), STR("CROSSSLOT"), {NULL, 0}}},
	[REDIS_BUSY] = {"busy", {STR("BUSY"), {NULL, 0}}},
	[REDIS_GARBAGE] = {"garbage", {{NULL, 0}}},
	[REDIS_CLOSED] = {"closed", {{NULL, 0}}},
	[REDIS_FULL] = {"full", {{NULL, 0}}},
	[REDIS_OTHER] = {"error", {{NULL, 0}}},
};

const char *redis_failure_name(enum redis_failure f)
{
	return f < REDIS_FAILURES ? failures[f].name : "unknown";
}

static enum redis_failure by_word(struct str word)
{
	for (unsigned f = 0; f < REDIS_FAILURES; f++)
		for (unsigned i = 0; i < 3 && failures[f].code[i].n; i++)
			if (str_eq(failures[f].code[i], word))
				return (enum redis_failure)f;
	return REDIS_OTHER;
}

static struct str first_word(const char *p, const char *end)
{
	const char *space = memchr(p, ' ', (size_t)(end - p));
	return (struct str){p, (size_t)((space ? space : end) - p)};
}

/* Before 7.0: `ERR Error running script (call to f_...): @user_script:9: @user_script: 9: -OOM command not
 * ...` */
enum redis_failure redis_failure_of(struct str t)
{
	if (!t.n)
		return REDIS_OTHER;
	const char *end = t.p + t.n;
	enum redis_failure f = by_word(first_word(t.p, end));
	const char *dash = f == REDIS_OTHER ? memmem(t.p, t.n, ": -", 3) : NULL;
	return dash ? by_word(first_word(dash + 3, end)) : f;
}

/* Memory for a reply */

static void *take(struct redis_parser *p, size_t n)
{
	struct piece *in = p->first->next ? p->first->next : p->first;
	n = (n + 15) & ~(size_t)15;
	if (in->cap - in->used < n) {
		size_t cap = n > PIECE ? n : PIECE;
		in = malloc(sizeof(*in) + cap);
		if (!in)
			return NULL;
		*in = (struct piece){.next = p->first->next, .cap = cap};
		p->first->next = in;
	}
	void *at = in->data + in->used;
	in->used += n;
	return at;
}

static void empty(struct redis_parser *p)
{
	while (p->first->next) {
		struct piece *gone = p->first->next;
		p->first->next = gone->next;
		free(gone);
	}
	p->first->used = 0;
}

/* What hiredis' reader calls */

static struct redis_reply *place(const redisReadTask *task)
{
	if (!task->parent)
		return &((struct redis_parser *)task->privdata)->root;
	return ((struct redis_reply *)task->parent->obj)->element + task->idx;
}

static void *create_string(const redisReadTask *task, char *bytes, size_t n)
{
	struct redis_reply *r = place(task);
	char *copy = take(task->privdata, n + 1);
	if (!copy)
		return NULL;
	memcpy(copy, bytes, n);
	copy[n] = 0;
	*r = (struct redis_reply){.kind = REDIS_STRING, .text = {copy, n}};
	if (task->type == REDIS_REPLY_STATUS)
		r->kind = REDIS_STATUS;
	if (task->type == REDIS_REPLY_ERROR) {
		r->kind = REDIS_ERROR;
		r->failure = redis_failure_of(r->text);
	}
	return r;
}

static void *create_array(const redisReadTask *task, int n)
{
	struct redis_reply *r = place(task);
	if (n < 0 || n > REDIS_REPLY_ELEMENTS)
		return NULL;
	struct redis_reply *element = take(task->privdata, (size_t)n * sizeof(*element) + 1);
	if (!element)
		return NULL;
	*r = (struct redis_reply){.kind = REDIS_ARRAY, .count = (unsigned)n, .element = element};
	return r;
}

static void *create_integer(const redisReadTask *task, long long v)
{
	struct redis_reply *r = place(task);
	*r = (struct redis_reply){.kind = REDIS_INTEGER, .integer = v};
	return r;
}

static void *create_nil(const redisReadTask *task)
{
	struct redis_reply *r = place(task);
	*r = (struct redis_reply){.kind = REDIS_NIL};
	return r;
}

static void free_object(void *reply)
{
	(void)reply; /* it lies in the parser's own memory */
}

static redisReplyObjectFunctions functions = {create_string, create_array, create_integer, create_nil,
					      free_object};

/* The parser */

bool redis_parser_reset(struct redis_parser *p)
{
	empty(p);
	if (p->reader)
		redisReaderFree(p->reader);
	p->reader = redisReaderCreateWithFunctions(&functions);
	if (!p->reader)
		return false;
	p->reader->maxbuf = READER_KEEPS;
	p->reader->privdata = p;
	return true;
}

struct redis_parser *redis_parser_new(void)
{
	struct redis_parser *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->first = malloc(sizeof(*p->first) + PIECE);
	if (p->first)
		*p->first = (struct piece){.cap = PIECE};
	if (!p->first || !redis_parser_reset(p)) {
		redis_parser_free(p);
		return NULL;
	}
	return p;
}

void redis_parser_free(struct redis_parser *p)
{
	if (!p)
		return;
	if (p->reader)
		redisReaderFree(p->reader);
	if (p->first)
		empty(p);
	free(p->first);
	free(p);
}

bool redis_parser_feed(struct redis_parser *p, const char *bytes, size_t n)
{
	if (!p->reader || p->reader->len - p->reader->pos + n > REDIS_REPLY_BYTES)
		return false;
	return redisReaderFeed(p->reader, bytes, n) == REDIS_OK;
}

const struct redis_reply *redis_parser_next(struct redis_parser *p, bool *failed)
{
	void *reply = NULL;
	*failed = false;
	if (p->reader->ridx == -1)
		empty(p);
	if (redisReaderGetReply(p->reader, &reply) == REDIS_OK)
		return reply;
	*failed = true;
	return NULL;
}
