"""Submissions that come together: fewer calls, and to each its own answer."""

import asyncio
from functools import partial
from typing import Any

import pytest
from aiohttp import ClientSession
from pydantic import ValidationError

from gateway import coalesce
from gateway.admission import Admission
from gateway.coalesce import Coalescer
from schemas import State
from schemas.job import JobOptions
from streams import Added, NewJob, Queue, Redis
from streams.errors import Full, Unavailable
from tests.gateway.samples import ISSUANCE


class Counting(Queue):
    """Remembers how many jobs each call brought; fails when told to."""

    def __init__(self, redis: Redis, name: str = "custom") -> None:
        super().__init__(name, redis)
        self.calls: list[int] = []
        self.error: Exception | None = None

    async def add_many(self, jobs: Any, *, checked: bool = False) -> list[Added]:
        self.calls.append(len(jobs))
        if self.error is not None:
            raise self.error
        return await super().add_many(jobs, checked=checked)


def named(job_id: str, **data: Any) -> NewJob:
    return NewJob("work", data, JobOptions(job_id=job_id))


async def test_who_comes_together_goes_together_in_order(redis: Redis) -> None:
    queue = Counting(redis)
    together = Coalescer(queue)
    added = await asyncio.gather(*(together.add(named(f"n{n}")) for n in range(250)))
    assert [one.id for one in added] == [f"n{n}" for n in range(250)]
    assert queue.calls == [32, 32, 32, 32, 32, 32, 32, 26]
    jobs = await queue.page(State.WAITING, 0, 249)
    assert [job.id for job in jobs] == [f"n{n}" for n in range(250)]


async def test_who_comes_while_calls_are_under_way_waits_for_one_to_return(redis: Redis) -> None:
    queue = Counting(redis)
    together = Coalescer(queue)
    tasks = []
    for n in range(20):
        tasks.append(asyncio.create_task(together.add(named(f"n{n}"))))
        if len(queue.calls) < coalesce.CALLS_IN_FLIGHT:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert sum(queue.calls) == 20
    assert queue.calls[:2] == [1, 1], "who comes alone leaves at once"
    assert len(queue.calls) == 3


async def test_while_others_stand_at_the_door_the_first_wait_for_them(redis: Redis) -> None:
    queue, door = Counting(redis), Admission()
    together, tasks = Coalescer(queue, door), list[asyncio.Task[Added]]()

    def enter(number: int) -> None:
        tasks.append(asyncio.create_task(together.add(named(f"n{number}"))))

    for number in range(10):
        if door.enters(b"POST /", partial(enter, number)):
            enter(number)
    while len(tasks) < 10:
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    assert queue.calls[0] >= 8, "one a turn came in"
    assert sum(queue.calls) == 10


async def test_one_id_twice_is_one_job(redis: Redis) -> None:
    together = Coalescer(Counting(redis))
    added = await asyncio.gather(*(together.add(named("x")) for _ in range(3)))
    assert [one.deduplicated for one in added] == [False, True, True]


async def test_a_job_that_does_not_fit_does_not_even_join(redis: Redis) -> None:
    queue = Counting(redis, "vc-issuance")
    together = Coalescer(queue)
    good = [together.add(NewJob("issue", ISSUANCE)) for _ in range(3)]
    bad = together.add(NewJob("issue", {"x": 1}))
    answers = await asyncio.gather(*good, bad, return_exceptions=True)
    assert isinstance(answers[3], ValidationError)
    assert queue.calls == [3]


async def test_a_group_that_fails_is_sent_one_by_one(redis: Redis) -> None:
    """A callback URL that is none shows when the group is encoded."""
    queue = Counting(redis)
    together = Coalescer(queue)
    jobs = [named("a"), named("bad", callbackUrl="nowhere"), named("c")]
    a, bad, c = await asyncio.gather(*map(together.add, jobs), return_exceptions=True)
    assert isinstance(bad, ValidationError)
    assert isinstance(a, Added)
    assert isinstance(c, Added)
    assert (a.deduplicated, c.deduplicated) == (False, False)
    assert queue.calls == [3, 1, 1, 1]
    assert (await queue.counts()).waiting == 2


@pytest.mark.parametrize("error", [Unavailable("gone"), Full("full")])
async def test_a_store_that_cannot_be_had_is_told_to_all(redis: Redis, error: Exception) -> None:
    queue = Counting(redis)
    together, queue.error = Coalescer(queue), error
    answers = await asyncio.gather(
        *(together.add(named(f"n{n}")) for n in range(3)), return_exceptions=True
    )
    assert answers == [error] * 3
    assert queue.calls == [3]
    queue.error = None
    assert (await together.add(named("later"))).id == "later"


async def test_nobody_waits_for_ever_whatever_goes_wrong(redis: Redis) -> None:
    queue = Counting(redis)
    together, queue.error = Coalescer(queue), RuntimeError("a bug")
    answers = await asyncio.gather(
        *(together.add(named(f"n{n}")) for n in range(2)), return_exceptions=True
    )
    assert answers == [queue.error] * 2


async def test_who_leaves_hurts_nobody(redis: Redis) -> None:
    together = Coalescer(Counting(redis))
    tasks = [asyncio.create_task(together.add(named(f"n{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(one, "id", None) for one in answers] == ["n0", None, "n2"]


async def test_over_http_each_gets_its_own_answer(http: ClientSession, queue: Queue) -> None:
    async def post(number: int) -> int:
        data = ISSUANCE if number % 5 else {"issuerDid": number}
        body = {"data": data, "options": {"jobId": f"n{number}"}}
        async with http.post("/queue/vc-issuance/jobs", json=body) as response:
            answer = await response.json(content_type=None)
        if number % 5:
            assert answer["data"]["id"] == f"n{number}"
        else:
            assert "/data/subjectDid" in [fault["pointer"] for fault in answer["errors"]]
        return response.status

    statuses = await asyncio.gather(*map(post, range(100)))
    assert statuses == [422, 202, 202, 202, 202] * 20
    assert (await queue.counts()).waiting == 80
