/* SPDX-License-Identifier: MIT */
/*
 * Any sequence of calls to the JSON writer, and any bytes into its strings, whole and cut off: what comes out
 * is read back by a strict reader, and never leaves its buffer. Too little room is told, and enough is used.
 *
 * Input: two bytes of room, then letters: { [ open, ) closes, s and k take the text up to the next line end
 * as a string and a key, u i d b n are numbers, a truth value and null.
 */
#include "base/json.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/json_read.h"

enum { OUT_MOST = 1 << 16 };

static void check_string(struct str in, size_t cap, size_t max)
{
	struct json j;
	char *buf = malloc(cap + 1);

	promise(buf != NULL);
	json_init(&j, buf, cap);
	json_str_max(&j, in, max);
	size_t n = json_finish(&j);
	promise(n <= cap && (n == 0 || n <= max + 2));
	promise(n == 0 || json_is_sound((struct str){buf, n}));
	promise(n > 0 || cap < in.n * 6 + 2);
	free(buf);
}

struct writer {
	struct json json;
	char open[JSON_DEPTH_MAX]; /* { or [ */
	unsigned depth;
	bool done; /* one value is all at the outermost level */
};

static bool wants_key(const struct writer *w)
{
	return w->depth && w->open[w->depth - 1] == '{';
}

static void open_level(struct writer *w, char kind)
{
	if (kind == '{')
		json_obj_open(&w->json);
	else
		json_arr_open(&w->json);
	w->open[w->depth++] = kind;
}

static void close_level(struct writer *w)
{
	if (!w->depth)
		return;
	if (w->open[--w->depth] == '{')
		json_obj_close(&w->json);
	else
		json_arr_close(&w->json);
	w->done |= w->depth == 0;
}

static uint64_t number(struct str s)
{
	uint64_t v = 0;

	for (size_t i = 0; i < s.n; i++)
		v = v * 257 + (unsigned char)s.p[i];
	return v;
}

static void put_value(struct writer *w, unsigned letter, struct str text)
{
	uint64_t v = number(text);
	double d;

	memcpy(&d, &v, sizeof(d));
	switch (letter) {
	case 's':
		json_str(&w->json, text);
		break;
	case 'u':
		json_u64(&w->json, v);
		break;
	case 'i':
		json_i64(&w->json, (int64_t)v);
		break;
	case 'd':
		json_double(&w->json, d, text.n % 10);
		break;
	case 'b':
		json_bool(&w->json, v & 1);
		break;
	default:
		json_null(&w->json);
	}
	w->done |= w->depth == 0;
}

static void put(struct writer *w, struct feed *f)
{
	unsigned letter = feed_byte(f);

	if (letter == ')') {
		close_level(w);
		return;
	}
	if (w->done)
		return;
	struct str text = strchr("suid", (int)letter) && letter ? feed_until(f, '\n') : STR_NONE;
	if (wants_key(w))
		json_key_str(&w->json, feed_until(f, '\n'));
	if ((letter == '{' || letter == '[') && w->depth < JSON_DEPTH_MAX)
		open_level(w, (char)letter);
	else
		put_value(w, letter, text);
}

static void write_all(struct feed f, char *buf, size_t cap, struct json *out)
{
	struct writer w = {.depth = 0};

	json_init(&w.json, buf, cap);
	while (f.n)
		put(&w, &f);
	while (w.depth)
		close_level(&w);
	if (!w.done)
		json_null(&w.json);
	*out = w.json;
}

static void check_calls(struct feed f, size_t cap)
{
	static char full[OUT_MOST];
	struct json j;

	write_all(f, full, sizeof(full), &j);
	size_t n = json_finish(&j);
	promise(n > 0 && json_is_sound((struct str){full, n}));
	char *part = malloc(cap + 1);
	promise(part != NULL);
	write_all(f, part, cap, &j);
	promise(json_finish(&j) == (cap >= n ? n : 0));
	promise(cap < n || memcmp(part, full, n) == 0);
	free(part);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2 || size > 2048)
		return 0;
	char *exact = exact_copy(data + 2, size - 2);
	struct str in = {exact, size - 2};
	check_string(in, in.n * 6 + 2, in.n * 6);
	check_string(in, data[0], (size_t)-3);
	check_string(in, data[0], data[1]);
	check_calls((struct feed){in.p, in.n}, data[0] + data[1] * 4u);
	free(exact);
	return 0;
}
