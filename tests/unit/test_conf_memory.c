/* SPDX-License-Identifier: MIT */
/* A load for which each allocation in turn fails: an error and no conf, never a crash or a leak. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/conf_case.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED
#endif

static long left = -1; /* allocations until one fails; -1: none does */

#ifndef SANITIZED
static long live; /* allocations that were not freed yet */

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void __libc_free(void *);

static void *counted(void *p)
{
	live += p != NULL;
	return p;
}

static bool fails(void)
{
	if (left < 0 || left-- > 0)
		return false;
	errno = ENOMEM;
	left = 0; /* and all that follow */
	return true;
}

void *malloc(size_t n)
{
	return fails() ? NULL : counted(__libc_malloc(n));
}

void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : counted(__libc_calloc(n, size));
}

void *realloc(void *p, size_t n)
{
	if (fails())
		return NULL;
	return p ? __libc_realloc(p, n) : counted(__libc_malloc(n));
}

void free(void *p)
{
	live -= p != NULL;
	__libc_free(p);
}
#endif

static const char text[] =
	MINIMAL "networks: {office: [10.0.0.0/8, \"file:list\"]}\n"
		"deny: [office, 192.0.2.1]\n"
		"rate_limit: {store: redis, redis: {url: \"redis://u:p@h\", password: \"${WEIR_TEST_A}\"}, "
		"policies: {p: {requests: 5, window: 1s, for: {office: 7}}}}\n"
		"cookies: {domain: example.com, share: {sid: {secure: on}}}\n"
		"cors: {origins: [\"https://example.com\"]}\n"
		"client_ip: {trusted_proxies: [192.0.2.0/24], header: X-A, only_with: {header: X-B, "
		"value: s}}\n";

static bool load_once(void)
{
	struct conf_notes notes = {0};
	struct conf_bundle *b = conf_bundle_new("weir.yaml");
	struct conf *c = b ? conf_load(b, &notes) : NULL;
	size_t n;
	const void *bytes = c ? conf_bundle_bytes(b, &n) : NULL;
	struct conf_bundle *d = bytes ? conf_bundle_parse(bytes, n) : NULL;
	bool ok = c && d;
	left = -1;
	if (b && !c)
		assert_true(notes.errors > 0);
	if (c)
		assert_int_equal(notes.errors, 0);
	conf_free(c);
	conf_notes_free(&notes);
	conf_bundle_free(b);
	conf_bundle_free(d);
	return ok;
}

static void test_each_allocation(void **state)
{
	long n = 0;
	(void)state;
	write_file("weir.yaml", text);
	write_file("list", "10.7.0.0/16\n");
	setenv("WEIR_TEST_A", "secret", 1);
	assert_true(load_once());
#ifndef SANITIZED
	for (;; n++) {
		long before = live;
		left = n;
		bool ok = load_once();
		assert_int_equal(live, before);
		if (ok)
			break;
	}
	assert_true(n > 100);
#else
	(void)n;
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_allocation)};
	return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
