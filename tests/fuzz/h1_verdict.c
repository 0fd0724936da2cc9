/* SPDX-License-Identifier: MIT */
/*
 * weir's side of the comparison with Node's parser (h1_diff.js): reads connections' bytes from stdin and
 * writes what weir's parser makes of each as a line of JSON.
 *
 * A case is a letter (Q requests, R responses to GET, H responses to HEAD), its length in four bytes, the
 * high one first, and the bytes. Messages follow one another as they would on a connection: up to one that is
 * refused, incomplete, the last on its connection, or that takes the connection over. All texts are in hex.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/h1_body.h"
#include "proxy/h1_head.h"

enum { FIELDS = 128, CASE_MOST = 1 << 20 };

static const struct h1_limits limits = {.line = 16384, .head = 65536, .fields = 100};

static void put_hex(struct str s)
{
	putchar('"');
	for (size_t i = 0; i < s.n; i++)
		printf("%02x", (unsigned char)s.p[i]);
	putchar('"');
}

static void put_head(const struct h1_head *h, const char *buf, bool response)
{
	static const char *const framings[] = {"none", "length", "chunked", "until close"};

	printf("\"minor\":%u,\"framing\":\"%s\",\"length\":%llu,\"keep\":%s,\"upgrade\":%s", h->version_minor,
	       framings[h->framing], (unsigned long long)h->content_length, h->keep_alive ? "true" : "false",
	       h->connection_upgrade && h1_has(h, FIELD_UPGRADE) ? "true" : "false");
	if (response) {
		printf(",\"status\":%u,\"reason\":", h->status);
		put_hex(h1_text(buf, h->reason));
	} else {
		printf(",\"method\":");
		put_hex(h1_text(buf, h->method_text));
		printf(",\"target\":");
		put_hex(h1_text(buf, h->target));
	}
	printf(",\"fields\":[");
	for (unsigned i = 0; i < h->fields; i++) {
		printf("%s[", i ? "," : "");
		put_hex(h1_name(buf, &h->field[i]));
		putchar(',');
		put_hex(h1_value(buf, &h->field[i]));
		putchar(']');
	}
	putchar(']');
}

static void put_end(const char *end, const char *why)
{
	printf(",\"end\":\"%s\",\"why\":\"%s\"", end, why ? why : "");
}

/* The bytes that belong to the body; *whole tells whether it came to its end. */
static size_t put_chunked(const char *p, size_t n, bool *whole)
{
	struct h1_chunked c;
	enum h1_body_step step = BODY_MORE;
	size_t at = 0;
	char trailers[4096];
	size_t trailers_n = 0;

	h1_chunked_init(&c, &limits);
	printf(",\"body\":\"");
	do {
		struct str slice;
		size_t used = 0;
		step = h1_chunked_step(&c, p + at, n - at, &used, &slice);
		at += used;
		for (size_t i = 0; step == BODY_DATA && i < slice.n; i++)
			printf("%02x", (unsigned char)slice.p[i]);
		if (step == BODY_TRAILER && trailers_n + c.name.n + 1 < sizeof(trailers)) {
			memcpy(trailers + trailers_n, c.name.p, c.name.n);
			trailers_n += c.name.n;
			trailers[trailers_n++] = '\n';
		}
	} while (step == BODY_DATA || step == BODY_TRAILER);
	printf("\",\"trailers\":");
	put_hex((struct str){trailers, trailers_n});
	put_end(step == BODY_END ? "done" : step == BODY_BAD ? "bad" : "more", c.why);
	*whole = step == BODY_END;
	return at;
}

static size_t put_body(const struct h1_head *h, const char *p, size_t n, bool *whole)
{
	if (h->framing == H1_FRAMING_CHUNKED)
		return put_chunked(p, n, whole);
	size_t want = h->framing == H1_FRAMING_NONE ? 0 : n;
	if (h->framing == H1_FRAMING_LENGTH && h->content_length < n)
		want = (size_t)h->content_length;
	*whole = h->framing == H1_FRAMING_NONE ||
		 (h->framing == H1_FRAMING_LENGTH && want == h->content_length);
	printf(",\"body\":");
	put_hex((struct str){p, want});
	put_end(*whole ? "done" : "more", NULL);
	return want;
}

static bool takes_over(const struct h1_head *h, bool response)
{
	return response ? h->status == 101 : h->method == METHOD_CONNECT;
}

/* One message at the front. The bytes it took; 0 when none can follow. */
static size_t put_message(const char *p, size_t n, char mode)
{
	static struct h1_field field[FIELDS];
	static struct h1_head h;
	bool response = mode != 'Q', whole;
	enum h1_result r;

	h1_head_init(&h, field, FIELDS);
	if (response)
		r = h1_response_parse(&h, &limits, p, n, mode == 'H' ? METHOD_HEAD : METHOD_GET);
	else
		r = h1_request_parse(&h, &limits, p, n);
	printf("{\"head\":\"%s\"", r == H1_DONE ? "ok" : r == H1_MORE ? "more" : "bad");
	if (r != H1_DONE) {
		printf(",\"why\":\"%s\"}", r == H1_BAD ? h.why : "");
		return 0;
	}
	putchar(',');
	put_head(&h, p, response);
	size_t used = h.length + put_body(&h, p + h.length, n - h.length, &whole);
	putchar('}');
	return whole && h.keep_alive && !takes_over(&h, response) ? used : 0;
}

static void put_case(const char *bytes, size_t n, char mode)
{
	size_t at = 0, used;

	putchar('[');
	do {
		/* In memory of its own, so that a sanitizer sees a read behind it. */
		char *exact = malloc(n - at + 1);
		if (!exact)
			abort();
		memcpy(exact, bytes + at, n - at);
		printf("%s", at ? "," : "");
		used = put_message(exact, n - at, mode);
		free(exact);
		at += used;
	} while (used && at < n);
	printf("]\n");
}

int main(void)
{
	static char bytes[CASE_MOST];
	unsigned char head[5];

	while (fread(head, sizeof(head), 1, stdin) == 1) {
		size_t n = (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
		if (n > sizeof(bytes) || (n && fread(bytes, n, 1, stdin) != 1))
			return 1;
		put_case(bytes, n, (char)head[0]);
	}
	return 0;
}
