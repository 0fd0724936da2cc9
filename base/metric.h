/* SPDX-License-Identifier: MIT */
/*
 * Metrics. A family is a row of metrics.def; a series is a family with labels. All live in shared memory: one
 * registry of series for all processes, and for each process slot an array of values that only it writes, so
 * that counting is one plain addition. What /metrics shows is the sum over the slots.
 *
 * metric_series is for start-up and for first uses: it looks the series up by its text, or adds it.
 * metric_add is for the request path. When the registry is full, series 0 is given out, which counts what
 * could not be told apart. When a process leaves, the master folds its counters into slot 0 (metric_fold);
 * its gauges are dropped.
 */
#ifndef WEIR_BASE_METRIC_H
#define WEIR_BASE_METRIC_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

enum metric {
#define METRIC(sym, name, type, help) METRIC_##sym,
#include "base/metrics.def"
#undef METRIC
	METRIC_MAX
};

struct metric_row {
	const char *name;
	enum metric_type type;
	const char *help;
};
extern const struct metric_row metric_rows[METRIC_MAX];

typedef uint16_t series_t;
#define METRIC_SERIES 8192
#define METRIC_LABELS 160 /* longest label text, its NUL included; a longer one gets series 0 */

size_t metric_bytes(void);
void metric_attach(void *section);
void metric_join(unsigned slot);

/* labels: `site="x",code="200"`, or "" for none; values escaped by metric_label. */
series_t metric_series(enum metric, const char *labels);

/* Writes name="value" with the value escaped and cut to fit; returns the length, never more than cap - 1. */
size_t metric_label(char *out, size_t cap, const char *name, const char *value);

extern _Atomic uint64_t *metric_own; /* this process's values; a private array before metric_join */

static inline void metric_add(series_t s, uint64_t n)
{
	uint64_t v = atomic_load_explicit(&metric_own[s], memory_order_relaxed);
	atomic_store_explicit(&metric_own[s], v + n, memory_order_relaxed);
}

static inline void metric_sub(series_t s, uint64_t n) /* gauges */
{
	metric_add(s, (uint64_t)0 - n);
}

static inline void metric_set(series_t s, uint64_t n) /* gauges: of this process */
{
	atomic_store_explicit(&metric_own[s], n, memory_order_relaxed);
}

/* Latencies: buckets of 0.1 ms to 10 s, in steps of about 2.2. */
#define HISTOGRAM_BUCKETS 16
struct histogram {
	series_t bucket[HISTOGRAM_BUCKETS + 1]; /* the last is +Inf; not cumulative in memory */
	series_t sum_us;
};
extern const usec_t histogram_bounds[HISTOGRAM_BUCKETS];
void histogram_open(struct histogram *, enum metric, const char *labels);
void histogram_observe(const struct histogram *, usec_t took);

/* Sums over all slots, for the exporter. Calls row for every series in use, grouped by family in the order of
 * the rows. */
void metric_walk(void (*row)(void *ctx, enum metric, const char *labels, uint64_t value), void *ctx);
/* The sum of one series over all processes. */
uint64_t metric_sum(series_t);
/* The sum over all series of a family whose labels contain `part` (NULL: all). */
uint64_t metric_family_sum(enum metric, const char *part);
/* The same of one process, by its slot on the board; needs metric_join. */
uint64_t metric_family_of(unsigned slot, enum metric, const char *part);

void metric_fold(unsigned slot);

#endif
