/* SPDX-License-Identifier: MIT */
#include "base/tls_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/tls_common.h"

struct tls_client {
	unsigned holders;
	bool verify;
	SSL_CTX *ctx;
};

static int memory_index = -1; /* of the memory in an SSL */

/* --- sessions --- */

void tls_memory_forget(struct tls_memory *m)
{
	SSL_SESSION_free(m->session);
	m->session = NULL;
}

/* 1: the session is ours now. TLS 1.3 sends its tickets behind the handshake, and the newest is kept. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls_memory *m = SSL_get_ex_data(ssl, memory_index);
	if (!m || !SSL_SESSION_is_resumable(session))
		return 0;
	tls_memory_forget(m);
	m->session = session;
	return 1;
}

/* --- contexts --- */

static bool fill(struct tls_client *c, const struct tls_client_setup *s, struct tls_wrong *wrong)
{
	static const unsigned char http[] = "\x08http/1.1";
	c->ctx = tls_context_new(false);
	if (!c->ctx)
		return false;
	SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(c->ctx, on_session);
	if (s->trust) {
		SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, NULL);
		SSL_CTX_set1_cert_store(c->ctx, s->trust);
	}
	if (s->http && SSL_CTX_set_alpn_protos(c->ctx, http, sizeof(http) - 1) != 0)
		return false;
	return !s->own || tls_cert_use(s->own, c->ctx, wrong);
}

struct tls_client *tls_client_new(const struct tls_client_setup *s, struct tls_wrong *wrong)
{
	struct tls_client *c = calloc(1, sizeof(*c));
	*wrong = (struct tls_wrong){false, "out of memory"};
	if (!c)
		return NULL;
	if (memory_index < 0)
		memory_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	c->holders = 1;
	c->verify = s->trust != NULL;
	if (fill(c, s, wrong))
		return c;
	tls_client_drop(c);
	return NULL;
}

struct tls_client *tls_client_hold(struct tls_client *c)
{
	if (c)
		c->holders++;
	return c;
}

void tls_client_drop(struct tls_client *c)
{
	if (!c || --c->holders)
		return;
	SSL_CTX_free(c->ctx);
	free(c);
}

/* --- connections --- */

static bool is_address(const char *name)
{
	struct in6_addr a;
	return inet_pton(AF_INET, name, &a) == 1 || inet_pton(AF_INET6, name, &a) == 1;
}

static bool set_name(const struct tls_client *c, SSL *ssl, const char *name)
{
	if (!name)
		return true;
	bool address = is_address(name);
	if (!address && SSL_set_tlsext_host_name(ssl, (char *)(uintptr_t)name) != 1)
		return false;
	if (!c->verify)
		return true;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1
		       : SSL_set1_host(ssl, name) == 1;
}

SSL *tls_client_session(struct tls_client *c, const char *name, struct tls_memory *memory)
{
	SSL *ssl = SSL_new(c->ctx);
	if (!ssl || !set_name(c, ssl, name) || SSL_set_ex_data(ssl, memory_index, memory) != 1) {
		SSL_free(ssl);
		ERR_clear_error();
		return NULL;
	}
	if (memory && memory->session)
		SSL_set_session(ssl, memory->session);
	return ssl;
}

const char *tls_client_distrust(const SSL *ssl)
{
	long result = SSL_get_verify_result(ssl);
	if (SSL_is_server(ssl) || SSL_get_verify_mode(ssl) == SSL_VERIFY_NONE || result == X509_V_OK)
		return NULL;
	return X509_verify_cert_error_string(result);
}
