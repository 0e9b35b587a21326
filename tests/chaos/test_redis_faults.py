"""Redis goes away, forgets its scripts or hangs up under load: nothing acknowledged is lost."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from crew import Crew, crew
from ledger import assert_all_completed, ended_events, ids
from processes import until
from redis_servers import Server, redis7, valkey

from schemas.job import JobOptions
from schemas.spec import QueueSpec
from streams import NewJob, Queue, Redis, connect
from streams.errors import Unavailable

SPEC = QueueSpec("chaos", lease_ms=5_000)
LOAD = 3_000
"""At least so many jobs are acknowledged while things go wrong."""
BATCH = 20

Harm = Callable[[Server], Awaitable[None]]


class Producer:
    """Adds jobs until told to stop; what an answer said is added must be done."""

    def __init__(self, redis: Redis) -> None:
        self.queue = Queue(SPEC, redis)
        self.acknowledged: list[str] = []
        self.refused = 0
        self._stopping = False

    async def run(self) -> None:
        """Add batches of jobs with ids of their own, each batch until it is acknowledged."""
        number = 0
        while not self._stopping:
            jobs = [self._job(number + offset) for offset in range(BATCH)]
            number += BATCH
            while not await self._acknowledged(jobs):
                self.refused += 1
                await asyncio.sleep(0.01)

    def stop(self) -> None:
        self._stopping = True

    @staticmethod
    def _job(number: int) -> NewJob:
        return NewJob(name="x", data={"n": number}, options=JobOptions(job_id=f"job-{number}"))

    async def _acknowledged(self, jobs: list[NewJob]) -> bool:
        try:
            added = await self.queue.add_many(jobs)
        except Unavailable:
            return False
        self.acknowledged += [one.id for one in added]
        return True


@asynccontextmanager
async def load(server: Server) -> AsyncIterator[Producer]:
    """Jobs keep coming in the block; at its end the last batch has been acknowledged."""
    redis = connect(server.url)
    producer = Producer(redis)
    running = asyncio.create_task(producer.run())
    try:
        yield producer
        await until(
            lambda: len(producer.acknowledged) >= LOAD or running.done(), within_s=15, what="a load"
        )
        producer.stop()
        await asyncio.wait_for(running, 10)
    finally:
        running.cancel()
        await redis.close()


async def survives(server: Server, workers: Crew, harm: Harm) -> Producer:
    """Two workers and a producer live through `harm`; every acknowledged job is done once."""
    hands = [await workers.hire(concurrency=20) for _ in range(2)]
    async with load(server) as producer:
        await until(lambda: len(producer.acknowledged) >= 200, within_s=10, what="jobs flow")
        await harm(server)
    with server.client() as raw:
        await until(
            lambda: len(ids(raw, "chaos", "completed")) >= len(producer.acknowledged),
            within_s=15,
            what="all are completed",
        )
        assert_all_completed(raw, "chaos", producer.acknowledged)
    assert {hand.process.poll() for hand in hands} == {None}
    return producer


async def restart(server: Server) -> None:
    """Once in good order, once by SIGKILL; in a thread, so that the producer meets the gap."""
    for crash in (False, True):
        await asyncio.to_thread(server.restart, crash=crash)


async def forget_scripts(server: Server) -> None:
    with server.client() as raw:
        for _ in range(5):
            raw.script_flush()
            before = executed(raw)
            await until(lambda: executed(raw) > before + 20, within_s=5, what="scripts run again")


async def hang_up(server: Server) -> None:
    with server.client() as raw:
        for _ in range(5):
            raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            before = executed(raw)
            await until(lambda: executed(raw) > before + 20, within_s=5, what="clients came back")


def executed(raw: Any) -> int:
    """How many scripts the server has run by their digest."""
    stats = raw.info("commandstats").get("cmdstat_evalsha", {"calls": 0})
    return int(stats["calls"])


@pytest.mark.parametrize("make", [valkey, redis7])
@pytest.mark.parametrize("harm", [restart, forget_scripts, hang_up])
async def test_nothing_acknowledged_is_lost_under_load(
    make: Any, harm: Harm, tmp_path: Path
) -> None:
    with (
        make(appendfsync="always") as server,
        crew(tmp_path, server.url, "chaos", lease_ms=SPEC.lease_ms) as workers,
    ):
        producer = await survives(server, workers, harm)
        if harm is not restart:
            assert workers.tally("completed") == Counter(producer.acknowledged)


async def test_a_redis_frozen_beyond_the_lease(tmp_path: Path) -> None:
    """Nobody's lease runs out while Redis itself stood still... or if so, no job is done twice."""
    with (
        valkey(appendfsync="always") as server,
        crew(tmp_path, server.url, "chaos", lease_ms=1_000) as workers,
    ):
        hand = await workers.hire(concurrency=10)
        redis = connect(server.url)
        jobs = [NewJob(name="x", data={"held": True})] * 10
        added = [one.id for one in await Queue(SPEC, redis).add_many(jobs)]
        await redis.close()
        await hand.says("started", 10)
        with server.frozen():
            await asyncio.sleep(1.5)  # what is tested is exactly that time passes
        hand.open_gate()
        with server.client() as raw:
            await until(
                lambda: len(ids(raw, "chaos", "completed")) == 10, within_s=10, what="all are done"
            )
            assert max(ended_events(raw, "chaos", "completed").values()) == 1
            assert_all_completed(raw, "chaos", added)
