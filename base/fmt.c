/* SPDX-License-Identifier: MIT */
#include "base/fmt.h"

#define DIGIT(n) (char)('0' + (n) % 10)
#define ROW(n)                                                                                               \
	{                                                                                                    \
		(n) >= 100  ? DIGIT((n) / 100)                                                               \
		: (n) >= 10 ? DIGIT((n) / 10)                                                                \
			    : DIGIT(n),                                                                      \
			(n) >= 100  ? DIGIT((n) / 10)                                                        \
			: (n) >= 10 ? DIGIT(n)                                                               \
				    : '.',                                                                   \
			(n) >= 100 ? DIGIT(n) : '.', '.',                                                    \
	}
#define ROWS4(n) ROW(n), ROW((n) + 1), ROW((n) + 2), ROW((n) + 3)
#define ROWS16(n) ROWS4(n), ROWS4((n) + 4), ROWS4((n) + 8), ROWS4((n) + 12)
#define ROWS64(n) ROWS16(n), ROWS16((n) + 16), ROWS16((n) + 32), ROWS16((n) + 48)

const char fmt_dotted_table[256][4] = {ROWS64(0), ROWS64(64), ROWS64(128), ROWS64(192)};
