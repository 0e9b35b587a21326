"""Hosted DIDs and their keys in Redis: every word of the scripts, twice, and on wrong keys."""

from typing import Any

import pytest
from redis.exceptions import ResponseError
from script_faults import FAULT, assert_cannot_fail, run

from streams import Redis, dids, vault
from streams.dids import Change, Version
from streams.errors import Refused
from streams.keys import DidKeys, Keys
from streams.scripts import RECORDS, Command

DID = "did:web:localhost%3A3000:a"
KEYS = DidKeys(DID, "o")
ONE = Version('{"v":1}', '{"id":"one"}', f"{DID}#key-1", [(f"{DID}#key-1", "jwe.1")])
TWO = Version(
    '{"v":2}', '{"id":"two"}', f"{DID}#key-2", [(f"{DID}#key-2", "jwe.2")], [f"{DID}#key-1"]
)


def change(job: str, organization: str = "org-a", did: str = DID) -> Change:
    return Change(did, organization, ("did-operations", job), f'{{"by":"{job}"}}')


async def create(redis: Redis, job: str = "create", **more: Any) -> str:
    return (await dids.create(redis, change(job, **more), ONE)).word


async def update(redis: Redis, job: str, expected: int = 1, **more: Any) -> str:
    return (await dids.update(redis, change(job, **more), TWO, expected=expected)).word


async def end(redis: Redis, job: str, expected: int | None = None, **more: Any) -> str:
    return (await dids.deactivate(redis, change(job, **more), expected=expected)).word


async def test_what_lies_there_after_each_change(redis: Redis, raw: Any) -> None:
    assert await dids.find(redis, DID) is None
    assert await create(redis) == "OK"
    record = raw.hgetall(KEYS["did"])
    created = int(record.pop(b"created"))
    assert int(record.pop(b"updated")) == created > 1_700_000_000_000
    assert record == {b"org": b"org-a", b"version": b"1", b"state": b'{"v":1}',
                      b"document": b'{"id":"one"}'}  # fmt: skip
    first, second = f"{DID}#key-1", f"{DID}#key-2"
    assert raw.hgetall(KEYS["vault"]) == {
        b"org": b"org-a", b"kid": first.encode(), f"jwe:{first}".encode(): b"jwe.1"
    }  # fmt: skip
    assert await update(redis, "update") == "OK"
    assert raw.hgetall(KEYS["vault"]) == {
        b"org": b"org-a", b"kid": second.encode(), f"jwe:{second}".encode(): b"jwe.2"
    }  # fmt: skip
    found = await dids.find(redis, DID)
    assert found is not None
    assert (found.version, found.document, found.state) == (2, {"id": "two"}, '{"v":2}')
    assert found.created_ms == created <= found.updated_ms
    assert await end(redis, "end", 2) == "OK"
    assert set(raw.hgetall(KEYS["did"])) == {
        b"org", b"version", b"created", b"updated", b"deactivated"
    }  # fmt: skip
    assert set(raw.hgetall(KEYS["vault"])) == {b"org", b"gone"}
    found = await dids.find(redis, DID)
    assert found is not None
    assert (found.version, found.document) == (3, None)
    assert await vault.find(redis, DID) == vault.Emptied(DID, "org-a")


async def test_the_list_of_an_organization(redis: Redis) -> None:
    names = [f"{DID}{n}" for n in range(3)]
    for n, did in enumerate(names):
        await dids.write_down(redis, "org-a", did)
        assert await create(redis, f"create-{n}", did=did) == "OK"
    await dids.write_down(redis, "org-b", names[0])
    assert await create(redis, "late", organization="org-b", did=names[0]) == "EXISTS"
    await dids.write_down(redis, "org-a", f"{DID}-never-made")
    assert [one.did for one in (await dids.listed(redis, "org-a"))[0]] == names
    found, more = await dids.listed(redis, "org-a", 1, 2)
    assert ([one.did for one in found], more) == (names[:2], True)
    found, more = await dids.listed(redis, "org-a", 3, 2)
    assert ([one.did for one in found], more) == (names[2:], False)
    assert await dids.listed(redis, "org-b") == ([], False)  # what org-a has is not theirs
    assert await end(redis, "end", did=names[1]) == "OK"
    found, _ = await dids.listed(redis, "org-a")
    assert [one.document is None for one in found] == [False, True, False]


async def test_every_change_is_made_once_for_each_origin(redis: Redis, raw: Any) -> None:
    for make in (create, update, end):
        assert await make(redis, make.__name__) == "OK"
        before = [raw.hgetall(KEYS[name]) for name in ("did", "vault")]
        reply = await dids.create(redis, change(make.__name__), TWO)
        assert (reply.word, reply.result) == ("ALREADY", f'{{"by":"{make.__name__}"}}')
        assert await make(redis, make.__name__) == "ALREADY"
        assert [raw.hgetall(KEYS[name]) for name in ("did", "vault")] == before
        known, result = await dids.look(redis, DID, ("did-operations", make.__name__))
        assert known is not None
        assert result == f'{{"by":"{make.__name__}"}}'
    assert (await dids.look(redis, DID, ("did-operations", "other")))[1] is None
    for key in raw.scan_iter(f"cs:did:{{{DID}}}:made:*"):
        assert 0 < raw.ttl(key) <= dids.MEMORY_S


async def test_every_refusal(redis: Redis, raw: Any) -> None:
    assert await update(redis, "u0") == "MISSING"
    assert await end(redis, "e0") == "MISSING"
    assert list(raw.scan_iter("*")) == []
    assert await create(redis) == "OK"
    before = [raw.hgetall(KEYS[name]) for name in ("did", "vault")]
    assert await create(redis, "again") == "EXISTS"
    assert await create(redis, "again", organization="org-b") == "EXISTS"
    assert await update(redis, "u1", organization="org-b") == "FOREIGN"
    assert await end(redis, "e1", organization="org-b") == "FOREIGN"
    assert await update(redis, "u2", 2) == "CONFLICT"
    assert await end(redis, "e2", 2) == "CONFLICT"
    assert [raw.hgetall(KEYS[name]) for name in ("did", "vault")] == before
    assert await end(redis, "e3") == "OK"
    before = [raw.hgetall(KEYS[name]) for name in ("did", "vault")]
    assert await create(redis, "c3") == "DEACTIVATED"
    assert await update(redis, "u3", 2) == "DEACTIVATED"
    assert await end(redis, "e4") == "DEACTIVATED"
    assert [raw.hgetall(KEYS[name]) for name in ("did", "vault")] == before


async def test_a_vault_without_a_record_is_no_free_name(redis: Redis, raw: Any) -> None:
    raw.hset(KEYS["vault"], "org", "org-b")
    assert await create(redis) == "EXISTS"


@pytest.mark.parametrize("wrong", ["did", "vault", "made"])
@pytest.mark.parametrize("verb", [create, update, end])
async def test_a_key_of_another_type_stops_everything(
    redis: Redis, raw: Any, verb: Any, wrong: str
) -> None:
    if verb is not create:
        assert await create(redis, "first") == "OK"
    name = dids._keys(DID, ("did-operations", "x"))[wrong]
    raw.delete(name)
    raw.rpush(name, "foreign")
    before = {key: raw.dump(key) for key in raw.scan_iter("*")}
    with pytest.raises(Refused):
        await verb(redis, "x")
    assert {key: raw.dump(key) for key in raw.scan_iter("*")} == before


def commands() -> dict[str, tuple[list[str], Command]]:
    """By name: what must have happened before, and a call that changes something."""
    memory: dict[str, Any] = {"result": "{}", "memory_s": 9}
    new = {"org": "org-a", "state": "{}", "document": "{}", "kid": "k"}
    sealed = Keys(KEYS["vault"].decode(), {"vault": ""})
    origin = Keys(KEYS["made"].decode(), {"origin": ""})
    return {
        "did_create": ([], RECORDS["did_create"].command(KEYS, **new, jwe="j", **memory)),
        "did_update": (
            ["create"],
            RECORDS["did_update"].command(
                KEYS,
                ["k2", "j2", f"{DID}#key-1"],
                org="org-a",
                expected=1,
                state="{}",
                document="{}",
                kid="k2",
                **memory,
                adds=1,
            ),
        ),
        "did_deactivate": (
            ["create"],
            RECORDS["did_deactivate"].command(KEYS, org="org-a", expected="", **memory),
        ),
        "vault_seal": (
            ["create"],
            RECORDS["vault_seal"].command(
                sealed, field=f"jwe:{DID}#key-1", before="jwe.1", after="jwe.9"
            ),
        ),
        "vault_origin_seal": (
            ["origin"],
            RECORDS["vault_origin_seal"].command(origin, before="one", after="two"),
        ),
    }


@pytest.mark.parametrize("name", commands())
async def test_what_fails_inside_a_script_fails_before_its_first_write(
    redis: Redis, raw: Any, name: str
) -> None:
    before, command = commands()[name]

    async def prepare() -> dict[bytes, bytes]:
        raw.delete(KEYS["did"], KEYS["vault"], KEYS["made"])
        if "create" in before:
            assert await create(redis, name + str(raw.incr("n"))) == "OK"
        if "origin" in before:
            raw.set(KEYS["made"], "one")
        return {key: raw.dump(key) for key in raw.scan_iter(f"cs:*{{{DID}}}*")}

    await prepare()
    trace = run(raw, command)
    assert trace.reply[0] == b"OK"
    assert trace.first_write < len(trace.calls)
    assert_cannot_fail(trace)
    for number in range(1, trace.first_write + 2):
        state = await prepare()
        with pytest.raises(ResponseError, match=FAULT):
            run(raw, command, number)
        assert {key: raw.dump(key) for key in raw.scan_iter(f"cs:*{{{DID}}}*")} == state


async def test_another_seal_on_the_same_key(redis: Redis, raw: Any) -> None:
    await create(redis)
    (old,) = [value async for batch in vault.stored(redis) for value in batch]
    assert (old.field, old.text) == (f"jwe:{DID}#key-1", "jwe.1")
    for _ in range(2):  # a repetition after a lost reply is as good
        assert await vault.replace(redis, old, "jwe.9")
    assert raw.hget(old.key, old.field) == b"jwe.9"
    assert not await vault.replace(redis, old, "jwe.10")
    assert raw.hget(old.key, old.field) == b"jwe.9"
    raw.delete(old.key)
    assert not await vault.replace(redis, old, "jwe.9")
    assert not raw.exists(old.key)


async def test_a_counted_record_is_counted_on(redis: Redis, raw: Any) -> None:
    """The keys that sign webhooks: who read them before must read them again before writing."""
    raw.hset("cs:dest:{x}:secret", mapping={"version": 4, "sealed": "old"})
    (old,) = [value async for batch in vault.stored(redis) for value in batch]
    for _ in range(2):
        assert await vault.replace(redis, old, "new")
    assert raw.hgetall("cs:dest:{x}:secret") == {b"version": b"5", b"sealed": b"new"}


async def test_a_key_that_only_an_origin_remembers(redis: Redis, raw: Any) -> None:
    sealed = vault.SealedKey("did:key:z", "org-a", "did:key:z#z", "jwe.1")
    await vault.create(redis, ("a",), sealed)
    raw.delete("cs:vault:{did:key:z}")
    (origin,) = raw.scan_iter("cs:vault:{made:*")
    assert [value async for batch in vault.stored(redis) for value in batch] == []
    raw.set(origin, '{"did": "x", "jwe": "jwe.1"}', ex=500)
    (old,) = [value async for batch in vault.stored(redis) for value in batch]
    for _ in range(2):
        assert await vault.replace(redis, old, "changed")
    assert raw.get(origin) == b"changed"
    assert 0 < raw.ttl(origin) <= 500
    assert not await vault.replace(redis, old, "again")


@pytest.mark.parametrize("name", ["vault_seal", "vault_origin_seal"])
async def test_seals_on_a_key_of_another_type(redis: Redis, raw: Any, name: str) -> None:
    field = "jwe" if name == "vault_seal" else ""
    raw.rpush("cs:vault:{x}", "foreign")
    with pytest.raises(Refused):
        await vault.replace(redis, vault.Stored("cs:vault:{x}", field, "a"), "b")
    assert raw.lrange("cs:vault:{x}", 0, -1) == [b"foreign"]


async def test_every_record_is_found_among_many(redis: Redis, raw: Any) -> None:
    for number in range(1_200):
        raw.hset(f"cs:vault:{{did:key:{number}}}", mapping={"org": "o", "kid": "k", "jwe": "j"})
    keys = {value.key async for batch in vault.stored(redis) for value in batch}
    assert len(keys) == 1_200
