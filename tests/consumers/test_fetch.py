"""The claim loop: what it asks for while it still has jobs to start."""

from typing import Any

import pytest
from gate import SPEC, add, all_ended
from ledger import assert_all_completed, pending

from consumers import Worker
from consumers.events import Taken
from schemas.job import State
from streams import Job, Queue, Redis
from streams.claims import Claimed, Claims

SLOTS = 16
WAVE = SLOTS // 2


async def test_the_next_claim_is_on_its_way_before_the_last_one_is_looked_at(
    redis: Redis, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    claim = Claims.claim

    async def seen(self: Claims, *args: Any, **more: Any) -> Any:
        order.append("ask")
        return await claim(self, *args, **more)

    async def work(_: Job) -> None:
        order.append("start")

    monkeypatch.setattr(Claims, "claim", seen)
    jobs = await add(redis, 4 * WAVE)
    worker = Worker("chaos", work, concurrency=SLOTS, redis=redis)
    worker.hooks.listen(Taken, lambda _: order.append("taken"))
    async with worker:
        await all_ended(redis, 4 * WAVE)
    assert order[: 4 + WAVE] == ["ask", "ask", "taken", *["start"] * WAVE, "ask"]
    assert_all_completed(raw, "chaos", jobs)


async def test_jobs_that_come_while_the_worker_stops_are_given_back(
    redis: Redis, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Claims.claim
    started: list[str] = []

    async def work(job: Job) -> None:
        started.append(job.id)

    worker = Worker("chaos", work, concurrency=SLOTS, redis=redis)

    async def stopped_meanwhile(self: Claims, *args: Any, **more: Any) -> Any:
        found: tuple[Claimed, Any] = await claim(self, *args, **more)
        worker.stop()
        return found

    monkeypatch.setattr(Claims, "claim", stopped_meanwhile)
    jobs = await add(redis, 4 * WAVE)
    await worker.run()
    assert not started
    assert pending(raw, "chaos") == 0
    waiting = await Queue(SPEC, redis).page(State.WAITING, 0, len(jobs))
    assert {job.id for job in waiting} == set(jobs)
    assert {job.attempts_made for job in waiting} == {0}
