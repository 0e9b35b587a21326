"""How long ended jobs are kept: by age, by count, by an age of their own, without limit."""

import asyncio
from typing import Any

import orjson
import pytest
from by_hand import Hand, clock_ms, clock_passes
from ledger import assert_at_rest, ids, key
from processes import until
from redis_servers import Server

from consumers.upkeep import QueueUpkeep
from schemas.job import JobOptions, KeepFor, State
from schemas.spec import DAY_MS, HOUR_MS, QueueSpec, Retention
from streams import Queue, Redis, connect
from streams.audit import Deed
from streams.bulk import Verb, act
from streams.encode import batches
from streams.errors import Full
from streams.job import NewJob
from streams.upkeep import Upkeep

QUEUE = "chaos"
NOT_LONG = Retention(completed_ms=1, failed_ms=1)
GONE_MS = 600_000
_DEAD = """
local t = redis.call('TIME')
for n = 1, ARGV[1] do
  local header = '1:5:1:1:0:1:::5.1-0:1000:' .. string.format('%.0f', t[1] * 1000)
  redis.call('XADD', KEYS[1], n .. '-1', 'j', 'f' .. n, 'h', header, 'b', '{}', 'x', '[]')
  redis.call('HSET', KEYS[2], 'f' .. n, 'f:' .. n .. '-1')
end
"""
STREAMS = {State.COMPLETED: ("completed", "c"), State.FAILED: ("dead", "f")}


def bury(raw: Any, state: State, job_id: str, finished_ms: int, flags: str = "") -> None:
    """An ended job as it would lie there had it ended at `finished_ms`."""
    name, kind = STREAMS[state]
    header = f"1:5:1:1:0:1:{flags}::5.1-0:{finished_ms - 10}:{finished_ms}"
    fields = {"j": job_id, "h": header, "b": '{"name":"work","data":{}}'}
    if state is State.FAILED:
        fields["x"] = orjson.dumps([{"attempt": 1, "reason": "failed", "message": "boom"}])
    entry = raw.xadd(key(QUEUE, name), fields)
    raw.hset(key(QUEUE, "jobs"), job_id, f"{kind}:{entry.decode()}")


async def prune(redis: Redis, spec: QueueSpec) -> int:
    """Prune until nothing is left to do; how many disappeared."""
    count, more = 0, True
    while more:
        done = await Upkeep(spec, redis).prune()
        count, more = count + done.count, done.more
    return count


async def end(redis: Redis, spec: QueueSpec, state: State, job_id: str, **options: Any) -> None:
    """A job that has ended by now, and a clock that has gone on since."""
    queue, hand = Queue(spec, redis), Hand(redis, spec)
    await queue.add("work", {}, job_id=job_id, **options)
    claim = await hand.take_one()
    await (hand.complete if state is State.COMPLETED else hand.fail)(claim)
    await clock_passes(redis, QUEUE, await clock_ms(redis, QUEUE) + 2)


@pytest.mark.parametrize(
    ("state", "kept_ms"), [(State.COMPLETED, DAY_MS), (State.FAILED, 7 * DAY_MS)]
)
async def test_a_queue_keeps_results_for_a_day_and_dead_letters_for_a_week(
    redis: Redis, raw: Any, state: State, kept_ms: int
) -> None:
    now = await clock_ms(redis, QUEUE)
    for job_id, age_ms in (("older", kept_ms + HOUR_MS), ("old", kept_ms + 1)):
        bury(raw, state, job_id, now - age_ms)
    bury(raw, state, "young", now - kept_ms + HOUR_MS)

    assert await prune(redis, QueueSpec(QUEUE)) == 2

    assert ids(raw, QUEUE, STREAMS[state][0]) == ["young"]
    assert_at_rest(raw, QUEUE)
    assert await prune(redis, QueueSpec(QUEUE)) == 0


async def test_by_count_the_newest_stay(redis: Redis, raw: Any) -> None:
    spec = QueueSpec(QUEUE, retention=Retention(completed_count=3, failed_count=2))
    now = await clock_ms(redis, QUEUE)
    for number in range(600):
        bury(raw, State.COMPLETED, f"c{number}", now)
    for number in range(5):
        bury(raw, State.FAILED, f"f{number}", now)

    assert await prune(redis, spec) == 597 + 3

    assert ids(raw, QUEUE, "completed") == ["c597", "c598", "c599"]
    assert ids(raw, QUEUE, "dead") == ["f3", "f4"]
    assert_at_rest(raw, QUEUE)


async def test_a_queue_keeps_a_hundred_thousand_dead_letters(redis: Redis, raw: Any) -> None:
    """Young ones: a queue whose jobs all fail must not fill Redis for a week."""
    spec, most, more = QueueSpec(QUEUE), 100_000, 7
    raw.eval(_DEAD, 2, key(QUEUE, "dead"), key(QUEUE, "jobs"), most + more)
    assert await prune(redis, spec) == more
    assert raw.xlen(key(QUEUE, "dead")) == raw.hlen(key(QUEUE, "jobs")) == most
    assert raw.xrange(key(QUEUE, "dead"), count=1)[0][1][b"j"] == b"f8"


async def test_a_full_redis_can_be_emptied_and_adding_goes_on(own_server: Server) -> None:
    spec = QueueSpec(QUEUE, retention=Retention(failed_ms=0))
    redis, who = connect(own_server.url), Deed("operator", "test", QUEUE).encode()
    queue, hand, upkeep = Queue(spec, redis), Hand(redis, spec), Upkeep(spec, redis)
    await queue.add_many([NewJob("work", {"text": "x" * 30_000})] * 160)
    held = [claim for _ in range(8) for claim in await hand.take(20)]
    await hand.complete(*held[:80])
    for claim in held[80:140]:
        await hand.fail(claim)
    await hand.release(*held[140:])
    waiting = [job.id for job in await queue.page(State.WAITING, 0, 50)]
    with own_server.client() as raw:
        raw.config_set("maxmemory", raw.info("memory")["used_memory"] - 500_000)
        raw.script_flush()
        with pytest.raises(Full):
            await queue.add("work")
        assert await queue.clean(state=State.COMPLETED, who=who) == 80
        raw.config_set("maxmemory", 1)
        while (await upkeep.prune()).more:
            pass
        await queue.remove(waiting[0], who=who)
        assert await act(queue.store, Verb.REMOVE, waiting[1:], who=who) == ["done"] * 19
        assert (await queue.counts()).total == 0
        with pytest.raises(Full):
            await queue.add("work")
        raw.config_set("maxmemory", raw.info("memory")["used_memory"] + 500_000)
        await queue.add("work")
    await redis.close()


async def test_without_limits_nothing_disappears(redis: Redis, raw: Any) -> None:
    spec = QueueSpec(QUEUE, retention=Retention(None, None, None, None))
    for state in STREAMS:
        bury(raw, state, state, 1_000)
    assert await prune(redis, spec) == 0
    assert ids(raw, QUEUE, "completed") + ids(raw, QUEUE, "dead") == ["completed", "failed"]


@pytest.mark.parametrize("state", STREAMS)
async def test_an_age_of_its_own_wins_over_the_queue(redis: Redis, raw: Any, state: State) -> None:
    completed = state is State.COMPLETED
    spec = QueueSpec(QUEUE, retention=NOT_LONG)
    option = "remove_on_complete" if completed else "remove_on_fail"
    before = await clock_ms(redis, QUEUE)
    await end(redis, spec, state, "own", **{option: KeepFor(age=3_600)})
    await end(redis, spec, state, "queue's")

    assert await prune(redis, spec) == 1

    name = STREAMS[state][0]
    assert ids(raw, QUEUE, name) == ["own"]
    ((entry, due),) = raw.zrange(key(QUEUE, f"expiry:{name}"), 0, -1, withscores=True)
    assert before + HOUR_MS <= due <= await clock_ms(redis, QUEUE) + HOUR_MS
    raw.zadd(key(QUEUE, f"expiry:{name}"), {entry: await clock_ms(redis, QUEUE)})
    forever = QueueSpec(QUEUE, retention=Retention(None, None, None, None))
    assert await prune(redis, forever) == 1
    assert_at_rest(raw, QUEUE)
    assert not raw.exists(key(QUEUE, f"expiry:{name}"))


@pytest.mark.parametrize("state", STREAMS)
async def test_what_is_kept_for_ever_is_walked_past(redis: Redis, raw: Any, state: State) -> None:
    option = "remove_on_complete" if state is State.COMPLETED else "remove_on_fail"
    spec = QueueSpec(
        QUEUE, retention=Retention(completed_ms=1, completed_count=0, failed_ms=1, failed_count=0)
    )
    await end(redis, spec, state, "kept", **{option: False})
    await end(redis, spec, state, "passing")

    assert await prune(redis, spec) == 1
    await end(redis, spec, state, "passing-too")
    assert await prune(redis, spec) == 1

    assert ids(raw, QUEUE, STREAMS[state][0]) == ["kept"]
    assert_at_rest(raw, QUEUE)


async def test_progress_log_and_blobs_go_with_a_pruned_job(redis: Redis, raw: Any) -> None:
    spec = QueueSpec(QUEUE, retention=NOT_LONG)
    big = {"text": "x" * 40_000}
    await Queue(spec, redis).add("work", big)
    hand = Hand(redis, spec)
    claim = await hand.take_one()
    await hand.claims.progress(claim, 1)
    await hand.claims.log(claim, "line")
    await hand.complete(claim, result=big)
    await clock_passes(redis, QUEUE, await clock_ms(redis, QUEUE) + 2)
    assert raw.hlen(key(QUEUE, "blobs")) == raw.hlen(key(QUEUE, "run")) == 2

    assert await prune(redis, spec) == 1

    assert [name for name in ("blobs", "run", "jobs") if raw.exists(key(QUEUE, name))] == []


async def test_an_add_that_is_repeated_after_its_job_is_gone_adds_nothing(
    redis: Redis, raw: Any
) -> None:
    """Its reply was lost; the job ran and was not kept; the producer's client sends once more."""
    spec = QueueSpec(QUEUE)
    queue, hand = Queue(spec, redis), Hand(redis, spec)
    job = NewJob("work", {}, JobOptions(job_id="one", remove_on_complete=True))
    (batch,) = batches(spec, [job])
    await queue.store.once("add", batch.args, nonce="n-1", again=0, once=b"", room="")
    await hand.complete(await hand.take_one())
    assert remembered(raw) == {"one"}

    await queue.store.once("add", batch.args, nonce="n-1", again=1, once=b"", room="")
    assert (await queue.counts()).total == 0
    # Someone else's add of the same id is a new job: nothing with that id is kept.
    await queue.store.once("add", batch.args, nonce="n-2", again=1, once=b"", room="")
    assert (await queue.counts()).waiting == 1


def remembered(raw: Any) -> set[str]:
    """Ids of dropped jobs; the list and the hash agree."""
    listed = {i for some in raw.lrange(key(QUEUE, "gone"), 0, -1) for i in some.split()[1:]}
    assert set(raw.hkeys(key(QUEUE, "gone:jobs"))) == listed
    return {job_id.decode().removeprefix(":") for job_id in listed}


def dropped(raw: Any, at_ms: int, *places: int) -> None:
    """What lies at these places of the list was dropped at that time."""
    for place in places:
        was = raw.lindex(key(QUEUE, "gone"), place).decode()
        raw.lset(key(QUEUE, "gone"), place, was.replace(was.split()[0], str(at_ms)))
        for job_id in was.split()[1:]:
            nonce, _, claim = raw.hget(key(QUEUE, "gone:jobs"), job_id).decode().split("|")
            raw.hset(key(QUEUE, "gone:jobs"), job_id, f"{nonce}|{at_ms}|{claim}")


async def drop(redis: Redis, *ids: str) -> None:
    """Jobs that end in one call and are not kept."""
    queue, hand = Queue(QUEUE, redis), Hand(redis, QueueSpec(QUEUE))
    options = [JobOptions(job_id=job_id, remove_on_complete=True) for job_id in ids]
    await queue.add_many([NewJob("work", {}, one) for one in options])
    await hand.complete(*await hand.take())


async def test_the_memory_of_dropped_ids_lasts_ten_minutes(redis: Redis, raw: Any) -> None:
    spec = QueueSpec(QUEUE)
    await drop(redis, "old", "older")
    await drop(redis, "young")
    now = await clock_ms(redis, QUEUE)
    dropped(raw, now - GONE_MS, 0)
    dropped(raw, now - GONE_MS + 60_000, 1)
    await prune(redis, spec)
    assert remembered(raw) == {"young"}


async def test_an_id_that_was_dropped_twice_is_remembered_from_the_last_time(
    redis: Redis, raw: Any
) -> None:
    await drop(redis, "one", "two")
    dropped(raw, await clock_ms(redis, QUEUE) - GONE_MS, 0)
    await drop(redis, "two", "three")
    await prune(redis, QueueSpec(QUEUE))
    assert remembered(raw) == {"two", "three"}


async def test_what_a_later_clock_dropped_is_forgotten_ten_minutes_from_now(
    redis: Redis, raw: Any
) -> None:
    spec = QueueSpec(QUEUE)
    await drop(redis, "ahead")
    await drop(redis, "young")
    dropped(raw, await clock_ms(redis, QUEUE) + HOUR_MS, 0)
    await prune(redis, spec)
    assert remembered(raw) == {"ahead", "young"}
    at = int(raw.lindex(key(QUEUE, "gone"), 0).split()[0])
    assert at <= await clock_ms(redis, QUEUE)
    raw.lset(key(QUEUE, "gone"), 0, raw.lindex(key(QUEUE, "gone"), 0).replace(b"%d" % at, b"1"))
    await prune(redis, spec)
    assert remembered(raw) == {"young"}


async def test_many_dropped_ids_are_forgotten_in_several_calls(redis: Redis, raw: Any) -> None:
    for n in range(13):
        await drop(redis, *(f"{n}-{k}" for k in range(97)))
    dropped(raw, 1, *range(13))
    calls = 1
    while (await Upkeep(QueueSpec(QUEUE), redis).prune()).more:
        calls += 1
    assert calls == 13 * 97 // 582 + 1
    assert remembered(raw) == set()


async def test_within_the_interval_of_another_pod_prune_is_skipped(redis: Redis, raw: Any) -> None:
    upkeep = Upkeep(QueueSpec(QUEUE), redis)
    assert not (await upkeep.prune(60_000)).skipped
    bury(raw, State.COMPLETED, "old", 1_000)
    assert (await upkeep.prune(60_000)).skipped
    assert ids(raw, QUEUE, "completed") == ["old"]


async def test_an_idle_queue_is_pruned_by_upkeep_alone(redis: Redis, raw: Any) -> None:
    spec, trouble = QueueSpec(QUEUE), list[Exception]()
    for state in STREAMS:
        bury(raw, state, state, 1_000)
    upkeep = asyncio.create_task(QueueUpkeep(spec, redis, trouble.append).run())
    try:
        await until(
            lambda: not raw.xlen(key(QUEUE, "completed")) and not raw.xlen(key(QUEUE, "dead")),
            within_s=20,
            what="both have disappeared",
        )
    finally:
        upkeep.cancel()
        await asyncio.gather(upkeep, return_exceptions=True)
    assert trouble == []
    assert_at_rest(raw, QUEUE)
