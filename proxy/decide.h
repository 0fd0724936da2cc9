/* SPDX-License-Identifier: MIT */
/*
 * What the config says of a request, before anything is spent: may this client enter, and which policies hold
 * him. Pure: shared by the data plane and by `weirctl explain`.
 */
#ifndef WEIR_PROXY_DECIDE_H
#define WEIR_PROXY_DECIDE_H

#include "acl/client_ip.h"
#include "conf/conf.h"
#include "ratelimit/table.h"

enum decision_kind {
	DECISION_PASS,
	DECISION_DENIED,     /* 403: a network of `deny` */
	DECISION_SITE,	     /* 403: not in the site's allow */
	DECISION_PATH,	     /* 403: not in a path's allow */
	DECISION_NOBODY,     /* 403: guarded, and the client is nobody */
	DECISION_UNREADABLE, /* 400: a path rule needs to read the path, and it cannot be decoded */
};

struct decision {
	enum decision_kind kind;
	const struct conf_path *path; /* of DECISION_PATH */
	const char *why;	      /* of DECISION_UNREADABLE; static */
	bool exempt;		      /* his network is in rate_limit.exempt */
	unsigned asks;
	struct table_ask ask[POLICY_MAX_APPLIED];
};

/* nets: the lists that hold the client; NULL when he is nobody. */
void decide(const struct conf *, const struct conf_site *, const struct netmask *nets, struct str path,
	    struct decision *);

#endif
