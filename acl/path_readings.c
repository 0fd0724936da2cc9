/* SPDX-License-Identifier: MIT */
#include "acl/path_readings.h"

#include <string.h>

/* What a reading holds that some step acts upon. */
enum {
	HAS_ESCAPE = 1 << 0, /* a percent sign */
	HAS_BACKSLASH = 1 << 1,
	HAS_SEMICOLON = 1 << 2,
	HAS_QUERY = 1 << 3, /* ? */
	HAS_HASH = 1 << 4,  /* # */
	HAS_NUL = 1 << 5,
	HAS_HIGH = 1 << 6,    /* a byte beyond ASCII */
	HAS_DOUBLE = 1 << 7,  /* two slashes */
	HAS_DOT = 1 << 8,     /* a segment that starts with a dot */
	HAS_NETWORK = 1 << 9, /* two slashes at the very start */
};

#define DECODED_MAX 2

/* ---- plain paths ---- */

enum { ODD = 1, SLASH = 2, AFTER_SLASH = 4 /* is odd behind a slash */ };

static const uint8_t classes[256] = {
	[0 ... ' '] = ODD,   [0x7f ... 0xff] = ODD, ['A' ... 'Z'] = ODD,
	['%'] = ODD,	     ['\\'] = ODD,	    [';'] = ODD,
	['?'] = ODD,	     ['#'] = ODD,	    ['/'] = SLASH | AFTER_SLASH,
	['.'] = AFTER_SLASH,
};

bool path_is_plain(struct str path)
{
	unsigned odd = 0, before = 0;
	for (size_t i = 0; i < path.n; i++) {
		unsigned c = classes[(unsigned char)path.p[i]];
		odd |= (c & ODD) | (before & SLASH && c & AFTER_SLASH);
		before = c;
	}
	return !odd;
}

/* ---- escapes ---- */

static int hex_digit(char c)
{
	if ((unsigned char)(c - '0') < 10)
		return c - '0';
	unsigned char l = ascii_lower((unsigned char)c);
	return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

/* The byte that an escape at i stands for, or -1 when there is none. */
static int escaped_byte(struct str s, size_t i)
{
	if (s.p[i] != '%' || s.n - i < 3)
		return -1;
	int high = hex_digit(s.p[i + 1]), low = hex_digit(s.p[i + 2]);
	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static bool is_unreserved(int c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
	       c == '.' || c == '_' || c == '~';
}

/* What does not shape a path: programs that split it first and decode the segments decode these alike. */
static bool is_content(int c)
{
	return c >= ' ' && !strchr("/\\;?#%", c);
}

static bool is_any(int c)
{
	(void)c;
	return true;
}

/* What is no escape is left as it is: a percent sign that came out of the first decoding may be just that. */
static size_t decode_some(struct str in, char *out, bool (*wanted)(int))
{
	size_t n = 0;
	for (size_t i = 0; i < in.n; i++) {
		int c = escaped_byte(in, i);
		if (c >= 0 && wanted(c)) {
			out[n++] = (char)c;
			i += 2;
		} else {
			out[n++] = in.p[i];
		}
	}
	return n;
}

static size_t decode_unreserved(struct str in, char *out)
{
	return decode_some(in, out, is_unreserved);
}

static size_t decode_content(struct str in, char *out)
{
	return decode_some(in, out, is_content);
}

static size_t decode_all(struct str in, char *out)
{
	return decode_some(in, out, is_any);
}

/* ---- the steps that write a new text, never a longer one ---- */

static size_t resolve_dots(struct str in, char *out)
{
	const char *p = in.p + 1, *end = in.p + in.n;
	size_t n = 0;
	for (bool last = false; !last;) {
		const char *slash = memchr(p, '/', (size_t)(end - p));
		last = !slash;
		struct str segment = {p, (size_t)((last ? end : slash) - p)};
		bool dot = str_eq(segment, STR(".")), dots = str_eq(segment, STR(".."));
		if (dots)
			while (n > 0 && out[--n] != '/')
				;
		if ((dot || dots) ? last : true)
			out[n++] = '/';
		if (!dot && !dots) {
			memcpy(out + n, segment.p, segment.n);
			n += segment.n;
		}
		p += segment.n + !last;
	}
	if (n == 0)
		out[n++] = '/';
	return n;
}

static size_t merge_slashes(struct str in, char *out)
{
	size_t n = 0;
	for (size_t i = 0; i < in.n; i++)
		if (in.p[i] != '/' || n == 0 || out[n - 1] != '/')
			out[n++] = in.p[i];
	return n;
}

static size_t turn_backslashes(struct str in, char *out)
{
	for (size_t i = 0; i < in.n; i++)
		out[i] = in.p[i] == '\\' ? '/' : in.p[i];
	return in.n;
}

static size_t cut_params(struct str in, char *out)
{
	size_t n = 0;
	bool inside = false;
	for (size_t i = 0; i < in.n; i++) {
		inside = in.p[i] == ';' || (inside && in.p[i] != '/');
		if (!inside)
			out[n++] = in.p[i];
	}
	return n;
}

static bool continues(struct str s, size_t i)
{
	return i < s.n && ((unsigned char)s.p[i] & 0xc0) == 0x80;
}

/* The length of an ASCII character that is written in more bytes than UTF-8 allows, and *c; or 0. */
static size_t overlong(struct str s, size_t i, char *c)
{
	size_t lead = i;
	unsigned char first = (unsigned char)s.p[i];
	if (first == 0xf0 && continues(s, i + 1) && (unsigned char)s.p[i + 1] == 0x80)
		lead = i + 1;
	if ((first == 0xe0 || lead > i) && continues(s, lead + 1) && (unsigned char)s.p[lead + 1] <= 0x81)
		lead++;
	else if (first != 0xc0 && first != 0xc1)
		return 0;
	if (!continues(s, lead + 1))
		return 0;
	*c = (char)(((unsigned char)s.p[lead] & 1) << 6 | ((unsigned char)s.p[lead + 1] & 0x3f));
	return lead + 2 - i;
}

/* The length of a letter beyond ASCII that another case turns into one of ASCII, and *c; or 0. */
static size_t ascii_case(struct str s, size_t i, char *c)
{
	static const struct {
		struct str text;
		char letter;
	} rows[] = {
		{STR("\u017f"), 's'}, /* long s */
		{STR("\u0131"), 'i'}, /* i without a dot */
		{STR("\u0130"), 'i'}, /* I with one */
		{STR("\u212a"), 'k'}, /* the kelvin sign */
	};
	for (unsigned r = 0; r < sizeof(rows) / sizeof(*rows); r++) {
		size_t n = rows[r].text.n;
		if (s.n - i >= n && memcmp(s.p + i, rows[r].text.p, n) == 0) {
			*c = rows[r].letter;
			return n;
		}
	}
	return 0;
}

static size_t to_ascii(struct str in, char *out)
{
	size_t n = 0;
	for (size_t i = 0; i < in.n;) {
		size_t taken = 0;
		if ((unsigned char)in.p[i] >= 0x80 && !(taken = overlong(in, i, out + n)))
			taken = ascii_case(in, i, out + n);
		if (!taken) {
			out[n] = in.p[i];
			taken = 1;
		}
		i += taken;
		n++;
	}
	return n;
}

/* ---- the steps that take a part of the text ---- */

static struct str cut_at(struct str s, char c)
{
	const char *at = memchr(s.p, c, s.n);
	return at ? (struct str){s.p, (size_t)(at - s.p)} : s;
}

static struct str cut_semicolon(struct str s)
{
	return cut_at(s, ';');
}

static struct str cut_query(struct str s)
{
	return cut_at(s, '?');
}

static struct str cut_hash(struct str s)
{
	return cut_at(s, '#');
}

static struct str cut_nul(struct str s)
{
	return cut_at(s, '\0');
}

/* RFC 3986, 4.2: a reference that starts with two slashes names an authority; URL parsers skip further
 * slashes. */
static struct str skip_authority(struct str s)
{
	size_t i = 0;
	while (i < s.n && s.p[i] == '/')
		i++;
	const char *slash = memchr(s.p + i, '/', s.n - i);
	return slash ? (struct str){slash, (size_t)(s.p + s.n - slash)} : STR("/");
}

static const struct step {
	uint16_t needs;
	uint8_t decoded_max; /* later it would be a further decoding */
	size_t (*rewrite)(struct str in, char *out);
	struct str (*part)(struct str);
} steps[] = {
	{HAS_ESCAPE, DECODED_MAX - 1, decode_unreserved, NULL},
	{HAS_ESCAPE, DECODED_MAX - 1, decode_content, NULL},
	{HAS_DOT, DECODED_MAX, resolve_dots, NULL},
	{HAS_DOUBLE, DECODED_MAX, merge_slashes, NULL},
	{HAS_BACKSLASH, DECODED_MAX, turn_backslashes, NULL},
	{HAS_SEMICOLON, DECODED_MAX, cut_params, NULL},
	{HAS_HIGH, DECODED_MAX, to_ascii, NULL},
	{HAS_SEMICOLON, DECODED_MAX, NULL, cut_semicolon},
	{HAS_QUERY, DECODED_MAX, NULL, cut_query},
	{HAS_HASH, DECODED_MAX, NULL, cut_hash},
	{HAS_NUL, DECODED_MAX, NULL, cut_nul},
	{HAS_NETWORK, DECODED_MAX, NULL, skip_authority},
};

/* ---- the closure ---- */

static const uint16_t holds[256] = {
	['%'] = HAS_ESCAPE, ['\\'] = HAS_BACKSLASH, [';'] = HAS_SEMICOLON,	['?'] = HAS_QUERY,
	['#'] = HAS_HASH,   ['\0'] = HAS_NUL,	    [0x80 ... 0xff] = HAS_HIGH,
};

static void look_over(struct path_reading *r)
{
	uint64_t h = r->text.n;
	unsigned has = 0;
	char before = 0;
	for (size_t i = 0; i < r->text.n; i++) {
		char c = r->text.p[i];
		has |= holds[(unsigned char)c];
		if (before == '/' && (c == '/' || c == '.'))
			has |= c == '.' ? HAS_DOT : i == 1 ? HAS_DOUBLE | HAS_NETWORK : HAS_DOUBLE;
		h = (h ^ (unsigned char)c) * 0x100000001b3;
		before = c;
	}
	r->hash = h;
	r->has = (uint16_t)has;
}

/* Takes a text in unless it is there already; `owned` when it stands at the arena's free end. False: too
 * much. */
static bool add(struct path_readings *all, struct str text, unsigned decoded, bool owned)
{
	struct path_reading r = {.text = text, .decoded = (uint8_t)decoded};
	all->work += text.n;
	if (all->work > PATH_READINGS_WORK)
		return false;
	look_over(&r);
	for (unsigned i = 0; i < all->n; i++)
		if (all->v[i].hash == r.hash && str_eq(all->v[i].text, text))
			return true;
	if (all->n == PATH_RULES_READINGS_MAX)
		return false;
	all->v[all->n++] = r;
	if (owned)
		all->used += text.n;
	return true;
}

static bool add_rewritten(struct path_readings *all, struct str text, unsigned decoded,
			  size_t (*rewrite)(struct str, char *))
{
	char *out = all->arena + all->used;
	all->work += text.n;
	if (text.n > PATH_READINGS_ARENA - all->used)
		return false;
	return add(all, (struct str){out, rewrite(text, out)}, decoded, true);
}

static bool take_steps(struct path_readings *all, const struct path_reading *r)
{
	for (unsigned i = 0; i < sizeof(steps) / sizeof(*steps); i++) {
		const struct step *s = &steps[i];
		if (!(r->has & s->needs) || r->decoded > s->decoded_max)
			continue;
		if (s->part ? !add(all, s->part(r->text), r->decoded, false)
			    : !add_rewritten(all, r->text, r->decoded, s->rewrite))
			return false;
	}
	return true;
}

/* Texts decoded less come first: a text is kept with the fewest decodings that lead to it. */
static bool close_over(struct path_readings *all)
{
	for (unsigned decoded = 0; decoded <= DECODED_MAX; decoded++) {
		for (unsigned i = 0; i < all->n; i++) /* grows meanwhile */
			if (all->v[i].decoded == decoded && !take_steps(all, &all->v[i]))
				return false;
		unsigned n = decoded < DECODED_MAX ? all->n : 0;
		for (unsigned i = 0; i < n; i++)
			if (all->v[i].decoded == decoded && all->v[i].has & HAS_ESCAPE &&
			    !add_rewritten(all, all->v[i].text, decoded + 1, decode_all))
				return false;
	}
	return true;
}

/* The length of a character as RFC 3629 allows it, or 0. */
static size_t utf8_length(const unsigned char *p, size_t n)
{
	static const struct {
		uint8_t from, to;  /* first byte */
		uint8_t low, high; /* second byte */
		uint8_t length;
	} rows[] = {
		{0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
		{0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
	};
	for (unsigned r = 0; r < sizeof(rows) / sizeof(*rows); r++) {
		if (p[0] < rows[r].from || p[0] > rows[r].to)
			continue;
		if (n < rows[r].length || p[1] < rows[r].low || p[1] > rows[r].high)
			return 0;
		for (unsigned i = 2; i < rows[r].length; i++)
			if ((p[i] & 0xc0) != 0x80)
				return 0;
		return rows[r].length;
	}
	return 0;
}

/* What is wrong with the path decoded once, which every program behind will see in some form. */
static const char *check_decoded(struct str s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	for (size_t i = 0; i < s.n;) {
		size_t n = p[i] < 0x80 ? 1 : utf8_length(p + i, s.n - i);
		if (p[i] < ' ' || p[i] == 0x7f)
			return p[i] ? "the path holds a control character" : "the path holds a NUL";
		if (n == 0)
			return "the path is not UTF-8";
		i += n;
	}
	return NULL;
}

static const char *check(struct path_readings *all, struct str path)
{
	for (size_t i = 0; i < path.n; i++)
		if (path.p[i] == '%' && escaped_byte(path, i) < 0)
			return "the path holds a % that is no escape";
	return check_decoded((struct str){all->arena, decode_all(path, all->arena)});
}

const char *path_readings_make(struct path_readings *all, struct str path)
{
	const char *wrong = check(all, path);
	if (wrong)
		return wrong;
	all->n = 0;
	all->used = all->work = 0;
	if (!add(all, path, 0, false) || !close_over(all))
		return "the path can be read in too many ways";
	return NULL;
}
