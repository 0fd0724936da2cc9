/* SPDX-License-Identifier: MIT */
/*
 * Any path against rules, and what an origin may make of it: whatever chain of decoding, resolving and
 * cutting the input asks for, the rule that the outcome falls under is among those that were met; and a rule
 * is told as met in every reading only if it is in this one too. The steps are written apart from the ones
 * under test.
 *
 * Input: a line of steps (letters of the table below), then the path.
 */
#include "acl/path_rules.h"
#include "tests/fuzz/fuzz.h"

enum { PATH_MOST = 1024, DECODINGS = 2, STEPS_MOST = 12 };

static const char *const prefixes[] = {"/",	  "/api/", "/api/admin/", "/Secret",
				       "/a.b/~c", "/kiss", "/x/y/z",	  "/@team/$x"};
enum { PREFIXES = sizeof(prefixes) / sizeof(prefixes[0]) };

static struct path_rules *rules(void)
{
	static struct path_rules *r;
	const char *why;

	if (r)
		return r;
	r = path_rules_new();
	for (unsigned i = 0; i < PREFIXES; i++)
		promise(path_rules_add(r, str_of(prefixes[i]), i, &why));
	return r;
}

/* ---- what programs behind weir do ---- */

struct text {
	unsigned char p[PATH_MOST + 1]; /* a NUL stands behind it */
	size_t n;
	unsigned decodings;
};

static int hex(int c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

static bool unreserved(int c)
{
	return c < 0x80 && c &&
	       strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~", c);
}

static bool no_shape(int c)
{
	return c >= 0x20 && !strchr("/\\;?#%", c);
}

static bool every(int c)
{
	return c >= 0;
}

static void unescape(struct text *t, bool (*which)(int))
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++) {
		int c = t->p[i];
		if (c == '%' && i + 2 < t->n && hex(t->p[i + 1]) >= 0 && hex(t->p[i + 2]) >= 0 &&
		    which(hex(t->p[i + 1]) * 16 + hex(t->p[i + 2]))) {
			c = hex(t->p[i + 1]) * 16 + hex(t->p[i + 2]);
			i += 2;
		}
		t->p[n++] = (unsigned char)c;
	}
	t->n = n;
}

static void step_decode(struct text *t)
{
	if (t->decodings++ < DECODINGS)
		unescape(t, every);
}

static void step_decode_unreserved(struct text *t)
{
	if (t->decodings < DECODINGS)
		unescape(t, unreserved);
}

static void step_decode_content(struct text *t)
{
	if (t->decodings < DECODINGS)
		unescape(t, no_shape);
}

/* Segment by segment, over an output that starts with the slash of each. */
static void step_dots(struct text *t)
{
	unsigned char out[PATH_MOST + 2];
	size_t n = 0, i = 0;

	while (i < t->n) {
		size_t from = ++i; /* behind the slash */
		while (i < t->n && t->p[i] != '/')
			i++;
		size_t len = i - from;
		bool one = len == 1 && t->p[from] == '.';
		bool two = len == 2 && t->p[from] == '.' && t->p[from + 1] == '.';
		if (two) {
			while (n > 0 && out[n - 1] != '/')
				n--;
			n -= n > 0;
		}
		if (!one && !two) {
			out[n++] = '/';
			memcpy(out + n, t->p + from, len);
			n += len;
		} else if (i == t->n) {
			out[n++] = '/';
		}
	}
	if (n == 0)
		out[n++] = '/';
	memcpy(t->p, out, n);
	t->n = n;
}

static void step_slashes(struct text *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++)
		if (i == 0 || t->p[i] != '/' || t->p[i - 1] != '/')
			t->p[n++] = t->p[i];
	t->n = n;
}

static void step_backslashes(struct text *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->p[i] == '\\')
			t->p[i] = '/';
}

static void step_params(struct text *t)
{
	size_t n = 0, i = 0;

	while (i < t->n) {
		if (t->p[i] == ';')
			while (i < t->n && t->p[i] != '/')
				i++;
		else
			t->p[n++] = t->p[i++];
	}
	t->n = n;
}

static void cut(struct text *t, int c)
{
	const unsigned char *at = memchr(t->p, c, t->n);

	if (at)
		t->n = (size_t)(at - t->p);
}

static void step_cut_semicolon(struct text *t)
{
	cut(t, ';');
}

static void step_cut_query(struct text *t)
{
	cut(t, '?');
}

static void step_cut_hash(struct text *t)
{
	cut(t, '#');
}

static void step_cut_nul(struct text *t)
{
	cut(t, 0);
}

static void step_authority(struct text *t)
{
	size_t i = 0;

	if (t->n < 2 || t->p[1] != '/')
		return;
	while (i < t->n && t->p[i] == '/')
		i++;
	while (i < t->n && t->p[i] != '/')
		i++;
	if (i == t->n) {
		t->n = 1;
		return;
	}
	memmove(t->p, t->p + i, t->n - i);
	t->n -= i;
}

/* Two-byte forms of ASCII, as a lenient decoder of UTF-8 takes them. */
static void step_overlong(struct text *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n; i++) {
		if ((t->p[i] == 0xc0 || t->p[i] == 0xc1) && i + 1 < t->n && (t->p[i + 1] & 0xc0) == 0x80) {
			t->p[n++] = (unsigned char)((t->p[i] & 1) << 6 | (t->p[i + 1] & 0x3f));
			i++;
		} else {
			t->p[n++] = t->p[i];
		}
	}
	t->n = n;
}

static const struct {
	char letter;
	void (*run)(struct text *);
} steps[] = {
	{'d', step_decode},   {'u', step_decode_unreserved}, {'o', step_decode_content},
	{'r', step_dots},     {'m', step_slashes},	     {'b', step_backslashes},
	{'p', step_params},   {';', step_cut_semicolon},     {'?', step_cut_query},
	{'#', step_cut_hash}, {'0', step_cut_nul},	     {'a', step_authority},
	{'O', step_overlong},
};

/* ---- rules, one after the other ---- */

static bool falls_under(const struct text *t, const char *prefix, bool blind)
{
	struct str p = str_of(prefix);

	if (p.p[p.n - 1] == '/')
		p.n--;
	struct str front = {(const char *)t->p, p.n};
	return t->n >= p.n && (blind ? str_ieq(front, p) : str_eq(front, p)) &&
	       (t->n == p.n || t->p[p.n] == '/');
}

static uint64_t longest(const struct text *t, bool blind)
{
	uint64_t found = 0;
	size_t most = 0;

	for (unsigned i = 0; i < PREFIXES; i++) {
		if (falls_under(t, prefixes[i], blind) && strlen(prefixes[i]) > most) {
			most = strlen(prefixes[i]);
			found = (uint64_t)1 << i;
		}
	}
	return found;
}

static void run(struct text *t, struct str letters)
{
	for (size_t i = 0; i < letters.n && i < STEPS_MOST; i++)
		for (size_t s = 0; s < sizeof(steps) / sizeof(steps[0]); s++)
			if (letters.p[i] == steps[s].letter)
				steps[s].run(t);
}

static void check_reading(const struct path_match *m, struct str path, struct str letters)
{
	struct text t = {.n = path.n};

	memcpy(t.p, path.p, path.n);
	run(&t, letters);
	uint64_t exact = longest(&t, false), blind = longest(&t, true);
	promise((exact & m->any) == exact);
	promise((blind & m->any) == blind);
	promise((m->all & exact) == m->all && (m->all & blind) == m->all);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Of programs known to do so: nginx, Tomcat, IIS, proxies in front of proxies, URL parsers. */
	static const char *const usual[] = {"",	 "dmr", "pdr", "dprm", "dbrdbr", "dmrdmr",
					    "a", "ur",	"d;",  "dd0",  "da?#"};
	struct feed f = feed_of(data, size);
	struct path_match m, again;
	const char *why = NULL;

	struct str letters = feed_until(&f, '\n');
	struct str path = feed_rest(&f);
	if (path.n == 0 || path.n > PATH_MOST)
		return 0;
	char *exact = exact_copy(path.p, path.n);
	enum path_status status = path_rules_match(rules(), (struct str){exact, path.n}, &m, &why);
	if (status == PATH_READ) {
		promise(m.readings >= 1 && m.readings <= PATH_RULES_READINGS_MAX);
		promise((m.all & m.any) == m.all && m.any < (uint64_t)1 << PREFIXES);
		check_reading(&m, path, letters);
		for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
			check_reading(&m, path, str_of(usual[i]));
		promise(path_rules_match(rules(), path, &again, &why) == PATH_READ);
		promise(again.any == m.any && again.all == m.all);
	} else {
		promise(why && m.any == 0 && m.all == 0);
	}
	free(exact);
	return 0;
}
