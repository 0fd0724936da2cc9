# SPDX-License-Identifier: MIT
"""limits token: signed, for a time and a scope, revocable, without a socket where the key is at hand."""
import base64
import hashlib
import hmac
import os
import re
import subprocess
import time

import pytest

from test_lift import CLIENT, OTHER, SITES, fleet
from weirlib import base_config, wait_for, weir_bin
from weirlib.weir import SANITIZER_ENV

KEY, OLD, STRANGER = "the newest key of all", "an older key, still good", "a key that nobody knows"
SPENT = [200] * 3 + [429] * 2


def config(origin, redis=None, keys=KEY, **more):
    limit = dict({"policies": {"default": {"requests": 3, "window": "60s"}}, "lift_key": keys}, **more)
    if redis:
        limit.update(store="redis", redis={"url": redis.url, "timeout": "500ms"})
    return base_config(origin, sites=SITES, rate_limit=limit)


def token(weir, *args, time="5m", **kw):
    return weir.ctl("limits", "token", "--for", time, "--reason", "k6 in CI", *args, json=True, **kw)


def offline(*args, key=KEY, code=0):
    run = subprocess.run([weir_bin("weirctl"), "limits", "token", *args], capture_output=True, text=True, timeout=10,
                         env=dict(os.environ, WEIR_LIFT_KEY=key, **SANITIZER_ENV))
    assert run.returncode == code, run
    return run.stdout if code == 0 else run.stderr


def signed(payload, key=KEY):
    def b64(b):
        return base64.urlsafe_b64encode(b).rstrip(b"=").decode()
    text = "weir1." + b64(payload.encode())
    return text + "." + b64(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest())


def ask(weir, text, n=5, xff=CLIENT, **kw):
    answers = [weir.get(xff=xff, headers=[("X-Weir-Lift", text)], **kw) for _ in range(n)]
    return [a.status for a in answers], {w for a in answers for w in a.get_all("X-Weir-Lift")}


def test_a_token_frees_whoever_bears_it(start, origin):
    weir = start(config(origin))
    made = token(weir)
    assert ask(weir, made["token"], 10) == ([200] * 10, set())
    assert ask(weir, made["token"], 10, xff=OTHER) == ([200] * 10, set())
    assert [weir.get(xff=CLIENT).status for _ in range(5)] == SPENT, "what came under the token never counts"
    assert all(r.get("X-Weir-Lift") is None for r in origin.requests), "it stops here"
    entry = weir.wait_log(lambda e: e["limit"] == "lifted", 20)[0]
    assert entry["lift"] == made["id"]
    assert weir.metric("weir_lift_tokens_total", result="good") == 20
    assert "k6 in CI" in weir.ctl("events")
    for text in (weir.stderr(), weir.log_text(), weir.ctl("config", "show"), weir.ctl("status"), weir.ctl("events")):
        assert made["token"] not in text and KEY not in text


def test_text_for_shells(start, origin):
    weir = start(config(origin))
    first, second = weir.ctl("limits", "token", "--for", "1m", "--reason", "x").splitlines()
    assert ask(weir, first) == ([200] * 5, set())
    assert re.fullmatch(r"Send it as X-Weir-Lift\. Good for everyone until .* \(id [0-9a-f]{8}\)\.", second)


def test_scopes(start, origin):
    weir = start(config(origin))
    made = token(weir, "--client", "203.0.113.0/24", "--site", "api.example")
    assert made["clients"] == ["203.0.113.0/24"] and made["sites"] == ["api.example"]
    assert ask(weir, made["token"], host="api.example") == ([200] * 5, set())
    assert ask(weir, made["token"]) == (SPENT, {"out-of-scope"})
    assert ask(weir, made["token"], xff=OTHER, host="api.example") == (SPENT, {"out-of-scope"})


def test_expired(start, origin):
    weir = start(config(origin))
    made = token(weir, time="2s")
    assert ask(weir, made["token"], 1) == ([200], set())
    wait_for(lambda: ask(weir, made["token"], 1)[1] == {"expired"}, 15)
    assert weir.metric("weir_lift_tokens_total", result="expired") >= 1


@pytest.mark.parametrize("text", [
    "", "x", "weir1", "weir1..", "weir1.AAAA.BBBB", "weir2.", signed("7f3a9c01 1", STRANGER),
    signed("7f3a9c01 99999999999999"), signed("7f3a9c01"), signed("7f3a9c01 -1"), signed("no-hex-1 1999999999"),
    signed("7f3a9c01 1999999999 color"), signed("7f3a9c01 1999999999 c00/1"), "A" * 7000], ids=lambda t: t[:12])
def test_unknown(module_weir, text):
    got, words = ask(module_weir, text, 1, xff="198.51.100.%d" % (hash(text) % 250))
    assert words == {"unknown"} and got == [200]


@pytest.fixture(scope="module")
def module_weir(module_start, module_closing):
    from weirlib import Origin
    return module_start(config(module_closing.add(Origin())))


def test_longer_than_max_lift_is_no_good_whoever_signed_it(start, origin):
    weir = start(config(origin, max_lift="1h"))
    assert "1h" in weir.ctl("limits", "token", "--for", "61m", "--reason", "x", code=1)
    now = int(time.time())
    assert ask(weir, signed("7f3a9c01 %d" % (now + 3590))) == ([200] * 5, set())
    assert ask(weir, signed("7f3a9c02 %d" % (now + 3700)))[1] == {"too-long"}


def test_a_revoked_one_that_is_too_long_stays_revoked(start, origin):
    """It is good only in its last hour, when a revocation of that length would be over."""
    weir = start(config(origin, max_lift="1s"))
    text = offline("--for", "5s", "--reason", "x").splitlines()[0]
    assert ask(weir, text, 1)[1] == {"too-long"}
    payload = text.split(".")[1]
    id = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).split()[0].decode()
    weir.ctl("limits", "restore", id)
    seen = set()
    until = time.monotonic() + 5.5
    while time.monotonic() < until:    # past its end
        seen |= ask(weir, text, 1)[1]
        time.sleep(0.2)
    assert seen == {"revoked"}


def test_keys_rotate(start, origin):
    weir = start(config(origin, keys=[KEY, OLD]))
    old = signed("7f3a9c01 %d" % (time.time() + 60), OLD)
    new = token(weir)["token"]
    assert ask(weir, old)[0] == ask(weir, new)[0] == [200] * 5
    weir.reload(config(origin, keys=KEY))
    wait_for(lambda: ask(weir, old, 1)[1] == {"unknown"}, 15)
    assert ask(weir, new) == ([200] * 5, set())


def test_offline(start, origin):
    weir = start(config(origin))
    text = offline("--for", "10m", "--reason", "a CI job", "--site", "api.example").splitlines()[0]
    assert ask(weir, text, host="api.example") == ([200] * 5, set())
    assert ask(weir, text, 1)[1] == {"out-of-scope"}
    assert '"token"' in offline("--for", "10m", "--reason", "x", "--json")
    assert "16 bytes" in offline("--for", "10m", "--reason", "x", key="short", code=1)
    assert "duration" in offline("--for", "10", "--reason", "x", code=1)
    assert "at most" in offline("--for", "169h", "--reason", "x", code=1), "a revocation outlasts every token"
    assert "nowhere" in offline("--for", "10m", "--reason", "x", "--client", "nowhere", code=1)


def test_without_a_key(start, origin):
    c = config(origin)
    del c["rate_limit"]["lift_key"]
    weir = start(c)
    assert "lift_key" in weir.ctl("limits", "token", "--for", "1m", "--reason", "x", code=1)
    assert ask(weir, signed("7f3a9c01 %d" % (time.time() + 60))) == (SPENT, {"unknown"})
    assert "no lift 7f3a9c01" in weir.ctl("limits", "restore", "7f3a9c01", code=1)


def test_explain_reads_the_token(start, origin):
    weir = start(config(origin))
    made = token(weir)
    told = weir.ctl("explain", "--from", CLIENT, "--header", "X-Weir-Lift: " + made["token"], "GET",
                    "http://test.example/", json=True)
    assert told["token"] == "good" and made["id"] in told["why"]
    told = weir.ctl("explain", "--from", CLIENT, "--header", "X-Weir-Lift: x", "GET", "http://test.example/", json=True)
    assert told["token"] == "unknown" and told["status"] is None


def test_a_token_opens_no_guarded_host(start, origin):
    c = config(origin)
    c["sites"] = [{"hosts": ["admin.example"], "upstream": "main", "allow": ["192.0.2.0/24"]}]
    weir = start(c)
    assert ask(weir, token(weir)["token"], 1, host="admin.example")[0] == [403]


def test_revoked_everywhere_and_for_good(start, origin, redis):
    one, two = [start(config(origin, redis)) for _ in range(2)]
    for w in (one, two):
        wait_for(lambda w=w: len(fleet(w)) == 2, 15)
    made = token(one)
    assert ask(two, made["token"])[0] == [200] * 5
    said = two.ctl("limits", "restore", made["id"])
    assert re.search(r"as a token it is revoked.*2 of 2 weirs", said)
    assert ask(one, made["token"]) == (SPENT, {"revoked"})
    redis.restart()    # without data
    wait_for(lambda: [k for k in redis.cli("--scan").split() if "gone:" in k], 10)
    assert ask(start(config(origin, redis)), made["token"], 1)[1] == {"revoked"}
    run = one.ctl("limits", "restore", made["id"], json=True)
    assert run["revoked"] == [made["id"]]
    # an id that was mistyped is told from one in force
    lift = one.lift("--everyone")
    id = re.search(r"id (\w+)", lift)[1]
    assert "restored 1 lift" in one.ctl("limits", "restore", id)


def test_a_revocation_stands_among_many_tombstones(start, origin, redis):
    """More blocks were ended early, for a week, than a weir remembers: tokens stay revoked, and control stays calm."""
    weir = start(config(origin, redis))
    wait_for(lambda: weir.ctl("status", json=True)["store"]["state"] == "ready", 15)
    first = token(weir)
    weir.ctl("limits", "restore", first["id"])
    redis.cli("EVAL", "for i = 1, 25000 do local id = string.format('%08x', i) redis.call('SADD', KEYS[1] .. 'gone', id) "
              "redis.call('SET', KEYS[1] .. 'gone:' .. id, '1', 'PX', 600000000 + i) end", 1, "weir:{fleet}:")
    redis.cli("DEL", "weir:{fleet}:log")    # so that they are read
    syncs = redis.calls("sadd")    # of tombstones, all that are remembered here
    wait_for(lambda: redis.calls("sadd") >= syncs + 256, 10, "what is known here is told")
    second = token(weir)
    weir.ctl("limits", "restore", second["id"])
    before, began = redis.calls("publish", "zadd"), time.monotonic()
    wait_for(lambda: time.monotonic() > began + 2, 5)
    assert redis.calls("publish", "zadd") - before < 20 * (time.monotonic() - began), "a question a second, not a storm"
    for made in (first, second):
        assert ask(weir, made["token"], 1)[1] == {"revoked"}
    assert not weir.ctl("status", json=True)["store"]["trouble"]


def test_a_token_given_itself_is_remembered_until_its_end(start, origin, redis):
    weir = start(config(origin, redis))
    wait_for(lambda: weir.ctl("status", json=True)["store"]["state"] == "ready", 15)
    whole, by_id = token(weir, time="30m"), token(weir, time="30m")
    assert "revoked the token (%s) on 1 of 1" % whole["id"] in weir.ctl("limits", "restore", whole["token"])
    weir.ctl("limits", "restore", by_id["id"])
    left = {k["id"]: int(redis.cli("PTTL", "weir:{fleet}:gone:" + k["id"])) / 60000 for k in (whole, by_id)}
    assert 30 < left[whole["id"]] <= 40.1, "ten minutes more than it lives, for clocks that differ"
    assert left[by_id["id"]] > 167 * 60
    assert ask(weir, whole["token"], 1)[1] == ask(weir, by_id["token"], 1)[1] == {"revoked"}
    run = weir.ctl("limits", "restore", whole["token"], json=True)
    assert run["revoked"] == [whole["id"]]


def test_what_is_no_token_is_not_revoked_and_not_told(start, origin):
    weir = start(config(origin))
    now = time.time()
    for text, why in ((signed("7f3a9c01 %d" % (now + 60), STRANGER), "no token"), ("weir1.x.y", "no token"),
                      (signed("7f3a9c01 %d" % (now - 601)), "token 7f3a9c01 is over")):
        assert why in weir.ctl("limits", "restore", text, code=1)
        assert text not in weir.ctl("events") and text not in weir.stderr()
    weir.ctl("limits", "restore", signed("7f3a9c01 %d" % (now - 300)))    # where clocks differ it may be good still
    assert ask(weir, signed("7f3a9c01 %d" % (now + 60)), 1)[1] == {"revoked"}


def test_tombstones_cost_a_look_at_the_store_nothing(start, origin, redis):
    """A look reads what came after the last one, however much there is; what was lost is put back all the same."""
    one, two = [start(config(origin, redis)) for _ in range(2)]
    for w in (one, two):
        wait_for(lambda w=w: len(fleet(w)) == 2, 15)
    made = token(one)
    for id in [made["id"]] + ["%08x" % (0x1bc00000 + i) for i in range(40)]:
        assert "2 of 2" in one.ctl("limits", "restore", id)
    # news of the last may be under way still; each weir has refreshed at most once meanwhile
    def cost():
        looks, reads = redis.calls("zadd"), redis.calls("pttl", "sadd")
        wait_for(lambda: redis.calls("zadd") >= looks + 8, 20)
        return redis.calls("pttl", "sadd") - reads
    assert min(cost() for _ in range(3)) == 0, "41 tombstones are read at each look, or told"
    redis.cli("DEL", "weir:{fleet}:gone:" + made["id"])
    redis.cli("DEL", "weir:{fleet}:log")    # as where another server takes over that has not heard of it
    wait_for(lambda: redis.cli("EXISTS", "weir:{fleet}:gone:" + made["id"]).strip() == "1", 10, "put back")
    assert ask(two, made["token"], 1)[1] == {"revoked"}


def test_a_mistyped_id_of_a_lift_is_no_tokens(start, origin):
    weir = start(config(origin))
    id = re.search(r"id (\w+)", weir.lift("--everyone"))[1]
    near = id[:-1] + ("0" if id[-1] != "0" else "1")
    assert "did you mean " + id in weir.ctl("limits", "restore", near, code=1)


def test_revocations_are_never_forgotten_for_others(start, origin):
    """When no more can be remembered the next one is refused, and no token comes back to life."""
    weir = start(config(origin))
    made = token(weir)
    weir.ctl("limits", "restore", made["id"])
    refused = 0
    for i in range(256):
        run = weir.run_ctl("limits", "restore", "%08x" % (0x1bc00000 + i))
        refused += run.returncode == 1 and "lift_key" in run.stderr
    assert refused == 1
    assert ask(weir, made["token"], 1)[1] == {"revoked"}
    weir.ctl("limits", "restore", made["id"])    # one that is revoked already needs no room
