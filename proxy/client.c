/* SPDX-License-Identifier: MIT */
#include "proxy/client.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "acl/proxy_protocol.h"
#include "base/board.h"
#include "base/log.h"
#include "proxy/exchange.h"
#include "proxy/reply.h"
#include "proxy/tally.h"

#define LINGER_READS 64 /* a turn, of what is thrown away while lingering */
#define HEAD_WANT 1024	/* room to read a head into, before it proves to be longer */

static const char *const end_words[END_REASONS] = {
	[END_CLIENT_CLOSED] = "client_closed",
	[END_NOT_KEPT] = "not_kept",
	[END_IDLE] = "idle",
	[END_LEAVING] = "leaving",
	[END_CUT] = "cut",
	[END_ABORTED] = "aborted",
	[END_HEAD_TIMEOUT] = "head_timeout",
	[END_BODY_TIMEOUT] = "body_timeout",
	[END_TOO_SLOW] = "too_slow",
	[END_TUNNEL_TIMEOUT] = "tunnel_timeout",
	[END_TUNNEL_CLOSED] = "tunnel_closed",
	[END_MALFORMED] = "malformed",
	[END_PREFACE] = "preface",
	[END_UPSTREAM] = "upstream",
	[END_OVERLOAD] = "overload",
	[END_PEER_FULL] = "peer_full",
	[END_HANDSHAKE] = "handshake",
	[END_HANDSHAKE_TIMEOUT] = "handshake_timeout",
};

/* What the log says of a response that was under way; the others end none, or there is nothing to be said. */
static const char *const cut_notes[END_REASONS] = {
	[END_CUT] = "cut when drain.timeout was over",
	[END_ABORTED] = "the client closed the connection",
	[END_BODY_TIMEOUT] = "nothing moved to or from the client for timeouts.body",
	[END_TOO_SLOW] = "the client was slower than caps.min_rate",
	[END_TUNNEL_TIMEOUT] = "nothing moved in the tunnel for timeouts.tunnel",
	[END_UPSTREAM] = "the upstream did not end its response",
	[END_OVERLOAD] = "out of memory",
};

const char *client_end_word(enum client_end e)
{
	return end_words[e];
}

static void go_on(struct client *c);

static void set_state(struct client *c, enum client_state to)
{
	static const uint8_t edges[] = {
		[CLIENT_PREFACE] = 1 << CLIENT_HANDSHAKE | 1 << CLIENT_IDLE | 1 << CLIENT_DEAD,
		[CLIENT_HANDSHAKE] = 1 << CLIENT_IDLE | 1 << CLIENT_LINGER | 1 << CLIENT_DEAD,
		[CLIENT_IDLE] = 1 << CLIENT_HEAD | 1 << CLIENT_LINGER | 1 << CLIENT_DEAD,
		[CLIENT_HEAD] = 1 << CLIENT_BUSY | 1 << CLIENT_LINGER | 1 << CLIENT_DEAD,
		[CLIENT_BUSY] = 1 << CLIENT_IDLE | 1 << CLIENT_LINGER | 1 << CLIENT_DEAD,
		[CLIENT_LINGER] = 1 << CLIENT_DEAD,
		[CLIENT_DEAD] = 0,
	};
	assert(edges[c->state] >> to & 1);
	c->state = to;
}

static enum client_state after_preface(const struct client *c)
{
	return c->worker->tls[c->listen] ? CLIENT_HANDSHAKE : CLIENT_IDLE;
}

/* What a connection without a request is waited for. One that comes when the worker closes down is given a
 * moment to speak, and no more. */
static struct timeout_class *first_class(struct worker *w, enum client_state state)
{
	if (w->state == WORKER_CLOSING)
		return &w->linger;
	return state == CLIENT_IDLE ? &w->idle : &w->head;
}

static void free_client(struct grave *g)
{
	free(list_entry(g, struct client, grave));
}

void client_close(struct client *c, enum client_end why)
{
	struct worker *w = c->worker;
	if (c->state == CLIENT_DEAD)
		return;
	set_state(c, CLIENT_DEAD);
	bool cut = c->x && exchange_would_look_whole(c->x);
	if (c->x)
		exchange_cancel(c->x, cut_notes[why]);
	timeout_disarm(&c->timeout);
	task_cancel(&c->again);
	if (cut)
		stream_reset(&c->stream);
	else
		stream_close(&c->stream);
	buf_drop(&c->in);
	buf_drop(&c->out);
	list_del(&c->link);
	if (c->held)
		tally_leave(TALLY_CONNECTIONS, c->held);
	metric_add(w->count.closed[why], 1);
	metric_sub(w->count.connections, 1);
	w->client_count--;
	atomic_store_explicit(&board_self()->clients, w->client_count, memory_order_relaxed);
	loop_bury(&w->loop, &c->grave, free_client);
	worker_client_gone(w);
}

void client_linger(struct client *c, enum client_end why)
{
	assert(!c->x);
	if (c->stream.eof) {
		client_close(c, why);
		return;
	}
	set_state(c, CLIENT_LINGER);
	c->ends_for = why;
	buf_drop(&c->in);
	stream_shutdown(&c->stream);
	timeout_arm(&c->worker->linger, &c->timeout);
	if (c->stream.can_read)
		loop_soon(&c->worker->loop, &c->again);
}

static void say_peer_full(struct worker *w)
{
	unsigned missed;
	if (log_limit_pass(&w->peer_full, w->loop.now, 10 * USEC_PER_SEC, &missed))
		log_warn("a connection is turned away: its peer has %u already, which is "
			 "caps.peer_connections (%u more were turned away since the last message)",
			 w->conf->caps.peer_connections, missed);
}

void client_turn_away(struct worker *w, int fd, unsigned listen, enum client_end why)
{
	metric_add(w->count.closed[why], 1);
	if (why == END_PEER_FULL)
		say_peer_full(w);
	if (!w->tls[listen]) /* with TLS there is no saying a word before the handshake */
		reply_overload(w, fd);
	close(fd);
}

void client_shed(struct client *c)
{
	struct worker *w = c->worker;
	unsigned missed;
	metric_add(w->count.shortages, 1);
	if (log_limit_pass(&w->out_of_memory, w->loop.now, 10 * USEC_PER_SEC, &missed))
		log_error("memory ran out for a connection, which is closed (%u more since the last message)",
			  missed);
	if (!buf_len(&c->out) && (!c->x || !c->x->resp_begun))
		reply_shed(c->worker, &c->stream);
	client_close(c, END_OVERLOAD);
}

void client_unreadable(struct client *c, enum client_end end)
{
	if (c->stream.err == ENOMEM)
		client_shed(c);
	else
		client_close(c, end);
}

ssize_t client_fill(struct client *c, size_t want)
{
	return stream_fill(&c->stream, &c->in, want);
}

/* --- reading heads --- */

static void start(struct client *c)
{
	set_state(c, CLIENT_BUSY);
	timeout_disarm(&c->timeout);
	c->served = true;
	exchange_start(c->x);
}

static void refuse(struct client *c, enum client_end end, unsigned status, const char *why)
{
	set_state(c, CLIENT_BUSY);
	c->ends_for = end;
	timeout_disarm(&c->timeout);
	exchange_refuse(c->x, status, why);
}

/* True when the head is dealt with, one way or the other; c may be gone. */
static bool parse(struct client *c)
{
	struct worker *w = c->worker;
	if (!c->x) {
		c->x = exchange_begin(c);
		if (!c->x) {
			client_shed(c);
			return true;
		}
		set_state(c, CLIENT_HEAD);
		timeout_arm(&w->head, &c->timeout);
	}
	switch (h1_request_parse(&c->x->req, &w->request_limits, buf_head(&c->in), buf_len(&c->in))) {
	case H1_DONE:
		start(c);
		return true;
	case H1_BAD:
		refuse(c, END_MALFORMED, c->x->req.error, c->x->req.why);
		return true;
	case H1_MORE:
		break;
	}
	return false;
}

static size_t head_want(const struct client *c)
{
	size_t n = buf_len(&c->in);
	return n < HEAD_WANT ? HEAD_WANT : n;
}

/* Nothing came. A worker that closes down waits for no more requests where it has served one. */
static void rest(struct client *c)
{
	if (c->state == CLIENT_IDLE && c->served && c->worker->state == WORKER_CLOSING)
		client_close(c, END_LEAVING);
}

static void read_head(struct client *c)
{
	if (buf_len(&c->in) && parse(c))
		return;
	while (stream_may_read(&c->stream)) {
		ssize_t n = client_fill(c, head_want(c));
		if (n == STREAM_AGAIN) {
			rest(c);
			return;
		}
		if (n <= 0) {
			client_unreadable(c, c->state == CLIENT_HEAD ? END_ABORTED : END_CLIENT_CLOSED);
			return;
		}
		if (parse(c))
			return;
	}
	if (c->stream.eof) /* read already, while a request before this was served */
		client_close(c, c->state == CLIENT_HEAD ? END_ABORTED : END_CLIENT_CLOSED);
}

/* --- who speaks --- */

/* Trusted proxies carry many clients and hold as many connections as they like; false: another peer has as
 * many as it may. */
static bool take_place(struct client *c)
{
	const struct conf *conf = c->worker->conf;
	if (!conf->caps.peer_connections || c->peer_trusted)
		return true;
	struct addr key = client_key(c->peer, conf->client_ip.ipv6_prefix);
	c->held = tally_enter(TALLY_CONNECTIONS, &key, conf->caps.peer_connections);
	return c->held != 0;
}

static bool take_peer(struct client *c, const struct addr *peer)
{
	const struct conf *conf = c->worker->conf;
	c->peer = *peer;
	c->peer_known = true;
	c->peer_nets = netset_lookup(conf->nets, peer);
	c->peer_trusted = conf->client_ip.trusted >= 0 && netmask_has(c->peer_nets, conf->client_ip.trusted);
	return take_place(c);
}

/* --- the TLS handshake --- */

static void handshake_done(struct client *c)
{
	struct worker *w = c->worker;
	metric_add(w->count.handshakes[stream_tls_resumed(&c->stream) ? HANDSHAKE_RESUMED : HANDSHAKE_FULL],
		   1);
	c->secure = true;
	set_state(c, CLIENT_IDLE);
	timeout_arm(first_class(w, CLIENT_IDLE), &c->timeout);
	read_head(c);
}

/* The alert, or the answer to plain HTTP, is to arrive before the socket is closed on what is unread. */
static void handshake_failed(struct client *c)
{
	enum stream_tls_fault fault = stream_tls_fault(&c->stream);
	metric_add(c->worker->count.handshakes[HANDSHAKE_FAILED], 1);
	log_debug("a TLS handshake failed: %s", stream_error_text(&c->stream));
	if (fault == STREAM_TLS_CUT) {
		client_close(c, END_HANDSHAKE);
		return;
	}
	stream_drop_tls(&c->stream);
	if (fault == STREAM_TLS_PLAIN)
		reply_plain_http(c->worker, c->stream.fd);
	client_linger(c, END_HANDSHAKE);
}

static void shake_hands(struct client *c)
{
	bool heard = buf_len(&c->in) || c->stream.unsure; /* something has come from the client */
	if (!c->stream.tls && !heard)
		return;
	if (!c->stream.tls && !stream_accept_tls(&c->stream, c->worker->tls[c->listen], &c->in)) {
		metric_add(c->worker->count.shortages, 1);
		client_close(c, END_OVERLOAD);
		return;
	}
	switch (stream_handshake(&c->stream)) {
	case STREAM_HANDSHAKE_DONE:
		handshake_done(c);
		break;
	case STREAM_HANDSHAKE_FAILED:
		handshake_failed(c);
		break;
	case STREAM_HANDSHAKE_MORE:
		break;
	}
}

/* --- the PROXY protocol --- */

static void take_preface(struct client *c, const struct proxy_info *info, size_t used)
{
	buf_consume(&c->in, used);
	if (info->named && !take_peer(c, &info->src)) {
		say_peer_full(c->worker);
		if (!c->worker->tls[c->listen])
			reply_overload(c->worker, c->stream.fd);
		client_close(c, END_PEER_FULL);
		return;
	}
	set_state(c, after_preface(c));
	timeout_arm(first_class(c->worker, c->state), &c->timeout);
	go_on(c);
}

static void read_preface(struct client *c)
{
	for (;;) {
		struct proxy_info info;
		size_t used;
		const char *why;
		switch (buf_len(&c->in)
				? proxy_protocol_parse(buf_head(&c->in), buf_len(&c->in), &info, &used, &why)
				: PP_MORE) {
		case PP_DONE:
			take_preface(c, &info, used);
			return;
		case PP_BAD:
			client_close(c, END_PREFACE);
			return;
		case PP_MORE:
			break;
		}
		if (!stream_may_read(&c->stream))
			return;
		ssize_t n = client_fill(c, HEAD_WANT);
		if (n == STREAM_AGAIN)
			return;
		if (n <= 0) {
			client_unreadable(c, END_PREFACE);
			return;
		}
	}
}

/* --- events --- */

static void throw_away(struct client *c)
{
	char waste[BLOCK_MEDIUM];
	for (int budget = LINGER_READS; stream_may_read(&c->stream); budget--) {
		if (!budget) {
			loop_soon(&c->worker->loop, &c->again);
			return;
		}
		ssize_t n = stream_read(&c->stream, waste, sizeof(waste));
		if (n == STREAM_AGAIN)
			return;
		if (n <= 0) {
			client_close(c, c->ends_for);
			return;
		}
	}
}

static void go_on(struct client *c)
{
	switch (c->state) {
	case CLIENT_PREFACE:
		read_preface(c);
		break;
	case CLIENT_HANDSHAKE:
		shake_hands(c);
		break;
	case CLIENT_IDLE:
	case CLIENT_HEAD:
		read_head(c);
		break;
	case CLIENT_BUSY:
		forward(c->x);
		break;
	case CLIENT_LINGER:
		throw_away(c);
		break;
	case CLIENT_DEAD:
		break;
	}
}

static void on_ready(struct stream *s)
{
	go_on(list_entry(s, struct client, stream));
}

static void on_again(struct task *t)
{
	go_on(list_entry(t, struct client, again));
}

/* An empty line alone is what some clients send behind a body (RFC 9112, 2.2): no reason to answer anything.
 */
static void head_timeout(struct client *c)
{
	if (buf_len(&c->in) <= 2)
		client_close(c, END_HEAD_TIMEOUT);
	else
		refuse(c, END_HEAD_TIMEOUT, 408, "the request's head took too long");
}

static void on_timeout(struct timeout *t)
{
	struct client *c = list_entry(t, struct client, timeout);
	switch (c->state) {
	case CLIENT_PREFACE:
		client_close(c, END_PREFACE);
		break;
	case CLIENT_HANDSHAKE:
		client_close(c, END_HANDSHAKE_TIMEOUT);
		break;
	case CLIENT_IDLE:
		client_close(c, END_IDLE);
		break;
	case CLIENT_HEAD:
		head_timeout(c);
		break;
	case CLIENT_BUSY:
		forward_client_timeout(c->x);
		break;
	case CLIENT_LINGER:
		client_close(c, c->ends_for);
		break;
	case CLIENT_DEAD:
		break;
	}
}

void client_next(struct client *c, bool keep)
{
	struct worker *w = c->worker;
	if (!keep) {
		client_linger(c, c->ends_for);
		return;
	}
	set_state(c, CLIENT_IDLE);
	timeout_arm(&w->idle, &c->timeout);
	if (buf_len(&c->in) || c->stream.can_read || c->stream.eof)
		loop_soon(&w->loop, &c->again);
	else
		rest(c);
}

void client_accept(struct worker *w, int fd, const struct addr *peer, unsigned listen)
{
	bool proxy_protocol = w->conf->listen[listen].proxy_protocol;
	struct client *c = calloc(1, sizeof(*c));
	if (!c) {
		metric_add(w->count.shortages, 1);
		client_turn_away(w, fd, listen, END_OVERLOAD);
		return;
	}
	c->worker = w;
	c->listen = listen;
	c->state = proxy_protocol ? CLIENT_PREFACE : after_preface(c);
	c->ends_for = END_NOT_KEPT;
	timeout_init(&c->timeout, on_timeout);
	task_init(&c->again, on_again);
	if (!peer) {
		c->peer_trusted = true; /* whoever may open the socket's file */
	} else if (!take_peer(c, peer)) {
		free(c);
		client_turn_away(w, fd, listen, END_PEER_FULL);
		return;
	}
	if (!stream_open(&c->stream, &w->loop, fd, on_ready)) {
		metric_add(w->count.shortages, 1);
		metric_add(w->count.closed[END_OVERLOAD], 1);
		if (c->held)
			tally_leave(TALLY_CONNECTIONS, c->held);
		free(c);
		return;
	}
	list_push(&w->clients, &c->link);
	w->client_count++;
	atomic_store_explicit(&board_self()->clients, w->client_count, memory_order_relaxed);
	metric_add(w->count.connections, 1);
	metric_add(w->count.accepted, 1);
	if (proxy_protocol && !c->peer_trusted)
		client_close(c, END_PREFACE);
	else
		timeout_arm(first_class(w, c->state), &c->timeout);
}
