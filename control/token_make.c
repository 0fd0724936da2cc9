/* SPDX-License-Identifier: MIT */
#include "control/token_make.h"

#include "control/status.h"
#include "control/units.h"

bool token_make(const struct lift_args *args, struct str key, wall_t now, struct token_made *m)
{
	usec_t time = 0;
	struct lift *l = &m->lift;
	*l = (struct lift){.effect = LIFT_FULL};
	if (!lift_args_time(args, &time) || !lift_args_reason(args, l) ||
	    !lift_args_clients(args, "--client", l) || !lift_args_sites(args, l))
		return false;
	lift_args_id(l->id);
	int64_t until_s = (now + time + USEC_PER_SEC - 1) / USEC_PER_SEC;
	m->until = until_s * USEC_PER_SEC;
	m->n = lift_token_write(m->text, key, l, until_s);
	if (!m->n)
		text_add(args->why, "the token cannot be signed");
	return m->n > 0;
}

/* The token stands alone on the first line, for `| head -1`. */
void token_made_text(const struct token_made *m, struct text *t)
{
	struct text scope = {0};
	char until[UNITS_TEXT];
	status_scope(&m->lift, &scope);
	text_add(t, "%.*s\n", (int)m->n, m->text);
	text_add(t, "Send it as X-Weir-Lift. Good for %s until %s (id %s).\n", scope.n ? scope.p : "",
		 units_time(until, m->until), m->lift.id);
	text_free(&scope);
}

void token_made_json(const struct token_made *m, wall_t now, struct json *j)
{
	json_obj_open(j);
	json_key(j, "token");
	json_str(j, (struct str){m->text, m->n});
	status_scope_json(&m->lift, j);
	char text[UNITS_TEXT];
	json_key(j, "until");
	json_str(j, str_of(units_iso(text, m->until)));
	json_key(j, "remaining_s");
	json_u64(j, (uint64_t)((m->until - now) / USEC_PER_SEC));
	json_obj_close(j);
}
