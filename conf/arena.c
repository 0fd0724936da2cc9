/* SPDX-License-Identifier: MIT */
#include "conf/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Under AddressSanitizer each piece is an allocation of its own, so that it sees reads beyond one. */
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define BLOCK 0
#endif
#endif
#if !defined(BLOCK) && defined(__SANITIZE_ADDRESS__)
#define BLOCK 0
#endif
#ifndef BLOCK
#define BLOCK 16384
#endif

struct arena_block {
	struct arena_block *next;
	size_t size, used;
	alignas(max_align_t) unsigned char bytes[];
};

static struct arena_block *add_block(struct arena *a, size_t n)
{
	size_t size = n > BLOCK ? n : BLOCK;
	struct arena_block *b = n < SIZE_MAX / 2 ? malloc(sizeof(*b) + size) : NULL;
	if (!b) {
		a->failed = true;
		return NULL;
	}
	b->size = size;
	b->used = 0;
	b->next = a->blocks;
	a->blocks = b;
	return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
	struct arena_block *b = a->blocks;
	size_t at =
		b ? (b->used + alignof(max_align_t) - 1) / alignof(max_align_t) * alignof(max_align_t) : 0;
	if (!b || at > b->size || b->size - at < n || b->size == at) {
		b = add_block(a, n);
		at = 0;
	}
	if (!b)
		return NULL;
	b->used = at + n;
	return memset(b->bytes + at, 0, n);
}

struct str arena_str(struct arena *a, struct str s)
{
	char *p = arena_alloc(a, s.n + 1);
	if (!p)
		return STR_NONE;
	if (s.n)
		memcpy(p, s.p, s.n);
	return (struct str){p, s.n};
}

struct str arena_fmt(struct arena *a, const char *fmt, ...)
{
	va_list ap, again;
	va_start(ap, fmt);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	char *p = n >= 0 ? arena_alloc(a, (size_t)n + 1) : NULL;
	if (p)
		vsnprintf(p, (size_t)n + 1, fmt, again);
	va_end(again);
	va_end(ap);
	return (struct str){p, p ? (size_t)n : 0};
}

void arena_free(struct arena *a)
{
	while (a->blocks) {
		struct arena_block *b = a->blocks;
		a->blocks = b->next;
		explicit_bzero(b->bytes, b->used);
		free(b);
	}
	a->failed = false;
}
