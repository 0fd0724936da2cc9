/* SPDX-License-Identifier: MIT */
/* A stream with TLS over a socketpair, at whose other end another stream, or plain OpenSSL, speaks in pieces.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/buf.h"
#include "base/stream.h"
#include "base/tls_client.h"
#include "base/tls_server.h"
#include "tests/unit/tls_case.h"

#define GIVE_UP_S 60

struct end {
	struct stream s;
	unsigned readies;
	void (*on_ready)(struct end *);
	enum stream_handshake shake;
};

static struct loop loop;
static struct task turn_task;
static struct hook turn_hook;
static int turns_left;
static struct end a, b; /* the server, the client */
static struct made authority, leaf;
static struct tickets tickets;
static struct tls_server *server;
static struct tls_client *client;

/* --- the loop --- */

static void on_ready(struct stream *s)
{
	struct end *e = (struct end *)(void *)((char *)s - offsetof(struct end, s));
	e->readies++;
	if (e->on_ready)
		e->on_ready(e);
}

static void at_turn(struct hook *h)
{
	(void)h;
	if (--turns_left <= 0)
		loop_stop(&loop);
	else
		loop_soon(&loop, &turn_task);
}

static void nothing(struct task *t)
{
	(void)t;
}

static void turns(int n)
{
	turns_left = n;
	loop_soon(&loop, &turn_task);
	loop_run(&loop);
}

/* --- the ends --- */

static struct tls_client *new_client(const struct made *trusted)
{
	struct tls_wrong wrong;
	struct tls_client_setup setup = {.trust = trusted ? tls_trust_new(str_of(trusted->certificate))
							  : NULL};
	struct tls_client *c = tls_client_new(&setup, &wrong);
	X509_STORE_free(setup.trust);
	assert_non_null(c);
	return c;
}

static struct tls_server *new_server(const struct made *m)
{
	struct tls_wrong wrong;
	unsigned which;
	struct tls_cert *cert = tls_cert_new(str_of(m->certificate), str_of(m->key), &wrong);
	if (!cert)
		fail_msg("%s", wrong.text);
	struct tls_server *s = tls_server_new(&cert, 1, &tickets, &which, &wrong);
	tls_cert_free(cert);
	assert_non_null(s);
	return s;
}

static int set_up_all(void **state)
{
	static const uint8_t secret[TICKET_SECRET] = {1, 2, 3};
	struct ticket_chain chain;
	struct ticket_seed seed;
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	authority = make_certificate((struct making){0});
	leaf = make_certificate((struct making){.san = "DNS:a.example,IP:127.0.0.1", .issuer = &authority});
	ticket_chain_begin(&chain, USEC_PER_SEC * 3600, secret, 0);
	ticket_chain_seed(&chain, 0, &seed);
	tickets_open(&tickets, &seed, 0);
	server = new_server(&leaf);
	client = new_client(&authority);
	return 0;
}

static int tear_down_all(void **state)
{
	(void)state;
	tls_server_free(server);
	tls_client_drop(client);
	free_made(&leaf);
	free_made(&authority);
	block_pools_free();
	return 0;
}

static int set_up(void **state)
{
	(void)state;
	alarm(GIVE_UP_S);
	if (!loop_init(&loop))
		return -1;
	task_init(&turn_task, nothing);
	hook_add(&loop, &turn_hook, at_turn);
	a = (struct end){.s.fd = -1};
	b = (struct end){.s.fd = -1};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	stream_close(&a.s);
	stream_close(&b.s);
	loop_free(&loop);
	assert_int_equal(ERR_peek_error(), 0);
	return 0;
}

static void shake(struct end *e)
{
	if (e->shake == STREAM_HANDSHAKE_MORE)
		e->shake = stream_handshake(&e->s);
}

static bool over_tcp;

static void make_pair(int fd[2])
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	if (!over_tcp) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd), 0);
		return;
	}
	int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(l, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(listen(l, 1), 0);
	assert_int_equal(getsockname(l, (struct sockaddr *)&sa, &len), 0);
	fd[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd[1], (struct sockaddr *)&sa, len), 0);
	fcntl(fd[1], F_SETFL, O_NONBLOCK);
	fd[0] = accept4(l, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd[0] >= 0);
	close(l);
}

/* A pair with a small buffer in between; the client's end is a bare descriptor where `bare`. */
static int open_pair(bool bare)
{
	int fd[2], size = 1; /* the kernel's least */
	make_pair(fd);
	setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	assert_true(stream_open(&a.s, &loop, fd[0], on_ready));
	a.on_ready = shake;
	a.shake = STREAM_HANDSHAKE_MORE;
	assert_true(stream_accept_tls(&a.s, server, NULL));
	if (bare)
		return fd[1];
	setsockopt(fd[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	assert_true(stream_open(&b.s, &loop, fd[1], on_ready));
	b.on_ready = shake;
	b.shake = STREAM_HANDSHAKE_MORE;
	return fd[1];
}

static void connect_as(struct tls_client *c, const char *name, struct tls_memory *memory)
{
	open_pair(false);
	assert_true(stream_connect_tls(&b.s, c, name, memory));
	for (int i = 0; i < 200 && (a.shake == STREAM_HANDSHAKE_MORE || b.shake == STREAM_HANDSHAKE_MORE);
	     i++)
		turns(2);
}

static void connect_well(struct tls_memory *memory)
{
	connect_as(client, "a.example", memory);
	assert_int_equal(a.shake, STREAM_HANDSHAKE_DONE);
	assert_int_equal(b.shake, STREAM_HANDSHAKE_DONE);
}

/* --- content --- */

static char pattern(size_t i)
{
	return (char)(i * 7 + i / 251);
}

static void fill_pattern(char *p, size_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = pattern(from + i);
}

/* Moves n bytes through, offered in two pieces of changing length and place, as a proxy's buffers are. */
static void move_through(struct stream *from, struct stream *to, size_t n)
{
	size_t sent = 0, got = 0;
	while (got < n) {
		while (from->can_write && sent < n) {
			size_t whole = n - sent < 50000 ? n - sent : 50000, first = 1 + sent % 300;
			char *p = malloc(whole);
			fill_pattern(p, sent, whole);
			struct iovec v[2] = {
				{p, first < whole ? first : whole},
				{p + (first < whole ? first : whole), first < whole ? whole - first : 0}};
			ssize_t w = stream_writev(from, v, v[1].iov_len ? 2 : 1);
			free(p);
			assert_true(w >= 0 || w == STREAM_AGAIN);
			sent += w > 0 ? (size_t)w : 0;
		}
		while (stream_may_read(to)) {
			char in[3000], want[3000];
			ssize_t r = stream_read(to, in, sizeof(in));
			if (r == STREAM_AGAIN)
				break;
			assert_true(r > 0);
			fill_pattern(want, got, (size_t)r);
			assert_memory_equal(in, want, (size_t)r);
			got += (size_t)r;
		}
		turns(2);
	}
	assert_int_equal(got, n);
}

static void test_bytes_both_ways(void **state)
{
	(void)state;
	connect_well(NULL);
	assert_false(stream_tls_resumed(&a.s));
	move_through(&a.s, &b.s, 700001);
	move_through(&b.s, &a.s, 300007);
	move_through(&a.s, &b.s, 1);
}

static void test_close_notify_is_an_end(void **state)
{
	char c;
	(void)state;
	connect_well(NULL);
	assert_int_equal(stream_write(&b.s, "last", 4), 4);
	stream_shutdown(&b.s);
	turns(3);
	char in[16];
	assert_int_equal(stream_read(&a.s, in, sizeof(in)), 4);
	assert_true(a.s.can_read);
	assert_int_equal(stream_read(&a.s, &c, 1), 0);
	assert_true(a.s.eof);
	assert_int_equal(stream_write(&a.s, "still heard", 11), 11); /* half-closed only */
	turns(3);
	assert_int_equal(stream_read(&b.s, in, sizeof(in)), 11);
	stream_close(&a.s);
	turns(3);
	assert_int_equal(stream_read(&b.s, in, sizeof(in)), 0);
}

/* Sending FIN makes an edge of its own: it is no reason to do anything again. */
static void test_shutdown_once(void **state)
{
	(void)state;
	over_tcp = true;
	connect_well(NULL);
	over_tcp = false;
	turns(3);
	stream_shutdown(&a.s);
	turns(2);
	unsigned before = a.readies;
	turns(20);
	assert_true(a.readies - before <= 1);
}

static void test_fin_alone_is_a_cut(void **state)
{
	char in[16];
	(void)state;
	connect_well(NULL);
	assert_int_equal(stream_write(&b.s, "half", 4), 4);
	shutdown(b.s.fd, SHUT_WR);
	turns(3);
	assert_int_equal(stream_read(&a.s, in, sizeof(in)), 4);
	assert_int_equal(stream_read(&a.s, in, sizeof(in)), STREAM_ERROR);
	assert_false(a.s.eof);
	assert_int_equal(stream_tls_fault(&a.s), STREAM_TLS_CUT);
	assert_int_equal(a.s.err, ECONNRESET);
	assert_int_equal(stream_read(&a.s, in, sizeof(in)), STREAM_ERROR);
}

static void test_broken_record_is_an_error(void **state)
{
	char in[16];
	(void)state;
	connect_well(NULL);
	assert_int_equal(stream_write(&b.s, "good", 4), 4);
	assert_int_equal(write(b.s.fd, "\x17\x03\x03\x00\x1f not what it seems to be at all", 36), 36);
	turns(3);
	assert_int_equal(stream_read(&a.s, in, sizeof(in)), 4);
	assert_true(a.s.can_read);
	assert_int_equal(stream_read(&a.s, in, sizeof(in)), STREAM_ERROR);
	assert_int_equal(a.s.err, EPROTO);
	assert_int_equal(stream_write(&a.s, "x", 1), STREAM_ERROR);
}

static void test_last_words_before_a_loss_are_read(void **state)
{
	char in[16], waste[4096] = {0};
	(void)state;
	connect_well(NULL);
	assert_int_equal(stream_write(&b.s, "answer", 6), 6);
	stream_close(&b.s);
	ssize_t w = 0;
	for (int i = 0; i < 50 && w != STREAM_ERROR; i++)
		w = stream_write(&a.s, waste, sizeof(waste));
	assert_int_equal(w, STREAM_ERROR);
	assert_true(a.s.can_read);
	assert_int_equal(stream_read(&a.s, in, sizeof(in)), 6);
}

static void test_quiet_takes_in_tickets(void **state)
{
	struct tls_memory memory = {NULL};
	(void)state;
	connect_well(&memory);
	turns(3);
	assert_true(b.s.can_read); /* the tickets, as far as the stream can tell */
	assert_true(stream_quiet(&b.s));
	assert_false(b.s.can_read);
	assert_non_null(memory.session);
	assert_int_equal(stream_write(&a.s, "unasked", 7), 7);
	turns(3);
	assert_false(stream_quiet(&b.s));
	tls_memory_forget(&memory);
}

static void test_resumption(void **state)
{
	struct tls_memory memory = {NULL};
	(void)state;
	for (int i = 0; i < 3; i++) {
		connect_well(&memory);
		move_through(&a.s, &b.s, 10);
		assert_int_equal(stream_tls_resumed(&a.s), i > 0);
		assert_int_equal(stream_tls_resumed(&b.s), i > 0);
		stream_close(&a.s);
		stream_close(&b.s);
	}
	tls_memory_forget(&memory);
}

/* --- trust --- */

static void check_trust(struct tls_client *c, const char *name, const char *distrust)
{
	connect_as(c, name, NULL);
	if (distrust) {
		assert_int_equal(b.shake, STREAM_HANDSHAKE_FAILED);
		assert_int_equal(stream_tls_fault(&b.s), STREAM_TLS_UNTRUSTED);
		assert_string_equal(stream_error_text(&b.s), distrust);
	} else {
		assert_int_equal(b.shake, STREAM_HANDSHAKE_DONE);
	}
	stream_close(&a.s);
	stream_close(&b.s);
}

static void test_trust(void **state)
{
	struct tls_client *other = new_client(&leaf), *blind = new_client(NULL);
	(void)state;
	check_trust(client, "a.example", NULL);
	check_trust(client, "127.0.0.1", NULL);
	check_trust(client, "b.example", "hostname mismatch");
	check_trust(client, "127.0.0.2", "IP address mismatch");
	check_trust(other, "a.example", "unable to get local issuer certificate");
	check_trust(blind, "b.example", NULL);
	tls_client_drop(other);
	tls_client_drop(blind);
	struct made old = make_certificate(
		(struct making){.san = "DNS:a.example", .issuer = &authority, .from = -7200, .until = -3600});
	struct tls_server *good = server;
	server = new_server(&old);
	check_trust(client, "a.example", "certificate has expired");
	tls_server_free(server);
	server = good;
	free_made(&old);
}

/* --- what others send --- */

/* A client of OpenSSL alone, whose records go into memory, so that they can be sent as we like. */
struct bare {
	SSL_CTX *ctx;
	SSL *ssl;
	BIO *in, *out;
	int fd;
};

static void bare_open(struct bare *c, int fd)
{
	c->ctx = SSL_CTX_new(TLS_client_method());
	c->ssl = SSL_new(c->ctx);
	c->in = BIO_new(BIO_s_mem());
	c->out = BIO_new(BIO_s_mem());
	c->fd = fd;
	SSL_set_bio(c->ssl, c->in, c->out);
	SSL_set_connect_state(c->ssl);
	SSL_set_tlsext_host_name(c->ssl, "a.example");
}

static void bare_close(struct bare *c)
{
	SSL_free(c->ssl);
	SSL_CTX_free(c->ctx);
	ERR_clear_error();
	close(c->fd);
}

static void bare_pump(struct bare *c, size_t piece)
{
	char *p, in[4096];
	long n;
	turns(2);
	ssize_t r = read(c->fd, in, sizeof(in));
	if (r > 0)
		BIO_write(c->in, in, (int)r);
	while ((n = BIO_get_mem_data(c->out, &p)) > 0) {
		size_t k = (size_t)n < piece ? (size_t)n : piece;
		char out[4096];
		BIO_read(c->out, out, (int)k);
		assert_int_equal(write(c->fd, out, k), k);
		turns(2);
	}
}

static void test_a_byte_at_a_time(void **state)
{
	struct bare c;
	char in[64];
	size_t got = 0;
	(void)state;
	bare_open(&c, open_pair(true));
	while (SSL_do_handshake(c.ssl) != 1) {
		ERR_clear_error();
		bare_pump(&c, 1);
	}
	assert_int_equal(SSL_write(c.ssl, "one byte at a time", 18), 18);
	bare_pump(&c, 1);
	assert_int_equal(a.shake, STREAM_HANDSHAKE_DONE);
	while (got < 18) {
		ssize_t r = stream_read(&a.s, in + got, sizeof(in) - got);
		assert_true(r > 0 || r == STREAM_AGAIN);
		got += r > 0 ? (size_t)r : 0;
		turns(2);
	}
	assert_memory_equal(in, "one byte at a time", 18);
	bare_close(&c);
}

static void test_bytes_read_before(void **state)
{
	struct bare c;
	struct buf early = {NULL, 0, 0};
	char *p;
	(void)state;
	int fd = open_pair(true);
	stream_close(&a.s);
	close(fd);
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	assert_true(stream_open(&a.s, &loop, pair[0], on_ready));
	bare_open(&c, pair[1]);
	SSL_do_handshake(c.ssl);
	long n = BIO_get_mem_data(c.out, &p);
	assert_true(buf_append(&early, p, (size_t)n - 5)); /* all of the hello but its end */
	assert_int_equal(write(c.fd, p + n - 5, 5), 5);
	BIO_reset(c.out);
	assert_true(stream_accept_tls(&a.s, server, &early));
	assert_null(early.block);
	a.shake = stream_handshake(&a.s);
	while (SSL_do_handshake(c.ssl) != 1) {
		ERR_clear_error();
		bare_pump(&c, 4096);
	}
	bare_pump(&c, 4096);
	assert_int_equal(a.shake, STREAM_HANDSHAKE_DONE);
	bare_close(&c);
}

static void check_not_tls(const char *said, size_t n, enum stream_tls_fault fault)
{
	char in[512];
	int fd = open_pair(true);
	assert_int_equal(write(fd, said, n), n);
	turns(3);
	assert_int_equal(a.shake, STREAM_HANDSHAKE_FAILED);
	assert_int_equal(stream_tls_fault(&a.s), fault);
	if (fault == STREAM_TLS_PLAIN) {
		assert_int_equal(read(fd, in, sizeof(in)),
				 -1); /* no alert that would stand before an answer */
		stream_drop_tls(&a.s);
		assert_int_equal(stream_write(&a.s, "HTTP/1.1 400", 12), 12);
		assert_int_equal(read(fd, in, sizeof(in)), 12);
	}
	stream_close(&a.s);
	close(fd);
}

static void test_what_is_not_tls(void **state)
{
	(void)state;
	check_not_tls("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, STREAM_TLS_PLAIN);
	check_not_tls("POST / HTTP/1.1\r\nHost: x\r\n\r\n", 28, STREAM_TLS_PLAIN);
	check_not_tls("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 31, STREAM_TLS_PLAIN);
	check_not_tls("\x16\x03\x01\x00\x05hello", 10, STREAM_TLS_BROKEN);
	check_not_tls("\0\0\0\0\0\0\0\0\0\0\0\0", 12, STREAM_TLS_BROKEN);
	check_not_tls("\x80\x0c\x01\x00\x02\x00\x03\x00\x00\x00\x00\x07\x00\xc0", 14, STREAM_TLS_BROKEN);
}

static void test_closed_in_the_handshake(void **state)
{
	(void)state;
	int fd = open_pair(true);
	assert_int_equal(write(fd, "\x16\x03", 2), 2);
	close(fd);
	turns(3);
	assert_int_equal(a.shake, STREAM_HANDSHAKE_FAILED);
	assert_int_equal(stream_tls_fault(&a.s), STREAM_TLS_CUT);
}

static void bare_shake(struct bare *c)
{
	bare_open(c, open_pair(true));
	while (SSL_do_handshake(c->ssl) != 1) {
		ERR_clear_error();
		bare_pump(c, 4096);
	}
	bare_pump(c, 4096);
	assert_int_equal(a.shake, STREAM_HANDSHAKE_DONE);
}

/* Sends so many bytes of new keys, which are no content (RFC 8446, 4.6.3), as one burst. */
static void send_keys(struct bare *c, long bytes)
{
	char *p;
	while (BIO_get_mem_data(c->out, &p) < bytes) {
		assert_int_equal(SSL_key_update(c->ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
		assert_int_equal(SSL_do_handshake(c->ssl), 1);
	}
	long n = BIO_get_mem_data(c->out, &p);
	assert_int_equal(write(c->fd, p, (size_t)n), n);
	BIO_reset(c->out);
}

static void test_new_keys(void **state)
{
	struct bare c;
	char in[64];
	(void)state;
	bare_shake(&c);
	for (int i = 0; i < 20; i++) {
		send_keys(&c, 300);
		assert_int_equal(SSL_write(c.ssl, "content", 7), 7);
		bare_pump(&c, 4096);
		assert_int_equal(stream_read(&a.s, in, sizeof(in)), 7);
		assert_int_equal(stream_read(&a.s, in, sizeof(in)), STREAM_AGAIN);
	}
	bare_close(&c);
}

/* Nobody is held up by a peer that has nothing to say, and says it fast. */
static void test_new_keys_without_end(void **state)
{
	struct bare c;
	char in[64];
	(void)state;
	bare_shake(&c);
	send_keys(&c, 60000);
	turns(2);
	assert_int_equal(stream_read(&a.s, in, sizeof(in)), STREAM_ERROR);
	assert_int_equal(a.s.err, EPROTO);
	assert_int_equal(stream_tls_fault(&a.s), STREAM_TLS_BROKEN);
	bare_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		T(test_bytes_both_ways),
		T(test_close_notify_is_an_end),
		T(test_shutdown_once),
		T(test_fin_alone_is_a_cut),
		T(test_broken_record_is_an_error),
		T(test_last_words_before_a_loss_are_read),
		T(test_quiet_takes_in_tickets),
		T(test_resumption),
		T(test_trust),
		T(test_a_byte_at_a_time),
		T(test_bytes_read_before),
		T(test_what_is_not_tls),
		T(test_closed_in_the_handshake),
		T(test_new_keys),
		T(test_new_keys_without_end),
	};
	return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
