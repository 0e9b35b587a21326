"""Canaries that go on by themselves: when, when not, once, and whole across a crash."""

from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from by_hand import Hand
from redis.exceptions import ResponseError
from script_faults import FAULT, assert_cannot_fail, attempt, restore, run, state
from stage import die

from gateway.app import create_app
from gateway.dashboard import redrive
from gateway.dashboard.causes import Library
from gateway.settings import GatewaySettings
from schemas.spec import QueueSpec
from streams import Queue, Redis, access, audit, canaries, keys
from streams.canaries import Canary, Outcome
from streams.scripts import RECORDS
from tests.dashboard.conftest import make_key
from tests.dashboard.test_causes import settle


@pytest.fixture
async def app(redis: Redis) -> web.Application:
    """A gateway that does not run: it looks at canaries when it is told to."""
    await Queue("orders", redis).register()
    await die(redis, "orders", "Boom", "row {n} is gone", 40)
    return create_app(redis, GatewaySettings(port=0))


async def sent_first(redis: Redis, **more: object) -> Canary:
    """Two of the jobs run again, and the rest is to follow by itself."""
    store = Queue("orders", redis).store
    (cause,) = (await Library().of(store)).causes
    async for part in redrive.send(store, cause.jobs[:2], b""):
        sent = part
    made = Canary("0123456789abcdef", "orders", cause.fingerprint, sent, "ann", 5, goes_on=True)
    made = replace(made, **more)  # type: ignore[arg-type]
    await canaries.keep(redis, made)
    return made


async def became(redis: Redis, canary: Canary) -> tuple[str, int, int]:
    """Its outcome, how many were sent by itself, how many still lie dead."""
    found = await canaries.find(redis, canary.queue, canary.id)
    assert found is not None
    return found.outcome, found.sent, (await Queue("orders", redis).counts()).failed


async def test_a_canary_goes_on_by_itself_once(redis: Redis, app: web.Application) -> None:
    canary = await sent_first(redis)
    await redrive.look(app)
    assert await became(redis, canary) == ("", 0, 38), "it runs"
    await settle(redis, well=True)
    await redrive.look(app)
    assert await became(redis, canary) == (Outcome.SENT, 38, 0)
    assert await canaries.unended(redis) == []
    (record,) = (await audit.page(redis, None, 9, lambda _: True)).found
    assert (record.deed["action"], record.deed["actor"]) == ("dead.redrive", "ann")
    assert record.deed["parameters"]["byItself"] is True
    await settle(redis, well=False)
    await redrive.look(app)
    assert await became(redis, canary) == (Outcome.SENT, 38, 38), "never a second time"


async def test_a_canary_that_dies_does_not_go_on(redis: Redis, app: web.Application) -> None:
    canary = await sent_first(redis)
    await settle(redis, well=False)
    await redrive.look(app)
    assert await became(redis, canary) == (Outcome.FAILED, 0, 40)
    assert await canaries.unended(redis) == []


async def test_what_nobody_saw_complete_does_not_go_on(redis: Redis, app: web.Application) -> None:
    canary = await sent_first(redis)
    await Queue("orders", redis).remove(canary.jobs[0])
    await settle(redis, well=True)
    await redrive.look(app)
    assert await became(redis, canary) == (Outcome.UNSURE, 0, 38)


@pytest.mark.parametrize("scopes", [("read",), ("read", "operate")])
async def test_a_key_that_may_not_any_more_sends_nothing(
    redis: Redis, app: web.Application, scopes: tuple[str, ...]
) -> None:
    key_id = access.key_id_of(await make_key(redis, *scopes))
    assert key_id is not None
    canary = await sent_first(redis, key_id=key_id)
    if "operate" in scopes:
        await access.revoke(redis, key_id, b"")
    await settle(redis, well=True)
    await redrive.look(app)
    assert await became(redis, canary) == (Outcome.REFUSED, 0, 38)


async def test_another_gateway_ends_what_one_has_begun(
    redis: Redis, app: web.Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redrive, "CALL_JOBS", 10)
    canary = await sent_first(redis)
    await settle(redis, well=True)
    begun, real = 0, redrive.act

    async def dies(*args: object, **more: object) -> list[str]:
        nonlocal begun
        begun += 1
        if begun == 3:
            raise OSError("the machine is gone")
        return await real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(redrive, "act", dies)
    with pytest.raises(OSError, match="gone"):
        await redrive.look(app)
    assert await became(redis, canary) == ("", 20, 18)
    hand = Hand(redis, QueueSpec("orders"))
    same = {"attempt": 3, "reason": "failed", "message": "row 1 is gone", "code": "Boom", "at": 1}
    await hand.fail(*await hand.take(5), error=same)
    token = await canaries.lease(redis, canary)
    assert token is not None
    await redrive.look(app)
    assert await became(redis, canary) == ("", 20, 23), "another holds the lease"
    await canaries.release(redis, canary, "not the token")
    assert await canaries.lease(redis, canary) is None
    await canaries.release(redis, canary, token)
    await redrive.look(app)
    assert await became(redis, canary) == (Outcome.SENT, 38, 5), "what died meanwhile stays"


async def test_a_gateway_whose_lease_ran_out_changes_nothing(
    redis: Redis, app: web.Application, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pause lasted longer than its lease; another one has ended it meanwhile."""
    canary = await sent_first(redis)
    await settle(redis, well=True)
    real = redrive.act
    lease = keys.canary(canary.queue, canary.id)["lease"]

    async def pauses(*args: object, **more: object) -> list[str]:
        monkeypatch.setattr(redrive, "act", real)
        raw.delete(lease)
        await redrive.look(app)
        raw.set(lease, "a third one")
        return await real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(redrive, "act", pauses)
    await redrive.look(app)
    assert await became(redis, canary) == (Outcome.SENT, 38, 0)
    assert await canaries.unended(redis) == []
    assert raw.get(lease) == b"a third one"


async def test_a_lease_is_given_back_by_its_holder_only(redis: Redis, raw: Any) -> None:
    """In one step: between a look and a deletion it could run out and become another's."""
    canary = Canary("0123456789abcdef", "orders", "print", [], "ann", 5)
    lease = keys.canary(canary.queue, canary.id)["lease"]
    token = await canaries.lease(redis, canary)
    assert token is not None
    raw.config_resetstat()
    await canaries.release(redis, canary, token)
    await canaries.release(redis, canary, token)
    assert raw.info("commandstats")["cmdstat_evalsha"]["calls"] >= 2
    assert not raw.exists(lease)
    raw.set(lease, "another")
    await canaries.release(redis, canary, token)
    assert raw.get(lease) == b"another"


@pytest.mark.parametrize(
    ("name", "args", "word"),
    [
        ("canary_release", {"token": b"mine"}, b"OK"),
        ("canary_release", {"token": b"late"}, b"LOST"),
        ("canary_note", {"token": b"mine", "said": b"{}", "lease_ms": 9_000}, b"OK"),
        ("canary_note", {"token": b"late", "said": b"{}", "lease_ms": 9_000}, b"LOST"),
        ("canary_note", {"token": b"mine", "said": b"", "lease_ms": 9_000}, b"MISSING"),
    ],
)
def test_scripts_of_canaries_decide_before_they_write(
    raw: Any, name: str, args: dict[str, Any], word: bytes
) -> None:
    """Each word, the same twice, and nothing half done whichever call fails or is refused."""
    at = keys.canary("orders", "0123456789abcdef")
    raw.set(at["lease"], "mine", px=5_000)
    if word != b"MISSING":
        raw.set(at["canary"], "before", px=50_000)
    command = RECORDS[name].command(at, **args)
    before = state(raw, at)  # type: ignore[arg-type]
    trace = run(raw, command)
    assert trace.reply[0] == word
    assert_cannot_fail(trace)
    assert attempt(raw, command)[0] == word, "sent again"
    for stop_at in range(1, trace.first_write + 1):
        restore(raw, at, before)  # type: ignore[arg-type]
        with pytest.raises(ResponseError, match=FAULT):
            run(raw, command, stop_at)
        assert state(raw, at) == before  # type: ignore[arg-type]
    raw.delete(at["lease"])
    raw.hset(at["lease"], "a", "b")
    assert isinstance(attempt(raw, command), ResponseError)


async def test_a_canary_that_is_held_waits_for_somebody(redis: Redis, app: web.Application) -> None:
    canary = await sent_first(redis)
    assert await redrive.hold(redis, canary)
    assert not await redrive.hold(redis, canary)
    await settle(redis, well=True)
    await redrive.look(app)
    assert await became(redis, canary) == (Outcome.HELD, 0, 38)


async def test_one_that_is_forgotten_is_struck_out(redis: Redis, app: web.Application) -> None:
    await sent_first(redis)
    await redis.command("DEL", "cs:{orders}:canary:0123456789abcdef", key="cs:{orders}:")
    await redrive.look(app)
    assert await canaries.unended(redis) == []
