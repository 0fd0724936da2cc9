/* SPDX-License-Identifier: MIT */
#include "base/stream_tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/tls_client.h"
#include "base/tls_server.h"

#define RECORD SSL3_RT_MAX_PLAIN_LENGTH /* content bytes of one record */
#define OUT_MAX                                                                                              \
	(128u << 10) /* bytes kept for a socket that is full: a flight of the handshake, or a record */

/*
 * Messages behind the handshake (new keys, tickets; in TLS 1.2 the wish for another handshake) cost much and
 * say nothing, and OpenSSL takes in as many as come before it returns: a peer that sends them without end
 * would have the process for itself. So many may come at once, and one more with each so many bytes of
 * content.
 */
#define ASIDES_MAX 256
#define ASIDE_PRICE 16384

struct tls {
	SSL *ssl;
	struct stream *stream;
	struct buf early;	  /* bytes that were read before TLS began */
	struct buf out;		  /* of records that the socket did not take yet */
	size_t owed;		  /* content of these that the owner does not know as taken */
	bool can_read, can_write; /* the socket; can_read and can_write of the stream are its content's */
	bool established;
	bool sealed;	 /* we have said goodbye: FIN follows when `out` is empty */
	bool fin;	 /* it has: sending it makes an edge of its own, so that twice would be for ever */
	bool write_lost; /* err says why */
	bool read_lost;
	bool heard; /* a byte has come; `first` */
	uint8_t first;
	int64_t patience; /* with asides; below 0 there is none left */
	enum stream_tls_fault fault;
	const char *why; /* static text */
};

/* --- the socket, as OpenSSL sees it --- */

static int take_early(struct tls *t, char *to, size_t n)
{
	size_t have = buf_len(&t->early);
	n = n < have ? n : have;
	memcpy(to, buf_head(&t->early), n);
	buf_consume(&t->early, n);
	return (int)n;
}

static ssize_t read_socket(struct tls *t, char *to, size_t n, bool *again)
{
	ssize_t got;
	do
		got = recv(t->stream->fd, to, n, 0);
	while (got < 0 && errno == EINTR);
	*again = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
	if (got < 0 || (got > 0 && (size_t)got < n && !t->stream->peer_closed))
		t->can_read = false;
	if (got < 0 && !*again)
		t->stream->err = errno;
	if (got == 0)
		t->stream->peer_closed = true;
	return got;
}

static void on_message(int sent, int version, int type, const void *p, size_t n, SSL *ssl, void *arg)
{
	struct tls *t = arg;
	(void)version, (void)p, (void)n, (void)ssl;
	if (!sent && type == SSL3_RT_HANDSHAKE && t->established)
		t->patience -= ASIDE_PRICE;
}

static void hear_content(struct tls *t, int n)
{
	t->patience += n;
	if (t->patience > ASIDES_MAX * ASIDE_PRICE)
		t->patience = ASIDES_MAX * ASIDE_PRICE;
}

static bool out_of_patience(struct tls *t)
{
	if (t->patience >= 0)
		return false;
	t->stream->err = EPROTO;
	t->why = "the peer sends messages of TLS without content and without end";
	return true;
}

static int on_read(BIO *b, char *to, int n)
{
	struct tls *t = BIO_get_data(b);
	ssize_t got = -1;
	bool again = true;
	BIO_clear_retry_flags(b);
	if (n <= 0)
		return 0;
	if (out_of_patience(t))
		return -1;
	if (buf_len(&t->early))
		got = take_early(t, to, (size_t)n);
	else if (t->can_read)
		got = read_socket(t, to, (size_t)n, &again);
	if (got < 0 && again)
		BIO_set_retry_read(b);
	if (got > 0 && !t->heard) {
		t->heard = true;
		t->first = (uint8_t)to[0];
	}
	return (int)got;
}

/* How many bytes the socket takes of these; false: it is lost. */
static bool write_socket(struct tls *t, const char *from, size_t n, size_t *sent)
{
	ssize_t w = 0;
	if (t->can_write) {
		do
			w = send(t->stream->fd, from, n, MSG_NOSIGNAL);
		while (w < 0 && errno == EINTR);
		if (w < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
			t->stream->err = errno;
			t->write_lost = true;
			return false;
		}
		if (w < (ssize_t)n)
			t->can_write = false;
	}
	*sent = w > 0 ? (size_t)w : 0;
	return true;
}

static int on_write(BIO *b, const char *from, int len)
{
	struct tls *t = BIO_get_data(b);
	size_t n = (size_t)len, sent = 0;
	BIO_clear_retry_flags(b);
	if (t->write_lost || (!buf_len(&t->out) && !write_socket(t, from, n, &sent)))
		return -1;
	if (sent < n &&
	    (buf_len(&t->out) + n - sent > OUT_MAX || !buf_append(&t->out, from + sent, n - sent))) {
		t->stream->err = ENOMEM;
		t->write_lost = true;
		return -1;
	}
	return len;
}

static long on_control(BIO *b, int what, long n, void *p)
{
	(void)b, (void)n, (void)p;
	return what == BIO_CTRL_FLUSH;
}

static BIO *socket_bio(struct tls *t)
{
	static BIO_METHOD *method;
	if (!method) {
		method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir stream");
		if (!method)
			return NULL;
		BIO_meth_set_read(method, on_read);
		BIO_meth_set_write(method, on_write);
		BIO_meth_set_ctrl(method, on_control);
	}
	BIO *b = BIO_new(method);
	if (b) {
		BIO_set_data(b, t);
		BIO_set_init(b, 1);
	}
	return b;
}

/* True: nothing is kept back. */
static bool flush(struct tls *t)
{
	while (buf_len(&t->out) && t->can_write && !t->write_lost) {
		size_t sent;
		if (write_socket(t, buf_head(&t->out), buf_len(&t->out), &sent))
			buf_consume(&t->out, sent);
	}
	return !buf_len(&t->out) && !t->write_lost;
}

static void send_fin(struct tls *t)
{
	if (t->fin || !(flush(t) || t->write_lost))
		return;
	t->fin = true;
	shutdown(t->stream->fd, SHUT_WR);
}

/* --- beginning --- */

static bool begin(struct stream *s, SSL *ssl, struct buf *early)
{
	struct tls *t = ssl ? calloc(1, sizeof(*t)) : NULL;
	BIO *b = t ? socket_bio(t) : NULL;
	if (!b) {
		free(t);
		SSL_free(ssl);
		return false;
	}
	*t = (struct tls){.ssl = ssl,
			  .stream = s,
			  .can_read = s->can_read,
			  .can_write = s->can_write,
			  .patience = ASIDES_MAX * ASIDE_PRICE};
	if (early) {
		t->early = *early;
		*early = (struct buf){NULL, 0, 0};
	}
	SSL_set_bio(ssl, b, b);
	SSL_set_msg_callback(ssl, on_message);
	SSL_set_msg_callback_arg(ssl, t);
	s->tls = t;
	return true;
}

bool stream_accept_tls(struct stream *s, const struct tls_server *server, struct buf *early)
{
	SSL *ssl = tls_server_session(server);
	if (!begin(s, ssl, early))
		return false;
	SSL_set_accept_state(ssl);
	return true;
}

bool stream_connect_tls(struct stream *s, struct tls_client *client, const char *name,
			struct tls_memory *memory)
{
	SSL *ssl = tls_client_session(client, name, memory);
	if (!begin(s, ssl, NULL))
		return false;
	SSL_set_connect_state(ssl);
	return true;
}

/* --- failures --- */

/* Sets err, and why; `r` is what a call to OpenSSL answered. */
static void explain(struct tls *t, int r)
{
	struct stream *s = t->stream;
	const char *distrust = t->established ? NULL : tls_client_distrust(t->ssl);
	bool by_openssl = SSL_get_error(t->ssl, r) == SSL_ERROR_SSL;
	const char *text = by_openssl ? tls_error_text() : NULL;
	t->fault = STREAM_TLS_BROKEN;
	if (distrust) {
		t->fault = STREAM_TLS_UNTRUSTED;
		t->why = distrust;
	} else if (!t->established && t->heard && t->first >= 'A' && t->first <= 'Z' &&
		   SSL_is_server(t->ssl)) {
		t->fault = STREAM_TLS_PLAIN;
		t->why = "what came is not TLS";
	} else if (by_openssl) {
		t->why = text;
	} else if (!s->err) {
		t->fault = STREAM_TLS_CUT;
		t->why = "the peer closed the connection without the end that TLS asks for";
	}
	if (!s->err)
		s->err = t->fault == STREAM_TLS_CUT ? ECONNRESET : EPROTO;
}

static ssize_t failed(struct tls *t)
{
	struct stream *s = t->stream;
	t->read_lost = true;
	s->can_read = s->can_write = s->unsure = false;
	return STREAM_ERROR;
}

enum stream_tls_fault stream_tls_fault(const struct stream *s)
{
	return s->tls ? s->tls->fault : STREAM_TLS_FINE;
}

const char *stream_error_text(const struct stream *s)
{
	return s->tls && s->tls->why ? s->tls->why : strerror(s->err);
}

/* --- the handshake --- */

/* Whether there may be more content without a word from the socket. */
static bool has_more(const struct tls *t)
{
	return t->can_read || buf_len(&t->early) || SSL_has_pending(t->ssl);
}

enum stream_handshake stream_handshake(struct stream *s)
{
	struct tls *t = s->tls;
	ERR_clear_error();
	int r = SSL_do_handshake(t->ssl);
	if (r == 1 && !t->write_lost) {
		t->established = true;
		s->can_read = has_more(t); /* content may have come with the handshake's last bytes */
		s->can_write = flush(t);
		return STREAM_HANDSHAKE_DONE;
	}
	bool more = r <= 0 && SSL_get_error(t->ssl, r) == SSL_ERROR_WANT_READ && !t->write_lost;
	if (more && s->unsure) { /* half a record, and behind it maybe a reset, as in stream_tls_read */
		s->unsure = false;
		t->can_read = true;
		return stream_handshake(s);
	}
	if (more)
		return STREAM_HANDSHAKE_MORE;
	explain(t, r);
	failed(t);
	return STREAM_HANDSHAKE_FAILED;
}

bool stream_tls_resumed(const struct stream *s)
{
	return SSL_session_reused(s->tls->ssl) == 1;
}

/* --- content --- */

void stream_tls_event(struct stream *s, short what)
{
	struct tls *t = s->tls;
	if (what & (EV_READ | EV_CLOSED))
		t->can_read = s->can_read = s->unsure = true;
	if (what & EV_CLOSED)
		s->peer_closed = true;
	if (what & EV_WRITE)
		t->can_write = true;
	if (t->can_write && (flush(t) || t->write_lost))
		s->can_write = true; /* a loss is told by the next write */
	if (t->sealed)
		send_fin(t);
}

static ssize_t at_end(struct stream *s)
{
	s->eof = s->peer_closed = true;
	s->can_read = s->unsure = false;
	return 0;
}

/* As many records as are there and fit: where they are small, one read of the socket brings several. */
ssize_t stream_tls_read(struct stream *s, void *to, size_t n)
{
	struct tls *t = s->tls;
	size_t got = 0;
	int r;
	if (t->read_lost)
		return failed(t);
	if (!s->can_read)
		t->can_read = true; /* one more try, see stream_may_read */
	do {
		size_t room = n - got < RECORD ? n - got : RECORD;
		ERR_clear_error();
		r = SSL_read(t->ssl, (char *)to + got, (int)room);
		if (r > 0) {
			got += (size_t)r;
			hear_content(t, r);
		}
	} while (r > 0 && got < n && SSL_has_pending(t->ssl));
	int what = SSL_get_error(t->ssl, r);
	bool lost = what != SSL_ERROR_NONE && what != SSL_ERROR_WANT_READ && what != SSL_ERROR_ZERO_RETURN;
	if (lost) {
		explain(t, r);
		t->read_lost = true; /* told by the next call, when there is content before it */
	}
	s->can_read = what == SSL_ERROR_NONE ? has_more(t) : what != SSL_ERROR_WANT_READ;
	if (got)
		return (ssize_t)got;
	if (what == SSL_ERROR_WANT_READ && s->unsure) { /* half a record, and behind it maybe a reset */
		s->unsure = false;
		return stream_tls_read(s, to, n);
	}
	if (what == SSL_ERROR_WANT_READ)
		return STREAM_AGAIN;
	return lost ? failed(t) : at_end(s);
}

/* One record's content in one piece: a head and the body behind it make one record, not two. */
static struct str gather(const struct iovec *v, int count)
{
	static char piece[RECORD];
	size_t n = 0;
	if (count == 1 || v[0].iov_len >= RECORD)
		return (struct str){v[0].iov_base, v[0].iov_len < RECORD ? v[0].iov_len : RECORD};
	for (int i = 0; i < count && n < RECORD; i++) {
		size_t more = v[i].iov_len < RECORD - n ? v[i].iov_len : RECORD - n;
		memcpy(piece + n, v[i].iov_base, more);
		n += more;
	}
	return (struct str){piece, n};
}

static ssize_t write_failed(struct stream *s)
{
	s->can_write = false;
	s->can_read = s->peer_closed = true; /* as on a plain stream: what the peer said may be there still */
	s->tls->can_read = true;
	return STREAM_ERROR;
}

static ssize_t wait_for_room(struct stream *s)
{
	s->can_write = false;
	return STREAM_AGAIN;
}

/* What was kept back has left: so much of what is offered again is out already. */
static ssize_t settle(struct tls *t, size_t asked)
{
	size_t n = t->owed < asked ? t->owed : asked;
	t->owed -= n;
	return (ssize_t)n;
}

ssize_t stream_tls_writev(struct stream *s, const struct iovec *v, int count)
{
	struct tls *t = s->tls;
	size_t asked = 0;
	for (int i = 0; i < count; i++)
		asked += v[i].iov_len;
	if (!asked)
		return 0;
	if (t->read_lost)
		return failed(t);
	if (!flush(t))
		return t->write_lost ? write_failed(s) : wait_for_room(s);
	if (t->owed)
		return settle(t, asked);
	struct str content = gather(v, count);
	ERR_clear_error();
	int r = SSL_write(t->ssl, content.p, (int)content.n);
	if (t->write_lost)
		return write_failed(s);
	if (r <= 0 && SSL_get_error(t->ssl, r) == SSL_ERROR_WANT_READ)
		return wait_for_room(s);
	if (r <= 0) {
		explain(t, r);
		return failed(t);
	}
	if (!buf_len(&t->out))
		return r;
	t->owed = (size_t)r;
	return wait_for_room(s);
}

bool stream_quiet(struct stream *s)
{
	char byte;
	if (!s->tls)
		return !s->can_read && !s->peer_closed;
	if (s->can_read) {
		ERR_clear_error();
		int r = SSL_peek(s->tls->ssl, &byte, 1);
		if (r > 0 || SSL_get_error(s->tls->ssl, r) != SSL_ERROR_WANT_READ)
			return false;
		s->can_read = false;
	}
	return !s->peer_closed;
}

/* --- the end --- */

static bool may_say_goodbye(const struct tls *t)
{
	return t->established && !t->sealed && !t->read_lost && !t->write_lost && !t->owed;
}

void stream_tls_shutdown(struct stream *s)
{
	struct tls *t = s->tls;
	if (may_say_goodbye(t)) {
		ERR_clear_error();
		SSL_shutdown(t->ssl);
	}
	t->sealed = true;
	send_fin(t);
}

void stream_tls_end(struct stream *s, bool goodbye)
{
	struct tls *t = s->tls;
	ERR_clear_error();
	if (goodbye && may_say_goodbye(t))
		SSL_shutdown(t->ssl);
	SSL_set_shutdown(t->ssl,
			 SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else its session is forgotten */
	SSL_free(t->ssl);
	ERR_clear_error();
	buf_drop(&t->early);
	buf_drop(&t->out);
	free(t);
	s->tls = NULL;
}

void stream_drop_tls(struct stream *s)
{
	struct tls *t = s->tls;
	s->can_read = t->can_read;
	s->can_write = t->can_write;
	s->err = 0;
	stream_tls_end(s, false);
}
