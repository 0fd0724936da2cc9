/* SPDX-License-Identifier: MIT */
/* Host patterns of sites: names, addresses, "*.example.com" and "*". For the files of this folder. */
#ifndef WEIR_CONF_HOSTS_H
#define WEIR_CONF_HOSTS_H

#include "conf/arena.h"
#include "conf/conf.h"

/* NULL: *out is the pattern as it is looked up (lower case, no trailing dot). Else what is expected. */
const char *host_pattern(struct arena *, struct str written, struct str *out);

/* By bytes, the shorter of two that agree first: the order of conf.host. */
int host_compare(struct str, struct str);

/* Is the host the domain itself or below it? Of a wildcard: may a host that it stands for be? */
bool host_below(struct str pattern, struct str domain);

#endif
