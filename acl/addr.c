/* SPDX-License-Identifier: MIT */
#include "acl/addr.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/fmt.h"

static int hex_digit(char c)
{
	if ((unsigned char)(c - '0') < 10)
		return c - '0';
	unsigned char l = ascii_lower((unsigned char)c);
	return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
}

/* A decimal number without leading zeros; `limit` below 100,000. */
static bool parse_decimal(struct str s, unsigned limit, unsigned *out)
{
	unsigned v = 0;
	if (s.n == 0 || s.n > 5 || (s.n > 1 && s.p[0] == '0'))
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = (unsigned char)(s.p[i] - '0');
		if (digit > 9)
			return false;
		v = v * 10 + digit;
	}
	*out = v;
	return v <= limit;
}

/* The digit at p, or a number above 9. */
static inline unsigned digit_at(const char *p, const char *end)
{
	return p < end ? (unsigned char)(*p - '0') : 10;
}

/* A number up to 255 without leading zeros: what follows it, or NULL. */
static inline const char *parse_byte(const char *p, const char *end, uint8_t *out)
{
	unsigned v = digit_at(p++, end), next;
	if (v > 9)
		return NULL;
	if (v && (next = digit_at(p, end)) <= 9) {
		v = v * 10 + next;
		p++;
		if ((next = digit_at(p, end)) <= 9) {
			v = v * 10 + next;
			p++;
		}
	}
	*out = (uint8_t)v;
	return v <= 255 ? p : NULL;
}

static bool parse_v4(struct str s, uint8_t out[4])
{
	const char *p = s.p, *end = s.p + s.n;
	if (s.n < 7 || s.n > 15)
		return false;
	for (unsigned i = 0; i < 3; i++) {
		p = parse_byte(p, end, &out[i]);
		if (!p || p == end || *p++ != '.')
			return false;
	}
	return parse_byte(p, end, &out[3]) == end;
}

/* One group of up to four hexadecimal digits; answers how many, 0 for none or too many. */
static unsigned parse_group(const char *p, const char *end, uint8_t out[2])
{
	unsigned v = 0, n = 0;
	int digit;
	while (p + n < end && (digit = hex_digit(p[n])) >= 0) {
		if (++n > 4)
			return 0;
		v = v << 4 | (unsigned)digit;
	}
	out[0] = (uint8_t)(v >> 8);
	out[1] = (uint8_t)v;
	return n;
}

/* Moves what stands behind a "::" to the end; it has to stand for one group at least. */
static bool spread_gap(uint8_t b[16], unsigned n, int gap)
{
	if (gap < 0)
		return n == 16;
	if (n > 14)
		return false;
	unsigned tail = n - (unsigned)gap;
	memmove(b + 16 - tail, b + gap, tail);
	memset(b + gap, 0, 16 - n);
	return true;
}

static bool parse_v6(struct str s, uint8_t out[16])
{
	const char *p = s.p, *end = s.p + s.n;
	uint8_t b[16];
	unsigned n = 0;
	int gap = -1;

	if (s.n < 2 || s.n > 45)
		return false;
	if (p[0] == ':' && *++p != ':') /* one colon in front; of two the second is read as a gap below */
		return false;
	while (p < end) {
		if (*p == ':') {
			if (gap >= 0)
				return false;
			gap = (int)n;
			p++;
			continue;
		}
		if (n == 16)
			return false;
		unsigned digits = parse_group(p, end, b + n);
		if (p + digits < end && p[digits] == '.') { /* the last four bytes as a dotted quad */
			if (n > 12 || !parse_v4((struct str){p, (size_t)(end - p)}, b + n))
				return false;
			n += 4;
			break;
		}
		if (digits == 0)
			return false;
		n += 2;
		p += digits;
		if (p < end && (*p++ != ':' || p == end)) /* a group is followed by a colon and something */
			return false;
	}
	if (!spread_gap(b, n, gap))
		return false;
	memcpy(out, b, 16);
	return true;
}

bool addr_parse(struct str s, struct addr *out)
{
	uint8_t v4[4];
	if (s.n == 0)
		return false;
	if (memchr(s.p, ':', s.n < 6 ? s.n : 6)) /* a group is at most four digits long */
		return parse_v6(s, out->b);
	if (!parse_v4(s, v4))
		return false;
	*out = addr_v4(v4[0], v4[1], v4[2], v4[3]);
	return true;
}

bool addr_parse_port(struct str s, uint16_t *port)
{
	unsigned v = 0;
	if (s.n == 0 || s.n > 5)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = (unsigned char)(s.p[i] - '0');
		if (digit > 9)
			return false;
		v = v * 10 + digit;
	}
	if (v > 65535)
		return false;
	*port = (uint16_t)v;
	return true;
}

static bool parse_bracketed(struct str s, struct addr *out, uint16_t *port)
{
	const char *close = memchr(s.p, ']', s.n);
	if (!close)
		return false;
	struct str rest = {close + 1, (size_t)(s.p + s.n - close - 1)};
	struct addr a;
	if (!parse_v6((struct str){s.p + 1, (size_t)(close - s.p - 1)}, a.b))
		return false;
	if (rest.n && (rest.p[0] != ':' || !addr_parse_port((struct str){rest.p + 1, rest.n - 1}, port)))
		return false;
	*out = a;
	return true;
}

bool addr_parse_hop(struct str s, struct addr *out, uint16_t *port)
{
	struct addr a;
	uint16_t found = 0;
	uint8_t alone[4]; /* the usual case: an IPv4 address */
	if (s.n == 0)
		return false;
	if (parse_v4(s, alone)) {
		a = addr_v4(alone[0], alone[1], alone[2], alone[3]);
	} else if (s.p[0] == '[') {
		if (!parse_bracketed(s, &a, &found))
			return false;
	} else {
		const char *colon = memchr(s.p, ':', s.n);
		size_t rest = colon ? (size_t)(s.p + s.n - colon - 1) : 0;
		if (colon && !memchr(colon + 1, ':', rest)) { /* a lone colon is a port's */
			uint8_t v4[4];
			if (!parse_v4((struct str){s.p, s.n - rest - 1}, v4) ||
			    !addr_parse_port((struct str){colon + 1, rest}, &found))
				return false;
			a = addr_v4(v4[0], v4[1], v4[2], v4[3]);
		} else if (!addr_parse(s, &a)) {
			return false;
		}
	}
	*out = a;
	if (port)
		*port = found;
	return true;
}

bool addr_of_sockaddr(const struct sockaddr *sa, struct addr *out, uint16_t *port)
{
	uint16_t found;
	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, sa, sizeof(in));
		*out = addr_v4(0, 0, 0, 0);
		memcpy(out->b + 12, &in.sin_addr, 4);
		found = ntohs(in.sin_port);
	} else if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, sa, sizeof(in6));
		memcpy(out->b, &in6.sin6_addr, 16);
		found = ntohs(in6.sin6_port);
	} else {
		return false;
	}
	if (port)
		*port = found;
	return true;
}

static char *format_byte(char *p, unsigned v)
{
	if (v >= 100) {
		*p++ = (char)('0' + v / 100);
		fmt_two_digits(p, v % 100);
		return p + 2;
	}
	if (v >= 10) {
		fmt_two_digits(p, v);
		return p + 2;
	}
	*p++ = (char)('0' + v);
	return p;
}

static char *format_group(char *p, unsigned v)
{
	unsigned width = 1 + (v > 0xf) + (v > 0xff) + (v > 0xfff);
	return fmt_hex(p, v, width);
}

/* The longest run of two zero groups or more, the first of equals (RFC 5952, 4.2.3). *len is 0 without one.
 */
static unsigned longest_gap(const uint8_t b[16], unsigned *len)
{
	unsigned best = 0, at = 0, run = 0;
	for (unsigned i = 0; i < 8; i++) {
		run = b[2 * i] | b[2 * i + 1] ? 0 : run + 1;
		if (run > best) {
			best = run;
			at = i + 1 - run;
		}
	}
	*len = best >= 2 ? best : 0;
	return at;
}

static char *format_v6(char *p, const uint8_t b[16])
{
	unsigned len, gap = longest_gap(b, &len);
	for (unsigned i = 0; i < 8; i++) {
		if (len && i == gap) {
			*p++ = ':';
			i += len - 1;
			if (i == 7)
				*p++ = ':';
			continue;
		}
		if (i)
			*p++ = ':';
		p = format_group(p, (unsigned)b[2 * i] << 8 | b[2 * i + 1]);
	}
	return p;
}

size_t addr_format(char *out, const struct addr *a)
{
	char *p = addr_is_v4(a) ? fmt_dotted(out, a->b + 12) : format_v6(out, a->b);
	*p = '\0';
	return (size_t)(p - out);
}

void addr_mask(struct addr *a, unsigned bits)
{
	if (bits >= 128)
		return;
	unsigned whole = bits / 8;
	a->b[whole] &= (uint8_t)(0xff00 >> (bits % 8));
	memset(a->b + whole + 1, 0, 15 - whole);
}

static const char *explain_host_bits(const struct cidr *meant)
{
	static _Thread_local char text[96 + CIDR_TEXT];
	char net[CIDR_TEXT];
	cidr_format(net, meant);
	snprintf(text, sizeof(text), "has bits set below its prefix (did you mean %s?)", net);
	return text;
}

bool cidr_parse(struct str s, struct cidr *out, const char **why)
{
	const char *slash = s.n ? memchr(s.p, '/', s.n) : NULL;
	struct str ip = {s.p, slash ? (size_t)(slash - s.p) : s.n};
	struct cidr c = {.bits = 128};
	unsigned bits;

	if (!addr_parse(ip, &c.addr)) {
		*why = "not a network (expected one like 203.0.113.0/24, 2001:db8::/32 or a single address)";
		return false;
	}
	if (slash) {
		bool v4 = !memchr(ip.p, ':', ip.n);
		if (!parse_decimal((struct str){slash + 1, s.n - ip.n - 1}, v4 ? 32 : 128, &bits)) {
			*why = v4 ? "the prefix length of an IPv4 network is a number from 0 to 32"
				  : "the prefix length of an IPv6 network is a number from 0 to 128";
			return false;
		}
		c.bits = (uint8_t)(v4 ? bits + 96 : bits);
	}
	struct addr given = c.addr;
	addr_mask(&c.addr, c.bits);
	if (!addr_eq(&given, &c.addr)) {
		*why = explain_host_bits(&c);
		return false;
	}
	*out = c;
	return true;
}

size_t cidr_format(char *out, const struct cidr *c)
{
	char *p = out + addr_format(out, &c->addr);
	if (c->bits < 128) {
		*p++ = '/';
		p = format_byte(p, cidr_is_v4(c) ? c->bits - 96u : c->bits);
		*p = '\0';
	}
	return (size_t)(p - out);
}

bool cidr_has(const struct cidr *c, const struct addr *a)
{
	if (c->bits < 96 && addr_is_v4(a))
		return false;
	struct addr network = *a;
	addr_mask(&network, c->bits);
	return addr_eq(&network, &c->addr);
}

struct addr client_key(struct addr a, unsigned ipv6_prefix)
{
	if (!addr_is_v4(&a))
		addr_mask(&a, ipv6_prefix);
	return a;
}
