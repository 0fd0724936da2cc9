/* SPDX-License-Identifier: MIT */
#include "ratelimit/redis_lookup.h"

#include <arpa/inet.h>
#include <event2/dns.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/fmt.h"

struct redis_lookup {
	struct redis_lookup_setup setup;
	struct evdns_base *dns;
	struct evdns_getaddrinfo_request *request; /* NULL while it may still answer within the call */
	bool busy;
	bool freed;
	struct redis_address address[REDIS_ADDRESSES];
	unsigned n;
	struct grave grave;
};

static void on_buried(struct grave *g)
{
	struct redis_lookup *l = list_entry(g, struct redis_lookup, grave);
	if (l->dns)
		evdns_base_free(l->dns, 0);
	free(l);
}

static void tell(struct redis_lookup *l, const char *error)
{
	l->setup.found(l->setup.owner, l->address, l->n, l->n ? NULL : error);
}

static void add(struct redis_lookup *l, const void *sa, size_t len)
{
	if (l->n == REDIS_ADDRESSES || len > sizeof(l->address[0].sa))
		return;
	memcpy(&l->address[l->n].sa, sa, len);
	l->address[l->n++].len = (socklen_t)len;
}

static void add_unix(struct redis_lookup *l)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	size_t n = strlen(l->setup.host);
	if (n >= sizeof(un.sun_path))
		return;
	memcpy(un.sun_path, l->setup.host, n);
	add(l, &un, sizeof(un));
}

static void add_numeric(struct redis_lookup *l)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(l->setup.port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(l->setup.port)};
	if (inet_pton(AF_INET, l->setup.host, &v4.sin_addr) == 1)
		add(l, &v4, sizeof(v4));
	else if (inet_pton(AF_INET6, l->setup.host, &v6.sin6_addr) == 1)
		add(l, &v6, sizeof(v6));
}

static void on_found(int err, struct evutil_addrinfo *found, void *arg)
{
	struct redis_lookup *l = arg;
	l->request = NULL;
	l->busy = false;
	loop_wake(l->setup.loop);
	for (struct evutil_addrinfo *i = err ? NULL : found; i; i = i->ai_next)
		if (i->ai_family == AF_INET || i->ai_family == AF_INET6)
			add(l, i->ai_addr, i->ai_addrlen);
	if (found)
		evutil_freeaddrinfo(found);
	if (l->freed)
		loop_bury(l->setup.loop, &l->grave, on_buried);
	else
		tell(l, err ? evutil_gai_strerror(err) : "the name has no address");
}

static const char *file(const char *own, const char *usual)
{
	return own ? own : usual;
}

/* A container's name servers may change under it. Without the file evdns takes 127.0.0.1, as resolv.conf(5)
 * says. */
static bool open_dns(struct redis_lookup *l)
{
	if (l->dns)
		evdns_base_clear_nameservers_and_suspend(l->dns);
	else
		l->dns = evdns_base_new(l->setup.loop->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (!l->dns)
		return false;
	evdns_base_clear_host_addresses(l->dns);
	evdns_base_resolv_conf_parse(l->dns, DNS_OPTIONS_ALL & ~DNS_OPTION_HOSTSFILE,
				     file(l->setup.resolv_file, "/etc/resolv.conf"));
	evdns_base_load_hosts(l->dns, file(l->setup.hosts_file, "/etc/hosts"));
	evdns_base_resume(l->dns);
	return true;
}

static void ask(struct redis_lookup *l)
{
	char port[FMT_U64_MAX + 1];
	struct evutil_addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP};
	*fmt_u64(port, l->setup.port) = 0;
	if (!open_dns(l)) {
		tell(l, "out of memory");
		return;
	}
	l->busy = true;
	struct evdns_getaddrinfo_request *r =
		evdns_getaddrinfo(l->dns, l->setup.host, port, &hints, on_found, l);
	if (r) /* NULL: it has answered, and may have led anywhere */
		l->request = r;
}

void redis_lookup_start(struct redis_lookup *l)
{
	if (l->busy)
		return;
	l->n = 0;
	if (l->setup.is_unix)
		add_unix(l);
	else
		add_numeric(l);
	if (l->n || l->setup.is_unix)
		tell(l, "the socket's path is too long");
	else
		ask(l);
}

struct redis_lookup *redis_lookup_new(const struct redis_lookup_setup *s)
{
	struct redis_lookup *l = calloc(1, sizeof(*l));
	if (l)
		l->setup = *s;
	return l;
}

void redis_lookup_free(struct redis_lookup *l)
{
	if (!l || l->freed)
		return;
	l->freed = true;
	if (!l->busy)
		loop_bury(l->setup.loop, &l->grave, on_buried);
	else if (l->request) /* on_found comes once more, and buries */
		evdns_getaddrinfo_cancel(l->request);
}
