/* SPDX-License-Identifier: MIT */
#include "base/events.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/log.h"

struct slot {
	_Atomic uint64_t seq; /* 0 while it is being written */
	wall_t at;
	int kind, pid;
	char text[EVENT_TEXT];
};

struct events {
	_Atomic uint64_t next;
	struct slot slot[EVENTS_KEPT];
};

static struct events alone;
static struct events *all = &alone;

size_t events_bytes(void)
{
	return sizeof(struct events);
}

void events_attach(void *section)
{
	all = section;
}

const char *event_kind_name(enum event_kind k)
{
	static const char *const names[] = {"process", "reload", "store", "upstream",
					    "lift",    "client", "admin"};
	return (unsigned)k < sizeof(names) / sizeof(names[0]) ? names[k] : "unknown";
}

void events_add(enum event_kind kind, const char *fmt, ...)
{
	uint64_t seq = atomic_fetch_add(&all->next, 1) + 1;
	struct slot *s = &all->slot[seq % EVENTS_KEPT];
	va_list ap;
	atomic_store(&s->seq, 0);
	atomic_thread_fence(memory_order_release);
	s->at = clock_wall();
	s->kind = kind;
	s->pid = getpid();
	va_start(ap, fmt);
	vsnprintf(s->text, sizeof(s->text), fmt, ap);
	va_end(ap);
	atomic_store(&s->seq, seq);
	log_info("%s: %s", event_kind_name(kind), s->text);
}

unsigned events_last(struct event_row *rows, unsigned n)
{
	uint64_t next = atomic_load(&all->next);
	if (n > EVENTS_KEPT)
		n = EVENTS_KEPT;
	uint64_t first = next > n ? next - n + 1 : 1;
	unsigned count = 0;
	for (uint64_t seq = first; seq <= next; seq++) {
		struct slot *s = &all->slot[seq % EVENTS_KEPT];
		struct event_row *r = &rows[count];
		if (atomic_load(&s->seq) != seq)
			continue;
		*r = (struct event_row){
			.seq = seq, .at = s->at, .kind = (enum event_kind)s->kind, .pid = s->pid};
		snprintf(r->text, sizeof(r->text), "%s", s->text);
		atomic_thread_fence(memory_order_acquire);
		count += atomic_load(&s->seq) == seq;
	}
	return count;
}
