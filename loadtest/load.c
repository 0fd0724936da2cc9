/* SPDX-License-Identifier: MIT */
/*
 * The benchmark's client: one process, one thread, epoll, connections that are kept. It is made to cost
 * little, so that the proxy is what is measured: requests are built beforehand, one for each client address,
 * bodies are sent from and dropped in the kernel, and a response is read no further than its status and its
 * length.
 *
 *   load [options] PORT          on 127.0.0.1; the result is one JSON object on stdout
 *
 *   -c N      connections (32), one request at a time on each
 *   -d SEC    how long (5); -n N ends it after N requests
 *   -r RATE   requests a second on a schedule, and a response's time counts from when its request
 *             was due; without it each connection asks again as soon as it is answered
 *   -a N      client addresses, named by turns in X-Forwarded-For (0: none)
 *   -p PATH   (/bench)
 *   -u BYTES  POST a body of that length
 *   -H LINE   one more header line
 *   -1        a connection for each request
 *   -i N      first open N more connections, with one request on each, say so on stdout, and leave
 *             them idle
 *   -s        TLS, any certificate is taken; with -1 each handshake is whole, with -1 -R resumed
 *
 *   OPENING -> (TLS: SHAKING) -> READY -> SENDING -> HEAD -> BODY -> READY ... or PARKED
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define HEAD_SIZE 4096
#define EVENTS_MAX 256
#define PIECE (1 << 20) /* of a body, sent or dropped at a time */
#define OPENING_AT_ONCE 64
#define ERRORS_MAX 1000
#define SUB_BITS 6 /* a bucket of the histogram is at most 1/64 wide */
#define BUCKETS ((64 - SUB_BITS) << SUB_BITS)
#define NSEC_PER_SEC 1000000000LL

typedef int64_t nsec_t;

enum conn_state {
	OPENING,
	SHAKING,
	READY,
	SENDING,
	HEAD,
	BODY,
	PARKED /* one of the idle ones */
};

struct request {
	char *text;
	size_t n;
};

struct conn {
	int fd;
	enum conn_state state;
	SSL *ssl;
	SSL_SESSION *ticket; /* the last one: in TLS 1.3 each serves once */
	const struct request *request;
	uint64_t sent;	    /* of the request, head and body */
	uint64_t body_left; /* of the response */
	nsec_t due;	    /* when the request in flight should have gone out */
	struct conn *next;  /* in `ready` */
	struct conn *made_before;
	size_t in_n;
	char in[HEAD_SIZE];
};

static struct {
	int port, connections, seconds, addresses, idle;
	uint64_t limit, upload;
	double rate;
	const char *path, *header;
	bool once, tls, resume;
} opt = {.connections = 32, .seconds = 5, .path = "/bench", .header = ""};

static struct {
	uint64_t asked, answered, received, uploaded, errors, handshakes, resumed, idle_lost;
	uint64_t statuses[600];
	uint64_t latency[BUCKETS];
	nsec_t slowest;
} count;

static int poller, body_fd;
static SSL_CTX *tls;
static struct request *requests;
static struct conn *ready, *made; /* made: all of them, until the end */
static nsec_t now, end, next_due;
static int idle_open, idle_wanted; /* while idle connections are being opened: how many, of how many */
static bool over;

static void die(const char *what)
{
	fprintf(stderr, "load: %s\n", what);
	exit(1);
}

static nsec_t clock_now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/* The histogram: exact below 64 ns, from there on 64 buckets an octave. */

static unsigned bucket_of(uint64_t v)
{
	int octave = v >> SUB_BITS ? 63 - __builtin_clzll(v) - SUB_BITS : 0;
	return ((unsigned)octave << SUB_BITS) + (unsigned)(v >> octave);
}

static double bucket_usec(unsigned bucket)
{
	unsigned octave = bucket >> SUB_BITS ? (bucket >> SUB_BITS) - 1 : 0;
	return (double)((uint64_t)(bucket - (octave << SUB_BITS)) << octave) / 1000;
}

static double quantile_usec(double q)
{
	uint64_t seen = 0, wanted = (uint64_t)(q * (double)count.answered);
	for (unsigned i = 0; i < BUCKETS; i++)
		if ((seen += count.latency[i]) > wanted)
			return bucket_usec(i);
	return (double)count.slowest / 1000;
}

/* Requests, one for each address */

static void build_requests(void)
{
	int n = opt.addresses ? opt.addresses : 1;
	requests = calloc((size_t)n, sizeof(*requests));
	for (int i = 0; requests && i < n; i++) {
		char client[64] = "", length[64] = "";
		if (opt.addresses)
			snprintf(client, sizeof(client), "X-Forwarded-For: 198.%d.%d.%d\r\n",
				 18 + (i >> 16 & 1), i >> 8 & 255, i & 255);
		if (opt.upload)
			snprintf(length, sizeof(length), "Content-Length: %llu\r\n",
				 (unsigned long long)opt.upload);
		int len = asprintf(&requests[i].text, "%s %s HTTP/1.1\r\nHost: bench.example\r\n%s%s%s%s\r\n",
				   opt.upload ? "POST" : "GET", opt.path, client, length, opt.header,
				   *opt.header ? "\r\n" : "");
		if (len < 0)
			die("out of memory");
		requests[i].n = (size_t)len;
	}
}

static const struct request *next_request(void)
{
	static int turn;
	turn = turn + 1 < opt.addresses ? turn + 1 : 0;
	return &requests[turn];
}

/* Connections */

static void fail(struct conn *c);

static bool last_asked(void)
{
	return over || (opt.limit && !idle_wanted && count.asked >= opt.limit);
}

static struct conn *open_conn(struct conn *c)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
	int on = 1;
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	c->state = OPENING;
	c->due = now;
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die(strerror(errno));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(c->fd, (struct sockaddr *)&sin, sizeof(sin)) != 0 && errno != EINPROGRESS)
		die(strerror(errno));
	if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &ev) != 0)
		die(strerror(errno));
	return c;
}

static struct conn *new_conn(void)
{
	struct conn *c = calloc(1, sizeof(*c));
	if (!c)
		die("out of memory");
	c->fd = -1;
	c->made_before = made;
	made = c;
	return c;
}

static void close_conn(struct conn *c)
{
	if (c->ssl) {
		SSL_shutdown(c->ssl);
		SSL_free(c->ssl);
		c->ssl = NULL;
	}
	close(c->fd);
	c->fd = -1;
}

static int on_session(SSL *ssl, SSL_SESSION *s)
{
	struct conn *c = SSL_get_app_data(ssl);
	SSL_SESSION_free(c->ticket);
	c->ticket = s;
	return 1; /* kept */
}

static void start_tls(struct conn *c)
{
	c->ssl = SSL_new(tls);
	if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1)
		die("no TLS connection");
	SSL_set_app_data(c->ssl, c);
	if (opt.resume && c->ticket)
		SSL_set_session(c->ssl, c->ticket);
	SSL_set_connect_state(c->ssl);
	c->state = SHAKING;
}

/* Bytes out and in. More than 0: bytes; 0: later; -1: the connection is gone. */

static ssize_t tls_result(struct conn *c, int n)
{
	if (n > 0)
		return n;
	int why = SSL_get_error(c->ssl, n);
	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static ssize_t plain_result(ssize_t n)
{
	return n > 0 ? n : n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

static ssize_t send_head(struct conn *c)
{
	const char *p = c->request->text + c->sent;
	size_t n = c->request->n - c->sent;
	if (c->ssl)
		return tls_result(c, SSL_write(c->ssl, p, (int)n));
	return plain_result(send(c->fd, p, n, MSG_NOSIGNAL | (opt.upload ? MSG_MORE : 0)));
}

static ssize_t send_body(struct conn *c)
{
	uint64_t at = c->sent - c->request->n, left = opt.upload - at;
	off_t offset = (off_t)(at % PIECE);
	size_t n = left < (uint64_t)(PIECE - offset) ? (size_t)left : (size_t)(PIECE - offset);
	return plain_result(sendfile(c->fd, body_fd, &offset, n));
}

static ssize_t receive(struct conn *c)
{
	if (c->ssl)
		return tls_result(c, SSL_read(c->ssl, c->in + c->in_n, (int)(HEAD_SIZE - c->in_n)));
	return plain_result(recv(c->fd, c->in + c->in_n, HEAD_SIZE - c->in_n, 0));
}

static ssize_t drop(struct conn *c)
{
	static char rest[1 << 14];
	if (c->ssl)
		return tls_result(
			c, SSL_read(c->ssl, rest,
				    c->body_left < sizeof(rest) ? (int)c->body_left : (int)sizeof(rest)));
	return plain_result(
		recv(c->fd, NULL, c->body_left < PIECE ? (size_t)c->body_left : PIECE, MSG_TRUNC));
}

/* A request's way */

static bool send_more(struct conn *c)
{
	uint64_t whole = c->request->n + opt.upload;
	while (c->sent < whole) {
		bool head = c->sent < c->request->n;
		ssize_t n = head ? send_head(c) : send_body(c);
		if (n <= 0)
			return n == 0;
		c->sent += (uint64_t)n;
		count.uploaded += head ? 0 : (uint64_t)n;
	}
	c->state = HEAD;
	return true;
}

static void start_request(struct conn *c, nsec_t due)
{
	c->request = next_request();
	c->sent = 0;
	c->in_n = 0;
	c->due = due;
	c->state = SENDING;
	count.asked++;
	if (!send_more(c))
		fail(c);
}

/* When nothing is scheduled a free connection asks at once; else it waits for the next request that is due.
 */
static void be_ready(struct conn *c)
{
	c->state = READY;
	if (last_asked())
		return;
	if (!opt.rate || idle_wanted) {
		start_request(c, now);
		return;
	}
	c->next = ready;
	ready = c;
}

static void start_due(void)
{
	while (ready && next_due <= now && !last_asked()) {
		struct conn *c = ready;
		ready = c->next;
		start_request(c, next_due);
		next_due += (nsec_t)(NSEC_PER_SEC / opt.rate);
	}
}

static void note_answer(struct conn *c)
{
	nsec_t took = now - c->due;
	count.answered++;
	count.latency[bucket_of((uint64_t)(took > 0 ? took : 0))]++;
	if (took > count.slowest)
		count.slowest = took;
	if (opt.limit && count.answered + count.errors >= opt.limit)
		over = true;
}

static void reopen(struct conn *c)
{
	close_conn(c);
	if (!last_asked())
		open_conn(c);
}

/* One that was to become idle stays as it is, and the next one is opened. */
static void park(struct conn *c)
{
	c->state = PARKED;
	if (++idle_open + OPENING_AT_ONCE <= idle_wanted)
		open_conn(new_conn());
}

static void finish(struct conn *c)
{
	if (idle_wanted) {
		park(c);
		return;
	}
	note_answer(c);
	if (!opt.once) {
		be_ready(c);
		return;
	}
	reopen(c);
}

/* What was in flight is lost; the connection is opened anew. */
static void fail(struct conn *c)
{
	if (idle_wanted || ++count.errors > ERRORS_MAX)
		die("too many connections failed");
	reopen(c);
}

static uint64_t length_of(const char *head, const char *stop)
{
	const char *p = head;
	while (p < stop) {
		if ((*p == 'C' || *p == 'c') && strncasecmp(p, "content-length:", 15) == 0)
			return strtoull(p + 15, NULL, 10);
		p = (const char *)memchr(p, '\n', (size_t)(stop - p)) + 1;
	}
	die("a response without a length");
	return 0;
}

/* False: the head is not there yet, or broken (the buffer is full then). */
static bool take_head(struct conn *c)
{
	const char *stop = memmem(c->in, c->in_n, "\r\n\r\n", 4);
	if (!stop || c->in_n < 16 || memcmp(c->in, "HTTP/1.1 ", 9) != 0)
		return false;
	int status = atoi(c->in + 9);
	if (!idle_wanted)
		count.statuses[status >= 100 && status < 600 ? status : 0]++;
	size_t body = c->in_n - (size_t)(stop + 4 - c->in);
	c->body_left = length_of(c->in, stop + 2);
	if (body > c->body_left)
		die("more bytes than the response has");
	c->body_left -= body;
	count.received += body;
	c->state = BODY;
	return true;
}

/* Reads on; false when the connection is gone. */
static bool read_more(struct conn *c)
{
	while (c->state == HEAD || (c->state == BODY && c->body_left)) {
		bool head = c->state == HEAD;
		ssize_t n = head ? receive(c) : drop(c);
		if (n <= 0)
			return n == 0;
		if (head) {
			c->in_n += (size_t)n;
			if (!take_head(c) && c->in_n == HEAD_SIZE)
				return false;
		} else {
			c->body_left -= (uint64_t)n;
			count.received += (uint64_t)n;
		}
	}
	return true;
}

static bool shake(struct conn *c)
{
	ssize_t n = tls_result(c, SSL_do_handshake(c->ssl));
	if (n <= 0)
		return n == 0;
	count.handshakes++;
	count.resumed += SSL_session_reused(c->ssl) ? 1 : 0;
	c->state = READY;
	return true;
}

/* False when the connection is gone. */
static bool open_further(struct conn *c, uint32_t events)
{
	if (c->state == OPENING && (events & EPOLLOUT)) {
		c->state = READY;
		if (opt.tls)
			start_tls(c);
	}
	if (c->state == SHAKING && !shake(c))
		return false;
	if (c->state != READY)
		return true;
	if (idle_wanted || (opt.once && !last_asked()))
		start_request(c, c->due);
	else
		be_ready(c);
	return true;
}

static bool go_on(struct conn *c, uint32_t events)
{
	if (c->state < READY)
		return open_further(c, events);
	if (c->state == SENDING && !send_more(c))
		return false;
	if (!read_more(c))
		return false;
	if (c->state == BODY && !c->body_left)
		finish(c);
	else if ((events & (EPOLLRDHUP | EPOLLHUP)) && c->state != READY)
		return false;
	return true;
}

/* A free connection that ended shows when the next request fails. */
static void on_event(struct conn *c, uint32_t events)
{
	if (!(events & EPOLLERR) && go_on(c, events))
		return;
	if (c->state == PARKED) {
		count.idle_lost++;
		close_conn(c);
	} else if (c->state != READY) {
		fail(c);
	}
}

/* Waits for events up to `until`, and works on them. */
static void turn(nsec_t until)
{
	struct epoll_event events[EVENTS_MAX];
	nsec_t left = until > now ? until - now : 0;
	struct timespec wait = {.tv_sec = left / NSEC_PER_SEC, .tv_nsec = left % NSEC_PER_SEC};
	int n = epoll_pwait2(poller, events, EVENTS_MAX, &wait, NULL);
	now = clock_now();
	for (int i = 0; i < n; i++)
		on_event(events[i].data.ptr, events[i].events);
}

static void open_idle(void)
{
	idle_wanted = opt.idle;
	for (int i = 0; i < OPENING_AT_ONCE && i < opt.idle; i++)
		open_conn(new_conn());
	for (nsec_t give_up = now + 60 * NSEC_PER_SEC; idle_open < idle_wanted && now < give_up;)
		turn(give_up);
	if (idle_open < idle_wanted)
		die("the idle connections do not open");
	idle_wanted = 0;
	printf("{\"idle\": %d}\n", idle_open);
	fflush(stdout);
	count.asked = count.received = 0;
	getchar(); /* whoever asked for them says when to go on, or closes stdin */
	now = clock_now();
}

static void run(void)
{
	nsec_t start = now;
	for (int i = 0; i < opt.connections; i++)
		open_conn(new_conn());
	next_due = start;
	end = start + opt.seconds * NSEC_PER_SEC;
	while (!over && now < end) {
		if (opt.rate)
			start_due();
		turn(opt.rate && ready && next_due < end ? next_due : end);
	}
	end = now - start;
}

static void report(void)
{
	struct rusage used;
	getrusage(RUSAGE_SELF, &used);
	printf("{\"requests\": %llu, \"seconds\": %.6f, \"errors\": %llu, \"received\": %llu, \"uploaded\": "
	       "%llu, \"statuses\": {",
	       (unsigned long long)count.answered, (double)end / NSEC_PER_SEC,
	       (unsigned long long)count.errors, (unsigned long long)count.received,
	       (unsigned long long)count.uploaded);
	for (int i = 0, first = 1; i < 600; i++)
		if (count.statuses[i]) {
			printf("%s\"%d\": %llu", first ? "" : ", ", i, (unsigned long long)count.statuses[i]);
			first = 0;
		}
	printf("}, \"latency_us\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": "
	       "%.1f}",
	       quantile_usec(0.5), quantile_usec(0.9), quantile_usec(0.99), quantile_usec(0.999),
	       (double)count.slowest / 1000);
	printf(", \"handshakes\": %llu, \"resumed\": %llu, \"idle_lost\": %llu, \"client_cpu_s\": %.3f}\n",
	       (unsigned long long)count.handshakes, (unsigned long long)count.resumed,
	       (unsigned long long)count.idle_lost,
	       (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		       (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
}

static void set_up_tls(void)
{
	tls = SSL_CTX_new(TLS_client_method());
	if (!tls)
		die("no TLS");
	SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* One suite and one group, so that no server's own order decides what is measured. */
	if (SSL_CTX_set_ciphersuites(tls, "TLS_AES_128_GCM_SHA256") != 1 ||
	    SSL_CTX_set1_groups_list(tls, "X25519") != 1)
		die("no TLS 1.3");
	SSL_CTX_set_verify(tls, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(tls, on_session);
}

static void set_up_body(void)
{
	static char piece[PIECE];
	memset(piece, 'u', sizeof(piece));
	body_fd = memfd_create("body", MFD_CLOEXEC);
	if (body_fd < 0 || write(body_fd, piece, sizeof(piece)) != PIECE)
		die("no memory for the body");
}

static void tear_down(void)
{
	while (made) {
		struct conn *c = made;
		made = c->made_before;
		if (c->fd >= 0)
			close_conn(c);
		SSL_SESSION_free(c->ticket);
		free(c);
	}
	for (int i = 0; i == 0 || i < opt.addresses; i++)
		free(requests[i].text);
	free(requests);
	SSL_CTX_free(tls);
}

static double number(const char *text, double least, double most)
{
	char *rest;
	double n = strtod(text, &rest);
	if (*rest || n < least || n > most) {
		fprintf(stderr, "load: %s: expected a number from %.0f to %.0f\n", text, least, most);
		exit(2);
	}
	return n;
}

static void usage(void)
{
	fprintf(stderr, "usage: load [-c CONNECTIONS] [-d SECONDS] [-n REQUESTS] [-r RATE] [-a ADDRESSES] "
			"[-p PATH] [-u BYTES] [-H HEADER] [-i IDLE] [-1] [-s] [-R] PORT\n");
	exit(2);
}

static void arguments(int argc, char **argv)
{
	for (int o; (o = getopt(argc, argv, "c:d:n:r:a:p:u:H:i:1sR")) != -1;) {
		switch (o) {
		case 'c':
			opt.connections = (int)number(optarg, 1, 20000);
			break;
		case 'd':
			opt.seconds = (int)number(optarg, 1, 3600);
			break;
		case 'n':
			opt.limit = (uint64_t)number(optarg, 1, 1e9);
			break;
		case 'r':
			opt.rate = number(optarg, 1, 1e6);
			break;
		case 'a':
			opt.addresses = (int)number(optarg, 0, 131072);
			break;
		case 'p':
			opt.path = optarg;
			break;
		case 'u':
			opt.upload = (uint64_t)number(optarg, 1, 1e12);
			break;
		case 'H':
			opt.header = optarg;
			break;
		case 'i':
			opt.idle = (int)number(optarg, 0, 25000);
			break;
		case '1':
			opt.once = true;
			break;
		case 's':
			opt.tls = true;
			break;
		case 'R':
			opt.resume = true;
			break;
		default:
			usage();
		}
	}
	if (optind != argc - 1 || (opt.tls && opt.upload) || (opt.resume && !(opt.tls && opt.once)) ||
	    (opt.rate && opt.once))
		usage();
	opt.port = (int)number(argv[optind], 1, 65535);
}

int main(int argc, char **argv)
{
	struct rlimit files;
	arguments(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	poller = epoll_create1(EPOLL_CLOEXEC);
	build_requests();
	if (opt.tls)
		set_up_tls();
	if (opt.upload)
		set_up_body();
	now = clock_now();
	if (opt.idle)
		open_idle();
	run();
	report();
	tear_down();
	return 0;
}
