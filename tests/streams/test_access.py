"""API keys and quotas in Redis, and the scripts behind them."""

from typing import Any

import pytest

from streams import Redis, access, audit, errors, keys
from streams.access import NewKey
from streams.audit import Deed
from streams.scripts import RECORDS

NEW = NewKey("app", ("read", "operate"), "org-1", 99)


def deed(action: str = "key.create") -> bytes:
    return Deed("tests", action, "x").encode()


async def made(redis: Redis, new: NewKey = NEW) -> tuple[str, access.KeyRecord]:
    text, _ = access.mint("test")
    return text, await access.create(redis, text, new, "tests", deed())


async def test_a_key_comes_back_as_it_was_made(redis: Redis) -> None:
    text, record = await made(redis)
    found, now_ms = await access.find(redis, record.id)
    assert found == record
    assert record.digest == access.digest_of(text)
    assert (record.name, record.scopes, record.organization_id) == ("app", NEW.scopes, "org-1")
    assert record.created_ms <= now_ms
    assert not record.is_valid(now_ms)
    assert record.is_valid(98)
    assert await access.find(redis, "nobody") == (None, pytest.approx(now_ms, abs=60_000))


async def test_pages_are_newest_first(redis: Redis, raw: Any) -> None:
    assert await access.page(redis) == []
    records = []
    for n in range(5):
        _, record = await made(redis, NewKey(str(n), ("read",)))
        raw.zadd("cs:keys:{keys}:index", {record.id: n})
        records.append(record)
    assert [one.name for one in await access.page(redis, 1, 3)] == ["3", "2", "1"]
    assert len(await access.page(redis)) == 5


async def test_once_there_was_a_key_there_are_keys(redis: Redis) -> None:
    assert not await access.configured(redis)
    _, record = await made(redis)
    assert await access.configured(redis)
    assert await access.revoke(redis, record.id, deed("key.revoke"))
    assert await access.configured(redis)


async def test_creating_twice_is_creating_once(redis: Redis, raw: Any) -> None:
    text, key_id = access.mint("test")
    at = keys.access(key_id)
    command = RECORDS["access_create"].command(
        at, ("name", "n", "scopes", "", "maker", "m"), id=key_id, digest="d", who=deed()
    )
    replies = [(await redis.run(at.prefix, command))[0] for _ in range(2)]
    assert replies[0] == replies[1]
    assert replies[0][0] == b"OK"
    assert raw.xlen(at["audit"]) == 1
    with pytest.raises(access.NameTaken):
        await access.create(redis, text, NEW, "tests", b"")


async def test_revoking_twice_is_revoking_once(redis: Redis, raw: Any) -> None:
    _, record = await made(redis)
    at = keys.access(record.id)
    command = RECORDS["access_revoke"].command(at, who=deed("key.revoke"))
    words = [(await redis.run(at.prefix, command))[0][0] for _ in range(2)]
    assert words == [b"OK", b"ALREADY"]
    assert raw.xlen(at["audit"]) == 2
    assert not await access.revoke(redis, "nobody", deed())
    assert raw.xlen(at["audit"]) == 2
    found, _ = await access.find(redis, record.id)
    assert found is not None
    assert found.revoked_ms is not None


@pytest.mark.parametrize("name", ["key", "index", "audit"])
async def test_a_key_of_another_type_changes_nothing(redis: Redis, raw: Any, name: str) -> None:
    text, key_id = access.mint("test")
    at = keys.access(key_id)
    raw.set(at[name], "not ours")
    with pytest.raises(errors.Refused):
        await access.create(redis, text, NEW, "tests", deed())
    assert list(raw.scan_iter("cs:keys:*")) == [at[name]]
    if name != "index":
        with pytest.raises(errors.Refused):
            await access.revoke(redis, key_id, deed())
        assert list(raw.scan_iter("cs:keys:*")) == [at[name]]


async def test_a_quota_of_another_type(redis: Redis, raw: Any) -> None:
    await access.take(redis, "x", 1, 1_000)
    (name,) = raw.scan_iter("cs:quota:*")
    raw.delete(name)
    raw.rpush(name, "not ours")
    with pytest.raises(errors.Refused):
        await access.take(redis, "x", 1, 1_000)


async def test_streams_of_deeds_are_in_the_index(redis: Redis, raw: Any) -> None:
    await made(redis)
    assert raw.zrange("cs:audits", 0, -1) == [keys.access()["audit"]]
    raw.delete("cs:audits")
    await made(redis)
    assert raw.exists("cs:audits") == 0, "an hour is enough"


@pytest.mark.parametrize("name", ["audit_note", "audit_trim"])
async def test_an_audit_of_another_type(redis: Redis, raw: Any, name: str) -> None:
    at = keys.access()
    raw.set(at["audit"], "not ours")
    argument: dict[str, Any] = {"who": deed()} if name == "audit_note" else {"keep_ms": 1}
    with pytest.raises(errors.Refused):
        await redis.run(at.prefix, RECORDS[name].command(at, **argument))
    assert raw.get(at["audit"]) == b"not ours"


async def test_an_index_of_another_type_stops_a_deed(redis: Redis, raw: Any) -> None:
    raw.set("cs:audits", "not ours")
    with pytest.raises(errors.Refused):
        await audit.record(redis, Deed("x", "t", "1"))
    assert raw.exists(keys.access()["audit"]) == 0


async def test_a_note_that_is_sent_again_is_there_once(redis: Redis, raw: Any) -> None:
    at = keys.access()
    command = RECORDS["audit_note"].command(at, who=deed("t"))
    for _ in range(2):
        assert (await redis.run(at.prefix, command))[0] == [b"OK"]
    assert raw.xlen(at["audit"]) == 1
    empty = RECORDS["audit_note"].command(at, who=b"")
    await redis.run(at.prefix, empty)
    assert raw.xlen(at["audit"]) == 1
