"""Decide, then write: whatever fails inside a script, the queue is as it was or as it should be.

Redis does not roll back. So all that can fail comes before a script's first write.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from by_hand import PATIENCE_S
from populated import SPEC, Populated, commands, limit, populate, set_clock_back
from processes import until
from redis.exceptions import ResponseError
from redis_servers import Server, redis7, valkey
from script_faults import (
    FAULT,
    assert_cannot_fail,
    attempt,
    changed,
    ids_in,
    keys_of,
    restore,
    run,
    script_of,
    state,
)

from consumers import Worker
from schemas.job import JobOptions
from streams import Job, NewJob, Queue, Redis, connect
from streams.errors import Full
from streams.keys import LANES, QueueKeys
from streams.scripts import SCRIPTS

KEYS = QueueKeys(SPEC.name)
CALLS = (
    *("gates", "unpark", "unpark none", "retry parked"),
    *(
        "acknowledge",
        "add",
        "add once",
        "forward",
        "claim",
        "claim one",
        "clean completed",
        "clean failed",
    ),
    *(f"{n} once" for n in ("control", "clean", "cancel", "advance", "remove", "revive")),
    *("isolate", "isolate taken"),
    *("control pause", "control limits", "counts", "heartbeat", "leave", "leave idle", "lookup"),
    *("outcomes state", "outcomes result", "outcomes data", "since"),
    *("note progress", "note line", "open", "promote", "prune", "reclaim", "reclaim poison"),
    *("refuse", "renew", "sweep", "tick", "tick on", "causes", "causes none", "outbox", "upkeep"),
    *("drain", "drain delayed"),
    *(f"page {state}" for state in ("completed", "failed", "delayed", "waiting", "active")),
    *(
        f"{kind}{late}"
        for kind in ("complete", "retry", "fail", "release")
        for late in ("", " late")
    ),
    *(f"cancel {name}" for name in ("run-plain", "wait-owing", "wait-dropped", "far", "back-1")),
    *(
        f"revive {name}{late}"
        for name in ("dead-plain", "dead-aged", "wait-plain")
        for late in ("", " later")
    ),
    *(f"advance {name}" for name in ("far", "retried", "wait-plain", "run-plain", "done-plain")),
    *(f"prioritize {name}" for name in ("far", "wait-big", "wait-plain", "back-1")),
    *(f"why {name}" for name in ("wait-plain", "wait-big", "back-1", "far")),
    *(f"why {name}" for name in ("run-plain", "done-plain")),
    *(f"remove {name}" for name in ("wait-big", "far", "done-big", "dead-kept")),
    *(f"remove {name}" for name in ("back-1", "~cb:done", "run-plain")),
)


@pytest.fixture
async def made(redis: Redis) -> Populated:
    return await populate(redis)


@pytest.fixture(params=["free", "limited"])
async def either(made: Populated, request: pytest.FixtureRequest) -> Populated:
    """With and without limits on the queue."""
    if request.param == "limited":
        await limit(made)
    return made


def test_every_script_is_called() -> None:
    called = {call.partition(" ")[0] for call in CALLS}
    assert called == set(SCRIPTS) - {"delete"}, "a deletion removes keys of every type in one step"


async def test_the_calls_are_those_of_the_populated_queue(made: Populated) -> None:
    assert set(await commands(made)) == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_that_fails_leaves_nothing_half_done(
    either: Populated, raw: Any, name: str
) -> None:
    command = (await commands(either))[name]
    before = state(raw, KEYS)
    whole = run(raw, command)
    if whole.first_write == len(whole.calls):
        assert changed(before, state(raw, KEYS)) == set()
    restore(raw, KEYS, before)
    for k in range(1, min(whole.first_write + 1, len(whole.calls)) + 1):
        with pytest.raises(ResponseError, match=FAULT):
            run(raw, command, stop_at=k)
        assert changed(before, state(raw, KEYS)) == set(), f"call {k}: {whole.calls[k - 1]}"
    assert_cannot_fail(whole)
    again = run(raw, command)
    assert [call.name for call in again.calls] == [call.name for call in whole.calls]


@pytest.mark.parametrize("name", CALLS)
async def test_a_key_of_a_wrong_type_stops_a_script_before_it_writes_or_not_at_all(
    either: Populated, raw: Any, name: str
) -> None:
    command = (await commands(either))[name]
    before = state(raw, KEYS)
    assert isinstance(attempt(raw, command), list)
    usual = changed(before, state(raw, KEYS))
    for key in keys_of(command):
        restore(raw, KEYS, before)
        raw.delete(key)
        raw.set(key, "not ours")
        wrong = state(raw, KEYS)
        reply = attempt(raw, command)
        touched = changed(wrong, state(raw, KEYS))
        if isinstance(reply, ResponseError):
            assert "WRONGTYPE" in str(reply), f"{key!r}: {reply}"
            assert touched == set(), f"{key!r} stopped it half-way: {touched}"
        else:
            assert raw.get(key) == b"not ours"
            assert touched >= usual - {key} - _in_lanes(key), f"{key!r}: it did not finish"


@pytest.mark.parametrize("name", ["claim", "promote", "prune", "reclaim", "sweep", "upkeep"])
async def test_the_same_when_the_clock_went_back(made: Populated, raw: Any, name: str) -> None:
    await set_clock_back(made)
    await test_a_call_that_fails_leaves_nothing_half_done(made, raw, name)
    await test_a_key_of_a_wrong_type_stops_a_script_before_it_writes_or_not_at_all(made, raw, name)


def _in_lanes(key: bytes) -> set[bytes]:
    """What need not change when a lane cannot be read: that lane's own jobs did not move."""
    lanes = {KEYS.lane(lane) for lane in LANES}
    return {*lanes, KEYS["run"], KEYS["blobs"]} if key in lanes else set()


@pytest.mark.parametrize("name", CALLS)
async def test_lanes_without_a_group(made: Populated, raw: Any, name: str) -> None:
    command = (await commands(made))[name]
    for lane in LANES:
        if raw.exists(KEYS.lane(lane)):
            raw.xgroup_destroy(KEYS.lane(lane), "workers")
    before = set(raw.hkeys(KEYS["jobs"]))
    whole = run(raw, command)
    script_of(command).check(whole.reply)
    assert_cannot_fail(whole)
    jobs = set(raw.hkeys(KEYS["jobs"]))
    places = [KEYS.lane(lane) for lane in LANES] + [KEYS["completed"], KEYS["dead"]]
    assert jobs == ids_in(raw, KEYS, places)
    assert name.startswith(("clean", "prune", "remove", "complete", "fail", "cancel", "drain")) or (
        before <= jobs
    )


@pytest.mark.parametrize("name", CALLS)
async def test_a_queue_that_is_gone(made: Populated, raw: Any, name: str) -> None:
    command = (await commands(made))[name]
    for key in state(raw, KEYS):
        raw.delete(key)
    reply = attempt(raw, command)
    assert isinstance(reply, list), reply
    places = [KEYS.lane(lane) for lane in LANES] + [KEYS["completed"], KEYS["dead"]]
    assert set(raw.hkeys(KEYS["jobs"])) == ids_in(raw, KEYS, places)


@pytest.fixture
def own(redis_kind: str) -> Iterator[Server]:
    """A server whose memory the test may take away."""
    with (redis7 if redis_kind == "redis7" else valkey)() as server:
        yield server


@pytest.fixture
async def own_redis(own: Server) -> AsyncIterator[Redis]:
    redis = connect(own.url)
    yield redis
    await redis.close()


async def test_a_full_redis_refuses_add_and_nothing_else(own: Server, own_redis: Redis) -> None:
    made = await populate(own_redis)
    calls = await commands(made)
    with own.client() as raw:
        whole = state(raw, KEYS)
        for name, command in calls.items():
            restore(raw, KEYS, whole)
            raw.script_flush()  # a script must be taught to a full Redis too
            raw.config_set("maxmemory", 1)
            if name in {"add", "add once"}:
                with pytest.raises(Full):
                    await own_redis.run(KEYS.prefix, command)
                assert changed(whole, state(raw, KEYS)) == set()
            else:
                (reply,) = await own_redis.run(KEYS.prefix, command)
                script_of(command).check(reply)
            raw.config_set("maxmemory", 0)


async def test_workers_drain_a_full_redis_and_adding_goes_on(own: Server, own_redis: Redis) -> None:
    queue, hooks = Queue(SPEC, own_redis), Queue("webhooks", own_redis)

    async def handle(job: Job) -> dict[str, str]:
        return {"done": job.id}

    async def counts(**expected: int) -> None:
        async def there() -> bool:
            seen = await queue.counts()
            return all(getattr(seen, name) == number for name, number in expected.items())

        await until(there, within_s=PATIENCE_S, what=f"{expected}")

    with own.client() as raw:
        async with Worker(SPEC, handle, redis=own_redis):
            await counts(workers=1)
            await queue.pause()
            owing = JobOptions(callback_url="https://example.com/hook")
            await queue.add_many([NewJob(options=owing) for _ in range(20)])
            await queue.add_many([NewJob(options=JobOptions(delay=1)) for _ in range(20)])
            raw.config_set("maxmemory", 1)
            with pytest.raises(Full):
                await queue.add("work")
            await queue.resume()
            await counts(waiting=0, active=0, delayed=0, completed=40, outbox=0)
            with pytest.raises(Full):
                await queue.add("work")
            assert (await hooks.counts()).waiting == 20
            raw.config_set("maxmemory", 0)
            await queue.add("work")
            await counts(waiting=0, active=0, completed=41)
