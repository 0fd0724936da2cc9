/* SPDX-License-Identifier: MIT */
/*
 * A process that dies of a fault says so first: signal, address and backtrace go to stderr, written by
 * nothing but async-signal-safe calls, on a stack of its own (the usual one may be what overflowed). Then the
 * signal does what it always does. Built with a sanitizer, faults are the sanitizer's to report, and only
 * SIGABRT is taken.
 */
#ifndef WEIR_MASTER_CRASH_H
#define WEIR_MASTER_CRASH_H

/* The name ("worker 0") is kept, not copied. */
void crash_install(const char *name);

#endif
