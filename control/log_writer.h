/* SPDX-License-Identifier: MIT */
/*
 * The threads that write logs, one for the access log and one for weir's own: each takes its lines from the
 * rings of all processes (base/ring.h) and writes them to its descriptor in batches of whole lines. A log
 * that nobody reads stops its thread alone: its rings fill, and who finds no room there drops and counts.
 *
 * A line that cannot be written (EPIPE, ENOSPC, a file as large as it may be) is lost and counted in
 * weir_log_dropped_total. All functions are for control's main thread. The threads never log and never count:
 * control's ring and its metrics have one producer, which is the main thread; log_writer_report does both.
 */
#ifndef WEIR_CONTROL_LOG_WRITER_H
#define WEIR_CONTROL_LOG_WRITER_H

#include <stdbool.h>

#include "base/clock.h"

struct log_writer;

#define LOG_WRITER_NOWHERE (-1) /* access log: off */

/* Starts the threads; they own access_fd and close it, but for stdout. NULL with errno. */
struct log_writer *log_writer_start(int access_fd, int own_fd);

/* Lines from the next batch on go to this descriptor; the old one is closed. */
void log_writer_swap(struct log_writer *, int access_fd);

/* For a timer: counts what was lost; logs when writing began to fail, and when it goes again, once each. */
void log_writer_report(struct log_writer *);

/*
 * Writes what is in the rings and ends the threads. False: one was stuck for longer than `most`; it is left
 * alone then, and the process must exit.
 */
bool log_writer_stop(struct log_writer *, usec_t most);

#endif
