/* SPDX-License-Identifier: MIT */
#include "proxy/capacity.h"

#include <limits.h>

#define FILES_A_CLIENT 2 /* the client's, and one to an upstream */
#define FILES_OWN 64
#define FEWEST 32 /* connections, however few files there are */
#define SPARE 64  /* connections more than its share that a worker may have, besides a quarter */

unsigned capacity_of_files(rlim_t files)
{
	if (files == RLIM_INFINITY || files / FILES_A_CLIENT > UINT_MAX)
		return UINT_MAX;
	if (files < FILES_OWN + FEWEST * FILES_A_CLIENT)
		return FEWEST;
	return (unsigned)((files - FILES_OWN) / FILES_A_CLIENT);
}

rlim_t capacity_files(unsigned connections, unsigned workers)
{
	rlim_t share = connections / workers, most = share + share / 4 + SPARE;
	if (most > connections)
		most = connections;
	return most * FILES_A_CLIENT + FILES_OWN * 2;
}
