"""Many jobs at once, by ids and by description."""

from typing import Any

import pytest
from aiohttp import ClientSession

from schemas.job import JobOptions, State
from streams import NewJob, Queue

BASE = "/queue/vc-issuance/jobs"
HOUR_MS = 3_600_000


async def post(http: ClientSession, path: str, body: Any, status: int = 200) -> dict[str, Any]:
    async with http.post(path, json=body) as response:
        answer = await response.json(content_type=None)
        assert response.status == status, answer
    found: dict[str, Any] = answer["data"] if status == 200 else answer
    return found


@pytest.fixture
async def dead(queue: Queue, issuance: dict[str, Any]) -> list[str]:
    """Six failed jobs; the odd ones are of another organization, the first is called otherwise."""
    jobs = [
        NewJob(
            "first" if n == 0 else "issue",
            issuance | {"organizationId": f"org-{n % 2}"},
            JobOptions(job_id=f"dead-{n}"),
        )
        for n in range(6)
    ]
    for job in await queue.add_many(jobs):
        await queue.cancel(job.id)
    return [f"dead-{n}" for n in range(6)]


async def test_by_ids(http: ClientSession, queue: Queue, dead: list[str]) -> None:
    answer = await post(http, f"{BASE}/retry", {"ids": [*dead[:2], "nobody", dead[0]]})
    assert answer == {
        "action": "retry",
        "dryRun": False,
        "matched": 3,
        "done": 2,
        "skipped": {"missing": 1},
        "scanned": 3,
        "sample": [*dead[:2], "nobody"],
        "next": None,
    }
    assert (await queue.counts()).waiting == 2
    again = await post(http, f"{BASE}/retry", {"ids": dead[:2]})
    assert (again["done"], again["skipped"]) == (0, {"waiting": 2})


async def test_a_dry_run_does_nothing(http: ClientSession, queue: Queue, dead: list[str]) -> None:
    body = {"filter": {"status": "failed"}, "dryRun": True}
    answer = await post(http, f"{BASE}/remove", body)
    assert (answer["matched"], answer["done"], answer["dryRun"]) == (6, 0, True)
    assert answer["sample"] == dead[::-1]
    assert (await queue.counts()).failed == 6


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ({"organizationId": "org-1"}, {"dead-1", "dead-3", "dead-5"}),
        ({"name": "first"}, {"dead-0"}),
        ({"error": "CANCELLED before"}, {f"dead-{n}" for n in range(6)}),
        ({"error": "timeout"}, set()),
        ({"until": 1}, set()),
        ({"since": 1, "organizationId": "org-0", "name": "issue"}, {"dead-2", "dead-4"}),
    ],
)
@pytest.mark.usefixtures("dead")
async def test_by_description(
    http: ClientSession, queue: Queue, described: dict[str, Any], expected: set[str]
) -> None:
    answer = await post(http, f"{BASE}/remove", {"filter": {"status": "failed", **described}})
    assert answer["done"] == len(expected)
    left = {job.id for job in await queue.page(State.FAILED, 0, 99)}
    assert left == {f"dead-{n}" for n in range(6)} - expected


@pytest.mark.usefixtures("dead")
async def test_it_goes_on_where_it_stopped(http: ClientSession, queue: Queue) -> None:
    body: dict[str, Any] = {"filter": {"status": "failed"}, "limit": 4}
    first = await post(http, f"{BASE}/retry", body)
    assert (first["done"], (await queue.counts()).failed) == (4, 2)
    second = await post(http, f"{BASE}/retry", body | {"before": first["next"]})
    assert (second["done"], second["next"]) == (2, None)
    assert (await queue.counts()).waiting == 6


async def test_cancel_and_promote(
    http: ClientSession, hands: Any, queue: Queue, issuance: dict[str, Any]
) -> None:
    await queue.add("issue", issuance, job_id="runs")
    assert len(await hands.take(1)) == 1
    later = JobOptions(delay=HOUR_MS)
    await queue.add_many([NewJob("issue", issuance, later) for _ in range(3)])
    promoted = await post(http, f"{BASE}/promote", {"filter": {"status": "delayed"}, "limit": 2})
    assert promoted["done"] == 2
    counts = await queue.counts()
    assert (counts.waiting, counts.delayed) == (2, 1)
    waiting = await post(http, f"{BASE}/cancel", {"filter": {"status": "waiting"}})
    assert (waiting["done"], (await queue.counts()).failed) == (2, 2)
    active = await post(http, f"{BASE}/cancel", {"ids": ["runs"]})
    assert active["done"] == 1
    assert (await queue.counts()).active == 1
    refused = await post(http, f"{BASE}/remove", {"ids": ["runs"]})
    assert refused["skipped"] == {"active": 1}


async def test_what_was_done_is_recorded_once(
    http: ClientSession, raw: Any, dead: list[str]
) -> None:
    await post(http, f"{BASE}/retry", {"ids": dead})
    records = [entry[b"a"] for _, entry in raw.xrange("cs:{vc-issuance}:audit")]
    retries = [record for record in records if b'"jobs.retry"' in record]
    assert len(retries) == 1
    assert b'"jobs":6' in retries[0]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"ids": ["a"], "filter": {"status": "failed"}}, ""),
        ({"ids": []}, "/ids"),
        ({"ids": ["a b"]}, "/ids/0"),
        ({"filter": {"status": "lost"}}, "/filter/status"),
        ({"filter": {"status": "failed"}, "limit": 1001}, "/limit"),
        ({"filter": {"status": "failed"}, "before": "x"}, "/before"),
        ({"filter": {"status": "failed", "colour": "red"}}, "/filter/colour"),
    ],
)
async def test_what_is_refused(http: ClientSession, body: Any, pointer: str) -> None:
    problem = await post(http, f"{BASE}/retry", body, 422)
    assert problem["code"] == "invalid_request"
    assert pointer in [fault["pointer"] for fault in problem["errors"]]


async def test_a_cursor_is_one_of_its_state(
    http: ClientSession, queue: Queue, issuance: dict[str, Any]
) -> None:
    await queue.add_many([NewJob("issue", issuance) for _ in range(3)])
    body = {"filter": {"status": "waiting"}, "limit": 1, "dryRun": True}
    found = await post(http, f"{BASE}/cancel", body)
    wrong = {"filter": {"status": "failed"}, "before": found["next"]}
    assert (await post(http, f"{BASE}/cancel", wrong, 422))["code"] == "invalid_request"
