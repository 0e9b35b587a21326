"""What queues cost on which nothing happens, and what ends their idleness."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from by_hand import Hand
from fault_proxy import FaultProxy
from processes import until
from redis_servers import Server

import consumers.upkeep
import streams
from consumers import Worker
from consumers.scheduler import Scheduler
from schemas.job import JobOptions
from schemas.spec import QueueSpec, catalog
from streams import Job, Queue, Redis
from streams.scripts import RECORDS, SCRIPTS
from streams.upkeep import Upkeep
from streams.upkeep_index import UpkeepIndex

SPEC = QueueSpec("chaos")
CALLBACK = JobOptions(callback_url="https://example.com/hook")
WITHIN_S = 20.0
IDLE_S = 8.0
COMMANDS_A_S = 2
QUEUES = 300
DUTIES = ("promote", "reclaim", "prune", "sweep")


@pytest.fixture
async def proxy(own_server: Server) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(own_server.socket) as proxy:
        yield proxy


@pytest.fixture
async def counted(proxy: FaultProxy) -> AsyncIterator[Redis]:
    """A handle whose commands the proxy counts."""
    redis = streams.connect(proxy.url)
    yield redis
    await redis.close()


@pytest.fixture
def is_never_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle workers do not ask by themselves: they have to be told."""
    monkeypatch.setattr(consumers.upkeep, "IDLE_MS", 3_600_000)


async def succeed(_: Job) -> int:
    return 1


async def spent(proxy: FaultProxy) -> int:
    """Commands in some seconds of idleness."""
    before = proxy.commands.total()
    await asyncio.sleep(IDLE_S)
    return proxy.commands.total() - before


async def test_an_idle_worker_sends_two_commands_a_second_at_most(
    counted: Redis, proxy: FaultProxy
) -> None:
    """Also beside jobs that have ended, that are delayed, and that owe nothing any more."""
    queue = Queue(SPEC, counted)
    async with Worker(SPEC, succeed, redis=counted) as worker:
        await queue.add("work", {})
        await queue.add("work", {}, CALLBACK)
        await queue.add("work", {}, JobOptions(delay=3_600_000))

        async def is_at_rest() -> bool:
            counts = await queue.counts()
            return (counts.completed, counts.outbox) == (2, 0) and worker._fetcher.waiting

        await until(is_at_rest, within_s=WITHIN_S, what="it idles")
        proxy.commands.clear()
        assert await spent(proxy) <= COMMANDS_A_S * IDLE_S, proxy.commands


async def test_idle_queues_share_the_attention_of_a_scheduler(
    counted: Redis, proxy: FaultProxy
) -> None:
    index, sha = UpkeepIndex(counted), SCRIPTS["upkeep"].sha
    for number in range(QUEUES):
        await index.announce(QueueSpec(f"idle-{number}"))
    await Upkeep(SPEC, counted).due(dict.fromkeys(DUTIES, 1), 1)  # Redis knows the script by now
    proxy.commands.clear()
    stopping, schedulers = asyncio.Event(), [Scheduler(counted) for _ in range(2)]
    running = [asyncio.create_task(one.run(stopping)) for one in schedulers]
    await until(lambda: proxy.commands[sha] >= QUEUES, within_s=WITHIN_S, what="a look at each")
    assert proxy.commands[sha] <= QUEUES + len(catalog())
    turns = proxy.commands[RECORDS["upkeep_turn"].sha]
    assert await spent(proxy) <= IDLE_S * (QUEUES / 30 + 30)
    assert proxy.commands[RECORDS["upkeep_turn"].sha] > turns
    stopping.set()
    await asyncio.gather(*running)


@pytest.mark.usefixtures("is_never_idle")
async def test_a_callback_is_passed_on_when_its_job_ends(redis: Redis) -> None:
    async with Worker(SPEC, succeed, redis=redis) as worker:
        await until(lambda: worker._fetcher.waiting, within_s=WITHIN_S, what="it idles")
        await Queue(SPEC, redis).add("work", {}, CALLBACK)
        await until(lambda: _is_told(redis, 1), within_s=WITHIN_S, what="the callback is queued")


@pytest.mark.usefixtures("is_never_idle")
async def test_the_callback_of_a_cancelled_job_is_passed_on_by_an_idle_worker(
    redis: Redis,
) -> None:
    queue = Queue(SPEC, redis)
    job = await queue.add("work", {}, CALLBACK, delay=3_600_000)
    async with Worker(SPEC, succeed, redis=redis) as worker:
        await until(lambda: worker._fetcher.waiting, within_s=WITHIN_S, what="it idles")
        await queue.cancel(job.id)
        await until(lambda: _is_told(redis, 1), within_s=WITHIN_S, what="the callback is queued")


@pytest.mark.usefixtures("is_never_idle")
async def test_the_callbacks_of_jobs_that_expired_are_passed_on_by_who_finds_them(
    redis: Redis,
) -> None:
    queue = Queue(SPEC, redis)
    async with Worker(SPEC, succeed, redis=redis) as worker:
        await until(lambda: worker._fetcher.waiting, within_s=WITHIN_S, what="it idles")
        await queue.pause()
        job = await queue.add("work", {}, CALLBACK, expires=1)
        await until(lambda: _is_over(redis), within_s=WITHIN_S, what="its time is over")
        await queue.resume()
        await until(lambda: _is_told(redis, 1), within_s=WITHIN_S, what="the callback is queued")
        assert (await queue.glance(job.id) or [None])[0] == "failed"


async def _is_over(redis: Redis) -> bool:
    return ((await Queue(SPEC, redis).counts()).oldest_waiting_ms or 0) > 1


async def _is_told(redis: Redis, count: int) -> bool:
    told = (await Queue("webhooks", redis).counts()).total
    return told == count and (await Queue(SPEC, redis).counts()).outbox == 0


async def test_a_cancellation_brings_the_schedulers_look_forward(redis: Redis) -> None:
    queue, index = Queue(SPEC, redis), UpkeepIndex(redis)
    await index.announce(SPEC)
    await index.turn({}, 10, 3_600_000)
    job = await queue.add("work", {}, CALLBACK)
    assert not (await index.turn({}, 10, 3_600_000)).queues
    await queue.cancel(job.id)
    # A look that began before does not put it off again.
    assert "chaos" in (await index.turn({"chaos": 30_000}, 10, 3_600_000)).queues


async def test_a_busy_worker_keeps_its_queue_in_order(redis: Redis) -> None:
    """Every slot is taken: it claims nothing, but what is due becomes waiting."""
    gate = asyncio.Event()

    async def hold(_: Job) -> None:
        await gate.wait()

    queue = Queue(SPEC, redis)
    async with Worker(SPEC, hold, concurrency=1, redis=redis) as worker:
        await queue.add("work", {})
        await until(lambda: worker.running == 1, within_s=WITHIN_S, what="it works")
        await queue.add("work", {}, delay=10)

        async def is_promoted() -> bool:
            counts = await queue.counts()
            return (counts.waiting, counts.delayed) == (1, 0)

        await until(is_promoted, within_s=WITHIN_S, what="the delayed job waits")
        gate.set()


async def test_claims_of_a_hand_are_not_disturbed(redis: Redis) -> None:
    """A claim that brings jobs is no reason for upkeep."""
    await Queue(SPEC, redis).add("work", {})
    claimed = await Hand(redis, SPEC).ask(1, block_ms=1_000)
    assert (claimed.count, claimed.needs_upkeep) == (1, False)
