/* SPDX-License-Identifier: MIT */
/*
 * Buffers for bytes in flight. A block is a piece of memory with a count of its holders; a buf is a window
 * [at, end) into one block, and holds nothing while it is empty and let go, so an idle connection costs none.
 *
 * Bytes in a block never move while somebody else holds it too: a request's head stays where it was parsed as
 * long as its exchange holds the block, while the bytes after it go on through the same buf.
 *
 * Blocks are kept in per-process pools by size. Out of memory: the calls answer NULL or false, nothing is
 * lost.
 */
#ifndef WEIR_BASE_BUF_H
#define WEIR_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLOCK_ALIGN 64 /* bytes: where data begins is a multiple of it */

struct block {
	struct block *next; /* in the pool */
	uint32_t holders;
	uint32_t cap;
	_Alignas(BLOCK_ALIGN) char data[];
};

struct buf {
	struct block *block; /* NULL: empty */
	uint32_t at, end;
};

#define BLOCK_SMALL 4096 /* sizes of whole blocks; a little less is usable */
#define BLOCK_MEDIUM 16384
#define BLOCK_LARGE 65536

/* A block with at least `want` usable bytes and one holder. */
struct block *block_get(size_t want);
void block_put(struct block *);

static inline struct block *block_hold(struct block *b)
{
	b->holders++;
	return b;
}

/* Frees the blocks that the pools have not needed since the last call, and says how many bytes that were. */
size_t block_pools_trim(void);
/* Gives the pools' memory back, for leak checks at exit. */
void block_pools_free(void);
/* Bytes that are out of the pools now. */
size_t block_bytes_used(void);

static inline size_t buf_len(const struct buf *b)
{
	return b->end - b->at;
}

static inline char *buf_head(const struct buf *b)
{
	return b->block->data + b->at;
}

/* Lets go of the block when nothing is left in it. */
static inline void buf_consume(struct buf *b, size_t n)
{
	b->at += (uint32_t)n;
	if (b->at == b->end) {
		if (b->block)
			block_put(b->block);
		*b = (struct buf){NULL, 0, 0};
	}
}

static inline void buf_drop(struct buf *b)
{
	buf_consume(b, buf_len(b));
}

/*
 * Room for more bytes after the present ones, at least `want` (> 0): *room says how many. The bytes may move
 * to another block for it. Write there, then buf_commit.
 */
char *buf_room(struct buf *b, size_t want, size_t *room);

static inline void buf_commit(struct buf *b, size_t n)
{
	b->end += (uint32_t)n;
}

/* After buf_room with nothing committed: lets an empty block go. */
static inline void buf_settle(struct buf *b)
{
	if (b->at == b->end)
		buf_consume(b, 0);
}

bool buf_append(struct buf *b, const void *bytes, size_t n);

#endif
