/* SPDX-License-Identifier: MIT */
#include "control/window_rows.h"

#include "control/units.h"

static const char *const source_names[] = {
	[SOURCE_REDIS] = "redis",
	[SOURCE_MEMORY] = "memory",
	[SOURCE_LOCAL] = "local",
};

/* Rounded up: whoever waits so long is not early. */
static uint64_t milliseconds(usec_t us)
{
	return us > 0 ? (uint64_t)((us + USEC_PER_MSEC - 1) / USEC_PER_MSEC) : 0;
}

static void row_json(const struct table_ask *ask, const struct window_state *s, const char *source,
		     struct json *j)
{
	usec_t window = ask->policy->window_us;
	json_obj_open(j);
	json_key(j, "policy");
	json_str(j, str_of(ask->policy->name));
	json_key(j, "limit");
	json_u64(j, ask->limit);
	json_key(j, "window_s");
	json_double(j, (double)window / 1e6, window % USEC_PER_SEC ? 3 : 0);
	json_key(j, "used");
	json_u64(j, s->used);
	json_key(j, "remaining");
	json_u64(j, s->remaining);
	json_key(j, "retry_after_ms");
	json_u64(j, milliseconds(s->retry_after_us));
	json_key(j, "source");
	json_str(j, str_of(source));
	json_key(j, "shadow");
	json_bool(j, ask->policy->shadow);
	json_obj_close(j);
}

void window_rows_json(const struct clients_peek *p, struct json *j)
{
	json_arr_open(j);
	for (unsigned i = 0; i < p->asks; i++)
		row_json(&p->ask[i], &p->state[i], source_names[p->source], j);
	json_arr_close(j);
}

static void row_text(const struct table_ask *ask, const struct window_state *s, const char *source,
		     struct text *t)
{
	char window[UNITS_TEXT], retry[UNITS_TEXT];
	text_add(t, "%s%s\t%u\t%s\t%u\t%u\t%s\t%s\n", ask->policy->name,
		 ask->policy->shadow ? " (shadow)" : "", ask->limit,
		 units_duration(window, ask->policy->window_us), s->used, s->remaining,
		 s->retry_after_us > 0 ? units_duration(retry, s->retry_after_us) : "now", source);
}

void window_rows_text(const struct clients_peek *p, struct text *t)
{
	size_t mark = t->n;
	if (!p->asks)
		return;
	text_add(t, "POLICY\tLIMIT\tWINDOW\tUSED\tREMAINING\tNEXT FREE\tSOURCE\n");
	for (unsigned i = 0; i < p->asks; i++)
		row_text(&p->ask[i], &p->state[i], source_names[p->source], t);
	text_align(t, mark);
}
