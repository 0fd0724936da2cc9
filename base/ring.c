/* SPDX-License-Identifier: MIT */
#include "base/ring.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/board.h"

/* A record is its header and the line, rounded up to 8 bytes. It never wraps: one that is no line skips to
 * the end. */
#define HEADER 8
#define PAD(n) (((n) + 7u) & ~(size_t)7)

struct ring {
	_Atomic uint64_t head; /* producer: bytes ever written */
	char pad[56];
	_Atomic uint64_t tail; /* reader: bytes ever read */
	char pad2[56];
	unsigned char data[RING_BYTES];
};

struct rings {
	_Atomic uint32_t sleeping; /* the reader waits on it while it is 1 */
	struct ring ring[PROC_MAX];
};

struct header {
	uint32_t len, is_line;
};

static struct rings *all; /* RING_KINDS of them */
static unsigned own;
static bool joined;

const char *ring_label(enum ring_kind kind)
{
	static const char *const labels[RING_KINDS] = {
		[RING_ACCESS] = "log=\"access\"",
		[RING_OWN] = "log=\"own\"",
	};
	return labels[kind];
}

size_t ring_bytes(void)
{
	return RING_KINDS * sizeof(struct rings);
}

void ring_attach(void *section)
{
	all = section;
}

void ring_join(unsigned slot)
{
	own = slot;
	joined = true;
}

bool ring_joined(void)
{
	return joined;
}

static struct header *header_at(struct ring *r, uint64_t pos)
{
	return (struct header *)(void *)(r->data + pos % RING_BYTES);
}

char *ring_reserve(enum ring_kind kind)
{
	const uint64_t want = HEADER + PAD(RING_LINE);
	struct ring *r = &all[kind].ring[own];
	uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
	uint64_t to_end = RING_BYTES - head % RING_BYTES;
	uint64_t skip = to_end < want ? to_end : 0;
	if (head + skip + want - tail > RING_BYTES)
		return NULL;
	if (skip) {
		*header_at(r, head) = (struct header){(uint32_t)(skip - HEADER), 0};
		head += skip;
		atomic_store_explicit(&r->head, head, memory_order_release);
	}
	return (char *)header_at(r, head) + HEADER;
}

static long futex(_Atomic uint32_t *at, int op, uint32_t val, const struct timespec *ts)
{
	return syscall(SYS_futex, at, op, val, ts, NULL, 0);
}

void ring_commit(enum ring_kind kind, size_t n)
{
	struct rings *of_kind = &all[kind];
	struct ring *r = &of_kind->ring[own];
	uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	*header_at(r, head) = (struct header){(uint32_t)n, 1};
	atomic_store_explicit(&r->head, head + HEADER + PAD(n), memory_order_seq_cst);
	if (atomic_load_explicit(&of_kind->sleeping, memory_order_seq_cst)) {
		atomic_store(&of_kind->sleeping, 0);
		futex(&of_kind->sleeping, FUTEX_WAKE, 1, NULL);
	}
}

static void skip_record(struct ring *r, size_t len)
{
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
	atomic_store_explicit(&r->tail, tail + HEADER + PAD(len), memory_order_release);
}

/* Read once: its producer may write over it between a check and its use. */
static struct header header_once(const struct ring *r, uint64_t pos)
{
	const volatile struct header *h =
		(const volatile struct header *)(const void *)(r->data + pos % RING_BYTES);
	return (struct header){h->len, h->is_line};
}

/* Whether a record of that length lies within what was written, and within the ring. */
static bool sound(uint64_t tail, uint64_t head, uint32_t len)
{
	uint64_t n = HEADER + PAD((uint64_t)len);
	return head % 8 == 0 && head - tail <= RING_BYTES && n <= head - tail &&
	       n <= RING_BYTES - tail % RING_BYTES;
}

const char *ring_peek(enum ring_kind kind, unsigned slot, size_t *n)
{
	struct ring *r = &all[kind].ring[slot];
	for (;;) {
		uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
		uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);
		if (tail == head)
			return NULL;
		struct header h = header_once(r, tail);
		if (!sound(tail, head, h.len)) { /* a producer gone mad: start over at its head */
			atomic_store(&r->tail, head & ~(uint64_t)7);
			return NULL;
		}
		if (h.is_line) {
			*n = h.len;
			return (const char *)header_at(r, tail) + HEADER;
		}
		skip_record(r, h.len);
	}
}

void ring_release(enum ring_kind kind, unsigned slot, size_t n)
{
	skip_record(&all[kind].ring[slot], n);
}

static bool any_line(struct rings *of_kind)
{
	for (unsigned i = 0; i < PROC_MAX; i++) {
		struct ring *r = &of_kind->ring[i];
		if (atomic_load_explicit(&board()->proc[i].kind, memory_order_relaxed) == PROC_NONE)
			continue;
		if (atomic_load(&r->head) != atomic_load(&r->tail))
			return true;
	}
	return false;
}

void ring_sleep(enum ring_kind kind, unsigned ms)
{
	struct rings *of_kind = &all[kind];
	struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};
	atomic_store(&of_kind->sleeping, 1);
	if (!any_line(of_kind))
		futex(&of_kind->sleeping, FUTEX_WAIT, 1, &ts);
	atomic_store(&of_kind->sleeping, 0);
}
