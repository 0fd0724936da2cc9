/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a query for the log: inside of a JSON string, never longer than its room; and a secret that
 * stands in it under a redacted name is not there afterwards, however the name is spelled and whatever is
 * around it.
 *
 * Input: a line of spellings (a byte for each of the name's letters: as it is, upper case, escaped once,
 * twice), a line in front of the parameter, then what is behind it.
 */
#include "proxy/query_redact.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/json_read.h"

enum { QUERY_MOST = 2048, OUT_MOST = 16 * QUERY_MOST };

static const struct str words[] = {STR("token"), STR("api-key"), STR("code")};
static const struct str secret = STR("QQ5ecretQQ");

static void spell(struct sheet *s, struct str name, struct str how)
{
	for (size_t i = 0; i < name.n; i++) {
		unsigned c = (unsigned char)name.p[i], k = how.n ? (unsigned char)how.p[i % how.n] % 4 : 0;
		char text[8];
		int n = k == 0	 ? snprintf(text, sizeof(text), "%c", (int)c)
			: k == 1 ? snprintf(text, sizeof(text), "%c",
					    c >= 'a' && c <= 'z' ? (int)(c - 32) : (int)c)
			: k == 2 ? snprintf(text, sizeof(text), "%%%02x", c)
				 : snprintf(text, sizeof(text), "%%25%02X", c);
		sheet_bytes(s, text, (size_t)n);
	}
}

/* Into just that much room: what comes out is sound, and ends in the mark when it was cut. */
static size_t redact(struct str query, size_t room, char *out)
{
	char *exact = exact_copy(query.p, query.n), *buf = malloc(room);

	promise(buf != NULL);
	char *end = query_redact(buf, buf + room, (struct str){exact, query.n}, words, 3);
	promise(end >= buf && end <= buf + room);
	size_t n = (size_t)(end - buf);
	promise(json_inside((struct str){buf, n}));
	memcpy(out, buf, n);
	free(exact);
	free(buf);
	return n;
}

static void check_room(struct str query)
{
	static char full[OUT_MOST], part[OUT_MOST];
	size_t n = redact(query, 6 * query.n + 16 + 3 * query.n, full);

	for (size_t room = 3; room < n + 3 && room < 64; room++) {
		size_t m = redact(query, room, part);
		if (m >= 3 && memcmp(part + m - 3, "...", 3) == 0 && !(m == n && memcmp(part, full, n) == 0))
			promise(m - 3 <= n && memcmp(part, full, m - 3) == 0);
		else
			promise(m == n && memcmp(part, full, n) == 0);
	}
}

static void check_secret(struct str front, struct str name, struct str spelling, struct str back)
{
	static char text[4 * QUERY_MOST], out[6 * sizeof(text) + 64];
	struct sheet s = {text, 0, sizeof(text)};

	sheet_str(&s, front);
	sheet_bytes(&s, "&", 1);
	spell(&s, name, spelling);
	sheet_bytes(&s, "=", 1);
	sheet_str(&s, secret);
	sheet_bytes(&s, "&", 1);
	sheet_str(&s, back);
	size_t n = redact(sheet_text(&s), 6 * s.n + 16, out);
	promise(!memmem(out, n, secret.p, secret.n));
	/* Behind a `;` it may belong to the parameter before it, and is as secret. */
	s.n = 0;
	spell(&s, name, spelling);
	sheet_str(&s, STR("=x;y="));
	sheet_str(&s, secret);
	n = redact(sheet_text(&s), 6 * s.n + 16, out);
	promise(!memmem(out, n, secret.p, secret.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct feed f = feed_of(data, size);

	if (size > QUERY_MOST)
		return 0;
	struct str spelling = feed_until(&f, '\n'), front = feed_until(&f, '\n'), back = feed_rest(&f);
	check_room(front);
	check_room(back);
	if (memmem(data, size, secret.p, secret.n))
		return 0;
	for (unsigned i = 0; i < 3; i++)
		check_secret(front, words[i], spelling, back);
	query_redact_word_check(front);
	return 0;
}
