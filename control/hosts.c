/* SPDX-License-Identifier: MIT */
#include "control/hosts.h"

#include "conf/suggest.h"

struct str hosts_normal(struct str host, char out[HOSTS_TEXT])
{
	const char *bracket = host.n && host.p[0] == '[' ? memchr(host.p, ']', host.n) : NULL;
	size_t from = bracket ? (size_t)(bracket - host.p) : 0;
	const char *colon = host.n ? memchr(host.p + from, ':', host.n - from) : NULL;
	if (colon)
		host.n = (size_t)(colon - host.p);
	if (host.n && host.p[host.n - 1] == '.')
		host.n--;
	if (host.n >= HOSTS_TEXT)
		return STR_NONE;
	for (size_t i = 0; i < host.n; i++)
		out[i] = (char)ascii_lower((unsigned char)host.p[i]);
	out[host.n] = 0;
	return (struct str){out, host.n};
}

const struct conf_site *hosts_site_named(const struct conf *conf, const char *typed)
{
	char text[HOSTS_TEXT];
	struct str host = hosts_normal(str_of(typed), text);
	if (!host.n)
		return NULL;
	for (unsigned i = 0; i < conf->hosts; i++)
		if (str_ieq(conf->host[i].name, host))
			return conf->host[i].site;
	const struct conf_site *site = conf_site_of(conf, host);
	/* What only "*" takes may be anything, so it names nothing. */
	for (unsigned i = 0; site && i < site->hosts; i++)
		if (str_eq(site->host[i], STR("*")))
			return NULL;
	return site;
}

struct str hosts_nearest(const struct conf *conf, const char *typed)
{
	struct suggestion s;
	suggest_start(&s, str_of(typed));
	for (unsigned i = 0; i < conf->hosts; i++)
		suggest_word(&s, conf->host[i].name);
	return s.best;
}
