/* SPDX-License-Identifier: MIT */
#include "master/version.h"

#include <event2/event.h>
#include <hiredis/hiredis.h>
#include <openssl/crypto.h>
#include <openssl/opensslv.h>
#include <yaml.h>

#include "master/sanitizer.h"

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

static const char *const build[] = {
#if defined(__clang__)
	("clang " __clang_version__),
#elif defined(__GNUC__)
	("gcc " __VERSION__),
#endif
#ifdef __OPTIMIZE__
	"optimized",
#else
	"not optimized",
#endif
#if WEIR_SANITIZED
	"sanitized",
#endif
#ifdef NDEBUG
	"no assertions",
#else
	"assertions",
#endif
#if defined(_FORTIFY_SOURCE) && _FORTIFY_SOURCE > 0
	("fortify " TEXT(_FORTIFY_SOURCE)),
#endif
#if defined(__SSP_STRONG__) || defined(__SSP_ALL__)
	"stack protector",
#endif
#ifdef __PIE__
	"position independent",
#endif
};

void version_print(FILE *out)
{
	int major, minor, patch;
	yaml_get_version(&major, &minor, &patch);
	fprintf(out, "weir " WEIR_VERSION "\n  built with  ");
	for (size_t i = 0; i < sizeof(build) / sizeof(build[0]); i++)
		fprintf(out, "%s%s", i ? ", " : "", build[i]);
	fprintf(out, "\n  libevent    %s (built with " LIBEVENT_VERSION ")\n", event_get_version());
	fprintf(out, "  OpenSSL     %s (built with " OPENSSL_VERSION_TEXT ")\n",
		OpenSSL_version(OPENSSL_VERSION));
	fprintf(out,
		"  hiredis     " TEXT(HIREDIS_MAJOR) "." TEXT(HIREDIS_MINOR) "." TEXT(HIREDIS_PATCH) "\n");
	fprintf(out, "  libyaml     %d.%d.%d\n", major, minor, patch);
}
