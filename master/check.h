/* SPDX-License-Identifier: MIT */
/*
 * `weir -t`: loads the config as a start would, without touching a socket, and prints errors and warnings to
 * stderr and the table of hosts to stdout. With `live` it also tries what the config names on this machine
 * and on the network: the user, and Redis with its credentials. That takes a few seconds at most.
 */
#ifndef WEIR_MASTER_CHECK_H
#define WEIR_MASTER_CHECK_H

#include <stdbool.h>

/* The exit status: 1 for errors, and with `strict` for warnings too. */
int check_run(const char *config_path, bool strict, bool live);

#endif
