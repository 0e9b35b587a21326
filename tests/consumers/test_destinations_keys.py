"""Signing keys of webhooks: made on first use, sealed, rotated; on a clock of the test's own."""

import asyncio
import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any

import pytest
from redis_servers import Server

from consumers.destinations import Destinations
from credentials.errors import CredentialError
from credentials.keyring import Keyring
from credentials.webhook_secrets import (
    HOUR_MS,
    OLD_KEYS_MAX,
    Contended,
    WebhookSecrets,
    WebhookSecretSettings,
    generate,
)
from streams import Redis, connect
from streams.destinations import Destination, record
from streams.secret_shelf import SecretShelf

ORG, URL = "org-1", "https://example.com/hook"
ORIGIN = "https://example.com"
START_MS = 1_800_000_000_000
DAY_MS = 24 * HOUR_MS


@dataclass
class ShelfOnAClock:
    """The shelf in Redis, at the time that the test says."""

    shelf: SecretShelf
    at_ms: int = START_MS
    refuse: int = 0

    async def now_ms(self, organization_id: str, origin: str) -> int:
        return self.at_ms

    async def load(self, organization_id: str, origin: str) -> tuple[int, str | None]:
        return await self.shelf.load(organization_id, origin)

    async def keep(
        self, organization_id: str, origin: str, version: int, sealed: str, who: bytes
    ) -> bool:
        if self.refuse > 0:
            self.refuse -= 1
            return False
        return await self.shelf.keep(organization_id, origin, version, sealed, who)


@pytest.fixture
def keyring() -> Keyring:
    return Keyring.parse(f"k1:{base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}")


@pytest.fixture
def shelf(redis: Redis) -> ShelfOnAClock:
    return ShelfOnAClock(SecretShelf(redis))


@pytest.fixture
def rings(shelf: ShelfOnAClock, keyring: Keyring) -> WebhookSecrets:
    return WebhookSecrets(shelf, keyring, DAY_MS)


@pytest.fixture
def desk(redis: Redis, rings: WebhookSecrets) -> Destinations:
    return Destinations(redis, rings)


def signatures(keys: list[str]) -> list[str]:
    """What a request signed with these carries, by the letter of Standard Webhooks."""
    raw = [base64.b64decode(key.removeprefix("whsec_"), validate=True) for key in keys]
    return [
        base64.b64encode(hmac.new(key, b"msg_1.1.{}", hashlib.sha256).digest()).decode()
        for key in raw
    ]


async def test_after_a_rotation_two_signatures_and_a_day_later_one(
    desk: Destinations, rings: WebhookSecrets, shelf: ShelfOnAClock
) -> None:
    (before,) = signatures(await desk.keys(ORG, URL))
    await rings.rotate(ORG, "", "hmac")
    both = signatures(await desk.keys(ORG, URL))
    assert len(both) == 2
    assert both[1] == before != both[0]
    shelf.at_ms += DAY_MS - 1
    assert signatures(await desk.keys(ORG, URL)) == both
    shelf.at_ms += 1
    assert signatures(await desk.keys(ORG, URL)) == both[:1]


async def test_the_overlap_can_be_configured(
    shelf: ShelfOnAClock, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert WebhookSecretSettings().overlap_ms == DAY_MS
    monkeypatch.setenv("WEBHOOK_SECRET_OVERLAP_HOURS", "0.5")
    rings = WebhookSecrets(shelf, keyring, WebhookSecretSettings().overlap_ms)
    await rings.signing(ORG, "")
    await rings.rotate(ORG, "", "hmac")
    shelf.at_ms += HOUR_MS // 2 - 1
    assert len(await rings.signing(ORG, "")) == 2
    shelf.at_ms += 1
    assert len(await rings.signing(ORG, "")) == 1


async def test_at_most_ten_old_keys(rings: WebhookSecrets, shelf: ShelfOnAClock) -> None:
    made = [(await rings.rotate(ORG, "", "hmac")).id for _ in range(14)]
    ring = await rings.ring(ORG, "")
    assert len(ring) == OLD_KEYS_MAX + 1
    assert [one.id for one in ring] == made[::-1][: OLD_KEYS_MAX + 1]
    _, text = await shelf.load(ORG, "")
    assert text is not None
    assert made[0] not in text


async def test_what_is_stored_of_an_expired_key_goes_with_the_next_rotation(
    rings: WebhookSecrets, shelf: ShelfOnAClock
) -> None:
    first = (await rings.ring(ORG, ""))[0].id
    await rings.rotate(ORG, "", "hmac")
    shelf.at_ms += DAY_MS
    await rings.rotate(ORG, "", "hmac")
    _, text = await shelf.load(ORG, "")
    assert text is not None
    assert first not in text


async def test_a_first_use_by_many_at_once_makes_one_key(redis: Redis, keyring: Keyring) -> None:
    desks = [
        Destinations(redis, WebhookSecrets(SecretShelf(redis), keyring, DAY_MS)) for _ in range(20)
    ]
    found = await asyncio.gather(*(desk.keys(ORG, URL) for desk in desks))
    assert len({tuple(keys) for keys in found}) == 1
    assert len(found[0]) == 1


async def test_rotations_at_once_all_count(redis: Redis, keyring: Keyring) -> None:
    many = [WebhookSecrets(SecretShelf(redis), keyring, DAY_MS) for _ in range(6)]
    made = await asyncio.gather(*(one.rotate(ORG, "", "hmac") for one in many))
    ring = await many[0].ring(ORG, "")
    assert {one.id for one in ring} == {one.id for one in made}
    assert [one.replaced is None for one in ring] == [True] + [False] * 5


async def test_who_never_gets_a_turn_is_told(rings: WebhookSecrets, shelf: ShelfOnAClock) -> None:
    shelf.refuse = 1_000
    for call in (rings.rotate(ORG, "", "hmac"), rings.signing(ORG, "")):
        with pytest.raises(Contended):
            await call


async def test_a_destinations_own_ring_begins_with_the_organizations_keys(
    desk: Destinations, rings: WebhookSecrets, shelf: ShelfOnAClock
) -> None:
    shared = await desk.keys(ORG, URL)
    await rings.rotate(ORG, ORIGIN, "ed25519")
    keys = await desk.keys(ORG, URL)
    assert keys[0].startswith("whsk_")
    assert keys[1:] == shared
    assert await desk.keys(ORG, "https://elsewhere.example/") == shared
    shelf.at_ms += DAY_MS
    assert await desk.keys(ORG, URL) == keys[:1]
    assert await desk.keys(ORG, "https://elsewhere.example/") == shared


async def test_organizations_share_nothing(desk: Destinations, raw: Any) -> None:
    one, other = await desk.keys(ORG, URL), await desk.keys("org-2", URL)
    assert one != other
    sealed = raw.hget(Destination("org-2", "").keys["secret"], "sealed")
    raw.hset(Destination(ORG, "").keys["secret"], "sealed", sealed)
    with pytest.raises(CredentialError) as caught:
        await desk.keys(ORG, URL)
    assert caught.value.code == "key_unreadable"


async def test_another_ring_does_not_open_them(
    desk: Destinations, redis: Redis, shelf: ShelfOnAClock
) -> None:
    await desk.keys(ORG, URL)
    other = Keyring.parse(f"k9:{base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()}")
    with pytest.raises(CredentialError) as caught:
        await Destinations(redis, WebhookSecrets(shelf, other, DAY_MS)).keys(ORG, URL)
    assert caught.value.code == "kek_unknown"


async def test_a_full_redis_does_not_keep_the_first_key_back(
    own_server: Server, keyring: Keyring
) -> None:
    redis = connect(own_server.url)
    with own_server.client() as raw:
        raw.config_set("maxmemory", 1)
    desk = Destinations(redis, WebhookSecrets(SecretShelf(redis), keyring, DAY_MS))
    assert len(await desk.keys(ORG, URL)) == 1
    at = Destination(ORG, "").keys
    for _ in range(2):
        await record(redis, at, b"{}")
    with own_server.client() as raw:
        assert raw.xlen(at["audit"]) == 2
    await redis.close()


def spellings(secret: bytes) -> set[bytes]:
    """The bytes as they might be written down, also inside something longer."""
    plain = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for encoded in (base64.b64encode(secret), base64.urlsafe_b64encode(secret)):
        plain |= {encoded, encoded.rstrip(b"=")}
    for shift in (1, 2):
        plain.add(base64.b64encode(b"\0" * shift + secret)[4:-4])
    return plain


def everything(raw: Any) -> bytes:
    """Each key, and what lies under it."""
    found: list[bytes] = []
    for key in raw.scan_iter("*"):
        found.append(key)
        match raw.type(key):
            case b"hash":
                found += [part for pair in raw.hgetall(key).items() for part in pair]
            case b"zset":
                found += raw.zrange(key, 0, -1)
            case b"stream":
                found += [part for _, f in raw.xrange(key) for pair in f.items() for part in pair]
            case b"string":
                found.append(raw.get(key))
            case kind:
                pytest.fail(f"{key!r} has a type this scan does not read: {kind!r}")
    return b"\n".join(found)


async def test_nothing_of_a_secret_lies_open_in_redis(
    desk: Destinations, rings: WebhookSecrets, raw: Any
) -> None:
    keys = await desk.keys(ORG, URL)
    await rings.rotate(ORG, "", "ed25519", b"{}")
    await rings.rotate(ORG, ORIGIN, "hmac", b"{}")
    keys += await desk.keys(ORG, URL)
    stored = everything(raw)
    assert b"jwe" in stored
    for text in set(keys):
        bare = base64.b64decode(text.partition("_")[2])
        for spelling in spellings(bare[:32]):
            assert spelling not in stored
    assert b"whsec_" not in stored
    assert b"whsk_" not in stored


def test_what_is_generated_is_as_standard_webhooks_says() -> None:
    secret, public = generate("hmac")
    assert public is None
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    secret, public = generate("ed25519")
    assert public is not None
    whole = base64.b64decode(secret.removeprefix("whsk_"), validate=True)
    assert (len(whole), public) == (64, "whpk_" + base64.b64encode(whole[32:]).decode())
    assert len({generate("hmac")[0] for _ in range(100)}) == 100


def test_a_secret_does_not_show(rings: WebhookSecrets, keyring: Keyring) -> None:
    assert "whsec_" not in keyring.seal_text("whsec_abc", "n")
    assert keyring.unseal_text(keyring.seal_text("whsec_abc", "n"), "n") == "whsec_abc"
    with pytest.raises(CredentialError, match="another name") as caught:
        keyring.unseal_text(keyring.seal_text("whsec_abc", "n"), "m")
    assert "abc" not in str(caught.value)
    for broken in ("", "x", "a.b.c.d.e"):
        with pytest.raises(CredentialError):
            keyring.unseal_text(broken, "n")
