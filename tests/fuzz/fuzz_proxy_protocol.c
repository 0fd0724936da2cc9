/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as the PROXY protocol's header, of both versions: the same verdict however they come in, nothing
 * beyond the header is taken, and what was read, written anew, names the same ends.
 */
#include "acl/proxy_protocol.h"
#include "tests/fuzz/fuzz.h"

struct verdict {
	enum proxy_protocol result;
	struct proxy_info info;
	size_t consumed;
	const char *why;
};

static void ask(const void *p, size_t n, struct verdict *v)
{
	char *exact = exact_copy(p, n);

	*v = (struct verdict){.consumed = SIZE_MAX};
	v->result = proxy_protocol_parse(exact, n, &v->info, &v->consumed, &v->why);
	free(exact);
}

static bool same_info(const struct proxy_info *a, const struct proxy_info *b)
{
	return a->named == b->named &&
	       (!a->named || (addr_eq(&a->src, &b->src) && addr_eq(&a->dst, &b->dst) &&
			      a->src_port == b->src_port && a->dst_port == b->dst_port));
}

static void check(const struct verdict *v, size_t n)
{
	promise(v->result != PP_DONE ||
		(v->consumed > 0 && v->consumed <= n && v->consumed <= PROXY_PROTOCOL_MAX));
	promise(v->result != PP_BAD || v->why);
	promise(v->result != PP_MORE || n < PROXY_PROTOCOL_MAX);
}

static void write_v1(const struct proxy_info *i, struct sheet *s)
{
	char src[ADDR_TEXT], dst[ADDR_TEXT], line[256];
	bool v4 = addr_is_v4(&i->src);

	addr_format(src, &i->src);
	addr_format(dst, &i->dst);
	int n = i->named ? snprintf(line, sizeof(line), "PROXY TCP%c %s %s %u %u\r\n", v4 ? '4' : '6', src,
				    dst, i->src_port, i->dst_port)
			 : snprintf(line, sizeof(line), "PROXY UNKNOWN\r\n");
	sheet_bytes(s, line, (size_t)n);
}

static void put16(struct sheet *s, unsigned v)
{
	unsigned char b[2] = {(unsigned char)(v >> 8), (unsigned char)v};

	sheet_bytes(s, b, 2);
}

static void write_v2(const struct proxy_info *i, struct sheet *s)
{
	sheet_bytes(s, "\r\n\r\n\0\r\nQUIT\n", 12);
	sheet_bytes(s, i->named ? "\x21\x21" : "\x20\0", 2);
	put16(s, i->named ? 36 : 0);
	if (!i->named)
		return;
	sheet_bytes(s, i->src.b, 16);
	sheet_bytes(s, i->dst.b, 16);
	put16(s, i->src_port);
	put16(s, i->dst_port);
}

static void check_again(const struct proxy_info *info)
{
	char text[512];
	struct sheet s = {text, 0, sizeof(text)};
	struct verdict v;

	write_v2(info, &s);
	sheet_bytes(&s, "GET / HTTP/1.1\r\n", 16);
	ask(text, s.n, &v);
	promise(v.result == PP_DONE && v.consumed == s.n - 16 && same_info(&v.info, info));
	if (info->named && addr_is_v4(&info->src) != addr_is_v4(&info->dst))
		return; /* version 1 can't say that */
	s.n = 0;
	write_v1(info, &s);
	ask(text, s.n, &v);
	promise(v.result == PP_DONE && v.consumed == s.n && same_info(&v.info, info));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct verdict whole, part;

	if (size > PROXY_PROTOCOL_MAX)
		return 0;
	ask(data, size, &whole);
	check(&whole, size);
	for (size_t i = 0; i < size; i += 1 + i / 64) {
		ask(data, i, &part);
		check(&part, i);
		if (part.result == PP_BAD)
			promise(whole.result == PP_BAD);
		if (part.result == PP_DONE)
			promise(whole.result == PP_DONE && whole.consumed == part.consumed &&
				same_info(&whole.info, &part.info));
		if (whole.result == PP_DONE)
			promise((part.result == PP_DONE) == (i >= whole.consumed));
	}
	if (whole.result == PP_DONE)
		check_again(&whole.info);
	return 0;
}
