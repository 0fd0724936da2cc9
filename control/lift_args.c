/* SPDX-License-Identifier: MIT */
#include "control/lift_args.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "conf/scalar.h"
#include "control/hosts.h"

bool lift_args_time(const struct lift_args *a, usec_t *time)
{
	const char *given = command_value(a->line, "--for");
	char text[SCALAR_TEXT];
	const char *wrong = scalar_duration(str_of(given), time);
	if (wrong)
		text_add(a->why, "--for %s: expected %s", given, wrong);
	else if (*time <= 0)
		text_add(a->why, "--for %s: must be above 0", given);
	else if (a->most && *time > a->most)
		text_add(a->why, "--for %s: must be at most %s (%s)", given,
			 scalar_show_duration(text, a->most), a->most_key);
	else
		return true;
	return false;
}

bool lift_args_reason(const struct lift_args *a, struct lift *l)
{
	const char *given = command_value(a->line, "--reason");
	if (!given[strspn(given, " ")])
		text_add(a->why, "--reason: must not be empty");
	else if (strlen(given) >= LIFT_REASON)
		text_add(a->why, "--reason: must be shorter than %d bytes", LIFT_REASON);
	else
		snprintf(l->reason, sizeof(l->reason), "%s", given);
	return l->reason[0] != 0;
}

bool lift_args_clients(const struct lift_args *a, const char *name, struct lift *l)
{
	const char *given, *why;
	struct cidr c;
	unsigned at = 0;
	while ((given = command_next(a->line, name, &at))) {
		if (!cidr_parse(str_of(given), &c, &why)) {
			text_add(a->why, "%s %s: %s", name, given, why);
			return false;
		}
		if (l->clients == LIFT_CLIENTS) {
			text_add(a->why, "%s: at most %d at once", name, LIFT_CLIENTS);
			return false;
		}
		memcpy(l->client[l->clients].addr, c.addr.b, sizeof(c.addr.b));
		l->client[l->clients++].bits = c.bits;
	}
	return true;
}

static bool has_site(const struct lift *l, struct str name)
{
	for (unsigned i = 0; i < l->sites; i++)
		if (str_eq(str_of(l->site[i]), name))
			return true;
	return false;
}

/* The name that the config gives to the site; without a config, what was given. */
static bool site_name(const struct lift_args *a, const char *given, struct str *name)
{
	*name = str_of(given);
	if (!a->conf)
		return true;
	const struct conf_site *site = hosts_site_named(a->conf, given);
	if (site) {
		*name = site->name;
		return true;
	}
	struct str near = hosts_nearest(a->conf, given);
	text_add(a->why, "--site %s: no such site in the config%s%.*s%s", given,
		 near.n ? " (did you mean " : "", (int)near.n, near.n ? near.p : "", near.n ? "?)" : "");
	return false;
}

bool lift_args_sites(const struct lift_args *a, struct lift *l)
{
	const char *given;
	unsigned at = 0;
	while ((given = command_next(a->line, "--site", &at))) {
		struct str name;
		if (!site_name(a, given, &name))
			return false;
		if (has_site(l, name))
			continue;
		if (!name.n || name.n >= LIFT_SITE) {
			text_add(a->why, "--site %s: expected a host's name", given);
			return false;
		}
		if (l->sites == LIFT_SITES) {
			text_add(a->why, "--site: at most %d at once", LIFT_SITES);
			return false;
		}
		memcpy(l->site[l->sites++], name.p, name.n);
	}
	return true;
}

void lift_args_id(char id[LIFT_ID])
{
	uint32_t v;
	if (getrandom(&v, sizeof(v), 0) != (ssize_t)sizeof(v))
		v = (uint32_t)clock_mono();
	snprintf(id, LIFT_ID, "%08x", v);
}
