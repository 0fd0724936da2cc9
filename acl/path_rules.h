/* SPDX-License-Identifier: MIT */
/*
 * Which path rules of a site a request's path falls under. Programs behind weir differ in what they make of a
 * path, so it is not read once but in every way in which one of them may read it, and the answer says which
 * rules are met in some reading (a rule that tightens has to apply) and in every reading (only then may a
 * rule loosen).
 *
 * The readings are all texts that come out of the path by these steps, in any order and number:
 *   - percent-decoding, once and twice; and of what needs no encoding alone (RFC 3986, 6.2.2.2), each time
 *   - resolving dot segments (RFC 3986, 5.2.4), merging slashes, taking backslashes for slashes
 *   - cutting off matrix parameters: of each segment, or all that follows the first semicolon
 *   - cutting at a decoded "?" or "#" (or, twice decoded, NUL), where a second parser would see the path end
 *   - taking "//name/path" for an authority and a path, as a URL parser does
 *   - taking overlong UTF-8 (twice decoded) for the byte it hides, and K, ſ, ı and İ for the letters whose
 * case they are Each reading is compared letter by letter and case-blind. In each, the longest prefix wins,
 * on segment boundaries.
 *
 * The readings differ only for odd paths; a plain one has a single reading and costs one pass. Nothing is
 * allocated when matching. A set of rules belongs to the caller and is not changed by matching.
 */
#ifndef WEIR_ACL_PATH_RULES_H
#define WEIR_ACL_PATH_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define PATH_RULES_MAX 64	   /* rules a site */
#define PATH_RULES_PATH_MAX 16384  /* bytes of a path */
#define PATH_RULES_READINGS_MAX 64 /* a path with more is refused: nobody writes one by mistake */

struct path_rules;

struct path_match {
	uint64_t any;	   /* rules that are the longest match in one reading at least, by index */
	uint64_t all;	   /* rules that are the longest match in every reading */
	unsigned readings; /* how many there were */
};

enum path_status {
	PATH_READ,
	PATH_UNREADABLE, /* to be answered with 400: *why says what is wrong, and *out is empty */
};

/* NULL: out of memory. */
struct path_rules *path_rules_new(void);
void path_rules_free(struct path_rules *); /* NULL is fine */

/*
 * Adds a prefix under the caller's index (0..63, each once). A last slash makes no difference. It is written
 * as the origin sees it when all decoding is done, in letters, digits and - . _ ~ ! $ & ' ( ) * + , = : @
 * alone: any other would be met in no reading of some spelling of it. False with *why: a fragment that fits
 * after the prefix and a colon.
 */
bool path_rules_add(struct path_rules *, struct str prefix, unsigned index, const char **why);

/* The path as the client wrote it, without its query; an empty one is "/". */
enum path_status path_rules_match(const struct path_rules *, struct str path, struct path_match *out,
				  const char **why);

#endif
