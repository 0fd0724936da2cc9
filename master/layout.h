/* SPDX-License-Identifier: MIT */
/*
 * The shared memory's layout: how large each section is for a config, and its first state. Done once a life,
 * by the master, which also joins it here, in slot 0 of the board.
 */
#ifndef WEIR_MASTER_LAYOUT_H
#define WEIR_MASTER_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/shm.h"
#include "conf/conf.h"
#include "master/problems.h"
#include "ratelimit/table.h"

/* How rate_limit.memory is parted between clients and their logs. */
struct table_size layout_table(const struct conf_rate_limit *);

bool layout_open(struct shm *, const struct conf *, const uint8_t hash_key[16], struct problems *);

#endif
