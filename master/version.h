/* SPDX-License-Identifier: MIT */
/* What `weir -V` prints: version, how it was built, and the libraries it was built with and runs with. */
#ifndef WEIR_MASTER_VERSION_H
#define WEIR_MASTER_VERSION_H

#include <stdio.h>

void version_print(FILE *);

#endif
