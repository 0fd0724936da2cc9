/* SPDX-License-Identifier: MIT */
#include "ratelimit/redis_slots.h"

#include <string.h>

/* Half a byte at a time: 32 bytes of table, and a client's key is 20 bytes long. */
uint16_t redis_crc16(const char *bytes, size_t n)
{
	static const uint16_t half[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
					  0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
	unsigned crc = 0;
	for (size_t i = 0; i < n; i++) {
		unsigned byte = (uint8_t)bytes[i];
		crc = (crc << 4 ^ half[(crc >> 12 ^ byte >> 4) & 15]) & 0xffff;
		crc = (crc << 4 ^ half[(crc >> 12 ^ byte) & 15]) & 0xffff;
	}
	return (uint16_t)crc;
}

unsigned redis_slot(struct str key)
{
	const char *open = key.n ? memchr(key.p, '{', key.n) : NULL;
	const char *tag = open ? open + 1 : NULL;
	const char *close = tag ? memchr(tag, '}', key.n - (size_t)(tag - key.p)) : NULL;
	if (close && close > tag)
		key = (struct str){tag, (size_t)(close - tag)};
	return redis_crc16(key.p, key.n) % REDIS_SLOTS;
}

/* --- where a server is --- */

bool redis_host_fits(struct str host)
{
	for (size_t i = 0; i < host.n; i++) {
		char c = host.p[i], low = c | 0x20;
		if (!((low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
		      c == '_' || c == ':'))
			return false;
	}
	return host.n <= 253;
}

/* --- MOVED SLOT HOST:PORT and ASK SLOT HOST:PORT --- */

static bool take_number(struct str *s, unsigned max, unsigned *v)
{
	size_t n = 0;
	for (*v = 0; n < s->n && s->p[n] >= '0' && s->p[n] <= '9' && *v <= max; n++)
		*v = *v * 10 + (unsigned)(s->p[n] - '0');
	*s = (struct str){s->p + n, s->n - n};
	return n > 0 && *v <= max;
}

static bool read_where(struct str s, struct redis_redirect *r)
{
	unsigned port;
	if (!take_number(&s, REDIS_SLOTS - 1, &r->slot) || s.n < 2 || *s.p != ' ')
		return false;
	s = (struct str){s.p + 1, s.n - 1};
	const char *colon = memrchr(s.p, ':', s.n); /* an IPv6 address stands there without brackets */
	if (!colon)
		return false;
	r->place.host = (struct str){s.p, (size_t)(colon - s.p)};
	if (str_eq(r->place.host, STR("?")))
		r->place.host = STR_NONE;
	if (!redis_host_fits(r->place.host))
		return false;
	s = (struct str){colon + 1, s.n - (size_t)(colon - s.p) - 1};
	if (!take_number(&s, UINT16_MAX, &port) || s.n || !port)
		return false;
	r->place.port = (uint16_t)port;
	return true;
}

static bool starts(struct str s, struct str word)
{
	return s.n >= word.n && memcmp(s.p, word.p, word.n) == 0;
}

struct redis_redirect redis_redirect_read(struct str e)
{
	static const struct {
		struct str word;
		enum redis_redirect_kind kind;
	} rows[] = {{STR("MOVED "), REDIS_MOVE}, {STR("ASK "), REDIS_ASK_THERE}};
	struct redis_redirect r = {.kind = REDIS_STAY};
	for (unsigned i = 0; i < 2; i++)
		if (starts(e, rows[i].word) &&
		    read_where((struct str){e.p + rows[i].word.n, e.n - rows[i].word.n}, &r))
			r.kind = rows[i].kind;
	if (starts(e, STR("TRYAGAIN")))
		r.kind = REDIS_TRY_AGAIN;
	return r;
}
