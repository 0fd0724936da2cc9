/* SPDX-License-Identifier: MIT */
/* What the targets of request and response heads share: limits, what no head may hold, and its fields written
 * anew. */
#ifndef WEIR_TESTS_FUZZ_H1_HEAD_H
#define WEIR_TESTS_FUZZ_H1_HEAD_H

#include "tests/fuzz/fuzz.h"
#include "tests/unit/h1_check.h"

static const struct h1_limits tried_limits[] = {{.line = 16384, .head = 65536, .fields = 100},
						{.line = 40, .head = 150, .fields = 4}};
static const struct h1_limits any_head = {.line = 65000, .head = 1 << 20, .fields = CHECK_FIELDS};

/* No matter what the parser says of it: these bytes are in no head that is let through. */
static inline void check_bytes(const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)bytes[i];
		promise(c != 0x7f && (c >= 0x20 || c == '\t' || c == '\r' || c == '\n'));
		promise(c != '\r' || (i + 1 < n && bytes[i + 1] == '\n'));
		promise(c != '\n' || (i > 0 && bytes[i - 1] == '\r'));
		promise(c != '\n' || i + 1 == n || (bytes[i + 1] != ' ' && bytes[i + 1] != '\t'));
	}
}

static inline void write_fields(struct sheet *s, const struct h1_head *h, const char *bytes)
{
	for (unsigned i = 0; i < h->fields; i++) {
		sheet_str(s, h1_name(bytes, &h->field[i]));
		sheet_bytes(s, ": ", 2);
		sheet_str(s, h1_value(bytes, &h->field[i]));
		sheet_bytes(s, "\r\n", 2);
	}
	sheet_bytes(s, "\r\n", 2);
}

static inline void check_fields_again(const struct h1_head *a, const char *in_a, const struct h1_head *b,
				      const char *in_b)
{
	promise(a->fields == b->fields);
	for (unsigned i = 0; i < a->fields; i++) {
		promise(str_eq(h1_name(in_a, &a->field[i]), h1_name(in_b, &b->field[i])));
		promise(str_eq(h1_value(in_a, &a->field[i]), h1_value(in_b, &b->field[i])));
		promise(a->field[i].id == b->field[i].id);
		promise((a->field[i].flags | H1_FIELD_AS_WRITTEN) ==
			(b->field[i].flags | H1_FIELD_AS_WRITTEN));
		promise(!(a->field[i].flags & H1_FIELD_AS_WRITTEN) ||
			h1_stands_as_written(in_a, &a->field[i]));
	}
}

#endif
