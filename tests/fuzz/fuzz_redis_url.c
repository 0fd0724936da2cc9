/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as the URL of a Redis: what is taken is a place that can be asked, written anew it is read as the
 * same, and a refusal says nothing of what stood in it, as that may be a password.
 */
#include "conf/redis_url.h"
#include "tests/fuzz/fuzz.h"

static void put_escaped(struct sheet *s, struct str t)
{
	for (size_t i = 0; i < t.n; i++) {
		char escape[4];
		snprintf(escape, sizeof(escape), "%%%02X", (unsigned char)t.p[i]);
		sheet_bytes(s, escape, 3);
	}
}

static void write_url(struct sheet *s, const struct redis_url *u)
{
	char tail[64];
	bool v6 = memchr(u->host.p, ':', u->host.n) != NULL;

	sheet_str(s, u->is_unix ? STR("unix://") : STR("redis://"));
	if (u->username.n || u->password.n) {
		put_escaped(s, u->username);
		sheet_bytes(s, ":", 1);
		put_escaped(s, u->password);
		sheet_bytes(s, "@", 1);
	}
	sheet_str(s, v6 && !u->is_unix ? STR("[") : STR(""));
	sheet_str(s, u->host);
	sheet_str(s, v6 && !u->is_unix ? STR("]") : STR(""));
	int n = u->is_unix ? snprintf(tail, sizeof(tail), "?db=%u", u->db)
			   : snprintf(tail, sizeof(tail), ":%u/%u", u->port, u->db);
	sheet_bytes(s, tail, (size_t)n);
}

static void check_place(const struct redis_url *u)
{
	promise(u->host.n > 0 && u->db <= 1023);
	promise(u->is_unix || u->port > 0);
	promise(!memchr(u->host.p, 0, u->host.n) && u->host.p[u->host.n] == 0);
	promise(!u->username.n || !memchr(u->username.p, 0, u->username.n));
	promise(!u->password.n || !memchr(u->password.p, 0, u->password.n));
	for (size_t i = 0; i < u->host.n; i++)
		promise(u->is_unix || !strchr("/@?#[] \t\r\n", u->host.p[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char text[16384];
	struct sheet s = {text, 0, sizeof(text)};
	struct arena arena = {0};
	struct redis_url u, again;

	if (size > 2048)
		return 0;
	char *exact = exact_copy(data, size);
	const char *why = redis_url_parse(&arena, (struct str){exact, size}, &u);
	free(exact); /* nothing may point into what was handed in */
	if (why) {
		promise(*why && strlen(why) < 200);
	} else {
		check_place(&u);
		write_url(&s, &u);
		promise(redis_url_parse(&arena, sheet_text(&s), &again) == NULL);
		promise(again.is_unix == u.is_unix && again.port == u.port && again.db == u.db);
		promise(str_eq(again.host, u.host) && str_eq(again.username, u.username));
		promise(str_eq(again.password, u.password));
	}
	arena_free(&arena);
	return 0;
}
