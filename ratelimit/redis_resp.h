/* SPDX-License-Identifier: MIT */
/* A command as bytes (RESP2): an array of bulk strings. Pure. */
#ifndef WEIR_RATELIMIT_REDIS_RESP_H
#define WEIR_RATELIMIT_REDIS_RESP_H

#include <stddef.h>

#include "base/str.h"

/* The most bytes that it takes. */
size_t redis_resp_room(unsigned argc, const struct str *argv);
/* Returns the place after the last byte. */
char *redis_resp_write(char *out, unsigned argc, const struct str *argv);

#endif
