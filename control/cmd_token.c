/* SPDX-License-Identifier: MIT */
/* limits token */
#include "control/cmd.h"

#include "base/events.h"
#include "control/request.h"
#include "control/status.h"
#include "control/token_make.h"
#include "control/units.h"

static void tell(const struct request *r, const struct token_made *m, wall_t now)
{
	struct text scope = {0};
	char time[UNITS_TEXT];
	status_scope(&m->lift, &scope);
	events_add(EVENT_LIFT, "token %s for %s of %.150s by %s (uid %u): %s", m->lift.id,
		   units_duration(time, m->until - now), scope.n ? scope.p : "", r->by, r->uid,
		   m->lift.reason);
	text_free(&scope);
}

void cmd_limits_token(struct request *r)
{
	static struct token_made made;
	const struct conf_rate_limit *c = &request_conf(r)->rate_limit;
	struct text why = {0};
	wall_t now = clock_wall();
	const struct lift_args args = {&r->line, request_conf(r), c->max_lift_us, "rate_limit.max_lift",
				       &why};
	if (!c->lift_keys) {
		request_refuse(r,
			       "there is no key to sign a token with: set rate_limit.lift_key in the config");
		return;
	}
	if (!token_make(&args, c->lift_key[0], now, &made)) {
		request_refuse(r, "%s", why.n ? why.p : "out of memory");
	} else {
		tell(r, &made, now);
		if (r->line.json) {
			token_made_json(&made, now, request_json());
			request_ok_json(r);
		} else {
			token_made_text(&made, &r->out);
			request_ok(r);
		}
	}
	text_free(&why);
}
