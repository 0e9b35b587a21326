"""Status lists in Redis: indexes drawn once, bits that flip, versions that only go up."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import ResponseError
from redis_servers import Server
from script_faults import FAULT, attempt, changed, keys_of, restore, run, state

from schemas.status import PURPOSES, Frame, Owner, Place, digest, is_list_id
from streams import Redis, connect, keys, status
from streams.audit import Deed
from streams.errors import Full, Refused
from streams.scripts import RECORDS, Command

ISSUER = Owner("org-a", "did:web:issuer.example")
SMALL = Frame("https://gateway.example", 10)
ALL = Frame("https://gateway.example", 131_072)
WHO = Deed("ops", "credential.revoke", "urn:uuid:1", "org-a").encode()
NEVER_MS = 2**53


async def draw(redis: Redis, owner: Owner, purpose: Any, frame: Frame) -> Place:
    place, _ = await status.draw(redis, owner, purpose, frame)
    return place


async def issue(redis: Redis, credential: str, *purposes: str) -> status.Record:
    """A credential with a status for each purpose."""
    for purpose in purposes or PURPOSES:
        place = await draw(redis, ISSUER, purpose, ALL)
        await status.register(redis, ISSUER, credential, "origin", purpose, place)
    record = await status.find(redis, credential)
    assert record is not None
    return record


async def flip(redis: Redis, record: status.Record, purpose: Any, value: bool) -> status.Flipped:
    return await status.flip(redis, record, (purpose, value), until_ms=NEVER_MS, who=WHO)


def counted(raw: Any, owner: Owner, list_id: str) -> tuple[int, int]:
    """How many indexes of a list are taken, by its counter and by its bitmap."""
    place = Place(list_id, 0)
    its = keys.status_list(owner.pool, place.name)
    return int(raw.hget(its["list"], "drawn")), int(raw.bitcount(its["used"]))


async def test_every_draw_is_an_index_of_its_own(redis: Redis, raw: Any) -> None:
    places = await asyncio.gather(*(draw(redis, ISSUER, "revocation", SMALL) for _ in range(50)))
    assert len(set(places)) == 50
    assert all(0 <= place.index < 10 for place in places)
    lists = {place.list_id for place in places}
    # Eight of ten: a list is full at 80 %, and each is filled before the next one opens.
    assert len(lists) == 7
    assert all(is_list_id(list_id) for list_id in lists)
    taken = sorted(counted(raw, ISSUER, list_id) for list_id in lists)
    assert taken == [(2, 2)] + [(8, 8)] * 6


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(1, 40),
    askers=st.lists(st.tuples(st.sampled_from(PURPOSES), st.integers(0, 2)), max_size=80),
)
async def test_no_index_is_drawn_twice_however_many_ask(
    redis: Redis, raw: Any, size: int, askers: list[tuple[Any, int]]
) -> None:
    raw.flushall()
    frame = Frame("https://gateway.example", size)
    owners = [Owner(f"org-{n}", "did:web:issuer.example") for n in range(3)]
    places = await asyncio.gather(
        *(draw(redis, owners[who], purpose, frame) for purpose, who in askers)
    )
    assert len(set(places)) == len(places)
    used: dict[str, set[tuple[str, int]]] = {}
    for place, (purpose, who) in zip(places, askers, strict=True):
        assert place.pool == owners[who].pool
        assert 0 <= place.index < size
        used.setdefault(place.list_id, set()).add((purpose, who))
    assert all(len(askers_of_list) == 1 for askers_of_list in used.values())


async def test_indexes_are_drawn_from_the_whole_list_and_not_in_order(redis: Redis) -> None:
    places = await asyncio.gather(*(draw(redis, ISSUER, "revocation", ALL) for _ in range(64)))
    indexes = [place.index for place in places]
    assert len({place.list_id for place in places}) == 1
    assert indexes != sorted(indexes)
    # 64 draws all in one half of the list: once in 2**63.
    assert min(indexes) < ALL.size // 2 <= max(indexes)


async def test_revocation_and_suspension_say_nothing_about_each_other(redis: Redis) -> None:
    records = [await issue(redis, f"urn:uuid:{n}") for n in range(8)]
    places = [(r.places["revocation"], r.places["suspension"]) for r in records]
    assert not {a.list_id for a, _ in places} & {b.list_id for _, b in places}
    assert [a.index for a, _ in places] != [b.index for _, b in places]


async def test_a_busy_list_is_asked_again(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await draw(redis, ISSUER, "revocation", SMALL)
    offered = [[first.index] * 32, [first.index, (first.index + 1) % 10]]
    monkeypatch.setattr(status, "_candidates", lambda _: offered.pop(0))
    second = await draw(redis, ISSUER, "revocation", SMALL)
    assert second == Place(first.list_id, (first.index + 1) % 10)


@pytest.mark.parametrize(
    "other", [Frame("https://elsewhere.example", 10), Frame(SMALL.base_url, 11)]
)
async def test_a_list_of_another_frame_takes_no_more(redis: Redis, other: Frame) -> None:
    first = await draw(redis, ISSUER, "revocation", SMALL)
    second = await draw(redis, ISSUER, "revocation", other)
    assert second.list_id != first.list_id
    assert (await draw(redis, ISSUER, "revocation", other)).list_id == second.list_id


async def test_a_place_counts_once_it_is_written_down(redis: Redis) -> None:
    first = await draw(redis, ISSUER, "revocation", ALL)
    second = await draw(redis, ISSUER, "revocation", ALL)
    for _ in range(2):
        assert await status.register(redis, ISSUER, "urn:uuid:1", "o", "revocation", first) == first
    assert await status.register(redis, ISSUER, "urn:uuid:1", "o", "revocation", second) == first
    record = await status.find(redis, "urn:uuid:1")
    assert record == status.Record(ISSUER.pool, "o", {"revocation": first})


async def test_the_id_of_another_issuers_credential_is_taken(redis: Redis) -> None:
    await issue(redis, "urn:uuid:1")
    other = Owner("org-a", "did:web:other.example")
    place = await draw(redis, other, "revocation", ALL)
    with pytest.raises(status.Taken):
        await status.register(redis, other, "urn:uuid:1", "o", "revocation", place)


async def test_organizations_have_credentials_of_the_same_id(redis: Redis) -> None:
    record = await issue(redis, "urn:uuid:1")
    other = Owner("org-b", ISSUER.issuer_did)
    place = await draw(redis, other, "revocation", ALL)
    assert await status.register(redis, other, "urn:uuid:1", "o", "revocation", place) == place
    assert await status.find(redis, "urn:uuid:1", "org-a") == record
    theirs = status.Record(other.pool, "o", {"revocation": place})
    assert await status.find(redis, "urn:uuid:1", "org-b") == theirs
    assert await status.find(redis, "urn:uuid:1", "org-c") is None
    with pytest.raises(status.AmbiguousCredential):
        await status.find(redis, "urn:uuid:1")


async def test_what_was_never_registered_is_not_found(redis: Redis) -> None:
    assert await status.find(redis, "urn:uuid:nobody") is None
    for list_id in ("x", "a" * 26 + "-" + "b" * 13, "../../x", "a" * 26 + "-" + "b" * 13 + "\n"):
        assert await status.snapshot(redis, list_id) is None
        assert await status.served(redis, list_id) is None
        assert await status.published(redis, list_id) is None


async def test_bits_flip_and_each_change_is_a_version(redis: Redis) -> None:
    record = await issue(redis, "urn:uuid:1")
    assert await flip(redis, record, "suspension", True) == status.Flipped("OK", 2, 0)
    assert await flip(redis, record, "suspension", True) == status.Flipped("SAME", 2, 0)
    assert await flip(redis, record, "suspension", False) == status.Flipped("OK", 3, 0)
    assert await flip(redis, record, "revocation", True) == status.Flipped("OK", 2, 0)
    states = await status.states(redis, record.places)
    assert {purpose: one.is_set for purpose, one in states.items()} == {
        "revocation": True,
        "suspension": False,
    }
    assert {one.owner for one in states.values()} == {ISSUER}


async def test_only_the_bit_of_the_credential_flips(redis: Redis) -> None:
    records = [await issue(redis, f"urn:uuid:{n}") for n in range(5)]
    await flip(redis, records[3], "revocation", True)
    place = records[3].places["revocation"]
    snapshot = await status.snapshot(redis, place.list_id)
    assert snapshot is not None
    byte, bit = divmod(place.index, 8)
    # The left-most bit of a byte is the first one (I2).
    assert snapshot.bits == b"\0" * byte + bytes([128 >> bit])
    assert (snapshot.owner, snapshot.purpose) == (ISSUER, "revocation")
    assert (snapshot.base_url, snapshot.size) == (ALL.base_url, ALL.size)
    assert (snapshot.version, snapshot.published) == (2, 0)
    others = [await status.states(redis, r.places) for n, r in enumerate(records) if n != 3]
    assert not any(one.is_set for states in others for one in states.values())


async def test_a_revocation_is_final(redis: Redis) -> None:
    record = await issue(redis, "urn:uuid:1")
    assert (await flip(redis, record, "revocation", False)).word == "FINAL"
    await flip(redis, record, "suspension", True)
    await flip(redis, record, "revocation", True)
    assert (await flip(redis, record, "revocation", True)).word == "SAME"
    for purpose, value in (("revocation", False), ("suspension", False), ("suspension", True)):
        assert await flip(redis, record, purpose, value) == status.Flipped("FINAL")
    states = await status.states(redis, record.places)
    assert all(one.is_set for one in states.values())


async def test_a_credential_without_revocation_can_be_suspended(redis: Redis) -> None:
    record = await issue(redis, "urn:uuid:1", "suspension")
    assert (await flip(redis, record, "suspension", True)).word == "OK"
    with pytest.raises(KeyError):
        await flip(redis, record, "revocation", True)


async def test_a_flip_that_comes_too_late_does_nothing(redis: Redis, raw: Any) -> None:
    record = await issue(redis, "urn:uuid:1")
    now = await status.now_ms(redis, record)
    late = await status.flip(redis, record, ("revocation", True), until_ms=now - 1, who=WHO)
    assert late == status.Flipped("LATE")
    assert not (await status.states(redis, record.places))["revocation"].is_set
    assert raw.xlen(keys.status_list(ISSUER.pool)["audit"]) == 0


async def test_the_deed_lies_beside_the_bit_once(redis: Redis, raw: Any) -> None:
    record = await issue(redis, "urn:uuid:1")
    for _ in range(3):
        await flip(redis, record, "revocation", True)
    await flip(redis, record, "suspension", True)
    entries = raw.xrange(keys.status_list(ISSUER.pool)["audit"])
    assert [fields for _, fields in entries] == [{b"a": WHO}]


async def test_nothing_is_written_for_nobody(redis: Redis, raw: Any) -> None:
    record = await issue(redis, "urn:uuid:1")
    await status.flip(redis, record, ("revocation", True), until_ms=NEVER_MS)
    assert raw.xlen(keys.status_list(ISSUER.pool)["audit"]) == 0


async def test_a_newer_list_is_never_replaced_by_an_older_one(redis: Redis) -> None:
    record = await issue(redis, "urn:uuid:1")
    list_id = record.places["revocation"].list_id
    for version, served in ((1, 1), (3, 3), (2, 3), (3, 3)):
        signed = status.Signed(version, f"token {version}", 300_000)
        assert await status.publish(redis, list_id, signed) == served
    assert await status.served(redis, list_id) == status.Signed(3, "token 3", 300_000)
    assert await status.published(redis, list_id) == "token 3"
    unknown = Place("a" * 26 + "-" + "b" * 13, 0).list_id
    assert await status.publish(redis, unknown, status.Signed(1, "x", 1)) == 0


async def test_every_list_of_an_issuer_gets_a_new_version(redis: Redis) -> None:
    record = await issue(redis, "urn:uuid:1")
    versions = await status.renew(redis, ISSUER)
    assert versions == {place.list_id: 2 for place in record.places.values()}
    assert await status.renew(redis, Owner("org-b", "did:web:nobody.example")) == {}


async def test_states_leave_out_what_was_lost(redis: Redis, raw: Any) -> None:
    record = await issue(redis, "urn:uuid:1")
    its = keys.status_list(ISSUER.pool, record.places["revocation"].name)
    raw.delete(its["list"])
    assert set(await status.states(redis, record.places)) == {"suspension"}
    assert (await flip(redis, record, "revocation", True)).word == "MISSING"
    assert raw.exists(its["bits"]) == 0


async def test_a_credential_takes_little_memory(redis: Redis, raw: Any) -> None:
    """The figure of docs/status-lists.md: what grows with each credential is its record."""
    await issue(redis, "urn:uuid:00000000-0000-5000-8000-000000000000" + "x" * 2_000)
    (record,) = raw.scan_iter("cs:credential:*")
    assert raw.memory_usage(record) <= 320


def test_names_are_of_fixed_length_whatever_they_stand_for() -> None:
    owners = [Owner("a", "b"), Owner("a" * 256, "did:web:" + "b" * 2_000), Owner('a","b', "{}")]
    assert {len(owner.pool) for owner in owners} == {26}
    assert len({owner.pool for owner in owners}) == 3
    assert Owner("a,b", "c").pool != Owner("a", "b,c").pool
    assert digest(("a", "b")) != digest(("a,b",))
    assert Place.within("p" * 26, Place("p" * 26 + "-name", 7).short) == Place(
        "p" * 26 + "-name", 7
    )


async def commands(redis: Redis) -> dict[str, tuple[keys.Keys, Command]]:
    """A call of every script that does something, on a pool that has been used."""
    record = await issue(redis, "urn:uuid:1")
    place, other = record.places["suspension"], record.places["revocation"]
    its = keys.status_list(ISSUER.pool, place.name, other.name)
    fresh = keys.status_list(ISSUER.pool, "b" * 13)
    credential = keys.credential("urn:uuid:1")
    about = {"purpose": "suspension", "org": "o", "issuer": "i", "base": ALL.base_url}

    def call(of: keys.Keys, name: str, rest: list[int] | None = None, **named: Any) -> Any:
        return of, RECORDS[name].command(of, rest or [], **named)

    drawn = {**about, "size": ALL.size, "most": 100}
    return {
        "open": call(its, "status_open", purpose="suspension", full=place.name, fresh="c" * 13),
        "draw": call(its, "status_draw", [place.index, 5, 6, 7], **drawn),
        "draw first": call(fresh, "status_draw", [5], **drawn),
        "register": call(
            keys.credential("urn:uuid:2"), "status_register",
            scope="s", pool=ISSUER.pool, origin="o", purpose="suspension", place=place.short,
        ),
        "register again": call(
            credential, "status_register",
            scope="s", pool=ISSUER.pool, origin="o", purpose="suspension", place=place.short,
        ),
        "flip": call(
            its, "status_flip",
            index=place.index, value=1, revoked_index=other.index, until_ms=NEVER_MS, who=WHO,
        ),
        "snapshot": call(its, "status_snapshot"),
        "publish": call(its, "status_publish", version=1, token="t", ttl_ms=1),
        "renew": call(its, "status_renew"),
    }  # fmt: skip


CALLS = (
    *("open", "draw", "draw first", "register", "register again"),
    *("flip", "snapshot", "publish", "renew"),
)


async def test_the_calls_are_of_every_script(redis: Redis) -> None:
    called = await commands(redis)
    assert set(called) == set(CALLS)
    scripts = {name for name in RECORDS if name.startswith("status_")}
    assert {RECORDS[f"status_{name.partition(' ')[0]}"].name for name in CALLS} == scripts


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_that_fails_leaves_nothing_half_done(
    redis: Redis, raw: Any, name: str
) -> None:
    its, command = (await commands(redis))[name]
    before = state(raw, its)
    whole = run(raw, command)
    restore(raw, its, before)
    for k in range(1, min(whole.first_write + 1, len(whole.calls)) + 1):
        with pytest.raises(ResponseError, match=FAULT):
            run(raw, command, stop_at=k)
        assert changed(before, state(raw, its)) == set(), whole.calls[k - 1]


@pytest.mark.parametrize("name", CALLS)
async def test_a_key_of_a_wrong_type_stops_a_script_before_it_writes(
    redis: Redis, raw: Any, name: str
) -> None:
    its, command = (await commands(redis))[name]
    before = state(raw, its)
    for key in keys_of(command):
        restore(raw, its, before)
        raw.delete(key)
        raw.zadd(key, {"not ours": 1})
        wrong = state(raw, its)
        reply = attempt(raw, command)
        assert isinstance(reply, ResponseError), key
        assert "WRONGTYPE" in str(reply)
        assert changed(wrong, state(raw, its)) == set()


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_whose_reply_was_lost_may_be_repeated(
    redis: Redis, raw: Any, name: str
) -> None:
    its, command = (await commands(redis))[name]
    first = attempt(raw, command)
    after = state(raw, its)
    again = attempt(raw, command)
    assert isinstance(first, list)
    assert isinstance(again, list)
    if name in ("draw", "draw first", "renew"):
        # One index more that nobody uses; one version more that is published.
        assert again[0] in (b"OK", b"BUSY")
    else:
        assert changed(after, state(raw, its)) == set()


async def test_a_wrong_type_is_the_operators_affair(redis: Redis, raw: Any) -> None:
    record = await issue(redis, "urn:uuid:1")
    its = keys.status_list(ISSUER.pool, record.places["revocation"].name)
    raw.delete(its["list"])
    raw.set(its["list"], "not ours")
    with pytest.raises(Refused):
        await flip(redis, record, "revocation", True)


@pytest.fixture
async def own_redis(own_server: Server) -> AsyncIterator[Redis]:
    redis = connect(own_server.url)
    yield redis
    await redis.close()


async def test_a_full_redis_revokes_and_publishes_but_issues_no_more(
    own_server: Server, own_redis: Redis
) -> None:
    record = await issue(own_redis, "urn:uuid:1")
    list_id = record.places["revocation"].list_id
    with own_server.client() as raw:
        raw.config_set("maxmemory", 1)
        with pytest.raises(Full):
            await status.draw(own_redis, ISSUER, "revocation", ALL)
        assert (await flip(own_redis, record, "revocation", True)).word == "OK"
        assert await status.publish(own_redis, list_id, status.Signed(2, "t", 1)) == 2
        assert await status.renew(own_redis, ISSUER)
        raw.config_set("maxmemory", 0)
