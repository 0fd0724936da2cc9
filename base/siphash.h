/* SPDX-License-Identifier: MIT */
/*
 * SipHash (Aumasson and Bernstein), a keyed hash of short inputs: without the key nobody can choose inputs that
 * collide. siphash24 is the function as published; siphash13 has fewer rounds and serves hash tables. The result is
 * the same on every machine. Pure functions: nothing is owned, nothing fails.
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

static inline __attribute__((always_inline)) void siphash_rounds(uint64_t v[4], int rounds)
{
	for (int i = 0; i < rounds; i++) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = siphash_rotl(v[1], 13) ^ v[0];
		v[3] = siphash_rotl(v[3], 16) ^ v[2];
		v[0] = siphash_rotl(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = siphash_rotl(v[1], 17) ^ v[2];
		v[3] = siphash_rotl(v[3], 21) ^ v[0];
		v[2] = siphash_rotl(v[2], 32);
	}
}

static inline __attribute__((always_inline)) uint64_t siphash_run(struct siphash_key key, const void *data, size_t n,
								  int per_block, int at_end)
{
	uint64_t v[4] = {key.k0 ^ 0x736f6d6570736575, key.k1 ^ 0x646f72616e646f6d, key.k0 ^ 0x6c7967656e657261,
			 key.k1 ^ 0x7465646279746573};
	const uint8_t *p = data;
	uint64_t last = (uint64_t)n << 56;

	for (; n >= 8; n -= 8, p += 8) {
		uint64_t block = siphash_load(p);
		v[3] ^= block;
		siphash_rounds(v, per_block);
		v[0] ^= block;
	}
	for (size_t i = 0; i < n; i++)
		last |= (uint64_t)p[i] << (8 * i);
	v[3] ^= last;
	siphash_rounds(v, per_block);
	v[0] ^= last;
	v[2] ^= 0xff;
	siphash_rounds(v, at_end);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static inline uint64_t siphash24(struct siphash_key key, const void *data, size_t n)
{
	return siphash_run(key, data, n, 2, 4);
}

static inline uint64_t siphash13(struct siphash_key key, const void *data, size_t n)
{
	return siphash_run(key, data, n, 1, 3);
}

#endif
