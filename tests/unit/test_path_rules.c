/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <stdio.h>

#include "acl/path_readings.h"
#include "acl/path_rules.h"

#define COUNT(a) (sizeof(a) / sizeof(*(a)))
#define BIT(i) ((uint64_t)1 << (i))

static uint64_t seed = 0xa4093822299f31d0;

static unsigned draw(unsigned below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)((seed >> 16) % below);
}

static struct path_rules *rules_of(const char *const *prefixes, unsigned n)
{
	struct path_rules *r = path_rules_new();
	for (unsigned i = 0; i < n; i++) {
		const char *why = NULL;
		if (!path_rules_add(r, str_of(prefixes[i]), i, &why))
			fail_msg("%s: %s", prefixes[i], why);
	}
	return r;
}

/* From a copy of exactly its size, so that a sanitizer sees a read beyond it. */
static enum path_status match(const struct path_rules *r, struct str path, struct path_match *m,
			      const char **why)
{
	char *copy = malloc(path.n ? path.n : 1);
	if (path.n)
		memcpy(copy, path.p, path.n);
	enum path_status status = path_rules_match(r, (struct str){copy, path.n}, m, why);
	free(copy);
	assert_int_equal(m->all & ~m->any, 0);
	if (status == PATH_UNREADABLE)
		assert_int_equal(m->any | m->all | m->readings, 0);
	return status;
}

static struct path_match met(const struct path_rules *r, const char *path)
{
	struct path_match m;
	const char *why;
	if (match(r, str_of(path), &m, &why) != PATH_READ)
		fail_msg("%s: %s", path, why);
	return m;
}

static void test_segments(void **state)
{
	(void)state;
	static const char *const prefixes[] = {"/api/admin/", "/api/login", "/api/login/help", "/v1.2/",
					       "/a"};
	static const struct {
		const char *path;
		uint64_t met;
	} rows[] = {
		{"/", 0},
		{"", 0},
		{"/api", 0},
		{"/api/", 0},
		{"/api/admin", BIT(0)},
		{"/api/admin/", BIT(0)},
		{"/api/admin/x/y", BIT(0)},
		{"/api/administrator", 0},
		{"/api/admin-x", 0},
		{"/api/admin.json", 0},
		{"/api/adm", 0},
		{"/api/login", BIT(1)},
		{"/api/login/", BIT(1)},
		{"/api/login/x", BIT(1)},
		{"/api/loginx", 0},
		{"/api/login/help", BIT(2)},
		{"/api/login/help/x", BIT(2)},
		{"/api/login/helpx", BIT(1)},
		{"/v1.2", BIT(3)},
		{"/v1.2/x", BIT(3)},
		{"/v1x2/x", 0},
		{"/x/api/admin", 0},
		{"/a", BIT(4)},
		{"/a/", BIT(4)},
		{"/aa", 0},
	};
	struct path_rules *r = rules_of(prefixes, COUNT(prefixes));
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct path_match m = met(r, rows[i].path);
		if (m.any != rows[i].met || m.all != rows[i].met || m.readings != 1)
			fail_msg("%s: %lx %lx in %u", rows[i].path, (unsigned long)m.any,
				 (unsigned long)m.all, m.readings);
	}
	path_rules_free(r);
}

static void test_root_and_none(void **state)
{
	(void)state;
	static const char *const prefixes[] = {"/", "/api"};
	struct path_rules *r = rules_of(prefixes, 2), *none = rules_of(NULL, 0);
	assert_int_equal(met(r, "/").all, BIT(0));
	assert_int_equal(met(r, "/x").all, BIT(0));
	assert_int_equal(met(r, "/api").all, BIT(1));
	assert_int_equal(met(r, "/%61pi").any, BIT(0) | BIT(1));
	assert_int_equal(met(r, "/%61pi").all, 0);
	assert_int_equal(met(none, "/api/..;/x").any, 0);
	path_rules_free(r);
	path_rules_free(none);
	path_rules_free(NULL);
}

/* Each of these is /api/admin or below it to some program. */
static const char *const walks_around[] = {
	/* letters */
	"/API/admin",
	"/Api/Admin/x",
	"/api/ADMIN",
	/* encodings */
	"/%61pi/admin",
	"/api/%61dmin",
	"/api/%61%64%6d%69%6e/x",
	"/api/%41DMIN",
	"/api%2fadmin",
	"/api%2Fadmin",
	"/%2fapi/admin",
	"/api/admin%2f",
	"/api/admin%2fx",
	"/api%252fadmin",
	"/%2561pi/admin",
	"/api/%2561dmin",
	"/api%25%32%66admin",
	"/api/a%64min",
	"/api/%61dmin%2f..%2f..",
	"/a%70i%2fa%64min",
	/* dot segments */
	"/./api/admin",
	"/api/./admin",
	"/x/../api/admin",
	"/api/x/../admin",
	"/api/admin/.",
	"/api/admin/./x",
	"/api/admin/x/..",
	"/../api/admin",
	"/../../api/admin",
	"/x/y/../../api/admin",
	"/api/admin/x/../y",
	"/%2e/api/admin",
	"/api/%2e/admin",
	"/x/%2e%2e/api/admin",
	"/x/.%2e/api/admin",
	"/x/%2E./api/admin",
	"/x/%252e%252e/api/admin",
	"/x%2f..%2fapi/admin",
	"/x%2f%2e%2e%2fapi%2fadmin",
	"/x/..%2fapi/admin",
	"/x/..%252fapi/admin",
	"/static/..%2f..%2fapi%2fadmin",
	"/api/public/../admin",
	"/api/public/%2e%2e/admin",
	"/api/admin/../public",
	"/api/admin/..",
	"/api/admin/../..",
	"/api/admin/%2e%2e/public",
	/* doubled slashes */
	"//api/admin",
	"/api//admin",
	"///api///admin///x",
	"/api/%2fadmin",
	"/%2f%2fapi/admin",
	"/api/.//admin",
	"/api//x/../admin",
	"//x/..//api//admin",
	/* backslashes */
	"/\\api\\admin",
	"/api\\admin",
	"/api\\\\admin",
	"/api%5cadmin",
	"/api%5Cadmin",
	"/api%255cadmin",
	"/x\\..\\api\\admin",
	"/x/..\\api/admin",
	"/x/..%5capi/admin",
	"/x%5c..%5capi%5cadmin",
	"/.\\api/admin",
	/* matrix parameters */
	"/api;x=y/admin",
	"/api/admin;x",
	"/api/admin;x=y/z",
	"/api;/admin;/x",
	"/;/api/admin",
	"/;x=y/api/admin",
	"/x/..;/api/admin",
	"/x/..;a=b/api/admin",
	"/x/..;a/..;b/api/admin",
	"/x/.;/../api/admin",
	"/.;x/api/admin",
	"/api/.;x/admin",
	"/api/x/..;/admin",
	"/api%3badmin=1/admin",
	"/api/admin%3bx",
	"/x/..%3b/api/admin",
	"/x/%2e%2e;/api/admin",
	"/x/%2e%2e%3b/api/admin",
	"/x/..;%2fapi/admin",
	"/api/admin;/../../public",
	"/x/..%253b/api/admin",
	"/api/admin;a=b;c=d",
	"/api/;/admin",
	"/api/admin;%2f..%2f..",
	/* where a second parser sees the path end, or the host */
	"/api/admin#x",
	"/api/admin%23x",
	"/api/admin%3fx",
	"/api/admin%3Fx/../../public",
	"/api/admin%23/../../public",
	"/api/admin?x",
	"/api/admin%253f",
	"/api/admin%2500x",
	"/x/../api/admin%2500/../../..",
	"/api/admin%2523.js",
	"//host/api/admin",
	"//host:80/api/admin",
	"///host/api/admin",
	"/\\host/api/admin",
	"/%2fhost/api/admin",
	/* letters that become ASCII letters, overlong UTF-8 after two decodings */
	"/api/adm%C4%B1n",
	"/ap%c4%b0/admin",
	"/api/adm\xc4\xb1n",
	"/x/%25c0%25ae%25c0%25ae/api/admin",
	"/api%25c0%25afadmin",
	"/api%25c1%259cadmin",
	"/api%25e0%2580%25afadmin",
	"/api%25f0%2580%2580%25afadmin",
	/* combined */
	"/x/..%2f/API;v=1%2f%61dmin",
	"/x/y/..;/%2e%2e//api\\%61dmin;x",
	"//api/./x%2f..\\ADMIN",
	"/%2e%2e%5capi%5c%2e%5cadmin",
	"/x;/..%252fapi//admin",
	"/x/../api;x/admin/..;/y",
	"/x/%2e%2e/api%2fadmin%2f..%2f..",
	"/y/../api;x/admin;/..;/x",
};

static void test_walks_around(void **state)
{
	(void)state;
	static const char *const prefixes[] = {"/api/admin/", "/api/public"};
	struct path_rules *r = rules_of(prefixes, 2);
	for (size_t i = 0; i < COUNT(walks_around); i++) {
		struct path_match m = met(r, walks_around[i]);
		if (!(m.any & BIT(0)))
			fail_msg("%s walked around /api/admin/ (%u readings)", walks_around[i], m.readings);
		if (m.all & BIT(1))
			fail_msg("%s loosened /api/public", walks_around[i]);
	}
	path_rules_free(r);
}

/* The same, where the guarded prefix has upper-case letters itself. */
static void test_walks_around_upper(void **state)
{
	(void)state;
	static const char *const prefixes[] = {"/API/Admin"};
	struct path_rules *r = rules_of(prefixes, 1);
	for (size_t i = 0; i < COUNT(walks_around); i++)
		if (!(met(r, walks_around[i]).any & BIT(0)))
			fail_msg("%s walked around /API/Admin", walks_around[i]);
	assert_int_equal(met(r, "/api/admin").any, BIT(0));
	assert_int_equal(met(r, "/api/admin").all, 0);
	assert_int_equal(met(r, "/API/Admin/x").all, BIT(0));
	path_rules_free(r);
}

/* A rule that loosens below one that tightens: the longest prefix wins in each reading by itself. */
static void test_nested(void **state)
{
	(void)state;
	static const char *const prefixes[] = {"/api/", "/api/public/", "/api/public/admin"};
	static const struct {
		const char *path;
		uint64_t any, all;
	} rows[] = {
		{"/api/x", BIT(0), BIT(0)},
		{"/api/public/x", BIT(1), BIT(1)},
		{"/api/public/admin/x", BIT(2), BIT(2)},
		{"/api/PUBLIC/x", BIT(0) | BIT(1), 0},
		{"/api/Public/admin", BIT(0) | BIT(2), 0},
		{"/api/%70ublic/x", BIT(0) | BIT(1), 0},
		{"/api/public/../x", BIT(0) | BIT(1), 0},
		{"/api/x/../public/y", BIT(0) | BIT(1), 0},
		{"/api/public%2fx", BIT(0) | BIT(1), 0},
		{"/api/public/x%20y", BIT(1), BIT(1)},
		{"/api/public/%2e%2e/x", BIT(0) | BIT(1), 0},
		{"/api/public/..;/x", BIT(0) | BIT(1), 0},
		{"/api/public//x", BIT(1), BIT(1)},
		{"/api//public/x", BIT(0) | BIT(1), 0},
		{"/api;/public/x", BIT(0) | BIT(1), 0},
		{"/api/public/x;/admin", BIT(1), BIT(1)},
		{"/api/public;/admin", BIT(0) | BIT(1) | BIT(2), 0},
		{"/%61pi/public%2fadmin", BIT(0) | BIT(2), 0},
		{"/api/public/File.HTML", BIT(1), BIT(1)},
		{"/api/public/a%2Fb", BIT(1), BIT(1)},
		{"/api/public/a;b=c/%C3%A4", BIT(1), BIT(1)},
		{"/api/public/x%3fy", BIT(1), BIT(1)},
		{"/api/public/100%25", BIT(1), BIT(1)},
		{"/api/public/50%25adult/5%25001", BIT(1),
		 BIT(1)}, /* decoded twice it is no UTF-8, and has a NUL */
		{"/api/public/.well-known/x", BIT(1), BIT(1)},
		{"/api/public/..x/...", BIT(1), BIT(1)},
	};
	struct path_rules *r = rules_of(prefixes, COUNT(prefixes));
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct path_match m = met(r, rows[i].path);
		if (m.any != rows[i].any || m.all != rows[i].all)
			fail_msg("%s: any %lx all %lx in %u", rows[i].path, (unsigned long)m.any,
				 (unsigned long)m.all, m.readings);
	}
	path_rules_free(r);
}

/* Programs that decode only what needs no encoding, or segments that they split off before. */
static void test_partly_decoded(void **state)
{
	(void)state;
	static const char *const prefixes[] = {"/api", "/api/@x", "/@pi", "/@pi/p"};
	static const struct {
		const char *path;
		uint64_t any;
	} rows[] = {
		{"/%61pi/%40x", BIT(0) | BIT(1)},
		{"/%2561pi/%2540x", BIT(0) | BIT(1)},
		{"/%40pi/p%2fx", BIT(2) | BIT(3)},
		{"/%2540pi/p%252fx", BIT(2) | BIT(3)},
		{"/%61pi%2f..%2fx", BIT(0)},
		{"/x/%2e%2e/api%2f..%2fy",
		 BIT(0)}, /* the dots by a URL parser, the rest by who uses its answer */
	};
	struct path_rules *r = rules_of(prefixes, COUNT(prefixes));
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct path_match m = met(r, rows[i].path);
		if (m.any != rows[i].any || m.all)
			fail_msg("%s: any %lx all %lx", rows[i].path, (unsigned long)m.any,
				 (unsigned long)m.all);
	}
	path_rules_free(r);
}

static void test_unreadable(void **state)
{
	(void)state;
	static const struct {
		struct str path;
		const char *says;
	} rows[] = {
		{STR("/%"), "no escape"},
		{STR("/%4"), "no escape"},
		{STR("/x%zz"), "no escape"},
		{STR("/%2"), "no escape"},
		{STR("/%%32%66"), "no escape"},
		{STR("/%u002e%u002e/"), "no escape"},
		{STR("/100%/x"), "no escape"},
		{STR("/%2g"), "no escape"},
		{STR("/%-1"), "no escape"},
		{STR("/x%00"), "NUL"},
		{STR("/x%00.html"), "NUL"},
		{STR("/x\0y"), "NUL"},
		{STR("/x%0a"), "control"},
		{STR("/x%0D%0a"), "control"},
		{STR("/x%09"), "control"},
		{STR("/x\ty"), "control"},
		{STR("/x%7f"), "control"},
		{STR("/x%c0%af"), "UTF-8"},
		{STR("/%c0%ae%c0%ae/"), "UTF-8"},
		{STR("/%e0%80%af"), "UTF-8"},
		{STR("/%f0%80%80%af"), "UTF-8"},
		{STR("/%c1%9c"), "UTF-8"},
		{STR("/%80"), "UTF-8"},
		{STR("/%c3"), "UTF-8"},
		{STR("/%c3/%a4"), "UTF-8"},
		{STR("/%e9t%e9"), "UTF-8"},
		{STR("/\xe9t\xe9"), "UTF-8"},
		{STR("/%ed%a0%80"), "UTF-8"},
		{STR("/%f4%90%80%80"), "UTF-8"},
		{STR("/%f8%88%80%80%80"), "UTF-8"},
		{STR("/%ff"), "UTF-8"},
		{STR("/%e2%84"), "UTF-8"},
		{STR("x"), "start with a slash"},
		{STR("*"), "start with a slash"},
		{STR("%2fx"), "start with a slash"},
		{STR("\\x"), "start with a slash"},
	};
	static const char *const prefixes[] = {"/api/admin/"};
	struct path_rules *r = rules_of(prefixes, 1);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct path_match m;
		const char *why = NULL;
		if (match(r, rows[i].path, &m, &why) != PATH_UNREADABLE || !strstr(why, rows[i].says))
			fail_msg("%s: %s", rows[i].path.p, why ? why : "was read");
	}
	path_rules_free(r);
}

static void test_utf8_is_read(void **state)
{
	(void)state;
	static const char *const good[] = {
		"/%C3%A4",
		"/%c2%80",
		"/%df%bf",
		"/%e0%a0%80",
		"/%ed%9f%bf",
		"/%ee%80%80",
		"/%ef%bf%bf",
		"/%f0%90%80%80",
		"/%f4%8f%bf%bf",
		"/%F0%9F%98%80",
		"/\xc3\xa4\xe2\x82\xac",
	};
	struct path_rules *r = rules_of(NULL, 0);
	for (size_t i = 0; i < COUNT(good); i++)
		met(r, good[i]);
	path_rules_free(r);
}

/* Paths as sites have them are read, and in few ways. */
static void test_usual_paths(void **state)
{
	(void)state;
	static const struct {
		const char *path;
		unsigned readings;
	} rows[] = {
		{"/static/app.3f2a.js", 1},
		{"/Users/Me/Photo.JPG", 1},
		{"/.well-known/acme-challenge/x_y-z", 1},
		{"/a/b~c!$&'()*+,=:@d", 1},
		{"/search/hello%20world", 2},
		{"/caf%C3%A9/men%C3%BC", 2},
		{"/users/a%40example.com", 2},
		{"/img/https%3A%2F%2Fexample.com%2Fa%20b.png", 4},
		{"/proxy/https://example.com/x", 2},
		{"/shop;jsessionid=0123ABCD/cart", 3},
		{"/dl/report%202026%20(final).pdf", 2},
		{"/q/100%25", 2},
		{"/a/../b", 2},
		{"/oauth/callback/http%253A%252F%252Flocalhost%252Fcb", 6},
	};
	struct path_rules *r = rules_of(NULL, 0);
	for (size_t i = 0; i < COUNT(rows); i++) {
		unsigned n = met(r, rows[i].path).readings;
		if (n > rows[i].readings)
			fail_msg("%s: %u readings", rows[i].path, n);
	}
	path_rules_free(r);
}

/* Plain is what has one reading; checked against the slow way. */
static void test_plain(void **state)
{
	(void)state;
	static const char alphabet[] = "abz09-_~!$&'()*+,=:@....////";
	static const char odd[] = "%\\;?#AZ\x80\xff\x7f \t";
	struct path_readings *readings = malloc(sizeof(*readings));
	unsigned plain = 0;
	for (unsigned i = 0; i < 200000; i++) {
		char text[16] = "/";
		size_t n = 1 + draw(12);
		for (size_t k = 1; k < n; k++)
			text[k] =
				draw(60) ? alphabet[draw(sizeof(alphabet) - 1)] : odd[draw(sizeof(odd) - 1)];
		struct str s = {text, n};
		if (!path_is_plain(s))
			continue;
		plain++;
		assert_null(path_readings_make(readings, s));
		assert_int_equal(readings->n, 1);
		assert_true(str_eq(readings->v[0].text, s));
		for (size_t k = 0; k < n; k++)
			assert_int_equal(text[k], ascii_lower((unsigned char)text[k]));
	}
	assert_true(plain > 10000);
	for (size_t i = 0; i < sizeof(odd) - 1; i++) {
		char text[4] = {'/', 'x', odd[i], 'y'};
		assert_false(path_is_plain((struct str){text, 4}));
	}
	assert_false(path_is_plain(STR("/a//b")));
	assert_false(path_is_plain(STR("/a/.")));
	assert_false(path_is_plain(STR("/../a")));
	free(readings);
}

/* ---- disguises: the steps backwards, at random ---- */

struct text {
	char p[4096];
	size_t n;
};

static void put(struct text *t, size_t at, size_t gone, const char *with)
{
	size_t n = strlen(with);
	assert_true(t->n + n < sizeof(t->p) && at + gone <= t->n);
	memmove(t->p + at + n, t->p + at + gone, t->n - at - gone);
	memcpy(t->p + at, with, n);
	t->n = t->n + n - gone;
}

static size_t slash_of(const struct text *t) /* any of the slashes */
{
	size_t found = 0;
	for (size_t i = 0, seen = 0; i < t->n; i++)
		if (t->p[i] == '/' && draw((unsigned)++seen) == 0)
			found = i;
	return found;
}

static void encode(struct text *t, unsigned one_in)
{
	for (size_t i = t->n; i-- > 1;) {
		char escape[4];
		if (t->p[i] != '%' && draw(one_in))
			continue;
		snprintf(escape, sizeof(escape), draw(2) ? "%%%02x" : "%%%02X", (unsigned char)t->p[i]);
		put(t, i, 1, escape);
	}
}

static void disguise(struct text *t)
{
	size_t at = slash_of(t);
	switch (draw(7)) {
	case 0:
		put(t, at, 1, draw(2) ? "/./" : "/x/../");
		break;
	case 1:
		put(t, at, 1, "//");
		break;
	case 2:
		if (at)
			put(t, at, 1, "\\");
		break;
	case 3:
		put(t, at, 0, at ? ";v=1" : "");
		break;
	case 4:
		put(t, at, 1, draw(2) ? "/y/..;/" : "/.;/");
		break;
	case 5:
		put(t, t->n, 0, draw(2) ? "?x" : "#x");
		break;
	default:
		for (size_t i = 0; i < t->n; i++)
			if (t->p[i] >= 'a' && t->p[i] <= 'z' && draw(3) == 0)
				t->p[i] = (char)(t->p[i] - 32);
	}
}

/* However a guarded path is disguised, either the guard is met or the path is refused. */
static void test_random_disguises(void **state)
{
	(void)state;
	static const char *const prefixes[] = {"/api/admin/", "/api/public/"};
	struct path_rules *r = rules_of(prefixes, 2);
	unsigned read = 0, refused = 0;
	for (unsigned i = 0; i < 60000; i++) {
		struct text t = {"", 0};
		unsigned encodings = draw(3);
		put(&t, 0, 0, draw(2) ? "/api/admin/x" : "/api/admin");
		for (unsigned layer = 0; layer <= encodings; layer++) {
			for (unsigned k = draw(layer ? 3 : 4); k-- > 0;)
				disguise(&t);
			if (layer == encodings && draw(8) == 0)
				put(&t, 0, 0,
				    "//host"); /* last: a program that merges slashes first sees none */
			if (layer < encodings)
				encode(&t, 1 + draw(12));
		}
		struct path_match m;
		const char *why;
		if (match(r, (struct str){t.p, t.n}, &m, &why) == PATH_UNREADABLE) {
			refused++;
			continue;
		}
		read++;
		if (!(m.any & BIT(0)))
			fail_msg("%.*s (%u readings)", (int)t.n, t.p, m.readings);
		assert_false(m.all & BIT(1));
	}
	if (read < 50000)
		fail_msg("%u read, %u refused", read, refused);
	path_rules_free(r);
}

/* Whatever the bytes are: no crash, no endless work, and an answer that holds together. */
static void test_noise(void **state)
{
	(void)state;
	static const char *const prefixes[] = {"/a", "/a/b", "/", "/A/c"};
	static const char *const pieces[] = {
		"/", "//", "..", ".",	";", "\\", "%2f",    "%252f",	   "%2e",   "%25", "%5c",
		"a", "b",  "A",	 "%3b", "?", "#",  "%c4%b1", "%25c0%25af", "%2500", "%61", "%3f"};
	struct path_rules *r = rules_of(prefixes, COUNT(prefixes));
	unsigned most = 0;
	for (unsigned i = 0; i < 100000; i++) {
		struct text t = {"/", 1};
		for (unsigned k = draw(16); k-- > 0;)
			put(&t, t.n, 0, pieces[draw(COUNT(pieces))]);
		struct path_match m;
		const char *why;
		if (match(r, (struct str){t.p, t.n}, &m, &why) == PATH_UNREADABLE)
			continue;
		assert_in_range(m.readings, 1, PATH_RULES_READINGS_MAX);
		assert_true(m.any != 0); /* the root takes what nothing else does */
		most = m.readings > most ? m.readings : most;
	}
	assert_true(most > 20);
	path_rules_free(r);
}

static void test_long_paths(void **state)
{
	(void)state;
	static const char *const prefixes[] = {"/api/admin/"};
	static const char *const fills[] = {"/",
					    "x",
					    "/x",
					    "%20",
					    "//",
					    "/.",
					    "/x/..",
					    "\\",
					    ";x",
					    "%2f",
					    "%252f",
					    "%2e/",
					    "%25",
					    "..;/",
					    "%3f",
					    "?",
					    "#",
					    "%2e%2e%2f",
					    "/%c4%b1;x\\%252e"};
	struct path_rules *r = rules_of(prefixes, 1);
	char *path = malloc(PATH_RULES_PATH_MAX + 1);
	struct path_match m;
	const char *why;
	for (size_t f = 0; f < COUNT(fills); f++) {
		size_t len = strlen(fills[f]), n = 11;
		memcpy(path, "/api/admin/", n);
		for (; n + len <= PATH_RULES_PATH_MAX; n += len)
			memcpy(path + n, fills[f], len);
		if (match(r, (struct str){path, n}, &m, &why) == PATH_UNREADABLE)
			assert_non_null(strstr(why, "too many ways"));
		else
			assert_true(m.any & BIT(0));
	}
	memset(path, 'x', PATH_RULES_PATH_MAX + 1);
	path[0] = '/';
	assert_int_equal(match(r, (struct str){path, PATH_RULES_PATH_MAX}, &m, &why), PATH_READ);
	assert_int_equal(match(r, (struct str){path, PATH_RULES_PATH_MAX + 1}, &m, &why), PATH_UNREADABLE);
	/* long and encoded throughout, as a path that carries a document may be */
	size_t n = 1;
	for (; n + 9 <= PATH_RULES_PATH_MAX; n += 9)
		memcpy(path + n, "ab%20cd/e", 9);
	assert_int_equal(match(r, (struct str){path, n}, &m, &why), PATH_READ);
	free(path);
	path_rules_free(r);
}

static void test_add_errors(void **state)
{
	(void)state;
	static const struct {
		const char *prefix, *says;
	} rows[] = {
		{"", "starts with a slash"}, {"api", "starts with a slash"}, {"\\api", "starts with a slash"},
		{"/a%20b", "without %"},     {"/a b", "is made of"},	     {"/a;b", "is made of"},
		{"/a\\b", "is made of"},     {"/a?b", "is made of"},	     {"/a#b", "is made of"},
		{"/\xc3\xa4", "is made of"}, {"/a//b", "doubled slashes"},   {"//a", "doubled slashes"},
		{"/a//", "doubled slashes"}, {"//", "doubled slashes"},	     {"/a/../b", "dot segments"},
		{"/a/.", "dot segments"},    {"/..", "dot segments"},	     {"/here", "twice"},
		{"/here/", "twice"},
	};
	struct path_rules *r = path_rules_new();
	const char *why;
	assert_true(path_rules_add(r, STR("/here"), 0, &why));
	for (size_t i = 0; i < COUNT(rows); i++) {
		if (path_rules_add(r, str_of(rows[i].prefix), 1, &why) || !strstr(why, rows[i].says))
			fail_msg("%s: %s", rows[i].prefix, why ? why : "was added");
	}
	assert_false(path_rules_add(r, STR("/other"), 0, &why));
	assert_false(path_rules_add(r, STR("/other"), 64, &why));
	assert_true(
		path_rules_add(r, STR("/HERE"), 1, &why)); /* another place to a program that heeds case */
	assert_int_equal(met(r, "/here").any, BIT(0) | BIT(1));
	assert_int_equal(met(r, "/here").all, BIT(0));
	path_rules_free(r);
}

static void test_sixty_four_rules(void **state)
{
	(void)state;
	struct path_rules *r = path_rules_new();
	const char *why;
	char text[32];
	for (unsigned i = 0; i < PATH_RULES_MAX; i++) {
		snprintf(text, sizeof(text), "/api/v%u/", i);
		assert_true(path_rules_add(r, str_of(text), i, &why));
	}
	for (unsigned i = 0; i < PATH_RULES_MAX; i++) {
		snprintf(text, sizeof(text), "/api/v%u/x", i);
		assert_true(met(r, text).all == BIT(i));
		snprintf(text, sizeof(text), "/API/%%76%u", i);
		assert_true(met(r, text).any == BIT(i));
	}
	path_rules_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments),	 cmocka_unit_test(test_root_and_none),
		cmocka_unit_test(test_walks_around),	 cmocka_unit_test(test_walks_around_upper),
		cmocka_unit_test(test_nested),		 cmocka_unit_test(test_partly_decoded),
		cmocka_unit_test(test_unreadable),	 cmocka_unit_test(test_utf8_is_read),
		cmocka_unit_test(test_usual_paths),	 cmocka_unit_test(test_plain),
		cmocka_unit_test(test_random_disguises), cmocka_unit_test(test_noise),
		cmocka_unit_test(test_long_paths),	 cmocka_unit_test(test_add_errors),
		cmocka_unit_test(test_sixty_four_rules),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
