"""Redis goes away, forgets its scripts or hangs up under load: nothing acknowledged is lost."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from crew import Crew, crew
from ledger import assert_all_completed, ended_events, ids
from processes import until
from producer import Producer, producing
from redis_servers import Server, redis7, valkey

from schemas.spec import QueueSpec
from streams import NewJob, Queue, connect

SPEC = QueueSpec("chaos", lease_ms=5_000)
LOAD = 3_000
"""At least so many jobs are acknowledged while things go wrong."""
Harm = Callable[[Server], Awaitable[None]]


async def survives(server: Server, workers: Crew, harm: Harm) -> Producer:
    """Two workers and a producer live through `harm`; every acknowledged job is done once."""
    hands = [await workers.hire(concurrency=20) for _ in range(2)]
    async with producing(server.url, SPEC, at_least=LOAD) as producer:
        await producer.reaches(200)
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
        for _ in range(200):
            raw.script_flush()
            await asyncio.sleep(0)
        for _ in range(5):
            raw.script_flush()
            await until_scripts_run(raw)


async def hang_up(server: Server) -> None:
    with server.client() as raw:
        for _ in range(5):
            raw.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await until_scripts_run(raw)


async def until_scripts_run(raw: Any) -> None:
    """Wait until twenty more have run: whoever lost something has found it again."""
    before = executed(raw)
    await until(lambda: executed(raw) > before + 20, within_s=5, what="scripts run again")


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
        assert workers.tally("completed") == Counter(producer.acknowledged)
        assert producer.refused or harm is not restart


async def test_workers_go_on_after_everything_was_flushed(tmp_path: Path) -> None:
    """The streams and their groups are gone under the workers; new jobs are done."""
    with (
        valkey() as server,
        crew(tmp_path, server.url, "chaos", lease_ms=SPEC.lease_ms) as workers,
    ):
        hand = await workers.hire(concurrency=10)
        for _ in range(3):
            async with producing(server.url, SPEC, at_least=200) as producer:
                await producer.reaches(100)
                server.flush()
        server.flush()
        redis = connect(server.url)
        added = [one.id for one in await Queue(SPEC, redis).add_many([NewJob(name="x")] * 20)]
        await redis.close()
        await until(
            lambda: set(added) <= set(hand.said("completed")), within_s=10, what="new jobs are done"
        )
        with server.client() as raw:
            assert_all_completed(raw, "chaos", added)


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
