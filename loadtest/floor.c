/* SPDX-License-Identifier: MIT */
/*
 * The floor: a relay that parses nothing. Each client connection gets one connection to the upstream, and
 * bytes go over as they come. It is what any proxy with sockets and epoll costs at least: the row to measure
 * the others against, and no program to serve anybody with.
 *
 *   floor [-p PORT] UPSTREAM-PORT        on 127.0.0.1; without -p on port 9100
 *
 * Edge-triggered, one registration a socket: a read that comes back short ends the reading, for more bytes
 * make a new edge. What the other side does not take is held, and this side is not read until it is gone. The
 * end of one side ends both: who keeps connections alive does not half-close.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE 65536
#define CACHE_LINE 64 /* the kernel copies to and from odd places slowly: buffers begin on one */
#define EVENTS_MAX 256

struct side {
	int fd;
	struct side *peer;
	char *held; /* read here, and not yet taken by the peer; NULL when all was */
	size_t held_at, held_n;
};

struct pair {
	struct side client, upstream;
	struct pair *next; /* in `dead` and `spare` */
	struct pair *made_before;
};

static int poller, listener;
static struct sockaddr_in upstream_address = {.sin_family = AF_INET};
static struct pair *made;	  /* all of them */
static struct pair *dead, *spare; /* ended in this turn, so that events may still point there; before it */
static volatile sig_atomic_t stopping;

static struct pair *pair_of(struct side *s)
{
	return (struct pair *)(void *)(s < s->peer ? s : s->peer); /* the client's side is the first */
}

static void end_pair(struct pair *p)
{
	if (p->client.fd < 0)
		return;
	close(p->client.fd);
	close(p->upstream.fd);
	free(p->client.held);
	free(p->upstream.held);
	p->client.held = p->upstream.held = NULL;
	p->client.fd = p->upstream.fd = -1;
	p->next = dead;
	dead = p;
}

static void sweep(void)
{
	while (dead) {
		struct pair *p = dead;
		dead = p->next;
		p->next = spare;
		spare = p;
	}
}

static struct pair *new_pair(void)
{
	struct pair *p = spare;
	if (p) {
		spare = p->next;
		return p;
	}
	p = calloc(1, sizeof(*p));
	if (p) {
		p->made_before = made;
		made = p;
	}
	return p;
}

static void free_pairs(void)
{
	while (made) {
		struct pair *p = made;
		made = p->made_before;
		free(p->client.held);
		free(p->upstream.held);
		free(p);
	}
}

/* 1: all is sent; 0: the rest has to wait; -1: the connection is gone. */
static int send_all(int fd, const char *data, size_t n, size_t *sent)
{
	for (*sent = 0; *sent < n;) {
		ssize_t got = send(fd, data + *sent, n - *sent, MSG_NOSIGNAL);
		if (got < 0)
			return errno == EAGAIN ? 0 : -1;
		*sent += (size_t)got;
	}
	return 1;
}

static int hold(struct side *from, const char *data, size_t n)
{
	from->held = aligned_alloc(CACHE_LINE, (n + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1));
	if (!from->held)
		return -1;
	memcpy(from->held, data, n);
	from->held_at = 0;
	from->held_n = n;
	return 0;
}

static int send_held(struct side *from)
{
	size_t sent;
	int got = send_all(from->peer->fd, from->held + from->held_at, from->held_n - from->held_at, &sent);
	from->held_at += sent;
	if (got == 1) {
		free(from->held);
		from->held = NULL;
	}
	return got;
}

/* Moves what there is from one side to the other; -1 when the pair is over. */
static int relay(struct side *from)
{
	static _Alignas(CACHE_LINE) char data[READ_SIZE];
	int going = from->held ? send_held(from) : 1;
	while (going == 1) {
		size_t sent;
		ssize_t n = recv(from->fd, data, sizeof(data), 0);
		if (n <= 0)
			return n < 0 && errno == EAGAIN ? 0 : -1;
		going = send_all(from->peer->fd, data, (size_t)n, &sent);
		if (going == 0)
			going = hold(from, data + sent, (size_t)n - sent);
		else if (n < READ_SIZE)
			break;
	}
	return going < 0 ? -1 : 0;
}

static void on_event(struct side *s, uint32_t events)
{
	int going = 0;
	if (s->fd < 0)
		return;
	if ((events & EPOLLOUT) && s->peer->held)
		going = relay(s->peer);
	if (going == 0 && (events & EPOLLIN))
		going = relay(s);
	if (going < 0 || (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
		end_pair(pair_of(s));
}

static int watch(struct side *s)
{
	int on = 1;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = s};
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return epoll_ctl(poller, EPOLL_CTL_ADD, s->fd, &ev);
}

static void open_pair(int fd)
{
	int up = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct pair *p = up < 0 ? NULL : new_pair();
	if (!p) {
		close(fd);
		if (up >= 0)
			close(up);
		return;
	}
	p->client = (struct side){.fd = fd, .peer = &p->upstream};
	p->upstream = (struct side){.fd = up, .peer = &p->client};
	if ((connect(up, (struct sockaddr *)&upstream_address, sizeof(upstream_address)) != 0 &&
	     errno != EINPROGRESS) ||
	    watch(&p->upstream) != 0 || watch(&p->client) != 0)
		end_pair(p);
}

static void on_accept(void)
{
	int fd;
	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		open_pair(fd);
}

static int port_number(const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);
	return *end || n < 1 || n > 65535 ? 0 : (int)n;
}

static int listen_at(int port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
	int on = 1;
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&sin, sizeof(sin)) != 0 || listen(listener, 4096) != 0)
		return -1;
	return epoll_ctl(poller, EPOLL_CTL_ADD, listener, &ev);
}

static void on_signal(int sig)
{
	(void)sig;
	stopping = 1;
}

int main(int argc, char **argv)
{
	struct sigaction sa = {.sa_handler = on_signal};
	struct rlimit files;
	int opt, port = 9100;
	while ((opt = getopt(argc, argv, "p:")) != -1)
		port = opt == 'p' ? port_number(optarg) : 0;
	int upstream = optind == argc - 1 ? port_number(argv[optind]) : 0;
	if (!port || !upstream) {
		fprintf(stderr, "usage: floor [-p PORT] UPSTREAM-PORT\n");
		return 2;
	}
	upstream_address.sin_port = htons((uint16_t)upstream);
	upstream_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (listen_at(port) != 0) {
		fprintf(stderr, "floor: 127.0.0.1:%d: %s\n", port, strerror(errno));
		return 1;
	}
	while (!stopping) {
		struct epoll_event events[EVENTS_MAX];
		int n = epoll_wait(poller, events, EVENTS_MAX, -1);
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				on_event(events[i].data.ptr, events[i].events);
			else
				on_accept();
		}
		sweep();
	}
	free_pairs();
	return 0;
}
