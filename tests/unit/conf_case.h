/* SPDX-License-Identifier: MIT */
/*
 * For tests of the config: a folder of its own under /tmp, files in it, and loads of weir.yaml there. The
 * folder is the process's working directory, so that messages say `weir.yaml` and no more. Include after
 * cmocka.h.
 */
#ifndef WEIR_TESTS_UNIT_CONF_CASE_H
#define WEIR_TESTS_UNIT_CONF_CASE_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/bundle.h"
#include "conf/conf.h"

/* Three lines; what is added starts at line 4. */
#define MINIMAL                                                                                              \
	"listen: [127.0.0.1:8080]\n"                                                                         \
	"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"                                                    \
	"sites: [{hosts: [example.com], upstream: api, rate_limit: off}]\n"

static char case_folder[64];

static inline void write_bytes(const char *name, const void *p, size_t n)
{
	FILE *f = fopen(name, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static inline void write_file(const char *name, const char *text)
{
	write_bytes(name, text, strlen(text));
}

static inline int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st;
	(void)kind;
	(void)where;
	return remove(path);
}

static inline int enter_folder(void **state)
{
	(void)state;
	snprintf(case_folder, sizeof(case_folder), "/tmp/weir-conf-XXXXXX");
	return mkdtemp(case_folder) && chdir(case_folder) == 0 ? 0 : -1;
}

static inline int leave_folder(void **state)
{
	(void)state;
	return chdir("/") == 0 ? nftw(case_folder, remove_one, 8, FTW_DEPTH | FTW_PHYS) : -1;
}

/* All notes of one kind as weir -t prints them, the caller's to free. */
static inline char *notes_text(const struct conf_notes *notes, bool warnings)
{
	struct conf_notes some = {.row = calloc(notes->rows + 1, sizeof(*some.row))};
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	for (unsigned i = 0; i < notes->rows; i++)
		if (notes->row[i].warning == warnings)
			some.row[some.rows++] = notes->row[i];
	conf_notes_print(&some, f);
	fclose(f);
	conf_notes_free(&some);
	return text;
}

static inline void fail_with_notes(const struct conf_notes *notes)
{
	conf_notes_print(notes, stderr);
	fail_msg("the config did not load");
}

/* A config that must load. */
static inline struct conf *load_good(const char *text)
{
	struct conf_notes notes = {0};
	write_file("weir.yaml", text);
	struct conf_bundle *b = conf_bundle_new("weir.yaml");
	struct conf *c = conf_load(b, &notes);
	if (!c)
		fail_with_notes(&notes);
	conf_notes_free(&notes);
	conf_bundle_free(b);
	return c;
}

static inline char *printed(const struct conf *c)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	conf_print(c, f);
	fclose(f);
	return text;
}

static inline bool is(struct str s, const char *text)
{
	return str_eq(s, str_of(text));
}

#endif
