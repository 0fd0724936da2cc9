/* SPDX-License-Identifier: MIT */
/*
 * The metrics as Prometheus text (version 0.0.4): all families of base/metric.h summed over the processes,
 * histograms made cumulative, and the families below that nobody counts, which are looked up when they are
 * asked for.
 */
#ifndef WEIR_CONTROL_PROMETHEUS_H
#define WEIR_CONTROL_PROMETHEUS_H

#include "control/state.h"
#include "control/text.h"

void prometheus_write(const struct control *, struct text *);

/* Those of base/metric.h alone. */
void prometheus_write_counted(struct text *);

/* One row a family that is looked up. */
struct prometheus_row {
	const char *name, *type, *help;
	void (*write)(const struct control *, const char *name, struct text *);
};
extern const struct prometheus_row prometheus_rows[];
extern const unsigned prometheus_rows_n;

#endif
