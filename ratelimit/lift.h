/* SPDX-License-Identifier: MIT */
/*
 * The lifts in force, in shared memory: written by control alone (from the admin socket and from the store),
 * read by every worker on every request, without a lock (a sequence number tells a reader that it read while
 * control wrote).
 *
 * A lift frees the requests in its scope from the limits until its end, which comes by itself. In shadow
 * they are still counted, and it is told who would have been refused. A lift never opens what `allow` or
 * `deny` close. A block is a lift's opposite and otherwise alike: until its end the clients in its scope get
 * 403 on every site.
 */
#ifndef WEIR_RATELIMIT_LIFT_H
#define WEIR_RATELIMIT_LIFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/str.h"

#define LIFTS_MAX (LIFTS_FREEING + LIFTS_BLOCKING)
#define LIFTS_FREEING 64   /* lifts, in shadow or not, at a time */
#define LIFTS_BLOCKING 192 /* blocks at a time */
#define LIFT_CLIENTS 16
#define LIFT_SITES 16
#define LIFT_ID 9 /* 8 hex digits and the NUL */
#define LIFT_REASON 200
#define LIFT_BY 64
#define LIFT_SITE 256
#define LIFT_LONGEST (7 * 24 * 3600 * USEC_PER_SEC) /* of lifts and tokens, whatever the config */

struct lift_net {
	uint8_t addr[16]; /* as acl/addr.h: IPv4 mapped into IPv6 */
	uint8_t bits;
};

enum lift_effect { LIFT_NONE, LIFT_FULL, LIFT_SHADOW, LIFT_BLOCK };

struct lift {
	char id[LIFT_ID];
	enum lift_effect effect; /* never LIFT_NONE */
	usec_t until;		 /* CLOCK_MONOTONIC of this machine */
	unsigned clients;	 /* 0: every client */
	struct lift_net client[LIFT_CLIENTS];
	unsigned sites;			  /* 0: every site */
	char site[LIFT_SITES][LIFT_SITE]; /* site names: a site's first host */
	char reason[LIFT_REASON];
	char by[LIFT_BY];
	uint32_t uid;
};

const char *lift_effect_name(enum lift_effect); /* "none", "full", "shadow", "block" */

struct lifts; /* the section */
size_t lifts_bytes(void);

/* Control: adds or replaces by id. False: as many of its kind as there may be are in force. */
bool lifts_put(struct lifts *, const struct lift *);
bool lifts_remove(struct lifts *, const char *id);
/* Copies those whose end is after now; out has room for LIFTS_MAX. Returns how many. Any process. */
unsigned lifts_list(const struct lifts *, usec_t now, struct lift *out);

/*
 * What frees a request of this client (its real address) to this site: a full lift beats a shadow one; blocks
 * are passed over. *id is filled in (LIFT_ID bytes) unless LIFT_NONE. With no lift in force it costs one load
 * and a compare.
 */
enum lift_effect lifts_match(const struct lifts *, usec_t now, const uint8_t addr[16], struct str site,
			     char *id);

/* Whether a block holds for this client; *id and the cost as above. */
bool lifts_block(const struct lifts *, usec_t now, const uint8_t addr[16], char *id);

/* Is this client at this site in the lift's scope? */
bool lift_covers(const struct lift *, const uint8_t addr[16], struct str site);

/*
 * Tombstones: the ids of lifts that were ended before their time, and of tokens that were revoked, remembered
 * until that time, so that no weir which did not hear of it puts the lift back. Written by control alone;
 * lifts_is_buried is for every process.
 *
 * When all are taken the one that is over soonest makes room, a token's after all others, for nothing else
 * keeps a token from being good. One that others told of is remembered only where it lasts a second longer
 * than that: with more of them in the store than have room here, all weirs come to rest on the same.
 */
#define LIFTS_ENDED_MAX 256
struct lift_ended {
	char id[LIFT_ID];
	bool token;
	usec_t until;
};
/* `own`: it was ended here. True: it is news, and remembered. */
bool lifts_bury(struct lifts *, const struct lift_ended *, bool own, usec_t now);
/* out has room for LIFTS_ENDED_MAX. Returns how many are not over. */
unsigned lifts_buried(const struct lifts *, usec_t now, struct lift_ended *out);
bool lifts_is_buried(const struct lifts *, const char *id, usec_t now);
/* All places hold tokens' tombstones: one more would bring another token back to life. */
bool lifts_full_of_tokens(const struct lifts *, usec_t now);

#endif
