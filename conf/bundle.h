/* SPDX-License-Identifier: MIT */
/*
 * What a load reads from outside (see conf.h): asked for by kind and name, read once, remembered with its
 * answer, the refusals too. A parsed bundle only remembers; what it was not told of is refused. Values are
 * valid as long as the bundle.
 */
#ifndef WEIR_CONF_BUNDLE_H
#define WEIR_CONF_BUNDLE_H

#include "conf/conf.h"

#define BUNDLE_FILE_MAX (16u << 20) /* bytes of one file */
#define BUNDLE_ENTRIES_MAX 2048

enum bundle_kind {
	BUNDLE_CONFIG, /* the config file; its name is not asked for */
	BUNDLE_FILE,   /* name: a path */
	BUNDLE_ENV,    /* name: a variable */
	BUNDLE_CPUS,   /* how many the system grants, as a number in text */
	BUNDLE_TRUST,  /* the certificates that the system trusts, PEM */
	BUNDLE_KINDS
};

/* False: *why says why not ("No such file or directory"), valid as long as the bundle. */
bool bundle_get(struct conf_bundle *, enum bundle_kind, struct str name, struct str *value, const char **why);

struct str bundle_path(const struct conf_bundle *);   /* of the config file, as it was given */
struct str bundle_folder(const struct conf_bundle *); /* of the config file, absolute, without a last slash */

/* Over the contents of the config, files and variables that were read; not over paths or what the machine
 * has. */
/* False: out of memory. */
bool bundle_hash(const struct conf_bundle *, char out[CONF_HASH]);

#endif
