/* SPDX-License-Identifier: MIT */
/*
 * `limits token`: from its arguments to the token, and the answer in words or JSON. The same in control,
 * which knows the config, and in weirctl, which has the key from WEIR_LIFT_KEY and no weir to ask.
 */
#ifndef WEIR_CONTROL_TOKEN_MAKE_H
#define WEIR_CONTROL_TOKEN_MAKE_H

#include "base/clock.h"
#include "base/json.h"
#include "control/lift_args.h"
#include "ratelimit/lift_token.h"

struct token_made {
	struct lift lift; /* id, scope and reason */
	wall_t until;	  /* a whole second */
	size_t n;
	char text[LIFT_TOKEN_MAX];
};

/* False: args->why says what is wrong. */
bool token_make(const struct lift_args *args, struct str key, wall_t now, struct token_made *);

void token_made_text(const struct token_made *, struct text *);
void token_made_json(const struct token_made *, wall_t now, struct json *);

#endif
