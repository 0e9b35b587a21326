"""Deliveries whose destination has no room: they cost no work while they wait, nothing is lost,
and they come when there is room. Work is counted, not time."""

import asyncio
from typing import Any

import pytest
from by_hand import PATIENCE_S, Hand, clock_ms, clock_passes
from deliveries import data
from processes import until
from receivers import Seen, receiver, reply
from working import delivering

from consumers.delivery.parked import ParkedDeliveries
from schemas.job import Backoff, JobOptions
from schemas.queues.webhooks import SPEC
from schemas.spec import Limiter
from streams import NewJob, Queue, Redis
from streams import destinations as store
from streams.claims import Ending
from streams.destinations import Destination, Known, Rules
from streams.endings import Gate
from streams.keys import QueueKeys
from streams.parking import Parking

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


async def park_behind_one(redis: Redis, url: str, many: int, rules: Rules) -> tuple[Queue, str]:
    """A delivery runs, by hand, at a destination for one at a time; the others are parked."""
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    lease = "somebody 1"
    assert await store.admit(redis, at(url), "somebody", lease, rules) == ()
    await queue.add_many(jobs(url, many))
    for claim in await hand.take():
        later = await store.admit(redis, at(url), claim.job.id, f"{claim.job.id} 1", rules)
        assert isinstance(later, store.Later)
        gate = Gate(at(url).id, later.look_ms)
        wait_ms = later.after_ms
        await hand.settle(Ending(claim, "retry", delay_ms=wait_ms, charged=False, gate=gate))
    return queue, lease


async def look(redis: Redis, rules: Rules, raw: Any) -> None:
    """Look at every gate, whenever its time is."""
    for gate in raw.zrange(KEYS["gates"], 0, -1):
        raw.zadd(KEYS["gates"], {gate: 0})
    await ParkedDeliveries(redis, SPEC.name, rules)._look()


ONE = Rules(concurrency=1)


async def test_a_worker_that_dies_when_it_has_settled_leaves_the_parked_to_others(
    redis: Redis, raw: Any
) -> None:
    """It settled the last delivery that ran, and did not release the next one."""
    async with receiver(reply(200)) as server:
        queue, lease = await park_behind_one(redis, server.url, 9, ONE)
        settled = await store.settle(redis, at(server.url), lease, store.Ended("success"), ONE)
        assert settled.room == 1
        await look(redis, ONE, raw)
        assert (await queue.counts()).due == 0, "the place is kept for the one that was to come"
        raw.hset(at(server.url).keys["about"], "promised_until", 1)  # ten seconds later
        async with delivering(redis, ONE):
            await counts(queue, completed=9)


async def test_a_higher_limit_lets_more_come(redis: Redis, raw: Any) -> None:
    url = "https://example.com/"
    queue, _ = await park_behind_one(redis, url, 9, ONE)
    await look(redis, ONE, raw)
    assert (await queue.counts()).due == 0
    assert await store.limit(redis, at(url), 4, None, who=b"{}")
    for _ in range(2):
        await look(redis, ONE, raw)
        assert (await queue.counts()).due == 3
    assert await store.limit(redis, at(url), 2, None, who=b"{}")
    await look(redis, ONE, raw)
    assert (await queue.counts()).due == 3


async def test_parked_jobs_of_a_destination_that_is_disabled_fail_some_at_a_time(
    redis: Redis, raw: Any
) -> None:
    async with receiver(reply(200)) as server:
        queue, _ = await park_behind_one(redis, server.url, 50, ONE)
        assert await store.switch(redis, at(server.url), enabled=False, who=b"{}")
        for _ in range(3):
            await look(redis, ONE, raw)
            assert (await queue.counts()).due == 20
        await Parking(redis, SPEC.name).look_soon(at(server.url).id)
        async with delivering(redis, ONE):
            await counts(queue, failed=50)
        assert server.requests == []


async def test_what_is_enabled_again_gets_its_parked_jobs(redis: Redis) -> None:
    rules = Rules(concurrency=1, requests=1, open_ms=30_000)
    async with receiver(reply(200)) as server:
        queue, lease = await park_behind_one(redis, server.url, 9, rules)
        await store.settle(redis, at(server.url), lease, store.Ended("failure"), rules)
        async with delivering(redis, rules):
            assert await store.switch(redis, at(server.url), enabled=True, who=b"{}")
            await Parking(redis, SPEC.name).look_soon(at(server.url).id)
            await counts(queue, completed=9)


async def test_a_destination_that_was_forgotten_gets_its_parked_jobs(
    redis: Redis, raw: Any
) -> None:
    async with receiver(reply(200)) as server:
        queue, _ = await park_behind_one(redis, server.url, 9, ONE)
        for key in raw.keys("cs:dest:*"):
            raw.delete(key)
        async with delivering(redis, ONE):
            await counts(queue, completed=9)


async def test_times_of_a_clock_that_was_set_back_hold_nothing_up(redis: Redis, raw: Any) -> None:
    """Whatever was written an hour ahead, by a host whose clock was."""
    rules = Rules(concurrency=1, rate=Limiter(1, 50))
    async with receiver(reply(200)) as server:
        queue, _ = await park_behind_one(redis, server.url, 9, rules)
        ahead = await clock_ms(redis, SPEC.name) + 3_600_000
        destination = at(server.url).keys
        open_now = {"state": "open", "until": ahead, "probe": "somebody 1", "reason": "x"}
        promises = {"promised": 1, "promised_until": ahead, "not_before": ahead + 86_400_000}
        raw.hset(destination["about"], mapping=open_now | promises)
        raw.zadd(destination["leases"], {"somebody 1": ahead})
        raw.zadd(destination["rate"], {"somebody 1": ahead})
        raw.zadd(KEYS["gates"], {at(server.url).id: ahead})
        async with delivering(redis, rules):
            await counts(queue, completed=9)


async def test_newer_jobs_do_not_take_the_places_of_those_that_wait(redis: Redis) -> None:
    url = "https://example.com/"
    _, lease = await park_behind_one(redis, url, 2, ONE)
    settled = await store.settle(redis, at(url), lease, store.Ended("success"), ONE)
    assert settled.room == 1
    newer = await store.admit(redis, at(url), "newer", "newer 1", ONE)
    assert isinstance(newer, store.Later)
    assert newer.reason == "concurrency"
    assert await store.admit(redis, at(url), "parked", "parked 1", ONE, returns=True) == ()


async def test_a_place_that_is_kept_for_nobody_is_given_to_the_next(redis: Redis, raw: Any) -> None:
    """All that were parked have been removed since."""
    url = "https://example.com/"
    queue, lease = await park_behind_one(redis, url, 3, ONE)
    for job in await queue.page("delayed", 0, 10):  # type: ignore[arg-type]
        await queue.remove(job.id)
    settled = await store.settle(redis, at(url), lease, store.Ended("success"), ONE)
    await ParkedDeliveries(redis, SPEC.name, ONE).release(at(url).id, settled.room)
    assert await store.admit(redis, at(url), "newer", "newer 1", ONE) == ()
    assert not raw.exists(KEYS["gates"])


async def test_places_kept_for_jobs_that_never_come_do_not_add_up(redis: Redis, raw: Any) -> None:
    """However often places are promised meanwhile, all promises end ten seconds after the first."""
    url, rules = "https://example.com/", Rules(concurrency=3)
    about = at(url).keys["about"]
    leases = [f"j{n} {n}" for n in range(3)]
    for lease in leases:
        assert await store.admit(redis, at(url), lease[:2], lease, rules) == ()
    for n in range(9):
        later = await store.admit(redis, at(url), f"parked{n}", f"parked{n} 1", rules)
        assert isinstance(later, store.Later)
    ends = set()
    for promised, lease in enumerate(leases, start=1):
        settled = await store.settle(redis, at(url), lease, store.Ended("success"), rules)
        assert settled.room == 1
        assert int(raw.hget(about, "promised")) == promised
        ends.add(raw.hget(about, "promised_until"))
        await clock_passes(redis, SPEC.name, await clock_ms(redis, SPEC.name) + 1)
    assert len(ends) == 1
    raw.hset(about, "promised_until", 1)
    assert await store.admit(redis, at(url), "newer", "newer 1", rules) == ()
