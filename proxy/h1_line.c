/* SPDX-License-Identifier: MIT */
#include "proxy/h1_line.h"

#define ALNUM (H1_TCHAR | H1_PLAIN | H1_LABEL)

const uint8_t h1_class[256] = {
	[0x00 ... 0x08] = H1_STOP_VALUE | H1_STOP_START,
	['\t'] = H1_STOP_START,
	[0x0a ... 0x1f] = H1_STOP_VALUE | H1_STOP_START,
	[' '] = H1_STOP_TARGET | H1_STOP_QUERY,
	['!'] = H1_TCHAR,
	['#'] = H1_TCHAR | H1_STOP_TARGET | H1_STOP_QUERY,
	['$' ... '\''] = H1_TCHAR,
	['*' ... '+'] = H1_TCHAR,
	['-'] = ALNUM,
	['.'] = H1_TCHAR,
	['0' ... '9'] = ALNUM,
	[':'] = H1_COLON,
	['?'] = H1_STOP_TARGET,
	['A' ... 'Z'] = ALNUM,
	['^'] = H1_TCHAR,
	['_'] = H1_TCHAR | H1_LABEL,
	['`'] = H1_TCHAR,
	['a' ... 'z'] = ALNUM,
	['|'] = H1_TCHAR,
	['~'] = H1_TCHAR,
	[0x7f] = H1_STOP_VALUE | H1_STOP_START,
	[0x80 ... 0xff] = H1_STOP_START,
};

const char *h1_why_byte(char c)
{
	switch (c) {
	case '\n':
		return "a line that ends in LF without CR";
	case '\0':
		return "a NUL byte";
	default:
		return (unsigned char)c < 0x80 ? "a control byte" : "a byte above 0x7f in the start line";
	}
}

enum h1_name_kind h1_name_kind(const char *name, size_t n)
{
	unsigned all = H1_TCHAR | H1_PLAIN;

	if (n == 0 || n > UINT16_MAX)
		return H1_NAME_BAD;
	for (size_t i = 0; i < n; i++)
		all &= h1_class[(unsigned char)name[i]];
	if (all & H1_PLAIN)
		return H1_NAME_PLAIN;
	return all & H1_TCHAR ? H1_NAME_ODD : H1_NAME_BAD;
}

bool h1_is_token(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!h1_is(s.p[i], H1_TCHAR))
			return false;
	return s.n > 0;
}

static const char *why_name(const char *name, size_t n)
{
	if (n == 0)
		return "a field without a name";
	if (is_ows(name[0]))
		return "a folded field line"; /* RFC 9112, 5.2; and white space before the first field, 2.2 */
	if (is_ows(name[n - 1]))
		return "a space before the colon of a field"; /* RFC 9112, 5.1 */
	return n > UINT16_MAX ? "a field name that is too long" : "a byte that no field name may have";
}

const char *h1_split_field(struct h1_field *f, const char *buf, size_t at, size_t end, bool *odd)
{
	size_t colon = h1_scan_colon(buf, at, end);
	enum h1_name_kind kind = H1_NAME_PLAIN;

	if (colon == end)
		return is_ows(buf[at]) ? "a folded field line" : "a field line without a colon";
	enum field_id id = field_lookup(buf + at, colon - at);
	if (id == FIELD_OTHER)
		kind = h1_name_kind(buf + at, colon - at);
	if (kind == H1_NAME_BAD)
		return why_name(buf + at, colon - at);
	*odd = kind == H1_NAME_ODD;
	h1_set_field(f, id, buf, at, colon, end);
	return NULL;
}
