/* SPDX-License-Identifier: MIT */
#include "ratelimit/redis_info.h"

#include <stddef.h>
#include <string.h>

enum info_kind { INFO_TEXT, INFO_NUMBER, INFO_FLAG };

static const struct info_row {
	struct str name;
	enum info_kind kind;
	size_t at, size;
} rows[] = {
#define TEXT(name, field)                                                                                    \
	{                                                                                                    \
		STR(name), INFO_TEXT, offsetof(struct redis_info, field),                                    \
			sizeof(((struct redis_info *)0)->field)                                              \
	}
#define NUMBER(name, field)                                                                                  \
	{                                                                                                    \
		STR(name), INFO_NUMBER, offsetof(struct redis_info, field), 0                                \
	}
	TEXT("redis_version", version),
	TEXT("maxmemory_policy", policy),
	NUMBER("maxmemory", maxmemory),
	NUMBER("used_memory", used_memory),
	NUMBER("evicted_keys", evicted_keys),
	{STR("cluster_enabled"), INFO_FLAG, offsetof(struct redis_info, cluster), 0},
#undef TEXT
#undef NUMBER
};

static uint64_t number(struct str s)
{
	uint64_t v = 0;
	for (size_t i = 0; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	return v;
}

static void take(const struct info_row *row, struct str value, struct redis_info *i)
{
	char *at = (char *)i + row->at;
	if (row->kind == INFO_TEXT && value.n < row->size) {
		memcpy(at, value.p, value.n);
		at[value.n] = 0;
	} else if (row->kind == INFO_NUMBER) {
		*(uint64_t *)(void *)at = number(value);
	} else if (row->kind == INFO_FLAG) {
		*(bool *)at = number(value) != 0;
	}
}

static void take_line(struct str line, struct redis_info *i)
{
	const char *colon = memchr(line.p, ':', line.n);
	if (!colon)
		return;
	struct str name = {line.p, (size_t)(colon - line.p)};
	struct str value = {colon + 1, line.n - name.n - 1};
	if (value.n && value.p[value.n - 1] == '\r')
		value.n--;
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++)
		if (str_eq(rows[k].name, name))
			take(&rows[k], value, i);
}

void redis_info_read(struct str s, struct redis_info *i)
{
	*i = (struct redis_info){0};
	while (s.n) {
		const char *end = memchr(s.p, '\n', s.n);
		size_t n = end ? (size_t)(end - s.p) : s.n;
		take_line((struct str){s.p, n}, i);
		s = (struct str){s.p + n + (end != NULL), s.n - n - (end != NULL)};
	}
}

bool redis_info_may_evict(const struct redis_info *i)
{
	return i->policy[0] && strcmp(i->policy, "noeviction") != 0;
}
