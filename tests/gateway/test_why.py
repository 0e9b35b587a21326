"""Why a job waits: each reason, in words and in fields."""

from typing import Any

import pytest
from aiohttp import ClientSession
from by_hand import Hand

from gateway.settings import GatewaySettings
from schemas.job import JobOptions
from schemas.spec import Limiter
from streams import NewJob, Queue, Redis
from streams.claims import Claims
from streams.destinations import Destination, Ended, Rules, admit, settle, switch
from streams.endings import Gate
from streams.why import rate
from tests.gateway.callers import key
from tests.gateway.samples import Serve

HOUR_MS = 3_600_000


@pytest.fixture
def why(http: ClientSession) -> Any:
    async def asking(job_id: str) -> dict[str, Any]:
        async with http.get(f"/queue/vc-issuance/job/{job_id}/why") as response:
            answer = await response.json(content_type=None)
            assert response.status == 200, answer
        found: dict[str, Any] = answer["data"]
        assert found["summary"] == " ".join(reason["detail"] for reason in found["reasons"])
        return found

    return asking


def codes(answer: dict[str, Any]) -> list[str]:
    return [reason["code"] for reason in answer["reasons"]]


@pytest.fixture
def worker(queue: Queue) -> Claims:
    return Claims(queue.spec, queue.redis, "w-1")


async def alive(worker: Claims, slots: int = 5) -> None:
    await worker.heartbeat({"slots": slots, "running": {}, "host": "here"})


@pytest.fixture
async def one(queue: Queue, issuance: dict[str, Any]) -> str:
    return (await queue.add("issue", issuance, job_id="one")).id


async def test_no_worker(why: Any, one: str) -> None:
    answer = await why(one)
    assert codes(answer) == ["no_workers"]
    assert (answer["workers"], answer["estimatedStart"], answer["ahead"]) == (0, None, 0)


async def test_a_worker_that_fell_silent_is_none(why: Any, one: str, raw: Any) -> None:
    raw.hset("cs:{vc-issuance}:workers", "old", b'1:{"slots":5,"running":{}}')
    assert codes(await why(one)) == ["no_workers"]


async def test_the_next(why: Any, worker: Claims, one: str) -> None:
    await alive(worker)
    answer = await why(one)
    assert codes(answer) == ["next"]
    assert (answer["workers"], answer["slots"]) == (1, 5)
    assert answer["estimatedStart"] is not None


async def test_paused(why: Any, queue: Queue, worker: Claims, one: str) -> None:
    await alive(worker)
    await queue.pause()
    answer = await why(one)
    assert codes(answer) == ["paused"]
    assert (answer["paused"], answer["estimatedStart"]) == (True, None)


async def test_jobs_ahead_are_counted_over_all_lanes(
    why: Any, queue: Queue, worker: Claims, hands: Any, issuance: dict[str, Any]
) -> None:
    await alive(worker)
    await queue.add("issue", issuance, job_id="back", priority=10)
    await hands.end(await hands.take(1), "release", b"")
    for priority in (0, 0, 5, 7):
        await queue.add("issue", issuance, priority=priority)
    await queue.add("issue", issuance, job_id="last", priority=7)
    await queue.add("issue", issuance, job_id="behind", priority=7)
    answer = await why("last")
    assert codes(answer) == ["jobs_ahead"]
    assert (answer["ahead"], answer["aheadExact"]) == (5, True)
    assert "5 jobs start before it" in answer["summary"]
    assert (await why("back"))["ahead"] == 0


@pytest.mark.parametrize(("at", "ahead", "exact"), [(200, 200, True), (750, 750, True)])
async def test_a_long_lane_is_counted_from_the_nearer_end(
    why: Any, queue: Queue, issuance: dict[str, Any], at: int, ahead: int, exact: bool
) -> None:
    added = await queue.add_many([NewJob("issue", issuance)] * 900)
    answer = await why(added[at].id)
    assert (answer["ahead"], answer["aheadExact"]) == (ahead, exact)


async def test_the_middle_of_a_long_lane_is_told_by_a_bound(
    why: Any, queue: Queue, issuance: dict[str, Any]
) -> None:
    added = await queue.add_many([NewJob("issue", issuance)] * 900)
    answer = await why(added[450].id)
    assert (answer["ahead"], answer["aheadExact"]) == (250, False)
    assert "At least 250 jobs" in answer["summary"]


async def test_rate_limited(
    why: Any, queue: Queue, worker: Claims, hands: Any, issuance: dict[str, Any]
) -> None:
    await alive(worker)
    await queue.set_limits(Limiter(2, HOUR_MS))
    await queue.add_many([NewJob("issue", issuance)] * 2)
    await hands.end(await hands.take(5), "complete", b"1")
    await queue.add("issue", issuance, job_id="one")
    answer = await why("one")
    assert codes(answer) == ["rate_limited"]
    assert answer["limiter"] == {"max": 2, "duration": HOUR_MS}
    assert answer["estimatedStart"] == answer["limitedUntil"] > HOUR_MS


async def test_the_concurrency_cap(
    why: Any, queue: Queue, worker: Claims, hands: Any, issuance: dict[str, Any]
) -> None:
    await alive(worker)
    await queue.set_limits(None, 1)
    await queue.add("issue", issuance)
    assert len(await hands.take(5)) == 1
    await queue.add("issue", issuance, job_id="one")
    answer = await why("one")
    assert codes(answer) == ["concurrency"]
    assert (answer["concurrency"], answer["active"]) == (1, 1)
    assert answer["summary"] == "1 job runs, and the queue may run 1 at once."


async def test_busy_workers(
    why: Any, queue: Queue, worker: Claims, hands: Any, issuance: dict[str, Any]
) -> None:
    await alive(worker, slots=1)
    await queue.add("issue", issuance)
    assert len(await hands.take(1)) == 1
    await queue.add("issue", issuance, job_id="one")
    answer = await why("one")
    assert codes(answer) == ["workers_busy"]
    assert answer["summary"] == "The only slot of the workers is taken."
    assert answer["estimatedStart"] is None  # nothing has ended yet: nobody can tell


async def test_delayed(why: Any, queue: Queue, worker: Claims, issuance: dict[str, Any]) -> None:
    await alive(worker)
    await queue.add("issue", issuance, job_id="one", delay=HOUR_MS)
    answer = await why("one")
    assert codes(answer) == ["delayed"]
    assert answer["estimatedStart"] == answer["delayedUntil"]
    assert answer["ahead"] is None


async def test_backoff(why: Any, queue: Queue, worker: Claims, hands: Any, one: str) -> None:
    await alive(worker)
    (claim,) = await hands.take(1)
    await hands.retry(claim, HOUR_MS)
    answer = await why(one)
    assert codes(answer) == ["backoff"]
    assert "after 1 failed attempt;" in answer["summary"]


async def test_running_and_ended(why: Any, hands: Any, one: str) -> None:
    claims = await hands.take(1)
    answer = await why(one)
    assert (codes(answer), answer["state"]) == (["running"], "active")
    assert "hands" in answer["summary"]
    await hands.end(claims, "complete", b"1")
    answer = await why(one)
    assert (codes(answer), answer["state"]) == (["ended"], "completed")


async def test_several_reasons_at_once(why: Any, queue: Queue, issuance: dict[str, Any]) -> None:
    await queue.add("issue", issuance)
    await queue.add("issue", issuance, job_id="one")
    await queue.pause()
    assert codes(await why("one")) == ["paused", "no_workers", "jobs_ahead"]


async def test_the_estimate_follows_the_rate(
    why: Any, queue: Queue, worker: Claims, hands: Any, issuance: dict[str, Any]
) -> None:
    await alive(worker, slots=1)
    await queue.add_many([NewJob("issue", issuance, JobOptions(remove_on_complete=True))] * 2)
    await queue.add_many([NewJob("issue", issuance)] * 2)
    await hands.end(await hands.take(4), "complete", b"1")
    await queue.add_many([NewJob("issue", issuance)] * 3)
    assert len(await hands.take(1)) == 1
    await queue.add("issue", issuance, job_id="one")
    answer = await why("one")
    assert answer["ratePerSecond"] > 0
    assert answer["estimatedStart"] is not None


async def test_everything_at_once(
    why: Any, queue: Queue, worker: Claims, hands: Any, issuance: dict[str, Any]
) -> None:
    await alive(worker)
    await queue.set_limits(Limiter(1, HOUR_MS), 1)
    await queue.add("issue", issuance)
    assert len(await hands.take(1)) == 1
    await queue.add("issue", issuance, priority=0)
    await queue.add("issue", issuance, job_id="one")
    await queue.add("issue", issuance, job_id="late", delay=HOUR_MS)
    await queue.pause()
    held_up = ["paused", "rate_limited", "concurrency"]
    assert codes(await why("one")) == [*held_up, "jobs_ahead"]
    assert codes(await why("late")) == [*held_up, "delayed"]
    await queue.prioritize("one", 0)
    assert (await why("one"))["ahead"] == 1
    await queue.set_limits()
    await queue.resume()
    assert codes(await why("one")) == ["jobs_ahead"]


async def test_a_rate_limit_lets_the_jobs_ahead_start_first(
    why: Any, queue: Queue, worker: Claims, hands: Any, issuance: dict[str, Any]
) -> None:
    await alive(worker, slots=50)
    await queue.set_limits(Limiter(2, HOUR_MS))
    await queue.add_many([NewJob("issue", issuance)] * 2)
    await hands.end(await hands.take(5), "complete", b"1")
    added = await queue.add_many([NewJob("issue", issuance)] * 5)
    answers = [await why(one.id) for one in added]
    until = answers[0]["limitedUntil"]
    hours = [(answer["estimatedStart"] - until) / HOUR_MS for answer in answers]
    assert hours == [0, 0, 1, 1, 2]


async def test_a_rate_limit_that_does_not_hold_yet(
    why: Any, queue: Queue, worker: Claims, issuance: dict[str, Any]
) -> None:
    await alive(worker, slots=50)
    await queue.set_limits(Limiter(2, HOUR_MS))
    added = await queue.add_many([NewJob("issue", issuance)] * 5)
    starts = [(await why(one.id))["estimatedStart"] for one in added]
    hours = [round((start - starts[0]) / HOUR_MS, 1) for start in starts]
    assert hours == [0, 0, 1, 1, 2]


async def test_a_delayed_job_comes_after_those_that_wait_longer(
    why: Any, queue: Queue, worker: Claims, hands: Any, issuance: dict[str, Any]
) -> None:
    await alive(worker, slots=1)
    await queue.add_many([NewJob("issue", issuance)] * 4)
    await hands.end(await hands.take(4), "complete", b"1")
    await queue.add_many([NewJob("issue", issuance)] * 100)
    await queue.add("issue", issuance, job_id="soon", delay=1)
    await queue.add("issue", issuance, job_id="first", delay=HOUR_MS, priority=0)
    soon, first = await why("soon"), await why("first")
    seconds = 101 / soon["ratePerSecond"]
    assert soon["estimatedStart"] > soon["delayedUntil"] + 900 * seconds
    assert first["estimatedStart"] == first["delayedUntil"]
    assert (soon["ahead"], codes(soon)) == (None, ["delayed"])


async def test_a_tenant_is_told_why_in_words_without_numbers(
    serve: Serve, redis: Redis, queue: Queue, worker: Claims, hands: Any, issuance: dict[str, Any]
) -> None:
    await alive(worker)
    await queue.add_many([NewJob("issue", issuance)] * 4)
    await hands.end(await hands.take(4), "complete", b"1")
    await queue.set_limits(None, 1)
    await queue.add("issue", issuance)
    (running,) = await hands.take(1)
    await queue.add("issue", issuance)
    await queue.add("issue", issuance | {"organizationId": "org-b"}, job_id="one")
    text = await key(redis, ["read"], "org-b")
    async with serve(GatewaySettings(host="127.0.0.1", port=0)) as http:

        async def ask() -> Any:
            path, headers = "/queue/vc-issuance/job/one/why", {"X-API-Key": text}
            async with http.get(path, headers=headers) as response:
                return (await response.json())["data"]

        held = await ask()
        assert codes(held) == ["concurrency", "jobs_ahead"]
        assert not any(char.isdigit() for char in held["summary"])
        counted = ("ahead", "active", "ratePerSecond", "aheadExact")
        assert [held[name] for name in counted] == [None] * 4
        await queue.set_limits()
        await hands.end([running], "complete", b"1")
        await hands.take(2)
        ran = await ask()
        assert (codes(ran), ran["summary"]) == (["running"], "It runs.")


def test_the_rate_counts_recent_endings_until_now() -> None:
    assert rate([1, 2], 1_000) is None
    assert rate([0, 1_000, 2_000, 3_000], 4_000) == 1.0
    assert rate([0, 1_000, 2_000, 3_000], 8_000) == 0.5
    assert rate([0, 1, 2], 10_000_000) is None


async def test_no_such_job(http: ClientSession) -> None:
    async with http.get("/queue/vc-issuance/job/nobody/why") as response:
        assert response.status == 404


async def test_a_parked_webhook_waits_for_its_destination(
    http: ClientSession, redis: Redis
) -> None:
    """What holds the destination up, and how many of its jobs come first."""
    url = "https://example.com/hook"
    to = Destination("org-1", "https://example.com")
    queue, rules = Queue("webhooks", redis), Rules(concurrency=1, requests=1)
    hand = Hand(redis, queue.spec)
    data = {"url": url, "method": "POST", "payload": {}, "event": "x", "organizationId": "org-1"}
    await queue.add_many([NewJob("x", data, JobOptions(job_id=f"j{n}")) for n in range(2)])
    for claim in await hand.take(2):
        await admit(redis, to, claim.job.id, f"{claim.job.id} 1", rules)
        await hand.retry(claim, delay_ms=HOUR_MS, gate=Gate(to.id, 1_000))

    async def told(job_id: str) -> str:
        async with http.get(f"/queue/webhooks/job/{job_id}/why") as response:
            answer = (await response.json())["data"]
        assert answer["estimatedStart"] is None
        (detail,) = (r["detail"] for r in answer["reasons"] if r["code"] == "destination")
        return str(detail)

    assert await told("j0") == (
        "It waits for its destination, https://example.com, which gets as many deliveries at once "
        "or in a time as it may (1 run); 0 jobs come before it."
    )
    assert (await told("j1")).endswith("; 1 job comes before it.")
    await settle(redis, to, "j0 1", Ended("failure"), rules)
    assert "because 1 of 1 deliveries failed: its circuit is open" in await told("j1")
    await settle(redis, to, "j0 1", Ended("neutral", 60_000), rules)
    assert "asked to be left alone until" in await told("j1")
    await switch(redis, to, enabled=False, who=b"{}")
    assert "which is disabled: it will fail" in await told("j1")
