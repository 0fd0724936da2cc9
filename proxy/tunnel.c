/* SPDX-License-Identifier: MIT */
#include "proxy/tunnel.h"

#include <errno.h>

#define TURN_BUDGET 16

struct way {
	struct body_in *body;
	struct stream *from;
	struct buf *in;
	struct body_out *out;
	bool *shut; /* the FIN was passed on */
};

void tunnel_begin(struct exchange *x)
{
	x->tunnel = true;
	x->keep = false;
	x->to_client.chunked = x->to_server.chunked = false;
	body_begin(&x->req_body, H1_FRAMING_UNTIL_CLOSE, 0, NULL);
	body_begin(&x->resp_body, H1_FRAMING_UNTIL_CLOSE, 0, NULL);
	buf_drop(&x->up_out);
	x->up_sent = 0;
	x->server_wait.class = NULL;
	timeout_disarm(&x->server->timeout);
}

static bool ran_short(struct exchange *x)
{
	metric_add(x->worker->count.shortages, 1);
	return false;
}

/* False: a connection is lost. With reads of 16 KiB messages of 64 KiB cost 0.55 s of CPU a GB instead of
 * 0.25, and those of 128 bytes the same. */
static bool fill(struct exchange *x, struct way *w)
{
	if (stream_fill(w->from, w->in, BLOCK_LARGE / 2) != STREAM_ERROR)
		return true;
	return w->from->err == ENOMEM ? ran_short(x) : false;
}

static bool move_one_way(struct exchange *x, struct way *w)
{
	for (int budget = TURN_BUDGET;; budget--) {
		uint64_t before = w->body->total;
		enum body_move m = body_move(w->body, w->in, w->from->eof, w->out);
		if (w->body->total != before)
			x->progress = true;
		if (m == BODY_MOVE_NO_MEMORY)
			return ran_short(x);
		if (m == BODY_MOVE_LOST || m == BODY_MOVE_BAD)
			return false;
		if (m == BODY_MOVE_DONE && !buf_len(w->out->held) && !*w->shut) {
			stream_shutdown(w->out->to);
			*w->shut = true;
		}
		if (m != BODY_MOVE_HUNGRY || !stream_may_read(w->from))
			return true;
		if (!budget) {
			loop_soon(w->from->loop, &x->client->again);
			return true;
		}
		if (!fill(x, w))
			return false;
	}
}

void tunnel_move(struct exchange *x)
{
	struct client *c = x->client;
	struct sconn *s = x->server;
	struct way up = {&x->req_body, &c->stream, &c->in, &x->to_server, &x->server_shut};
	struct way down = {&x->resp_body, &s->stream, &s->in, &x->to_client, &x->client_shut};
	if (!move_one_way(x, &up) || !move_one_way(x, &down) || (x->server_shut && x->client_shut)) {
		client_close(c, END_TUNNEL_CLOSED);
		return;
	}
	if (x->progress || x->client_wait.class != &x->worker->tunnel)
		timeout_arm(&x->worker->tunnel, &c->timeout);
	x->client_wait.class = &x->worker->tunnel;
	x->progress = false;
}
