/* SPDX-License-Identifier: MIT */
/*
 * Log lines in the rings (base/ring.h) while there is no control process to write them: a ring has one
 * reader, so these are only for moments when the master knows that no control lives. A stderr or access log
 * that takes nothing is waited for LEFTOVER_US at most, each for itself; then what is left stays in its ring.
 */
#ifndef WEIR_MASTER_LEFTOVER_H
#define WEIR_MASTER_LEFTOVER_H

#include "base/clock.h"

#define LEFTOVER_US (200 * USEC_PER_MSEC)

/* Writes what the process of that slot, which writes no access log, has logged. */
void leftover_own(unsigned slot);

/* At the very end: everything of everybody. access_fd -1: the access log is off. */
void leftover_all(int access_fd);

#endif
