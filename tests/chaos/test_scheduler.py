"""Queues without any worker: a scheduler keeps them in order, and their demand true (B9)."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from by_hand import Hand
from crew import ROOT, crew
from ledger import ids
from processes import end, eventually, free_ports, spawn, until

from consumers.scheduler import Scheduler
from gateway.measuring import demand
from schemas.job import JobOptions, State
from schemas.spec import QueueSpec, Retention, catalog
from streams import Queue, Redis
from streams.errors import LayoutError
from streams.upkeep_index import UpkeepIndex, decode_spec

WITHIN_S = 30.0
LEASE_MS = 300
KILLED = QueueSpec("killed", lease_ms=LEASE_MS)
ENDED = QueueSpec("ended", retention=Retention(completed_count=2), callback_members=("n",))
TOLD = JobOptions(callback_url="https://example.com/hook")
DATA = {"organizationId": "org-1"}
HOOK = {"url": "https://example.com/", "method": "POST", "payload": {}, "event": "x.y", **DATA}


@contextmanager
def scheduler(folder: Path, redis_url: str) -> Iterator[int]:
    """A `credstream scheduler` -> the port of its probes; at SIGTERM it ends with 0."""
    (port,) = free_ports(1)
    log = folder / "scheduler.log"
    env = {"REDIS_URL": redis_url, "PROBE_PORT": str(port), "LOG_LEVEL": "info"}
    with log.open("wb") as output:
        command = [sys.executable, "-m", "credstream", "scheduler"]
        process = spawn(command, cwd=ROOT, env=env, output=output)
    try:
        begun = "keeping every queue in order"
        eventually(lambda: begun in log.read_text(), within_s=WITHIN_S, what=begun)
        yield port
    finally:
        status = end(process, patience_s=WITHIN_S)
    assert status == 0
    assert "nothing is left half done" in log.read_text()
    assert "Traceback" not in log.read_text()


async def job_of_a_killed_worker(redis: Redis, url: str, folder: Path) -> None:
    """The last worker of its queue, which is a custom one that the worker announced."""
    with crew(folder, url, KILLED.name, lease_ms=LEASE_MS) as workers:
        last = await workers.hire()
        await Queue(KILLED, redis).add("x", {"held": True})
        await last.says("started", 1)
        last.kill()


async def ends_with_callbacks(redis: Redis) -> None:
    await UpkeepIndex(redis).announce(ENDED)
    queue, hand = Queue(ENDED, redis), Hand(redis, ENDED)
    for n in range(5):
        await queue.add("x", DATA, TOLD)
        await hand.complete(await hand.take_one(), result={"n": n, "more": 1})


async def test_without_workers_everything_but_the_work_is_done(
    redis: Redis, redis_url: str, raw: Any, tmp_path: Path
) -> None:
    await job_of_a_killed_worker(redis, redis_url, tmp_path)
    await ends_with_callbacks(redis)
    later = await Queue("webhooks", redis).add("x", HOOK, JobOptions(delay=100, priority=0))

    async def in_order() -> bool:
        killed, ended = await Queue(KILLED, redis).counts(), await Queue(ENDED, redis).counts()
        due = await Queue("webhooks", redis).get(later.id)
        return (
            due is not None
            and due.state is State.WAITING
            and (killed.waiting, killed.active, demand(killed)) == (1, 0, 1)
            and (ended.completed, ended.outbox) == (2, 0)
        )

    with scheduler(tmp_path, redis_url) as port:
        await until(in_order, within_s=WITHIN_S, what="nothing is left to do but the work")
        async with aiohttp.ClientSession() as http:
            for path in ("livez", "readyz", "metrics"):
                async with http.get(f"http://127.0.0.1:{port}/{path}") as answer:
                    assert answer.status == 200
                    text = await answer.text()
            assert 'role="scheduler"' in text
            assert 'stalled_total{queue="killed"} 1.0' in text
    (claim,) = await Hand(redis, KILLED).isolate()
    assert claim.job.stalled_count == 1
    callbacks = [await Queue("webhooks", redis).get(one) for one in ids(raw, "webhooks", "p5")]
    told = [one.data["payload"] for one in callbacks if one is not None]
    assert told == [{"event": "ended.completed", "n": n} for n in range(5)]


async def taken(redis: Redis) -> dict[str, bytes]:
    """What a scheduler would look at now."""
    return dict((await UpkeepIndex(redis).turn({}, 100, 0)).queues)


async def test_a_queue_is_announced_as_long_as_the_catalogue_says_something_else(
    redis: Redis,
) -> None:
    index = UpkeepIndex(redis)
    own = replace(catalog()["emails"], retention=Retention(None, None, None, 7))
    await index.announce(own)
    said = decode_spec("emails", (await taken(redis))["emails"])
    assert (said.retention, said.lease_ms) == (own.retention, own.lease_ms)
    await index.announce(catalog()["emails"])
    assert await taken(redis) == {"emails": b""}


async def test_what_workers_announce_anew_holds_from_then_on(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.scheduler.IDLE_MS", 50)
    monkeypatch.setattr("consumers.scheduler.PACE_MS", 50)
    scheduler, index = Scheduler(redis), UpkeepIndex(redis)
    await index.announce(KILLED)
    stopping = asyncio.Event()
    running = asyncio.create_task(scheduler.run(stopping))
    await until(lambda: KILLED.name in scheduler.queues, within_s=WITHIN_S, what="it is kept")
    await index.announce(replace(KILLED, max_stalls=1))
    await until(
        lambda: scheduler._kept[KILLED.name].spec.max_stalls == 1,
        within_s=WITHIN_S,
        what="it is kept anew",
    )
    stopping.set()
    await running
    assert not scheduler._looking


async def test_a_queue_of_a_newer_version_ends_it(redis: Redis, raw: Any) -> None:
    raw.hset("cs:{emails}:meta", "layout", 99)
    with pytest.raises(LayoutError):
        await Scheduler(redis).run(asyncio.Event())


async def test_queues_that_can_be_reached_do_not_wait_for_the_index(redis: Redis, raw: Any) -> None:
    """In a Cluster it may lie on a primary that is away."""
    raw.set("cs:{upkeep}:due", "cannot be read")
    scheduler, stopping = Scheduler(redis), asyncio.Event()
    running = asyncio.create_task(scheduler.run(stopping))
    await until(
        lambda: scheduler._looks.keys() == catalog().keys(),
        within_s=WITHIN_S,
        what="the product's queues are looked at",
    )
    stopping.set()
    await running


def test_trouble_is_told_once(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    scheduler = Scheduler(redis)
    for text in ("gone", "gone", "full"):
        scheduler._complain("emails", RuntimeError(text))
    assert [record.args for record in caplog.records] == [("emails", "gone"), ("emails", "full")]
