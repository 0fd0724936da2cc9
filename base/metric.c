/* SPDX-License-Identifier: MIT */
#include "base/metric.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/board.h"

enum { SERIES_EMPTY, SERIES_CLAIMED, SERIES_READY };

struct series {
	_Atomic uint32_t state;
	uint16_t family;
	char labels[METRIC_LABELS];
};

struct metrics {
	struct series series[METRIC_SERIES];
	_Atomic uint64_t value[PROC_MAX][METRIC_SERIES];
};

const struct metric_row metric_rows[METRIC_MAX] = {
#define METRIC(sym, name, type, help) {name, METRIC_##type, help},
#include "base/metrics.def"
#undef METRIC
};

const usec_t histogram_bounds[HISTOGRAM_BUCKETS] = {
	100,   250,    500,    1000,   2500,	5000,	 10000,	  25000,
	50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000,
};

static struct series alone_series[METRIC_SERIES];
static _Atomic uint64_t alone_value[METRIC_SERIES];
static struct metrics *shared;
_Atomic uint64_t *metric_own = alone_value;

size_t metric_bytes(void)
{
	return sizeof(struct metrics);
}

void metric_attach(void *section)
{
	shared = section;
}

void metric_join(unsigned slot)
{
	metric_own = shared->value[slot];
}

static uint32_t hash(enum metric m, const char *labels)
{
	uint32_t h = 2166136261u ^ (uint32_t)m;
	for (; *labels; labels++)
		h = (h ^ (unsigned char)*labels) * 16777619u;
	return h ^ h >> 15;
}

/* A claimed slot is about to be ready, unless its claimer died just then: after a while it is passed over. */
static uint32_t settled(struct series *s)
{
	uint32_t st = atomic_load_explicit(&s->state, memory_order_acquire);
	for (int i = 0; st == SERIES_CLAIMED && i < 1000; i++) {
		sched_yield();
		st = atomic_load_explicit(&s->state, memory_order_acquire);
	}
	return st;
}

static bool claim(struct series *s, enum metric m, const char *labels)
{
	uint32_t empty = SERIES_EMPTY;
	if (!atomic_compare_exchange_strong(&s->state, &empty, SERIES_CLAIMED))
		return false;
	s->family = (uint16_t)m;
	snprintf(s->labels, sizeof(s->labels), "%s", labels);
	atomic_store_explicit(&s->state, SERIES_READY, memory_order_release);
	return true;
}

series_t metric_series(enum metric m, const char *labels)
{
	struct series *all = shared ? shared->series : alone_series;
	uint32_t at = hash(m, labels);
	if (strlen(labels) >= METRIC_LABELS)
		return 0;
	for (uint32_t i = 0; i < METRIC_SERIES; i++, at++) {
		uint32_t n = at % METRIC_SERIES;
		struct series *s = &all[n];
		if (n == 0)
			continue;
		if (settled(s) == SERIES_EMPTY && claim(s, m, labels))
			return (series_t)n;
		if (settled(s) == SERIES_READY && s->family == m && strcmp(s->labels, labels) == 0)
			return (series_t)n;
	}
	return 0;
}

size_t metric_label(char *out, size_t cap, const char *name, const char *value)
{
	size_t n = (size_t)snprintf(out, cap, "%s=\"", name);
	if (n + 3 >= cap)
		return out[0] = 0, 0;
	for (; *value && n + 4 < cap; value++) {
		if (*value == '"' || *value == '\\')
			out[n++] = '\\';
		out[n++] = *value == '\n' ? ' ' : *value;
	}
	out[n++] = '"';
	out[n] = 0;
	return n;
}

void histogram_open(struct histogram *h, enum metric m, const char *labels)
{
	char text[METRIC_LABELS];
	const char *comma = *labels ? "," : "";
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		snprintf(text, sizeof(text), "%s%sle=\"%g\"", labels, comma,
			 (double)histogram_bounds[i] / 1e6);
		h->bucket[i] = metric_series(m, text);
	}
	snprintf(text, sizeof(text), "%s%sle=\"+Inf\"", labels, comma);
	h->bucket[HISTOGRAM_BUCKETS] = metric_series(m, text);
	snprintf(text, sizeof(text), "%s%ssum_us", labels, comma);
	h->sum_us = metric_series(m, text);
}

void histogram_observe(const struct histogram *h, usec_t took)
{
	int i = 0;
	while (i < HISTOGRAM_BUCKETS && took > histogram_bounds[i])
		i++;
	metric_add(h->bucket[i], 1);
	metric_add(h->sum_us, took > 0 ? (uint64_t)took : 0);
}

uint64_t metric_sum(series_t s)
{
	if (!shared)
		return atomic_load_explicit(&alone_value[s], memory_order_relaxed);
	uint64_t sum = 0;
	for (unsigned p = 0; p < PROC_MAX; p++) /* pages of slots that were never used stay untouched */
		if (p == 0 || atomic_load_explicit(&board()->proc[p].kind, memory_order_relaxed) != PROC_NONE)
			sum += atomic_load_explicit(&shared->value[p][s], memory_order_relaxed);
	return sum;
}

static bool ready(struct series *s, enum metric m)
{
	return atomic_load_explicit(&s->state, memory_order_acquire) == SERIES_READY && s->family == m;
}

void metric_walk(void (*row)(void *, enum metric, const char *, uint64_t), void *ctx)
{
	struct series *all = shared ? shared->series : alone_series;
	for (enum metric m = 0; m < METRIC_MAX; m++)
		for (unsigned i = 1; i < METRIC_SERIES; i++)
			if (ready(&all[i], m))
				row(ctx, m, all[i].labels, metric_sum((series_t)i));
}

uint64_t metric_family_sum(enum metric m, const char *part)
{
	struct series *all = shared ? shared->series : alone_series;
	uint64_t sum = 0;
	for (unsigned i = 1; i < METRIC_SERIES; i++)
		if (ready(&all[i], m) && (!part || strstr(all[i].labels, part)))
			sum += metric_sum((series_t)i);
	return sum;
}

uint64_t metric_family_of(unsigned slot, enum metric m, const char *part)
{
	uint64_t sum = 0;
	for (unsigned i = 1; i < METRIC_SERIES; i++)
		if (ready(&shared->series[i], m) && (!part || strstr(shared->series[i].labels, part)))
			sum += atomic_load_explicit(&shared->value[slot][i], memory_order_relaxed);
	return sum;
}

void metric_fold(unsigned slot)
{
	if (!slot)
		return;
	for (unsigned i = 0; i < METRIC_SERIES; i++) {
		uint64_t v = atomic_exchange(&shared->value[slot][i], 0);
		if (v && metric_rows[shared->series[i].family].type != METRIC_GAUGE)
			atomic_fetch_add(&shared->value[0][i], v);
	}
}
