/* SPDX-License-Identifier: MIT */
/*
 * Adding to the list of errors and warnings (struct conf_notes, conf.h). Texts are cut to fit and made fit
 * for a terminal. After NOTES_MAX rows errors are only counted, and conf_notes_print says how many there were
 * more.
 */
#ifndef WEIR_CONF_NOTES_H
#define WEIR_CONF_NOTES_H

#include <stdarg.h>

#include "conf/conf.h"

#define NOTES_MAX 200

void notes_add(struct conf_notes *, bool warning, struct str file, unsigned line, unsigned column,
	       const char *fmt, va_list);

/* By file, line and column, those of no place last; of one place in the order in which they came. */
void notes_sort(struct conf_notes *);

#endif
