/* SPDX-License-Identifier: MIT */
#include "proxy/decide.h"

static void ask(const struct conf *conf, const struct netmask *nets, int policy, struct decision *d)
{
	const struct conf_policy *p = &conf->rate_limit.policy[policy];
	for (unsigned i = 0; i < d->asks; i++)
		if (d->ask[i].policy == &p->policy)
			return;
	if (d->asks < POLICY_MAX_APPLIED) /* the loader sees to it that a site names no more */
		d->ask[d->asks++] = (struct table_ask){&p->policy, conf_policy_limit(p, nets)};
}

static bool may_enter(const struct netmask *allow, const struct netmask *nets, enum decision_kind otherwise,
		      struct decision *d)
{
	if (nets && netmask_any(allow, nets))
		return true;
	d->kind = nets ? otherwise : DECISION_NOBODY;
	return false;
}

/* What tightens applies when any reading of the path falls under it; what loosens only when all do. */
static bool path_rules(const struct conf *conf, const struct conf_site *site, const struct netmask *nets,
		       struct str path, bool *off, struct decision *d)
{
	struct path_match m;
	if (path_rules_match(site->rules, path, &m, &d->why) != PATH_READ) {
		d->kind = DECISION_UNREADABLE;
		return false;
	}
	uint64_t loosened = 0;
	for (uint64_t left = m.any; left; left &= left - 1) {
		unsigned i = (unsigned)__builtin_ctzll(left);
		const struct conf_path *rule = &site->path[i];
		const struct conf_path *guard = rule->allow_of >= 0 ? &site->path[rule->allow_of] : NULL;
		int policy = rule->policy_of >= 0 ? site->path[rule->policy_of].policy : POLICY_INHERIT;
		if (guard && !may_enter(&guard->allow, nets, DECISION_PATH, d)) {
			d->path = guard;
			return false;
		}
		if (policy >= 0 && nets)
			ask(conf, nets, policy, d);
		if (policy == POLICY_OFF)
			loosened |= (uint64_t)1 << i;
	}
	*off = loosened && m.any == loosened && (m.all & loosened);
	return true;
}

void decide(const struct conf *conf, const struct conf_site *site, const struct netmask *nets,
	    struct str path, struct decision *d)
{
	d->kind = DECISION_PASS;
	d->path = NULL;
	d->why = NULL;
	d->exempt = false;
	d->asks = 0;
	if (nets && netmask_any(&conf->deny, nets)) {
		d->kind = DECISION_DENIED;
		return;
	}
	if (site->has_allow && !may_enter(&site->allow, nets, DECISION_SITE, d))
		return;
	bool off = false;
	if (site->rules && !path_rules(conf, site, nets, path, &off, d))
		return;
	d->exempt = nets && netmask_any(&conf->rate_limit.exempt, nets);
	if (site->policy >= 0 && !off && nets)
		ask(conf, nets, site->policy, d);
}
