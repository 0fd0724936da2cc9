/* SPDX-License-Identifier: MIT */
#include "control/fleet_sync.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/scalar.h"
#include "control/lift_words.h"
#include "control/words.h"

#define TOKEN "token"	/* a tombstone's value, else "lift" */
#define LOG_MOST "1024" /* changes; who is further behind reads all */

/*
 * Tombstones go in first, so that no lift is put back beside its own. A key without a time to live is none of
 * ours and is not believed. Publishing may be denied by an ACL; then the others see it within their next
 * second. Of each set 4096 are told at most, and as many more ends of tokens: more than a weir remembers,
 * and an answer that can be read.
 *
 * What was put in is noted in a log under a moment of its own, never twice the same. A weir that names the
 * moment up to which it has read gets what came after it; where the log has no such moment (the store is
 * another one, lost data, or the log is over) all is read, and the weir is told so. A set and the log last as
 * long as the longest key that they lead to.
 */
static const char script[] =
	"if redis.replicate_commands then redis.replicate_commands() end\n"
	"local base, i = KEYS[1], 0\n"
	"local function take() i = i + 1 return ARGV[i] end\n"
	"local me, beat, beat_ms, list, news, since = take(), take(), take(), take(), take(), take()\n"
	"local t, log, weirs = redis.call('TIME'), base .. 'log', base .. 'weirs'\n"
	"local now = t[1] * 1000 + math.floor(t[2] / 1000)\n"
	"local function text(n) return string.format('%.0f', n) end\n"
	"local function last_at_least(key, ttl)\n"
	"  if redis.call('PTTL', key) < tonumber(ttl) then redis.call('PEXPIRE', key, ttl) end\n"
	"end\n"
	"local newest = redis.call('ZREVRANGE', log, 0, 0, 'WITHSCORES')\n"
	"local head = tonumber(newest[2] or 0)\n"
	"local function note(what, ttl)\n"
	"  head = math.max(head + 1, t[1] * 1000000 + t[2])\n"
	"  redis.call('ZADD', log, text(head), what)\n"
	"  redis.call('ZREMRANGEBYRANK', log, 0, -1 - " LOG_MOST ")\n"
	"  last_at_least(log, ttl)\n"
	"end\n"
	"local function put(set, prefix, id, ttl, value)\n"
	"  local new = redis.call('SET', base .. prefix .. id, value, 'PX', ttl, 'NX')\n"
	"  redis.call('SADD', base .. set, id)\n"
	"  last_at_least(base .. set, ttl)\n"
	"  if new then note(prefix .. id, ttl) end\n"
	"end\n"
	"for _ = 1, tonumber(take()) do\n"
	"  local id, ttl, what = take(), take(), take()\n"
	"  put('gone', 'gone:', id, ttl, what)\n"
	"  redis.call('DEL', base .. 'lift:' .. id)\n"
	"  redis.call('SREM', base .. 'lifts', id)\n"
	"end\n"
	"for _ = 1, tonumber(take()) do\n"
	"  local id, ttl, value = take(), take(), take()\n"
	"  if redis.call('EXISTS', base .. 'gone:' .. id) == 0 then put('lifts', 'lift:', id, ttl, value) "
	"end\n"
	"end\n"
	"for _ = 1, tonumber(take()) do\n"
	"  local id, ttl, value = take(), take(), take()\n"
	"  put('forgiven', 'forgiven:', id, ttl, value)\n"
	"end\n"
	"if beat == '' then\n"
	"  redis.call('DEL', base .. 'weir:' .. me)\n"
	"  redis.call('ZREM', weirs, me)\n"
	"else\n"
	"  redis.call('SET', base .. 'weir:' .. me, beat, 'PX', beat_ms)\n"
	"  redis.call('ZADD', weirs, text(now), me)\n"
	"  redis.call('PEXPIRE', weirs, beat_ms)\n"
	"end\n"
	"redis.call('ZREMRANGEBYSCORE', weirs, '-inf', text(now - beat_ms))\n"
	"redis.call('ZREMRANGEBYSCORE', weirs, text(now + beat_ms), '+inf')\n"
	"local found = {['gone:'] = {}, ['lift:'] = {}, ['forgiven:'] = {}}\n"
	"local function read(prefix, id)\n"
	"  local rows, key = found[prefix], base .. prefix .. id\n"
	"  local ttl, value = redis.call('PTTL', key), redis.call('GET', key)\n"
	"  if ttl <= 0 or not value then return 0 end\n"
	"  if #rows < 3 * (value == '" TOKEN "' and 8192 or 4096) then\n"
	"    rows[#rows + 1], rows[#rows + 2], rows[#rows + 3] = id, ttl, value\n"
	"  end\n"
	"  return ttl\n"
	"end\n"
	"local function read_all(set, prefix)\n"
	"  local longest = 0\n"
	"  for _, id in ipairs(redis.call('SMEMBERS', base .. set)) do\n"
	"    local ttl = read(prefix, id)\n"
	"    longest = math.max(longest, ttl)\n"
	"    if ttl == 0 then redis.call('SREM', base .. set, id) end\n"
	"  end\n"
	"  if longest > 0 then redis.call('PEXPIRE', base .. set, longest) end\n"
	"  return longest\n"
	"end\n"
	"local after = since == '' and {} or redis.call('ZRANGEBYSCORE', log, since, '+inf', 'WITHSCORES')\n"
	"local lost = since ~= '' and tonumber(after[2]) ~= tonumber(since)\n"
	"if since == '' or lost then\n"
	"  local longest = math.max(read_all('gone', 'gone:'), read_all('lifts', 'lift:'),\n"
	"    read_all('forgiven', 'forgiven:'))\n"
	"  if longest > 0 and head == 0 then note('begin', longest) end\n"
	"else\n"
	"  for n = 3, #after, 2 do\n"
	"    local prefix, id = string.match(after[n], '^(%a+:)(%x+)$')\n"
	"    if found[prefix] then read(prefix, id) end\n"
	"  end\n"
	"end\n"
	"local members = {}\n"
	"if list == '1' then\n"
	"  for _, id in ipairs(redis.call('ZRANGE', weirs, 0, -1)) do\n"
	"    local value = redis.call('GET', base .. 'weir:' .. id)\n"
	"    if value then members[#members + 1], members[#members + 2] = id, value end\n"
	"  end\n"
	"end\n"
	"if news ~= '' then redis.pcall('PUBLISH', base .. 'news', news) end\n"
	"return {redis.call('ZCARD', weirs), found['gone:'], found['lift:'], found['forgiven:'], members,\n"
	"  head > 0 and text(head) or '', lost and 1 or 0}\n";

/* --- the question --- */

static void end_arg(struct sync_args *a)
{
	if (a->n < SYNC_ARGS)
		a->end[a->n++] = a->bytes.n;
	else
		a->bytes.cut = true;
}

static void add_str(struct sync_args *a, struct str s)
{
	text_str(&a->bytes, s);
	end_arg(a);
}

static void add_number(struct sync_args *a, int64_t v)
{
	text_add(&a->bytes, "%lld", (long long)v);
	end_arg(a);
}

/* Time left travels in milliseconds, rounded up: a lift may end a moment late elsewhere, and not early. */
static void add_left(struct sync_args *a, usec_t until, usec_t now)
{
	usec_t ms = (until - now + USEC_PER_MSEC - 1) / USEC_PER_MSEC;
	add_number(a, ms > 0 ? ms : 1);
}

static void add_member(struct sync_args *a, const struct fleet_member *m)
{
	char host[FLEET_HOST * 4 + 8];
	if (!m) {
		end_arg(a);
		return;
	}
	if (!words_quote(host, sizeof(host), m->host))
		snprintf(host, sizeof(host), "unknown");
	text_add(&a->bytes, "1 host=%s version=%s config=%s workers=%u uptime=%lu lifts=", host, m->version,
		 m->config, m->workers, m->uptime_s);
	for (unsigned i = 0; i < m->lifts; i++)
		text_add(&a->bytes, "%s%s", i ? "," : "", m->lift[i]);
	text_add(&a->bytes, " ends=");
	for (unsigned i = 0; i < m->ends; i++)
		text_add(&a->bytes, "%s%s", i ? "," : "", m->end[i]);
	end_arg(a);
}

static void add_client(struct sync_args *a, struct client_id id)
{
	struct addr addr;
	char text[ADDR_TEXT];
	memcpy(addr.b, id.b, sizeof(addr.b));
	size_t n = addr_format(text, &addr);
	add_str(a, (struct str){text, n});
}

static void add_known(struct sync_args *a, const struct sync_question *q)
{
	add_number(a, q->ended);
	for (unsigned i = 0; i < q->ended; i++) {
		add_str(a, str_of(q->end[i].id));
		add_left(a, q->end[i].until, q->now);
		add_str(a, q->end[i].token ? STR(TOKEN) : STR("lift"));
	}
	add_number(a, q->lifts);
	for (unsigned i = 0; i < q->lifts; i++) {
		add_str(a, str_of(q->lift[i].id));
		add_left(a, q->lift[i].until, q->now);
		lift_words_write(&q->lift[i], &a->bytes);
		end_arg(a);
	}
	add_number(a, q->forgiven);
	for (unsigned i = 0; i < q->forgiven; i++) {
		add_str(a, str_of(q->forgive[i].id));
		add_number(a, FLEET_FORGIVEN_MS);
		add_client(a, q->forgive[i].client);
	}
}

bool sync_write(const struct sync_question *q, struct sync_args *a)
{
	size_t at = 0;
	a->bytes.n = 0;
	a->bytes.cut = false;
	a->n = 0;
	add_str(a, STR("EVAL"));
	add_str(a, (struct str){script, sizeof(script) - 1});
	add_number(a, 1);
	add_str(a, q->base);
	add_str(a, str_of(q->id));
	add_member(a, q->self);
	add_number(a, FLEET_BEAT_MS);
	add_number(a, q->list);
	add_str(a, q->news);
	add_str(a, str_of(q->since));
	add_known(a, q);
	for (unsigned i = 0; i < a->n; i++) {
		a->argv[i] = (struct str){a->bytes.p + at, a->end[i] - at};
		at = a->end[i];
	}
	return !a->bytes.cut;
}

/* --- the answer --- */

static bool is_bulk(const struct redis_reply *r)
{
	return r->kind == REDIS_STRING;
}

/* The id of a row, checked, NUL-terminated. */
static bool read_id(const struct redis_reply *r, char id[FLEET_ID])
{
	if (!is_bulk(r) || !lift_id_valid(r->text))
		return false;
	memcpy(id, r->text.p, FLEET_ID - 1);
	id[FLEET_ID - 1] = 0;
	return true;
}

/* Rows are id, milliseconds left, value. */
struct row {
	char id[FLEET_ID];
	usec_t left;
	struct str value;
};

static bool read_row(const struct redis_reply *three, struct row *row)
{
	if (!read_id(&three[0], row->id) || three[1].kind != REDIS_INTEGER || !is_bulk(&three[2]))
		return false;
	if (three[1].integer <= 0 || three[1].integer > INT64_MAX / 4 / USEC_PER_MSEC)
		return false;
	row->left = three[1].integer * USEC_PER_MSEC;
	row->value = three[2].text;
	return true;
}

static bool tell_ended(const struct sync_reader *r, const struct row *row)
{
	r->ended(r->ctx, row->id, row->left, str_eq(row->value, STR(TOKEN)));
	return true;
}

static bool tell_lift(const struct sync_reader *r, const struct row *row)
{
	static struct lift l;
	if (!lift_words_read(row->value, &l))
		return false;
	memcpy(l.id, row->id, sizeof(l.id));
	r->lift(r->ctx, &l, row->left);
	return true;
}

static bool tell_forgiven(const struct sync_reader *r, const struct row *row)
{
	struct sync_forgiven f;
	struct addr a;
	if (!addr_parse(row->value, &a))
		return false;
	memcpy(f.id, row->id, sizeof(f.id));
	memcpy(f.client.b, a.b, sizeof(f.client.b));
	r->forgiven(r->ctx, &f, row->left);
	return true;
}

static void read_rows(const struct redis_reply *a, const struct sync_reader *r,
		      bool (*tell)(const struct sync_reader *, const struct row *), struct sync_answer *out)
{
	struct row row;
	for (unsigned i = 0; i + 2 < a->count; i += 3)
		if (!read_row(&a->element[i], &row) || !tell(r, &row))
			out->unreadable++;
}

static bool value_of(const char *word, const char *key, const char **value)
{
	size_t n = strlen(key);
	*value = word + n;
	return strncmp(word, key, n) == 0;
}

static unsigned read_ids(const char *list, unsigned max, char out[][LIFT_ID])
{
	struct str rest = str_of(list), id;
	unsigned n = 0;
	while (n < max && str_next_element(&rest, &id))
		if (lift_id_valid(id)) {
			memcpy(out[n], id.p, id.n);
			out[n++][id.n] = 0;
		}
	return n;
}

/* Words that are not known are of a later version and are read over. */
static void read_member_word(struct fleet_member *m, const char *word)
{
	const char *v;
	uint64_t n;
	if (value_of(word, "host=", &v))
		snprintf(m->host, sizeof(m->host), "%s", v);
	else if (value_of(word, "version=", &v))
		snprintf(m->version, sizeof(m->version), "%s", v);
	else if (value_of(word, "config=", &v))
		snprintf(m->config, sizeof(m->config), "%s", v);
	else if (value_of(word, "workers=", &v) && !scalar_count(str_of(v), &n))
		m->workers = (unsigned)n;
	else if (value_of(word, "uptime=", &v) && !scalar_count(str_of(v), &n))
		m->uptime_s = (unsigned long)n;
	else if (value_of(word, "lifts=", &v))
		m->lifts = read_ids(v, LIFTS_MAX, m->lift);
	else if (value_of(word, "ends=", &v))
		m->ends = read_ids(v, FLEET_ENDS, m->end);
}

static bool read_member(const struct redis_reply *two, struct fleet_member *m)
{
	char line[512 + LIFT_ID * (LIFTS_MAX + FLEET_ENDS)];
	struct words w;
	*m = (struct fleet_member){.host = "?", .version = "?", .config = "?"};
	if (!read_id(&two[0], m->id) || !is_bulk(&two[1]) || two[1].text.n >= sizeof(line))
		return false;
	memcpy(line, two[1].text.p, two[1].text.n);
	line[two[1].text.n] = 0;
	if (words_split(line, &w))
		return false;
	for (unsigned i = 1; i < w.n; i++)
		read_member_word(m, w.word[i]);
	return true;
}

static bool read_head(const struct redis_reply *r, char out[SYNC_MOMENT])
{
	if (!is_bulk(r) || r->text.n >= SYNC_MOMENT)
		return false;
	memcpy(out, r->text.p, r->text.n);
	out[r->text.n] = 0;
	return strspn(out, "0123456789") == r->text.n;
}

/* live, tombstones, lifts, forgivings, members, head, lost */
static bool is_answer(const struct redis_reply *a)
{
	if (a->kind != REDIS_ARRAY || a->count != 7 || a->element[0].kind != REDIS_INTEGER)
		return false;
	for (unsigned i = 1; i < 5; i++)
		if (a->element[i].kind != REDIS_ARRAY)
			return false;
	return a->element[6].kind == REDIS_INTEGER;
}

bool sync_read(const struct redis_reply *a, const struct sync_reader *r, struct sync_answer *out)
{
	static struct fleet_member m;
	*out = (struct sync_answer){0};
	if (!is_answer(a) || !read_head(&a->element[5], out->head))
		return false;
	int64_t live = a->element[0].integer;
	out->live = live > 0 && live < 1000000 ? (unsigned)live : 0;
	out->lost = a->element[6].integer != 0;
	read_rows(&a->element[1], r, tell_ended, out);
	read_rows(&a->element[2], r, tell_lift, out);
	read_rows(&a->element[3], r, tell_forgiven, out);
	for (unsigned i = 0; i + 1 < a->element[4].count; i += 2) {
		if (read_member(&a->element[4].element[i], &m))
			r->member(r->ctx, &m);
		else
			out->unreadable++;
	}
	return true;
}
