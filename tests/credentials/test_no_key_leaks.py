"""No private key lies anywhere in Redis, in logs or in errors, but inside its seal."""

import base64
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from consumers.custody import Custody, SigningKey
from consumers.rotation import rotate
from credentials.keyring import Keyring
from credentials.keys import KEY_TYPES
from credentials.settings import CredentialSettings


def everything(raw: Any) -> Iterator[bytes]:
    """Every key, field and value in Redis, whatever its type."""
    for key in raw.scan_iter("*"):
        yield key
        match raw.type(key):
            case b"string":
                yield raw.get(key)
            case b"hash":
                yield from (part for pair in raw.hgetall(key).items() for part in pair)
            case b"zset":
                yield from raw.zrange(key, 0, -1)
            case b"set":
                yield from raw.smembers(key)
            case b"list":
                yield from raw.lrange(key, 0, -1)
            case b"stream":
                for _, fields in raw.xrange(key):
                    yield from (part for pair in fields.items() for part in pair)
            case kind:
                pytest.fail(f"{key!r} has a type this scan does not read: {kind!r}")


def spellings(seed: bytes) -> set[bytes]:
    """The 32 bytes as they might be written down."""
    plain = {seed, seed.hex().encode(), seed.hex().upper().encode(), str(list(seed)).encode()}
    for encoded in (base64.b64encode(seed), base64.urlsafe_b64encode(seed)):
        plain |= {encoded, encoded.rstrip(b"=")}
    # As base64 inside something longer, whatever the alignment.
    for shift in (1, 2):
        longer = base64.b64encode(b"\0" * shift + seed)
        plain.add(longer[4:-4])
    return plain


def secret_numbers(key: SigningKey) -> bytes:
    """The bytes that must not be anywhere."""
    secret = str(key.private.as_dict(private=True)["d"])
    return base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))


PKCS8 = [
    bytes.fromhex("302e020100300506032b6570"),  # Ed25519
    bytes.fromhex("06072a8648ce3d0201"),  # any key on a Weierstrass curve
]


def assert_clean(found: list[bytes], secrets: list[bytes]) -> None:
    written = {spelling for secret in secrets for spelling in spellings(secret)}
    for text in found:
        assert not any(spelling in text for spelling in written), text
        assert b'"d":' not in text.replace(b" ", b"").replace(b"\\", b"")
        assert b"PRIVATE KEY" not in text
        assert not any(marker in text for marker in PKCS8)


@pytest.mark.parametrize("kind", KEY_TYPES)
async def test_no_private_key_outside_its_seal(
    desk: Any,
    payload: Any,
    custody: Custody,
    raw: Any,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    """K4: did:key, every type of key; issued, refused, and with a tampered seal."""
    caplog.set_level(logging.DEBUG)
    data = payload.create(metadata={"keyType": kind})
    issuer = (await desk.finish(await desk.take("did-operations", data)))["did"]
    await desk.finish(await desk.take("vc-issuance", payload.degree(issuer)))
    await desk.finish(await desk.take("vc-issuance", payload.degree(issuer, "org-b")))
    vault = f"cs:vault:{{{issuer}}}"
    jwe = raw.hget(vault, "jwe")
    raw.hset(vault, "jwe", jwe[:-1] + (b"A" if jwe[-1:] != b"A" else b"B"))
    tampered = await desk.finish(await desk.take("vc-issuance", payload.degree(issuer)))
    raw.hset(vault, "jwe", jwe)

    key = await custody.signing_key(issuer, "org-a")
    found = list(everything(raw))
    assert jwe in found
    found += [caplog.text.encode(), str(tampered).encode(), repr(key).encode()]
    assert_clean(found, [secret_numbers(key)])
    assert any(b"returnvalue" in text for text in found)


@pytest.mark.parametrize("kind", KEY_TYPES)
async def test_no_private_key_of_a_hosted_did_either(
    desk: Any, custody: Custody, raw: Any, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """K4: did:web through its whole life, and while its seals are renewed."""
    caplog.set_level(logging.DEBUG)
    settings = CredentialSettings(public_url="http://localhost:3000", did_web_domain=None)
    desk.custody = custody = replace(custody, settings=settings)
    secrets: list[bytes] = []
    found: list[bytes] = []
    common = {"didMethod": "web", "organizationId": "org-a", "userId": "u"}

    async def step(operation: str, **more: Any) -> None:
        data = {**common, "operation": operation, **more}
        answer = await desk.finish(await desk.take("did-operations", data))
        found.append(str(answer).encode())
        found.extend(everything(raw))

    did = "did:web:localhost%3A3000:a"
    await step("create", metadata={"path": "a", "keyType": kind})
    secrets.append(secret_numbers(await custody.signing_key(did, "org-a")))
    await step("update", did=did, metadata={"rotate": True, "keyType": kind, "addKeys": [{}]})
    for number in (2, 3):
        key = await custody.signing_key(did, "org-a", f"{did}#key-{number}")
        secrets.append(secret_numbers(key))
    await step("update", did=did, metadata={"removeKeys": ["#key-2"]})  # refused: it signs
    await step("update", did=did, metadata={"removeKeys": ["#key-1"]})
    ring = Keyring({"k2": b"2" * 32, **kek_of(custody.keyring)}, "k2", "issuer")
    report = await rotate(custody.redis, ring, lambda _: None)
    assert report.resealed == 2
    found.extend(everything(raw))
    await step("deactivate", did=did)
    found += [caplog.text.encode(), str(report).encode()]
    assert len(secrets) == 3
    assert any(b"#key-2" in text for text in found)
    assert_clean(found, secrets)


def kek_of(ring: Keyring) -> dict[str, bytes]:
    return {name.partition("/")[2]: key.raw_value for name, key in ring._keks.items()}
