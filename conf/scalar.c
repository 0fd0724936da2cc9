/* SPDX-License-Identifier: MIT */
#include "conf/scalar.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

struct unit {
	const char *name;
	uint64_t times;
};

static const struct unit time_units[] = {
	{"h", 3600 * 1000000ull}, {"m", 60 * 1000000ull}, {"s", 1000000ull}, {"ms", 1000ull}, {NULL, 0}};
static const struct unit size_units[] = {
	{"g", 1ull << 30}, {"m", 1ull << 20}, {"k", 1ull << 10}, {"", 1}, {NULL, 0}};
static const struct unit rate_units[] = {
	{"h", 3600 * 1000000ull}, {"m", 60 * 1000000ull}, {"s", 1000000ull}, {NULL, 0}};

static bool is_digit(char c)
{
	return (unsigned char)(c - '0') < 10;
}

static bool is_letter(char c)
{
	return (unsigned char)(ascii_lower((unsigned char)c) - 'a') < 26;
}

/* Takes the digits off the front; false without any, or beyond 2^62. */
static bool take_number(struct str *s, uint64_t *out)
{
	uint64_t v = 0;
	size_t n = 0;
	for (; n < s->n && is_digit(s->p[n]); n++) {
		if (v > (UINT64_MAX >> 2) / 10 - 1)
			return false;
		v = v * 10 + (unsigned)(s->p[n] - '0');
	}
	s->p += n;
	s->n -= n;
	*out = v;
	return n > 0;
}

static const struct unit *find_unit(const struct unit *units, struct str name)
{
	for (; units->name; units++)
		if (str_ieq(str_of(units->name), name))
			return units;
	return NULL;
}

/* A number and its unit; false when it is none of these or too large. */
static bool read_quantity(struct str s, const struct unit *units, uint64_t *out)
{
	uint64_t v;
	const struct unit *unit;
	if (!take_number(&s, &v) || !(unit = find_unit(units, s)) || v > (UINT64_MAX >> 2) / unit->times)
		return false;
	*out = v * unit->times;
	return true;
}

const char *scalar_count(struct str s, uint64_t *out)
{
	uint64_t v;
	if (!take_number(&s, &v) || s.n)
		return "a whole number";
	*out = v;
	return NULL;
}

const char *scalar_duration(struct str s, usec_t *out)
{
	uint64_t v;
	if (!read_quantity(s, time_units, &v))
		return "a duration such as 30s, in ms, s, m or h";
	*out = (usec_t)v;
	return NULL;
}

const char *scalar_size(struct str s, uint64_t *out)
{
	uint64_t v;
	if (!read_quantity(s, size_units, &v))
		return "a size such as 64k, in bytes, k, m or g";
	*out = v;
	return NULL;
}

const char *scalar_rate(struct str s, uint32_t *count, usec_t *window)
{
	static const char expected[] = "a rate such as 10/s, by s, m or h";
	uint64_t v;
	const struct unit *unit;
	if (!take_number(&s, &v) || s.n < 2 || s.p[0] != '/' || v == 0 || v > 1000000)
		return expected;
	unit = find_unit(rate_units, (struct str){s.p + 1, s.n - 1});
	if (!unit)
		return expected;
	*count = (uint32_t)v;
	*window = (usec_t)unit->times;
	return NULL;
}

const char *scalar_mode(struct str s, unsigned *out)
{
	unsigned mode = 0;
	if (s.n < 3 || s.n > 4 || (s.n == 4 && s.p[0] != '0'))
		return "a mode such as \"0660\"";
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '7')
			return "a mode such as \"0660\"";
		mode = mode << 3 | (unsigned)(s.p[i] - '0');
	}
	*out = mode;
	return NULL;
}

bool scalar_is_on(struct str s)
{
	return str_ieq(s, STR("on")) || str_ieq(s, STR("yes")) || str_ieq(s, STR("true"));
}

bool scalar_is_off(struct str s)
{
	return str_ieq(s, STR("off")) || str_ieq(s, STR("no")) || str_ieq(s, STR("false"));
}

const char *scalar_address(struct str s, struct addr *out, uint16_t *port)
{
	static const char expected[] = "an address with a port such as 127.0.0.1:8080 or [::1]:8080";
	struct addr a;
	uint16_t p = 0;
	if (!addr_parse_hop(s, &a, &p) || p == 0)
		return expected;
	*out = a;
	*port = p;
	return NULL;
}

void scalar_sockaddr(const struct addr *a, uint16_t port, struct sockaddr_storage *sa, socklen_t *n)
{
	memset(sa, 0, sizeof(*sa));
	if (addr_is_v4(a)) {
		struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
		memcpy(&in.sin_addr, a->b + 12, 4);
		memcpy(sa, &in, sizeof(in));
		*n = sizeof(in);
	} else {
		struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
		memcpy(&in6.sin6_addr, a->b, 16);
		memcpy(sa, &in6, sizeof(in6));
		*n = sizeof(in6);
	}
}

bool scalar_unix(struct str path, struct sockaddr_storage *sa, socklen_t *n)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	if (path.n >= sizeof(un.sun_path))
		return false;
	if (path.n)
		memcpy(un.sun_path, path.p, path.n);
	memset(sa, 0, sizeof(*sa));
	memcpy(sa, &un, sizeof(un));
	*n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.n + 1);
	return true;
}

static const char *format_quantity(char *out, const struct unit *units, uint64_t v)
{
	while (units[1].name && (v < units->times || v % units->times != 0))
		units++;
	snprintf(out, SCALAR_TEXT, "%llu%s", (unsigned long long)(v / units->times), units->name);
	return out;
}

/* 60s and 90s read better than 1m, and 0s than 0ms. */
const char *scalar_show_duration(char out[SCALAR_TEXT], usec_t v)
{
	if (v < 120 * USEC_PER_SEC && v % USEC_PER_SEC == 0)
		snprintf(out, SCALAR_TEXT, "%llus", (unsigned long long)(v / USEC_PER_SEC));
	else
		format_quantity(out, time_units, (uint64_t)v);
	return out;
}

const char *scalar_show_size(char out[SCALAR_TEXT], uint64_t v)
{
	return format_quantity(out, size_units, v);
}

size_t scalar_utf8_length(struct str s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	size_t n = p[0] < 0x80	 ? 1
		   : p[0] < 0xc2 ? 0
		   : p[0] < 0xe0 ? 2
		   : p[0] < 0xf0 ? 3
		   : p[0] < 0xf5 ? 4
				 : 0;
	if (n > s.n)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))
		return 0;
	return n;
}

bool scalar_is_text(struct str s)
{
	while (s.n) {
		unsigned char c = (unsigned char)s.p[0];
		size_t n = scalar_utf8_length(s);
		if (n == 0 || c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)s.p[1] < 0xa0))
			return false;
		s.p += n;
		s.n -= n;
	}
	return true;
}

bool scalar_is_printable(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 0x20 || s.p[i] > 0x7e)
			return false;
	return s.n > 0;
}

bool scalar_is_token(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '\0' ||
		    (!is_letter(s.p[i]) && !is_digit(s.p[i]) && !strchr("!#$%&'*+-.^_`|~", s.p[i])))
			return false;
	return s.n > 0;
}

bool scalar_is_name(struct str s, size_t max)
{
	if (s.n == 0 || s.n > max || !is_letter(s.p[0]))
		return false;
	for (size_t i = 1; i < s.n; i++)
		if (!is_letter(s.p[i]) && !is_digit(s.p[i]) && s.p[i] != '-' && s.p[i] != '_' &&
		    s.p[i] != '.')
			return false;
	return true;
}

bool scalar_is_host(struct str s)
{
	size_t label = 0;
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (c == '.' ? label == 0 : !is_letter(c) && !is_digit(c) && c != '-' && c != '_')
			return false;
		label = c == '.' ? 0 : label + 1;
		if (label > 63)
			return false;
	}
	return label > 0 && s.n <= 253;
}

bool scalar_is_ip(struct str host, struct addr *a)
{
	if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']') {
		struct str inner = {host.p + 1, host.n - 2};
		return memchr(inner.p, ':', inner.n) && addr_parse(inner, a);
	}
	return host.n > 0 && !memchr(host.p, ':', host.n) && addr_parse(host, a);
}
