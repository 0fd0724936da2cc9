/* SPDX-License-Identifier: MIT */
/*
 * The last two stages: a connection to a server of the site's upstream, and the flow of both messages over
 * it.
 *
 * forward() is one function that does whatever can be done now, in both directions, and is called whenever
 * something may have changed: bytes or room at either side, a response of our own, a budget used up earlier.
 * It ends the exchange when the response has left.
 */
#include <errno.h>

#include "proxy/exchange.h"
#include "proxy/render.h"
#include "proxy/reply.h"
#include "proxy/tunnel.h"

#define SMALL_BODY 2048 /* goes out in one write with its head, and may be sent again with it */
#define EARLY_MAX                                                                                            \
	(64u << 10)	/* of a request that is read and dropped after its response, to keep the connection */
#define INTERIM_MAX 100 /* responses of 1xx before the final one; time bounds them too */
#define BARE_REST_US (20 * USEC_PER_MSEC) /* in which a body that should not be there has come */
#define TURN_BUDGET 16			  /* reads a direction before others have their turn */

enum flow {
	FLOW_GO,   /* nothing more to do here now */
	FLOW_OVER, /* the exchange has ended, or was started anew: don't touch it */
};

static const struct upstream_user user;

/* --- the server's side of an exchange --- */

static void drop_server(struct exchange *x)
{
	if (x->server) {
		x->last_server = x->server->server;
		sconn_close(x->server);
		x->server = NULL;
	}
}

static void fail(struct exchange *x, unsigned status, const char *why)
{
	drop_server(x);
	buf_drop(&x->up_out);
	buf_drop(&x->up_held);
	reply(x, status, why);
}

static void note_shortage(struct exchange *x)
{
	metric_add(x->worker->count.shortages, 1);
}

static void fail_short(struct exchange *x)
{
	note_shortage(x);
	fail(x, 503, "out of memory");
}

/* The response began, so no other can be sent: the client must see that it is cut. */
static void cut(struct exchange *x)
{
	struct client *c = x->client;
	body_flush(&c->stream, &c->out);
	client_close(c, END_UPSTREAM);
}

static bool may_send_again(const struct exchange *x, bool unread)
{
	return !x->retried && !x->body_sent &&
	       (unread || http_method_idempotent((enum http_method)x->req.method));
}

/* Nothing of a try may be left when the next begins: least of all half a response head. */
static void forget_try(struct exchange *x)
{
	drop_server(x);
	buf_drop(&x->up_held);
	x->up_sent = 0;
	x->sent_at = x->first_at = 0;
	x->server_wait.class = NULL;
	x->to_server.to = NULL;
	x->client_wait.class = NULL; /* it is not read from until there is a server */
	timeout_disarm(&x->client->timeout);
}

/* Before a response: once more to another server or on a fresh connection, or it is the end of it. */
static void try_again(struct exchange *x, bool unread, unsigned status, const char *why)
{
	if (!may_send_again(x, unread) || !upstream_may_retry(x->up)) {
		fail(x, status, why);
		return;
	}
	forget_try(x);
	x->retried = true;
	exchange_connect_again(x);
}

static void on_failed(void *ctx, struct sconn *s, const struct connect_failure *why)
{
	struct exchange *x = ctx;
	x->last_server = s->server;
	x->server = NULL;
	try_again(x, true, why->status, why->note);
}

static void on_timed_out(void *ctx, struct sconn *s)
{
	struct exchange *x = ctx;
	if (waiting_goes_on_server(x))
		return;
	server_count_failure(s->server, x->resp_begun ? "idle_timeout" : "response_timeout");
	if (x->resp_begun)
		cut(x);
	else
		fail(x, 504, "the upstream did not answer in time");
}

static void on_ready(void *ctx, struct sconn *s)
{
	struct exchange *x = ctx;
	(void)s;
	exchange_run(x);
}

static const struct upstream_user user = {on_ready, on_failed, on_timed_out};

/* It went wrong before any response: nobody's fault if a pooled connection was closed under our hands. */
static enum flow server_broke(struct exchange *x, const char *kind, const char *why)
{
	bool stale = x->server->reused && !x->first_at;
	if (!stale)
		server_count_failure(x->server->server, kind);
	drop_server(x);
	if (stale)
		x->last_server = NULL; /* no reason to avoid it */
	try_again(x, x->up_sent == 0, 502, why);
	return FLOW_OVER;
}

/* --- stages --- */

static bool take_small_body(struct exchange *x)
{
	struct client *c = x->client;
	size_t n = (size_t)x->req_body.left;
	if (x->req.framing != H1_FRAMING_LENGTH || x->req_body.done || x->req_body.left > SMALL_BODY ||
	    buf_len(&c->in) < n)
		return true;
	if (!buf_append(&x->up_out, buf_head(&c->in), n))
		return false;
	buf_consume(&c->in, n);
	x->req_body.total += n;
	x->req_body.left = 0;
	x->req_body.done = true;
	return true;
}

static bool prepare(struct exchange *x)
{
	if (buf_len(&x->up_out))
		return true;
	return render_request(x) && take_small_body(x);
}

static enum upstream_take take(struct exchange *x)
{
	enum upstream_take taken = upstream_take(x->up, x->retried, x->last_server, &user, x, &x->server);
	if (taken == TAKEN_SHORT && worker_close_pooled(x->worker))
		taken = upstream_take(x->up, x->retried, x->last_server, &user, x, &x->server);
	return taken;
}

enum step stage_connect(struct exchange *x)
{
	if (x->server)
		return x->server->state == SCONN_BUSY ? STEP_NEXT : STEP_WAIT;
	if (!prepare(x)) {
		note_shortage(x);
		reply(x, 503, "out of memory");
		return STEP_DONE;
	}
	switch (take(x)) {
	case TAKEN_CONNECTED:
		break;
	case TAKEN_CONNECTING:
		return STEP_WAIT;
	case TAKEN_SHORT:
		note_shortage(x);
		fail(x, 503,
		     "no connection to the upstream can be opened: descriptors, ports or memory ran out");
		return STEP_DONE;
	case TAKEN_NONE:
		fail(x, 502, "the upstream refused the connection");
		return STEP_DONE;
	case TAKEN_FULL:
		fail(x, 503, "the upstream has as many requests in flight as it may");
		return STEP_DONE;
	}
	return STEP_NEXT;
}

static void begin_try(struct exchange *x)
{
	x->to_client = (struct body_out){.to = &x->client->stream, .held = &x->client->out};
	x->to_server = (struct body_out){.to = &x->server->stream,
					 .held = &x->up_held,
					 .chunked = x->req.framing == H1_FRAMING_CHUNKED};
	h1_head_init(&x->resp, x->resp_field, x->worker->response_limits.fields);
}

enum step stage_forward(struct exchange *x)
{
	if (!x->to_server.to)
		begin_try(x);
	forward(x);
	return STEP_DONE;
}

/* body_move, with an eye on whether anything moved: out of the source, or from what was held to the sink. */
static enum body_move move(struct exchange *x, struct body_in *b, struct buf *from, bool eof,
			   struct body_out *out)
{
	uint64_t total = b->total;
	size_t held = buf_len(out->held);
	enum body_move m = body_move(b, from, eof, out);
	if (b->total != total || buf_len(out->held) != held)
		x->progress = true;
	return m;
}

/* --- request --- */

static bool send_head(struct exchange *x)
{
	struct stream *st = &x->server->stream;
	while (x->up_sent < buf_len(&x->up_out) && st->can_write) {
		ssize_t n =
			stream_write(st, buf_head(&x->up_out) + x->up_sent, buf_len(&x->up_out) - x->up_sent);
		if (n == STREAM_ERROR)
			return false;
		if (n > 0) {
			x->up_sent += (uint32_t)n;
			x->progress = true;
		}
	}
	return true;
}

static enum flow request_bad(struct exchange *x, unsigned status, const char *why)
{
	x->keep = false;
	if (x->client->stream.eof && x->resp_begun) { /* it need not go on once it sees the answer coming */
		x->req_cut = true;
		return FLOW_GO;
	}
	if (x->client->stream.eof) {
		client_close(x->client, END_ABORTED);
		return FLOW_OVER;
	}
	if (x->resp_begun)
		cut(x);
	else
		fail(x, status, why);
	return FLOW_OVER;
}

static enum flow send_body(struct exchange *x)
{
	struct client *c = x->client;
	for (int budget = TURN_BUDGET;; budget--) {
		enum body_move m = move(x, &x->req_body, &c->in, c->stream.eof, &x->to_server);
		x->body_sent = x->body_sent || x->req_body.total || x->to_server.last_chunk_out;
		if (x->req_body.total > x->worker->conf->caps.body)
			return request_bad(x, 413, "the request's body is larger than this server takes");
		switch (m) {
		case BODY_MOVE_DONE:
		case BODY_MOVE_FULL:
			return FLOW_GO;
		case BODY_MOVE_LOST:
			return FLOW_GO; /* its response may have come first: reading tells */
		case BODY_MOVE_BAD:
			return request_bad(x, x->req_body.error, x->req_body.why);
		case BODY_MOVE_NO_MEMORY:
			note_shortage(x);
			return request_bad(x, 503, "out of memory");
		case BODY_MOVE_HUNGRY:
			break;
		}
		if (!stream_may_read(&c->stream))
			return FLOW_GO;
		if (!budget) {
			loop_soon(c->stream.loop, &c->again);
			return FLOW_GO;
		}
		if (client_fill(c, BLOCK_LARGE / 2) == STREAM_ERROR) {
			client_unreadable(c, END_ABORTED);
			return FLOW_OVER;
		}
	}
}

static enum flow send_request(struct exchange *x)
{
	if (!send_head(x))
		return FLOW_GO; /* reading tells why */
	if (x->up_sent < buf_len(&x->up_out))
		return FLOW_GO;
	if (!x->req_body.done || buf_len(&x->up_held)) {
		enum flow f = send_body(x);
		if (f == FLOW_OVER)
			return f;
	}
	if (!x->sent_at && exchange_request_is_out(x))
		x->sent_at = x->worker->loop.now;
	return FLOW_GO;
}

/* --- response --- */

/* It was not the server that failed, but memory. */
static bool ran_short(const struct sconn *s)
{
	return s->stream.err == ENOMEM;
}

/* Room to parse on: small at first, doubled for long heads. */
static size_t head_want(const struct buf *in)
{
	size_t n = buf_len(in);
	return n < 4096 ? 4096 : n;
}

static enum out_framing out_framing(const struct exchange *x)
{
	bool modern = x->req.version_minor > 0;
	switch ((enum h1_framing)x->resp.framing) {
	case H1_FRAMING_LENGTH:
		return OUT_LENGTH;
	case H1_FRAMING_CHUNKED:
	case H1_FRAMING_UNTIL_CLOSE:
		return modern ? OUT_CHUNKED : OUT_UNTIL_CLOSE;
	case H1_FRAMING_NONE:
		break;
	}
	return x->resp.has_length && x->resp.status != 204 ? OUT_LENGTH : OUT_NONE;
}

/* Whether the connection can go on after this response, as far as that can be known before its first byte
 * leaves. */
static void settle_keep(struct exchange *x, enum out_framing framing)
{
	if (framing == OUT_UNTIL_CLOSE || worker_leaving(x->worker))
		x->keep = false;
	if (x->req_body.done)
		return;
	bool small = x->req.framing == H1_FRAMING_LENGTH && x->req_body.left <= EARLY_MAX;
	if (x->req.expect_continue || (x->resp.status >= 300 && !small))
		x->keep = false;
}

static enum flow begin_response(struct exchange *x)
{
	struct sconn *s = x->server;
	struct h1_head *h = &x->resp;
	enum out_framing framing = out_framing(x);
	usec_t took = x->first_at - (x->sent_at ? x->sent_at : x->head_at);
	settle_keep(x, framing);
	server_succeeded(s->server->row, took);
	histogram_observe(&x->up->latency, took);
	if (!render_response(x, buf_head(&s->in), framing)) {
		fail_short(x);
		return FLOW_OVER;
	}
	x->status = h->status;
	x->from_upstream = true;
	x->resp_begun = true;
	s->keep_s = h->keep_alive_s;
	if (exchange_request_is_out(x)) { /* nothing is sent again from here on */
		buf_drop(&x->up_out);
		x->up_sent = 0;
	} else { /* who answers half a request may take the rest of it for the next one */
		h->keep_alive = false;
	}
	body_begin(&x->resp_body, (enum h1_framing)h->framing, h->content_length,
		   &x->worker->response_limits);
	x->resp_body.no_trailers = h->connection_fields;
	x->resp_body.stops = x->worker->conf->log.user_header;
	x->to_client.chunked = framing == OUT_CHUNKED;
	buf_consume(&s->in, h->length);
	return FLOW_GO;
}

static bool upgrade_agreed(const struct exchange *x, const char *base)
{
	const struct h1_field *f = h1_find(&x->resp, FIELD_UPGRADE);
	return x->upgrade.n && x->resp.connection_upgrade && f && !(f->flags & H1_FIELD_REPEATED) &&
	       str_ieq(h1_value(base, f), x->upgrade);
}

static enum flow switch_protocols(struct exchange *x)
{
	struct sconn *s = x->server;
	if (!upgrade_agreed(x, buf_head(&s->in)) || !exchange_request_is_out(x)) {
		server_count_failure(s->server, "unasked_upgrade");
		fail(x, 502, "the upstream switched protocols unasked");
		return FLOW_OVER;
	}
	if (begin_response(x) == FLOW_OVER)
		return FLOW_OVER;
	tunnel_begin(x);
	return FLOW_GO;
}

/* RFC 9110, 15.2: they come before the final response; HTTP/1.0 knows none. */
static enum flow pass_interim(struct exchange *x)
{
	struct sconn *s = x->server;
	struct client *c = x->client;
	if (x->interims++ == INTERIM_MAX) {
		server_count_failure(s->server, "bad_response");
		fail(x, 502, "the upstream sent too many interim responses");
		return FLOW_OVER;
	}
	if (x->req.version_minor > 0 && !render_interim(x, buf_head(&s->in))) {
		fail_short(x);
		return FLOW_OVER;
	}
	if (buf_len(&c->out) >= BODY_HELD_MAX && !body_flush(&c->stream, &c->out)) {
		client_close(c, END_ABORTED);
		return FLOW_OVER;
	}
	if (x->resp.status == 100)
		x->req.expect_continue = false; /* it is answered: the body comes */
	buf_consume(&s->in, x->resp.length);
	h1_head_init(&x->resp, x->resp_field, x->worker->response_limits.fields);
	return FLOW_GO;
}

static enum flow parse_response(struct exchange *x, enum h1_result *result)
{
	struct sconn *s = x->server;
	*result = H1_MORE;
	if (!buf_len(&s->in) || buf_len(&x->client->out) >= BODY_HELD_MAX)
		return FLOW_GO;
	*result = h1_response_parse(&x->resp, &x->worker->response_limits, buf_head(&s->in), buf_len(&s->in),
				    (enum http_method)x->req.method);
	if (*result == H1_MORE)
		return FLOW_GO;
	if (*result == H1_BAD) {
		server_count_failure(s->server, "bad_response");
		fail(x, 502, "the upstream's response is not valid HTTP");
		return FLOW_OVER;
	}
	if (x->resp.status == 101)
		return switch_protocols(x);
	if (x->resp.status < 200)
		return pass_interim(x);
	return begin_response(x);
}

static enum flow read_head(struct exchange *x)
{
	struct sconn *s = x->server;
	if (s->unasked && !x->first_at) /* what it says is no answer to this request */
		return server_broke(x, "unasked", "the upstream spoke before it was asked");
	for (int budget = TURN_BUDGET; !x->resp_begun; budget--) {
		enum h1_result r;
		if (!budget) {
			loop_soon(s->stream.loop, &x->client->again);
			return FLOW_GO;
		}
		if (parse_response(x, &r) == FLOW_OVER)
			return FLOW_OVER;
		if (r == H1_DONE)
			continue;
		if (buf_len(&x->client->out) >= BODY_HELD_MAX || !stream_may_read(&s->stream))
			return FLOW_GO;
		ssize_t n = stream_fill(&s->stream, &s->in, head_want(&s->in));
		if (n == STREAM_AGAIN)
			return FLOW_GO;
		if (n < 0 && ran_short(s)) {
			fail_short(x);
			return FLOW_OVER;
		}
		if (n <= 0)
			return server_broke(x, n == 0 ? "closed" : "reset",
					    "the upstream closed the connection before its response");
		if (!x->first_at)
			x->first_at = x->worker->loop.now;
	}
	return FLOW_GO;
}

static void let_server_go(struct exchange *x)
{
	struct sconn *s = x->server;
	x->last_server = s->server;
	x->server = NULL;
	if (x->resp.keep_alive && x->resp_body.framing != H1_FRAMING_UNTIL_CLOSE &&
	    exchange_request_is_out(x))
		sconn_release(s, x->resp.framing == H1_FRAMING_NONE ? BARE_REST_US : 0);
	else
		sconn_close(s);
}

static enum flow read_body(struct exchange *x)
{
	struct sconn *s = x->server;
	for (int budget = TURN_BUDGET;; budget--) {
		switch (move(x, &x->resp_body, &s->in, s->stream.eof, &x->to_client)) {
		case BODY_MOVE_DONE:
			x->resp_done = true;
			let_server_go(x);
			return FLOW_GO;
		case BODY_MOVE_FULL:
			return FLOW_GO;
		case BODY_MOVE_LOST:
			client_close(x->client, END_ABORTED);
			return FLOW_OVER;
		case BODY_MOVE_BAD:
			server_count_failure(s->server, "cut_response");
			cut(x);
			return FLOW_OVER;
		case BODY_MOVE_NO_MEMORY:
			note_shortage(x);
			cut(x);
			return FLOW_OVER;
		case BODY_MOVE_HUNGRY:
			break;
		}
		if (!stream_may_read(&s->stream))
			return FLOW_GO;
		if (!budget) {
			loop_soon(s->stream.loop, &x->client->again);
			return FLOW_GO;
		}
		if (stream_fill(&s->stream, &s->in, BLOCK_LARGE / 2) == STREAM_ERROR) {
			if (ran_short(s))
				note_shortage(x);
			else
				server_count_failure(s->server, "cut_response");
			cut(x);
			return FLOW_OVER;
		}
	}
}

static enum flow read_response(struct exchange *x)
{
	if (!x->resp_begun) {
		enum flow f = read_head(x);
		if (f == FLOW_OVER || !x->resp_begun || x->tunnel)
			return f;
	}
	return read_body(x);
}

/* --- the end, and waiting --- */

/* What the client still sends of a request that is answered is read and dropped, so that the connection can
 * be kept. */
static enum flow drain_request(struct exchange *x)
{
	struct client *c = x->client;
	while (x->keep && !x->req_body.done) {
		enum body_move m = body_drop(&x->req_body, &c->in, c->stream.eof, &x->dropped);
		x->progress = true;
		if (m == BODY_MOVE_DONE)
			break;
		if (m == BODY_MOVE_BAD || x->dropped > EARLY_MAX)
			x->keep = false;
		else if (!stream_may_read(&c->stream))
			return FLOW_GO;
		else if (client_fill(c, BLOCK_SMALL / 2) == STREAM_ERROR) {
			client_unreadable(c, END_ABORTED);
			return FLOW_OVER;
		}
	}
	bool keep = x->keep;
	exchange_end(x);
	client_next(c, keep);
	return FLOW_OVER;
}

/* A client that is gone is seen by reading only; one that has shut its side may still wait for its response.
 */
static enum flow look_for_abort(struct exchange *x)
{
	struct client *c = x->client;
	if (!x->req_body.done && x->server && !c->stream.peer_closed)
		return FLOW_GO; /* its body is being read */
	while (c->stream.can_read && !c->stream.eof && buf_len(&c->in) < BODY_HELD_MAX) {
		if (client_fill(c, BLOCK_SMALL / 2) == STREAM_ERROR) {
			client_unreadable(c, END_ABORTED);
			return FLOW_OVER;
		}
	}
	return FLOW_GO;
}

static bool flush(struct exchange *x)
{
	struct client *c = x->client;
	size_t held = buf_len(&c->out);
	bool alive = body_flush(&c->stream, &c->out);
	if (buf_len(&c->out) != held)
		x->progress = true;
	return alive;
}

void forward(struct exchange *x)
{
	struct client *c = x->client;
	if (x->tunnel) {
		tunnel_move(x);
		return;
	}
	if (look_for_abort(x) == FLOW_OVER)
		return;
	bool linked = x->server && x->server->state == SCONN_BUSY;
	if (linked && !x->req_cut && !exchange_request_is_out(x) && send_request(x) == FLOW_OVER)
		return;
	if (linked && read_response(x) == FLOW_OVER)
		return;
	if (!flush(x)) {
		client_close(c, END_ABORTED);
		return;
	}
	if (x->tunnel) {
		tunnel_move(x);
		return;
	}
	if (x->resp_done && !buf_len(&c->out) && drain_request(x) == FLOW_OVER)
		return;
	waiting_retime(x);
}

void forward_client_timeout(struct exchange *x)
{
	struct client *c = x->client;
	if (x->tunnel) {
		client_close(c, END_TUNNEL_TIMEOUT);
		return;
	}
	bool slow;
	if (waiting_goes_on_client(x, &slow))
		return;
	c->ends_for = slow ? END_TOO_SLOW : END_BODY_TIMEOUT;
	if (x->resp_begun || buf_len(&c->out)) {
		client_close(c, c->ends_for);
	} else {
		x->keep = false;
		fail(x, 408,
		     slow ? "the request's body came too slowly" : "the request's body took too long");
	}
}
