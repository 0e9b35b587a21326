"""Sealed keys in Redis: created once, found by DID, remembered by the job that made them."""

import asyncio
from typing import Any

import pytest
from cutting import CutOff

import streams
from streams import errors, vault
from streams.vault import SealedKey

ORIGIN = ("did-operations", "job-1", "1735689600000", "org-a")


def sealed(name: str) -> SealedKey:
    return SealedKey(f"did:key:{name}", "org-a", f"did:key:{name}#{name}", f"jwe.of.{name}")


async def test_what_was_created_is_found(redis: streams.Redis) -> None:
    assert await vault.find(redis, "did:key:a") is None
    assert await vault.create(redis, ORIGIN, sealed("a")) == "did:key:a"
    assert await vault.find(redis, "did:key:a") == sealed("a")


async def test_a_key_is_never_overwritten(redis: streams.Redis) -> None:
    assert await vault.keep(redis, sealed("a"))
    other = SealedKey("did:key:a", "org-b", "did:key:a#a", "another.jwe")
    assert not await vault.keep(redis, other)
    assert await vault.find(redis, "did:key:a") == sealed("a")


async def test_one_origin_makes_one_key(redis: streams.Redis) -> None:
    assert await vault.create(redis, ORIGIN, sealed("a")) == "did:key:a"
    assert await vault.create(redis, ORIGIN, sealed("b")) == "did:key:a"
    assert await vault.find(redis, "did:key:b") is None
    other = (*ORIGIN[:3], "org-b")
    assert await vault.create(redis, other, sealed("b")) == "did:key:b"


async def test_runs_of_one_origin_at_the_same_time_agree(redis: streams.Redis) -> None:
    names = [f"k{n}" for n in range(20)]
    made = await asyncio.gather(*(vault.create(redis, ORIGIN, sealed(n)) for n in names))
    assert len(set(made)) == 1
    kept = [name for name in names if await vault.find(redis, f"did:key:{name}")]
    assert [f"did:key:{name}" for name in kept] == made[:1]


@pytest.mark.parametrize("passing", [0, 1, 2])
async def test_a_run_cut_off_anywhere_is_completed_by_the_next(
    redis: streams.Redis, passing: int
) -> None:
    flaky = CutOff(redis, passing)
    with pytest.raises(errors.Unavailable):
        await vault.create(flaky, ORIGIN, sealed("a"))
    expected = "b" if passing == 0 else "a"
    assert await vault.create(redis, ORIGIN, sealed("b")) == f"did:key:{expected}"
    assert await vault.find(redis, f"did:key:{expected}") == sealed(expected)
    other = "a" if expected == "b" else "b"
    assert await vault.find(redis, f"did:key:{other}") is None


async def test_the_origin_forgets_the_sealed_key(redis: streams.Redis, raw: Any) -> None:
    await vault.create(redis, ORIGIN, sealed("a"))
    (origin,) = [key for key in raw.scan_iter("cs:vault:*") if b"did:key:a" not in key]
    assert raw.get(origin) == b"did:key:a"
    assert 0 < raw.ttl(origin) <= vault.ORIGIN_MEMORY_S


async def test_a_record_of_one_key_reads_as_before(redis: streams.Redis, raw: Any) -> None:
    """The layout of the first version: `org`, `kid`, `jwe`."""
    raw.hset("cs:vault:{did:key:a}", mapping={"org": "org-a", "kid": "did:key:a#a", "jwe": "old"})
    key = SealedKey("did:key:a", "org-a", "did:key:a#a", "old")
    assert await vault.find(redis, "did:key:a") == key
    assert await vault.find(redis, "did:key:a", "did:key:a#a") == key
    assert await vault.find(redis, "did:key:a", "did:key:a#b") == vault.NoSuchKey(
        "did:key:a", "org-a"
    )


async def test_a_record_of_several_keys(redis: streams.Redis, raw: Any) -> None:
    record = {"org": "o", "kid": "d#2", "jwe:d#1": "one", "jwe:d#2": "two"}
    raw.hset("cs:vault:{d}", mapping=record)
    assert await vault.find(redis, "d") == SealedKey("d", "o", "d#2", "two")
    assert await vault.find(redis, "d", "d#1") == SealedKey("d", "o", "d#1", "one")
    assert await vault.find(redis, "d", "d#3") == vault.NoSuchKey("d", "o")
    raw.hset("cs:vault:{d}", "gone", 1)
    assert await vault.find(redis, "d", "d#1") == vault.Emptied("d", "o")


@pytest.mark.parametrize("verb", ["vault_keep", "vault_origin"])
async def test_a_key_of_another_type_stays(redis: streams.Redis, raw: Any, verb: str) -> None:
    if verb == "vault_keep":
        name = "cs:vault:{did:key:a}"
        raw.rpush(name, "foreign")
        assert not await vault.keep(redis, sealed("a"))  # something is there
        with pytest.raises(errors.Refused):
            await vault.find(redis, "did:key:a")
    else:
        name = vault._origin_key(ORIGIN)
        raw.rpush(name, "foreign")
        with pytest.raises(errors.Refused):
            await vault.create(redis, ORIGIN, sealed("a"))
    assert raw.lrange(name, 0, -1) == [b"foreign"]
