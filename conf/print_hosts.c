/* SPDX-License-Identifier: MIT */
/* The table of `weir -t`. */
#include <stdarg.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/scalar.h"
#include "ratelimit/window.h"

#define CELL 160
#define COLUMNS 4

struct row {
	char cell[COLUMNS][CELL];
};

static void put(char *cell, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(char *cell, const char *fmt, ...)
{
	size_t n = strlen(cell);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(cell + n, CELL - n, fmt, ap);
	va_end(ap);
}

static void put_words(char *cell, const struct conf_words *w)
{
	for (unsigned i = 0; i < w->n; i++)
		put(cell, "%s%.*s", i ? ", " : "", (int)w->item[i].n, w->item[i].p);
}

static void put_policy(char *cell, const struct conf *c, int policy)
{
	char window[SCALAR_TEXT];
	if (policy == POLICY_OFF) {
		put(cell, "off");
	} else if (policy >= 0) {
		const struct policy *p = &c->rate_limit.policy[policy].policy;
		put(cell, "%s: %u in %s%s", p->name, p->requests, scalar_show_duration(window, p->window_us),
		    p->shadow ? " (shadow)" : "");
	}
}

static void fill_host(struct row *r, const struct conf *c, const struct conf_site *s, struct str host)
{
	put(r->cell[0], "%.*s", (int)host.n, host.p);
	put(r->cell[1], "%.*s", (int)s->upstream->name.n, s->upstream->name.p);
	if (s->has_allow)
		put_words(r->cell[2], &s->allow_text);
	else
		put(r->cell[2], "everybody");
	put_policy(r->cell[3], c, s->policy);
}

/* What a path adds to its site's own. */
static void fill_path(struct row *r, const struct conf *c, const struct conf_path *p)
{
	put(r->cell[0], "  + %.*s", (int)p->prefix.n, p->prefix.p);
	if (p->has_allow)
		put_words(r->cell[2], &p->allow_text);
	if (p->policy != POLICY_INHERIT)
		put_policy(r->cell[3], c, p->policy);
}

static void each_row_of_site(const struct conf *c, const struct conf_site *s,
			     void (*visit)(void *ctx, const struct row *), void *ctx)
{
	for (unsigned i = 0; i < s->hosts; i++) {
		struct row row = {0};
		fill_host(&row, c, s, s->host[i]);
		visit(ctx, &row);
	}
	for (unsigned i = 0; i < s->paths; i++) {
		struct row row = {0};
		fill_path(&row, c, &s->path[i]);
		visit(ctx, &row);
	}
}

/* Twice over the same rows: for their widths, then onto paper. */
static void each_row(const struct conf *c, void (*visit)(void *ctx, const struct row *), void *ctx)
{
	struct row head = {{"HOST", "UPSTREAM", "WHO MAY ENTER", "POLICY"}};
	visit(ctx, &head);
	for (unsigned i = 0; i < c->sites; i++)
		each_row_of_site(c, &c->site[i], visit, ctx);
}

struct table {
	size_t width[COLUMNS];
	FILE *out;
};

static void measure(void *ctx, const struct row *r)
{
	struct table *t = ctx;
	for (unsigned i = 0; i < COLUMNS; i++)
		if (strlen(r->cell[i]) > t->width[i])
			t->width[i] = strlen(r->cell[i]);
}

static void write_row(void *ctx, const struct row *r)
{
	struct table *t = ctx;
	unsigned last = COLUMNS - 1;
	while (last > 0 && r->cell[last][0] == '\0')
		last--;
	for (unsigned i = 0; i < last; i++)
		fprintf(t->out, "%-*s  ", (int)t->width[i], r->cell[i]);
	fprintf(t->out, "%s\n", r->cell[last]);
}

/* Of one client that is at the limit: its entry and its log. */
static void print_memory(const struct conf *c, FILE *out)
{
	const struct conf_rate_limit *r = &c->rate_limit;
	char text[SCALAR_TEXT];
	unsigned long long heads = (unsigned long long)conf_connections(c) * c->caps.head;

	fprintf(out, "\nmemory at worst: %s for the table of clients", scalar_show_size(text, r->memory));
	fprintf(out, ", %llu MB for the heads of %u connections\n", (heads + (1 << 20) - 1) >> 20,
		conf_connections(c));
	for (unsigned i = 0; i < r->policies; i++) {
		const struct policy *p = &r->policy[i].policy;
		size_t each = 212 + (r->redis ? 0 : window_log_bytes(p->requests));
		fprintf(out, "  %s: %zu bytes a client at its limit, %zu such clients at a time\n", p->name,
			each, r->memory / each);
	}
}

void conf_print_hosts(const struct conf *c, FILE *out)
{
	struct table t = {.out = out};
	each_row(c, measure, &t);
	each_row(c, write_row, &t);
	print_memory(c, out);
}
