"""Signing in at an OpenID provider: authorization code, PKCE, state, nonce (AU-8, RFC 9700)."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest
from aiohttp import ClientSession
from identity_provider import CLIENT, STRANGER, IdentityProvider, identity_provider
from playwright.async_api import expect
from pydantic import ValidationError

from gateway.dashboard.login_settings import LoginSettings
from streams import Redis, audit
from tests.dashboard.browser import chromium
from tests.dashboard.signing_on import signing_on

SESSION, TRIP = "__Host-credstream", "__Host-credstream-trip"


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    async with identity_provider() as running:
        yield running


@pytest.fixture
async def address(
    redis: Redis, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[str]:
    async with signing_on(redis, provider, monkeypatch, tmp_path) as running:
        yield running


async def test_through_a_browser_and_out_again(
    address: str, provider: IdentityProvider, redis: Redis
) -> None:
    provider.claims = {"roles": ["platform", "operator"]}
    async with chromium() as browser:
        context = await browser.new_context()
        page = await context.new_page()
        wrong: list[str] = []
        page.on(  # the provider's own pages are not ours
            "console",
            lambda m: m.type == "error" and address in m.location["url"] and wrong.append(m.text),
        )
        await page.goto(f"{address}/dashboard/dead?queue=emails")
        await page.get_by_role("link", name="Sign in with 127.0.0.1").click()
        await page.get_by_role("link", name="Yes").click()
        await expect(page.locator("h1")).to_have_text("Dead letters")
        assert page.url == f"{address}/dashboard/dead?queue=emails"
        await expect(page.locator(".who-name")).to_have_text("ann@example.com")
        (cookie,) = await context.cookies()
        found = (cookie["name"], cookie["httpOnly"], cookie["secure"], cookie["sameSite"])
        assert found == (SESSION, True, True, "Strict")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.locator("h1")).to_have_text("Signed out here")
        assert await context.cookies() == []
        assert wrong == []
    (asked,) = provider.asked
    assert asked["redirect_uri"] == f"{address}/dashboard/login/return"
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    assert provider.ended == [
        {"client_id": CLIENT, "post_logout_redirect_uri": f"{address}/dashboard/login"}
    ]
    deeds = (await audit.page(redis, None, 10, lambda _: True)).found
    assert [one.deed["action"] for one in deeds] == ["session.close", "session.open"]


class Traveller:
    """What a browser would do, step by step."""

    def __init__(self, http: ClientSession, provider: IdentityProvider) -> None:
        self._http = http
        self._provider = provider
        self.cookie = ""

    async def leave(self) -> dict[str, str]:
        answer = await self._http.get("/dashboard/login/provider", allow_redirects=False)
        assert answer.status == 303
        self.cookie = answer.cookies[TRIP].value
        query = parse_qs(urlsplit(answer.headers["Location"]).query)
        return {name: values[0] for name, values in query.items()}

    def answer(self, asked: dict[str, str]) -> dict[str, str]:
        query = parse_qs(urlsplit(self._provider.answer(asked)).query)
        return {name: values[0] for name, values in query.items()}

    async def come_back(self, query: Any) -> tuple[int, str, str]:
        """Status, page, session."""
        async with self._http.get(
            "/dashboard/login/return",
            params=query,
            headers={"Cookie": f"{TRIP}={self.cookie}", "Accept": "text/html"},
        ) as answer:
            cookie = answer.cookies.get(SESSION)
            return answer.status, await answer.text(), cookie.value if cookie else ""


@pytest.fixture
async def traveller(address: str, provider: IdentityProvider) -> AsyncIterator[Traveller]:
    async with ClientSession(address) as http:
        yield Traveller(http, provider)


async def test_a_tenant_comes_into_its_own_and_a_code_opens_once(
    traveller: Traveller, address: str
) -> None:
    query = traveller.answer(await traveller.leave())
    status, text, session = await traveller.come_back(query)
    assert status == 200
    assert 'content="0;url=/dashboard"' in text
    async with ClientSession(address, headers={"Cookie": f"{SESSION}={session}"}) as person:
        page = await (await person.get("/dashboard", headers={"Accept": "text/html"})).text()
        assert "operate · org-a" in page
        assert (await person.get("/queue/stats")).status == 401
    status, _, session = await traveller.come_back(query)
    assert (status, session) == (403, "")


async def test_the_provider_confirms_a_session_and_its_roles(
    traveller: Traveller, address: str, provider: IdentityProvider, raw: Any
) -> None:
    """What it takes away is gone within OIDC_RECHECK_S, not when the session ends."""
    asked = await traveller.leave()
    assert asked["max_age"] == "43200"
    _, _, session = await traveller.come_back(traveller.answer(asked))
    (key,) = raw.keys("cs:session:*")
    kept = orjson.loads(raw.get(key))
    assert 890_000 < kept["again_ms"] - time.time_ns() // 1_000_000 <= 900_000
    raw.set(key, orjson.dumps(kept | {"again_ms": 1}), keepttl=True)
    cookie = {"Cookie": f"{SESSION}={session}", "Origin": address}
    async with ClientSession(address, headers=cookie) as person:
        html = {"Accept": "text/html"}
        page = await person.get("/dashboard/dead?a=1", headers=html, allow_redirects=False)
        way = "/dashboard/login/provider?next=%2Fdashboard%2Fdead%3Fa%3D1"
        assert (page.status, page.headers["Location"]) == (303, way)
        assert (await person.post("/dashboard/queue/emails/pause", json={})).status == 401
        assert (await person.get("/dashboard/live")).status == 401
    provider.claims = provider.claims | {"roles": ["viewer"]}
    _, _, session = await traveller.come_back(traveller.answer(await traveller.leave()))
    async with ClientSession(address, headers={"Cookie": f"{SESSION}={session}"}) as person:
        text = await (await person.get("/dashboard", headers={"Accept": "text/html"})).text()
        assert "read · org-a" in text


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "of-another"},
        {"nonce": None},
        {"aud": "credstream-api"},
        {"aud": [CLIENT, "another"]},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"azp": "another"},
        {"iss": "https://evil.example"},
        {"exp": 1},
        {"auth_time": None},
        {"auth_time": "now"},
        {"auth_time": True},
        {"auth_time": 1},
        {"auth_time": int(time.time()) - 43_200 - 60},
        {"auth_time": int(time.time()) + 3_600},
        {"roles": []},
        {"organization_id": ""},
    ],
)
async def test_id_tokens_that_open_nothing(
    traveller: Traveller, provider: IdentityProvider, claims: dict[str, Any]
) -> None:
    provider.claims |= claims
    status, text, session = await traveller.come_back(traveller.answer(await traveller.leave()))
    assert (status, session) == (403, "")
    assert "You are not signed in" in text


async def test_who_was_authenticated_a_while_ago_comes_in(
    traveller: Traveller, provider: IdentityProvider, redis: Redis
) -> None:
    """Within `max_age`; and who was not leaves a record."""
    provider.claims |= {"auth_time": time.time() - 43_000}
    assert (await traveller.come_back(traveller.answer(await traveller.leave())))[0] == 200
    provider.claims |= {"auth_time": time.time() - 44_000}
    assert (await traveller.come_back(traveller.answer(await traveller.leave())))[0] == 403
    deeds = (await audit.page(redis, None, 10, lambda _: True)).found
    assert [one.deed["action"] for one in deeds] == ["session.refuse", "session.open"]


async def test_what_came_from_somewhere_else_opens_nothing(
    traveller: Traveller, provider: IdentityProvider
) -> None:
    asked = await traveller.leave()
    good = traveller.answer(asked)
    mine, stolen = traveller.cookie, (await traveller.leave(), traveller.cookie)[1]
    rounds: list[tuple[str, Any]] = [
        (mine, good | {"state": "x"}),
        (mine, {name: good[name] for name in ("code", "iss")}),
        (stolen, good),
        ("", good),
        ("", good | {"state": ""}),
        (mine, good | {"iss": "https://evil.example"}),
        (mine, {name: good[name] for name in ("code", "state")}),
        (mine, [*good.items(), ("state", good["state"])]),
        (mine, {"state": good["state"], "error": "access_denied", "error_description": "<b>"}),
    ]
    for cookie, query in rounds:
        traveller.cookie = cookie
        status, text, session = await traveller.come_back(query)
        assert (status, session) == (403, ""), query
        assert "<b>" not in text
    assert provider.refused == [], "no code has left the gateway"
    traveller.cookie = mine
    assert (await traveller.come_back(good))[0] == 200
    provider.key = STRANGER
    traveller.cookie = mine
    assert (await traveller.come_back(traveller.answer(asked)))[0] == 403
    assert (await traveller.come_back(good))[0] == 429, "an address that fails again and again"


async def test_a_stolen_code_is_of_no_use_without_its_verifier(
    traveller: Traveller, provider: IdentityProvider
) -> None:
    """Somebody else's code, put into a sign-in of one's own."""
    theirs = traveller.answer(await traveller.leave())
    own = traveller.answer(await traveller.leave())
    assert (await traveller.come_back(own | {"code": theirs["code"]}))[0] == 403
    assert provider.refused == ["verifier"]


async def test_a_provider_that_fails_is_told_as_that(
    traveller: Traveller, provider: IdentityProvider
) -> None:
    query = traveller.answer(await traveller.leave())
    provider.token_status = 502
    status, text, session = await traveller.come_back(query)
    assert (status, session) == (503, "")
    assert "does not answer" in text


@pytest.mark.parametrize(
    "said",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "ftp://127.0.0.1/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": None},
    ],
)
async def test_a_description_that_does_not_fit_sends_nobody_anywhere(
    address: str, provider: IdentityProvider, said: dict[str, Any]
) -> None:
    provider.discovery = said
    async with ClientSession(address) as http:
        answer = await http.get("/dashboard/login/provider", allow_redirects=False)
        assert answer.status == 503


async def test_a_secret_in_the_body_where_the_provider_wants_that(
    traveller: Traveller, provider: IdentityProvider
) -> None:
    provider.discovery = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert (await traveller.come_back(traveller.answer(await traveller.leave())))[0] == 200


@pytest.mark.parametrize(
    "said",
    [
        {"issuer": None},
        {"redirect_url": None},
        {"redirect_url": "http://ops.example/dashboard/login/return"},
        {"redirect_url": "https://ops.example/elsewhere"},
        {"redirect_url": "https://ops.example/dashboard/login/return?a=b"},
        {"scope": "profile"},
        {"client_secret": "a", "client_secret_file": "b"},
        {"session_s": 86_400},
    ],
)
def test_settings_that_do_not_go_together(said: dict[str, Any]) -> None:
    good = {
        "issuer": "https://id.example",
        "client_id": "c",
        "redirect_url": "https://ops.example/dashboard/login/return",
    }
    assert LoginSettings(**good).host == "id.example"
    with pytest.raises(ValidationError):
        LoginSettings(**good | said)
