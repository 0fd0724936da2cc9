/* SPDX-License-Identifier: MIT */
/*
 * SipHash (Aumasson and Bernstein), a keyed hash of short inputs: without the key nobody can choose inputs
 * that collide. siphash24 is the function as published; siphash13 has fewer rounds and serves hash tables.
 * The result is the same on every machine. Pure functions: nothing is owned, nothing fails.
 */
#ifndef WEIR_BASE_SIPHASH_H
#define WEIR_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct siphash_key {
	uint64_t k0, k1;
};

static inline uint64_t siphash_load(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	return v;
}

static inline struct siphash_key siphash_key(const uint8_t bytes[16])
{
	return (struct siphash_key){siphash_load(bytes), siphash_load(bytes + 8)};
}

static inline uint64_t siphash_rotl(uint64_t x, unsigned by)
{
	return x << by | x >> (64 - by);
}

/* One round, on values rather than an array, so that they stay in registers. */
#define SIPHASH_ROUND(a, b, c, d)                                                                            \
	do {                                                                                                 \
		(a) += (b);                                                                                  \
		(c) += (d);                                                                                  \
		(b) = siphash_rotl(b, 13) ^ (a);                                                             \
		(d) = siphash_rotl(d, 16) ^ (c);                                                             \
		(a) = siphash_rotl(a, 32);                                                                   \
		(c) += (b);                                                                                  \
		(a) += (d);                                                                                  \
		(b) = siphash_rotl(b, 17) ^ (c);                                                             \
		(d) = siphash_rotl(d, 21) ^ (a);                                                             \
		(c) = siphash_rotl(c, 32);                                                                   \
	} while (0)

static inline __attribute__((always_inline)) uint64_t siphash_run(struct siphash_key key, const void *data,
								  size_t n, int per_block, int at_end)
{
	uint64_t a = key.k0 ^ 0x736f6d6570736575, b = key.k1 ^ 0x646f72616e646f6d;
	uint64_t c = key.k0 ^ 0x6c7967656e657261, d = key.k1 ^ 0x7465646279746573;
	const uint8_t *p = data;
	uint64_t last = (uint64_t)n << 56;

	for (; n >= 8; n -= 8, p += 8) {
		uint64_t block = siphash_load(p);
		d ^= block;
		for (int i = 0; i < per_block; i++)
			SIPHASH_ROUND(a, b, c, d);
		a ^= block;
	}
	for (size_t i = 0; i < n; i++)
		last |= (uint64_t)p[i] << (8 * i);
	d ^= last;
	for (int i = 0; i < per_block; i++)
		SIPHASH_ROUND(a, b, c, d);
	a ^= last;
	c ^= 0xff;
	for (int i = 0; i < at_end; i++)
		SIPHASH_ROUND(a, b, c, d);
	return a ^ b ^ c ^ d;
}

static inline uint64_t siphash24(struct siphash_key key, const void *data, size_t n)
{
	return siphash_run(key, data, n, 2, 4);
}

static inline uint64_t siphash13(struct siphash_key key, const void *data, size_t n)
{
	return siphash_run(key, data, n, 1, 3);
}

/* siphash13 of 16 bytes, written out: for tables that are asked with every request. */
static inline __attribute__((always_inline)) uint64_t siphash13_16(struct siphash_key key, const void *data)
{
	uint64_t a = key.k0 ^ 0x736f6d6570736575, b = key.k1 ^ 0x646f72616e646f6d;
	uint64_t c = key.k0 ^ 0x6c7967656e657261, d = key.k1 ^ 0x7465646279746573;
	uint64_t first = siphash_load(data), second = siphash_load((const uint8_t *)data + 8);
	uint64_t last = (uint64_t)16 << 56;

	d ^= first;
	SIPHASH_ROUND(a, b, c, d);
	a ^= first;
	d ^= second;
	SIPHASH_ROUND(a, b, c, d);
	a ^= second;
	d ^= last;
	SIPHASH_ROUND(a, b, c, d);
	a ^= last;
	c ^= 0xff;
	SIPHASH_ROUND(a, b, c, d);
	SIPHASH_ROUND(a, b, c, d);
	SIPHASH_ROUND(a, b, c, d);
	return a ^ b ^ c ^ d;
}

#endif
