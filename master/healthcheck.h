/* SPDX-License-Identifier: MIT */
/*
 * `weir --healthcheck`: asks the weir that runs with this config whether it is well, as the load balancer
 * would, over the first listener that needs no PROXY header, else over admin.http, else with a PROXY header
 * of its own. It takes HEALTHCHECK_MS at most, so that a container's health check needs neither curl nor a
 * shell.
 */
#ifndef WEIR_MASTER_HEALTHCHECK_H
#define WEIR_MASTER_HEALTHCHECK_H

#define HEALTHCHECK_MS 3000

/* The exit status: 0 when the answer is 200; else 1, and one line on stderr says why. */
int healthcheck_run(const char *config_path);

#endif
