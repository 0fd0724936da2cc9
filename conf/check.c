/* SPDX-License-Identifier: MIT */
/* What keys mean together: errors where they contradict each other, warnings where they likely mean trouble.
 */
#include "base/siphash.h"
#include "conf/keys.h"
#include "conf/scalar.h"

#define ALB_IDLE (60 * USEC_PER_SEC)	  /* the load balancer's default idle timeout */
#define ECS_STOP (30 * USEC_PER_SEC)	  /* between ECS's TERM and its KILL */
#define NODE_KEEPALIVE (5 * USEC_PER_SEC) /* of Node.js, the shortest of the usual origins */

/* --- listeners --- */

static bool same_address(const struct conf_listen *a, const struct conf_listen *b)
{
	return a->sa_len == b->sa_len && memcmp(&a->sa, &b->sa, a->sa_len) == 0;
}

static void check_listeners(struct load *l)
{
	const struct conf *c = l->conf;
	for (unsigned i = 0; i < c->listens; i++) {
		const struct conf_listen *a = &c->listen[i];
		const struct node *at = load_place(l, &a->text);
		unsigned twin = 0;
		while (twin < i && !same_address(&c->listen[twin], a))
			twin++;
		if (a->sa_len && twin < i)
			load_error(l, at, "listen address `%.*s` is given twice (write it once)",
				   TEXT(a->text));
		if (a->proxy_protocol && c->client_ip.trusted < 0)
			load_error(l, load_place(l, &a->proxy_protocol),
				   "`proxy_protocol` is on and nobody is trusted to send it (expected "
				   "client_ip.trusted_proxies)");
		if (a->sa_len && c->admin.http && a->sa_len == c->admin.http_len &&
		    memcmp(&a->sa, &c->admin.http_sa, a->sa_len) == 0)
			load_error(l, at, "listen address `%.*s` is admin.http's too (expected another port)",
				   TEXT(a->text));
	}
}

static bool is_loopback(const struct addr *a)
{
	static const struct addr v6 = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
	return addr_is_v4(a) ? a->b[12] == 127 : addr_eq(a, &v6);
}

static void check_admin(struct load *l)
{
	const struct conf_admin *a = &l->conf->admin;
	struct addr addr;

	if (a->http && addr_of_sockaddr((const struct sockaddr *)&a->http_sa, &addr, NULL) &&
	    !is_loopback(&addr) && a->allow_text.n == 0)
		load_error(l, load_place(l, &a->http),
			   "`http` is open to other machines (expected admin.allow with the networks that "
			   "may read, "
			   "or 127.0.0.1)");
	if (a->socket.n && (a->mode & 07))
		load_warning(l, load_place(l, &a->mode),
			     "mode %04o lets every user of this machine lift the limits (0660 keeps it to a "
			     "group)",
			     a->mode);
}

/* --- client_ip --- */

static void check_client_ip(struct load *l)
{
	const struct conf_client_ip *c = &l->conf->client_ip;
	const struct node *at = load_place(l, &c->header);

	if (c->header == CONF_SINGLE && c->only_with_name.n == 0)
		load_error(
			l, at,
			"a header of one address is never believed alone (expected client_ip.only_with, with "
			"the secret that comes beside it)");
	if (c->header != CONF_SINGLE && c->only_with_name.n)
		load_error(l, load_place(l, &c->only_with_name),
			   "`only_with` does nothing for this header (expected client_ip.header to be one of "
			   "a single "
			   "address, such as CloudFront-Viewer-Address)");
	if (c->header == CONF_SINGLE && c->only_with_name.n && str_eq(c->header_name, c->only_with_name))
		load_error(
			l, load_place(l, &c->only_with_name),
			"`only_with.header` is client_ip.header itself (expected the header of the secret)");
	if (c->header != CONF_XFF && c->trusted < 0)
		load_error(l, at, "`header` is read from nobody (expected client_ip.trusted_proxies)");
}

/* --- rate_limit --- */

/* The same on every weir, so that they share windows. */
static uint64_t policy_key(const struct policy *p)
{
	static const struct siphash_key key = {0x7765697220706f6c, 0x6963792077696e64};
	unsigned char in[sizeof(p->name) + sizeof(p->window_us)];
	memcpy(in, p->name, sizeof(p->name));
	memcpy(in + sizeof(p->name), &p->window_us, sizeof(p->window_us));
	return siphash24(key, in, sizeof(in));
}

static void check_rate_limit(struct load *l)
{
	struct conf_rate_limit *r = &l->conf->rate_limit;

	for (unsigned i = 0; i < r->policies; i++)
		r->policy[i].policy.key = policy_key(&r->policy[i].policy);
	if (r->redis && r->server.url.n == 0 && !load_place(l, &r->server.url))
		load_error(l, load_place(l, &r->redis),
			   "`store: redis` has no server (expected rate_limit.redis.url, such as "
			   "redis://host:6379/0)");
	if (r->server.cluster == REDIS_CLUSTER_ON && r->server.db)
		load_error(l, load_place(l, &r->server.url),
			   "a Redis Cluster has no database %u (expected the url without it)", r->server.db);
	if (!r->redis && r->server.url.n)
		load_warning(l, load_place(l, &r->server.url),
			     "rate_limit.redis is not used while rate_limit.store is memory");
	if (r->server.username.n && r->server.password.n == 0)
		load_error(l, load_place(l, r->server.url.n ? &r->server.url : &r->server.username),
			   "a username of Redis without a password (expected rate_limit.redis.password)");
	if (!r->redis && r->fleet > 1)
		load_warning(l, load_place(l, &r->fleet),
			     "each of %u weirs counts for itself with store: memory (store: redis shares the "
			     "limit)",
			     r->fleet);
}

/* --- cookies --- */

static void check_cookies(struct load *l)
{
	const struct conf_cookies *c = &l->conf->cookies;

	for (unsigned i = 0; i < c->shares; i++)
		if (c->share[i].same_site == SAME_SITE_NONE && c->share[i].secure != FLAG_ON)
			load_error(l, load_place(l, &c->share[i].same_site),
				   "`same_site: None` without `secure: on` (browsers drop such cookies)");
	if (c->domain.n == 0 && c->shares && !load_place(l, &c->domain))
		load_error(l, load_place(l, &c->share), "`share` without a domain (expected cookies.domain)");
	if (c->domain.n == 0 && c->retire_host_only && !load_place(l, &c->domain))
		load_error(l, load_place(l, &c->retire_host_only),
			   "`retire_host_only` without a domain (expected cookies.domain and cookies.share)");
	if (c->domain.n && c->shares == 0 && l->notes->errors == 0)
		load_warning(l, load_place(l, &c->domain), "no cookie is shared (cookies.share names none)");
}

/* --- times and caps --- */

static void warn_from(struct load *l, const usec_t *value, usec_t from, const char *what)
{
	char text[SCALAR_TEXT];
	if (*value >= from)
		load_warning(l, load_place(l, value), "%s %s", scalar_show_duration(text, *value), what);
}

static void check_times(struct load *l)
{
	const struct conf *c = l->conf;
	char text[SCALAR_TEXT];

	if (c->timeouts.idle_us <= ALB_IDLE)
		load_warning(
			l, load_place(l, &c->timeouts.idle_us),
			"idle connections end after %s: the ALB still sends on them up to its own 60 s, and "
			"answers 502 (75s is safe)",
			scalar_show_duration(text, c->timeouts.idle_us));
	if (c->drain.timeout_us > ECS_STOP)
		load_warning(l, load_place(l, &c->drain.timeout_us),
			     "draining may take %s: ECS kills a task 30 s after TERM unless its stopTimeout "
			     "is longer",
			     scalar_show_duration(text, c->drain.timeout_us));
	if (c->drain.grace_us > c->drain.timeout_us)
		load_error(l, load_place(l, &c->drain.grace_us),
			   "`grace` is longer than drain.timeout (expected at most %s)",
			   scalar_show_duration(text, c->drain.timeout_us));
	warn_from(l, &c->timeouts.body_us, ALB_IDLE,
		  "for a body that stalls: the ALB gives up after 60 s first and answers 502 or 504 (stay "
		  "below 60s)");
	for (unsigned i = 0; i < c->upstreams; i++) {
		const struct conf_upstream *u = &c->upstream[i];
		warn_from(
			l, &u->response_us, ALB_IDLE,
			"for a response: the ALB gives up after 60 s first and answers 504 (stay below 60s)");
		warn_from(l, &u->keepalive_us, NODE_KEEPALIVE,
			  "in the pool: Node.js and others close idle connections after 5 s, and a request "
			  "sent at that "
			  "moment becomes a 502 (stay below the server's own time)");
	}
}

static void check_caps(struct load *l)
{
	const struct conf *c = l->conf;
	char text[SCALAR_TEXT];
	if (c->caps.line > c->caps.head)
		load_error(l, load_place(l, &c->caps.line), "`line` is above caps.head (expected at most %s)",
			   scalar_show_size(text, c->caps.head));
}

void load_check(struct load *l)
{
	check_listeners(l);
	check_admin(l);
	check_client_ip(l);
	load_check_networks(l);
	check_rate_limit(l);
	check_cookies(l);
	check_times(l);
	check_caps(l);
	load_check_tls(l);
	load_check_hosts(l);
	load_check_sites(l);
}
