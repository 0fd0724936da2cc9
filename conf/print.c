/* SPDX-License-Identifier: MIT */
#include "conf/print.h"

#include <stdarg.h>

#include "conf/keys.h"
#include "conf/scalar.h"

/* Plain in YAML, and neither a list's comma nor a reference. */
static bool is_plain(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = ascii_lower((unsigned char)s.p[i]);
		bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '/';
		if (!word && (i == 0 || !strchr("._-:+@", c) || c == '\0' || (c == ':' && i + 1 == s.n)))
			return false;
	}
	return s.n > 0 && !str_ieq(s, STR("null"));
}

static void write_text(FILE *out, struct str s)
{
	if (is_plain(s)) {
		fwrite(s.p, 1, s.n, out);
		return;
	}
	fputc('"', out);
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (c == '"' || c == '\\')
			fputc('\\', out);
		if (c == '$' && i + 1 < s.n && s.p[i + 1] == '{')
			fputc('$', out);
		if (c < 0x20 || c == 0x7f)
			fprintf(out, "\\x%02x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

static void indent(struct printer *p, unsigned depth)
{
	for (unsigned i = 0; i < depth; i++) {
		bool dash = p->dash && i + 1 == depth;
		fputs(dash ? "- " : "  ", p->out);
		p->dash = p->dash && !dash;
	}
}

/* Writes the names of the mappings around the next line, as far as they are not written yet. */
static void write_open(struct printer *p)
{
	for (; p->written < p->depth; p->written++) {
		struct str name = p->open[p->written];
		if (name.n == 0) {
			p->dash = true;
			continue;
		}
		indent(p, p->written);
		write_text(p->out, name);
		fputs(":\n", p->out);
	}
}

void printer_open(struct printer *p, struct str name)
{
	if (p->depth < PRINT_DEPTH)
		p->open[p->depth] = name;
	p->depth++;
}

void printer_close(struct printer *p)
{
	p->depth--;
	if (p->written > p->depth)
		p->written = p->depth;
	p->dash = false;
}

void printer_item(struct printer *p)
{
	printer_open(p, STR_NONE);
}

static void start_line(struct printer *p, struct str name)
{
	write_open(p);
	indent(p, p->depth);
	write_text(p->out, name);
	fputs(": ", p->out);
}

void printer_value(struct printer *p, struct str name, struct str text)
{
	start_line(p, name);
	write_text(p->out, text);
	fputc('\n', p->out);
}

void printer_line(struct printer *p, struct str name, const char *fmt, ...)
{
	va_list ap;
	start_line(p, name);
	va_start(ap, fmt);
	vfprintf(p->out, fmt, ap);
	va_end(ap);
	fputc('\n', p->out);
}

void printer_empty(struct printer *p, struct str name)
{
	printer_line(p, name, "{}");
}

void printer_list(struct printer *p, struct str name, unsigned n, const struct str *item)
{
	start_line(p, name);
	fputc('[', p->out);
	for (unsigned i = 0; i < n; i++) {
		if (i)
			fputs(", ", p->out);
		write_text(p->out, item[i]);
	}
	fputs("]\n", p->out);
}

void conf_print(const struct conf *conf, FILE *out)
{
	struct printer p = {.out = out, .conf = conf};
	keys_print(&p, NULL, conf);
}
