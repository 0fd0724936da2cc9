/* SPDX-License-Identifier: MIT */
#include "ratelimit/redis_resp.h"

#include "base/fmt.h"

static char *bulk_head(char *out, char sign, size_t n)
{
	*out++ = sign;
	out = fmt_u64(out, n);
	memcpy(out, "\r\n", 2);
	return out + 2;
}

size_t redis_resp_room(unsigned argc, const struct str *argv)
{
	size_t room = FMT_U64_MAX + 3;
	for (unsigned i = 0; i < argc; i++)
		room += argv[i].n + FMT_U64_MAX + 5;
	return room;
}

char *redis_resp_write(char *out, unsigned argc, const struct str *argv)
{
	out = bulk_head(out, '*', argc);
	for (unsigned i = 0; i < argc; i++) {
		out = bulk_head(out, '$', argv[i].n);
		out = fmt_str(out, argv[i]);
		memcpy(out, "\r\n", 2);
		out += 2;
	}
	return out;
}
