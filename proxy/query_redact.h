/* SPDX-License-Identifier: MIT */
/*
 * A query string for the log: the values of parameters that carry secrets are written as ***. A pure function
 * over bytes; nothing is allocated. A parameter is redacted when a word of the list
 * - is its name or a part of it: between separators (anything but a letter), as in access_token, api-key,
 *   X-Amz-Signature and user[password], or at a change of case, as in accessToken and APIKey;
 * - without regard to case, and in each reading of the name: as written, percent-decoded once, and twice;
 * - or is such a name inside the value, as in next=/login?token=x, return_to=%2Fcb%3Fcode%3Dx and JSON.
 * Parameters are parted by '&' and ';'. After a redacted one everything up to the next '&' is dropped, as to
 * an origin that knows no ';' it is still the secret. Whoever is mistaken for a secret loses a value in the
 * log only.
 */
#ifndef WEIR_PROXY_QUERY_REDACT_H
#define WEIR_PROXY_QUERY_REDACT_H

#include "base/str.h"

/*
 * Writes the query (without '?') as the inside of a JSON string, no quotes, from out to before end, and
 * returns the place after it. When it does not fit into all but the last three bytes of that room it is cut
 * off on a character's boundary and ends in "...". end - out must be at least 3.
 */
char *query_redact(char *out, char *end, struct str query, const struct str *word, unsigned words);

/* For the config: NULL, or what is wrong with a word. */
const char *query_redact_word_check(struct str word);

#endif
