/* SPDX-License-Identifier: MIT */
#include "acl/proxy_protocol.h"

#include <string.h>

#define V1_MAX 107 /* bytes of the longest line, its CRLF included (2.1) */
#define V2_HEAD 16 /* signature, version and command, family, length (2.2) */

static const char v1_signature[6] = "PROXY ";
static const char v2_signature[12] = "\r\n\r\n\0\r\nQUIT\n";

static enum proxy_protocol bad(const char **why, const char *text)
{
	*why = text;
	return PP_BAD;
}

/* The next word of a line: exactly one space stands between two (2.1). */
static struct str take_word(struct str *line)
{
	const char *space = line->n ? memchr(line->p, ' ', line->n) : NULL;
	struct str word = {line->p, space ? (size_t)(space - line->p) : line->n};
	size_t taken = word.n + (space != NULL);
	line->p += taken;
	line->n -= taken;
	return word;
}

static bool parse_endpoint(struct str s, bool v6, struct addr *out)
{
	return s.n && (memchr(s.p, ':', s.n) != NULL) == v6 && addr_parse(s, out);
}

/* No sign and no leading zeros (2.1). */
static bool parse_port(struct str s, uint16_t *out)
{
	return (s.n == 1 || (s.n && s.p[0] != '0')) && addr_parse_port(s, out);
}

static enum proxy_protocol parse_v1_line(struct str line, struct proxy_info *out, const char **why)
{
	struct str family = take_word(&line);
	bool v6 = str_eq(family, STR("TCP6"));
	struct proxy_info p = {.named = true};

	if (str_eq(family, STR("UNKNOWN"))) { /* what follows is to be ignored */
		*out = (struct proxy_info){.named = false};
		return PP_DONE;
	}
	if (!v6 && !str_eq(family, STR("TCP4")))
		return bad(why, "version 1: TCP4, TCP6 or UNKNOWN was expected after PROXY");
	if (!parse_endpoint(take_word(&line), v6, &p.src) || !parse_endpoint(take_word(&line), v6, &p.dst))
		return bad(why, "version 1: two addresses of the named family were expected");
	if (!parse_port(take_word(&line), &p.src_port))
		return bad(why, "version 1: a source port from 0 to 65535 was expected");
	if (!parse_port(line, &p.dst_port))
		return bad(why, "version 1: a destination port from 0 to 65535 was expected, and no more");
	*out = p;
	return PP_DONE;
}

static enum proxy_protocol parse_v1(const char *buf, size_t len, struct proxy_info *out, size_t *consumed,
				    const char **why)
{
	size_t known = len < sizeof(v1_signature) ? len : sizeof(v1_signature);
	size_t seen = len < V1_MAX ? len : V1_MAX;
	const char *lf;

	if (memcmp(buf, v1_signature, known) != 0)
		return bad(why, "a PROXY protocol header was expected");
	lf = memchr(buf, '\n', seen);
	if (!lf)
		return len < V1_MAX ? PP_MORE : bad(why, "version 1: the line is longer than 107 bytes");
	if (lf[-1] != '\r') /* the signature ends with a space: there is a byte before */
		return bad(why, "version 1: the line has to end with CR LF");
	struct str line = {buf + sizeof(v1_signature), (size_t)(lf - 1 - buf) - sizeof(v1_signature)};
	if (line.n && memchr(line.p, '\r', line.n))
		return bad(why, "version 1: a bare CR stands in the line");
	enum proxy_protocol result = parse_v1_line(line, out, why);
	if (result == PP_DONE)
		*consumed = (size_t)(lf + 1 - buf);
	return result;
}

static uint16_t load16(const unsigned char *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void load_v4(const unsigned char *p, struct proxy_info *out)
{
	out->src = addr_v4(p[0], p[1], p[2], p[3]);
	out->dst = addr_v4(p[4], p[5], p[6], p[7]);
	out->src_port = load16(p + 8);
	out->dst_port = load16(p + 10);
}

static void load_v6(const unsigned char *p, struct proxy_info *out)
{
	memcpy(out->src.b, p, 16);
	memcpy(out->dst.b, p + 16, 16);
	out->src_port = load16(p + 32);
	out->dst_port = load16(p + 34);
}

/* Address families by the high four bits of byte 14 (2.2). Only streams name the source of a connection. */
static const struct family {
	uint16_t length; /* of its addresses */
	void (*load)(const unsigned char *, struct proxy_info *);
} families[] = {
	{0, NULL}, /* AF_UNSPEC */
	{12, load_v4},
	{36, load_v6},
	{216, NULL}, /* AF_UNIX */
};

enum { COMMAND_LOCAL = 0, COMMAND_PROXY = 1, TRANSPORT_STREAM = 1, TRANSPORT_LAST = 2 };

/* All of the header is there. Additional fields behind the addresses are passed over. */
static enum proxy_protocol parse_v2_block(const unsigned char *p, size_t block, struct proxy_info *out,
					  const char **why)
{
	unsigned command = p[12] & 15, family = p[13] >> 4, transport = p[13] & 15;
	*out = (struct proxy_info){.named = false};

	if (command == COMMAND_LOCAL) /* its family and addresses are to be ignored */
		return PP_DONE;
	if (family >= sizeof(families) / sizeof(*families) || transport > TRANSPORT_LAST)
		return bad(why, "version 2: unknown address family or transport");
	if (block < families[family].length)
		return bad(why, "version 2: too short for the addresses of its family");
	if (!families[family].load || transport != TRANSPORT_STREAM)
		return PP_DONE;
	families[family].load(p + V2_HEAD, out);
	out->named = true;
	return PP_DONE;
}

static enum proxy_protocol parse_v2(const char *buf, size_t len, struct proxy_info *out, size_t *consumed,
				    const char **why)
{
	const unsigned char *p = (const unsigned char *)buf;
	size_t known = len < sizeof(v2_signature) ? len : sizeof(v2_signature);

	if (memcmp(buf, v2_signature, known) != 0)
		return bad(why, "a PROXY protocol header was expected");
	if (len > 12 && (p[12] >> 4 != 2 || (p[12] & 15) > COMMAND_PROXY))
		return bad(why, "version 2: unknown version or command");
	if (len < V2_HEAD)
		return PP_MORE;
	size_t block = load16(p + 14);
	if (V2_HEAD + block > PROXY_PROTOCOL_MAX)
		return bad(why, "version 2: the header is longer than 4096 bytes");
	if (len < V2_HEAD + block)
		return PP_MORE;
	enum proxy_protocol result = parse_v2_block(p, block, out, why);
	if (result == PP_DONE)
		*consumed = V2_HEAD + block;
	return result;
}

enum proxy_protocol proxy_protocol_parse(const char *buf, size_t len, struct proxy_info *out,
					 size_t *consumed, const char **why)
{
	if (len == 0)
		return PP_MORE;
	return buf[0] == '\r' ? parse_v2(buf, len, out, consumed, why)
			      : parse_v1(buf, len, out, consumed, why);
}
