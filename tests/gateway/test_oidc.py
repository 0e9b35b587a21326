"""Bearer tokens of an OpenID provider, and the attacks on them (AU-5, RFC 8725)."""

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import ClientSession, web
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from pydantic import ValidationError

from gateway.app import create_app
from gateway.oidc import (
    BadToken,
    Bearer,
    IdentityUnavailable,
    Jwks,
    KeySource,
    OidcSettings,
)
from gateway.principal import Scope
from gateway.server import listening
from gateway.settings import GatewaySettings
from outbound.guard import Guard
from outbound.networks import parse_allowance
from outbound.settings import OidcOutboundSettings, OutboundSettings
from streams import Redis
from tests.gateway.callers import bearer

NOW_S = 1_800_000_000
ISSUER, AUDIENCE = "https://id.example", "credstream"
RSA, EC, ED = (
    RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"}),
    ECKey.generate_key("P-256", {"kid": "ec"}),
    OKPKey.generate_key("Ed25519", {"kid": "ed"}),
)
STRANGER = RSAKey.generate_key(2048, {"kid": "rsa"})
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "user-1",
    "exp": NOW_S + 300,
    "organization_id": "org-1",
    "roles": ["operator"],
}


@dataclass
class Provider:
    """A provider's JWKS on loopback."""

    url: str = ""
    asked: int = 0
    status: int = 200
    body: bytes = b""
    keys: list[Any] = field(default_factory=lambda: [RSA, EC, ED])

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        document = {"keys": [key.as_dict(private=False) for key in self.keys]}
        return web.Response(body=self.body or json.dumps(document).encode(), status=self.status)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    app = web.Application()
    app.router.add_get("/jwks", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    made.url = f"http://127.0.0.1:{port}/jwks"
    yield made
    await runner.cleanup()


def outbound() -> OutboundSettings:
    return OutboundSettings(allow_http=True, allow_nets=(parse_allowance("127.0.0.0/8"),))


def told(provider: Provider, **changes: Any) -> OidcSettings:
    given = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": provider.url}
    return OidcSettings(**{**given, **changes})


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def reading(
    provider: Provider, clock: Callable[[], float] | None = None, **changes: Any
) -> AsyncIterator[Bearer]:
    settings = told(provider, **changes)
    jwks = Jwks(provider.url, outbound())
    living = jwks.living(web.Application())
    await anext(living)
    source = KeySource(jwks, clock or (lambda: 0.0))
    yield Bearer(settings, source, lambda: NOW_S)
    with pytest.raises(StopAsyncIteration):
        await anext(living)


def signed(
    claims: dict[str, Any] | None = None,
    key: Any = RSA,
    alg: str = "RS256",
    header: dict[str, Any] | None = None,
    *,
    without: tuple[str, ...] = (),
) -> str:
    head = {"alg": alg, "kid": key.kid, "typ": "JWT", **(header or {})}
    body = {**CLAIMS, **(claims or {})}
    for name in without:
        head.pop(name, None)
        body.pop(name, None)
    return jwt.encode(head, body, key, algorithms=[alg])


def by_hand(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
@pytest.mark.parametrize(("key", "alg"), [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA")])
async def test_a_token_says_who_somebody_is(provider: Provider, key: Any, alg: str) -> None:
    async with reading(provider) as known:
        principal, ends_s = await known.read(signed(key=key, alg=alg))
    assert (principal.name, principal.organization_id) == ("user-1", "org-1")
    assert principal.scopes == {Scope.SUBMIT, Scope.READ, Scope.OPERATE}
    assert ends_s == NOW_S + 330
    assert provider.asked == 1


def confused() -> str:
    """Signed as HMAC with the public key of the provider as the secret."""
    secret = OctKey.import_key(RSA.as_pem(private=False))
    return jwt.encode({"alg": "HS256", "kid": "rsa"}, CLAIMS, secret, algorithms=["HS256"])


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "token",
    [
        by_hand({"alg": "none", "kid": "rsa"}, CLAIMS),
        by_hand({"alg": "None", "kid": "rsa"}, CLAIMS),
        by_hand({"kid": "rsa"}, CLAIMS),
        by_hand({"alg": "RS256", "kid": "rsa"}, CLAIMS),
        by_hand({"alg": "RS256", "kid": "rsa"}, CLAIMS, b"x" * 256),
        by_hand({"alg": "RS256", "kid": "ec"}, CLAIMS, b"x" * 256),
        by_hand({"alg": "RS256", "kid": "rsa", "crit": ["exp"], "exp": 1}, CLAIMS, b"x" * 256),
        by_hand({"alg": "RS256", "kid": "rsa", "crit": ["b64"], "b64": False}, CLAIMS, b"x"),
        "not.a.token",
        signed(key=STRANGER),
        signed(header={"kid": "unknown"}),
        signed(header={"kid": ""}),
        signed(without=("kid",)),
        signed(key=RSA, alg="RS512"),
        signed({"exp": NOW_S - 31}),
        signed({"exp": str(NOW_S + 300)}),
        signed({"exp": None}),
        signed(without=("exp",)),
        signed({"nbf": NOW_S + 31}),
        signed({"iss": "https://evil.example"}),
        signed({"iss": ISSUER + "/"}),
        signed(without=("iss",)),
        signed({"aud": "another"}),
        signed({"aud": ["another"]}),
        signed(without=("aud",)),
        signed(without=("sub",)),
        signed({"sub": ""}),
        signed({"sub": 7}),
        signed({"organization_id": ""}),
        signed({"organization_id": "default"}),
        signed({"organization_id": ["org-1"]}),
        signed(without=("organization_id",)),
        signed()[:-4] + "AAAA",
        signed() + "x",
        signed() + ".x",
        "",
        "a.b.c",
        "..",
        "\xff.\xff.\xff",
        "a" * 9_000,
    ],
)
async def test_tokens_that_open_nothing(provider: Provider, token: str) -> None:
    async with reading(provider) as known:
        with pytest.raises(BadToken):
            await known.read(token)


async def test_the_public_key_is_no_hmac_secret(provider: Provider) -> None:
    async with reading(provider) as known:
        with pytest.raises(BadToken):
            await known.read(by_hand({"alg": "HS256", "kid": "rsa"}, CLAIMS, b"x" * 32))


async def test_a_symmetric_key_in_the_jwks_is_not_taken(provider: Provider) -> None:
    secret = OctKey.import_key("a-secret-of-32-bytes-length-....", {"kid": "oct"})
    provider.body = json.dumps({"keys": [secret.as_dict()]}).encode()
    token = jwt.encode({"alg": "HS256", "kid": "oct"}, CLAIMS, secret, algorithms=["HS256"])
    async with reading(provider) as known:
        with pytest.raises(BadToken):
            await known.read(token)


@pytest.mark.parametrize("name", ["jku", "x5u"])
async def test_where_a_token_says_its_key_is_nobody_looks(provider: Provider, name: str) -> None:
    evil = by_hand({"alg": "RS256", "kid": "rsa", name: provider.url + "?evil"}, CLAIMS, b"x" * 256)
    async with reading(provider) as known:
        with pytest.raises(BadToken):
            await known.read(evil)
    assert provider.asked == 1


async def test_a_key_inside_the_token_is_not_used(provider: Provider) -> None:
    token = signed(key=STRANGER, header={"jwk": STRANGER.as_dict(private=False)})
    async with reading(provider) as known:
        with pytest.raises(BadToken):
            await known.read(token)


async def test_leeway(provider: Provider) -> None:
    async with reading(provider) as known:
        await known.read(signed({"exp": NOW_S - 29}))
        await known.read(signed({"nbf": NOW_S + 29}))
        await known.read(signed({"aud": ["other", AUDIENCE]}))


async def test_keys_are_read_again_after_ten_minutes_and_for_an_unknown_one(
    provider: Provider,
) -> None:
    clock = Clock()
    async with reading(provider, clock) as known:
        for _ in range(3):
            await known.read(signed())
        assert provider.asked == 1
        fresh = RSAKey.generate_key(2048, {"kid": "fresh"})
        provider.keys = [fresh]
        for _ in range(3):
            with pytest.raises(BadToken):
                await known.read(signed(key=fresh))
        assert provider.asked == 1, "not more often than every 30 s"
        clock.now_s += 30
        await known.read(signed(key=fresh))
        assert provider.asked == 2
        with pytest.raises(BadToken):
            await known.read(signed())
        clock.now_s += 599
        await known.read(signed(key=fresh))
        assert provider.asked == 2
        clock.now_s += 1
        await known.read(signed(key=fresh))
        assert provider.asked == 3


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, b""), (404, b""), (302, b""), (200, b"<html>"), (200, b"[]" * 200_000)],
)
async def test_a_provider_that_does_not_answer(
    provider: Provider, status: int, body: bytes
) -> None:
    clock = Clock()
    async with reading(provider, clock) as known:
        await known.read(signed())
        provider.status, provider.body = status, body
        clock.now_s += 3_000
        await known.read(signed())  # what is known serves for an hour
        clock.now_s += 601
        with pytest.raises(IdentityUnavailable):
            await known.read(signed())


async def test_roles_and_the_platform(provider: Provider) -> None:
    changes = {
        "roles": {"queue-admins": "admin", "auditors": "read:sensitive"},
        "roles_claim": "groups",
        "organization_claim": "tenant",
        "platform_role": "staff",
    }
    async with reading(provider, **changes) as known:
        claims = {"groups": ["queue-admins", "auditors", "unknown", 7], "tenant": "org-9"}
        principal, _ = await known.read(signed(claims))
        assert principal.organization_id == "org-9"
        assert principal.scopes == set(Scope) - {Scope.PUBLIC}
        principal, _ = await known.read(signed({**claims, "groups": "viewer"}))
        assert principal.scopes == {Scope.READ}
        staff, _ = await known.read(signed({"groups": ["staff", "viewer"]}))
        assert staff.is_platform
        nobody, _ = await known.read(signed({"groups": [], "tenant": "org-9"}))
        assert nobody.scopes == frozenset()


@pytest.mark.parametrize(
    "changes",
    [
        {"audience": None},
        {"jwks_url": None},
        {"algorithms": ("HS256",)},
        {"algorithms": "none"},
        {"algorithms": ""},
        {"roles": {"x": "king"}},
        {"leeway_s": 61},
    ],
)
def test_settings_that_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        told(Provider(url="https://id.example/jwks"), **changes)


async def test_a_gateway_with_a_provider(
    provider: Provider, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OIDC_ISSUER", ISSUER)
    monkeypatch.setenv("OIDC_AUDIENCE", AUDIENCE)
    monkeypatch.setenv("OIDC_JWKS_URL", provider.url)
    monkeypatch.setenv("OIDC_ALLOW_HTTP", "true")
    monkeypatch.setenv("OIDC_ALLOW_NETS", "127.0.0.0/8")
    app = create_app(redis, GatewaySettings(host="127.0.0.1", port=0))
    token = signed({"exp": int(time.time()) + 300, "roles": "viewer"})
    async with (
        listening(app) as (_, port),
        ClientSession(f"http://localhost:{port}") as http,
    ):
        async with http.get("/queue/stats") as response:
            assert response.status == 401
        for _ in range(3):
            async with http.get("/queue/stats", headers=bearer(token)) as response:
                assert response.status == 200
        async with http.post("/queue/emails/pause", headers=bearer(token)) as response:
            assert response.status == 403
        async with http.get("/queue/stats", headers=bearer(token + "x")) as response:
            assert response.status == 401
            assert "signature" not in (await response.text()).lower()
        expired = signed({"exp": int(time.time()) - 60})
        async with http.get("/queue/stats", headers=bearer(expired)) as response:
            assert response.status == 401
    assert provider.asked == 1


def test_what_the_provider_may_be_is_not_opened_to_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OIDC_ALLOW_NETS", "10.20.0.7/32:443")
    monkeypatch.setenv("OIDC_ALLOW_HTTP", "true")
    provider, tenants = Guard(OidcOutboundSettings()), Guard(OutboundSettings())
    assert provider.refusal("10.20.0.7", 443) is None
    assert provider.refusal("10.20.0.8", 443) is not None
    assert tenants.refusal("10.20.0.7", 443) is not None
    assert not OutboundSettings().allow_http
    monkeypatch.setenv("WEBHOOK_ALLOW_NETS", "10.30.0.0/16")
    assert Guard(OutboundSettings()).refusal("10.30.0.1", 443) is None
    assert Guard(OidcOutboundSettings()).refusal("10.30.0.1", 443) is not None
