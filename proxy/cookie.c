/* SPDX-License-Identifier: MIT */
#include "proxy/cookie.h"

/* Browsers leave out attributes with a longer value (RFC 6265bis, 5.6). */
#define ATTRIBUTE_VALUE_MAX 1024

enum attribute { OTHER, DOMAIN, EXPIRES, HTTP_ONLY, MAX_AGE, SAME_SITE, SECURE };

static const struct {
	struct str name;
	enum attribute kind;
} attributes[] = {
	{STR("Domain"), DOMAIN},   {STR("Expires"), EXPIRES},	 {STR("HttpOnly"), HTTP_ONLY},
	{STR("Max-Age"), MAX_AGE}, {STR("SameSite"), SAME_SITE}, {STR("Secure"), SECURE},
};

static const struct str same_site_text[] = {
	[COOKIE_SAME_SITE_STRICT] = STR("; SameSite=Strict"),
	[COOKIE_SAME_SITE_LAX] = STR("; SameSite=Lax"),
	[COOKIE_SAME_SITE_NONE] = STR("; SameSite=None"),
};

/* A stretch of the value that is left out, from the ';' before the attribute to the next one. */
struct cut {
	const char *from, *to;
	bool lifetime; /* Max-Age or Expires: left out of lines that expire the cookie only */
};

struct cookie {
	struct str text; /* without ';' and blanks at the end */
	struct str name;
	const char *semicolon; /* the end of name=value: the first ';' or the end */
	struct str domain;     /* the Domain that counts, without its leading dot; empty: none */
	struct cut cut[COOKIE_CUTS];
	unsigned cuts;
	bool secure, http_only, same_site;
	bool has_max_age, deleted_by_age;
	bool deleted_by_date; /* the last Expires that could be read says so */
};

/* Labels, each with its dot: no host has an empty one or a blank. What names such is nobody's, and browsers
 * drop it. */
static bool are_labels(struct str s)
{
	if (!s.n)
		return true;
	if (s.p[0] == '.' || s.p[s.n - 1] != '.' || memmem(s.p, s.n, "..", 2))
		return false;
	return !memchr(s.p, ' ', s.n) && !memchr(s.p, '\t', s.n);
}

/* domain itself, or below it on a label's boundary */
static bool below(struct str host, struct str domain)
{
	if (host.n < domain.n || !domain.n)
		return false;
	size_t above = host.n - domain.n;
	return are_labels((struct str){host.p, above}) &&
	       str_ieq((struct str){host.p + above, domain.n}, domain);
}

static struct str without_last_dot(struct str host)
{
	if (host.n && host.p[host.n - 1] == '.')
		host.n--;
	return host;
}

/* Each part between two stars is taken at the first place where it stands; the last part stands at the end.
 */
static bool pattern_matches(struct str pattern, struct str name)
{
	const char *star = memchr(pattern.p, '*', pattern.n);
	struct str part = {pattern.p, star ? (size_t)(star - pattern.p) : pattern.n};

	if (!star)
		return str_eq(pattern, name);
	if (name.n < part.n || memcmp(name.p, part.p, part.n) != 0)
		return false;
	for (;;) {
		name.p += part.n;
		name.n -= part.n;
		pattern.p += part.n + 1;
		pattern.n -= part.n + 1;
		star = memchr(pattern.p, '*', pattern.n);
		if (!star)
			break;
		part = (struct str){pattern.p, (size_t)(star - pattern.p)};
		const char *at = part.n ? memmem(name.p, name.n, part.p, part.n) : name.p;
		if (!at)
			return false;
		name.n -= (size_t)(at - name.p);
		name.p = at;
	}
	return name.n >= pattern.n && memcmp(name.p + name.n - pattern.n, pattern.p, pattern.n) == 0;
}

bool cookie_name_matches(const struct cookie_rule *r, struct str name)
{
	return pattern_matches(r->name, name);
}

static const struct cookie_rule *find_rule(const struct cookie_rules *rules, struct str name)
{
	const struct cookie_rule *best = NULL;

	for (unsigned i = 0; i < rules->rules; i++) {
		const struct cookie_rule *r = &rules->rule[i];
		if (str_eq(r->name, name))
			return r;
		if ((!best || r->name.n > best->name.n) && cookie_name_matches(r, name))
			best = r;
	}
	return best;
}

static bool host_prefixed(struct str name)
{
	const struct str prefix = STR("__Host-");
	return name.n >= prefix.n && str_ieq((struct str){name.p, prefix.n}, prefix);
}

/* RFC 6265bis, 5.6: a value with any of these is dropped whole. A tab is none of them. */
static bool has_control(struct str s)
{
	bool found = false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		found |= (c < ' ' && c != '\t') | (c == 0x7f);
	}
	return found;
}

/* name=value up to the first ';', the name up to the first '=' (5.6); false without a name. */
static bool parse_name(struct cookie *c, struct str set_cookie)
{
	const char *semicolon = memchr(set_cookie.p, ';', set_cookie.n);
	c->semicolon = semicolon ? semicolon : set_cookie.p + set_cookie.n;
	const char *equals = memchr(set_cookie.p, '=', (size_t)(c->semicolon - set_cookie.p));
	if (!equals)
		return false;
	c->name = str_trim((struct str){set_cookie.p, (size_t)(equals - set_cookie.p)});
	return c->name.n > 0;
}

/* 5.6.2: digits with or without a minus; anything else is as if it were not there. */
static void read_max_age(struct cookie *c, struct str v)
{
	bool minus = v.n && v.p[0] == '-', zero = true;
	size_t i = minus;

	if (i == v.n)
		return;
	for (; i < v.n; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return;
		zero &= v.p[i] == '0';
	}
	c->has_max_age = true;
	c->deleted_by_age = minus || zero;
}

static void read_domain(struct cookie *c, struct str v)
{
	if (v.n && v.p[0] == '.')
		v.p++, v.n--;
	if (v.n)
		c->domain = v;
}

static bool same_site_known(struct str v)
{
	return str_ieq(v, STR("Strict")) || str_ieq(v, STR("Lax")) || str_ieq(v, STR("None"));
}

static enum attribute attribute_kind(struct str name)
{
	for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++)
		if (str_ieq(name, attributes[i].name))
			return attributes[i].kind;
	return OTHER;
}

static bool add_cut(struct cookie *c, const char *from, const char *to, bool lifetime)
{
	if (c->cuts == COOKIE_CUTS)
		return false;
	c->cut[c->cuts++] = (struct cut){from, to, lifetime};
	return true;
}

/* One attribute, which stands from its ';' to `to`; false when it is one too many. */
static bool read_attribute(struct cookie *c, const char *from, const char *to, wall_t now)
{
	struct str name = {from + 1, (size_t)(to - from) - 1}, v = {to, 0};
	const char *equals = memchr(name.p, '=', name.n);
	int64_t seconds;

	if (equals) {
		v = str_trim((struct str){equals + 1, (size_t)(to - equals) - 1});
		name.n = (size_t)(equals - name.p);
	}
	if (v.n > ATTRIBUTE_VALUE_MAX)
		return true;
	switch (attribute_kind(str_trim(name))) {
	case DOMAIN:
		read_domain(c, v);
		return add_cut(c, from, to, false);
	case EXPIRES:
		if (cookie_date(v, &seconds))
			c->deleted_by_date = seconds * USEC_PER_SEC <= now;
		return add_cut(c, from, to, true);
	case MAX_AGE:
		read_max_age(c, v);
		return add_cut(c, from, to, true);
	case SAME_SITE:
		c->same_site |= same_site_known(v);
		break;
	case HTTP_ONLY:
		c->http_only = true;
		break;
	case SECURE:
		c->secure = true;
		break;
	case OTHER:
		break;
	}
	return true;
}

static bool parse_attributes(struct cookie *c, struct str set_cookie, wall_t now)
{
	const char *from = c->semicolon, *end = set_cookie.p + set_cookie.n;

	while (end > from && (end[-1] == ';' || is_ows(end[-1])))
		end--;
	c->text = (struct str){set_cookie.p, (size_t)(end - set_cookie.p)};
	while (from < end) {
		const char *to = memchr(from + 1, ';', (size_t)(end - from) - 1);
		if (!to)
			to = end;
		if (!read_attribute(c, from, to, now))
			return false;
		from = to;
	}
	return true;
}

static void add(struct cookie_out *out, struct str s)
{
	if (!s.n)
		return;
	out->part[out->parts++] = s;
	out->n += s.n;
}

static void add_between(struct cookie_out *out, const char *from, const char *to)
{
	add(out, (struct str){from, (size_t)(to - from)});
}

/* What of the cookie's own text stays. */
static void add_text(struct cookie_out *out, const struct cookie *c, bool expire)
{
	const char *at = c->text.p;

	if (expire) {
		add(out, c->name);
		add(out, STR("="));
		at = c->semicolon;
	}
	for (unsigned i = 0; i < c->cuts; i++) {
		if (c->cut[i].lifetime && !expire)
			continue;
		add_between(out, at, c->cut[i].from);
		at = c->cut[i].to;
	}
	const char *end = c->text.p + c->text.n;
	if (at < end)
		add_between(out, at, end);
}

/* One line for a domain (empty: host-only), with the cookie's value or as one that expires it. */
static void write_line(struct cookie_out *out, const struct cookie *c, const struct cookie_rule *r,
		       struct str domain, bool expire)
{
	out->parts = 0;
	out->n = 0;
	add_text(out, c, expire);
	if (domain.n) {
		add(out, STR("; Domain="));
		add(out, domain);
	}
	if (r->secure == COOKIE_FLAG_ON && !c->secure)
		add(out, STR("; Secure"));
	if (r->http_only == COOKIE_FLAG_ON && !c->http_only)
		add(out, STR("; HttpOnly"));
	if (!c->same_site)
		add(out, same_site_text[r->same_site]);
	if (expire)
		add(out, STR("; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"));
}

unsigned cookie_rewrite(const struct cookie_rules *rules, struct str host, struct str set_cookie, wall_t now,
			struct cookie_out out[COOKIE_OUT_MAX])
{
	struct cookie c;
	unsigned n = 0;

	if (!set_cookie.n || !below(without_last_dot(host), rules->domain))
		return 0;
	if (!parse_name(&c, set_cookie) || host_prefixed(c.name))
		return 0;
	const struct cookie_rule *r = find_rule(rules, c.name);
	if (!r || has_control(set_cookie))
		return 0;
	c = (struct cookie){.name = c.name, .semicolon = c.semicolon};
	if (!parse_attributes(&c, set_cookie, now) || (c.domain.n && !below(c.domain, rules->domain)))
		return 0;

	bool deletion = c.has_max_age ? c.deleted_by_age : c.deleted_by_date;
	if (deletion || rules->retire_host_only) {
		write_line(&out[n++], &c, r, STR_NONE, !deletion);
		if (c.domain.n > rules->domain.n)
			write_line(&out[n++], &c, r, c.domain, !deletion);
	}
	write_line(&out[n++], &c, r, rules->domain, false);
	return n;
}

/* --- dates ------------------------------------------------------------------------------------------------
 */

struct date {
	int year, month, day, hour, minute, second; /* -1 until found; month from 1 */
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* RFC 6265, 5.1.1, delimiter: a ':' is none, as it stands inside the time. */
static bool is_delimiter(unsigned char c)
{
	return c == 0x09 || (c >= 0x20 && c <= 0x2f) || (c >= 0x3b && c <= 0x40) ||
	       (c >= 0x5b && c <= 0x60) || (c >= 0x7b && c <= 0x7e);
}

/* Takes a number of min to max digits off the front; false if there are fewer or more. */
static bool take_number(struct str *s, size_t min, size_t max, int *out)
{
	size_t n = 0;
	int v = 0;

	for (; n < s->n && is_digit(s->p[n]); n++) {
		if (n == max)
			return false;
		v = v * 10 + (s->p[n] - '0');
	}
	if (n < min)
		return false;
	s->p += n;
	s->n -= n;
	*out = v;
	return true;
}

static bool take_colon(struct str *s)
{
	if (!s->n || s->p[0] != ':')
		return false;
	s->p++;
	s->n--;
	return true;
}

static bool take_time(struct str token, struct date *d)
{
	int hour, minute, second;
	if (!take_number(&token, 1, 2, &hour) || !take_colon(&token) || !take_number(&token, 1, 2, &minute) ||
	    !take_colon(&token) || !take_number(&token, 1, 2, &second))
		return false;
	d->hour = hour;
	d->minute = minute;
	d->second = second;
	return true;
}

static bool take_month(struct str token, struct date *d)
{
	static const char names[] = "janfebmaraprmayjunjulaugsepoctnovdec";
	for (int m = 0; token.n >= 3 && m < 12; m++) {
		if (str_ieq((struct str){token.p, 3}, (struct str){names + (size_t)m * 3, 3})) {
			d->month = m + 1;
			return true;
		}
	}
	return false;
}

/* Each kind of token is looked for until it was found, in this order (5.1.1, step 2). */
static void read_token(struct str token, struct date *d)
{
	if (d->hour < 0 && take_time(token, d))
		return;
	if (d->day < 0 && take_number(&token, 1, 2, &d->day))
		return;
	if (d->month < 0 && take_month(token, d))
		return;
	if (d->year < 0)
		take_number(&token, 2, 4, &d->year);
}

static int month_days(int year, int month)
{
	static const signed char days[] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
	return days[month] + (month == 2 && leap);
}

/* Days from 1970-01-01 in the Gregorian calendar; years start in March, so that the leap day is the last. */
static int64_t days_since_epoch(int year, int month, int day)
{
	int64_t y = year - (month <= 2);
	int64_t march = (month + 9) % 12;
	return y * 365 + y / 4 - y / 100 + y / 400 + (march * 153 + 2) / 5 + day - 1 - 719468;
}

bool cookie_date(struct str s, int64_t *seconds)
{
	struct date d = {-1, -1, -1, -1, -1, -1};

	for (size_t i = 0; i < s.n;) {
		size_t from = i;
		while (i < s.n && !is_delimiter((unsigned char)s.p[i]))
			i++;
		if (i > from)
			read_token((struct str){s.p + from, i - from}, &d);
		else
			i++;
	}
	if (d.year >= 0 && d.year <= 99)
		d.year += d.year >= 70 ? 1900 : 2000;
	if (d.year < 1601 || d.month < 0 || d.day < 1 || d.hour < 0 || d.hour > 23 || d.minute > 59 ||
	    d.second > 59)
		return false;
	if (d.day > month_days(d.year, d.month))
		return false;
	*seconds =
		days_since_epoch(d.year, d.month, d.day) * 86400 + d.hour * 3600 + d.minute * 60 + d.second;
	return true;
}

/* --- config -----------------------------------------------------------------------------------------------
 */

static bool is_label_byte(char c)
{
	return is_digit(c) || (unsigned char)(ascii_lower((unsigned char)c) - 'a') < 26 || c == '-' ||
	       c == '_';
}

const char *cookie_domain_check(struct str domain)
{
	size_t label = 0, dots = 0;
	bool letter = false; /* in the last label: 10.0.0.1 is no domain */

	if (domain.n && domain.p[0] == '.')
		return "must not start with a dot (expected a name such as example.com)";
	if (domain.n > 253)
		return "must be at most 253 bytes long";
	for (size_t i = 0; i < domain.n; i++) {
		char c = domain.p[i];
		if (c == '.' ? label == 0 : !is_label_byte(c))
			return "must be a plain name such as example.com (no scheme, port, star or empty "
			       "label)";
		if (c == '.') {
			dots++;
			label = 0;
			letter = false;
			continue;
		}
		if (++label > 63)
			return "must have no label of more than 63 bytes";
		letter |= !is_digit(c) && c != '-' && c != '_';
	}
	if (!label)
		return domain.n ? "must not end with a dot"
				: "must not be empty (expected a name such as example.com)";
	if (!dots)
		return "must have at least two labels, such as example.com (browsers refuse cookies for "
		       "less)";
	return letter ? NULL : "must be a name (cookies can't be shared below an address)";
}

/* token (RFC 9110, 5.6.2): a star is a letter like others there, and the wildcard here. */
static bool is_name_byte(unsigned char c)
{
	return c > ' ' && c < 0x7f && !strchr("\"(),/:;<=>?@[\\]{}", c);
}

const char *cookie_rule_check(const struct cookie_rule *r)
{
	if (!r->name.n)
		return "must not be empty (expected a cookie's name)";
	for (size_t i = 0; i < r->name.n; i++)
		if (!is_name_byte((unsigned char)r->name.p[i]))
			return "must be a cookie's name, with * as wildcard (no blanks, '=', ';' or ',')";
	if (host_prefixed(r->name))
		return "can't be shared: browsers keep __Host- cookies to one host (expected another name)";
	if (r->same_site == COOKIE_SAME_SITE_NONE && r->secure != COOKIE_FLAG_ON)
		return "same_site: None needs secure: on (browsers drop the cookie otherwise)";
	return NULL;
}
