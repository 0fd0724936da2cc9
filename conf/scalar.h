/* SPDX-License-Identifier: MIT */
/*
 * Single values from text and back: pure functions that allocate nothing. A reader answers NULL, or a static
 * text that says what was expected ("a duration such as 30s, in ms, s, m or h"); its output is then left
 * alone.
 */
#ifndef WEIR_CONF_SCALAR_H
#define WEIR_CONF_SCALAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "acl/addr.h"
#include "base/clock.h"
#include "base/str.h"

#define SCALAR_TEXT 32 /* bytes that the formatters need, the NUL included */

const char *scalar_count(struct str, uint64_t *);
const char *scalar_duration(struct str, usec_t *);
const char *scalar_size(struct str, uint64_t *bytes);
const char *scalar_rate(struct str, uint32_t *count, usec_t *window);
const char *scalar_mode(struct str, unsigned *);

/* on, yes, true; off, no, false: case-blind, as YAML has them. */
bool scalar_is_on(struct str);
bool scalar_is_off(struct str);

/* ip:port or [v6]:port; the port is not 0. */
const char *scalar_address(struct str, struct addr *, uint16_t *port);
void scalar_sockaddr(const struct addr *, uint16_t port, struct sockaddr_storage *, socklen_t *);

/* Of a unix socket; false when the path is longer than the system takes. */
bool scalar_unix(struct str path, struct sockaddr_storage *, socklen_t *);

/* The largest unit that leaves a whole number: 90s, 2m, 64k. They answer `out`. */
const char *scalar_show_duration(char out[SCALAR_TEXT], usec_t);
const char *scalar_show_size(char out[SCALAR_TEXT], uint64_t bytes);

/* Of the UTF-8 character that a text starts with (RFC 3629, 4); 0: it is none. The text is not empty. */
size_t scalar_utf8_length(struct str);

/* What texts may consist of; all are false for an empty one but scalar_is_text. */
bool scalar_is_text(struct str);	     /* UTF-8 without control characters */
bool scalar_is_printable(struct str);	     /* visible ASCII and spaces */
bool scalar_is_token(struct str);	     /* RFC 9110, 5.6.2 */
bool scalar_is_name(struct str, size_t max); /* letters, digits, - _ . after a letter; for names of our own */
bool scalar_is_host(struct str);	     /* labels of letters, digits, - _ and one dot between two */
bool scalar_is_ip(struct str host, struct addr *); /* 192.0.2.1 or [2001:db8::1] */

#endif
