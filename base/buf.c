/* SPDX-License-Identifier: MIT */
#include "base/buf.h"

#include <stdlib.h>
#include <string.h>

/* Under AddressSanitizer nothing is pooled, so that a use after the last put is seen. */
#if defined(__SANITIZE_ADDRESS__)
#define POOL_KEEP 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_KEEP 0
#endif
#endif
#ifndef POOL_KEEP
#define POOL_KEEP (8u << 20) /* bytes kept a size */
#endif

static struct pool {
	uint32_t size;
	uint32_t kept;
	uint32_t spare; /* the fewest kept since the last trim */
	struct block *first;
} pools[] = {{.size = BLOCK_SMALL}, {.size = BLOCK_MEDIUM}, {.size = BLOCK_LARGE}};

static size_t used;

static struct pool *pool_of(size_t bytes)
{
	for (size_t i = 0; i < sizeof(pools) / sizeof(pools[0]); i++)
		if (bytes <= pools[i].size)
			return &pools[i];
	return NULL;
}

struct block *block_get(size_t want)
{
	size_t bytes = want + sizeof(struct block);
	struct pool *p = pool_of(bytes);
	struct block *b;
	if (p && p->first) {
		b = p->first;
		p->first = b->next;
		if (--p->kept < p->spare)
			p->spare = p->kept;
	} else {
		if (p)
			bytes = p->size;
		b = malloc(bytes);
		if (!b)
			return NULL;
		b->cap = (uint32_t)(bytes - sizeof(struct block));
	}
	b->next = NULL;
	b->holders = 1;
	used += b->cap + sizeof(struct block);
	return b;
}

void block_put(struct block *b)
{
	if (--b->holders)
		return;
	size_t bytes = b->cap + sizeof(struct block);
	struct pool *p = pool_of(bytes);
	used -= bytes;
	if (p && bytes == p->size && p->kept < POOL_KEEP / p->size) {
		b->next = p->first;
		p->first = b;
		p->kept++;
		return;
	}
	free(b);
}

static size_t drain(struct pool *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct block *b = p->first;
		p->first = b->next;
		free(b);
	}
	p->kept -= n;
	p->spare = p->kept;
	return (size_t)n * p->size;
}

size_t block_pools_trim(void)
{
	size_t freed = 0;
	for (size_t i = 0; i < sizeof(pools) / sizeof(pools[0]); i++)
		freed += drain(&pools[i], pools[i].spare);
	return freed;
}

void block_pools_free(void)
{
	for (size_t i = 0; i < sizeof(pools) / sizeof(pools[0]); i++)
		drain(&pools[i], pools[i].kept);
}

size_t block_bytes_used(void)
{
	return used;
}

char *buf_room(struct buf *b, size_t want, size_t *room)
{
	size_t have = buf_len(b);
	if (b->block && b->block->cap - b->end >= want)
		goto found;
	if (b->block && b->block->holders == 1 && b->block->cap - have >= want) {
		memmove(b->block->data, b->block->data + b->at, have);
	} else {
		struct block *grown = block_get(have + want);
		if (!grown)
			return NULL;
		if (b->block) {
			memcpy(grown->data, b->block->data + b->at, have);
			block_put(b->block);
		}
		b->block = grown;
	}
	b->at = 0;
	b->end = (uint32_t)have;
found:
	*room = b->block->cap - b->end;
	return b->block->data + b->end;
}

bool buf_append(struct buf *b, const void *bytes, size_t n)
{
	size_t room;
	char *to = n ? buf_room(b, n, &room) : NULL;
	if (!to)
		return n == 0;
	memcpy(to, bytes, n);
	buf_commit(b, n);
	return true;
}
