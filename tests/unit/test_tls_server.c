/* SPDX-License-Identifier: MIT */
/* Which certificate a listener shows, also when memory runs out while it is chosen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "base/tls_cert.h"
#include "base/tls_server.h"
#include "tests/unit/tls_case.h"

/* --- memory that runs out --- */

static int until_short = -1; /* allocations that still succeed; -1: all do */

static bool runs_short(void)
{
	return until_short >= 0 && until_short-- == 0;
}

static void *allocate(size_t n, const char *file, int line)
{
	(void)file, (void)line;
	return runs_short() ? NULL : malloc(n);
}

static void *allocate_again(void *p, size_t n, const char *file, int line)
{
	(void)file, (void)line;
	return runs_short() ? NULL : realloc(p, n);
}

static void release(void *p, const char *file, int line)
{
	(void)file, (void)line;
	free(p);
}

/* --- two names --- */

static struct made first, second;
static struct tickets tickets;
static struct tls_server *server;

static int set_up(void **state)
{
	struct tls_cert *cert[2];
	struct tls_wrong wrong;
	unsigned which;
	(void)state;
	first = make_certificate((struct making){.san = "DNS:a.example"});
	second = make_certificate((struct making){.san = "DNS:b.example"});
	cert[0] = tls_cert_new(str_of(first.certificate), str_of(first.key), &wrong);
	cert[1] = tls_cert_new(str_of(second.certificate), str_of(second.key), &wrong);
	server = tls_server_new(cert, 2, &tickets, &which, &wrong);
	tls_cert_free(cert[0]);
	tls_cert_free(cert[1]);
	assert_non_null(server);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	tls_server_free(server);
	free_made(&first);
	free_made(&second);
	return 0;
}

/* The allocations count from where the client's wishes are known: the name is looked at next. */
static void on_message(int written, int version, int type, const void *bytes, size_t n, SSL *ssl, void *arg)
{
	(void)version, (void)ssl;
	if (!written && type == SSL3_RT_HANDSHAKE && n &&
	    *(const unsigned char *)bytes == SSL3_MT_CLIENT_HELLO)
		until_short = *(int *)arg;
}

/* What a client that asks for `name` is shown, to be freed; NULL: the handshake failed. */
static X509 *shown(const char *name, int allocations)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *client = SSL_new(ctx), *ours = tls_server_session(server);
	BIO *near, *far;
	bool done = false;
	assert_int_equal(BIO_new_bio_pair(&near, 0, &far, 0), 1);
	SSL_set_bio(client, near, near);
	SSL_set_bio(ours, far, far);
	SSL_set_tlsext_host_name(client, name);
	SSL_set_msg_callback(ours, on_message);
	SSL_set_msg_callback_arg(ours, &allocations);
	for (int i = 0; i < 8 && !done; i++) {
		bool connected = SSL_connect(client) == 1;
		done = SSL_accept(ours) == 1 && connected;
	}
	until_short = -1;
	X509 *x = done ? SSL_get1_peer_certificate(client) : NULL;
	SSL_free(client);
	SSL_free(ours);
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return x;
}

static void the_name_chooses_the_certificate(void **state)
{
	static const struct {
		const char *name;
		const struct made *made;
	} rows[] = {{"a.example", &first}, {"b.example", &second}, {"c.example", &first}};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		X509 *x = shown(rows[i].name, -1);
		assert_non_null(x);
		assert_int_equal(X509_cmp(x, rows[i].made->x), 0);
		X509_free(x);
	}
}

/* The handshake may fail then; another name's certificate is not shown. */
static void without_memory_no_other_certificate_is_shown(void **state)
{
	enum { ALLOCATIONS = 40 };
	unsigned failed = 0;
	(void)state;
	for (int i = 0; i < ALLOCATIONS; i++) {
		X509 *x = shown("b.example", i);
		failed += !x;
		if (x && X509_cmp(x, second.x) != 0)
			fail_msg("another certificate was shown when allocation %d failed", i);
		X509_free(x);
	}
	assert_true(failed > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_name_chooses_the_certificate),
		cmocka_unit_test(without_memory_no_other_certificate_is_shown),
	};
	CRYPTO_set_mem_functions(allocate, allocate_again,
				 release); /* before OpenSSL has allocated anything */
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
