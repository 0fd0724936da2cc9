/* SPDX-License-Identifier: MIT */
#include "proxy/waiting.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "proxy/exchange.h"
#include "proxy/upstream.h"
#include "proxy/worker.h"

/* Bytes that the kernel holds for a full socket; 0 for one that takes more. */
static int queued(const struct stream *s)
{
	int n;
	return s->can_write || ioctl(s->fd, SIOCOUTQ, &n) < 0 ? 0 : n;
}

/* By how much the queue has shrunk since the timeout was armed. */
static int taken_silently(struct waiting *w, const struct stream *s)
{
	int before = w->queue;
	w->queue = queued(s);
	return s->can_write ? 0 : before - w->queue;
}

/* Its body is read: on its way to a server that takes it, or to be dropped behind the response. */
static bool awaits_body(const struct exchange *x)
{
	const struct sconn *s = x->server;
	if (x->req_body.done || x->req_cut)
		return false;
	return s ? s->state == SCONN_BUSY && s->stream.can_write : x->resp_done;
}

/*
 * Whose turn it is to move bytes. All has been written that could be: a stream that can't be written to is
 * one whose peer does not take what there is for it. A client that is not read from has no turn.
 */
static struct timeout_class *client_class(struct exchange *x)
{
	struct worker *w = x->worker;
	if (x->tunnel)
		return &w->tunnel;
	if (!x->client->stream.can_write)
		return &w->body;
	return awaits_body(x) ? &w->body : NULL;
}

static struct timeout_class *server_class(struct exchange *x)
{
	if (x->tunnel || (x->resp_begun && !x->client->stream.can_write))
		return NULL;
	if (x->resp_begun || !x->server->stream.can_write)
		return &x->up->idle;
	return exchange_request_is_out(x) ? &x->up->response : NULL;
}

/* Arms one side's timeout for what is waited for now: started over when that changed or enough has moved. */
static void wait_for(struct waiting *w, struct timeout *t, const struct stream *s, struct timeout_class *want,
		     bool enough)
{
	if (want == w->class && !(want && enough))
		return;
	w->class = want;
	if (!want) {
		timeout_disarm(t);
		return;
	}
	timeout_arm(want, t);
	w->queue = queued(s);
}

/* Bytes that the client has sent and the kernel has taken for it, as far as they count: a body's. */
static int64_t moved(const struct exchange *x)
{
	uint64_t in = x->req_body.total + x->dropped, out = x->resp_body.total + x->out_bytes;
	return (int64_t)(in + out) - (int64_t)buf_len(&x->client->out);
}

static void wait_for_client(struct exchange *x)
{
	struct waiting *w = &x->client_wait;
	const int64_t quota = x->worker->body_quota;
	struct timeout_class *want = client_class(x);
	if (!want && !w->class)
		return;
	int64_t now = moved(x);
	bool enough = now - w->moved >= quota;
	if (enough || want != w->class)
		w->moved = now;
	wait_for(w, &x->client->timeout, &x->client->stream, want, enough);
}

void waiting_retime(struct exchange *x)
{
	struct sconn *s = x->server;
	wait_for_client(x);
	if (s && s->state == SCONN_BUSY) { /* while it connects, another timeout is running */
		struct timeout_class *want = server_class(x);
		bool progress =
			x->progress && want == &x->up->idle; /* the first byte's time is not extended */
		wait_for(&x->server_wait, &s->timeout, &s->stream, want, progress);
	}
	x->progress = false;
}

bool waiting_goes_on_server(struct exchange *x)
{
	struct sconn *s = x->server;
	if (taken_silently(&x->server_wait, &s->stream) <= 0)
		return false;
	timeout_arm(x->server_wait.class, &s->timeout);
	return true;
}

bool waiting_goes_on_client(struct exchange *x, bool *slow)
{
	struct waiting *w = &x->client_wait;
	struct client *c = x->client;
	int64_t now = moved(x), took = now - w->moved + taken_silently(w, &c->stream);
	w->moved = now;
	if (took >= x->worker->body_quota) {
		timeout_arm(w->class, &c->timeout);
		return true;
	}
	w->class = NULL;
	*slow = took > 0;
	return false;
}
