/* SPDX-License-Identifier: MIT */
#include "proxy/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/board.h"
#include "base/log.h"
#include "proxy/client.h"

#define ACCEPTS_A_TURN 64
#define ACCEPTS_AT_END 4096	       /* as many as the kernel may have queued */
#define PAUSE_US (100 * USEC_PER_MSEC) /* after descriptors ran out */
#define UNEVEN_MIN 32		       /* connections more than the mean before any is handed on */

struct listener {
	struct listeners *all;
	int fd;
	unsigned place; /* in conf.listen */
	struct event event;
};

struct listeners {
	struct worker *worker;
	unsigned count;
	struct listener *listener;
	int reserve; /* a descriptor to have one more when they run out; -1: it is gone */
	int receive;
	struct event receive_event;
	unsigned peers;
	int peer[CONF_WORKERS_MAX];
	unsigned peer_worker[CONF_WORKERS_MAX];
	struct timeout_class pause_class;
	struct timeout pause;
	struct log_limit full, out_of_fds;
};

/*
 * What is known of a connection that is handed on. Its listener is told by address: a worker of the same
 * number may take it that has another conf, as their sockets are kept across reloads.
 */
struct parcel {
	bool known;
	struct addr peer;
	socklen_t sa_len;
	struct sockaddr_storage sa; /* conf.listen[].sa */
};

/* --- room --- */

static unsigned clients_of(const struct proc *p)
{
	return atomic_load_explicit(&p->clients, memory_order_relaxed);
}

static unsigned all_clients(const struct worker *w)
{
	unsigned sum = 0;
	for (unsigned i = 0; i < PROC_MAX; i++) {
		const struct proc *p = &board()->proc[i];
		if (atomic_load_explicit(&p->kind, memory_order_relaxed) == PROC_WORKER)
			sum += i == w->info.slot ? w->client_count : clients_of(p);
	}
	return sum;
}

static bool is_full(const struct worker *w)
{
	return w->client_count >= w->client_max;
}

/* The workers together. */
static bool at_capacity(const struct worker *w)
{
	unsigned cap = conf_connections(w->conf), share = cap / w->conf->workers;
	return w->client_count >= share && all_clients(w) >= cap;
}

static void turn_away(struct listeners *l, int fd, unsigned listen)
{
	const struct worker *w = l->worker;
	unsigned missed, cap = conf_connections(w->conf), room = w->client_max * w->conf->workers;
	if (log_limit_pass(&l->full, w->loop.now, 10 * USEC_PER_SEC, &missed))
		log_warn("connections are turned away: %u are open, this worker has %u of at most %u, "
			 "caps.connections is %u (%u more were turned away since the last message)",
			 all_clients(w), w->client_count, w->client_max, room < cap ? room : cap, missed);
	client_turn_away(l->worker, fd, listen, END_OVERLOAD);
}

/* For this worker, if it has room. */
static void take(struct listeners *l, int fd, const struct addr *peer, unsigned listen)
{
	if (is_full(l->worker) || at_capacity(l->worker))
		turn_away(l, fd, listen);
	else
		client_accept(l->worker, fd, peer, listen);
}

/* --- handing on --- */

static bool serves_beside_us(const struct proc *p, uint32_t generation)
{
	return atomic_load_explicit(&p->kind, memory_order_relaxed) == PROC_WORKER &&
	       atomic_load_explicit(&p->state, memory_order_relaxed) == PROC_SERVING &&
	       atomic_load_explicit(&p->generation, memory_order_relaxed) == generation;
}

/* The socket of the worker that should rather have this connection; -1: we should. `full`: anybody rather. */
static int better_place(const struct listeners *l, bool full)
{
	unsigned own = l->worker->client_count, sum = 0, n = 0, least = own, best = 0;
	if (!l->peers || (!full && own < UNEVEN_MIN))
		return -1;
	for (unsigned i = 0; i < PROC_MAX; i++) {
		const struct proc *p = &board()->proc[i];
		if (!serves_beside_us(p, l->worker->info.generation))
			continue;
		unsigned c = i == l->worker->info.slot ? own : clients_of(p);
		sum += c;
		n++;
		if (c < least) {
			least = c;
			best = atomic_load_explicit(&p->worker, memory_order_relaxed);
		}
	}
	if (n < 2 || least >= l->worker->client_max || (!full && own * n < sum + sum / 4 + UNEVEN_MIN * n))
		return -1;
	for (unsigned i = 0; i < l->peers; i++)
		if (l->peer_worker[i] == best)
			return l->peer[i];
	return -1;
}

static bool hand_on(int to, int fd, const struct addr *peer, const struct conf_listen *listen)
{
	struct parcel parcel;
	memset(&parcel, 0, sizeof(parcel));
	parcel.known = peer != NULL;
	parcel.sa_len = listen->sa_len;
	memcpy(&parcel.sa, &listen->sa, listen->sa_len);
	if (peer)
		parcel.peer = *peer;
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} c;
	memset(&c, 0, sizeof(c));
	struct iovec v = {&parcel, sizeof(parcel)};
	struct msghdr msg = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.bytes, .msg_controllen = sizeof(c.bytes)};
	struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);
	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cm), &fd, sizeof(int));
	return sendmsg(to, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof(parcel);
}

static int take_fd(struct msghdr *msg)
{
	struct cmsghdr *cm = CMSG_FIRSTHDR(msg);
	int fd = -1;
	if (cm && cm->cmsg_level == SOL_SOCKET && cm->cmsg_type == SCM_RIGHTS &&
	    cm->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&fd, CMSG_DATA(cm), sizeof(int));
	return fd;
}

/* -1: it was accepted under a conf that listens elsewhere than ours. */
static int place_of(const struct conf *c, const struct parcel *p)
{
	for (unsigned i = 0; i < c->listens; i++)
		if (c->listen[i].sa_len == p->sa_len && memcmp(&c->listen[i].sa, &p->sa, p->sa_len) == 0)
			return (int)i;
	return -1;
}

/* False: none was there. */
static bool take_parcel(struct listeners *l)
{
	struct parcel parcel;
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} c;
	struct iovec v = {&parcel, sizeof(parcel)};
	struct msghdr msg = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.bytes, .msg_controllen = sizeof(c.bytes)};
	ssize_t n = recvmsg(l->receive, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return false;
	int fd = take_fd(&msg);
	int at = n == (ssize_t)sizeof(parcel) ? place_of(l->worker->conf, &parcel) : -1;
	if (fd >= 0 && at >= 0)
		take(l, fd, parcel.known ? &parcel.peer : NULL, (unsigned)at);
	else if (fd >= 0)
		close(fd);
	return true;
}

static void on_parcel(evutil_socket_t from, short what, void *arg)
{
	struct listeners *l = arg;
	(void)from, (void)what;
	loop_wake(&l->worker->loop);
	for (int i = 0; i < ACCEPTS_A_TURN && take_parcel(l); i++)
		;
}

/* --- accepting --- */

static void place(struct listener *from, int fd, const struct sockaddr_storage *sa)
{
	struct listeners *l = from->all;
	struct addr peer;
	bool known = addr_of_sockaddr((const struct sockaddr *)sa, &peer, NULL);
	int to = better_place(l, is_full(l->worker));
	if (to >= 0 && hand_on(to, fd, known ? &peer : NULL, &l->worker->conf->listen[from->place])) {
		metric_add(l->worker->count.handed_over, 1);
		close(fd);
		return;
	}
	take(l, fd, known ? &peer : NULL, from->place);
}

static void keep_reserve(struct listeners *l)
{
	if (l->reserve < 0)
		l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void say_short(struct listeners *l, int err)
{
	unsigned missed;
	metric_add(l->worker->count.shortages, 1);
	if (log_limit_pass(&l->out_of_fds, l->worker->loop.now, 10 * USEC_PER_SEC, &missed))
		log_error("no connection can be served: %s (%u more times since the last message)",
			  strerror(err), missed);
}

static void pause_all(struct listeners *l)
{
	for (unsigned i = 0; i < l->count; i++)
		event_del(&l->listener[i].event);
	timeout_arm(&l->pause_class, &l->pause);
}

static void on_pause_over(struct timeout *t)
{
	struct listeners *l = list_entry(t, struct listeners, pause);
	keep_reserve(l);
	for (unsigned i = 0; i < l->count; i++)
		event_add(&l->listener[i].event, NULL);
}

static int take_connection(int from, struct sockaddr_storage *sa)
{
	socklen_t len = sizeof(*sa);
	return accept4(from, (struct sockaddr *)sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* The reserve is spent on one that waits, and had back with its end. False: there was none, or nobody waited.
 */
static bool shed_one(struct listener *from)
{
	struct listeners *l = from->all;
	struct sockaddr_storage sa;
	if (l->reserve < 0)
		return false;
	close(l->reserve);
	l->reserve = -1;
	int fd = take_connection(from->fd, &sa);
	bool nobody = fd < 0 && errno == EAGAIN;
	if (fd >= 0)
		client_turn_away(l->worker, fd, from->place, END_OVERLOAD);
	if (fd >= 0 || nobody)
		keep_reserve(l);
	return fd >= 0;
}

/*
 * Nothing is left to accept a connection with. Idle connections to upstreams give their descriptors first.
 * Then whoever comes is told to come back rather than left to wait, with a descriptor that is held in reserve
 * for this. Without even that the queue is left alone for a while, as it would wake us without end.
 */
static bool accept_short(struct listener *from, int err)
{
	struct listeners *l = from->all;
	say_short(l, err);
	if (worker_close_pooled(l->worker))
		return true;
	if ((err == EMFILE || err == ENFILE) && shed_one(from))
		return true;
	if (l->reserve < 0 || (err != EMFILE && err != ENFILE))
		pause_all(l);
	return false;
}

/* False when nothing more is there. */
static bool accept_one(struct listener *from)
{
	struct sockaddr_storage sa = {.ss_family = AF_UNSPEC};
	int fd = take_connection(from->fd, &sa);
	if (fd >= 0) {
		place(from, fd, &sa);
		return true;
	}
	if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
		return accept_short(from, errno);
	return errno == ECONNABORTED || errno == EINTR || errno == EPROTO;
}

static void on_connection(evutil_socket_t fd, short what, void *arg)
{
	struct listener *from = arg;
	(void)fd, (void)what;
	loop_wake(&from->all->worker->loop);
	for (int i = 0; i < ACCEPTS_A_TURN && accept_one(from); i++)
		;
}

/* --- the set --- */

static void open_one(struct listeners *l, struct listener *one, int fd, unsigned listen)
{
	*one = (struct listener){.all = l, .fd = fd, .place = listen};
	event_assign(&one->event, l->worker->loop.base, fd, EV_READ | EV_PERSIST, on_connection, one);
	event_add(&one->event, NULL);
}

struct listeners *listeners_open(struct worker *w, const struct worker_fds *fds)
{
	struct listeners *l = calloc(1, sizeof(*l));
	if (l)
		l->listener = calloc(fds->listeners + 1, sizeof(*l->listener));
	if (!l || !l->listener) {
		free(l);
		return NULL;
	}
	l->worker = w;
	l->reserve = -1;
	keep_reserve(l);
	l->receive = fds->receive;
	l->peers = fds->peers;
	memcpy(l->peer, fds->peer, sizeof(l->peer));
	memcpy(l->peer_worker, fds->peer_worker, sizeof(l->peer_worker));
	timeout_class_init(&l->pause_class, &w->loop, PAUSE_US);
	timeout_init(&l->pause, on_pause_over);
	for (unsigned i = 0; i < fds->listeners; i++)
		open_one(l, &l->listener[l->count++], fds->listener[i], fds->listen[i]);
	if (l->receive >= 0) {
		event_assign(&l->receive_event, w->loop.base, l->receive, EV_READ | EV_PERSIST, on_parcel, l);
		event_add(&l->receive_event, NULL);
	}
	return l;
}

static void close_one(struct listener *one, bool last)
{
	event_del(&one->event);
	for (int i = 0; last && i < ACCEPTS_AT_END && accept_one(one); i++)
		;
	event_del(&one->event);
	close(one->fd);
}

void listeners_close(struct listeners *l, bool last)
{
	if (!l)
		return;
	for (unsigned i = 0; i < l->count; i++)
		close_one(&l->listener[i], last);
	if (l->receive >= 0) {
		for (int i = 0; i < ACCEPTS_AT_END && take_parcel(l); i++)
			;
		event_del(&l->receive_event);
		close(l->receive);
	}
	for (unsigned i = 0; i < l->peers; i++)
		close(l->peer[i]);
	if (l->reserve >= 0)
		close(l->reserve);
	timeout_disarm(&l->pause);
	timeout_class_drop(&l->pause_class);
	free(l->listener);
	free(l);
}
