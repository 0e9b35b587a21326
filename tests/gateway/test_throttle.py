"""Quotas in Redis (API-19), and pages of other origins (API-20)."""

from typing import Any

import pytest
from aiohttp import ClientSession
from pydantic import ValidationError

from gateway.settings import GatewaySettings
from streams import Redis, access
from tests.gateway.callers import bearer, key
from tests.gateway.samples import Serve

LIMITED = GatewaySettings(
    host="127.0.0.1", port=0, require_auth="always", rate_limit=3, rate_limit_window_s=60
)
ORIGIN = "https://app.example.com"
LISTED = GatewaySettings(host="127.0.0.1", port=0, cors_origins=(ORIGIN,))


async def test_a_quota_is_shared_by_an_organization(serve: Serve, redis: Redis) -> None:
    one, two = await key(redis, ["read"], "org-1"), await key(redis, ["read"], "org-1")
    other = await key(redis, ["read"], "org-2")
    async with serve(LIMITED) as http:
        for left, text in enumerate((one, two, one)):
            async with http.get("/queue", headers=bearer(text)) as response:
                assert response.status == 200
                assert response.headers["RateLimit-Policy"] == '"default";q=3;w=60'
                limit, _, seconds = response.headers["RateLimit"].rpartition(";t=")
                assert limit == f'"default";r={2 - left}'
                assert 1 <= int(seconds) <= 60
        async with http.get("/queue", headers=bearer(two)) as response:
            problem = await response.json(content_type=None)
            seconds = response.headers["RateLimit"].rpartition("t=")[2]
            assert int(response.headers["Retry-After"]) >= int(seconds)
        assert (response.status, problem["code"]) == (429, "quota_exceeded")
        assert problem["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
        async with http.get("/queue", headers=bearer(other)) as response:
            assert response.status == 200
        for _ in range(5):
            async with http.get("/livez") as response:
                assert response.status == 200
                assert "RateLimit" not in response.headers


async def test_principals_of_the_platform_have_one_each(serve: Serve, redis: Redis) -> None:
    async with serve(LIMITED) as http:
        for _ in range(2):
            headers = bearer(await key(redis, ["read"]))
            for status in (200, 200, 200, 429):
                async with http.get("/queue", headers=headers) as response:
                    assert response.status == status


async def test_two_gateways_count_together(serve: Serve, redis: Redis) -> None:
    headers = bearer(await key(redis, ["read"], "org-1"))
    async with serve(LIMITED) as one, serve(LIMITED) as two:
        for http, status in ((one, 200), (two, 200), (one, 200), (two, 429), (one, 429)):
            async with http.get("/queue", headers=headers) as response:
                assert response.status == status


async def test_without_a_limit_nothing_is_counted(http: ClientSession, raw: Any) -> None:
    async with http.get("/queue") as response:
        assert "RateLimit" not in response.headers
    assert not list(raw.scan_iter("cs:quota:*"))


async def test_a_quota_is_whole_again_after_its_window(redis: Redis, raw: Any) -> None:
    quotas = [await access.take(redis, "somebody", 2, 60_000) for _ in range(3)]
    assert [(one.granted, one.left) for one in quotas] == [(True, 1), (True, 0), (False, 0)]
    assert all(0 < one.reset_ms <= 60_000 for one in quotas)
    (name,) = raw.scan_iter("cs:quota:*")
    assert 0 < raw.pttl(name) <= 60_000
    raw.delete(name)  # as Redis does it
    assert (await access.take(redis, "somebody", 2, 60_000)).left == 1
    assert (await access.take(redis, "somebody else", 2, 60_000)).left == 1


async def test_pages_of_other_origins_get_nothing_by_default(http: ClientSession) -> None:
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
    async with http.options("/queue", headers=headers) as response:
        assert response.status == 405
        assert not any(name.startswith("Access-Control") for name in response.headers)
    async with http.get("/queue", headers={"Origin": ORIGIN}) as response:
        assert not any(name.startswith("Access-Control") for name in response.headers)
        assert "Origin" not in response.headers.get("Vary", "")


async def test_a_listed_origin_may_call(serve: Serve) -> None:
    async with serve(LISTED) as http:
        headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "POST"}
        async with http.options("/queue/emails/pause", headers=headers) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
            assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
            assert "POST" in response.headers["Access-Control-Allow-Methods"]
            assert "Origin" in response.headers["Vary"]
            assert "Access-Control-Allow-Credentials" not in response.headers
        headers = {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"}
        async with http.post("/queue/emails/pause", headers=headers) as response:
            assert response.status == 200
            assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
        async with http.post(
            "/queue/emails/pause", headers={**headers, "Cookie": "a=b"}
        ) as response:
            assert response.status == 403, "a cookie comes without being asked"
        async with http.get("/nowhere", headers={"Origin": ORIGIN}) as response:
            assert response.headers["Access-Control-Allow-Origin"] == ORIGIN


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.com",
        "https://app.example.com.evil.com",
        "http://app.example.com",
        "https://app.example.com:444",
        "https://APP.example.com",
        "null",
        "",
    ],
)
async def test_an_origin_must_be_the_listed_one(serve: Serve, origin: str) -> None:
    async with serve(LISTED) as http:
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        async with http.options("/queue/emails/pause", headers=headers) as response:
            assert response.status == 405
            assert "Access-Control-Allow-Origin" not in response.headers
            assert "Origin" in response.headers["Vary"]
        headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
        async with http.post("/queue/emails/pause", headers=headers) as response:
            assert response.status == 403


async def test_events_may_be_listened_to_from_a_listed_origin(serve: Serve) -> None:
    async with serve(LISTED) as http, http.get("/events", headers={"Origin": ORIGIN}) as response:
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN


async def test_what_is_for_everybody_stays_so(serve: Serve) -> None:
    async with (
        serve(LISTED) as http,
        http.get("/1.0/identifiers/did:key:x", headers={"Origin": ORIGIN}) as response,
    ):
        assert response.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("origins", ["*", "https://*", "app.example.com", "https://a/b", "null"])
def test_no_origin_is_everybodys(origins: str) -> None:
    with pytest.raises(ValidationError):
        GatewaySettings(cors_origins=origins)  # type: ignore[arg-type]


def test_several_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", f"{ORIGIN}, http://localhost:5173")
    assert GatewaySettings().cors_origins == (ORIGIN, "http://localhost:5173")
