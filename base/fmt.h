/* SPDX-License-Identifier: MIT */
/*
 * Numbers and bytes into a buffer that is known to be large enough: each call writes at `out` and returns the
 * place after the last byte written. No terminating NUL, no allocation, no locale. The caller owns the buffer
 * and has room for the longest form (FMT_U64_MAX, FMT_I64_MAX, or the width that it asks for), all of which
 * may be written to.
 */
#ifndef WEIR_BASE_FMT_H
#define WEIR_BASE_FMT_H

#include <endian.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/str.h"

#define FMT_U64_MAX 20 /* 18446744073709551615 */
#define FMT_I64_MAX 20 /* -9223372036854775808 */
#define FMT_DOTTED_ROOM 16

static inline void fmt_two_digits(char *out, unsigned v) /* v < 100 */
{
	static const char pairs[] = "00010203040506070809"
				    "10111213141516171819"
				    "20212223242526272829"
				    "30313233343536373839"
				    "40414243444546474849"
				    "50515253545556575859"
				    "60616263646566676869"
				    "70717273747576777879"
				    "80818283848586878889"
				    "90919293949596979899";
	memcpy(out, pairs + 2 * v, 2);
}

static inline unsigned fmt_u64_len(uint64_t v)
{
	unsigned n = 1;
	for (; v >= 10000; v /= 10000)
		n += 4;
	return n + (v >= 10) + (v >= 100) + (v >= 1000);
}

/* Exactly `width` digits, zeros in front; higher digits than fit are cut off. */
static inline char *fmt_pad(char *out, uint64_t v, unsigned width)
{
	unsigned left = width;
	for (; left >= 2; left -= 2, v /= 100)
		fmt_two_digits(out + left - 2, (unsigned)(v % 100));
	if (left)
		*out = (char)('0' + v % 10);
	return out + width;
}

#define FMT_EACH_BYTE UINT64_C(0x0101010101010101)

/* The eight digits of v < 10^8, a byte each, the first lowest: halves, quarters and digits side by side. */
static inline uint64_t fmt_digits8(uint64_t v)
{
	uint64_t x = v / 10000 | v % 10000 << 32;
	uint64_t q = (x * 10486) >> 20 & 0x0000007f0000007f;
	x = q | (x - 100 * q) << 16;
	q = (x * 103) >> 10 & 0x000f000f000f000f;
	return q | (x - 10 * q) << 8;
}

/* Up to 10^8 without a branch on the length: a number of six digits costs 30 instructions, pair by pair 60.
 */
static inline char *fmt_u64(char *out, uint64_t v)
{
	if (v >= 100000000)
		return fmt_pad(out, v, fmt_u64_len(v));
	uint64_t x = fmt_digits8(v);
	unsigned zeros = (unsigned)__builtin_ctzll(x | UINT64_C(1) << 56) / 8;
	x = htole64((x + '0' * FMT_EACH_BYTE) >> (8 * zeros));
	memcpy(out, &x, 8);
	return out + 8 - zeros;
}

static inline char *fmt_i64(char *out, int64_t v)
{
	if (v >= 0)
		return fmt_u64(out, (uint64_t)v);
	*out = '-';
	return fmt_u64(out + 1, 0 - (uint64_t)v);
}

/* Each byte as a decimal number with the dots behind it that fill the four places up. */
extern const char fmt_dotted_table[256][4];

/*
 * Four bytes as a dotted quad (an IPv4 address). `out` has FMT_DOTTED_ROOM. 45 instructions; 105 with a
 * branch for each length of a number (callgrind).
 */
static inline char *fmt_dotted(char *out, const uint8_t b[4])
{
	for (unsigned i = 0; i < 4; i++) {
		memcpy(out, fmt_dotted_table[b[i]], 4);
		out += 2 + (b[i] >= 10) + (b[i] >= 100);
	}
	return out - 1;
}

/* Exactly `width` lower-case hexadecimal digits, zeros in front; higher digits than fit are cut off. */
static inline char *fmt_hex(char *out, uint64_t v, unsigned width)
{
	for (unsigned i = width; i-- > 0; v >>= 4)
		out[i] = "0123456789abcdef"[v & 15];
	return out + width;
}

/*
 * The 32 digits of a number of 128 bits. On x86-64 all at once: its half bytes are spread to a byte each, and
 * those above 9 moved on to the letters. A request id costs 114 instructions with it, 180 with eight digits
 * at a time (callgrind).
 */
static inline char *fmt_hex32(char *out, uint64_t high, uint64_t low)
{
#ifdef __SSE2__
	const __m128i four_bits = _mm_set1_epi8(0x0f), nine = _mm_set1_epi8(9), zero = _mm_set1_epi8('0');
	const __m128i to_letter = _mm_set1_epi8('a' - '0' - 10);
	__m128i v = _mm_set_epi64x((int64_t)__builtin_bswap64(low), (int64_t)__builtin_bswap64(high));
	__m128i upper = _mm_and_si128(_mm_srli_epi16(v, 4), four_bits), lower = _mm_and_si128(v, four_bits);
	__m128i digits[2] = {_mm_unpacklo_epi8(upper, lower), _mm_unpackhi_epi8(upper, lower)};
	for (unsigned i = 0; i < 2; i++) {
		__m128i letters = _mm_and_si128(_mm_cmpgt_epi8(digits[i], nine), to_letter);
		digits[i] = _mm_add_epi8(_mm_add_epi8(digits[i], zero), letters);
		_mm_storeu_si128((__m128i *)(void *)(out + 16 * i), digits[i]);
	}
	return out + 32;
#else
	return fmt_hex(fmt_hex(out, high, 16), low, 16);
#endif
}

static inline char *fmt_str(char *out, struct str s)
{
	if (s.n)
		memcpy(out, s.p, s.n);
	return out + s.n;
}

#endif
