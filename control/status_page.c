/* SPDX-License-Identifier: MIT */
#include "control/status_page.h"

#include <string.h>

#include "base/events.h"
#include "control/clients.h"
#include "control/status.h"
#include "control/units.h"

#define BUSIEST 10
#define EVENTS 15

static const char head[] =
	"<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>weir</title>\n"
	"<meta http-equiv=\"refresh\" content=\"5\"><meta name=\"viewport\" content=\"width=device-width\">\n"
	"<style>\n"
	"body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:72em;padding:0 "
	"1em;color:#1c2430;background:#fff}\n"
	"h1{font-size:1.5em;margin:0}h2{font-size:1.05em;margin:1.8em 0 .4em;color:#3a5a78}\n"
	"pre{font:13px/1.5 ui-monospace,monospace;background:#f4f6f8;border:1px solid "
	"#dde3ea;border-radius:6px;"
	"padding:.8em 1em;overflow-x:auto;margin:0}\n"
	".lifted{background:#fff3d6;border-color:#e5bd5b}small{color:#67727e}\n"
	"@media(prefers-color-scheme:dark){body{background:#14181d;color:#d8dee6}pre{background:#1c2229;"
	"border-color:#2c353f}.lifted{background:#3a2f14;border-color:#7d651f}h2{color:#8fb4d6}}\n"
	"</style></head><body>\n<h1>weir</h1>\n";

static void section(struct text *page, const char *title, const char *class, struct text *body)
{
	text_add(page, "<h2>%s</h2>\n<pre%s%s%s>", title, class ? " class=\"" : "", class ? class : "",
		 class ? "\"" : "");
	text_tame(body);
	text_html(page, body->n ? body->p : "-");
	text_add(page, "</pre>\n");
	text_free(body);
}

static void events_section(struct text *page)
{
	struct text t = {0};
	struct event_row row[EVENTS];
	char at[UNITS_TEXT];
	for (unsigned n = events_last(row, EVENTS); n > 0; n--)
		text_add(&t, "%s  %-8s  %s\n", units_time(at, row[n - 1].at),
			 event_kind_name(row[n - 1].kind), row[n - 1].text);
	section(page, "Events", NULL, &t);
}

void status_page_write(const struct control *c, struct text *page)
{
	struct text t = {0};
	char now[UNITS_TEXT];
	text_add(page, "%s", head);
	text_add(page, "<small>%s</small>\n", units_time(now, clock_wall()));
	status_summary_text(c, &t);
	section(page, "Status", NULL, &t);
	status_lifts_text(c, &t);
	section(page, "Lifts", status_lifts(c) ? "lifted" : NULL, &t);
	if (status_blocks(c)) {
		status_blocks_text(c, &t);
		section(page, "Blocked", NULL, &t);
	}
	status_upstreams_text(c, &t);
	section(page, "Upstreams", NULL, &t);
	clients_top_text(c, BUSIEST, &t);
	section(page, "Busiest clients", NULL, &t);
	events_section(page);
	text_add(page, "</body></html>\n");
}
