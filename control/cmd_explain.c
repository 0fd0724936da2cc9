/* SPDX-License-Identifier: MIT */
/* explain: the way of a request down the data plane's own decisions, and where its client stands; spends
 * nothing */
#include "control/cmd.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl/client_ip.h"
#include "control/clients.h"
#include "control/hosts.h"
#include "control/request.h"
#include "control/status.h"
#include "control/units.h"
#include "control/window_rows.h"
#include "proxy/decide.h"
#include "proxy/h1_head.h"
#include "proxy/token.h"

#define HEADERS_MOST 64
#define WHY 512

struct header {
	struct str name, value;
};

struct explain {
	struct clients_peek peek;
	struct request *request;
	struct addr peer;
	struct client_ip who;
	char host_text[HOSTS_TEXT];
	struct str method, host, path;
	struct str scheme, authority, target; /* as written */
	const struct conf_site *site;
	struct decision decision;
	struct window_state state[POLICY_MAX_APPLIED];
	enum lift_effect lift;
	enum token_worth token;
	char lift_id[LIFT_ID];
	unsigned headers;
	struct header header[HEADERS_MOST];

	unsigned status; /* of weir's own answer; 0: it goes to the upstream */
	char why[WHY];
	char access[WHY]; /* what let it in or kept it out */
};

/* --- arguments --- */

static bool take_header(struct explain *x, const char *given)
{
	struct str s = str_of(given);
	const char *colon = memchr(s.p, ':', s.n);
	if (!colon || colon == s.p || x->headers == HEADERS_MOST)
		return false;
	size_t n = (size_t)(colon - s.p);
	x->header[x->headers++] = (struct header){{s.p, n}, str_trim((struct str){colon + 1, s.n - n - 1})};
	return true;
}

/* https://HOST[:PORT]/PATH?QUERY or HOST/PATH */
static bool take_url(struct explain *x, const char *url)
{
	const char *scheme = strstr(url, "://"), *rest = scheme ? scheme + 3 : url;
	size_t n = strcspn(rest, "/?#");
	x->scheme = scheme ? (struct str){url, (size_t)(scheme - url)} : STR("http");
	x->authority = (struct str){rest, n};
	x->target = (struct str){rest + n, strcspn(rest + n, "#")};
	x->host = hosts_normal(x->authority, x->host_text);
	x->path = (struct str){rest + n, strcspn(rest + n, "?#")};
	if (!x->path.n)
		x->path = STR("/");
	return x->host.n > 0;
}

static bool is_method(const char *s)
{
	size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_");
	return n > 0 && !s[n];
}

static bool take_args(struct explain *x)
{
	struct request *r = x->request;
	const char *given, *from = command_value(&r->line, "--from");
	unsigned at = 0;
	if (!addr_parse(str_of(from), &x->peer)) {
		request_refuse(r, "--from %s: expected an IP address", from);
		return false;
	}
	while ((given = command_next(&r->line, "--header", &at)))
		if (!take_header(x, given)) {
			request_refuse(r, "--header %s: expected 'NAME: VALUE', %d at most", given,
				       HEADERS_MOST);
			return false;
		}
	given = command_value(&r->line, "METHOD");
	x->method = str_of(given);
	if (!is_method(given)) {
		request_refuse(r, "%s: expected a method such as GET", given);
		return false;
	}
	if (take_url(x, command_value(&r->line, "URL")))
		return true;
	request_refuse(r, "%s: expected https://HOST/PATH or HOST/PATH", command_value(&r->line, "URL"));
	return false;
}

/* --- who --- */

static struct client_values values(const struct explain *x, struct str name, struct str v[HEADERS_MOST])
{
	size_t n = 0;
	for (unsigned i = 0; name.n && i < x->headers; i++)
		if (str_ieq(x->header[i].name, name))
			v[n++] = x->header[i].value;
	return (struct client_values){v, n};
}

static void find_client(struct explain *x)
{
	const struct conf *conf = request_conf(x->request);
	const struct conf_client_ip *c = &conf->client_ip;
	struct str xff[HEADERS_MOST], fwd[HEADERS_MOST], one[HEADERS_MOST], secret[HEADERS_MOST];
	const struct client_source source = {
		.nets = conf->nets,
		.trusted = c->trusted,
		.header = c->header == CONF_FORWARDED ? CLIENT_HEADER_FORWARDED
			  : c->header == CONF_SINGLE  ? client_header_of(c->header_name)
						      : CLIENT_HEADER_XFF,
		.only_with = c->only_with_value,
	};
	const struct client_heard heard = {
		.xff = values(x, STR("x-forwarded-for"), xff),
		.forwarded = values(x, STR("forwarded"), fwd),
		.address = values(x, c->header_name, one),
		.only_with = values(x, c->only_with_name, secret),
	};
	client_ip_find(&source, &x->peer, netset_lookup(conf->nets, &x->peer), &heard, &x->who);
}

/* --- may it enter --- */

static void name_networks(const struct conf *conf, const struct netmask *rule, const struct netmask *nets,
			  struct text *t)
{
	unsigned n = 0;
	for (unsigned i = 0; nets && i < conf->networks; i++) {
		int list = conf->network[i].list;
		if (netmask_has(rule, list) && netmask_has(nets, list))
			text_add(t, "%s%.*s", n++ ? ", " : "", (int)conf->network[i].name.n,
				 conf->network[i].name.p);
	}
	if (!n && nets && netmask_any(rule, nets))
		text_add(t, "an address range of the rule");
}

static void refuse(struct explain *x, unsigned status, const char *why)
{
	x->status = status;
	snprintf(x->why, sizeof(x->why), "%s", why);
}

static void say_access(struct explain *x)
{
	const struct conf *conf = request_conf(x->request);
	const struct decision *d = &x->decision;
	struct text t = {0};
	switch (d->kind) {
	case DECISION_PASS:
		if (x->site->has_allow) {
			text_add(&t, "the site's allow lets in: ");
			name_networks(conf, &x->site->allow, x->who.nets, &t);
		} else {
			text_add(&t, "the site is open to all");
		}
		break;
	case DECISION_DENIED:
		text_add(&t, "`deny` refuses: ");
		name_networks(conf, &conf->deny, x->who.nets, &t);
		break;
	case DECISION_SITE:
		text_add(&t, "the client is in no network of the site's allow");
		break;
	case DECISION_PATH:
		text_add(&t, "the client is in no network of the allow of path %.*s", (int)d->path->prefix.n,
			 d->path->prefix.p);
		break;
	case DECISION_NOBODY:
		text_add(&t, "this place is guarded, and the trusted peer named no client");
		break;
	case DECISION_UNREADABLE:
		text_add(&t, "the path cannot be read for the site's path rules: %s",
			 d->why ? d->why : "malformed");
		break;
	}
	snprintf(x->access, sizeof(x->access), "%s", t.n ? t.p : "");
	text_free(&t);
}

/* Whether the data plane's own parser would take the request, written as a client would. */
static bool parses(struct explain *x)
{
	const struct conf *conf = request_conf(x->request);
	const struct h1_limits limits = {conf->caps.line, conf->caps.head, conf->caps.fields};
	struct h1_field *field = calloc(limits.fields, sizeof(*field));
	struct h1_head head;
	struct text t = {0};
	const char *slash = x->target.n && x->target.p[0] == '/' ? "" : "/";
	text_add(&t, "%.*s %s%.*s HTTP/1.1\r\nHost: %.*s\r\n", (int)x->method.n, x->method.p, slash,
		 (int)x->target.n, x->target.p, (int)x->authority.n, x->authority.p);
	for (unsigned i = 0; i < x->headers; i++)
		if (!str_ieq(x->header[i].name, STR("host")))
			text_add(&t, "%.*s: %.*s\r\n", (int)x->header[i].name.n, x->header[i].name.p,
				 (int)x->header[i].value.n, x->header[i].value.p);
	text_add(&t, "\r\n");
	enum h1_result r = H1_MORE;
	if (field && t.n) {
		h1_head_init(&head, field, limits.fields);
		r = h1_request_parse(&head, &limits, t.p, t.n);
	}
	if (r == H1_BAD)
		refuse(x, head.error, head.why);
	else if (r == H1_MORE)
		refuse(x, 503, "out of memory");
	text_free(&t);
	free(field);
	return r == H1_DONE;
}

/* A good token frees the request as a lift does. */
static void look_at_token(struct explain *x)
{
	const struct control *c = x->request->control;
	const struct token_case request = {
		.conf = request_conf(x->request),
		.lifts = c->lifts,
		.addr = x->who.nets ? x->who.addr.b : NULL,
		.site = x->site->name,
		.now = c->loop.now,
		.wall = clock_wall(),
	};
	struct str given[HEADERS_MOST];
	char id[LIFT_ID];
	if (!values(x, STR("x-weir-lift"), given).n)
		return;
	x->token = token_judge(&request, given[0], id);
	if (x->token == TOKEN_GOOD) {
		x->lift = LIFT_FULL;
		memcpy(x->lift_id, id, LIFT_ID);
	}
}

/* The data plane's order: the parser, methods, host, blocks, access, limits. */
static void decide_all(struct explain *x)
{
	const struct conf *conf = request_conf(x->request);
	if (!str_ieq(x->scheme, STR("http")) && !str_ieq(x->scheme, STR("https"))) {
		refuse(x, 400, "a scheme other than http and https");
		return;
	}
	if (str_eq(x->method, STR("CONNECT")) || str_eq(x->method, STR("TRACE"))) {
		refuse(x, 405, "this method is not served");
		return;
	}
	if (!parses(x))
		return;
	x->site = conf_site_of(conf, x->host);
	if (!x->site) {
		refuse(x, 421, "no site is served under this host");
		return;
	}
	if (x->who.nets && lifts_block(x->request->control->lifts, x->request->control->loop.now,
				       x->who.addr.b, x->lift_id)) {
		snprintf(x->access, sizeof(x->access), "the client is blocked (block %s)", x->lift_id);
		refuse(x, 403, x->access);
		return;
	}
	decide(conf, x->site, x->who.nets, x->path, &x->decision);
	say_access(x);
	if (x->decision.kind != DECISION_PASS) {
		refuse(x, x->decision.kind == DECISION_UNREADABLE ? 400 : 403, x->access);
		return;
	}
	if (x->who.nets)
		x->lift = lifts_match(x->request->control->lifts, x->request->control->loop.now,
				      x->who.addr.b, x->site->name, x->lift_id);
	look_at_token(x);
	if (!x->decision.exempt && x->who.nets)
		x->peek.asks = x->decision.asks;
}

/* --- the verdict --- */

static void judge(struct explain *x)
{
	char retry[UNITS_TEXT];
	if (x->status)
		return;
	if (x->decision.exempt)
		snprintf(x->why, sizeof(x->why), "passes: the client is exempt from limits");
	else if (!x->peek.asks)
		snprintf(x->why, sizeof(x->why), "passes: no policy holds it");
	else if (x->lift == LIFT_FULL)
		snprintf(x->why, sizeof(x->why), "passes: the limits are lifted for it (%s %s)",
			 x->token == TOKEN_GOOD ? "token" : "lift", x->lift_id);
	else
		snprintf(x->why, sizeof(x->why), "passes: every policy has room");
	if (x->decision.exempt || x->lift == LIFT_FULL)
		return;
	for (unsigned i = 0; i < x->peek.asks; i++) {
		const struct policy *p = x->peek.ask[i].policy;
		if (x->state[i].remaining)
			continue;
		bool shadow = p->shadow || x->lift == LIFT_SHADOW;
		if (!shadow)
			x->status = 429;
		snprintf(x->why, sizeof(x->why),
			 shadow ? "passes: policy %s is full, but in shadow"
				: "policy %s is full; the next slot frees in %s",
			 p->name, units_duration(retry, x->state[i].retry_after_us));
		if (!shadow)
			return;
	}
}

static void client_words(const struct explain *x, struct text *t)
{
	char client[CIDR_TEXT], peer[ADDR_TEXT];
	status_client(request_conf(x->request), &x->who.addr, client);
	addr_format(peer, &x->peer);
	if (x->who.kind == CLIENT_NOBODY)
		text_add(t, "nobody: the trusted peer %s named no client; not limited", peer);
	else if (x->who.kind == CLIENT_FORWARDED)
		text_add(t, "%s, named by the trusted peer %s", client, peer);
	else
		text_add(t, "%s, the peer itself (not in client_ip.trusted_proxies)", client);
}

static void networks_words(const struct explain *x, struct text *t)
{
	const struct conf *conf = request_conf(x->request);
	unsigned n = 0;
	for (unsigned i = 0; x->who.nets && i < conf->networks; i++)
		if (netmask_has(x->who.nets, conf->network[i].list))
			text_add(t, "%s%.*s", n++ ? ", " : "", (int)conf->network[i].name.n,
				 conf->network[i].name.p);
	if (!n)
		text_add(t, "none");
}

static void lift_words(const struct explain *x, struct text *t)
{
	static const char *const effect[] = {"none", "lifted by ", "counted in shadow of "};
	text_add(t, "%s%s", effect[x->lift], x->lift == LIFT_NONE ? "" : x->lift_id);
	if (x->token > TOKEN_GOOD)
		text_add(t, "; X-Weir-Lift: %s", token_worth_word(x->token));
}

static void answer_text(struct explain *x, struct text *t)
{
	const struct conf_site *s = x->site;
	text_add(t, "client\t");
	client_words(x, t);
	text_add(t, "\nnetworks\t");
	networks_words(x, t);
	text_add(t, "\nhost\t%.*s\n", (int)x->host.n, x->host.p);
	if (s)
		text_add(t, "site\t%.*s, upstream %.*s\n", (int)s->name.n, s->name.p,
			 (int)s->upstream->name.n, s->upstream->name.p);
	if (x->access[0])
		text_add(t, "access\t%s\n", x->access);
	if (s && x->decision.kind == DECISION_PASS) {
		text_add(t, "lift\t");
		lift_words(x, t);
		text_add(t, "\n");
	}
	text_add(t, "verdict\t");
	if (x->status)
		text_add(t, "%u: ", x->status);
	text_add(t, "%s\n", x->why);
	text_align(t, 0);
	if (x->peek.asks)
		text_add(t, "\n");
	window_rows_text(&x->peek, t);
}

static void json_words(struct json *j, const char *key, const struct explain *x,
		       void (*write)(const struct explain *, struct text *))
{
	struct text t = {0};
	write(x, &t);
	json_key(j, key);
	json_str(j, (struct str){t.n ? t.p : "", t.n});
	text_free(&t);
}

static const char *const kind_names[] = {
	[CLIENT_PEER] = "peer",
	[CLIENT_FORWARDED] = "forwarded",
	[CLIENT_NOBODY] = "nobody",
};

static void answer_json(struct explain *x, struct json *j)
{
	char client[CIDR_TEXT];
	status_client(request_conf(x->request), &x->who.addr, client);
	json_obj_open(j);
	json_key(j, "client");
	json_str(j, x->who.kind == CLIENT_NOBODY ? STR_NONE : str_of(client));
	json_key(j, "client_is");
	json_str(j, str_of(kind_names[x->who.kind]));
	json_words(j, "networks", x, networks_words);
	json_key(j, "host");
	json_str(j, x->host);
	json_key(j, "path");
	json_str(j, x->path);
	json_key(j, "site");
	json_str(j, x->site ? x->site->name : STR_NONE);
	json_key(j, "upstream");
	json_str(j, x->site ? x->site->upstream->name : STR_NONE);
	json_key(j, "access");
	json_str(j, x->access[0] ? str_of(x->access) : STR_NONE);
	json_key(j, "exempt");
	json_bool(j, x->decision.exempt);
	json_key(j, "lift");
	json_str(j, x->lift == LIFT_NONE ? STR_NONE : str_of(x->lift_id));
	json_key(j, "lift_shadow");
	json_bool(j, x->lift == LIFT_SHADOW);
	json_key(j, "token");
	json_str(j, x->token ? str_of(token_worth_word(x->token)) : STR_NONE);
	json_key(j, "policies");
	window_rows_json(&x->peek, j);
	json_key(j, "status");
	if (x->status)
		json_u64(j, x->status);
	else
		json_null(j);
	json_key(j, "verdict");
	json_str(j, x->status ? (x->status == 429 ? STR("limited") : STR("refused")) : STR("pass"));
	json_key(j, "why");
	json_str(j, str_of(x->why));
	json_obj_close(j);
}

static void on_peeked(struct clients_peek *p)
{
	struct explain *x = list_entry(p, struct explain, peek);
	struct request *r = x->request;
	judge(x);
	if (r->line.json) {
		answer_json(x, request_json());
		request_ok_json(r);
	} else {
		answer_text(x, &r->out);
		request_ok(r);
	}
	free(x);
}

void cmd_explain(struct request *r)
{
	struct explain *x = calloc(1, sizeof(*x));
	if (!x) {
		request_refuse(r, "out of memory");
		return;
	}
	x->request = r;
	if (!take_args(x)) {
		free(x);
		return;
	}
	find_client(x);
	x->peek = (struct clients_peek){
		.control = r->control, .ask = x->decision.ask, .state = x->state, .done = on_peeked};
	x->peek.client = clients_id(request_conf(r), x->who.addr);
	decide_all(x);
	clients_peek(&x->peek);
}
