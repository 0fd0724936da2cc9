/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share: a promise that aborts when it is broken, and input taken apart piece by piece.
 *
 * A target is one file, fuzz_NAME.c, with LLVMFuzzerTestOneInput; its seeds lie in seeds/NAME, and a
 * dictionary may in NAME.dict. The input is laid out so that seeds can be written with an editor: choices
 * are letters and digits, texts go up to the end of a line or of the input. A target checks what must hold
 * of every input, and reads it a second time in the plainest way there is where it can.
 */
#ifndef WEIR_TESTS_FUZZ_FUZZ_H
#define WEIR_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The text of the promise is in the report, so that a finding tells what it is without a debugger. */
#define promise(kept) ((kept) ? (void)0 : promise_broken(__FILE__, __LINE__, #kept))

static inline __attribute__((noreturn)) void promise_broken(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: a promise is broken: %s\n", file, line, what);
	abort();
}

struct feed {
	const char *p;
	size_t n;
};

static inline struct feed feed_of(const uint8_t *data, size_t size)
{
	return (struct feed){(const char *)data, size};
}

/* 0 when the input is used up. */
static inline unsigned feed_byte(struct feed *f)
{
	if (f->n == 0)
		return 0;
	f->n--;
	return (unsigned char)*f->p++;
}

/* Up to the next `end`, which is taken and not part of it; else all that is left. */
static inline struct str feed_until(struct feed *f, char end)
{
	const char *stop = f->n ? memchr(f->p, end, f->n) : NULL;
	struct str s = {f->p, stop ? (size_t)(stop - f->p) : f->n};
	size_t taken = s.n + (stop != NULL);

	f->p += taken;
	f->n -= taken;
	return s;
}

static inline struct str feed_rest(struct feed *f)
{
	struct str s = {f->p, f->n};

	f->p += f->n;
	f->n = 0;
	return s;
}

/* In memory of just its size, where a sanitizer sees a read behind it. The caller frees it. */
static inline char *exact_copy(const void *p, size_t n)
{
	char *copy = malloc(n ? n : 1);

	promise(copy != NULL);
	if (n)
		memcpy(copy, p, n);
	return copy;
}

/* Bytes that a target writes; more than it has room for breaks a promise. */
struct sheet {
	char *p;
	size_t n, cap;
};

static inline void sheet_bytes(struct sheet *s, const void *p, size_t n)
{
	promise(n <= s->cap - s->n);
	if (n)
		memcpy(s->p + s->n, p, n);
	s->n += n;
}

static inline void sheet_str(struct sheet *s, struct str t)
{
	sheet_bytes(s, t.p, t.n);
}

static inline struct str sheet_text(const struct sheet *s)
{
	return (struct str){s->p, s->n};
}

#endif
