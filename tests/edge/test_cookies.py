# SPDX-License-Identifier: MIT
"""One login for all subdomains: what becomes of the origins' Set-Cookie lines."""
import urllib.parse

import pytest

from weirlib import Origin, base_config


def config(origin, **cookies):
    return base_config(
        origin,
        cookies=dict({"domain": "example.com", "share": {
            "session": {"secure": "on", "http_only": "on", "same_site": "Lax"},
            "csrf_*": {"secure": "on"}, "plain": {}}}, **cookies),
        sites=[{"hosts": ["example.com", "*.example.com"], "upstream": "main"},
               {"hosts": ["dev.example.com", "*.dev.example.com"], "upstream": "main", "cookies": "off"},
               {"hosts": ["*"], "upstream": "main"}])


@pytest.fixture(scope="module")
def weir(module_start, module_closing):
    return module_start(config(module_closing.add(Origin())))


def lines(weir, *cookies, host="app.example.com"):
    query = "&".join("c=" + urllib.parse.quote(c, safe="") for c in cookies)
    res = weir.get("/set-cookie?" + query, host=host)
    assert res.status == 200
    return res.get_all("Set-Cookie")


def parts(line):
    name, *attributes = [p.strip() for p in line.split(";")]
    return name, sorted(a.lower() for a in attributes if a)


def one(weir, cookie, **kw):
    got = lines(weir, cookie, **kw)
    assert len(got) == 1, got
    return parts(got[0])


@pytest.mark.parametrize("cookie, wanted", [
    ("session=abc", ("session=abc", ["domain=example.com", "httponly", "samesite=lax", "secure"])),
    ("session=abc; Path=/", ("session=abc", ["domain=example.com", "httponly", "path=/", "samesite=lax", "secure"])),
    ("session=abc; Secure; HttpOnly", ("session=abc", ["domain=example.com", "httponly", "samesite=lax", "secure"])),
    ("session=abc; SameSite=Strict", ("session=abc", ["domain=example.com", "httponly", "samesite=strict", "secure"])),
    ("session=abc; Domain=app.example.com", ("session=abc", ["domain=example.com", "httponly", "samesite=lax", "secure"])),
    ("session=abc; Domain=.example.com", ("session=abc", ["domain=example.com", "httponly", "samesite=lax", "secure"])),
    ("session=abc; domain=app.example.com; DOMAIN=x.example.com",
     ("session=abc", ["domain=example.com", "httponly", "samesite=lax", "secure"])),
    ("session=abc; Max-Age=3600", ("session=abc", ["domain=example.com", "httponly", "max-age=3600", "samesite=lax", "secure"])),
    ("session=a=b==; Path=/x", ("session=a=b==", ["domain=example.com", "httponly", "path=/x", "samesite=lax", "secure"])),
    ('session="q;uoted"', None),
    ("csrf_token=1", ("csrf_token=1", ["domain=example.com", "secure"])),
    ("csrf_=1", ("csrf_=1", ["domain=example.com", "secure"])),
    ("plain=1", ("plain=1", ["domain=example.com"])),
    (" session =abc", ("session =abc", ["domain=example.com", "httponly", "samesite=lax", "secure"])),
])
def test_shared_names(weir, cookie, wanted):
    got = one(weir, cookie)
    if wanted is None:
        assert "domain=example.com" in got[1]
    else:
        assert (got[0].replace(" =", "="), got[1]) == (wanted[0].replace(" =", "="), wanted[1])


def test_expires_with_its_comma_stays_whole(weir):
    (line,) = lines(weir, "session=abc; Expires=Wed, 01 Jan 2099 10:00:00 GMT; Path=/")
    assert "Expires=Wed, 01 Jan 2099 10:00:00 GMT" in line and "Domain=example.com" in line


@pytest.mark.parametrize("cookie", [
    "other=1", "other=1; Path=/; Secure", "Session=1", "xsession=1", "session2=1", "csrf=1", "xcsrf_a=1",
    "__Host-session=1; Path=/; Secure", "__host-csrf_a=1; Path=/; Secure", "session=1; Domain=elsewhere.test",
    "session=1; Domain=example.com.evil.test", "session=1; Domain=notexample.com", "=novalue", "session"])
def test_left_alone(weir, cookie):
    assert lines(weir, cookie) == [cookie]


def test_several_lines_each_on_its_own(weir):
    got = lines(weir, "a=1", "session=2", "csrf_x=3; Path=/", "b=4; Expires=Wed, 01 Jan 2099 10:00:00 GMT")
    assert got[0] == "a=1" and got[3].startswith("b=4; Expires")
    assert "Domain=example.com" in got[1] and "Domain=example.com" in got[2]


@pytest.mark.parametrize("attribute", ["Max-Age=0", "Max-Age=-1", "Expires=Thu, 01 Jan 1970 00:00:00 GMT"])
def test_deletion_is_shared_and_host_only(weir, attribute):
    got = lines(weir, "session=; Path=/; " + attribute)
    assert len(got) == 2
    domains = sorted("domain=example.com" in parts(line)[1] for line in got)
    assert domains == [False, True]
    assert all(attribute.lower() in parts(line)[1] and "path=/" in parts(line)[1] for line in got)


@pytest.mark.parametrize("host", ["dev.example.com", "x.dev.example.com", "other.test", "badexample.com"])
def test_sites_that_do_not_share(weir, host):
    assert lines(weir, "session=1; Path=/", host=host) == ["session=1; Path=/"]


@pytest.mark.parametrize("host", ["example.com", "app.example.com", "a.b.example.com", "APP.EXAMPLE.COM"])
def test_sites_that_share(weir, host):
    assert "domain=example.com" in one(weir, "session=1", host=host)[1]


def test_retire_host_only(start, origin):
    weir = start(config(origin, retire_host_only="on"))
    got = lines(weir, "session=new; Path=/app")
    assert len(got) == 2
    twin, shared = got
    assert "domain=example.com" in parts(shared)[1] and shared.startswith("session=new")
    assert twin.startswith("session=;") and "domain" not in twin.lower() and "path=/app" in parts(twin)[1]
    assert "max-age=0" in twin.lower() or "1970" in twin
    assert lines(weir, "other=1") == ["other=1"]


def test_without_a_cookies_section_nothing_is_touched(start, origin):
    weir = start(base_config(origin))
    assert lines(weir, "session=1; Domain=x.example.com") == ["session=1; Domain=x.example.com"]


def test_cookies_of_the_request_pass_untouched(weir):
    weir.get("/", host="app.example.com", headers=[("Cookie", "session=1; other=\"2\"; __Host-x=3")])


def test_a_hundred_cookies(weir):
    got = lines(weir, *["csrf_%d=%d" % (i, i) for i in range(60)])
    assert len(got) == 60 and all("Domain=example.com" in line for line in got)


def test_a_very_long_cookie(weir):
    value = "v" * 4000
    got = one(weir, "session=%s; Path=/" % value)
    assert got[0] == "session=" + value and "domain=example.com" in got[1]
