/* SPDX-License-Identifier: MIT */
/*
 * How many client connections the limit of open files has room for: two descriptors each, as every client may
 * have a request at an upstream, and some for the process itself. Pure functions over the numbers.
 */
#ifndef WEIR_PROXY_CAPACITY_H
#define WEIR_PROXY_CAPACITY_H

#include <sys/resource.h>

/* Connections that one worker can hold with so many open files; RLIM_INFINITY: as many as an unsigned says.
 */
unsigned capacity_of_files(rlim_t files);

/* Open files that each of `workers` needs, so that together they hold so many connections though they do not
 * share them evenly. */
rlim_t capacity_files(unsigned connections, unsigned workers);

#endif
