/* SPDX-License-Identifier: MIT */
#include "master/healthcheck.h"

#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/tls_client.h"
#include "conf/conf.h"
#include "master/line.h"

#define ANSWER 64 /* of which the status is read */

/* PROXY protocol v2 in its LOCAL form: the connection is the proxy's own, there is nobody behind it. */
static const unsigned char proxy_local[16] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51,
					      0x55, 0x49, 0x54, 0x0a, 0x20, 0x00, 0x00, 0x00};

struct question {
	const struct sockaddr_storage *sa;
	socklen_t sa_len;
	struct str where; /* for messages */
	struct str path;
	bool proxy_header, tls;
};

/* --- whom to ask --- */

static struct question of_listener(const struct conf *c, const struct conf_listen *l)
{
	return (struct question){.sa = &l->sa,
				 .sa_len = l->sa_len,
				 .where = l->text,
				 .path = c->health_path,
				 .proxy_header = l->proxy_protocol,
				 .tls = l->certificates > 0};
}

static struct question choose(const struct conf *c)
{
	for (unsigned i = 0; i < c->listens; i++)
		if (!c->listen[i].proxy_protocol && !c->listen[i].certificates)
			return of_listener(c, &c->listen[i]);
	for (unsigned i = 0; i < c->listens; i++)
		if (!c->listen[i].proxy_protocol)
			return of_listener(c, &c->listen[i]);
	if (c->admin.http)
		return (struct question){.sa = &c->admin.http_sa,
					 .sa_len = c->admin.http_len,
					 .where = c->admin.http_text,
					 .path = STR("/healthz")};
	return of_listener(c, &c->listen[0]);
}

/* What listens everywhere is asked on the loopback. The second try is for machines whose loopback has no
 * IPv6. */
static bool to_loopback(struct sockaddr_storage *sa, bool second)
{
	static const unsigned char any[16], mapped[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1};
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	memcpy(&v4, sa, sizeof(v4));
	memcpy(&v6, sa, sizeof(v6));
	if (sa->ss_family == AF_INET && v4.sin_addr.s_addr == htonl(INADDR_ANY)) {
		v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		memcpy(sa, &v4, sizeof(v4));
		return !second;
	}
	if (sa->ss_family != AF_INET6 || memcmp(&v6.sin6_addr, any, sizeof(any)) != 0)
		return !second;
	v6.sin6_addr = in6addr_loopback;
	if (second)
		memcpy(&v6.sin6_addr, mapped, sizeof(mapped));
	memcpy(sa, &v6, sizeof(v6));
	return true;
}

/* --- asking --- */

static bool connected(const struct question *q, bool second, usec_t until, struct line *l)
{
	struct sockaddr_storage sa = *q->sa;
	*l = (struct line){.fd = -1};
	return to_loopback(&sa, second) && line_connect(l, (const struct sockaddr *)&sa, q->sa_len, until);
}

/* Whoever it is that listens here is asked: its certificate is for others, who know it by its names. */
static bool begin_tls(struct line *l)
{
	struct tls_client_setup setup = {.http = true};
	struct tls_wrong wrong;
	struct tls_client *c = tls_client_new(&setup, &wrong);
	bool ok = c && line_secure(l, c, "localhost");
	tls_client_drop(c);
	return ok;
}

static bool send_question(const struct question *q, struct line *l)
{
	char head[4096 + 256];
	int n = snprintf(head, sizeof(head),
			 "GET %.*s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: weir-healthcheck/" WEIR_VERSION
			 "\r\nConnection: close\r\n\r\n",
			 (int)q->path.n, q->path.p);
	return n > 0 && (size_t)n < sizeof(head) &&
	       (!q->proxy_header || line_say(l, proxy_local, sizeof(proxy_local))) &&
	       (!q->tls || begin_tls(l)) && line_say(l, head, (size_t)n);
}

/* As much of the answer as has its status; 0: none came, l->wrong says why. */
static int read_status(struct line *l)
{
	char line[ANSWER + 1];
	size_t n = 0;
	int status;
	while (n < 12) {
		size_t r = line_hear(l, line + n, ANSWER - n);
		if (!r)
			return 0;
		n += r;
	}
	line[n] = 0;
	if (sscanf(line, "HTTP/1.%*1[01] %3d", &status) == 1)
		return status;
	snprintf(l->wrong, sizeof(l->wrong), "what comes is not HTTP");
	return 0;
}

static int ask(const struct question *q, struct line *l)
{
	usec_t until = clock_mono() + HEALTHCHECK_MS * USEC_PER_MSEC;
	bool ok = connected(q, false, until, l);
	if (!ok && !l->timed_out) {
		struct line first = *l;
		ok = connected(q, true, until, l);
		if (!ok && !l->wrong[0])
			memcpy(l->wrong, first.wrong, sizeof(l->wrong));
		line_close(&first);
	}
	return ok && send_question(q, l) ? read_status(l) : 0;
}

static int check(const struct conf *c)
{
	struct question q = choose(c);
	struct line l;
	int status = ask(&q, &l);
	line_close(&l);
	if (status == 200)
		return 0;
	if (status)
		fprintf(stderr, "weir at %.*s is not well: it answers %d%s\n", (int)q.where.n, q.where.p,
			status, status == 503 ? ", it drains" : "");
	else
		fprintf(stderr, "weir at %.*s does not answer: %s\n", (int)q.where.n, q.where.p, l.wrong);
	return 1;
}

int healthcheck_run(const char *config_path)
{
	struct conf_notes notes = {0};
	struct conf_bundle *bundle = conf_bundle_new(config_path);
	struct conf *conf = bundle ? conf_load(bundle, &notes) : NULL;
	int status = 1;
	signal(SIGPIPE, SIG_IGN);
	if (conf) {
		status = check(conf);
		conf_free(conf);
	} else {
		const struct conf_note *first = NULL;
		for (unsigned i = 0; i < notes.rows && !first; i++)
			first = notes.row[i].warning ? NULL : &notes.row[i];
		fprintf(stderr, "%s: %s\n", first ? first->file : config_path,
			first ? first->text : "out of memory");
	}
	conf_notes_free(&notes);
	conf_bundle_free(bundle);
	return status;
}
