/* SPDX-License-Identifier: MIT */
#include "master/config.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "master/files.h"

#define USER_NAME 256
#define SHOWN(s) (s).n ? (int)(s).n : 6, (s).n ? (s).p : "(none)" /* for "%.*s" */

static void tell_notes(const struct conf_notes *notes, bool plain, struct problems *p,
		       struct problems *warned)
{
	if (plain && notes->errors) {
		conf_notes_print(notes, stderr);
		return;
	}
	for (unsigned i = 0; i < notes->rows; i++) {
		const struct conf_note *n = &notes->row[i];
		if (n->warning)
			log_warn("%s:%u:%u: %s", n->file, n->line, n->column, n->text);
		problems_add(n->warning ? warned : p, "%s:%u:%u: %s", n->file, n->line, n->column, n->text);
	}
}

static bool seal(struct config *c, struct conf_bundle *bundle, struct problems *p)
{
	size_t n;
	const void *bytes = conf_bundle_bytes(bundle, &n);
	c->bundle_fd = bytes ? files_seal(bytes, n) : -1;
	if (c->bundle_fd < 0)
		problems_errno(p, PROBLEM_SYSTEM, bytes ? errno : ENOMEM, "memory for the config");
	return c->bundle_fd >= 0;
}

struct config *config_load(const char *path, uint32_t generation, bool plain, struct problems *p)
{
	struct conf_notes notes = {0};
	struct config *c = calloc(1, sizeof(*c));
	struct conf_bundle *bundle = conf_bundle_new(path);
	if (!c || !bundle) {
		problems_errno(p, PROBLEM_SYSTEM, ENOMEM, "config %s", path);
		conf_bundle_free(bundle);
		free(c);
		return NULL;
	}
	c->generation = generation;
	c->bundle_fd = -1;
	c->conf = conf_load(bundle, &notes);
	tell_notes(&notes, plain, p, &c->warned);
	conf_notes_free(&notes);
	if (!c->conf || !seal(c, bundle, p)) {
		config_free(c);
		c = NULL;
	} else {
		conf_wipe_keys(c->conf); /* workers find them in the sealed bytes */
	}
	conf_bundle_free(bundle);
	return c;
}

void config_free(struct config *c)
{
	if (!c)
		return;
	if (c->conf)
		conf_free(c->conf);
	if (c->bundle_fd >= 0)
		close(c->bundle_fd);
	free(c);
}

bool config_owner(const struct conf *c, struct owner *o, struct problems *p)
{
	char name[USER_NAME];
	*o = (struct owner){(uid_t)-1, (gid_t)-1};
	if (!c->user.n) {
		if (geteuid() == 0)
			log_warn("all processes run as root: set `user` to what they should become");
		return true;
	}
	snprintf(name, sizeof(name), "%.*s", (int)c->user.n, c->user.p);
	errno = 0;
	const struct passwd *pw = getpwnam(name);
	if (geteuid() != 0) {
		if (!pw || pw->pw_uid != geteuid())
			log_warn("user: %s is not taken on, as weir was not started as root", name);
		return true;
	}
	if (!pw) {
		problems_add(p,
			     "user: %s is not known to this machine%s%s (expected the name of a user, see "
			     "getent passwd)",
			     name, errno ? ": " : "", errno ? strerror(errno) : "");
		return false;
	}
	*o = (struct owner){pw->pw_uid, pw->pw_gid};
	return true;
}

bool config_may_follow(const struct conf *now, const struct conf *next, struct problems *p)
{
	unsigned before = p->count;
	if (now->rate_limit.memory != next->rate_limit.memory)
		problems_add(p,
			     "rate_limit.memory: %zu bytes are in use and %zu are asked for: this needs a "
			     "restart, as the table of "
			     "clients is laid out once",
			     now->rate_limit.memory, next->rate_limit.memory);
	if (!str_eq(now->user, next->user))
		problems_add(p, "user: %.*s is in use and %.*s is asked for: this needs a restart",
			     SHOWN(now->user), SHOWN(next->user));
	return p->count == before;
}
