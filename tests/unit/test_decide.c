/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "conf_case.h"
#include "proxy/decide.h"

#define CONFIG                                                                                               \
	"listen: [127.0.0.1:8080]\n"                                                                         \
	"networks:\n"                                                                                        \
	"  office: [203.0.113.0/24, 2001:db8:1::/48]\n"                                                      \
	"  vpn: [198.51.100.0/24, 203.0.113.128/25]\n"                                                       \
	"  probes: [192.0.2.77/32, 203.0.113.9/32]\n"                                                        \
	"deny: [198.51.100.66/32, 203.0.113.66/32, 192.0.2.66/32]\n"                                         \
	"rate_limit:\n"                                                                                      \
	"  policies:\n"                                                                                      \
	"    default: {requests: 1000, window: 60s, for: {vpn: 5000, office: 200}}\n"                        \
	"    login: {requests: 20, window: 60s, for: {office: 3}}\n"                                         \
	"    search: {requests: 7, window: 10s, mode: shadow}\n"                                             \
	"  exempt: [probes]\n"                                                                               \
	"upstreams: {api: {servers: [127.0.0.1:9000]}}\n"                                                    \
	"sites:\n"                                                                                           \
	"  - {hosts: [open.test], upstream: api}\n"                                                          \
	"  - {hosts: [free.test], upstream: api, rate_limit: off}\n"                                         \
	"  - {hosts: [strict.test], upstream: api, rate_limit: login}\n"                                     \
	"  - {hosts: [guarded.test], upstream: api, allow: [office, vpn]}\n"                                 \
	"  - hosts: [paths.test]\n"                                                                          \
	"    upstream: api\n"                                                                                \
	"    paths:\n"                                                                                       \
	"      - {prefix: /api/admin/, allow: [office]}\n"                                                   \
	"      - {prefix: /api/login, rate_limit: login}\n"                                                  \
	"      - {prefix: /api/search, rate_limit: search}\n"                                                \
	"      - {prefix: /api/same, rate_limit: default}\n"                                                 \
	"      - {prefix: /static, rate_limit: off}\n"                                                       \
	"      - {prefix: /static/private, allow: [vpn]}\n"                                                  \
	"      - {prefix: /static/counted, rate_limit: login}\n"                                             \
	"      - {prefix: /api/admin/login, rate_limit: login}\n"                                            \
	"      - {prefix: /both, allow: [office], rate_limit: login}\n"                                      \
	"  - hosts: [inner.test]\n"                                                                          \
	"    upstream: api\n"                                                                                \
	"    allow: [office, vpn]\n"                                                                         \
	"    paths: [{prefix: /secret, allow: [office]}, {prefix: /login, rate_limit: login}]\n"

#define ANYONE "192.0.2.1"
#define OFFICE "203.0.113.5"
#define VPN "198.51.100.7"
#define VPN_IN_OFFICE "203.0.113.200"
#define PROBE "192.0.2.77"
#define NOBODY NULL

static struct conf *conf;

static int load(void **state)
{
	if (enter_folder(state))
		return -1;
	conf = load_good(CONFIG);
	return conf ? 0 : -1;
}

static int unload(void **state)
{
	conf_free(conf);
	return leave_folder(state);
}

static void ask_decide(const char *host, const char *ip, const char *path, struct decision *d)
{
	const struct conf_site *site = conf_site_of(conf, str_of(host));
	const struct netmask *nets = NULL;
	struct addr a;
	assert_non_null(site);
	if (ip) {
		assert_true(addr_parse(str_of(ip), &a));
		nets = netset_lookup(conf->nets, &a);
	}
	memset(d, 0xee, sizeof(*d)); /* whatever stood there before */
	decide(conf, site, nets, str_of(path), d);
}

/* "default:1000 login:20", in the order of the config */
static const char *asks_text(const struct decision *d)
{
	static char text[200];
	size_t n = 0;
	text[0] = 0;
	assert_true(d->asks <= POLICY_MAX_APPLIED);
	for (unsigned p = 0; p < conf->rate_limit.policies; p++)
		for (unsigned i = 0; i < d->asks; i++)
			if (d->ask[i].policy == &conf->rate_limit.policy[p].policy)
				n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s:%u", n ? " " : "",
						      d->ask[i].policy->name, d->ask[i].limit);
	return text;
}

struct row {
	const char *host, *ip, *path;
	enum decision_kind kind;
	const char *asks;
};

static void check(const struct row *r)
{
	struct decision d;
	ask_decide(r->host, r->ip, r->path, &d);
	if (d.kind != r->kind)
		fail_msg("%s %s from %s: kind %d, not %d", r->host, r->path, r->ip ? r->ip : "nobody", d.kind,
			 r->kind);
	if (d.kind == DECISION_PASS && strcmp(asks_text(&d), r->asks) != 0)
		fail_msg("%s %s from %s: %s, not %s", r->host, r->path, r->ip ? r->ip : "nobody",
			 asks_text(&d), r->asks);
	assert_int_equal(d.why != NULL, d.kind == DECISION_UNREADABLE);
	if (d.kind == DECISION_PATH)
		assert_non_null(d.path);
	else if (d.kind != DECISION_NOBODY)
		assert_null(d.path);
}

static void check_all(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++)
		check(&rows[i]);
}

#define CHECK(...)                                                                                           \
	do {                                                                                                 \
		static const struct row rows[] = {__VA_ARGS__};                                              \
		check_all(rows, sizeof(rows) / sizeof(rows[0]));                                             \
	} while (0)

static void a_site_has_its_policy_or_the_default_or_none(void **state)
{
	(void)state;
	CHECK({"open.test", ANYONE, "/", DECISION_PASS, "default:1000"},
	      {"free.test", ANYONE, "/", DECISION_PASS, ""},
	      {"strict.test", ANYONE, "/x", DECISION_PASS, "login:20"},
	      {"open.test", NOBODY, "/", DECISION_PASS, ""}, {"strict.test", NOBODY, "/", DECISION_PASS, ""});
}

static void the_highest_limit_of_his_networks_counts(void **state)
{
	(void)state;
	CHECK({"open.test", VPN, "/", DECISION_PASS, "default:5000"},
	      {"open.test", OFFICE, "/", DECISION_PASS, "default:200"},
	      {"open.test", VPN_IN_OFFICE, "/", DECISION_PASS, "default:5000"},
	      {"strict.test", OFFICE, "/", DECISION_PASS, "login:3"},
	      {"strict.test", VPN, "/", DECISION_PASS, "login:20"},
	      {"paths.test", VPN_IN_OFFICE, "/api/login", DECISION_PASS, "default:5000 login:3"},
	      {"open.test", "2001:db8:1:7::1", "/", DECISION_PASS, "default:200"});
}

static void a_denied_network_enters_nowhere(void **state)
{
	(void)state;
	CHECK({"open.test", "192.0.2.66", "/", DECISION_DENIED, ""},
	      {"free.test", "192.0.2.66", "/", DECISION_DENIED, ""},
	      {"guarded.test", "198.51.100.66", "/", DECISION_DENIED, ""}, /* though his network may */
	      {"paths.test", "203.0.113.66", "/api/admin", DECISION_DENIED, ""},
	      {"paths.test", "203.0.113.66", "/%zz", DECISION_DENIED, ""},
	      {"open.test", "192.0.2.67", "/", DECISION_PASS, "default:1000"});
}

static void a_guarded_site_lets_in_its_networks_and_never_nobody(void **state)
{
	(void)state;
	CHECK({"guarded.test", OFFICE, "/", DECISION_PASS, "default:200"},
	      {"guarded.test", VPN, "/", DECISION_PASS, "default:5000"},
	      {"guarded.test", ANYONE, "/", DECISION_SITE, ""},
	      {"guarded.test", PROBE, "/", DECISION_SITE, ""},
	      {"guarded.test", NOBODY, "/", DECISION_NOBODY, ""},
	      {"guarded.test", "2001:db8:2::1", "/", DECISION_SITE, ""},
	      {"guarded.test", OFFICE, "/%zz", DECISION_PASS, "default:200"}); /* no rule has to read it */
}

static void a_path_adds_its_allow_to_the_site_s(void **state)
{
	(void)state;
	CHECK({"paths.test", OFFICE, "/api/admin", DECISION_PASS, "default:200"},
	      {"paths.test", ANYONE, "/api/admin", DECISION_PATH, ""},
	      {"paths.test", ANYONE, "/api/admin/x", DECISION_PATH, ""},
	      {"paths.test", ANYONE, "/api/admin/login", DECISION_PATH,
	       ""}, /* says nothing of allow: the outer goes on */
	      {"paths.test", OFFICE, "/api/admin/login", DECISION_PASS, "default:200 login:3"},
	      {"paths.test", ANYONE, "/api/administrator", DECISION_PASS, "default:1000"},
	      {"paths.test", NOBODY, "/api/admin", DECISION_NOBODY, ""},
	      {"paths.test", NOBODY, "/api/login", DECISION_PASS, ""},
	      {"inner.test", VPN, "/", DECISION_PASS, "default:5000"},
	      {"inner.test", VPN, "/secret", DECISION_PATH, ""},
	      {"inner.test", OFFICE, "/secret", DECISION_PASS, "default:200"},
	      {"inner.test", ANYONE, "/secret", DECISION_SITE, ""},
	      {"inner.test", ANYONE, "/%zz", DECISION_SITE, ""}, /* the site's guard needs no path */
	      {"inner.test", VPN, "/login", DECISION_PASS, "default:5000 login:20"});
}

static void no_spelling_walks_around_an_allow(void **state)
{
	static const char *const spellings[] = {
		"/api/admin",	    "/api/admin/",	"/API/Admin/x",		"/api/%61dmin",
		"/api%2fadmin",	    "/api%252fadmin",	"//api/admin",		"/api//admin",
		"/api/./admin",	    "/x/../api/admin",	"/x/%2e%2e/api/admin",	"/api\\admin",
		"/api;v=1/admin",   "/api/admin;x",	"/static/../api/admin", "/api/login/../admin",
		"/%61pi/%2561dmin", "/api/x/..;/admin", "/api/admin%3fx",	"/api/admin%00.png",
	};
	(void)state;
	for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
		struct decision d;
		ask_decide("paths.test", ANYONE, spellings[i], &d);
		if (d.kind != DECISION_PATH && d.kind != DECISION_UNREADABLE)
			fail_msg("%s passes", spellings[i]);
		ask_decide("paths.test", NOBODY, spellings[i], &d);
		assert_true(d.kind == DECISION_NOBODY || d.kind == DECISION_UNREADABLE);
	}
}

static void a_path_adds_its_policy_to_the_site_s(void **state)
{
	(void)state;
	CHECK({"paths.test", ANYONE, "/api/login", DECISION_PASS, "default:1000 login:20"},
	      {"paths.test", ANYONE, "/api/searches", DECISION_PASS, "default:1000"},
	      {"paths.test", ANYONE, "/api/search", DECISION_PASS, "default:1000 search:7"},
	      {"paths.test", ANYONE, "/api/same", DECISION_PASS, "default:1000"}, /* once */
	      {"paths.test", OFFICE, "/both", DECISION_PASS, "default:200 login:3"},
	      {"paths.test", ANYONE, "/both", DECISION_PATH, ""},
	      /* two readings, a rule each: both tighten */
	      {"paths.test", ANYONE, "/api/login/../search", DECISION_PASS, "default:1000 login:20 search:7"},
	      {"paths.test", ANYONE, "/API/LOGIN", DECISION_PASS, "default:1000 login:20"});
}

static void off_loosens_only_when_every_reading_falls_under_it(void **state)
{
	(void)state;
	CHECK({"paths.test", ANYONE, "/static", DECISION_PASS, ""},
	      {"paths.test", ANYONE, "/static/a.js", DECISION_PASS, ""},
	      {"paths.test", ANYONE, "/STATIC/a.js", DECISION_PASS,
	       "default:1000"}, /* another path, letter by letter */
	      {"paths.test", ANYONE, "/static/../x", DECISION_PASS, "default:1000"},
	      {"paths.test", ANYONE, "/static%2fa", DECISION_PASS,
	       "default:1000"}, /* one segment, undecoded */
	      {"paths.test", ANYONE, "/static/%2e%2e/api/login", DECISION_PASS, "default:1000 login:20"},
	      {"paths.test", ANYONE, "/x/../static/a", DECISION_PASS, "default:1000"},
	      {"paths.test", ANYONE, "/staticx", DECISION_PASS, "default:1000"},
	      /* the longer prefix says nothing of limits: the one around it goes on */
	      {"paths.test", VPN, "/static/private", DECISION_PASS, ""},
	      {"paths.test", VPN, "/static/counted", DECISION_PASS, "default:5000 login:20"},
	      {"paths.test", VPN, "/static/x/../private", DECISION_PASS, "default:5000"},
	      {"paths.test", ANYONE, "/static/private", DECISION_PATH, ""});
}

static void a_path_that_cannot_be_decoded_is_unreadable_where_rules_need_it(void **state)
{
	(void)state;
	CHECK({"paths.test", ANYONE, "/%zz", DECISION_UNREADABLE, ""},
	      {"paths.test", OFFICE, "/a%", DECISION_UNREADABLE, ""},
	      {"paths.test", NOBODY, "/%4", DECISION_UNREADABLE, ""},
	      {"open.test", ANYONE, "/%zz", DECISION_PASS, "default:1000"});
}

static void an_exempt_network_is_told_and_still_guarded(void **state)
{
	struct decision d;
	(void)state;
	ask_decide("open.test", PROBE, "/", &d);
	assert_int_equal(d.kind, DECISION_PASS);
	assert_true(d.exempt);
	ask_decide("paths.test", PROBE, "/api/login", &d);
	assert_true(d.exempt);
	ask_decide("paths.test", PROBE, "/api/admin", &d);
	assert_int_equal(d.kind, DECISION_PATH);
	ask_decide("guarded.test", "203.0.113.9", "/", &d);
	assert_int_equal(d.kind, DECISION_PASS);
	assert_true(d.exempt);
	ask_decide("open.test", ANYONE, "/", &d);
	assert_false(d.exempt);
	ask_decide("open.test", NOBODY, "/", &d);
	assert_false(d.exempt);
}

static void the_path_that_refused_is_named(void **state)
{
	struct decision d;
	(void)state;
	ask_decide("paths.test", ANYONE, "/x/../both", &d);
	assert_int_equal(d.kind, DECISION_PATH);
	assert_true(is(d.path->prefix, "/both"));
	ask_decide("paths.test", OFFICE, "/static/private/x", &d);
	assert_int_equal(d.kind, DECISION_PATH);
	assert_true(is(d.path->prefix, "/static/private"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_site_has_its_policy_or_the_default_or_none),
		cmocka_unit_test(the_highest_limit_of_his_networks_counts),
		cmocka_unit_test(a_denied_network_enters_nowhere),
		cmocka_unit_test(a_guarded_site_lets_in_its_networks_and_never_nobody),
		cmocka_unit_test(a_path_adds_its_allow_to_the_site_s),
		cmocka_unit_test(no_spelling_walks_around_an_allow),
		cmocka_unit_test(a_path_adds_its_policy_to_the_site_s),
		cmocka_unit_test(off_loosens_only_when_every_reading_falls_under_it),
		cmocka_unit_test(a_path_that_cannot_be_decoded_is_unreadable_where_rules_need_it),
		cmocka_unit_test(an_exempt_network_is_told_and_still_guarded),
		cmocka_unit_test(the_path_that_refused_is_named),
	};
	return cmocka_run_group_tests(tests, load, unload);
}
