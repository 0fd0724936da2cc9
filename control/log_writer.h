/* SPDX-License-Identifier: MIT */
/*
 * The one thread that writes logs: it takes lines from the rings of all processes (base/ring.h) and writes
 * those of the access log to its descriptor and weir's own to stderr, in batches of whole lines. A log that
 * nobody reads stops this thread alone: the rings fill, and who finds no room there drops and counts.
 *
 * A line that cannot be written (EPIPE, ENOSPC) is lost and counted in weir_log_dropped_total. All functions
 * are for control's main thread. The thread itself never logs: control's ring has one producer, which is the
 * main thread; log_writer_report says there what went wrong.
 */
#ifndef WEIR_CONTROL_LOG_WRITER_H
#define WEIR_CONTROL_LOG_WRITER_H

#include <stdbool.h>

#include "base/clock.h"

struct log_writer;

#define LOG_WRITER_NOWHERE (-1) /* access log: off */

/* Starts the thread; it owns access_fd and closes it, but for stdout. NULL with errno. */
struct log_writer *log_writer_start(int access_fd, int own_fd);

/* Lines from the next batch on go to this descriptor; the old one is closed. */
void log_writer_swap(struct log_writer *, int access_fd);

/* For a timer: logs when writing began to fail, and when it goes again, once each. */
void log_writer_report(struct log_writer *);

/*
 * Writes what is in the rings and ends the thread. False: it was stuck for longer than `most`; it is left
 * alone then, and the process must exit.
 */
bool log_writer_stop(struct log_writer *, usec_t most);

#endif
