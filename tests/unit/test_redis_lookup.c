/* SPDX-License-Identifier: MIT */
/*
 * Names: of a hosts file and of a name server on loopback whose answer changes; and what it is for: a store
 * whose master moves to another address, which weir follows.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "ratelimit/redis_lookup.h"
#include "tests/unit/limiter_rig.h"

/* --- files --- */

struct files {
	char dir[64], hosts[96], resolv[96];
};

static void put_file(const char *path, const char *format, ...)
{
	va_list ap;
	FILE *f = fopen(path, "w");
	if (!f)
		rig_die(path);
	va_start(ap, format);
	vfprintf(f, format, ap);
	va_end(ap);
	fclose(f);
}

static void make_files(struct files *f)
{
	snprintf(f->dir, sizeof(f->dir), "/tmp/weir-test-XXXXXX");
	if (!mkdtemp(f->dir))
		rig_die("mkdtemp");
	snprintf(f->hosts, sizeof(f->hosts), "%s/hosts", f->dir);
	snprintf(f->resolv, sizeof(f->resolv), "%s/resolv.conf", f->dir);
	put_file(f->hosts, "127.0.0.1 localhost\n");
	put_file(f->resolv, "");
}

static void remove_files(struct files *f)
{
	unlink(f->hosts);
	unlink(f->resolv);
	rmdir(f->dir);
}

/* --- a name server: one A record for every name --- */

struct dns {
	int fd, port;
	uint8_t address[4];
	unsigned asked;
	bool silent;
};

static void dns_open(struct dns *d)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	*d = (struct dns){.address = {127, 0, 0, 1}};
	d->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (d->fd < 0 || bind(d->fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    getsockname(d->fd, (struct sockaddr *)&sa, &len) < 0)
		rig_die("the name server");
	d->port = ntohs(sa.sin_port);
}

/* The question is sent back with an answer behind it; AAAA has none. */
static void dns_serve(struct dns *d)
{
	uint8_t m[600];
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	ssize_t n;
	while ((n = recvfrom(d->fd, m, 512, 0, (struct sockaddr *)&from, &len)) > 16) {
		size_t end = 12;
		while (end < (size_t)n && m[end])
			end += m[end] + 1u;
		bool a = m[end + 1] == 0 && m[end + 2] == 1;
		d->asked++;
		if (d->silent)
			continue;
		m[2] |= 0x80; /* an answer */
		m[3] = 0x80;
		m[7] = a;
		m[9] = m[11] = 0; /* nothing more */
		end += 5;
		const uint8_t answer[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4};
		memcpy(m + end, answer, sizeof(answer));
		memcpy(m + end + sizeof(answer), d->address, 4);
		sendto(d->fd, m, a ? end + sizeof(answer) + 4 : end, 0, (struct sockaddr *)&from, len);
	}
}

/* --- a lookup --- */

struct looked {
	struct dns *dns;
	unsigned found, n;
	char first[64], error[64];
};

static void on_looked(void *owner, const struct redis_address *a, unsigned n, const char *error)
{
	struct looked *l = owner;
	l->found++;
	l->n = n;
	l->first[0] = 0;
	if (n && a->sa.ss_family == AF_INET)
		inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)&a->sa)->sin_addr, l->first,
			  sizeof(l->first));
	snprintf(l->error, sizeof(l->error), "%s", error ? error : "");
}

static bool was_looked(void *looked)
{
	struct looked *l = looked;
	if (l->dns)
		dns_serve(l->dns);
	return l->found > 0;
}

static void look(struct redis_lookup *k, struct looked *l)
{
	l->found = 0;
	redis_lookup_start(k);
	assert_true(rig_turn(&loop, was_looked, l, RIG_PATIENCE));
	assert_int_equal(l->found, 1);
}

static struct redis_lookup *lookup_of(const char *host, const struct files *f, struct looked *l)
{
	const struct redis_lookup_setup setup = {
		.loop = &loop,
		.host = host,
		.port = 6379,
		.hosts_file = f->hosts,
		.resolv_file = f->resolv,
		.owner = l,
		.found = on_looked,
	};
	struct redis_lookup *k = redis_lookup_new(&setup);
	assert_non_null(k);
	return k;
}

static void close_lookup(struct redis_lookup *k)
{
	redis_lookup_free(k);
	turn_for(3 * USEC_PER_MSEC);
}

static void the_hosts_file_is_read_anew(void **state)
{
	(void)state;
	struct files f;
	struct looked l = {0};
	make_files(&f);
	put_file(f.hosts, "127.0.0.5 limits.example\n");
	struct redis_lookup *k = lookup_of("limits.example", &f, &l);
	look(k, &l);
	assert_string_equal(l.first, "127.0.0.5");
	put_file(f.hosts, "127.0.0.6 limits.example\n");
	look(k, &l);
	assert_string_equal(l.first, "127.0.0.6");
	close_lookup(k);
	remove_files(&f);
}

static void a_name_servers_answer_may_change(void **state)
{
	(void)state;
	struct files f;
	struct dns d, other;
	struct looked l = {.dns = &d};
	make_files(&f);
	dns_open(&d);
	put_file(f.resolv, "nameserver 127.0.0.1:%d\n", d.port);
	struct redis_lookup *k = lookup_of("limits.example", &f, &l);
	look(k, &l);
	assert_string_equal(l.first, "127.0.0.1");
	d.address[3] = 7;
	look(k, &l);
	assert_string_equal(l.first, "127.0.0.7");
	assert_true(d.asked >= 2);
	/* So may the name server itself. */
	dns_open(&other);
	other.address[3] = 8;
	put_file(f.resolv, "nameserver 127.0.0.1:%d\n", other.port);
	l.dns = &other;
	look(k, &l);
	assert_string_equal(l.first, "127.0.0.8");
	close_lookup(k);
	close(d.fd);
	close(other.fd);
	remove_files(&f);
}

static bool was_asked(void *dns)
{
	dns_serve(dns);
	return ((struct dns *)dns)->asked > 0;
}

/* The loop goes on while a name server is silent, and a lookup may be freed meanwhile. */
static void nothing_waits_for_a_name_server(void **state)
{
	(void)state;
	struct files f;
	struct dns d;
	struct looked l = {0};
	make_files(&f);
	dns_open(&d);
	d.silent = true;
	put_file(f.resolv, "nameserver 127.0.0.1:%d\n", d.port);
	struct redis_lookup *k = lookup_of("limits.example", &f, &l);
	usec_t began = clock_mono();
	redis_lookup_start(k);
	assert_true(clock_mono() - began < USEC_PER_SEC);
	assert_true(rig_turn(&loop, was_asked, &d, RIG_PATIENCE));
	assert_int_equal(l.found, 0);
	close_lookup(k);
	assert_int_equal(l.found, 0);
	close(d.fd);
	remove_files(&f);
}

/* --- failover by repointed address --- */

struct pair {
	struct rig_redis two;
	struct dns dns;
	struct files files;
};

static bool reached(void *ctx)
{
	struct pair *p = ctx;
	dns_serve(&p->dns);
	return is_state(READY);
}

static bool left(void *ctx)
{
	struct pair *p = ctx;
	dns_serve(&p->dns);
	return !is_state(READY);
}

static bool answered_meanwhile(void *ctx)
{
	struct request *r = ctx;
	return is_answered(r);
}

/*
 * The master's name points to 127.0.0.1, where one server listens; the other listens on the same port of
 * 127.0.0.2. The first becomes a replica of the second and the name is pointed there: its READONLY makes the
 * store resolve the name again.
 */
static void the_master_moves_to_another_address(void **state)
{
	(void)state;
	struct pair p = {.two = {.port = redis.port, .bind = "127.0.0.2"}};
	struct shop s = {0};
	struct request r;
	struct policy policy = policy_of("default", 10, MINUTE);
	make_files(&p.files);
	dns_open(&p.dns);
	put_file(p.files.resolv, "nameserver 127.0.0.1:%d\n", p.dns.port);
	rig_start(&p.two);
	rig_do(&redis, "FLUSHALL");
	s.target = (struct redis_target){
		.host = STR("limits.example"),
		.port = (uint16_t)redis.port,
		.hosts_file = p.files.hosts,
		.resolv_file = p.files.resolv,
	};
	shop_open_with(&s, 0, LIMITER_LOCAL);
	assert_true(rig_turn(&loop, reached, &p, RIG_PATIENCE));
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(ask_one(&s, &r, 1, &policy)->source, SOURCE_REDIS);
	assert_int_equal(rig_integer(&redis, "DBSIZE%s", "") > 0, 1);

	char port[16];
	snprintf(port, sizeof(port), "%d", redis.port);
	uint64_t before = rig_failures("readonly");
	p.dns.address[3] = 2;
	rig_do(&redis, "REPLICAOF 127.0.0.2 %s", port);
	/* Whatever comes meanwhile is decided, never an error. */
	for (uint8_t client = 10; is_state(READY) && client < 250; client++) {
		prepare(&r, client, &policy);
		loop.now = clock_mono();
		if (put(s.limiter, &r) == LIMITER_WAIT)
			assert_true(rig_turn(&loop, answered_meanwhile, &r, RIG_PATIENCE));
		assert_true(r.t.verdict.granted);
		rig_turn(&loop, left, &p, USEC_PER_MSEC);
	}
	assert_true(rig_failures("readonly") > before);
	assert_true(rig_turn(&loop, reached, &p, RIG_PATIENCE));
	for (unsigned i = 0; i < 11; i++) {
		const struct verdict *v = ask_one(&s, &r, 2, &policy);
		assert_int_equal(v->source, SOURCE_REDIS);
		assert_int_equal(v->granted, i < 10);
	}
	assert_true(rig_integer(&p.two, "DBSIZE%s", "") > 0);
	shop_close(&s);
	rig_do(&redis, "REPLICAOF NO ONE");
	rig_end(&p.two);
	close(p.dns.fd);
	remove_files(&p.files);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_hosts_file_is_read_anew),
		cmocka_unit_test(a_name_servers_answer_may_change),
		cmocka_unit_test(nothing_waits_for_a_name_server),
		cmocka_unit_test(the_master_moves_to_another_address),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
