/* SPDX-License-Identifier: MIT */
/* Certificates, keys and trust in the config: what is wrong with the files, and what is done with them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/conf_case.h"
#include "tests/unit/tls_case.h"

#define LISTEN(tls)                                                                                          \
	"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"                                                    \
	"sites: [{hosts: [h], upstream: api, rate_limit: off}]\n"                                            \
	"listen: [{address: 127.0.0.1:81, tls: " tls "}]\n"
#define UP(servers, tls)                                                                                     \
	"listen: [127.0.0.1:80]\nsites: [{hosts: [h], upstream: api, rate_limit: off}]\n"                    \
	"upstreams: {api: {servers: [" servers "], tls: " tls "}}\n"
#define REDIS(more) MINIMAL "rate_limit: {store: redis, redis: {url: \"rediss://h\"" more "}}\n"

static void write_made(const char *name, struct making m)
{
	char path[64];
	struct made made = make_certificate(m);
	snprintf(path, sizeof(path), "%s.pem", name);
	write_file(path, made.certificate);
	snprintf(path, sizeof(path), "%s.key", name);
	write_file(path, made.key);
	free_made(&made);
}

static int make_files(void **state)
{
	if (enter_folder(state) != 0)
		return -1;
	write_made("good", (struct making){.san = "DNS:a.example"});
	write_made("rsa", (struct making){.san = "DNS:a.example", .rsa = true});
	write_made("other", (struct making){.san = "DNS:b.example"});
	write_made("nameless", (struct making){0});
	write_made("old", (struct making){.san = "DNS:a.example", .from = -7200, .until = -3600});
	write_made("early", (struct making){.san = "DNS:a.example", .from = 3 * 86400, .until = 9 * 86400});
	write_made("locked", (struct making){.san = "DNS:a.example", .passphrase = "opensesame"});
	write_made("weak", (struct making){.san = "DNS:a.example", .rsa = true, .bits = 1024});
	write_file("empty", "");
	write_file("words", "no certificate at all\n");
	write_file("broken", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
	setenv("SSL_CERT_FILE", "good.pem", 1);
	return 0;
}

/* What weir -t would say of it: NULL is for a config that loads. */
static void expect_notes(const char *text, const char *errors, const char *warnings)
{
	struct conf_notes notes = {0};
	write_file("weir.yaml", text);
	struct conf_bundle *b = conf_bundle_new("weir.yaml");
	struct conf *c = conf_load(b, &notes);
	char *e = notes_text(&notes, false), *w = notes_text(&notes, true), *folder = realpath(".", NULL);
	assert_true((c == NULL) == (errors[0] != 0));
	for (int i = 0; i < 2; i++) {
		char *got = i ? w : e, *p;
		const char *want = i ? warnings : errors;
		while ((p = strstr(got, folder))) /* @ stands for the folder */
			memmove(p + 1, p + strlen(folder), strlen(p + strlen(folder)) + 1), *p = '@';
		if (strcmp(got, want) != 0)
			fail_msg("%s\ngot\n%s\nexpected\n%s", text, got, want);
	}
	free(e);
	free(w);
	free(folder);
	conf_free(c);
	conf_notes_free(&notes);
	conf_bundle_free(b);
}

static void test_listeners(void **state)
{
	(void)state;
	expect_notes(LISTEN("{certificate: good.pem, key: good.key}"), "", "");
	expect_notes(LISTEN("[{certificate: good.pem, key: good.key}, {certificate: rsa.pem, key: rsa.key}]"),
		     "", "");
	expect_notes(LISTEN("{certificate: good.pem, key: other.key}"),
		     "weir.yaml:3:68: `key`: @/other.key does not fit the certificate (expected the key that "
		     "it was "
		     "made with)\n",
		     "");
	expect_notes(
		LISTEN("{certificate: good.pem, key: locked.key}"),
		"weir.yaml:3:68: `key`: @/locked.key is encrypted (expected a key without a passphrase)\n",
		"");
	expect_notes(LISTEN("{certificate: good.pem, key: words}"),
		     "weir.yaml:3:68: `key`: @/words holds no private key that can be read (expected PEM)\n",
		     "");
	expect_notes(
		LISTEN("{certificate: words, key: good.key}"),
		"weir.yaml:3:53: `certificate`: @/words holds no certificate (expected PEM, with its chain "
		"behind it)\n",
		"");
	expect_notes(
		LISTEN("{certificate: empty, key: good.key}"),
		"weir.yaml:3:53: `certificate`: @/empty holds no certificate (expected PEM, with its chain "
		"behind it)\n",
		"");
	expect_notes(
		LISTEN("{certificate: broken, key: good.key}"),
		"weir.yaml:3:53: `certificate`: @/broken holds a certificate that cannot be read (expected "
		"PEM)\n",
		"");
	expect_notes(LISTEN("{certificate: weak.pem, key: weak.key}"),
		     "weir.yaml:3:53: `certificate`: @/weak.pem is refused by OpenSSL: ee key too small\n",
		     "");
	expect_notes(LISTEN("{certificate: none.pem, key: good.key}"),
		     "weir.yaml:3:53: `certificate`: none.pem cannot be read: No such file or directory "
		     "(expected a "
		     "readable file)\n",
		     "");
}

static void test_warnings(void **state)
{
	char want[200], day[16];
	time_t then = time(NULL) - 3600;
	struct tm tm;
	(void)state;
	strftime(day, sizeof(day), "%Y-%m-%d", gmtime_r(&then, &tm));
	snprintf(want, sizeof(want), "weir.yaml:3:53: warning: `certificate`: @/old.pem has expired on %s\n",
		 day);
	expect_notes(LISTEN("{certificate: old.pem, key: old.key}"), "", want);
	then = time(NULL) + 3 * 86400;
	strftime(day, sizeof(day), "%Y-%m-%d", gmtime_r(&then, &tm));
	snprintf(want, sizeof(want),
		 "weir.yaml:3:53: warning: `certificate`: @/early.pem is not valid before %s\n", day);
	expect_notes(LISTEN("{certificate: early.pem, key: early.key}"), "", want);
	expect_notes(LISTEN("{certificate: nameless.pem, key: nameless.key}"), "", "");
	expect_notes(LISTEN("[{certificate: good.pem, key: good.key}, {certificate: nameless.pem, key: "
			    "nameless.key}]"),
		     "",
		     "weir.yaml:3:94: warning: `certificate`: @/nameless.pem bears no host name and is never "
		     "chosen "
		     "(only the first of a list needs none)\n");
}

static void test_upstreams(void **state)
{
	(void)state;
	expect_notes(UP("10.0.0.1:443", "{}"), "", "");
	expect_notes(UP("\"unix:/s\"", "{name: a.example}"), "", "");
	expect_notes(UP("\"unix:/s\"", "{}"),
		     "weir.yaml:3:29: server `unix:/s` has no name that a certificate could bear (expected "
		     "tls.name)\n",
		     "");
	expect_notes(UP("\"unix:/s\"", "{verify: off}"), "", "");
	expect_notes(UP("10.0.0.1:443", "{verify: off, ca: good.pem}"),
		     "weir.yaml:3:67: `ca` does nothing with `verify: off` (remove one of them)\n", "");
	expect_notes(UP("10.0.0.1:443", "{ca: words}"),
		     "weir.yaml:3:54: `ca`: @/words holds no certificate that can be read (expected PEM)\n",
		     "");
	expect_notes(
		UP("10.0.0.1:443", "{name: \"a b\"}"),
		"weir.yaml:3:56: `name` is `a b` (expected a host's name such as api.internal.example)\n",
		"");
	expect_notes(UP("10.0.0.1:443", "{certificate: good.pem}"),
		     "weir.yaml:3:63: `certificate` without its key (expected `key` beside it)\n", "");
	expect_notes(UP("10.0.0.1:443", "{key: good.key}"),
		     "weir.yaml:3:55: `key` without its certificate (expected `certificate` beside it)\n",
		     "");
	expect_notes(
		UP("10.0.0.1:443", "{certificate: good.pem, key: rsa.key}"),
		"weir.yaml:3:78: `key`: @/rsa.key does not fit the certificate (expected the key that it was "
		"made with)\n",
		"");
	expect_notes(UP("10.0.0.1:443", "{certificate: weak.pem, key: weak.key}"),
		     "weir.yaml:3:63: `certificate`: @/weak.pem is refused by OpenSSL: ee key too small\n",
		     "");
}

static void test_system_trust(void **state)
{
	(void)state;
	expect_notes(REDIS(""), "", "");
	expect_notes(REDIS(", ca: words"),
		     "weir.yaml:4:59: `ca`: @/words holds no certificate that can be read (expected PEM)\n",
		     "");
	struct conf *c = load_good(REDIS(", ca: rsa.pem"));
	assert_true(c->rate_limit.server.tls);
	assert_true(str_eq(c->rate_limit.server.trust, c->rate_limit.server.ca.content));
	conf_free(c);
}

/* The keys are there for who makes contexts of them, and gone afterwards. */
static void test_keys_are_wiped(void **state)
{
	struct conf *c = load_good(LISTEN("{certificate: good.pem, key: good.key}"));
	struct conf_certificate *k = &c->listen[0].certificate[0];
	const char *where = k->key.content.p;
	size_t n = k->key.content.n;
	(void)state;
	assert_non_null(memmem(where, n, "PRIVATE KEY", 11));
	conf_wipe_keys(c);
	assert_null(memmem(where, n, "PRIVATE KEY", 11));
	assert_int_equal(k->key.content.n, 0);
	assert_true(k->certificate.content.n > 0);
	conf_wipe_keys(c);
	char *text = printed(c);
	assert_null(strstr(text, "BEGIN"));
	free(text);
	conf_free(c);
}

/* A weir's hash tells of the certificate it shows, and not of what its machine trusts. */
static void test_hash(void **state)
{
	char before[CONF_HASH];
	struct conf *c = load_good(UP("10.0.0.1:443", "{}"));
	(void)state;
	memcpy(before, c->hash, sizeof(before));
	conf_free(c);
	setenv("SSL_CERT_FILE", "rsa.pem", 1);
	c = load_good(UP("10.0.0.1:443", "{}"));
	assert_string_equal(c->hash, before);
	conf_free(c);
	setenv("SSL_CERT_FILE", "good.pem", 1);
	c = load_good(UP("10.0.0.1:443", "{ca: good.pem}"));
	memcpy(before, c->hash, sizeof(before));
	conf_free(c);
	write_made("good", (struct making){.san = "DNS:a.example"});
	c = load_good(UP("10.0.0.1:443", "{ca: good.pem}"));
	assert_string_not_equal(c->hash, before);
	conf_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listeners),      cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_upstreams),      cmocka_unit_test(test_system_trust),
		cmocka_unit_test(test_keys_are_wiped), cmocka_unit_test(test_hash),
	};
	return cmocka_run_group_tests(tests, make_files, leave_folder);
}
