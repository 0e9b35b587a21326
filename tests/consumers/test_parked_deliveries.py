"""Deliveries whose destination has no room: they cost no work while they wait, nothing is lost,
and they come when there is room. Work is counted, not time."""

import asyncio
from typing import Any

import pytest
from by_hand import PATIENCE_S
from deliveries import data
from processes import until
from receivers import Seen, receiver, reply
from working import delivering

from schemas.job import Backoff, JobOptions
from schemas.queues.webhooks import SPEC
from schemas.spec import Limiter
from streams import NewJob, Queue, Redis
from streams import destinations as store
from streams.destinations import Destination, Known, Rules
from streams.keys import QueueKeys

ORG = "org-1"
KEYS = QueueKeys(SPEC.name)
MANY = JobOptions(attempts=1_000, backoff=Backoff(type="fixed", delay=3_600_000))


def jobs(url: str, count: int, options: JobOptions | None = None, **changes: Any) -> list[NewJob]:
    return [NewJob("x", data(url, payload={"n": n}, **changes), options) for n in range(count)]


def at(url: str) -> Destination:
    return Destination(ORG, url.rstrip("/"))


async def known(redis: Redis, url: str) -> Known:
    found = await store.find(redis, at(url).id)
    assert found is not None
    return found


async def deferred(redis: Redis, url: str) -> int:
    return (await known(redis, url)).numbers.get("deferred", 0)


async def counts(queue: Queue, **wanted: int) -> None:
    """Return when so many jobs are in these states."""

    async def reached() -> bool:
        seen = await queue.counts()
        return all(getattr(seen, state) == count for state, count in wanted.items())

    await until(reached, within_s=2 * PATIENCE_S, what=f"{wanted}")


async def test_a_dead_destination_costs_one_deferral_a_job_and_one_probe_an_opening(
    redis: Redis, unused_tcp_port: int
) -> None:
    """Five openings later, its backlog has cost no more, and a healthy destination is served."""
    queue, many, probes = Queue(SPEC, redis), 300, 5
    dead = f"http://127.0.0.1:{unused_tcp_port}/"
    rules = Rules(requests=5, open_ms=100, openings=1_000_000)
    async with receiver(reply(200)) as healthy, delivering(redis, rules):
        await queue.add_many(jobs(dead, many, MANY))

        async def opened() -> bool:
            found = await store.find(redis, at(dead).id)
            return found is not None and found.numbers.get("openings", 0) >= probes

        await until(opened, within_s=2 * PATIENCE_S, what="it has been probed")
        await queue.add_many(jobs(healthy.url, 50))
        await counts(queue, completed=50)
        about = await known(redis, dead)
    tried = about.numbers["failure"]
    assert tried <= about.numbers["openings"] + rules.requests + rules.concurrency
    assert about.numbers["deferred"] <= many + tried


@pytest.mark.parametrize("limit", [1, 5])
async def test_a_destination_that_comes_back_gets_everything_at_the_pace_of_its_limit(
    redis: Redis, limit: int
) -> None:
    queue, many, is_up = Queue(SPEC, redis), 200, False
    running = most = 0

    async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        await reply(200 if is_up else 503)(seen, writer)

    rules = Rules(concurrency=limit, requests=5, open_ms=100, openings=1_000_000)
    options = JobOptions(attempts=1_000, backoff=Backoff(type="fixed", delay=0))
    async with receiver(answer) as server, delivering(redis, rules, concurrency=20):
        await queue.add_many(jobs(server.url, many, options))
        await counts(queue, waiting=0, active=0)
        is_up = True
        await counts(queue, completed=many)
        about = await known(redis, server.url)
    assert most <= limit
    assert about.numbers["success"] == many
    assert about.numbers["deferred"] <= 2 * many


async def test_a_job_above_the_limit_is_put_off_once_and_comes_when_its_place_is_free(
    redis: Redis,
) -> None:
    queue, many = Queue(SPEC, redis), 60
    async with receiver(reply(200)) as server, delivering(redis, Rules(concurrency=1)):
        for job in jobs(server.url, many):
            await queue.add(job.name, job.data)
        await counts(queue, completed=many)
        assert await deferred(redis, server.url) <= many
    assert len(server.requests) == many


async def test_a_rate_lets_parked_jobs_come_as_it_has_room(redis: Redis) -> None:
    queue, many = Queue(SPEC, redis), 30
    rules = Rules(concurrency=20, rate=Limiter(3, 200))
    async with receiver(reply(200)) as server, delivering(redis, rules, concurrency=20):
        await queue.add_many(jobs(server.url, many))
        await counts(queue, completed=many)
        assert await deferred(redis, server.url) <= 2 * many
