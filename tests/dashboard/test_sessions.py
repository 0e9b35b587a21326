"""Signing in, and what ends a session (AU-8, AU-10, AU-14)."""

import re
from pathlib import Path

import orjson
import pytest
from aiohttp import ClientSession

from gateway.dashboard.login import _within
from streams import Redis, access, audit, sessions
from tests.dashboard.conftest import make_key, signed_in

ROOT = Path(__file__).parents[2]


async def test_without_credentials_nobody_is_asked(http: ClientSession) -> None:
    answer = await http.get("/dashboard", headers={"Accept": "text/html"})
    assert answer.status == 200
    assert "Sign out" not in await answer.text()


async def test_who_is_not_signed_in_is_sent_to_the_form(http: ClientSession, redis: Redis) -> None:
    await make_key(redis, "read")
    answer = await http.get(
        "/dashboard/dead?queue=emails", headers={"Accept": "text/html"}, allow_redirects=False
    )
    assert answer.status == 303
    assert (
        answer.headers["Location"] == "/dashboard/login?next=%2Fdashboard%2Fdead%3Fqueue%3Demails"
    )
    form = await http.get("/dashboard/login?next=/dashboard/dead")
    assert 'value="/dashboard/dead"' in await form.text()


async def test_the_cookie_says_what_browsers_must_do(
    http: ClientSession, address: str, redis: Redis
) -> None:
    key = await make_key(redis, "read")
    answer = await http.post(
        "/dashboard/login", json={"credential": key}, headers={"Origin": address}
    )
    cookie = answer.headers["Set-Cookie"]
    for word in ("__Host-credstream=", "HttpOnly", "Secure", "SameSite=Strict", "Path=/"):
        assert word in cookie
    assert "Domain" not in cookie


async def test_a_session_opens_the_dashboard_and_nothing_else(address: str, redis: Redis) -> None:
    key = await make_key(redis, "read", "operate")
    async with signed_in(address, key) as person:
        assert (await person.get("/dashboard")).status == 200
        assert (await person.get("/queue/stats")).status == 401
        assert (await person.post("/dashboard/queue/emails/pause", json={})).status == 200


async def test_a_new_id_at_each_sign_in_and_the_old_one_ends(address: str, redis: Redis) -> None:
    key = await make_key(redis, "read")
    async with signed_in(address, key) as person:
        first = person.headers["Cookie"].partition("=")[2]
        again = await person.post("/dashboard/login", json={"credential": key})
        assert again.cookies["__Host-credstream"].value != first
        assert await sessions.find(redis, first) is None


async def test_logout_ends_it(address: str, redis: Redis) -> None:
    key = await make_key(redis, "read")
    async with signed_in(address, key) as person:
        assert (await person.post("/dashboard/logout", json={})).status == 200
        gone = await person.get("/dashboard", allow_redirects=False)
        assert gone.status == 303


async def test_a_revoked_key_ends_its_sessions(address: str, redis: Redis) -> None:
    key = await make_key(redis, "read", "admin")
    other = await make_key(redis, "read")
    async with signed_in(address, other) as person:
        key_id = access.key_id_of(other)
        revoked = await person.delete(
            f"/keys/{key_id}",
            headers={"Authorization": f"Bearer {key}", "Cookie": "", "Accept": "*/*"},
        )
        assert revoked.status == 200, await revoked.text()
        gone = await person.get("/dashboard", allow_redirects=False)
        assert gone.status == 303


async def test_a_change_without_origin_is_refused(address: str, redis: Redis) -> None:
    key = await make_key(redis, "read", "operate")
    async with signed_in(address, key) as person:
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = await person.post("/dashboard/queue/emails/pause", json={}, headers=headers)
            assert answer.status == 403
        del person.headers["Origin"]
        answer = await person.post("/dashboard/queue/emails/pause", json={})
        assert answer.status == 403


async def test_a_wrong_credential_opens_nothing(
    http: ClientSession, address: str, redis: Redis
) -> None:
    await make_key(redis, "read")
    headers = {"Origin": address}
    for _ in range(10):
        answer = await http.post("/dashboard/login", json={"credential": "x"}, headers=headers)
        assert answer.status == 401
    answer = await http.post("/dashboard/login", json={"credential": "x"}, headers=headers)
    assert answer.status == 429


async def test_signing_in_is_recorded(address: str, redis: Redis) -> None:
    key = await make_key(redis, "read")
    async with signed_in(address, key):
        found = await audit.page(redis, None, 10, lambda _: True)
    assert "session.open" in [one.deed["action"] for one in found.found]


async def test_a_session_ends_after_twelve_hours_and_is_not_readable_in_redis(
    redis: Redis, raw: object
) -> None:
    now_ms = 1_000_000
    made = sessions.Session("a", ("read",), None, "k", sessions.end_ms(now_ms))
    session_id = await sessions.open_session(redis, made)
    assert await sessions.find(redis, session_id, now_ms + sessions.MOST_MS - 1) == made
    assert await sessions.find(redis, session_id, now_ms + sessions.MOST_MS) is None
    keys = raw.keys("cs:session:*")  # type: ignore[attr-defined]
    (left,) = [raw.pttl(key) for key in keys]  # type: ignore[attr-defined]
    assert 0 < left <= sessions.IDLE_MS
    assert session_id.encode() not in keys[0]
    assert session_id.encode() not in orjson.dumps([k.decode() for k in keys])


def test_a_token_ends_the_session_when_it_expires() -> None:
    assert sessions.end_ms(0, 5_000) == 5_000


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/dashboard\\..", "/x"])
def test_nobody_is_sent_to_another_site(path: str) -> None:
    assert _within(path) == "/dashboard"
    assert _within("/dashboard/dead?queue=a") == "/dashboard/dead?queue=a"


@pytest.mark.parametrize("module", ["sessions", "canaries", "dids", "minutes"])
def test_the_shipped_acl_of_redis_allows_every_command(module: str) -> None:
    """What these modules send themselves; scripts declare theirs."""
    acl = (ROOT / "deploy" / "redis" / "users.acl").read_text()
    (ours,) = [line for line in acl.splitlines() if line.startswith("user credstream ")]
    allowed = {word[1:].partition("|")[0] for word in ours.split() if word.startswith("+")}
    text = (ROOT / "streams" / f"{module}.py").read_text()
    sent = {name.lower() for name in re.findall(r'\(\s*b?"([A-Z]{3,})"', text)}
    assert sent
    assert sent <= allowed


async def test_who_may_little_gets_somewhere(address: str, redis: Redis) -> None:
    """To the first page it may open; a refusal shows the pages that are left."""
    headers = {"Origin": address, "Accept": "text/html"}
    for scope, home in (("submit", "/dashboard/add"), ("read", "/dashboard")):
        key = await make_key(redis, scope)
        async with ClientSession(address, headers=headers) as http:
            answer = await http.post("/dashboard/login", json={"credential": key})
            assert (await answer.json())["data"]["location"] == home
    async with signed_in(address, await make_key(redis, "submit")) as person:
        refused = await person.get("/dashboard")
        assert refused.status == 403
        assert '<a href="/dashboard/add">' in await refused.text()
