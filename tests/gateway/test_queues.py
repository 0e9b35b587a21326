"""Queues over HTTP: counts, pages, pause, resume, clean."""

from typing import Any

import pytest
from aiohttp import ClientSession
from by_hand import Hand
from filling import fill

from gateway import queues
from schemas import JobOptions, catalog
from streams import NewJob, Queue, Redis
from streams.keys import SUSPECTS, QueueKeys

AT = "/queue/vc-issuance"
DELAYED = JobOptions.model_validate({"delay": 60_000})


async def data_of(http: ClientSession, path: str, method: str = "GET", **more: Any) -> Any:
    async with http.request(method, path, **more) as response:
        assert response.status == 200, await response.text()
        answer = await response.json()
    assert answer["success"] is True
    return answer["data"]


async def test_stats_have_the_promised_members(
    http: ClientSession, hands: Any, queue: Queue, issuance: dict[str, Any]
) -> None:
    await queue.add_many([NewJob("x", issuance)] * 4 + [NewJob("x", issuance, DELAYED)])
    done, failed, _ = [[claim] for claim in await hands.take(3)]
    await hands.end(done, "complete", b"{}")
    await hands.end(failed, "fail", b'[{"attempt":1,"reason":"failed"}]')
    stats = await data_of(http, AT + "/stats")
    assert stats.pop("oldestWaitingMs") >= 0
    assert stats.pop("workers") >= 0
    assert stats == {
        "name": "vc-issuance",
        "waiting": 1,
        "active": 1,
        "completed": 1,
        "failed": 1,
        "delayed": 1,
        "total": 5,
        "paused": False,
    }


async def test_all_stats_name_every_queue(http: ClientSession) -> None:
    rows = await data_of(http, "/queue/stats")
    assert [row["name"] for row in rows] == sorted(catalog())
    assert await data_of(http, AT + "/stats") in rows


async def test_pages_have_both_ends_and_eleven_jobs_unless_told_otherwise(
    http: ClientSession, queue: Queue, issuance: dict[str, Any]
) -> None:
    added = await queue.add_many([NewJob("x", issuance)] * 30)
    ids = [one.id for one in added]
    for query, expected in [
        ("", ids[:11]),
        ("?status=waiting", ids[:11]),
        ("?status=waiting&start=0&end=10", ids[:11]),
        ("?start=5&end=5", ids[5:6]),
        ("?start=15", ids[15:26]),
        ("?start=0&end=-1", ids),
        ("?start=25&end=1025", ids[25:]),
        ("?start=30&end=40", []),
        ("?status=active", []),
        ("?status=delayed", []),
        ("?status=completed", []),
        ("?status=failed", []),
    ]:
        jobs = await data_of(http, AT + "/jobs" + query)
        assert [job["id"] for job in jobs] == expected, query


async def test_pages_go_on_behind_jobs_whose_worker_died(http: ClientSession, raw: Any) -> None:
    ids = fill(raw, QueueKeys("vc-issuance"), 3, lane=SUSPECTS, stalled=1)
    found, before = list[str](), ""
    while len(found) < 3:
        async with http.get(f"{AT}/jobs?end=0{before}") as response:
            assert response.status == 200, await response.text()
            answer = await response.json()
        found += [job["ref"] for job in answer["data"]]
        before = f"&before={answer['next']}"
    assert found == [f":{name}" for name in ids]


async def test_failed_jobs_are_listed_newest_first(
    http: ClientSession, queue: Queue, issuance: dict[str, Any]
) -> None:
    ids = [(await queue.add("x", issuance)).id for _ in range(3)]
    for job_id in ids:
        await queue.cancel(job_id)
    jobs = await data_of(http, AT + "/jobs?status=failed")
    assert [job["id"] for job in jobs] == ids[::-1]
    assert {job["state"] for job in jobs} == {"failed"}


async def test_pause_and_resume_can_be_repeated(
    http: ClientSession, hands: Any, queue: Queue, issuance: dict[str, Any]
) -> None:
    await queue.add("x", issuance)
    for verb, paused in [("pause", True), ("pause", True), ("resume", False), ("resume", False)]:
        answer = await data_of(http, f"{AT}/{verb}", "POST")
        assert answer == {"name": "vc-issuance", "paused": paused}
        assert (await data_of(http, AT + "/stats"))["paused"] is paused
        if paused:
            assert await hands.take(1) == []
    assert len(await hands.take(1)) == 1


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (None, {"completed": 0, "failed": 1}),
        ({}, {"completed": 0, "failed": 1}),
        ({"grace": 0, "status": "completed"}, {"completed": 0, "failed": 1}),
        ({"grace": 3_600_000}, {"completed": 1, "failed": 1}),
        ({"status": "failed"}, {"completed": 1, "failed": 0}),
    ],
)
async def test_clean_removes_what_it_is_told(
    http: ClientSession,
    hands: Any,
    queue: Queue,
    issuance: dict[str, Any],
    body: Any,
    left: dict[str, int],
) -> None:
    await queue.add_many([NewJob("x", issuance)] * 2)
    done, failed = [[claim] for claim in await hands.take(2)]
    await hands.end(done, "complete", b"{}")
    await hands.end(failed, "fail", b'[{"attempt":1,"reason":"failed"}]')
    answer = await data_of(http, AT + "/clean", "POST", json=body)
    assert answer == {"removed": 2 - sum(left.values())}
    counts = await queue.counts()
    assert {"completed": counts.completed, "failed": counts.failed} == left


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other gateway has to notice anything."""
    monkeypatch.setattr(queues, "UNLISTED_S", 0.0)


async def refused(http: ClientSession, path: str) -> tuple[int, str, str]:
    async with http.delete(path) as response:
        answer = await response.json()
    return response.status, answer["code"], answer["detail"]


@pytest.mark.usefixtures("hasty")
async def test_a_custom_queue_is_deleted_once(http: ClientSession, redis: Redis) -> None:
    queue = Queue("doomed", redis)
    await queue.register()
    await queue.add("x", {})
    assert await data_of(http, "/queue/doomed", "DELETE") == {"name": "doomed", "deleted": True}
    assert "doomed" not in {row["name"] for row in await data_of(http, "/queue")}
    assert (await refused(http, "/queue/doomed"))[:2] == (404, "queue_not_found")
    assert (await refused(http, "/queue/no%20name"))[:2] == (404, "queue_not_found")


@pytest.mark.usefixtures("hasty")
async def test_a_batch_of_a_deleted_queue_is_submitted_anew(
    http: ClientSession, redis: Redis
) -> None:
    jobs = [{"data": {}}] * 3

    async def submit(name: str) -> dict[str, Any]:
        await Queue(name, redis).register()
        body = {"jobs": jobs, "batchId": f"of-{name}"}
        async with http.post(f"/queue/{name}/batches", json=body) as response:
            assert response.status == 202
            data: dict[str, Any] = (await response.json())["data"]
        return data

    for name in ("doomed", "spared"):
        await submit(name)
    await data_of(http, "/queue/doomed", "DELETE")
    async with http.get("/batches/of-doomed") as response:
        assert response.status == 404
    assert (await data_of(http, "/batches/of-spared"))["counts"]["waiting"] == 3
    assert not (await submit("doomed"))["deduplicated"]
    assert (await Queue("doomed", redis).counts()).waiting == 3


@pytest.mark.usefixtures("hasty")
async def test_a_deletion_that_was_cut_off_is_finished(http: ClientSession, redis: Redis) -> None:
    queue = Queue("doomed", redis)
    await queue.add("x", {})  # and is not listed any more
    assert (await data_of(http, "/queue/doomed", "DELETE"))["deleted"]
    assert (await queue.counts()).total == 0


@pytest.mark.usefixtures("hasty")
async def test_what_is_in_use_or_of_the_product_is_not_deleted(
    http: ClientSession, redis: Redis
) -> None:
    queue = Queue("doomed", redis)
    await queue.register()
    await queue.add("x", {})
    await Hand(redis, queue.spec).take_one()
    status, code, detail = await refused(http, "/queue/doomed")
    assert (status, code) == (409, "queue_in_use")
    assert "1 active jobs" in detail
    assert "force=true" in detail
    assert (await refused(http, "/queue/doomed?force=perhaps"))[:2] == (400, "invalid_query")
    assert "doomed" in {row["name"] for row in await data_of(http, "/queue")}
    for name in catalog():
        assert (await refused(http, f"/queue/{name}?force=true"))[:2] == (409, "queue_kept")
    assert (await data_of(http, "/queue/doomed?force=true", "DELETE"))["deleted"]


async def test_drain_removes_waiting_jobs_and_delayed_ones_on_request(
    http: ClientSession, queue: Queue, issuance: dict[str, Any]
) -> None:
    await queue.add_many([NewJob("x", issuance)] * 4 + [NewJob("x", issuance, DELAYED)])
    answer = await data_of(http, AT + "/drain", "POST", json={})
    assert answer == {"removed": 4, "more": False}
    answer = await data_of(http, AT + "/drain", "POST", json={"delayed": True})
    assert answer == {"removed": 1, "more": False}


async def test_a_full_queue_refuses_submissions_as_a_whole(
    http: ClientSession, queue: Queue, issuance: dict[str, Any]
) -> None:
    put = {"json": {"limiter": None, "concurrency": 7, "backlog": 2}}
    assert (await data_of(http, AT + "/limits", "PUT", **put))["backlog"] == 2
    put = {"json": {"limiter": None, "concurrency": None}}
    assert (await data_of(http, AT + "/limits", "PUT", **put))["backlog"] == 2
    assert (await data_of(http, AT + "/limits"))["backlog"] == 2
    job = {"name": "x", "data": issuance}
    for body in ([job] * 3, job, job, job):
        async with http.post(AT + "/jobs", json=body) as response:
            answer = await response.json()
            if response.status != 202:
                assert (response.status, answer["code"]) == (429, "queue_full")
                assert "(2)" in answer["detail"]
                assert int(response.headers["Retry-After"]) > 0
    assert (await queue.counts()).waiting == 2
    put = {"json": {"limiter": None, "concurrency": None, "backlog": None}}
    assert (await data_of(http, AT + "/limits", "PUT", **put))["backlog"] is None


async def test_a_queue_that_is_taken_up_during_its_deletion_stays_listed(
    http: ClientSession, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue("doomed", redis)
    await queue.register()
    await queue.add("x", {})

    class Clock:
        """The pause in which other gateways are to notice."""

        @staticmethod
        async def sleep(_seconds: float) -> None:
            await Hand(redis, queue.spec).take_one()

    monkeypatch.setattr(queues, "asyncio", Clock)
    assert (await refused(http, "/queue/doomed"))[:2] == (409, "queue_in_use")
    monkeypatch.undo()
    assert (await data_of(http, "/queue/doomed/stats"))["active"] == 1
