/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as the single values that people write: durations, sizes, rates, modes, addresses, networks,
 * hosts. What is read is shown as a text that is read as the same; addresses are what inet_pton reads, or
 * stricter; and the trie of networks answers as a walk over the list does.
 *
 * Input: a line that is the value, then lines that are networks, looked up in the trie that they make.
 */
#include <arpa/inet.h>

#include "acl/netset.h"
#include "conf/hosts.h"
#include "conf/scalar.h"
#include "tests/fuzz/fuzz.h"

enum { LISTS = 3, NETS_MOST = 64 };

/* Digits and a unit, by other code; false: too large to tell. */
static bool read_naively(struct str s, const char *const *units, const uint64_t *times, uint64_t *out)
{
	size_t digits = 0;

	for (*out = 0; digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9'; digits++)
		*out = *out * 10 + (uint64_t)(s.p[digits] - '0');
	for (unsigned i = 0; digits > 0 && digits < 14 && units[i]; i++) {
		if (!str_ieq((struct str){s.p + digits, s.n - digits}, str_of(units[i])))
			continue;
		return !__builtin_mul_overflow(*out, times[i], out);
	}
	return false;
}

static void check_quantities(struct str s)
{
	static const char *const time_units[] = {"ms", "s", "m", "h", NULL};
	static const char *const size_units[] = {"", "k", "m", "g", NULL};
	static const uint64_t us_of[] = {1000, 1000000, 60000000, 3600000000};
	static const uint64_t bytes_of[] = {1, 1 << 10, 1 << 20, 1 << 30};
	uint64_t naive;
	char text[SCALAR_TEXT];
	usec_t us, us_again, window;
	uint64_t n, n_again;
	uint32_t count;
	unsigned mode;

	if (!scalar_duration(s, &us)) {
		promise(us >= 0);
		promise(!scalar_duration(str_of(scalar_show_duration(text, us)), &us_again) &&
			us == us_again);
	}
	if (!scalar_size(s, &n)) {
		promise(n <= UINT64_MAX >> 2);
		promise(!scalar_size(str_of(scalar_show_size(text, n)), &n_again) && n == n_again);
	}
	if (!scalar_count(s, &n))
		promise(n <= UINT64_MAX >> 2);
	if (!scalar_rate(s, &count, &window))
		promise(count > 0 && window > 0);
	if (!scalar_mode(s, &mode))
		promise(mode <= 0777);
	if (read_naively(s, time_units, us_of, &naive) && naive < UINT64_MAX >> 3)
		promise(!scalar_duration(s, &us) && (uint64_t)us == naive);
	if (read_naively(s, size_units, bytes_of, &naive) && naive < UINT64_MAX >> 3)
		promise(!scalar_size(s, &n) && n == naive);
	promise(!scalar_is_on(s) || !scalar_is_off(s));
}

static void check_address(struct str s)
{
	char text[ADDR_TEXT], z[64];
	struct addr a, again, theirs = addr_v4(0, 0, 0, 0);

	if (!addr_parse(s, &a))
		return;
	promise(s.n < sizeof(z) && !memchr(s.p, 0, s.n));
	memcpy(z, s.p, s.n);
	z[s.n] = 0;
	promise(inet_pton(AF_INET, z, theirs.b + 12) == 1 || inet_pton(AF_INET6, z, theirs.b) == 1);
	promise(addr_eq(&a, &theirs));
	size_t n = addr_format(text, &a);
	promise(n < ADDR_TEXT && strlen(text) == n);
	promise(addr_parse((struct str){text, n}, &again) && addr_eq(&a, &again));
}

static void check_hop(struct str s)
{
	char text[ADDR_TEXT + 16], ip[ADDR_TEXT];
	struct addr a, again;
	uint16_t port, port_again;

	if (!addr_parse_hop(s, &a, &port))
		return;
	addr_format(ip, &a);
	int n = snprintf(text, sizeof(text), addr_is_v4(&a) ? "%s" : "[%s]", ip);
	if (port)
		n += snprintf(text + n, sizeof(text) - (size_t)n, ":%u", port);
	promise(addr_parse_hop((struct str){text, (size_t)n}, &again, &port_again));
	promise(addr_eq(&a, &again) && port == port_again);
}

static bool check_cidr(struct str s, struct cidr *c)
{
	char text[CIDR_TEXT];
	struct cidr again;
	const char *why;

	if (!cidr_parse(s, c, &why)) {
		promise(why && *why);
		return false;
	}
	struct addr masked = c->addr;
	addr_mask(&masked, c->bits);
	promise(c->bits <= 128 && addr_eq(&masked, &c->addr) &&
		cidr_has(c, &c->addr) == (c->bits >= 96 || !addr_is_v4(&c->addr)));
	size_t n = cidr_format(text, c);
	promise(n < CIDR_TEXT && cidr_parse((struct str){text, n}, &again, &why));
	promise(again.bits == c->bits && addr_eq(&again.addr, &c->addr));
	return true;
}

static void check_hosts(struct str s)
{
	struct arena arena = {0};
	struct str out, again;
	struct addr a;

	if (!host_pattern(&arena, s, &out)) {
		promise(out.n > 0 && !memchr(out.p, 0, out.n));
		promise(!host_pattern(&arena, out, &again) && str_eq(out, again));
		promise(host_compare(out, again) == 0);
		for (size_t i = 0; i < out.n; i++)
			promise(ascii_lower((unsigned char)out.p[i]) == (unsigned char)out.p[i]);
	}
	if (scalar_is_host(s))
		promise(s.n <= 253 && !memchr(s.p, 0, s.n) && host_below(s, s));
	if (scalar_is_ip(s, &a))
		promise(s.n >= 2);
	promise(!scalar_is_token(s) || scalar_is_printable(s));
	promise(!scalar_is_printable(s) || scalar_is_text(s));
	arena_free(&arena);
}

struct nets {
	struct cidr c[NETS_MOST];
	int list[NETS_MOST];
	unsigned n;
};

static void check_lookup(const struct netset *set, const struct nets *nets, const struct addr *a)
{
	const struct netmask *m = netset_lookup(set, a);

	for (int list = 0; list < LISTS; list++) {
		bool held = false;
		for (unsigned i = 0; i < nets->n; i++)
			held |= nets->list[i] == list && cidr_has(&nets->c[i], a);
		promise(netmask_has(m, list) == held);
	}
}

/* The first and the last address of each network, and those beside them. */
static void check_edges(const struct netset *set, const struct nets *nets, const struct cidr *c)
{
	struct addr a = c->addr;

	check_lookup(set, nets, &a);
	for (int i = 15; i >= 0 && a.b[i]-- == 0; i--)
		;
	check_lookup(set, nets, &a);
	a = c->addr;
	for (unsigned bit = c->bits; bit < 128; bit++)
		a.b[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
	check_lookup(set, nets, &a);
	for (int i = 15; i >= 0 && ++a.b[i] == 0; i--)
		;
	check_lookup(set, nets, &a);
}

static void check_nets(struct feed *f)
{
	struct netset_builder *b = netset_builder_new();
	struct nets nets = {.n = 0};

	promise(b != NULL);
	for (int i = 0; i < LISTS; i++)
		promise(netset_list(b) == i);
	while (f->n && nets.n < NETS_MOST) {
		struct cidr *c = &nets.c[nets.n];
		struct str line = feed_until(f, '\n');
		if (!check_cidr(line, c))
			continue;
		nets.list[nets.n] = (int)(line.n % LISTS);
		promise(netset_add(b, nets.list[nets.n], c) == 0);
		nets.n++;
	}
	struct netset *set = netset_compile(b);
	promise(set != NULL);
	for (unsigned i = 0; i < nets.n; i++)
		check_edges(set, &nets, &nets.c[i]);
	netset_free(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct feed f = feed_of(data, size);
	struct cidr c;

	if (size > 2048)
		return 0;
	struct str line = feed_until(&f, '\n');
	char *exact = exact_copy(line.p, line.n);
	struct str s = {exact, line.n};
	check_quantities(s);
	check_address(s);
	check_hop(s);
	check_cidr(s, &c);
	check_hosts(s);
	free(exact);
	check_nets(&f);
	return 0;
}
