/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a Set-Cookie, and what browsers make of the lines that come out, by a second reading of RFC
 * 6265bis, 5.6: the same cookie for the shared domain, once, of the origin's own bytes and weir's constants
 * alone; and a line that was rewritten stays as it is when it is rewritten again.
 *
 * Input: a letter for the rules (b: host-only twins are retired as well), one for the host, then the value.
 */
#include "proxy/cookie.h"
#include "tests/fuzz/fuzz.h"

#define NOW ((wall_t)1795332000 * USEC_PER_SEC)

enum { VALUE_MOST = 4096, LINE_MOST = 2 * VALUE_MOST };

static const struct cookie_rule share[] = {
	{{"session", 7}, COOKIE_FLAG_ON, COOKIE_FLAG_ON, COOKIE_SAME_SITE_LAX},
	{{"a*b*c", 5}, COOKIE_FLAG_LEAVE, COOKIE_FLAG_LEAVE, COOKIE_SAME_SITE_NONE_SET},
	{{"*", 1}, COOKIE_FLAG_ON, COOKIE_FLAG_LEAVE, COOKIE_SAME_SITE_STRICT},
};

/* ---- a browser ---- */

struct jar {
	struct str name, value, domain, path, max_age, expires, same_site;
	bool secure, http_only, partitioned;
	unsigned domains;
	unsigned cuts; /* of Domain, Max-Age and Expires together */
};

/* A word in front of `end`, trimmed; what is behind it stays in *s. */
static struct str take(struct str *s, char end)
{
	const char *at = s->n ? memchr(s->p, end, s->n) : NULL;
	struct str word = {s->p, at ? (size_t)(at - s->p) : s->n};

	s->p += word.n + (at != NULL);
	s->n -= word.n + (at != NULL);
	return word;
}

static bool is_number(struct str s)
{
	size_t digits = 0;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] >= '0' && s.p[i] <= '9')
			digits++;
		else if (s.p[i] != '-' || i > 0)
			return false;
	}
	return digits > 0;
}

static void take_attribute(struct jar *j, struct str name, struct str value)
{
	int64_t seconds;

	if (value.n > 1024)
		return;
	j->cuts += str_ieq(name, STR("domain")) || str_ieq(name, STR("max-age")) ||
		   str_ieq(name, STR("expires"));
	if (str_ieq(name, STR("domain"))) {
		j->domains++;
		if (value.n && value.p[0] == '.')
			value.p++, value.n--;
		if (value.n)
			j->domain = value;
	} else if (str_ieq(name, STR("path"))) {
		j->path = value;
	} else if (str_ieq(name, STR("max-age")) && is_number(value)) {
		j->max_age = value;
	} else if (str_ieq(name, STR("expires")) && cookie_date(value, &seconds)) {
		j->expires = value;
	} else if (str_ieq(name, STR("samesite"))) {
		j->same_site = value;
	}
	j->secure |= str_ieq(name, STR("secure"));
	j->http_only |= str_ieq(name, STR("httponly"));
	j->partitioned |= str_ieq(name, STR("partitioned"));
}

static void read_line(struct str line, struct jar *j)
{
	*j = (struct jar){.domains = 0};
	struct str pair = take(&line, ';');
	j->name = str_trim(take(&pair, '='));
	j->value = str_trim(pair);
	while (line.n) {
		struct str value = take(&line, ';'), name = take(&value, '=');
		take_attribute(j, str_trim(name), str_trim(value));
	}
}

static bool known_same_site(struct str s)
{
	return str_ieq(s, STR("strict")) || str_ieq(s, STR("lax")) || str_ieq(s, STR("none"));
}

/* ---- what must hold ---- */

/* Every byte that goes out is the origin's of this cookie, the config's, or one of a few constants. */
static void check_part(struct str part, struct str in, struct str domain)
{
	static const struct str constants[] = {
		STR("="),
		STR("; Domain="),
		STR("; Secure"),
		STR("; HttpOnly"),
		STR("; SameSite=Strict"),
		STR("; SameSite=Lax"),
		STR("; SameSite=None"),
		STR("; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"),
	};

	if (part.p >= in.p && part.p <= in.p + in.n) {
		promise(part.n <= (size_t)(in.p + in.n - part.p));
		return;
	}
	if (str_eq(part, domain))
		return;
	for (size_t i = 0; i < sizeof(constants) / sizeof(constants[0]); i++)
		if (str_eq(part, constants[i]))
			return;
	promise(!"a part that is neither the origin's nor ours");
}

static struct str join(const struct cookie_out *out, struct str in, struct str domain, char *text)
{
	struct sheet s = {text, 0, LINE_MOST};

	promise(out->parts > 0 && out->parts <= COOKIE_PARTS);
	for (unsigned k = 0; k < out->parts; k++) {
		promise(out->part[k].n > 0);
		check_part(out->part[k], in, domain);
		sheet_str(&s, out->part[k]);
	}
	promise(s.n == out->n);
	for (size_t i = 0; i < s.n; i++)
		promise((unsigned char)text[i] >= ' ' || text[i] == '\t');
	return sheet_text(&s);
}

/* The last line is the cookie itself, for all hosts below the domain. */
static void check_shared(const struct jar *was, const struct jar *is, struct str domain)
{
	promise(is->domains == 1 && str_eq(is->domain, domain));
	promise(str_eq(is->name, was->name) && str_eq(is->value, was->value));
	promise(str_eq(is->path, was->path) && is->partitioned == was->partitioned);
	promise(str_eq(is->max_age, was->max_age) && str_eq(is->expires, was->expires));
	promise(is->secure >= was->secure && is->http_only >= was->http_only);
	if (known_same_site(was->same_site))
		promise(str_eq(is->same_site, was->same_site));
	else
		promise(known_same_site(is->same_site) || str_eq(is->same_site, was->same_site));
}

/* The lines before it are the host-only twin, or the one of the origin's own domain below ours. */
static void check_twin(const struct jar *was, const struct jar *is, bool first)
{
	promise(str_eq(is->name, was->name) && str_eq(is->path, was->path));
	promise(is->partitioned == was->partitioned);
	promise(is->domains == (first ? 0 : 1) && (first || str_eq(is->domain, was->domain)));
}

static void check_again(const struct cookie_rules *rules, struct str host, struct str line,
			const struct jar *once, unsigned lines)
{
	static char text[2][LINE_MOST];
	struct cookie_out out[COOKIE_OUT_MAX];
	struct jar twice;

	unsigned n = cookie_rewrite(rules, host, line, NOW, out);
	promise(n <= lines && (n == 0) == (once->cuts > COOKIE_CUTS));
	if (n == 0)
		return;
	struct str second = join(&out[n - 1], line, rules->domain, text[0]);
	read_line(second, &twice);
	check_shared(once, &twice, rules->domain);
	promise(twice.secure == once->secure && twice.http_only == once->http_only);
	promise(str_eq(twice.same_site, once->same_site));
	/* From then on not a byte changes. */
	n = cookie_rewrite(rules, host, second, NOW, out);
	promise(n > 0 && str_eq(join(&out[n - 1], second, rules->domain, text[1]), second));
}

static void check_lines(const struct cookie_rules *rules, struct str host, struct str in,
			const struct cookie_out *out, unsigned lines)
{
	static char text[LINE_MOST];
	struct jar was, is;
	struct str line = STR_NONE;

	read_line(in, &was);
	promise(!was.domain.n || (was.domain.p[0] != '.' && !memmem(was.domain.p, was.domain.n, "..", 2)));
	for (unsigned i = 0; i < lines; i++) {
		line = join(&out[i], in, rules->domain, text);
		read_line(line, &is);
		if (i + 1 < lines)
			check_twin(&was, &is, i == 0);
	}
	check_shared(&was, &is, rules->domain);
	check_again(rules, host, line, &is, lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cookie_rules rules = {{"example.com", 11}, share, 3, false};
	struct cookie_out out[COOKIE_OUT_MAX];
	struct feed f = feed_of(data, size);
	int64_t seconds;

	rules.retire_host_only = feed_byte(&f) == 'b';
	struct str host = feed_byte(&f) == 'e' ? STR("example.com") : STR("API.Example.Com.");
	struct str value = feed_rest(&f);
	if (!value.n || value.n > VALUE_MOST)
		return 0;
	char *exact = exact_copy(value.p, value.n);
	struct str in = {exact, value.n};
	unsigned lines = cookie_rewrite(&rules, host, in, NOW, out);
	promise(lines <= COOKIE_OUT_MAX);
	if (lines)
		check_lines(&rules, host, in, out, lines);
	if (cookie_date(in, &seconds))
		promise(seconds >= -11644473600 && seconds <= 253402300799);
	cookie_rewrite(&rules, in, STR("session=1"), NOW, out);
	cookie_domain_check(in);
	free(exact);
	return 0;
}
