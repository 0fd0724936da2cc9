# SPDX-License-Identifier: MIT
"""Who may enter: by site, by path in all its readings, and deny everywhere."""
import os

import pytest

from weirlib import Origin, base_config
from weirlib.client import build

OFFICE, VPN, STRANGER = "203.0.113.9", "198.51.100.9", "192.0.2.9"


def config(origin, **more):
    return base_config(
        origin,
        networks={"office": ["203.0.113.0/24", "2001:db8:1::/48"], "vpn": ["198.51.100.0/24"]},
        deny=["203.0.113.66/32", "192.0.2.128/25"],
        sites=[
            {"hosts": ["api.example"], "upstream": "main", "paths": [
                {"prefix": "/api/admin/", "allow": ["office"]},
                {"prefix": "/api/admin/public", "allow": ["office", "vpn"]},
                {"prefix": "/api/Reports", "allow": ["office"]}]},
            {"hosts": ["dev.example", "*.dev.example"], "upstream": "main", "allow": ["office", "vpn"],
             "paths": [{"prefix": "/root/", "allow": ["office"]}]},
            {"hosts": ["*"], "upstream": "main"}], **more)


@pytest.fixture(scope="module")
def shared(module_start, module_closing):
    origin = module_closing.add(Origin())
    weir = module_start(config(origin))
    weir.origin = origin
    return weir


@pytest.fixture
def weir(shared):
    shared.origin.clear()
    return shared


@pytest.mark.parametrize("host, ip, status", [
    ("dev.example", OFFICE, 200), ("dev.example", VPN, 200), ("dev.example", STRANGER, 403),
    ("x.dev.example", STRANGER, 403), ("DEV.example.", STRANGER, 403), ("dev.example:80", STRANGER, 403),
    ("dev.example", "2001:db8:1:ffff::1", 200), ("dev.example", "2001:db8:2::1", 403),
    ("dev.example", "203.0.114.9", 403), ("dev.example", "::ffff:203.0.113.9", 200),
    ("api.example", STRANGER, 200), ("other.example", STRANGER, 200)])
def test_site(weir, host, ip, status):
    res = weir.get("/", host=host, xff=ip)
    assert res.status == status
    assert len(weir.origin.requests) == (1 if status == 200 else 0)
    if status == 403:
        assert "problem+json" in res.one("Content-Type")
        assert res.json()["status"] == 403


@pytest.mark.parametrize("host", ["api.example", "dev.example", "other.example"])
@pytest.mark.parametrize("ip", ["203.0.113.66", "192.0.2.200"])
def test_deny_is_everywhere(weir, host, ip):
    assert weir.get("/", host=host, xff=ip).status == 403
    assert weir.origin.requests == []


def test_a_claimed_address_left_of_the_client_opens_nothing(weir):
    assert weir.get("/", host="dev.example", xff="%s, %s" % (OFFICE, STRANGER)).status == 403
    assert weir.get("/", host="dev.example", source="127.0.0.3", xff=OFFICE).status == 403
    assert weir.get("/", host="dev.example").status == 403
    assert weir.origin.requests == []


@pytest.mark.parametrize("path", ["/api/admin/", "/api/admin/users", "/api/admin", "/api/Reports", "/api/Reports/1",
                                  "/api/reports", "/api/admin/?x=1", "/api/admin?x=1"])
def test_path_is_guarded(weir, path):
    assert weir.get(path, host="api.example", xff=STRANGER).status == 403
    assert weir.get(path, host="api.example", xff=VPN).status == 403
    assert weir.origin.requests == []
    assert weir.get(path, host="api.example", xff=OFFICE).status == 200
    assert weir.origin.last().target == path


@pytest.mark.parametrize("path", ["/", "/api", "/api/", "/api/administration", "/api/adminx", "/x/api/admin/",
                                  "/api/Reportsx", "/?p=/api/admin/", "/api/user?next=/api/admin"])
def test_path_beside_the_guarded_one_is_open(weir, path):
    assert weir.get(path, host="api.example", xff=STRANGER).status == 200
    assert weir.origin.last().target == path


TRICKS = [
    "/api/%61dmin/", "/api/%2561dmin/x", "/%61%70%69/admin/x", "/api%2fadmin/x", "/api%2Fadmin%2Fx", "/api%252fadmin/x",
    "//api/admin/x", "/api//admin/x", "/api///admin//x", "/./api/admin/x", "/api/./admin/x", "/x/../api/admin/x",
    "/x/y/../../api/admin/x", "/api/x/../admin/x", "/api/%2e/admin/x", "/x/%2e%2e/api/admin/x", "/x/%2E./api/admin/x",
    "/x/%252e%252e/api/admin/x", "/api\\admin\\x", "/api%5cadmin/x", "/api/admin\\x", "/x\\..\\api\\admin", "/x/..%5capi/admin",
    "/api;v=1/admin/x", "/api/admin;a=b/x", "/api;/admin;/x", "/api/;x=y/admin/x", "/API/ADMIN/x", "/Api/aDmIn", "/api/admin%2f",
    "/api/admin/%2e%2e/admin/x", "/../api/admin/x", "/../../api/admin/x", "/api/admin/.",
    "/api/admin/./", "/%2fapi/admin/x", "/x/..;/api/admin/x", "/x/..;a=b/api/admin", "/api/%61%64%6d%69%6e%2f",
    "/%5c%5capi/admin/x", "/api%2f%2e%2e%2fapi/admin", "/api/admin%3b/x", "/api%3bx/admin/x", "/x%2f..%2fapi%2fadmin%2fx",
    "/api/REPORTS", "/api/rep%6frts/..%2freports/1",
]


@pytest.mark.parametrize("path", TRICKS)
def test_no_reading_walks_around_a_rule(weir, path):
    with weir.client() as c:
        c.send(build("GET", path, [("X-Forwarded-For", STRANGER)], host="api.example"))
        assert c.read_response().status in (400, 403), path
    assert weir.origin.requests == []


@pytest.mark.parametrize("path", ["/api/%61dmin/", "/api//admin/x", "/x/../api/admin/x"])
def test_whoever_may_enter_passes_as_written(weir, path):
    assert weir.get(path, host="api.example", xff=OFFICE).status == 200
    assert weir.origin.last().target == path


@pytest.mark.parametrize("path", ["/api/public%", "/x%2", "/x%zz", "/%25%", "/a%c"])
def test_path_that_cannot_be_decoded_gets_400_on_a_site_with_rules(weir, path):
    assert weir.get(path, host="api.example", xff=OFFICE).status == 400
    assert weir.origin.requests == []
    assert weir.get(path, host="other.example", xff=OFFICE).status == 200


@pytest.mark.parametrize("ip, status", [(VPN, 200), (OFFICE, 200), (STRANGER, 403)])
def test_the_longest_prefix_decides(weir, ip, status):
    assert weir.get("/api/admin/public", host="api.example", xff=ip).status == status


def test_a_paths_allow_adds_to_the_sites(weir):
    assert weir.get("/root/x", host="dev.example", xff=VPN).status == 403
    assert weir.get("/root/x", host="dev.example", xff=OFFICE).status == 200
    assert weir.get("/x", host="dev.example", xff=VPN).status == 200


def test_absolute_form_cannot_choose_another_sites_rules(weir):
    with weir.client() as c:
        c.send("GET http://dev.example/ HTTP/1.1\r\nHost: other.example\r\nX-Forwarded-For: %s\r\n\r\n" % STRANGER)
        assert c.read_response().status == 403
        c.send("GET http://api.example/api/admin/x HTTP/1.1\r\nHost: other.example\r\nX-Forwarded-For: %s\r\n\r\n" % STRANGER)
        assert c.read_response().status == 403
    assert weir.origin.requests == []


def test_each_request_of_a_connection_is_judged_alone(weir):
    with weir.client() as c:
        for ip, status in [(OFFICE, 200), (STRANGER, 403), (OFFICE, 200), (STRANGER, 403)]:
            assert c.request("GET", "/", [("X-Forwarded-For", ip)], host="dev.example").status == status


def test_network_from_a_file_is_read_again(start, origin):
    path = "/tmp/weir-edge-net-%d" % os.getpid()
    try:
        with open(path, "w") as f:
            f.writelines("10.%d.%d.0/24\n" % (i // 250, i % 250) for i in range(10000))
        os.chmod(path, 0o644)
        weir = start(base_config(origin, networks={"team": ["file:" + path]},
                                 sites=[{"hosts": ["*"], "upstream": "main", "allow": ["team"]}]))
        assert weir.get(xff="10.39.249.1").status == 200
        assert weir.get(xff="10.40.0.1").status == 403
        assert weir.get(xff=OFFICE).status == 403
        with open(path, "w") as f:
            f.write("%s\n" % OFFICE)
        weir.reload()
        assert all(weir.get(xff=OFFICE).status == 200 for _ in range(6))
        assert weir.get(xff="10.39.249.1").status == 403
    finally:
        os.unlink(path)


def test_a_lift_opens_no_guard(start, origin):
    weir = start(config(origin))
    weir.lift("--everyone")
    assert weir.get("/", host="dev.example", xff=STRANGER).status == 403
    assert weir.get("/api/admin/", host="api.example", xff=STRANGER).status == 403
    assert origin.requests == []


def test_websocket_is_guarded_like_the_rest(start, origin):
    weir = start(base_config(origin, sites=[{"hosts": ["*"], "upstream": "main", "allow": [OFFICE],
                                             "upgrade": ["websocket"]}]))
    with weir.client() as c:
        assert c.ws_open("/ws", headers=[("X-Forwarded-For", STRANGER)]).status == 403
    with weir.client() as c:
        assert c.ws_open("/ws", headers=[("X-Forwarded-For", OFFICE)]).status == 101


@pytest.mark.parametrize("name", ["X-Original-URL", "X-Rewrite-URL", "x-ORIGINAL-url"])
def test_another_path_beside_the_one_that_was_judged_stops_where_paths_have_rules(weir, name):
    for host, passes in (("api.example", []), ("dev.example", []), ("other.example", ["/api/admin/"])):
        assert weir.get("/", host=host, xff=OFFICE, headers=[(name, "/api/admin/")]).status == 200
        assert weir.origin.last().get_all(name) == passes
    assert weir.get("/", host="api.example", xff=OFFICE, headers=[(name.replace("-", "_"), "/api/admin/")]).status == 400
