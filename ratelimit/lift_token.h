/* SPDX-License-Identifier: MIT */
/*
 * Tokens: a lift as a text that is signed, for whoever makes requests from changing addresses (k6 in CI). A
 * request that bears a valid one in X-Weir-Lift is not limited. Nothing is stored: who has the key can make
 * one, who has any of the keys can check it; one that is revoked is a tombstone (ratelimit/lift.h) of its id.
 *
 *   weir1.PAYLOAD.MAC     each in base64url without padding (RFC 4648, 5)
 *   PAYLOAD               ID UNTIL [cADDRESS/BITS]... [sSITE]...   UNTIL in seconds since 1970, ADDRESS in
 * hex MAC                   HMAC-SHA256 (RFC 2104) of "weir1.PAYLOAD" as it is written
 *
 * Pure functions over the caller's buffers. The payload is looked at only after its MAC was found good.
 */
#ifndef WEIR_RATELIMIT_LIFT_TOKEN_H
#define WEIR_RATELIMIT_LIFT_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "ratelimit/lift.h"

#define LIFT_KEY_SHORTEST 16 /* bytes of a key */
#define LIFT_TOKEN_MAX 6600  /* bytes of the longest token */

/* Signs id, clients and sites of the lift; its other fields are not part of it. Returns the length. */
size_t lift_token_write(char out[LIFT_TOKEN_MAX], struct str key, const struct lift *, int64_t until_s);

/*
 * Whether one of the keys has signed it, in the same time for every wrong one. *l gets id, clients, sites and
 * the effect LIFT_FULL; its `until` is 0, for *until_s is of another clock. Whether that is over is for the
 * caller to say.
 */
bool lift_token_read(struct str token, unsigned keys, const struct str *key, struct lift *l,
		     int64_t *until_s);

#endif
