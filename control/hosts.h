/* SPDX-License-Identifier: MIT */
/* Hosts as people type them, and the sites that serve them. Pure. */
#ifndef WEIR_CONTROL_HOSTS_H
#define WEIR_CONTROL_HOSTS_H

#include "conf/conf.h"

#define HOSTS_TEXT 256

/* Lower case, without port and trailing dot; n == 0: it does not fit or is empty. */
struct str hosts_normal(struct str host, char out[HOSTS_TEXT]);

/* By any of its hosts as the config writes them, or one that its wildcard covers; `*` alone names no other
 * site. */
const struct conf_site *hosts_site_named(const struct conf *, const char *host);

/* The nearest host of the config; n == 0: none is near. */
struct str hosts_nearest(const struct conf *, const char *host);

#endif
