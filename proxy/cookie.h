/* SPDX-License-Identifier: MIT */
/*
 * Rewriting of Set-Cookie, so that one login serves all hosts below a domain (RFC 6265bis, 5.6 and 5.7;
 * cookie dates: RFC 6265, 5.1.1). A pure function over one field's value; a response with several Set-Cookie
 * fields makes several calls, and their lines are never merged.
 *
 * Nothing is copied or allocated: what is to be written is a list of slices of the value that was handed in,
 * of the rules, and of constants, and is valid as long as the first two are. Time comes in as an argument
 * (wall_t).
 *
 * What happens to a cookie whose name a rule shares, on the domain's host or a host below it:
 * - its Domain attributes go, and Domain=<domain> is added at the end. Of several the last counts, an empty
 * one is as none, a leading dot means nothing. If the one that counts is elsewhere (neither the domain nor
 * below it) the cookie is left alone.
 * - Secure and HttpOnly are added where missing and asked for. SameSite is added where the origin has written
 *   none that browsers know: one with another value (SameSite=Strictly) makes them use their default as if it
 *   were not there, and ours comes after it, which is the one that counts.
 * - a deletion (Max-Age of 0 or less, else Expires in the past) goes out twice: host-only, for the cookie of
 * the days before it was shared, and shared. With a Domain of its own below the domain it goes out for that
 * too.
 * - with retire_host_only any other cookie is preceded by the same lines, as deletions: the name with an
 * empty value, its attributes (Path, Secure, SameSite and Partitioned decide which cookie is meant and
 * whether a browser takes the line) and a date in the past. Without Path both lines mean the default path.
 * The shared line comes last: clients that know only one cookie of a name and path (RFC 6265, 5.3, has no
 * host-only flag in the key) then end up with the right one.
 *
 * Left alone: names that start with __Host- (case-blind), cookies without a name, values with control bytes
 * (browsers drop these), and cookies with more than COOKIE_CUTS of Domain, Max-Age and Expires together.
 */
#ifndef WEIR_PROXY_COOKIE_H
#define WEIR_PROXY_COOKIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/str.h"

enum cookie_flag { COOKIE_FLAG_LEAVE, COOKIE_FLAG_ON };

enum cookie_same_site {
	COOKIE_SAME_SITE_NONE_SET, /* leave it as the origin has it */
	COOKIE_SAME_SITE_STRICT,
	COOKIE_SAME_SITE_LAX,
	COOKIE_SAME_SITE_NONE, /* browsers want Secure beside it */
};

struct cookie_rule {
	struct str name; /* exact, or with '*' standing for any bytes, none included */
	enum cookie_flag secure, http_only;
	enum cookie_same_site same_site;
};

struct cookie_rules {
	struct str domain;		/* example.com: no leading or trailing dot */
	const struct cookie_rule *rule; /* an exact name wins, then the longest pattern, then the first */
	unsigned rules;
	bool retire_host_only;
};

#define COOKIE_OUT_MAX 3 /* lines a Set-Cookie may become */
#define COOKIE_CUTS 8
#define COOKIE_PARTS (2 + COOKIE_CUTS + 1 + 6) /* name and '=', what stands around the cuts, additions */

struct cookie_out {
	struct str part[COOKIE_PARTS]; /* to be written one after the other as one field value */
	unsigned parts;
	size_t n; /* bytes in all */
};

/*
 * How many of `out` are to be sent in place of this Set-Cookie, in that order; 0: forward it as it is. `host`
 * is the request's, without a port.
 */
unsigned cookie_rewrite(const struct cookie_rules *, struct str host, struct str set_cookie, wall_t now,
			struct cookie_out out[COOKIE_OUT_MAX]);

/* Names are case-sensitive. Linear in the length of rule and name. */
bool cookie_name_matches(const struct cookie_rule *, struct str name);

/* Seconds since 1970; false when it is no date that a browser would read. */
bool cookie_date(struct str, int64_t *seconds);

/* For the config: NULL, or what is wrong with it. */
const char *cookie_domain_check(struct str domain);
const char *cookie_rule_check(const struct cookie_rule *);

#endif
