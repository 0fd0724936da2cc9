# SPDX-License-Identifier: MIT
"""A real browser: one login for two subdomains, one logout, a dev host apart, and a 429 that a script can read."""
import urllib.parse

import pytest

from weirlib import Origin, base_config, free_port
from weirlib.limits import volley
from weirlib.webdriver import HAVE, Browser

pytestmark = pytest.mark.skipif(not HAVE, reason="chromium and chromedriver are not installed")


@pytest.fixture(scope="module")
def browser(module_closing):
    return module_closing.add(Browser("MAP *.example.test 127.0.0.1"))


@pytest.fixture
def edge(start, origins):
    """The browser is a client of its own: 127.0.0.1 is not trusted here. Plain HTTP, so no cookie is Secure."""
    made, port = {n: origins(n) for n in ("app", "shop", "dev", "api")}, free_port()
    w = start(base_config(
        client_ip={"trusted_proxies": ["10.255.255.255/32"]},
        upstreams={n: {"servers": [o.address]} for n, o in made.items()},
        rate_limit={"policies": {"default": {"requests": 1000, "window": "60s"}, "tight": {"requests": 5, "window": "30s"}}},
        cookies={"domain": "example.test", "share": {"session": {"http_only": "on", "same_site": "Lax"}},
                 "retire_host_only": "on"},
        cors={"origins": ["http://*.example.test:%d" % port]},
        sites=[{"hosts": [n + ".example.test"], "upstream": n} for n in ("app", "shop")] +
              [{"hosts": ["dev.example.test"], "upstream": "dev", "cookies": "off"},
               {"hosts": ["api.example.test"], "upstream": "api", "rate_limit": "tight"}]), port=port)
    w.made = made
    return w


def url(weir, host, path="/page"):
    return "http://%s.example.test:%d%s" % (host, weir.port, path)


def set_cookie(*cookies):
    return "/set-cookie?" + "&".join("c=" + urllib.parse.quote(c, safe="") for c in cookies)


def sent_to(weir, browser, host):
    """What the browser sends as Cookie to that host."""
    browser.open(url(weir, host))
    return weir.made[host].last().get("Cookie") or ""


def test_one_login_two_subdomains_one_logout(edge, browser):
    browser.open(url(edge, "app", set_cookie("session=alice; Path=/")))
    assert sent_to(edge, browser, "app") == "session=alice"
    assert sent_to(edge, browser, "shop") == "session=alice"
    cookie = browser.cookies()["session"]
    assert cookie["domain"] == ".example.test" and cookie["httpOnly"] and cookie["sameSite"] == "Lax"
    assert browser.script("return document.cookie") == ""

    browser.open(url(edge, "shop", set_cookie("session=; Path=/; Max-Age=0")))
    assert sent_to(edge, browser, "shop") == ""
    assert sent_to(edge, browser, "app") == ""


def test_dev_does_not_overwrite_the_public_login(edge, browser):
    browser.open(url(edge, "app", set_cookie("session=alice; Path=/")))
    browser.open(url(edge, "dev", set_cookie("session=tester; Path=/dev")))
    browser.open(url(edge, "dev", set_cookie("session=tester; Path=/")))
    assert sent_to(edge, browser, "app") == "session=alice"
    assert sent_to(edge, browser, "shop") == "session=alice"
    browser.open(url(edge, "dev", set_cookie("session=; Path=/; Max-Age=0")))
    assert sent_to(edge, browser, "app") == "session=alice"
    browser.open(url(edge, "app", set_cookie("session=; Path=/; Max-Age=0")))


def test_host_only_twin_of_the_days_before_is_retired(edge, browser):
    """A cookie set by the dev-like, unshared way would shadow the shared one on its own host."""
    browser.open(url(edge, "app"))
    browser.script("document.cookie = 'session=old; path=/'")
    assert sent_to(edge, browser, "app") == "session=old"
    browser.open(url(edge, "app", set_cookie("session=new; Path=/")))
    assert sent_to(edge, browser, "app") == "session=new"
    assert sent_to(edge, browser, "shop") == "session=new"
    browser.open(url(edge, "app", set_cookie("session=; Path=/; Max-Age=0")))
    assert sent_to(edge, browser, "app") == ""


FETCH = """
const [url, done] = arguments;
fetch(url, {credentials: 'include'})
  .then(r => r.text().then(t => done([r.status, r.headers.get('Retry-After'), r.headers.get('RateLimit'), t])))
  .catch(e => done(['failed', String(e)]));
"""


def test_script_reads_a_429_from_another_origin(edge, browser):
    assert len([s for s in volley([edge.port], 10, None, host="api.example.test", threads=1) if s.status == 200]) == 5
    browser.open(url(edge, "app"))
    status, retry_after, rate_limit, body = browser.script_async(FETCH, url(edge, "api", "/data"))
    assert status == 429
    assert 1 <= int(retry_after) <= 30
    assert '"tight"' in rate_limit and "429" in body


def test_script_of_a_foreign_origin_reads_nothing(edge, browser, closing):
    volley([edge.port], 10, None, host="api.example.test", threads=1)
    foreign = closing.add(Origin("foreign"))
    browser.open("http://foreign.example.test:%d/page" % foreign.port)    # another port: another origin
    got = browser.script_async(FETCH, url(edge, "api", "/data"))
    assert got[0] == "failed"
