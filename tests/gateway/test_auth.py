"""Who is let in: API keys, none at all, and how the gateway closes (AU-1, AU-2, AU-6, AU-7)."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.app import create_app
from gateway.gate import GATE, Gate, Unauthorized
from gateway.server import listening
from gateway.settings import GatewaySettings
from streams import Queue, Redis, access, connect
from tests.gateway.callers import bearer, key
from tests.gateway.samples import Serve

SETTINGS = GatewaySettings(host="127.0.0.1", port=0)
ALWAYS = GatewaySettings(host="127.0.0.1", port=0, require_auth="always")


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def closed(serve: Serve) -> AsyncIterator[ClientSession]:
    """A client without a key, of a gateway that wants one."""
    async with serve(ALWAYS) as session:
        yield session


async def status(http: ClientSession, headers: dict[str, str] | None = None) -> tuple[int, str]:
    async with http.get("/queue/emails/stats", headers=headers) as response:
        body = await response.json(content_type=None)
    return response.status, body.get("code", "")


def test_a_key_is_what_it_is_said_to_be() -> None:
    keys = {access.mint("live")[0] for _ in range(500)}
    assert len(keys) == 500
    for text in keys:
        prefix, env, key_id, tail = text.split("_")
        assert (prefix, env, len(key_id), len(tail)) == ("cs", "live", 12, 49)
        assert access.key_id_of(text) == key_id


@pytest.mark.parametrize("at", range(0, 70, 3))
def test_a_key_that_was_not_copied_well_is_none(at: int) -> None:
    text, _ = access.mint("live")
    wrong = "A" if text[at] != "A" else "B"
    assert access.key_id_of(text[:at] + wrong + text[at + 1 :]) is None
    assert access.key_id_of(text[:-1]) is None
    assert access.key_id_of(text + "0") is None
    assert access.key_id_of(text[:at] + "é" + text[at + 1 :]) is None


async def test_a_key_is_not_stored(redis: Redis, raw: Any) -> None:
    text = await key(redis, ["read"])
    secret = text.split("_")[3].encode()
    for name in raw.scan_iter():
        assert secret[:43] not in raw.dump(name)
    assert access.digest_of(text).encode() in raw.hget(f"cs:keys:{{keys}}:id:{_id(text)}", "digest")


def _id(text: str) -> str:
    return str(access.key_id_of(text))


@pytest.mark.parametrize("header", ["Authorization", "authorization", "X-API-Key"])
async def test_a_key_opens(closed: ClientSession, redis: Redis, header: str) -> None:
    text = await key(redis, ["read"])
    value = text if header == "X-API-Key" else f"Bearer {text}"
    assert await status(closed, {header: value}) == (200, "")
    assert await status(closed) == (401, "unauthorized")


async def test_both_headers_with_one_key_are_one_credential(
    closed: ClientSession, redis: Redis
) -> None:
    one, two = await key(redis, ["read"]), await key(redis, ["read"])
    assert (await status(closed, {**bearer(one), "X-API-Key": one}))[0] == 200
    assert (await status(closed, {**bearer(one), "X-API-Key": two}))[0] == 401


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic dTpw",
        "cs_test_abc",
        "Bearer cs_test_abc",
        "Bearer x.y.z",
        "Bearer null",
        "Bearer cs_test_000000000000_0000000000000000000000000000000000000000000000000",
    ],
)
async def test_what_is_no_credential_opens_nothing(closed: ClientSession, header: str) -> None:
    async with closed.get("/queue/stats", headers={"Authorization": header}) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith('Bearer realm="credstream"')


async def test_a_broken_key_is_refused_without_asking_redis() -> None:
    """There is no Redis at this address: asking would be a 503."""
    redis = connect("unix:///nonexistent/socket")
    gate = Gate(redis, SETTINGS)
    text, _ = access.mint("live")
    with pytest.raises(Unauthorized):
        await gate.principal(text[:-1] + ("x" if text[-1] != "x" else "y"))
    await redis.close()


async def test_a_key_of_the_right_id_and_another_secret_is_refused(redis: Redis) -> None:
    text = await key(redis, ["read"])
    other = access.mint("test")[0].split("_")[3][:43]
    body = f"cs_test_{_id(text)}_{other}"
    forged = body + access._checksum(body)
    assert access.key_id_of(forged) == _id(text)
    gate = Gate(redis, SETTINGS)
    await gate.principal(text)
    with pytest.raises(Unauthorized):
        await gate.principal(forged)


async def test_an_expired_key_opens_nothing(redis: Redis) -> None:
    clock = Clock()
    gate = Gate(redis, SETTINGS, clock_s=clock)
    _, now_ms = await access.find(redis, "x")
    text = await key(redis, ["read"], expires_ms=now_ms + 3_600_000)
    assert (await gate.principal(text)).name == "tester"
    with pytest.raises(Unauthorized):
        await gate.principal(await key(redis, ["read"], expires_ms=now_ms - 1))
    known = gate._keys[_id(text)]
    gate._keys[_id(text)] = type(known)(known.record, now_ms + 3_600_000, clock.now_s)
    with pytest.raises(Unauthorized):
        await gate.principal(text)


async def test_a_revoked_key_opens_nothing_after_at_most_five_seconds(redis: Redis) -> None:
    clock = Clock()
    gate, text = Gate(redis, SETTINGS, clock_s=clock), await key(redis, ["read"])
    await gate.principal(text)
    assert await access.revoke(redis, _id(text), b"")
    await gate.principal(text)  # still believed
    clock.now_s += 2
    with pytest.raises(Unauthorized):
        await gate.principal(text)
    assert not await gate.is_valid(text)


async def test_revoking_here_counts_here_at_once(closed: ClientSession, redis: Redis) -> None:
    admin, text = await key(redis, ["admin"]), await key(redis, ["read"])
    assert (await status(closed, bearer(text)))[0] == 200
    async with closed.delete(f"/keys/{_id(text)}", headers=bearer(admin)) as response:
        assert response.status == 200
    assert (await status(closed, bearer(text)))[0] == 401


async def test_the_gateway_is_open_until_there_is_a_key_and_closed_ever_after(
    redis: Redis,
) -> None:
    clock = Clock()
    gate = Gate(redis, SETTINGS, clock_s=clock)
    assert await gate.is_open()
    text = await key(redis, ["read"])
    clock.now_s += 2
    assert not await gate.is_open()
    assert await access.revoke(redis, _id(text), b"")
    clock.now_s += 60
    assert not await gate.is_open()
    assert not await Gate(redis, SETTINGS).is_open(), "a revoked key does not open it again"


async def test_the_first_key_made_over_http_closes_it(serve: Serve) -> None:
    async with serve(SETTINGS) as http:
        assert (await status(http))[0] == 200
        async with http.post("/keys", json={"name": "first", "role": "admin"}) as response:
            assert response.status == 201
            text = (await response.json())["data"]["key"]
        assert (await status(http))[0] == 401
        assert (await status(http, bearer(text)))[0] == 200


@pytest.mark.parametrize(
    ("changes", "is_open"),
    [
        ({}, True),
        ({"require_auth": "always"}, False),
        ({"host": "0.0.0.0"}, False),
        ({"host": "0.0.0.0", "allow_insecure": True}, True),
        ({"host": "0.0.0.0", "allow_insecure": True, "require_auth": "always"}, False),
    ],
)
async def test_when_it_is_open(redis: Redis, changes: dict[str, Any], is_open: bool) -> None:
    settings = GatewaySettings(**{"host": "127.0.0.1", **changes})
    assert await Gate(redis, settings).is_open() is is_open


async def test_public_routes_need_nobody(closed: ClientSession) -> None:
    for path in ("/", "/livez", "/readyz"):
        async with closed.get(path) as response:
            assert response.status == 200


async def test_a_wrong_key_is_wrong_also_where_none_is_needed(http: ClientSession) -> None:
    assert (await status(http, bearer(access.mint("test")[0])))[0] == 401


async def test_with_keys_any_host_is_served_and_browsers_may_bring_them(
    closed: ClientSession, redis: Redis
) -> None:
    text = await key(redis, ["operate"])
    headers = {"Host": "queue.example.com", "Sec-Fetch-Site": "cross-site", **bearer(text)}
    async with closed.post("/queue/emails/pause", headers=headers) as response:
        assert response.status == 200
    del headers["Authorization"]
    async with closed.post("/queue/emails/pause", headers=headers) as response:
        assert response.status == 403


@pytest.mark.parametrize(
    "query", ["api_key={}", "access_token={}", "X-API-Key={}", "q={}", "{}=1", "apikey=abc"]
)
async def test_a_key_in_the_address_is_refused_and_not_logged(
    closed: ClientSession, redis: Redis, query: str, caplog: pytest.LogCaptureFixture
) -> None:
    text = await key(redis, ["read"])
    with caplog.at_level(logging.DEBUG):
        async with closed.get(f"/queue/stats?{query.format(text)}") as response:
            body = await response.text()
    assert response.status == 400
    assert "credential_in_query" in body
    assert text[:30] not in body
    assert text[:30] not in caplog.text
    assert "***" in caplog.text


async def test_a_key_in_the_path_is_not_logged(
    closed: ClientSession, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    text = await key(redis, ["read"])
    with caplog.at_level(logging.DEBUG):
        async with closed.get(f"/{text}?api_key=1") as response:
            assert response.status == 400
    assert text[:30] not in caplog.text


async def test_it_lets_nobody_in_while_it_cannot_tell(own_server: Any) -> None:
    redis = connect(own_server.url)
    async with (
        listening(create_app(redis, SETTINGS)) as (_, port),
        ClientSession(f"http://localhost:{port}") as http,
    ):
        own_server.stop()
        text, _ = access.mint("test")
        assert (await status(http, bearer(text)))[0] == 503
        assert (await status(http))[0] == 503
        async with http.get("/livez") as response:
            assert response.status == 200
    await redis.close()


async def test_a_key_has_the_scopes_it_was_given(redis: Redis) -> None:
    gate = Gate(redis, SETTINGS)
    principal = await gate.principal(await key(redis, ["read", "public", "fly"], "org-1"))
    assert principal.scopes == {"read"}
    assert (principal.organization_id, principal.is_platform) == ("org-1", False)


async def test_keys_over_http(closed: ClientSession, redis: Redis) -> None:
    admin = bearer(await key(redis, ["admin", "read"]))
    wanted = {"name": "app", "scopes": ["read"], "organizationId": "org-1"}
    async with closed.post("/keys", json=wanted, headers=admin) as response:
        made = (await response.json())["data"]
        assert response.status == 201
        assert response.headers["Location"] == f"/keys/{made['id']}"
        assert response.headers["Cache-Control"] == "no-store"
    assert (await status(closed, bearer(made["key"])))[0] == 200
    async with closed.get(f"/keys/{made['id']}", headers=admin) as response:
        shown = (await response.json())["data"]
    assert shown == {name: value for name, value in made.items() if name != "key"}
    async with closed.get("/keys", headers=admin) as response:
        listed = await response.json()
    assert listed["data"][0]["id"] == made["id"]
    assert made["key"] not in str(listed)
    for _ in range(2):
        async with closed.delete(f"/keys/{made['id']}", headers=admin) as response:
            assert response.status == 200
    assert (await status(closed, bearer(made["key"])))[0] == 401
    async with closed.get("/audit?action=key.revoke", headers=admin) as response:
        (record,) = (await response.json())["data"]
    assert (record["target"], record["organizationId"]) == (made["id"], "org-1")


@pytest.mark.parametrize(
    ("wanted", "code", "status_code"),
    [
        ({"name": "x"}, "invalid_request", 422),
        ({"name": "x", "role": "king"}, "invalid_request", 422),
        ({"name": "x", "role": "viewer", "scopes": ["read"]}, "invalid_request", 422),
        ({"name": "x", "scopes": ["public"]}, "invalid_request", 422),
        ({"name": "x", "scopes": []}, "invalid_request", 422),
        ({"name": "", "role": "viewer"}, "invalid_request", 422),
        ({"name": "a\nb", "role": "viewer"}, "invalid_request", 422),
        ({"name": "x", "role": "viewer", "expiresAt": 1}, "invalid_request", 422),
        ({"name": "x", "role": "viewer", "organizationId": ""}, "invalid_request", 422),
        ({"name": "x", "role": "operator"}, "insufficient_scope", 403),
        ({"name": "x", "scopes": ["read:sensitive"]}, "insufficient_scope", 403),
        ({"name": "x", "role": "viewer", "organizationId": "org-2"}, "other_organization", 403),
    ],
)
async def test_keys_that_are_not_made(
    closed: ClientSession, redis: Redis, wanted: dict[str, Any], code: str, status_code: int
) -> None:
    admin = bearer(await key(redis, ["admin", "read"], "org-1"))
    async with closed.post("/keys", json=wanted, headers=admin) as response:
        assert (response.status, (await response.json(content_type=None))["code"]) == (
            status_code,
            code,
        )
    assert len(await access.page(redis)) == 1


async def test_a_tenants_admin_makes_keys_of_the_tenant(
    closed: ClientSession, redis: Redis
) -> None:
    admin = bearer(await key(redis, ["admin", "read"], "org-1"))
    async with closed.post("/keys", json={"name": "x", "role": "viewer"}, headers=admin) as one:
        assert (await one.json())["data"]["organizationId"] == "org-1"


async def test_events_end_with_the_key(closed: ClientSession, redis: Redis) -> None:
    text = await key(redis, ["read"])
    async with closed.get("/events", headers=bearer(text)) as response:
        assert response.status == 200
        await response.content.readuntil(b"\n\n")
        await access.revoke(redis, _id(text), b"")
        await response.content.read()  # to the end, which comes


async def test_who_is_trusted_says_where_a_request_comes_from(redis: Redis) -> None:
    text, settings = await key(redis, ["operate", "admin"]), ALWAYS
    app = create_app(redis, settings.model_copy(update={"trusted_proxies": 2}))
    async with (
        listening(app) as (_, port),
        ClientSession(f"http://localhost:{port}", headers=bearer(text)) as http,
    ):
        forwarded = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7, 192.0.2.1"}
        async with http.post("/queue/emails/pause", headers=forwarded) as response:
            assert response.status == 200
        async with http.get("/audit?action=queue.pause") as response:
            (record,) = (await response.json())["data"]
    assert record["address"] == "198.51.100.7"
    assert app[GATE] is not None
    assert (await Queue("emails", redis).counts()).paused
