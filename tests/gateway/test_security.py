"""Without credentials the gateway serves its own machine and no foreign web page."""

import ast
import logging
from pathlib import Path

import pytest
from aiohttp import ClientSession

from gateway.headers import RequestIds
from gateway.security import Exposed, check_bind
from gateway.settings import GatewaySettings
from streams.settings import parse_url, readable
from tests.gateway.samples import Serve


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:3000",
        "127.0.0.1",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:3000",
        "127.0.0.2",
    ],
)
async def test_hosts_of_this_machine_are_served(http: ClientSession, host: str) -> None:
    async with http.get("/livez", headers={"Host": host}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "host",
    [
        "example.com",
        "localhost.example.com",
        "example.com:3000",
        "127.0.0.1.nip.io",
        "192.168.0.1",
        "0.0.0.0",
        "[::]",
        "localhost.",
    ],
)
async def test_other_hosts_are_refused_as_dns_rebinding_brings_them(
    http: ClientSession, host: str
) -> None:
    for path in ("/", "/livez", "/queue/stats", "/nope"):
        async with http.get(path, headers={"Host": host}) as response:
            problem = await response.json(content_type="application/problem+json")
        assert (response.status, problem["code"]) == (403, "host_not_allowed")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Cookie": "a=b"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "anything"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost:3000"}, 403),
        ({"Host": "localhost:3000", "Origin": "http://localhost:3000"}, 200),
        ({"Host": "localhost:3000", "Origin": "http://LOCALHOST:3000"}, 200),
        ({"Host": "localhost:3000", "Origin": "http://localhost:3001"}, 403),
        ({"Host": "localhost:3000", "Origin": "http://127.0.0.1:3000"}, 403),
        ({"Host": "localhost:3000", "Origin": "https://example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Cookie": "a=b"}, 403),
    ],
)
async def test_browsers_may_change_things_for_our_own_pages_only(
    http: ClientSession, headers: dict[str, str], status: int
) -> None:
    async with http.post("/queue/vc-issuance/pause", headers=headers) as response:
        assert response.status == status
    async with http.get("/queue/vc-issuance/stats") as response:
        assert (await response.json())["data"]["paused"] is (status == 200)


async def test_reading_is_not_a_cross_site_matter(http: ClientSession) -> None:
    async with http.get("/livez", headers={"Sec-Fetch-Site": "cross-site"}) as response:
        assert response.status == 200
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_credential(host: str) -> None:
    check_bind(GatewaySettings(host=host))


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.168.0.1", "example.com", "localhost2"])
def test_any_other_address_needs_one_or_the_users_word(host: str) -> None:
    with pytest.raises(Exposed, match="ALLOW_INSECURE"):
        check_bind(GatewaySettings(host=host))
    check_bind(GatewaySettings(host=host, allow_insecure=True))


async def test_beyond_loopback_any_host_is_served(serve: Serve) -> None:
    settings = GatewaySettings(host="0.0.0.0", port=0, allow_insecure=True)
    async with (
        serve(settings) as http,
        http.get("/livez", headers={"Host": "queue.example.com"}) as response,
    ):
        assert response.status == 200


def test_a_credential_opens_a_network() -> None:
    check_bind(GatewaySettings(host="0.0.0.0"), configured=True)
    check_bind(GatewaySettings(host="0.0.0.0", require_auth="always"))


async def test_every_answer_says_what_a_browser_may_do_with_it(http: ClientSession) -> None:
    for path in ("/livez", "/queue/stats", "/nowhere", "/events"):
        async with http.get(path) as response:
            headers = response.headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


async def test_lines_of_the_log_name_their_request(
    http: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(RequestIds())
    async with http.get("/queue/stats?api_key=x", headers={"X-Request-Id": "find-me"}) as response:
        assert response.status == 400
    logging.getLogger("elsewhere").warning("no request here")
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.endswith("[request find-me]") for line in lines)
    assert "no request here" in lines


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("redis://redis.example:6379", "redis.example"),
        ("redis://10.0.0.1", "10.0.0.1"),
        ("redis+cluster://localhost:1,10.0.0.2:2", "10.0.0.2"),
        ("redis://localhost", None),
        ("redis://127.0.0.1:6379", None),
        ("redis://[::1]:6379", None),
        ("rediss://redis.example", None),
        ("unix:///tmp/x", None),
    ],
)
def test_redis_that_can_be_read_on_the_way(url: str, host: str | None) -> None:
    assert readable(parse_url(url)) == host


DANGEROUS = {"pickle", "marshal", "shelve", "dill", "yaml", "jsonpickle", "cloudpickle"}
FLOORS = ("schemas", "streams", "credentials", "outbound", "consumers", "gateway", "credstream")


def test_nothing_that_is_read_is_executed() -> None:
    """JSON only: no format that makes objects of what it reads, no eval. A worker and the processes
    it starts for its handlers talk over pipes that nobody else has."""
    root = Path(__file__).parents[2]
    found = set()
    for path in (path for floor in FLOORS for path in (root / floor).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            if isinstance(node, ast.ImportFrom):
                names = {node.module or ""}
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names = {node.func.id} & {"eval", "exec", "__import__"}
                found |= {(path.name, name) for name in names}
            found |= {(path.name, n) for n in names if n.partition(".")[0] in DANGEROUS}
    assert found == {("child.py", "pickle"), ("children.py", "pickle")}
