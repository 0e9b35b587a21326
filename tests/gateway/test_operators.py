"""What operators do to single jobs and to a queue's limits; cursors and ETags."""

from typing import Any

import pytest
from aiohttp import ClientSession

from schemas.job import JobOptions, State
from schemas.spec import Limiter
from streams import NewJob, Queue

HOUR_MS = 3_600_000
QUEUE = "/queue/vc-issuance"


async def call(
    http: ClientSession, method: str, path: str, body: Any = None, status: int = 200
) -> dict[str, Any]:
    async with http.request(method, path, json=body) as response:
        answer: dict[str, Any] = await response.json(content_type=None)
        assert response.status == status, answer
    return answer


async def test_a_delayed_job_is_promoted(
    http: ClientSession, queue: Queue, hands: Any, issuance: dict[str, Any]
) -> None:
    await queue.add("issue", issuance, job_id="one", delay=HOUR_MS)
    answer = await call(http, "POST", f"{QUEUE}/job/one/promote")
    assert answer["data"] == {"id": "one", "queue": "vc-issuance", "state": "waiting"}
    again = await call(http, "POST", f"{QUEUE}/job/one/promote", status=409)
    assert again["code"] == "wrong_state"
    assert [claim.job.id for claim in await hands.take(1)] == ["one"]
    await call(http, "POST", f"{QUEUE}/job/nobody/promote", status=404)


async def test_priorities_decide_who_is_next(
    http: ClientSession, queue: Queue, hands: Any, issuance: dict[str, Any]
) -> None:
    for name in "abc":
        await queue.add("issue", issuance, job_id=name)
    answer = await call(http, "PUT", f"{QUEUE}/job/c/priority", {"priority": 0})
    assert answer["data"] == {
        "id": "c",
        "queue": "vc-issuance",
        "state": "waiting",
        "priority": 0,
    }
    await call(http, "PUT", f"{QUEUE}/job/a/priority", {"priority": 9})
    job = await queue.get("a")
    assert job is not None
    assert job.opts["priority"] == 9
    assert [claim.job.id for claim in await hands.take(3)] == ["c", "b", "a"]
    refused = await call(http, "PUT", f"{QUEUE}/job/a/priority", {"priority": 1}, 409)
    assert refused["code"] == "wrong_state"


async def test_a_delayed_job_keeps_its_time_and_changes_its_priority(
    http: ClientSession, queue: Queue, hands: Any, issuance: dict[str, Any]
) -> None:
    await queue.add("issue", issuance, job_id="late", delay=HOUR_MS)
    await queue.add("issue", issuance, job_id="first")
    answer = await call(http, "PUT", f"{QUEUE}/job/late/priority", {"priority": 0})
    assert answer["data"]["state"] == "delayed"
    await queue.advance("late")
    assert [claim.job.id for claim in await hands.take(2)] == ["late", "first"]


@pytest.mark.parametrize("body", [{}, {"priority": 11}, {"priority": "1"}, {"priority": True}])
async def test_a_priority_that_does_not_fit(http: ClientSession, body: Any) -> None:
    problem = await call(http, "PUT", f"{QUEUE}/job/one/priority", body, 422)
    assert problem["code"] == "invalid_request"


async def test_limits_are_read_and_replaced(http: ClientSession, queue: Queue) -> None:
    nothing = {"name": "vc-issuance", "limiter": None, "concurrency": None, "backlog": None}
    assert (await call(http, "GET", f"{QUEUE}/limits"))["data"] == nothing
    wanted = {"limiter": {"max": 5, "duration": 1_000}, "concurrency": 3}
    answer = await call(http, "PUT", f"{QUEUE}/limits", wanted)
    assert answer["data"] == {"name": "vc-issuance", **wanted, "backlog": None}
    counts = await queue.counts()
    assert (counts.limiter, counts.concurrency) == (Limiter(5, 1_000), 3)
    assert (await call(http, "GET", f"{QUEUE}/limits"))["data"] == answer["data"]
    await call(http, "PUT", f"{QUEUE}/limits", {"limiter": None, "concurrency": None})
    assert (await queue.counts()).limiter is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"limiter": {"max": 0, "duration": 1}, "concurrency": None},
        {"limiter": {"max": 1}, "concurrency": None},
        {"limiter": None, "concurrency": 0},
    ],
)
async def test_limits_that_do_not_fit(http: ClientSession, body: Any) -> None:
    await call(http, "PUT", f"{QUEUE}/limits", body, 422)


@pytest.mark.parametrize("state", ["waiting", "delayed", "failed"])
async def test_a_cursor_goes_as_deep_as_there_are_jobs(
    http: ClientSession, queue: Queue, issuance: dict[str, Any], state: str
) -> None:
    options = JobOptions(delay=HOUR_MS) if state == "delayed" else None
    added = await queue.add_many([NewJob("issue", issuance, options)] * 25)
    if state == "failed":
        for job in added:
            await queue.cancel(job.id)
    seen: list[str] = []
    before = ""
    while True:
        path = f"{QUEUE}/jobs?status={state}&end=9{before}"
        answer = await call(http, "GET", path)
        seen += [job["id"] for job in answer["data"]]
        if answer["next"] is None:
            break
        before = f"&before={answer['next']}"
        if len(seen) == 10:  # what is removed or comes in between does not shift the next page
            await queue.remove(seen[0])
            await queue.remove(seen[9])
    expected = [job.id for job in added]
    assert seen == (expected[::-1] if state == "failed" else expected)


async def test_a_waiting_page_begins_behind_what_has_been_taken_meanwhile(
    http: ClientSession, queue: Queue, hands: Any, issuance: dict[str, Any]
) -> None:
    added = await queue.add_many([NewJob("issue", issuance)] * 6)
    first = await call(http, "GET", f"{QUEUE}/jobs?end=1")
    assert len(await hands.take(4)) == 4
    second = await call(http, "GET", f"{QUEUE}/jobs?end=9&before={first['next']}")
    assert [job["id"] for job in second["data"]] == [job.id for job in added[4:]]


@pytest.mark.parametrize("before", ["x", "!", "ZmFpbGVkOjE", "d2FpdGluZzo5OSAxLTE", "ä"])
async def test_a_cursor_that_is_none(http: ClientSession, before: str) -> None:
    problem = await call(http, "GET", f"{QUEUE}/jobs?before={before}", status=400)
    assert problem["code"] == "invalid_query"
    assert problem["errors"][0]["pointer"] == "/before"


@pytest.mark.parametrize(
    "path",
    [f"{QUEUE}/job/one", f"{QUEUE}/jobs", f"{QUEUE}/limits", "/queue", f"{QUEUE}/jobs?end=3"],
)
async def test_what_has_not_changed_is_not_sent_again(
    http: ClientSession, queue: Queue, issuance: dict[str, Any], path: str
) -> None:
    await queue.add("issue", issuance, job_id="one")
    async with http.get(path) as response:
        tag = response.headers["ETag"]
    async with http.get(path, headers={"If-None-Match": f'"other", {tag}'}) as response:
        assert (response.status, await response.read()) == (304, b"")
        assert response.headers["ETag"] == tag
        assert response.headers["Cache-Control"] == "no-store"
    if "limits" in path:
        await queue.set_limits(None, 7)
    elif path != "/queue":
        await queue.prioritize("one", 1)
    async with http.get(path, headers={"If-None-Match": tag}) as response:
        assert response.status == (304 if path == "/queue" else 200)


async def test_deeds_are_recorded(
    http: ClientSession, queue: Queue, raw: Any, issuance: dict[str, Any]
) -> None:
    await queue.add("issue", issuance, job_id="one", delay=HOUR_MS)
    await call(http, "PUT", f"{QUEUE}/job/one/priority", {"priority": 1})
    await call(http, "POST", f"{QUEUE}/job/one/promote")
    await call(http, "POST", f"{QUEUE}/job/one/cancel")
    await call(http, "POST", f"{QUEUE}/job/one/retry")
    await call(http, "DELETE", f"{QUEUE}/job/one")
    await call(http, "PUT", f"{QUEUE}/limits", {"limiter": None, "concurrency": 2})
    records = [entry[b"a"] for _, entry in raw.xrange("cs:{vc-issuance}:audit")]
    actions = ["job.prioritize", "job.promote", "job.cancel", "job.retry", "job.remove"]
    for record, action in zip(records, [*actions, "queue.limits"], strict=True):
        assert f'"action":"{action}"'.encode() in record
    assert (await queue.page(State.WAITING)) == []
