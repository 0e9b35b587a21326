"""No private key lies anywhere in Redis, in logs or in errors, but inside its seal."""

import base64
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from consumers.custody import Custody


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


async def test_no_private_key_outside_its_seal(
    desk: Any, payload: Any, custody: Custody, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    issuer = (await desk.finish(await desk.take("did-operations", payload.create())))["did"]
    await desk.finish(await desk.take("vc-issuance", payload.degree(issuer)))
    await desk.finish(await desk.take("vc-issuance", payload.degree(issuer, "org-b")))
    vault = f"cs:vault:{{{issuer}}}"
    jwe = raw.hget(vault, "jwe")
    raw.hset(vault, "jwe", jwe[:-1] + (b"A" if jwe[-1:] != b"A" else b"B"))
    tampered = await desk.finish(await desk.take("vc-issuance", payload.degree(issuer)))
    raw.hset(vault, "jwe", jwe)

    key = (await custody.signing_key(issuer, "org-a")).private
    secret = str(key.as_dict(private=True)["d"])
    seed = base64.urlsafe_b64decode(secret + "=")
    found = list(everything(raw))
    assert jwe in found
    found += [caplog.text.encode(), str(tampered).encode()]
    for text in found:
        assert not any(spelling in text for spelling in spellings(seed)), text
        assert b'"d":' not in text.replace(b" ", b"").replace(b"\\", b"")
        assert b"PRIVATE KEY" not in text
        assert bytes.fromhex("302e020100300506032b6570") not in text
    assert any(b"returnvalue" in text for text in found)
