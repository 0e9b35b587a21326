"""Jobs over HTTP: submitted, seen, retried, cancelled, removed."""

from io import BytesIO
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession
from yarl import URL

from schemas import State
from streams import Queue

JOBS = "/queue/vc-issuance/jobs"


def at(job_id: str) -> str:
    return f"/queue/vc-issuance/job/{job_id}"


async def test_a_submitted_job_is_accepted_and_found_at_its_location(
    http: ClientSession, issuance: dict[str, Any]
) -> None:
    body = {"name": "issue-vc", "data": issuance, "options": {"priority": 1}}
    async with http.post(JOBS, json=body) as response:
        answer = await response.json()
    receipt = answer["data"]
    assert (response.status, answer["success"]) == (202, True)
    assert receipt == {
        "id": receipt["id"],
        "state": "waiting",
        "deduplicated": False,
        "queue": "vc-issuance",
        "name": "issue-vc",
    }
    assert response.headers["Location"] == at(receipt["id"])
    assert response.headers["Cache-Control"] == "no-store"
    async with http.get(response.headers["Location"]) as response:
        job = (await response.json())["data"]
    assert response.status == 200
    assert (job["id"], job["name"], job["queue"]) == (receipt["id"], "issue-vc", "vc-issuance")
    assert (job["state"], job["data"], job["opts"]["priority"]) == ("waiting", issuance, 1)
    assert {
        "progress",
        "attemptsMade",
        "attemptsStarted",
        "timestamp",
        "processedOn",
        "finishedOn",
        "returnvalue",
        "failedReason",
    } <= set(job)


async def test_a_job_without_a_name_is_called_like_its_queue(
    http: ClientSession, queue: Queue, issuance: dict[str, Any]
) -> None:
    async with http.post(JOBS, json={"data": issuance}) as response:
        receipt = (await response.json())["data"]
    assert receipt["name"] == "vc-issuance"
    job = await queue.get(receipt["id"])
    assert job is not None
    assert job.name == "vc-issuance"


async def test_data_arrives_as_it_was_written(
    http: ClientSession, issuance: dict[str, Any]
) -> None:
    claims = {
        "empty": [],
        "none": {},
        "big": 2**53 + 1,
        "biggest": 2**64 - 1,
        "float": 1.5,
        "text": "ü𝄞\u2028\x00",
        "deep": [[[[{"a": None}]]]],
    }
    async with http.post(JOBS, json={"data": issuance | {"claims": claims}}) as response:
        location = response.headers["Location"]
    async with http.get(location) as response:
        assert (await response.json())["data"]["data"]["claims"] == claims


async def test_a_delayed_job_is_delayed(http: ClientSession, issuance: dict[str, Any]) -> None:
    body = {"data": issuance, "options": {"delay": 60_000}}
    async with http.post(JOBS, json=body) as response:
        receipt = (await response.json())["data"]
    assert (response.status, receipt["state"]) == (202, "delayed")


@pytest.mark.parametrize(
    "job_id", ["order-7", "a/b", "a{b}", "%2F", "?x=1#y", "...", "a:b|c*d'e\""]
)
async def test_a_custom_job_id_is_submitted_once(
    http: ClientSession, queue: Queue, issuance: dict[str, Any], job_id: str
) -> None:
    body = {"data": issuance, "options": {"jobId": job_id}}
    answers = []
    for _ in range(2):
        async with http.post(JOBS, json=body) as response:
            answers.append((response.status, (await response.json())["data"]))
    assert [status for status, _ in answers] == [202, 200]
    assert [receipt["deduplicated"] for _, receipt in answers] == [False, True]
    assert {receipt["id"] for _, receipt in answers} == {job_id}
    assert (await queue.counts()).total == 1


@pytest.mark.parametrize("job_id", ["order-7", "a/b", "a{b}", "%2F", "?x=1#y", "a:b|c*d'e\""])
async def test_location_leads_to_the_job_whatever_its_id(
    http: ClientSession, issuance: dict[str, Any], job_id: str
) -> None:
    body = {"data": issuance, "options": {"jobId": job_id}}
    async with http.post(JOBS, json=body) as response:
        location = URL(response.headers["Location"], encoded=True)
    for method, path in [("GET", location), ("DELETE", location)]:
        base = response.url.origin()
        async with http.request(method, URL(f"{base}{path}", encoded=True)) as answer:
            assert answer.status == 200
            assert (await answer.json())["data"]["id"] == job_id


async def test_an_array_is_queued_in_order(
    http: ClientSession, queue: Queue, issuance: dict[str, Any]
) -> None:
    array = [{"name": f"n{i}", "data": issuance} for i in range(1_000)]
    async with http.post(JOBS, json=array) as response:
        receipts = (await response.json())["data"]
    assert response.status == 202
    assert [receipt["name"] for receipt in receipts] == [f"n{i}" for i in range(1_000)]
    assert "Location" not in response.headers
    jobs = await queue.page(State.WAITING, 0, 999)
    assert [job.id for job in jobs] == [receipt["id"] for receipt in receipts]


async def test_an_array_says_which_jobs_were_there(
    http: ClientSession, queue: Queue, issuance: dict[str, Any]
) -> None:
    old, new = ({"data": issuance, "options": {"jobId": name}} for name in ("old", "new"))
    async with http.post(JOBS, json=[old]) as response:
        assert response.status == 202
    async with http.post(JOBS, json=[old, new, new]) as response:
        receipts = (await response.json())["data"]
    assert response.status == 202
    assert [receipt["deduplicated"] for receipt in receipts] == [True, False, True]
    async with http.post(JOBS, json=[old, new]) as response:
        assert response.status == 200
    assert (await queue.counts()).total == 2


async def test_an_empty_array_queues_nothing(http: ClientSession) -> None:
    async with http.post(JOBS, json=[]) as response:
        assert (response.status, (await response.json())["data"]) == (200, [])


async def test_a_bulk_body_may_be_bigger_than_that_of_one_job(
    http: ClientSession, issuance: dict[str, Any]
) -> None:
    job = {"data": issuance | {"claims": {"x": "y" * 4_000}}}
    body = BytesIO(orjson.dumps([job] * 700))
    headers = {"Content-Type": "application/json"}
    async with http.post(JOBS, data=body, headers=headers) as response:
        assert response.status == 202


@pytest.mark.parametrize("where", ["data", "options"])
async def test_a_callback_url_is_taken_from_data_and_options(
    http: ClientSession, hands: Any, raw: Any, issuance: dict[str, Any], where: str
) -> None:
    body: dict[str, Any] = {"data": issuance, "options": {}}
    body[where] = {**body[where], "callbackUrl": "https://example.com/done"}
    async with http.post(JOBS, json=body) as response:
        assert response.status == 202
    await hands.end(await hands.take(1), "complete", b'{"vcJwt":"x"}')
    [(_, entry)] = raw.xrange("cs:{vc-issuance}:outbox")
    assert b"https://example.com/done" in b"".join(entry.values())


async def test_a_failed_job_is_retried_and_its_failure_is_told(
    http: ClientSession, hands: Any, queue: Queue, issuance: dict[str, Any]
) -> None:
    added = await queue.add("issue", issuance)
    history = b'[{"attempt":1,"reason":"failed","message":"no key","at":1}]'
    await hands.end(await hands.take(1), "fail", history)
    async with http.get(at(added.id)) as response:
        job = (await response.json())["data"]
    assert (job["state"], job["failedReason"], job["attemptsMade"]) == ("failed", "no key", 1)
    async with http.post(at(added.id) + "/retry") as response:
        answer = (await response.json())["data"]
    assert response.status == 200
    assert answer == {"id": added.id, "queue": "vc-issuance", "state": "waiting"}
    assert (await queue.counts()).waiting == 1


async def test_a_completed_job_shows_its_result(
    http: ClientSession, hands: Any, queue: Queue, issuance: dict[str, Any]
) -> None:
    added = await queue.add("issue", issuance)
    await hands.end(await hands.take(1), "complete", b'{"vcJwt":"x"}')
    async with http.get(at(added.id)) as response:
        job = (await response.json())["data"]
    assert (job["state"], job["returnvalue"]) == ("completed", {"vcJwt": "x"})
    for verb in ("retry", "cancel"):
        async with http.post(at(added.id) + "/" + verb) as response:
            problem = await response.json(content_type="application/problem+json")
        assert (response.status, problem["code"]) == (409, "wrong_state")


async def test_an_active_job_cannot_be_removed_but_cancelled(
    http: ClientSession, hands: Any, queue: Queue, issuance: dict[str, Any]
) -> None:
    added = await queue.add("issue", issuance)
    assert await hands.take(1)
    async with http.delete(at(added.id)) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["code"]) == (409, "wrong_state")
    async with http.post(at(added.id) + "/cancel") as response:
        assert (response.status, (await response.json())["data"]["outcome"]) == (202, "cancelling")


async def test_a_waiting_job_is_cancelled_or_removed(
    http: ClientSession, queue: Queue, issuance: dict[str, Any]
) -> None:
    first, second = [await queue.add("issue", issuance) for _ in range(2)]
    async with http.post(at(first.id) + "/cancel") as response:
        assert (response.status, (await response.json())["data"]["outcome"]) == (200, "cancelled")
    async with http.delete(at(second.id)) as response:
        assert (await response.json())["data"]["removed"] is True
    async with http.get(at(second.id)) as response:
        assert response.status == 404
    counts = await queue.counts()
    assert (counts.waiting, counts.failed) == (0, 1)


async def test_logs_are_lines(
    http: ClientSession, hands: Any, queue: Queue, issuance: dict[str, Any]
) -> None:
    added = await queue.add("issue", issuance)
    async with http.get(at(added.id) + "/logs") as response:
        assert (await response.json())["data"]["logs"] == []
    [claim] = await hands.take(1)
    for line in ("first", "second"):
        await hands.log(claim, line)
    async with http.get(at(added.id) + "/logs") as response:
        data = (await response.json())["data"]
    assert (data["logs"], data["count"]) == (["first", "second"], 2)


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


@pytest.mark.parametrize(
    "case",
    [
        (TRACE, None, TRACE),
        (TRACE, OTHER, OTHER),
        (None, None, None),
        ("nonsense", None, None),
        ("ff" + TRACE[2:], None, None),
        (TRACE.upper(), None, None),
        (TRACE.replace("b7ad6b7169203331", "0" * 16), None, None),
    ],
)
@pytest.mark.parametrize("many", [False, True])
async def test_a_job_belongs_to_the_trace_of_its_request(
    http: ClientSession,
    queue: Queue,
    issuance: dict[str, Any],
    case: tuple[str | None, str | None, str | None],
    many: bool,
) -> None:
    header, option, kept = case
    job = {"data": issuance, "options": {"traceparent": option} if option else {}}
    headers = {"traceparent": header} if header else {}
    async with http.post(JOBS, json=[job] if many else job, headers=headers) as response:
        assert response.status == 202
    [stored] = await queue.page(State.WAITING, 0, 0)
    assert stored.opts.get("traceparent") == kept
