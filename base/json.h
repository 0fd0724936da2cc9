/* SPDX-License-Identifier: MIT */
/*
 * A JSON writer (RFC 8259) into a buffer that the caller owns, of a size that never grows. Nothing is
 * allocated and no callback is run. Strings may hold any bytes: what is not UTF-8 becomes U+FFFD and control
 * bytes are escaped, so that the text is always valid JSON.
 *
 * Errors: a value that does not fit sets `overflow`, and from then on nothing more is written; json_finish
 * tells (0), and what stands in the buffer by then is of no use. Nesting that does not match is a bug, and
 * asserted.
 *
 * json_escape and json_escape_some are for code that lays its lines out by hand.
 */
#ifndef WEIR_BASE_JSON_H
#define WEIR_BASE_JSON_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define JSON_DEPTH_MAX 32

struct json {
	char *start, *p, *end;
	uint32_t arrays; /* a bit for each level of nesting that is open: 1 for an array */
	uint8_t depth;
	bool comma; /* the next value or key is not the first of its object or array */
	bool overflow;
};

void json_init(struct json *, char *buf, size_t cap);

/* The length of the text, 0 if it did not fit; everything that was opened must be closed. */
size_t json_finish(const struct json *);

void json_obj_open(struct json *);
void json_obj_close(struct json *);
void json_arr_open(struct json *);
void json_arr_close(struct json *);

void json_key_str(struct json *, struct str);
static inline void json_key(struct json *j, const char *key)
{
	json_key_str(j, str_of(key));
}

void json_str(struct json *, struct str); /* null for STR_NONE */

/* At most `max` bytes between the quotes, cut off before the first character (escaped: whole) that exceeds
 * it. */
void json_str_max(struct json *, struct str, size_t max);

void json_u64(struct json *, uint64_t);
void json_i64(struct json *, int64_t);
void json_double(struct json *, double, unsigned decimals); /* 0 to 9 decimals; null when not finite */
void json_bool(struct json *, bool);
void json_null(struct json *);
void json_raw(struct json *, struct str value); /* a whole JSON value, taken as it is */

/*
 * Takes characters off `in` and writes them escaped, without quotes, for as long as whole ones fit before
 * `end`. Returns the place after the last byte; in->n is 0 when everything was written.
 */
char *json_escape_some(char *out, char *end, struct str *in);

static inline char *json_escape(char *out, char *end, struct str in)
{
	return json_escape_some(out, end, &in);
}

#endif
