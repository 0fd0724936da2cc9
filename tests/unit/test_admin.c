/* SPDX-License-Identifier: MIT */
/* The admin side's pure parts: words, the tables of commands, what travels between weirs, layout, Prometheus
 * text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/board.h"
#include "base/metric.h"
#include "control/command_line.h"
#include "control/commands.h"
#include "control/fleet_sync.h"
#include "control/lift_words.h"
#include "control/prometheus.h"
#include "control/rates.h"
#include "control/units.h"

/* --- words --- */

static void words_split_as_a_shell_does(void **state)
{
	static const struct {
		const char *line;
		unsigned n;
		const char *word[4];
	} rows[] = {
		{"", 0, {0}},
		{"   \t ", 0, {0}},
		{"status", 1, {"status"}},
		{"  a\tb  c ", 3, {"a", "b", "c"}},
		{"'a b' c", 2, {"a b", "c"}},
		{"\"a b\" ''", 2, {"a b", ""}},
		{"a'b c'd", 1, {"ab cd"}},
		{"\"a\\\"b\\\\c\\d\"", 1, {"a\"b\\c\\d"}},
		{"'a\\b'", 1, {"a\\b"}},
		{"a\\ b \\'", 2, {"a b", "'"}},
		{"'it'\\''s'", 1, {"it's"}},
		{"#x $HOME *", 3, {"#x", "$HOME", "*"}},
		{"\xc3\xa9 \xff", 2, {"\xc3\xa9", "\xff"}},
		{"--reason=\"a b\"", 1, {"--reason=a b"}},
	};
	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char line[128];
		struct words w;
		snprintf(line, sizeof(line), "%s", rows[i].line);
		assert_null(words_split(line, &w));
		if (w.n != rows[i].n)
			fail_msg("%s: %u words", rows[i].line, w.n);
		for (unsigned k = 0; k < w.n; k++)
			assert_string_equal(w.word[k], rows[i].word[k]);
	}
}

static void wrong_lines_are_refused(void **state)
{
	static const char *const wrong[] = {"'a",	"\"a",	"a \"b\\\"", "a\\", "a\nb",
					    "a\x1b[1m", "\x7f", "a 'b\rc'",  "\\"};
	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		char line[64];
		struct words w;
		snprintf(line, sizeof(line), "%s", wrong[i]);
		if (!words_split(line, &w))
			fail_msg("taken: %s", wrong[i]);
	}
	char many[2 * WORDS_MAX + 8];
	struct words w;
	for (unsigned i = 0; i <= WORDS_MAX; i++)
		memcpy(many + 2 * i, "x ", 3);
	many[2 * WORDS_MAX - 1] = 0;
	assert_null(words_split(many, &w));
	assert_int_equal(w.n, WORDS_MAX);
	for (unsigned i = 0; i <= WORDS_MAX; i++)
		memcpy(many + 2 * i, "x ", 3);
	assert_non_null(words_split(many, &w));
}

static void quoted_words_come_back(void **state)
{
	(void)state;
	srand(11);
	for (int round = 0; round < 20000; round++) {
		char word[24], line[128];
		struct words w;
		int n = rand() % 20;
		for (int i = 0; i < n; i++) {
			word[i] = (char)(rand() % 3 ? "'\"\\ $a-="[rand() % 8] : 0x20 + rand() % 0xe0);
			if (word[i] == 0x7f)
				word[i] = 'x';
		}
		word[n] = 0;
		size_t len = words_quote(line, sizeof(line), word);
		assert_true(len > 0);
		assert_int_equal(len, strlen(line));
		assert_null(words_split(line, &w));
		assert_int_equal(w.n, 1);
		assert_string_equal(w.word[0], word);
	}
}

static void quoting_never_writes_beyond_its_room(void **state)
{
	static const char *const word[] = {"plain", "a b", "'''''", "", "a\nb"};
	(void)state;
	for (unsigned i = 0; i < 5; i++)
		for (size_t cap = 0; cap < 40; cap++) {
			char out[48];
			memset(out, '#', sizeof(out));
			size_t n = words_quote(out, cap, word[i]);
			assert_true(n == 0 || n < cap);
			for (size_t k = cap; k < sizeof(out); k++)
				assert_int_equal(out[k], '#');
		}
	assert_int_equal(words_quote((char[16]){0}, 16, "a\nb"), 0);
}

/* --- the tables --- */

static void every_command_is_whole(void **state)
{
	(void)state;
	for (unsigned i = 0; i < COMMAND_IDS; i++) {
		const struct command_row *r = &command_rows[i];
		assert_int_equal(r->id, i);
		assert_true(strlen(r->words) > 0);
		assert_true(strlen(r->help) > 0);
		assert_non_null(commands_handler(r->id));
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(command_rows[k].words, r->words);
		bool repeats = false;
		for (const struct command_arg *a = r->args; a->name; a++) {
			assert_true(a->help && *a->help);
			assert_true(command_arg_is_option(a) || !a->value);
			assert_false(!command_arg_is_option(a) &&
				     repeats); /* nothing can stand behind one that repeats */
			repeats |= !command_arg_is_option(a) && a->flags & ARG_REPEATS;
			for (const struct command_arg *b = command_common_args; b->name; b++)
				assert_string_not_equal(a->name, b->name);
		}
	}
}

static void help_tells_every_argument(void **state)
{
	(void)state;
	struct text list = {0};
	command_write_list(&list);
	for (unsigned i = 0; i < COMMAND_IDS; i++) {
		const struct command_row *r = &command_rows[i];
		struct text t = {0};
		char line[64];
		command_write_help(&t, r);
		assert_non_null(strstr(t.p, r->words));
		for (const struct command_arg *a = r->args; a->name; a++) {
			assert_non_null(strstr(t.p, a->name));
			assert_non_null(strstr(t.p, a->help));
		}
		snprintf(line, sizeof(line), "  %s  ", r->words);
		assert_int_equal(strstr(list.p, line) != NULL, command_is_listed(r));
		text_free(&t);
	}
	text_free(&list);
}

/* A row's own words and all that it requires parse to that row. */
static void every_command_parses(void **state)
{
	(void)state;
	for (unsigned i = 0; i < COMMAND_IDS; i++) {
		const struct command_row *r = &command_rows[i];
		char line[512];
		struct words w;
		struct command_line c;
		struct text error = {0};
		int n = snprintf(line, sizeof(line), "%s", r->words);
		for (const struct command_arg *a = r->args; a->name; a++)
			if (a->flags & (ARG_REQUIRED | ARG_OWED))
				n += snprintf(line + n, sizeof(line) - (size_t)n, " %s%s",
					      command_arg_is_option(a) ? a->name : "x", a->value ? " v" : "");
		assert_null(words_split(line, &w));
		enum command_verdict v = command_parse(&w, &c, &error);
		assert_int_equal(v, COMMAND_FINE);
		assert_ptr_equal(c.row, r);
		assert_int_equal(error.n > 0, v != COMMAND_FINE);
		text_free(&error);
	}
}

/* --- command lines --- */

static enum command_verdict parse(const char *text, struct command_line *c, struct text *error)
{
	static char line[1024];
	static struct words w;
	snprintf(line, sizeof(line), "%s", text);
	assert_null(words_split(line, &w));
	text_free(error);
	return command_parse(&w, c, error);
}

static void arguments_are_told_apart(void **state)
{
	struct command_line c;
	struct text e = {0};
	unsigned at = 0;
	(void)state;
	assert_int_equal(
		parse("--json --by Ann limits lift --for=5m --reason 'k6 run' --client 10.0.0.0/8 --shadow "
		      "--client ::1 --site a.example",
		      &c, &e),
		COMMAND_FINE);
	assert_true(c.json);
	assert_string_equal(c.by, "Ann");
	assert_string_equal(command_value(&c, "--for"), "5m");
	assert_string_equal(command_value(&c, "--reason"), "k6 run");
	assert_string_equal(command_next(&c, "--client", &at), "10.0.0.0/8");
	assert_string_equal(command_next(&c, "--client", &at), "::1");
	assert_null(command_next(&c, "--client", &at));
	assert_non_null(command_value(&c, "--shadow"));
	assert_null(command_value(&c, "--everyone"));

	assert_int_equal(parse("limits status --json --by Bob", &c, &e), COMMAND_FINE);
	assert_true(c.json);
	assert_string_equal(c.by, "Bob");
	assert_int_equal(parse("explain --from 10.0.0.1 --header 'X-A: --json' GET http://x/", &c, &e),
			 COMMAND_FINE);
	assert_false(c.json);
	assert_string_equal(command_value(&c, "URL"), "http://x/");
	assert_int_equal(parse("limits restore -- --odd", &c, &e), COMMAND_FINE);
	assert_string_equal(command_value(&c, "ID|TOKEN"), "--odd");
	assert_int_equal(parse("limits lift --help", &c, &e), COMMAND_FINE);
	assert_true(c.help);
	text_free(&e);
}

static void wrong_commands_say_what_was_meant(void **state)
{
	static const struct {
		const char *line, *said;
		enum command_verdict verdict;
	} rows[] = {
		{"statsu", "`status`", COMMAND_USAGE},
		{"STATUS", "`status`", COMMAND_USAGE},
		{"limits lfit --for 5m", "`limits lift`", COMMAND_USAGE},
		{"limit status", "`limits status`", COMMAND_USAGE},
		{"clients shwo 10.0.0.1", "`clients show`", COMMAND_USAGE},
		{"reloda", "`reload`", COMMAND_USAGE},
		{"config", "config show", COMMAND_USAGE},
		{"limits", "limits restore", COMMAND_USAGE},
		{"xyzzy", "`help`", COMMAND_USAGE},
		{"", "no command", COMMAND_USAGE},
		{"--json", "no command", COMMAND_USAGE},
		{"--by", "unknown command", COMMAND_USAGE},
		{"status extra", "not expected: extra", COMMAND_USAGE},
		{"status --jsno", "--json", COMMAND_USAGE},
		{"limits lift --fro 5m", "--for", COMMAND_USAGE},
		{"limits lift --for", "a value is missing after --for", COMMAND_USAGE},
		{"limits lift --for 5m --for 6m", "more than one --for", COMMAND_USAGE},
		{"limits lift --everyone=yes", "no value is taken by --everyone", COMMAND_USAGE},
		{"limits lift --reason x --everyone", "--for", COMMAND_REFUSED},
		{"limits lift --for 5m --everyone", "--reason", COMMAND_REFUSED},
		{"clients show", "IP", COMMAND_USAGE},
		{"explain GET http://x/", "--from", COMMAND_USAGE},
		{"limits token --for 2h", "--reason", COMMAND_REFUSED},
		{"clients block 10.0.0.0/8 --reason x", "--for", COMMAND_REFUSED},
		{"clients block --for 1h --reason x", "CIDR", COMMAND_USAGE},
		{"clients blokc 10.0.0.1", "`clients block`", COMMAND_USAGE},
	};
	struct command_line c;
	struct text e = {0};
	(void)state;
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (parse(rows[i].line, &c, &e) != rows[i].verdict)
			fail_msg("%s: %s", rows[i].line, e.n ? e.p : "taken");
		if (!e.n || !strstr(e.p, rows[i].said))
			fail_msg("%s: %s", rows[i].line, e.n ? e.p : "says nothing");
	}
	text_free(&e);
}

/* --- what travels between weirs --- */

static struct lift sample_lift(void)
{
	struct lift l = {.id = "7f3a9c01", .uid = 1000, .effect = LIFT_SHADOW, .until = 0};
	struct cidr c;
	const char *why;
	snprintf(l.reason, sizeof(l.reason), "it's a \"test\" \\ k=v client=0.0.0.0/0");
	snprintf(l.by, sizeof(l.by), "A. Operator");
	for (unsigned i = 0; i < LIFT_CLIENTS; i++) {
		assert_true(cidr_parse(i % 2 ? STR("203.0.113.0/24") : STR("2001:db8::/32"), &c, &why));
		memcpy(l.client[l.clients].addr, c.addr.b, 16);
		l.client[l.clients++].bits = c.bits;
	}
	for (unsigned i = 0; i < LIFT_SITES; i++)
		memset(l.site[l.sites++], 'a', LIFT_SITE - 1);
	return l;
}

static void a_lift_survives_its_words(void **state)
{
	struct lift l = sample_lift(), back;
	struct text t = {0};
	(void)state;
	lift_words_write(&l, &t);
	assert_true(lift_words_read((struct str){t.p, t.n}, &back));
	memcpy(back.id, l.id, sizeof(l.id));
	assert_memory_equal(&l, &back, sizeof(l));
	text_free(&t);
}

static void odd_lifts_are_not_believed(void **state)
{
	static const char *const wrong[] = {
		"",
		"1",
		"2 effect=full reason=x",
		"1 effect=full",
		"1 effect=full reason=",
		"1 reason=x effect=2",
		"1 effect=full reason=x uid=-1",
		"1 effect=full reason=x uid=4294967296",
		"1 effect=full reason=x client=10.0.0.0/40",
		"1 effect=full reason=x client=",
		"1 effect=full reason=x site=",
		"1 effect=full reason=x color=red", /* it might narrow the scope */
		"1 effect=full reason='x",
		"1 effect=full reason=x\neffect=full",
		"1 effect=full reason=\"\x1b[2J\"",
	};
	struct lift l;
	struct text t = {0};
	(void)state;
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (lift_words_read(str_of(wrong[i]), &l))
			fail_msg("believed: %s", wrong[i]);
	assert_false(lift_words_read((struct str){"1 effect=full reason=x\0 site=a", 30}, &l));
	text_add(&t, "1 effect=full reason=x");
	for (unsigned i = 0; i <= LIFT_CLIENTS; i++)
		text_add(&t, " client=10.0.0.0/8");
	assert_false(lift_words_read((struct str){t.p, t.n}, &l));
	t.n = 0;
	text_add(&t, "1 effect=full reason=%0*d", LIFT_REASON, 0);
	assert_false(lift_words_read((struct str){t.p, t.n}, &l));
	assert_false(lift_words_read(STR("1 reason=x"), &l));
	assert_true(lift_words_read(STR("1 effect=full reason=x"), &l));
	assert_false(lift_words_read(STR("1 effect=none reason=x"), &l));
	assert_false(lift_words_read(STR("1 effect=block reason=x"), &l)); /* of everyone */
	assert_false(lift_words_read(STR("1 effect=block reason=x client=10.0.0.0/8 site=a"), &l));
	assert_true(lift_words_read(STR("1 effect=block reason=x client=10.0.0.0/8"), &l));
	text_free(&t);
	assert_true(lift_id_valid(STR("0123abcf")));
	assert_false(lift_id_valid(STR("0123abcF")) || lift_id_valid(STR("0123abc")) ||
		     lift_id_valid(STR("0123abc*")));
}

static void the_question_fits_when_all_is_full(void **state)
{
	static struct lift lift[LIFTS_MAX];
	static struct lift_ended end[LIFTS_ENDED_MAX];
	static struct sync_forgiven forgive[SYNC_FORGIVEN];
	static struct fleet_member self = {
		.id = "00000001", .host = "a host's name", .lifts = LIFTS_MAX, .ends = FLEET_ENDS};
	static struct sync_args args;
	(void)state;
	for (unsigned i = 0; i < LIFTS_MAX; i++)
		lift[i] = sample_lift();
	const struct sync_question q = {
		.base = STR("weir:{fleet}:"),
		.self = &self,
		.id = "00000001",
		.list = true,
		.news = STR("lift"),
		.since = "1764193790123456",
		.now = 1000,
		.lifts = LIFTS_MAX,
		.ended = LIFTS_ENDED_MAX,
		.forgiven = SYNC_FORGIVEN,
		.lift = lift,
		.end = end,
		.forgive = forgive,
	};
	assert_true(sync_write(&q, &args));
	assert_in_range(args.n, 13 + 3 * LIFTS_MAX + 3 * LIFTS_ENDED_MAX + 3 * SYNC_FORGIVEN, SYNC_ARGS);
	assert_true(str_eq(args.argv[0], STR("EVAL")));
	assert_true(str_eq(args.argv[2], STR("1")));
	assert_true(str_eq(args.argv[3], q.base));
	assert_true(str_eq(args.argv[7], STR("1")));
	text_free(&args.bytes);
}

static unsigned told[4];

static void on_lift(void *ctx, const struct lift *l, usec_t left)
{
	(void)ctx;
	told[0]++;
	assert_string_equal(l->id, "7f3a9c01");
	assert_int_equal(left, 1500 * USEC_PER_MSEC);
	assert_int_equal(told[1], 1); /* tombstones first */
}

static void on_ended(void *ctx, const char *id, usec_t left, bool token)
{
	(void)ctx, (void)left;
	assert_false(token);
	told[1]++;
	assert_string_equal(id, "00000002");
}

static void on_forgiven(void *ctx, const struct sync_forgiven *f, usec_t left)
{
	(void)ctx, (void)left;
	told[2]++;
	assert_int_equal(f->client.b[15], 9);
}

static void on_member(void *ctx, const struct fleet_member *m)
{
	(void)ctx;
	told[3]++;
	assert_string_equal(m->host, "a host");
	assert_int_equal(m->workers, 4);
	assert_int_equal(m->lifts, 2);
	assert_string_equal(m->lift[1], "00000005");
}

#define S(t)                                                                                                 \
	{                                                                                                    \
		.kind = REDIS_STRING, .text = { t, sizeof(t) - 1 }                                           \
	}
#define N(v)                                                                                                 \
	{                                                                                                    \
		.kind = REDIS_INTEGER, .integer = v                                                          \
	}
#define A(e)                                                                                                 \
	{                                                                                                    \
		.kind = REDIS_ARRAY, .count = sizeof(e) / sizeof(e[0]), .element = e                         \
	}

static void answers_are_read_and_odd_rows_passed_over(void **state)
{
	struct redis_reply gone[] = {S("00000002"), N(100),	   S("1"), S("../../x"), N(100),
				     S("1"),	    S("00000003"), N(-1),  S("1")};
	struct redis_reply lifts[] = {S("7f3a9c01"), N(1500),	   S("1 effect=full reason=x"),
				      S("00000004"), N(1500),	   S("9 reason=x"),
				      S("00000004"), N(INT64_MAX), S("1 effect=full reason=x"),
				      S("00000004")};
	struct redis_reply forgiven[] = {S("00000006"), N(1), S("203.0.113.9"),
					 S("00000006"), N(1), S("not an ip")};
	struct redis_reply members[] = {
		S("00000007"), S("1 host='a host' workers=4 uptime=x later=1 lifts=7f3a9c01,zz,00000005"),
		S("00000008"), S("1 'host")};
	struct redis_reply parts[] = {N(3), A(gone), A(lifts), A(forgiven), A(members), S("1764193790123456"),
				      N(1)};
	struct redis_reply all = A(parts);
	const struct sync_reader reader = {NULL, on_lift, on_ended, on_forgiven, on_member};
	struct sync_answer a;
	(void)state;
	memset(told, 0, sizeof(told));
	assert_true(sync_read(&all, &reader, &a));
	assert_int_equal(a.live, 3);
	assert_int_equal(a.unreadable, 6);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(told[i], 1);
	memset(told, 0, sizeof(told));
	assert_string_equal(a.head, "1764193790123456");
	assert_true(a.lost);
	all.count = 6;
	assert_false(sync_read(&all, &reader, &a));
	all.count = 7;
	parts[5] = (struct redis_reply)S("12x");
	assert_false(sync_read(&all, &reader, &a));
	parts[5] = (struct redis_reply)S("");
	assert_true(sync_read(&all, &reader, &a));
	parts[2].kind = REDIS_NIL;
	assert_false(sync_read(&all, &reader, &a));
	assert_false(sync_read(&parts[0], &reader, &a));
}

/* --- layout and numbers --- */

static void columns_stand_under_each_other(void **state)
{
	struct text t = {0};
	(void)state;
	text_add(&t, "above\n");
	size_t mark = t.n;
	text_add(&t, "NAME\tN\tLAST\nlong name\t5\tx\nb\t1234\ty\n");
	text_align(&t, mark);
	assert_string_equal(t.p, "above\nNAME          N  LAST\nlong name     5  x\nb          1234  y\n");
	text_free(&t);
	text_html(&t, "<a href=\"x\">&'</a>");
	assert_string_equal(t.p, "&lt;a href=&quot;x&quot;&gt;&amp;&#39;&lt;/a&gt;");
	text_free(&t);
	text_add(&t, "a\x1b[1mb\nc\x7f\td");
	text_tame(&t);
	assert_string_equal(t.p, "a [1mb\nc  d");
	text_free(&t);
}

static void texts_end_at_their_cap(void **state)
{
	static char big[1 << 20];
	struct text t = {0};
	(void)state;
	for (int i = 0; i < 20; i++)
		text_bytes(&t, big, sizeof(big));
	assert_true(t.cut);
	assert_true(t.n <= TEXT_MOST);
	text_free(&t);
}

static void times_read_well(void **state)
{
	char out[UNITS_TEXT];
	(void)state;
	assert_string_equal(units_duration(out, 0), "0 s");
	assert_string_equal(units_duration(out, 1234), "1.2 ms");
	assert_string_equal(units_duration(out, 12 * USEC_PER_SEC), "12 s");
	assert_string_equal(units_duration(out, 60 * USEC_PER_SEC), "1 min");
	assert_string_equal(units_duration(out, 843 * USEC_PER_SEC), "14 min 3 s");
	assert_string_equal(units_duration(out, 3900 * USEC_PER_SEC), "1 h 5 min");
	assert_string_equal(units_duration(out, 86400 * 3 * USEC_PER_SEC), "3 d 0 h");
	assert_string_equal(units_time(out, 1700000000 * USEC_PER_SEC), "2023-11-14 22:13:20 UTC");
	assert_string_equal(units_iso(out, 1700000000 * USEC_PER_SEC), "2023-11-14T22:13:20Z");
}

static void rates_are_of_the_last_seconds(void **state)
{
	struct rates r = {0};
	(void)state;
	assert_true(rates_a_second(&r) == 0);
	rates_sample(&r, 0, 1000);
	assert_true(rates_a_second(&r) == 0);
	rates_sample(&r, USEC_PER_SEC, 1100);
	assert_true(rates_a_second(&r) == 100);
	for (int i = 2; i <= 40; i++)
		rates_sample(&r, i * USEC_PER_SEC, 1100 + (i > 30 ? (unsigned)(i - 30) * 7 : 0));
	assert_true(rates_a_second(&r) == 7);
	rates_sample(&r, 41 * USEC_PER_SEC, 5); /* another count began */
	assert_true(rates_a_second(&r) == 0);
}

/* --- Prometheus text --- */

static void histograms_become_cumulative(void **state)
{
	struct histogram plain, labelled;
	struct text t = {0};
	struct control *none = calloc(1, sizeof(struct control));
	(void)state;
	assert_non_null(none);
	none->lifts = calloc(1, lifts_bytes());
	histogram_open(&plain, METRIC_ADDED_SECONDS, "");
	histogram_open(&labelled, METRIC_UP_SECONDS, "upstream=\"a,b\"");
	histogram_observe(&plain, 50);
	histogram_observe(&plain, 200);
	histogram_observe(&plain, 99 * USEC_PER_SEC);
	histogram_observe(&labelled, 1000);
	prometheus_rows[0].write(none, "weir_lift_active", &t);
	assert_string_equal(t.p, "weir_lift_active{mode=\"full\"} 0\nweir_lift_active{mode=\"shadow\"} 0\n");
	t.n = 0;
	prometheus_write_counted(&t);
	assert_non_null(strstr(t.p, "weir_added_latency_seconds_bucket{le=\"0.0001\"} 1\n"));
	assert_non_null(strstr(t.p, "weir_added_latency_seconds_bucket{le=\"0.00025\"} 2\n"));
	assert_non_null(strstr(t.p, "weir_added_latency_seconds_bucket{le=\"10\"} 2\n"));
	assert_non_null(strstr(t.p, "weir_added_latency_seconds_bucket{le=\"+Inf\"} 3\n"));
	assert_non_null(strstr(t.p, "weir_added_latency_seconds_count 3\n"));
	assert_non_null(strstr(t.p, "weir_added_latency_seconds_sum 99.000250\n"));
	assert_non_null(
		strstr(t.p, "weir_upstream_latency_seconds_bucket{upstream=\"a,b\",le=\"0.001\"} 1\n"));
	assert_non_null(strstr(t.p, "weir_upstream_latency_seconds_sum{upstream=\"a,b\"} 0.001000\n"));
	text_free(&t);
	free(none->lifts);
	free(none);
}

static void every_counter_is_exported(void **state)
{
	struct text t = {0};
	char want[200];
	(void)state;
	metric_add(metric_series(METRIC_REQUESTS, "site=\"x\",verdict=\"ok\""), 3);
	prometheus_write_counted(&t);
	for (unsigned m = 0; m < METRIC_MAX; m++) {
		snprintf(want, sizeof(want), "# HELP %s %s\n# TYPE %s ", metric_rows[m].name,
			 metric_rows[m].help, metric_rows[m].name);
		const char *at = strstr(t.p, want);
		assert_non_null(at);
		assert_null(strstr(at + 1, want));
	}
	assert_non_null(strstr(t.p, "weir_requests_total{site=\"x\",verdict=\"ok\"} 3\n"));
	for (unsigned i = 0; i < prometheus_rows_n; i++) {
		bool counter = strcmp(prometheus_rows[i].type, "counter") == 0;
		size_t n = strlen(prometheus_rows[i].name);
		assert_int_equal(strcmp(prometheus_rows[i].name + n - 6, "_total") == 0, counter);
		assert_true(strlen(prometheus_rows[i].help) > 0);
	}
	text_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_split_as_a_shell_does),
		cmocka_unit_test(wrong_lines_are_refused),
		cmocka_unit_test(quoted_words_come_back),
		cmocka_unit_test(quoting_never_writes_beyond_its_room),
		cmocka_unit_test(every_command_is_whole),
		cmocka_unit_test(help_tells_every_argument),
		cmocka_unit_test(every_command_parses),
		cmocka_unit_test(arguments_are_told_apart),
		cmocka_unit_test(wrong_commands_say_what_was_meant),
		cmocka_unit_test(a_lift_survives_its_words),
		cmocka_unit_test(odd_lifts_are_not_believed),
		cmocka_unit_test(the_question_fits_when_all_is_full),
		cmocka_unit_test(answers_are_read_and_odd_rows_passed_over),
		cmocka_unit_test(columns_stand_under_each_other),
		cmocka_unit_test(texts_end_at_their_cap),
		cmocka_unit_test(times_read_well),
		cmocka_unit_test(rates_are_of_the_last_seconds),
		cmocka_unit_test(histograms_become_cumulative),
		cmocka_unit_test(every_counter_is_exported),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
