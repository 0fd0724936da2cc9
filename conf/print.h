/* SPDX-License-Identifier: MIT */
/*
 * Writes YAML a line at a time: the names of mappings come out only once something stands below them. Texts
 * are quoted where they need it, and `${` is written $${, so that what is printed loads as the same.
 */
#ifndef WEIR_CONF_PRINT_H
#define WEIR_CONF_PRINT_H

#include <stdio.h>

#include "base/str.h"
#include "conf/conf.h"

#define PRINT_DEPTH 16

struct printer {
	FILE *out;
	const struct conf *conf;
	struct str
		open[PRINT_DEPTH]; /* the mappings around, outermost first; an item of a list has no name */
	unsigned depth;
	unsigned written; /* of these, how many stand on paper */
	bool dash;	  /* the next line starts an item of a list */
};

void printer_open(struct printer *, struct str name);
void printer_close(struct printer *);
void printer_item(struct printer *); /* opens an item of a list; printer_close ends it */
/* The entry is shown though nothing may stand below it: `name: {}`. */
void printer_empty(struct printer *, struct str name);

void printer_line(struct printer *, struct str name, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void printer_value(struct printer *, struct str name, struct str text);
void printer_list(struct printer *, struct str name, unsigned n, const struct str *);

#endif
