/* SPDX-License-Identifier: MIT */
#include "ratelimit/redis_script.h"

#include "base/fmt.h"

#define NEVER 9999999999999999 /* as a deadline */

/*
 * What it costs, as loadtest/script_cost says: every redis.call about a third of a bare INCR script, a fifth
 * more where it is given a number (it is printed with %.17g), and every argument of the script a twentieth.
 * So the usual question (one request, one policy, room left) takes a way of its own with four calls and three
 * arguments: 2.6 times the INCR script, where it was 3.2. Times go to Redis as text made of TIME's digits or
 * by %.0f: Lua's tostring would round them. PEXPIRE is renewed in the first push of each half window, for one
 * window and a half.
 */
static const char ask_text[] =
	"local call, key = redis.call, KEYS[1]\n"
	"local t = call('TIME')\n"
	"local stamp = t[1] .. t[2]\n"
	"if #stamp < 16 then stamp = string.format('%s%06d', t[1], t[2]) end\n"
	"if stamp > ARGV[1] then return {-1, stamp + 0} end\n"
	"local time = stamp + 0\n"
	"if not ARGV[4] then\n"
	"  local tail = call('LINDEX', key, '-1')\n"
	"  if tail then\n"
	"    local w = ARGV[3] + 0\n"
	"    local gone, spare = time - w, 8\n"
	"    tail = tail + 0\n"
	"    if tail <= time and tail > gone then\n"
	"      local expired = call('LINDEX', key, '0') + 0 <= gone\n"
	"      while expired and spare > 0 do\n"
	"        call('LPOP', key)\n"
	"        spare = spare - 1\n"
	"        expired = call('LINDEX', key, '0') + 0 <= gone\n"
	"      end\n"
	"      if not expired then\n"
	"        local used = call('RPUSH', key, stamp)\n"
	"        if used < ARGV[2] + 0 then\n"
	"          if time - time % (w / 2) > tail then call('PEXPIRE', key, math.ceil(w * 0.0015)) end\n"
	"          return used\n"
	"        end\n"
	"        call('RPOP', key)\n"
	"      end\n"
	"    end\n"
	"  end\n"
	"end\n"
	"local policies, wanted, shadows = #KEYS, 1, ''\n"
	"if ARGV[2 * policies + 2] then\n"
	"  wanted, shadows = ARGV[2 * policies + 2] + 0, ARGV[2 * policies + 3]\n"
	"end\n"
	"local weir = ARGV[2 * policies + 4]\n"
	"if weir then\n"
	"  local function carry(key, w, text)\n"
	"    local upto, left, ages, counts = string.match(text, '^%d+'), math.huge, {}, {}\n"
	"    local known = call('HGET', key .. ':tally', weir)\n"
	"    if known then left = (upto - known) % 4294967296 end\n"
	"    if left == 0 or (left > 2147483648 and left < math.huge) then return end\n"
	"    call('HSET', key .. ':tally', weir, upto)\n"
	"    call('PEXPIRE', key .. ':tally', math.ceil(w * 0.0015))\n"
	"    for age, n in string.gmatch(text, '(%d+):(%d+)') do\n"
	"      ages[#ages + 1], counts[#counts + 1] = age + 0, n + 0\n"
	"    end\n"
	"    local first = #ages + 1\n"
	"    while first > 1 and left > 0 and ages[first - 1] < w do\n"
	"      first = first - 1\n"
	"      counts[first] = math.min(counts[first], left)\n"
	"      left = left - counts[first]\n"
	"    end\n"
	"    if first > #ages then return end\n"
	"    local tail, old, oldest = (call('LINDEX', key, '-1') or 0) + 0, {}, time - ages[first]\n"
	"    if tail > oldest then\n"
	"      local from = math.max(call('LLEN', key) - 4096, 0)\n"
	"      old = call('LRANGE', key, from, '-1')\n"
	"      local low, high = 0, #old\n"
	"      while low < high do\n"
	"        local mid = math.ceil((low + high) / 2)\n"
	"        if old[mid] + 0 <= oldest then low = mid else high = mid - 1 end\n"
	"      end\n"
	"      if from + low > 0 then call('LTRIM', key, '0', from + low - 1) else call('DEL', key) end\n"
	"      if low == 0 and from > 0 then oldest = old[1] + 0 end\n"
	"      old = {unpack(old, low + 1)}\n"
	"    end\n"
	"    local out, taken = {}, 0\n"
	"    for i = first, #ages do\n"
	"      local at = math.max(time - ages[i], oldest)\n"
	"      while old[taken + 1] and old[taken + 1] + 0 <= at do\n"
	"        taken = taken + 1\n"
	"        out[#out + 1] = old[taken]\n"
	"      end\n"
	"      local stamp = string.format('%.0f', at)\n"
	"      for _ = 1, counts[i] do out[#out + 1] = stamp end\n"
	"    end\n"
	"    for i = taken + 1, #old do out[#out + 1] = old[i] end\n"
	"    for i = 1, #out, 256 do call('RPUSH', key, unpack(out, i, math.min(i + 255, #out))) end\n"
	"    call('PEXPIRE', key, math.ceil(w * 0.0015 + math.max(tail - time, 0) / 1000))\n"
	"  end\n"
	"  for i, key in ipairs(KEYS) do\n"
	"    local text = ARGV[2 * policies + 4 + i]\n"
	"    if text ~= '' then carry(key, ARGV[2 * i + 1] + 0, text) end\n"
	"  end\n"
	"end\n"
	"local granted = wanted\n"
	"local tails, nows, sizes, rooms = {}, {}, {}, {}\n"
	"for i, key in ipairs(KEYS) do\n"
	"  local tail, now = (call('LINDEX', key, -1) or 0) + 0, time\n"
	"  local limit, w, size = ARGV[2 * i] + 0, ARGV[2 * i + 1] + 0, 0\n"
	"  if tail > time + w then\n"
	"    call('DEL', key)\n"
	"    tail = 0\n"
	"  end\n"
	"  if tail > time then now = tail end\n"
	"  local gone = now - w\n"
	"  if tail > gone then\n"
	"    size = call('LLEN', key)\n"
	"    if call('LINDEX', key, 0) + 0 <= gone then\n"
	"      local low, high, step = 0, size - 1, 1\n"
	"      while low + step < high and call('LINDEX', key, low + step) + 0 <= gone do\n"
	"        low = low + step\n"
	"        step = step * 2\n"
	"      end\n"
	"      if low + step < high then high = low + step end\n"
	"      while high - low > 1 do\n"
	"        local mid = math.floor((low + high) / 2)\n"
	"        if call('LINDEX', key, mid) + 0 <= gone then low = mid else high = mid end\n"
	"      end\n"
	"      call('LTRIM', key, high, -1)\n"
	"      size = size - high\n"
	"    end\n"
	"  elseif tail > 0 then\n"
	"    call('DEL', key)\n"
	"    tail = 0\n"
	"  end\n"
	"  tails[i], nows[i], sizes[i] = tail, now, size\n"
	"  rooms[i] = math.max(limit - size, 0)\n"
	"  if string.sub(shadows, i, i) ~= '1' and rooms[i] < granted then granted = rooms[i] end\n"
	"end\n"
	"local answer = {granted, time}\n"
	"for i, key in ipairs(KEYS) do\n"
	"  local limit, w, take = ARGV[2 * i] + 0, ARGV[2 * i + 1] + 0, math.min(granted, rooms[i])\n"
	"  local now, size, tail, retry = nows[i], sizes[i] + take, tails[i], 0\n"
	"  answer[3 * i] = sizes[i]\n"
	"  if take > 0 then\n"
	"    local stamps, stamp = {}, string.format('%.0f', now)\n"
	"    for j = 1, math.min(take, 64) do stamps[j] = stamp end\n"
	"    local left = take\n"
	"    while left > 0 do\n"
	"      local piece = math.min(left, 64)\n"
	"      call('RPUSH', key, unpack(stamps, 1, piece))\n"
	"      left = left - piece\n"
	"    end\n"
	"    if now - now % (w / 2) > tail then call('PEXPIRE', key, math.ceil(w * 0.0015)) end\n"
	"    tail = now\n"
	"  end\n"
	"  if size >= limit then\n"
	"    local frees = limit > 0 and call('LINDEX', key, size - limit) or now\n"
	"    retry = frees + w - time\n"
	"  end\n"
	"  answer[3 * i + 1] = retry\n"
	"  answer[3 * i + 2] = size > 0 and tail + w - time or 0\n"
	"end\n"
	"return answer\n";

/*
 * The usual question of several clients under one policy: the command, TIME and the arguments are paid once.
 * What is not usual after all (nearly no room, much that expired at once, a clock that went back, a key that
 * is no list) is left as it was, but for what has expired, and answered with 0. Moments have 16 digits and
 * are compared as text: to make numbers of them would cost a tenth more. (Lua asks the locale that Redis has;
 * digits stand in order in all. One of a language takes its time for it, a fifth more: docs/redis.md.)
 */
static const char ask_many_text[] =
	"local call, pcall = redis.call, redis.pcall\n"
	"local t = call('TIME')\n"
	"local stamp = t[1] .. t[2]\n"
	"if #stamp < 16 then stamp = string.format('%s%06d', t[1], t[2]) end\n"
	"if stamp > ARGV[1] then return {-1, stamp + 0} end\n"
	"local time, limit, w = stamp + 0, ARGV[2] + 0, ARGV[3] + 0\n"
	"local gone = string.format('%.0f', time - w)\n"
	"local half, life = string.format('%.0f', time - time % (w / 2)), math.ceil(w * 0.0015)\n"
	"local answer = {0}\n"
	"for i, key in ipairs(KEYS) do\n"
	"  local used, tail = 0, pcall('LINDEX', key, '-1')\n"
	"  local sound = tail and #tail == #stamp\n"
	"  local stale = sound and tail < half\n"
	"  if stale and tail <= gone then\n"
	"    call('DEL', key)\n"
	"    tail = false\n"
	"  end\n"
	"  if not tail then\n"
	"    if limit > 1 then\n"
	"      used = call('RPUSH', key, stamp)\n"
	"      call('PEXPIRE', key, life)\n"
	"    end\n"
	"  elseif sound and tail <= stamp then\n"
	"    local spare, first = 8, call('LINDEX', key, '0')\n"
	"    local expired = #first == #stamp and first <= gone\n"
	"    while expired and spare > 0 do\n"
	"      call('LPOP', key)\n"
	"      spare, first = spare - 1, call('LINDEX', key, '0')\n"
	"      expired = #first == #stamp and first <= gone\n"
	"    end\n"
	"    if #first == #stamp and not expired then\n"
	"      used = call('RPUSH', key, stamp)\n"
	"      if used < limit then\n"
	"        if stale then call('PEXPIRE', key, life) end\n"
	"      else\n"
	"        call('RPOP', key)\n"
	"        used = 0\n"
	"      end\n"
	"    end\n"
	"  end\n"
	"  answer[i + 1] = used\n"
	"end\n"
	"return answer\n";

const char *const redis_scripts[REDIS_SCRIPTS] = {
	[REDIS_SCRIPT_ASK] = ask_text,
	[REDIS_SCRIPT_ASK_MANY] = ask_many_text,
};

/* Keys */

size_t redis_script_client(char *out, const struct client_id *c)
{
	static const uint8_t v4[12] = {[10] = 0xff, [11] = 0xff};
	unsigned bytes = 16;
	if (memcmp(c->b, v4, sizeof(v4)) == 0)
		return (size_t)(fmt_dotted(out, c->b + 12) - out);
	if (memcmp(c->b + 8, "\0\0\0\0\0\0\0", 8) == 0)
		bytes = 8;
	for (unsigned i = 0; i < bytes; i++)
		fmt_hex(out + 2 * i, c->b[i], 2);
	return 2 * bytes;
}

static char *put_key(char *out, struct str prefix, const struct policy *p, struct str client)
{
	out = fmt_str(out, prefix);
	memcpy(out, "1:", 2);
	out = fmt_str(out + 2, str_of(p->name));
	*out++ = ':';
	out = fmt_u64(out, (uint64_t)(p->window_us / USEC_PER_MSEC));
	memcpy(out, ":{", 2);
	out = fmt_str(out + 2, client);
	*out++ = '}';
	return out;
}

size_t redis_script_key(char *out, struct str prefix, const struct policy *p, const struct client_id *c)
{
	char client[REDIS_CLIENT_ROOM];
	struct str text = {client, redis_script_client(client, c)};
	return (size_t)(put_key(out, prefix, p, text) - out);
}

/* Questions */

static inline char *crlf(char *out)
{
	memcpy(out, "\r\n", 2);
	return out + 2;
}

static inline char *bulk_u64(char *out, uint64_t v)
{
	unsigned n = fmt_u64_len(v);
	*out++ = '$';
	out = crlf(fmt_u64(out, n));
	return crlf(fmt_pad(out, v, n));
}

static inline char *bulk_digit(char *out, unsigned v)
{
	memcpy(out, "$1\r\n0\r\n", 7);
	out[4] = (char)('0' + v);
	return out + 7;
}

/* The script compares it as text, so that it has 16 digits, as a server's clock will until 2286. */
static inline char *bulk_deadline(char *out, usec_t v)
{
	memcpy(out, "$16\r\n", 5);
	return crlf(fmt_pad(out + 5, v > 0 && (uint64_t)v < NEVER ? (uint64_t)v : NEVER, 16));
}

static char *bulk_key(char *out, struct str prefix, const struct policy *p, struct str client)
{
	size_t n = prefix.n + strlen(p->name) + client.n + 6 +
		   fmt_u64_len((uint64_t)(p->window_us / USEC_PER_MSEC));
	*out++ = '$';
	out = crlf(fmt_u64(out, n));
	return crlf(put_key(out, prefix, p, client));
}

static char *bulk_shadows(char *out, const struct table_ask *ask, unsigned asks)
{
	memcpy(out, "$0\r\n", 4);
	out[1] = (char)('0' + asks);
	for (unsigned i = 0; i < asks; i++)
		out[4 + i] = (char)('0' + ask[i].policy->shadow);
	return crlf(out + 4 + asks);
}

/* UPTO AGE:COUNT AGE:COUNT ... */
static char *bulk_carry(char *out, const struct journal_carry *c)
{
	char text[REDIS_CARRY_ROOM], *at = text;
	if (c->records)
		at = fmt_u64(at, c->upto);
	for (unsigned i = 0; i < c->records; i++) {
		*at++ = ' ';
		at = fmt_u64(at, (uint64_t)c->record[i].age_us);
		*at++ = ':';
		at = fmt_u64(at, c->record[i].count);
	}
	uint16_t n = (uint16_t)(at - text);
	*out++ = '$';
	return crlf(mempcpy(crlf(fmt_u64(out, n)), text, n));
}

static char *bulk_carries(char *out, const struct journal_carry *c, unsigned asks)
{
	uint64_t weir = 0;
	for (unsigned i = 0; i < asks; i++)
		weir |= c[i].records ? c[i].weir : 0;
	memcpy(out, "$16\r\n", 5);
	fmt_hex(out + 5, weir, 16);
	out = crlf(out + 21);
	for (unsigned i = 0; i < asks; i++)
		out = bulk_carry(out, &c[i]);
	return out;
}

static char *bulk_count(char *out, unsigned n)
{
	*out++ = '*';
	return crlf(fmt_u64(out, n));
}

static char *bulk_evalsha(char *out, unsigned argc, const char *sha)
{
	static const char head[] = "$7\r\nEVALSHA\r\n$40\r\n";
	out = bulk_count(out, argc);
	memcpy(out, head, sizeof(head));
	out += sizeof(head) - 1;
	memcpy(out, sha, REDIS_SHA);
	return crlf(out + REDIS_SHA);
}

size_t redis_script_question(char *out, const struct redis_question *q)
{
	char client[REDIS_CLIENT_ROOM], *at;
	struct str text = {client, redis_script_client(client, q->client)};
	bool usual = redis_script_usual(q); /* goes without saying */

	at = bulk_evalsha(out, 4 + 3 * q->asks + (usual ? 0 : 2) + (q->carry ? 1 + q->asks : 0), q->sha);
	at = bulk_digit(at, q->asks);
	for (unsigned i = 0; i < q->asks; i++)
		at = bulk_key(at, q->prefix, q->ask[i].policy, text);
	at = bulk_deadline(at, q->deadline);
	for (unsigned i = 0; i < q->asks; i++) {
		at = bulk_u64(at, q->ask[i].limit);
		at = bulk_u64(at, (uint64_t)q->ask[i].policy->window_us);
	}
	if (!usual) {
		at = bulk_u64(at, q->n);
		at = bulk_shadows(at, q->ask, q->asks);
	}
	if (q->carry)
		at = bulk_carries(at, q->carry, q->asks);
	return (size_t)(at - out);
}

char *redis_script_many_head(char *out, unsigned clients, const char *sha)
{
	return bulk_u64(bulk_evalsha(out, 6 + clients, sha), clients);
}

char *redis_script_many_client(char *out, const struct redis_question *q)
{
	char client[REDIS_CLIENT_ROOM];
	struct str text = {client, redis_script_client(client, q->client)};
	return bulk_key(out, q->prefix, q->ask->policy, text);
}

char *redis_script_many_end(char *out, const struct table_ask *ask, usec_t deadline)
{
	out = bulk_deadline(out, deadline);
	out = bulk_u64(out, ask->limit);
	return bulk_u64(out, (uint64_t)ask->policy->window_us);
}

static struct str put_arg(char **buf, uint64_t v)
{
	char *at = *buf;
	*buf = fmt_u64(at, v);
	return (struct str){at, (size_t)(*buf - at)};
}

unsigned redis_script_peek_args(struct str *argv, char *buf, const struct redis_question *q)
{
	unsigned n = 0;
	argv[n++] = STR("EVAL");
	argv[n++] = str_of(ask_text);
	argv[n++] = put_arg(&buf, q->asks);
	for (unsigned i = 0; i < q->asks; i++) {
		size_t len = redis_script_key(buf, q->prefix, q->ask[i].policy, q->client);
		argv[n++] = (struct str){buf, len};
		buf += len;
	}
	argv[n++] = put_arg(&buf, NEVER);
	for (unsigned i = 0; i < q->asks; i++) {
		argv[n++] = put_arg(&buf, q->ask[i].limit);
		argv[n++] = put_arg(&buf, (uint64_t)q->ask[i].policy->window_us);
	}
	argv[n++] = STR("0");
	argv[n++] = STR("");
	return n;
}

/* Answers */

static void set_state(struct window_state *s, uint32_t limit, int64_t used, int64_t retry, int64_t reset)
{
	s->limit = limit;
	s->used = (uint32_t)used;
	s->remaining = limit > s->used ? limit - s->used : 0;
	s->retry_after_us = s->remaining ? 0 : retry;
	s->reset_us = reset;
}

static bool read_short(const struct redis_reply *r, const struct table_ask *ask, unsigned asks, unsigned n,
		       struct redis_answer *a)
{
	if (asks != 1 || n != 1 || r->integer < 1 || r->integer >= ask->limit)
		return false;
	a->late = false;
	a->server_us = 0;
	a->granted = a->took[0] = 1;
	set_state(&a->state[0], ask->limit, r->integer, 0, ask->policy->window_us);
	return true;
}

/* The script tells what was used before, so that what a policy in shadow took of it follows. */
static bool read_state(const struct redis_reply *r, const struct table_ask *ask, struct redis_answer *a,
		       unsigned i)
{
	for (unsigned j = 0; j < 3; j++)
		if (r[j].kind != REDIS_INTEGER || r[j].integer < 0)
			return false;
	int64_t before = r[0].integer, room = before < ask->limit ? ask->limit - before : 0;
	if (before > UINT32_MAX - REDIS_ASK_MAX || (!ask->policy->shadow && room < a->granted))
		return false;
	a->took[i] = room < a->granted ? (unsigned)room : a->granted;
	set_state(&a->state[i], ask->limit, before + a->took[i], r[1].integer, r[2].integer);
	return true;
}

static bool is_late(const struct redis_reply *whole)
{
	return whole->count == 2 && whole->element[0].integer == -1;
}

bool redis_script_sound(const struct redis_reply *whole, unsigned clients)
{
	if (whole->kind != REDIS_ARRAY)
		return false;
	for (unsigned i = 0; i < whole->count; i++)
		if (whole->element[i].kind != REDIS_INTEGER)
			return false;
	return is_late(whole) || (whole->count == 1 + clients && !whole->element[0].integer);
}

bool redis_script_part(const struct redis_reply *whole, unsigned i, struct redis_reply *part)
{
	*part = is_late(whole) ? *whole : whole->element[1 + i];
	return part->kind == REDIS_ARRAY || part->integer != 0;
}

bool redis_script_answer(const struct redis_reply *r, const struct table_ask *ask, unsigned asks, unsigned n,
			 struct redis_answer *a)
{
	if (r->kind == REDIS_INTEGER)
		return read_short(r, ask, asks, n, a);
	if (r->kind != REDIS_ARRAY || r->count < 2 || r->element[0].kind != REDIS_INTEGER ||
	    r->element[1].kind != REDIS_INTEGER || r->element[1].integer <= 0)
		return false;
	int64_t granted = r->element[0].integer;
	a->late = granted == -1;
	a->server_us = r->element[1].integer;
	if (a->late)
		return r->count == 2;
	if (granted < 0 || granted > n || r->count != 2 + 3 * asks)
		return false;
	a->granted = (unsigned)granted;
	bool refused = false;
	for (unsigned i = 0; i < asks; i++) {
		if (!read_state(r->element + 2 + 3 * i, &ask[i], a, i))
			return false;
		refused |= !ask[i].policy->shadow && !a->state[i].remaining;
	}
	return a->granted == n || refused; /* somebody must have refused */
}
