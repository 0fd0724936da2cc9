/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as an Origin, as an origin of the config and as the names that a preflight asks for: who is let
 * in is below a listed host by a plain comparison of texts, and no header line is made that was not meant.
 *
 * Input: a line that is the origin, a line that is one of the config's, then Access-Control-Request-Headers.
 */
#include "proxy/cors.h"
#include "tests/fuzz/fuzz.h"

enum { ORIGIN_MOST = 512 };

/* In lower case, the scheme's own port taken off. */
static struct str plain(struct str s, char *out)
{
	for (size_t i = 0; i < s.n; i++)
		out[i] = (char)ascii_lower((unsigned char)s.p[i]);
	struct str own = s.n > 8 && memcmp(out, "https://", 8) == 0 ? STR(":443") : STR(":80");
	if (s.n > own.n && memcmp(out + s.n - own.n, own.p, own.n) == 0)
		s.n -= own.n;
	return (struct str){out, s.n};
}

static bool ends_with(struct str s, struct str end)
{
	return s.n >= end.n && memcmp(s.p + s.n - end.n, end.p, end.n) == 0;
}

/* What may be let in by the fixed list of the target. */
static bool expected(struct str origin)
{
	char text[ORIGIN_MOST];
	struct str s = plain(origin, text);

	if (str_eq(s, STR("http://localhost:3000")) || str_eq(s, STR("https://app.example.org")) ||
	    str_eq(s, STR("http://[::1]:8080")))
		return true;
	return s.n > 20 && memcmp(s.p, "https://", 8) == 0 && ends_with(s, STR(".example.com"));
}

static void check_allowed(struct str origin)
{
	for (size_t i = 0; i < origin.n; i++)
		promise(origin.p[i] > ' ' && origin.p[i] < 0x7f &&
			!strchr("/@?#\\%,;\"'<>", origin.p[i]) == (i < 5 || i > 7 || origin.p[i] != '/'));
}

/* Line by line: a known name, a value without control bytes, CRLF. */
static void check_lines(struct str lines, struct str origin)
{
	static const struct str names[] = {
		STR("Access-Control-Allow-Origin"),
		STR("Access-Control-Allow-Credentials"),
		STR("Access-Control-Expose-Headers"),
		STR("Access-Control-Allow-Methods"),
		STR("Access-Control-Max-Age"),
		STR("Access-Control-Allow-Headers"),
		STR("Vary"),
	};
	unsigned seen = 0;

	while (lines.n) {
		const char *colon = memchr(lines.p, ':', lines.n), *cr = memchr(lines.p, '\r', lines.n);
		promise(colon && cr && colon < cr && cr + 1 < lines.p + lines.n && cr[1] == '\n');
		struct str name = {lines.p, (size_t)(colon - lines.p)};
		struct str value = {colon + 1, (size_t)(cr - colon - 1)};
		bool known = false;
		for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
			if (!str_eq(name, names[i]))
				continue;
			promise(!(seen >> i & 1));
			seen |= 1u << i;
			known = true;
		}
		promise(known);
		for (size_t i = 0; i < value.n; i++)
			promise((unsigned char)value.p[i] >= ' ' || value.p[i] == '\t');
		if (str_eq(name, names[0]))
			promise(str_eq(str_trim(value), origin));
		lines.n -= (size_t)(cr + 2 - lines.p);
		lines.p = cr + 2;
	}
	promise(seen >> 6 & 1 && (seen & 1) == (origin.n > 0));
}

static void check_headers(struct str origin, bool preflight, struct str names)
{
	char *out = malloc(CORS_HEADERS_MAX + origin.n);

	promise(out != NULL);
	size_t n = cors_headers(out, CORS_HEADERS_MAX + origin.n, origin, preflight, names);
	promise(n > 0 && n <= CORS_HEADERS_MAX + origin.n);
	check_lines((struct str){out, n}, origin);
	for (size_t cap = n > 8 ? n - 8 : 0; cap < n; cap++) {
		char *small = exact_copy(out, cap);
		promise(cors_headers(small, cap, origin, preflight, names) == 0);
		free(small);
	}
	free(out);
}

/* An origin of the config lets itself in, or as a wildcard a host below it, and not the bare host. */
static void check_config(struct str text)
{
	struct cors_origin rule;
	char below[ORIGIN_MOST + 8];
	const char *star;

	if (cors_origin_check(text, &rule))
		return;
	if (!rule.wildcard) {
		promise(cors_allows(&rule, 1, text));
		return;
	}
	promise(rule.host.n > 0 && rule.port > 0);
	star = memchr(text.p, '*', text.n);
	promise(star != NULL);
	size_t at = (size_t)(star - text.p);
	struct sheet s = {below, 0, sizeof(below)};
	sheet_bytes(&s, text.p, at);
	sheet_bytes(&s, "a", 1);
	sheet_bytes(&s, star + 1, text.n - at - 1);
	promise(rule.host.n > 250 || cors_allows(&rule, 1, sheet_text(&s)));
	s.n = at;
	sheet_bytes(&s, star + 2, text.n - at - 2);
	promise(!cors_allows(&rule, 1, sheet_text(&s)));
}

static const struct cors_origin *list(unsigned *n)
{
	static const char *const texts[] = {"https://*.example.com", "http://localhost:3000",
					    "https://app.example.org", "http://[::1]:8080"};
	static struct cors_origin rules[4];

	*n = 4;
	for (unsigned i = 0; i < 4; i++)
		promise(cors_origin_check(str_of(texts[i]), &rules[i]) == NULL);
	return rules;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct feed f = feed_of(data, size);
	unsigned n;
	const struct cors_origin *rules = list(&n);

	struct str origin = feed_until(&f, '\n'), config = feed_until(&f, '\n'), names = feed_rest(&f);
	if (origin.n > ORIGIN_MOST || config.n > ORIGIN_MOST || names.n > 2048)
		return 0;
	char *exact = exact_copy(origin.p, origin.n);
	bool allowed = cors_allows(rules, n, (struct str){exact, origin.n});
	free(exact);
	if (allowed) {
		promise(expected(origin));
		check_allowed(origin);
	}
	check_headers(allowed ? origin : STR_NONE, false, names);
	check_headers(allowed ? origin : STR_NONE, true, names);
	check_config(config);
	return 0;
}
