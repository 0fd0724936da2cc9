/* SPDX-License-Identifier: MIT */
/*
 * A process that dies of a fault says so first: signal, address and backtrace go to stderr, written by
 * nothing but async-signal-safe calls, on a stack of its own (the usual one may be what overflowed). Then the
 * signal does what it always does, after a second at most: a stderr that nobody reads keeps no dead process
 * in the place of the next one. Built with a sanitizer, real faults are the sanitizer's to report; those sent
 * by somebody are ours.
 */
#ifndef WEIR_MASTER_CRASH_H
#define WEIR_MASTER_CRASH_H

/* The name ("worker 0") is kept, not copied. Called again, it is another name. */
void crash_install(const char *name);

#endif
