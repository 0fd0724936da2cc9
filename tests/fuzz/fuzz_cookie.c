/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as a Set-Cookie, and what browsers would make of the lines that come out: the same cookie for the
 * shared domain, once, and nothing that another implementation would read as a different name.
 */
#include <stdlib.h>

#include "proxy/cookie.h"

#define NOW ((wall_t)1795332000 * USEC_PER_SEC)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* A second reading, as plain as can be: the last Domain that is not empty, and how many there are. */
static unsigned count_domains(struct str line, struct str *last)
{
	unsigned found = 0;
	*last = STR_NONE;
	const char *p = memchr(line.p, ';', line.n), *end = line.p + line.n;
	while (p) {
		const char *next = memchr(p + 1, ';', (size_t)(end - p) - 1);
		struct str a = {p + 1, (size_t)((next ? next : end) - p) - 1}, v = STR_NONE;
		const char *equals = memchr(a.p, '=', a.n);
		if (equals) {
			v = str_trim((struct str){equals + 1, (size_t)(a.p + a.n - equals) - 1});
			a.n = (size_t)(equals - a.p);
		}
		if (str_ieq(str_trim(a), STR("domain")) && v.n <= 1024) {
			found++;
			*last = v.n ? v : *last;
		}
		p = next;
	}
	return found;
}

static struct str name_of(struct str line)
{
	const char *equals = memchr(line.p, '=', line.n);
	check(equals != NULL);
	return str_trim((struct str){line.p, (size_t)(equals - line.p)});
}

static void check_lines(struct str in, const struct cookie_out *out, unsigned lines)
{
	static char text[1 << 17];
	for (unsigned i = 0; i < lines; i++) {
		struct str line = {text, 0}, domain;
		check(out[i].parts <= COOKIE_PARTS && out[i].n < sizeof(text));
		for (unsigned k = 0; k < out[i].parts; k++) {
			memcpy(text + line.n, out[i].part[k].p, out[i].part[k].n);
			line.n += out[i].part[k].n;
		}
		check(line.n == out[i].n);
		check(str_eq(name_of(line), name_of(in)));
		unsigned domains = count_domains(line, &domain);
		if (i == 0 && lines > 1)
			check(domains == 0);
		else
			check(domains == 1);
		if (i == lines - 1)
			check(str_eq(domain, STR("example.com")));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct cookie_rule share[] = {
		{{"session", 7}, COOKIE_FLAG_ON, COOKIE_FLAG_ON, COOKIE_SAME_SITE_LAX},
		{{"a*b*c", 5}, COOKIE_FLAG_LEAVE, COOKIE_FLAG_LEAVE, COOKIE_SAME_SITE_NONE_SET},
		{{"*", 1}, COOKIE_FLAG_ON, COOKIE_FLAG_LEAVE, COOKIE_SAME_SITE_STRICT},
	};
	struct cookie_rules rules = {{"example.com", 11}, share, 3, false};
	struct cookie_out out[COOKIE_OUT_MAX];
	int64_t seconds;

	if (!size || size > 1 << 16)
		return 0;
	struct str in = {(const char *)data + 1, size - 1};
	rules.retire_host_only = data[0] & 1;
	struct str host = data[0] & 2 ? STR("example.com") : STR("API.Example.Com.");
	unsigned lines = cookie_rewrite(&rules, host, in, NOW, out);
	check(lines <= COOKIE_OUT_MAX);
	check_lines(in, out, lines);
	if (cookie_date(in, &seconds))
		check(seconds >= -11644473600 && seconds <= 253402300799);
	cookie_rewrite(&rules, in, STR("session=1"), NOW, out);
	cookie_domain_check(in);
	return 0;
}
