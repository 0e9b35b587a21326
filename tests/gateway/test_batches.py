"""Batches: submitted under one name, once; progress, results, and whose they are."""

from typing import Any

import pytest
from aiohttp import ClientSession

from gateway import batches
from gateway.settings import GatewaySettings
from schemas.identity import JobRef
from streams import Queue, Redis
from streams.batches import BatchRecord, OtherBatch, batch_stored, find_batch, open_batch
from streams.errors import Refused, Unavailable
from streams.scripts import RECORDS
from tests.gateway.callers import tenants
from tests.gateway.samples import ISSUANCE

BATCHES = "/queue/vc-issuance/batches"
SETTINGS = GatewaySettings(host="127.0.0.1", port=0)


def job(number: int = 0, **options: Any) -> dict[str, Any]:
    claims = {"degree": f"n{number}"}
    return {"name": f"n{number}", "data": ISSUANCE | {"claims": claims}, "options": options}


async def post(http: ClientSession, body: Any, path: str = BATCHES) -> tuple[int, dict[str, Any]]:
    async with http.post(path, json=body) as response:
        answer = await response.json(content_type=None)
        return response.status, answer.get("data", answer)


async def get(http: ClientSession, path: str) -> tuple[int, dict[str, Any]]:
    async with http.get(path) as response:
        answer = await response.json(content_type=None)
        return response.status, answer.get("data", answer)


async def test_a_batch_goes_from_waiting_to_done(
    http: ClientSession, hands: Any, queue: Queue
) -> None:
    async with http.post(BATCHES, json={"jobs": [job(n) for n in range(5)]}) as response:
        batch = (await response.json())["data"]
    assert response.status == 202
    assert response.headers["Location"] == f"/batches/{batch['id']}"
    assert batch | {"createdAt": 0, "expiresAt": 0} == {
        "id": batch["id"],
        "queue": "vc-issuance",
        "count": 5,
        "organizationId": "org-123",
        "createdAt": 0,
        "expiresAt": 0,
        "deduplicated": False,
    }
    assert batch["expiresAt"] - batch["createdAt"] == 7 * 24 * 3_600_000
    status, progress = await get(http, f"/batches/{batch['id']}")
    assert (status, progress["done"]) == (200, False)
    claims = await hands.take(3)
    assert [claim.job.id for claim in claims] == [f"~b:{batch['id']}.{n}" for n in range(3)]
    await hands.end(claims[:1], "complete", b'{"vcJwt":"x"}')
    history = b'[{"attempt":1,"reason":"rejected","message":"no","at":1,"code":"no_key"}]'
    await hands.end(claims[1:2], "fail", history)
    _, progress = await get(http, f"/batches/{batch['id']}")
    assert progress["counts"] == {
        "waiting": 2,
        "active": 1,
        "completed": 1,
        "failed": 1,
        "delayed": 0,
        "missing": 0,
    }
    assert progress["done"] is False
    status, found = await get(http, f"/batches/{batch['id']}/results")
    assert status == 200
    first, second = found["items"][:2]
    assert first["returnvalue"] == {"vcJwt": "x"}
    assert first["finishedOn"] > 0
    assert (second["state"], second["failedReason"], second["code"]) == ("failed", "no", "no_key")
    assert found["items"][2:] == [
        {"index": n, "id": f"~b:{batch['id']}.{n}", "state": state}
        for n, state in ((2, "active"), (3, "waiting"), (4, "waiting"))
    ]
    await hands.end([*claims[2:], *await hands.take(9)], "complete", b"1")
    await queue.remove(f"~b:{batch['id']}.4")
    _, progress = await get(http, f"/batches/{batch['id']}")
    assert (progress["done"], progress["counts"]["missing"]) == (True, 1)
    _, found = await get(http, f"/batches/{batch['id']}/results?start=4&end=4")
    assert found["items"] == [{"index": 4, "id": f"~b:{batch['id']}.4", "state": "missing"}]


async def test_results_come_in_pages(http: ClientSession, hands: Any) -> None:
    _, batch = await post(http, {"jobs": [job(n) for n in range(250)]})
    await hands.end(await hands.take(250), "complete", b"7")
    seen: list[int] = []
    for start in (0, 100, 200, 300):
        _, found = await get(http, f"/batches/{batch['id']}/results?start={start}")
        assert all(item["returnvalue"] == 7 for item in found["items"])
        seen += [item["index"] for item in found["items"]]
    assert seen == list(range(250))


async def test_a_thousand_jobs_are_counted(http: ClientSession) -> None:
    status, batch = await post(http, {"jobs": [job(n) for n in range(1_000)]})
    assert status == 202
    _, progress = await get(http, f"/batches/{batch['id']}")
    assert progress["counts"]["waiting"] == 1_000


async def test_delayed_jobs_and_big_payloads_and_results(http: ClientSession, hands: Any) -> None:
    big = job(1)
    big["data"] |= {"claims": {"text": "x" * 40_000}}
    _, batch = await post(http, {"jobs": [job(0, delay=60_000), big]})
    claims = await hands.take(1)
    await hands.end(claims, "complete", b'"' + b"y" * 100 + b'"')
    _, progress = await get(http, f"/batches/{batch['id']}")
    assert (progress["counts"]["delayed"], progress["counts"]["completed"]) == (1, 1)
    _, found = await get(http, f"/batches/{batch['id']}/results")
    assert found["items"][0]["state"] == "delayed"
    assert found["items"][1]["returnvalue"] == "y" * 100


@pytest.mark.parametrize("given", [{}, {"removeOnComplete": True}, {"removeOnComplete": None}])
async def test_results_are_kept_whatever_the_queue_keeps(
    http: ClientSession, hands: Any, raw: Any, given: dict[str, Any]
) -> None:
    await post(http, {"jobs": [job(0, **given)]})
    await hands.end(await hands.take(1), "complete", b"7")
    [(_, due)] = raw.zrange("cs:{vc-issuance}:expiry:completed", 0, -1, withscores=True)
    [(entry, _)] = raw.xrange("cs:{vc-issuance}:completed")
    assert abs(due - int(entry.split(b"-")[0]) - 86_400_000) <= 1_000


async def test_a_batch_with_an_id_of_its_own_is_there_once(
    http: ClientSession, queue: Queue
) -> None:
    body = {"jobs": [job(n) for n in range(3)], "batchId": "tuesday"}
    first = await post(http, body)
    second = await post(http, body)
    assert [status for status, _ in (first, second)] == [202, 200]
    assert first[1]["id"] == second[1]["id"] == "tuesday"
    assert (await get(http, "/batches/tuesday"))[1]["count"] == 3
    assert [one["deduplicated"] for _, one in (first, second)] == [False, True]
    assert first[1]["createdAt"] == second[1]["createdAt"]
    status, problem = await post(http, body | {"jobs": [job(9)]})
    assert (status, problem["code"]) == (409, "batch_differs")
    assert (await queue.counts()).total == 3


async def test_a_batch_that_was_cut_short_is_completed(
    http: ClientSession, queue: Queue, hands: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the record and some of the jobs; one of them has run by then."""
    body = {"jobs": [job(n) for n in range(4)], "batchId": "tuesday"}

    async def half(listed: Any, jobs: list[Any], *rest: Any) -> None:
        await real(listed, jobs[:2], *rest)
        raise Unavailable("killed")

    real = batches.submit_many
    monkeypatch.setattr(batches, "submit_many", half)
    status, _ = await post(http, body)
    assert status == 503
    monkeypatch.setattr(batches, "submit_many", real)
    assert (await hands.take(1))[0].job.ref == "~b::tuesday.0"
    _, progress = await get(http, "/batches/tuesday")
    assert (progress["done"], progress["counts"]["missing"]) == (False, 2)
    status, batch = await post(http, body)
    assert (status, batch["id"], batch["deduplicated"]) == (202, "tuesday", False)
    assert (await queue.counts()).total == 4
    assert (await post(http, body))[0] == 200


async def test_jobs_of_a_batch_that_are_gone_do_not_come_back(
    http: ClientSession, queue: Queue
) -> None:
    body = {"jobs": [job()], "batchId": "tuesday"}
    _, batch = await post(http, body)
    await queue.remove(f"~b:{batch['id']}.0")
    assert (await post(http, body))[0] == 200
    assert (await queue.counts()).total == 0


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"jobs": [{"data": {}}]}, "/jobs/0/data/issuerDid"),
        ({"jobs": [job(), {"data": ISSUANCE, "x": 1}]}, "/jobs/1/x"),
        ({"jobs": [job(jobId="mine")]}, "/jobs/0/options/jobId"),
        ({"jobs": [job(delay="soon")]}, "/jobs/0/options/delay"),
        ({"jobs": []}, "/jobs"),
        ({"jobs": {}}, "/jobs"),
        ({"jobs": [1]}, "/jobs/0"),
        ({}, "/jobs"),
        ([], ""),
        ([job()], ""),
        ("jobs", ""),
        ({"jobs": [job()], "batchId": ""}, "/batchId"),
        ({"jobs": [job()], "batchId": "a b"}, "/batchId"),
        ({"jobs": [job()], "batchId": 7}, "/batchId"),
        ({"jobs": [job()], "batchId": "~x"}, "/batchId"),
        ({"jobs": [job()], "batchId": ".."}, "/batchId"),
        ({"vcJwts": ["x"], "organizationId": "o", "userId": "u"}, "/jobs"),
        ({"jobs": [job()] * 1_001}, "/jobs"),
    ],
)
async def test_what_does_not_fit_queues_nothing_and_writes_nothing_down(
    http: ClientSession, queue: Queue, raw: Any, body: Any, pointer: str
) -> None:
    status, problem = await post(http, body)
    assert status == 422
    assert pointer in [fault["pointer"] for fault in problem["errors"]]
    assert (await queue.counts()).total == 0
    assert raw.keys("cs:batch:*") == []


async def test_a_batch_needs_a_body_and_a_queue(http: ClientSession) -> None:
    async with http.post(BATCHES) as response:
        assert response.status == 400
    assert (await post(http, {"jobs": [job()]}, "/queue/nothing/batches"))[0] == 404


async def test_tokens_are_verified_in_batches(http: ClientSession, redis: Redis) -> None:
    common = {"organizationId": "org-1", "userId": "u", "verifierDid": "did:web:a.example"}
    body = {"vcJwts": [f"token{n}" for n in range(1_000)], **common}
    status, batch = await post(http, body, "/queue/vc-verification/batches")
    assert (status, batch["count"], batch["organizationId"]) == (202, 1_000, "org-1")
    stored = await Queue("vc-verification", redis).get(f"~b:{batch['id']}.999")
    assert stored is not None
    assert stored.data == {"vcJwt": "token999", **common}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"vcJwts": []}, "/vcJwts"),
        ({"vcJwts": ["x", 1]}, "/vcJwts/1"),
        ({"vcJwts": ["x", ""]}, "/vcJwts/1"),
        ({"vcJwts": ["x"] * 1_001}, "/vcJwts"),
        ({"vcJwts": ["x"], "userId": None}, "/userId"),
        ({"vcJwts": ["x"], "verifierDid": "you"}, "/verifierDid"),
        ({"vcJwts": ["x"], "jobs": []}, "/jobs"),
    ],
)
async def test_tokens_that_do_not_fit(
    http: ClientSession, redis: Redis, change: dict[str, Any], pointer: str
) -> None:
    body = {"organizationId": "org-1", "userId": "u"} | change
    status, problem = await post(http, body, "/queue/vc-verification/batches")
    assert status == 422
    assert pointer in [fault["pointer"] for fault in problem["errors"]]
    assert (await Queue("vc-verification", redis).counts()).total == 0


@pytest.mark.parametrize("path", ["/batches/nothing", "/batches/a.b", "/batches/%0a"])
async def test_a_batch_that_is_not_there(http: ClientSession, path: str) -> None:
    for end in ("", "/results"):
        status, problem = await get(http, path + end)
        assert (status, problem["code"]) == (404, "batch_not_found")


@pytest.mark.parametrize("query", ["start=-1", "start=x", "end=100", "start=5&end=4", "x=1"])
async def test_pages_of_results_are_bounded(http: ClientSession, query: str) -> None:
    _, batch = await post(http, {"jobs": [job()]})
    status, problem = await get(http, f"/batches/{batch['id']}/results?{query}")
    assert (status, problem["code"]) == (400, "invalid_query")


async def test_a_batch_is_its_tenants(redis: Redis) -> None:
    mine, yours = ({"jobs": [job()], "batchId": "x"} for _ in range(2))
    mine["jobs"][0]["data"] = ISSUANCE | {"organizationId": "org-a"}
    yours["jobs"][0]["data"] = ISSUANCE | {"organizationId": "org-b"}
    async with tenants(redis, "org-a", "org-b", None) as (a, b, platform):
        status, batch = await post(a, mine)
        assert (status, batch["organizationId"]) == (202, "org-a")
        status, other = await post(b, yours)
        assert status == 202, "what one tenant calls its batch is no matter of the other's"
        assert other["id"] == batch["id"] == "x"
        for end in ("", "/results"):
            for http, organization in ((a, "org-a"), (b, "org-b")):
                status, found = await get(http, f"/batches/x{end}")
                assert status == 200
                assert found.get("organizationId", organization) == organization
                assert (await get(http, f"/batches/x{end}?organizationId={organization}"))[0] == 200
            assert (await get(a, f"/batches/x{end}?organizationId=org-b"))[0] == 403
            assert (await get(platform, f"/batches/x{end}"))[0] == 404, "it chose no such id"
            for named, expected in (("org-a", 200), ("org-b", 200), ("org-c", 404)):
                path = f"/batches/x{end}?organizationId={named}"
                assert (await get(platform, path))[0] == expected
        for body in (yours, {"jobs": [*mine["jobs"], *yours["jobs"]]}):
            status, problem = await post(a, body)
            assert (status, problem["code"]) == (403, "other_organization")
        status, mixed = await post(platform, {"jobs": [*mine["jobs"], *yours["jobs"]]})
        assert (status, mixed["organizationId"]) == (202, None)
        assert (await get(a, f"/batches/{mixed['id']}"))[0] == 404


RECORD = BatchRecord(JobRef("b"), "q", "org", 3)


async def test_the_words_of_the_scripts(redis: Redis, raw: Any) -> None:
    assert RECORDS["batch_open"].replies == {b"OK", b"ALREADY", b"DIFFERS"}
    first, known = await open_batch(redis, RECORD, "d")
    assert not known
    again, known = await open_batch(redis, RECORD, "d")
    assert (again, known) == (first, True)
    with pytest.raises(OtherBatch):
        await open_batch(redis, RECORD, "e")
    for _ in range(2):
        await batch_stored(redis, RECORD.ref)
    stored, _ = await open_batch(redis, RECORD, "d")
    assert stored.stored
    assert await find_batch(redis, RECORD.ref) == stored
    assert 0 < raw.pttl("cs:batch:{b}") <= 7 * 24 * 3_600_000
    await batch_stored(redis, JobRef("nothing"))
    assert not raw.exists("cs:batch:{nothing}"), "what is forgotten stays forgotten"


async def test_a_batch_in_a_key_of_another_type(redis: Redis, raw: Any) -> None:
    raw.set("cs:batch:{b}", "x")
    with pytest.raises(Refused):
        await open_batch(redis, RECORD, "d")
    with pytest.raises(Refused):
        await batch_stored(redis, RECORD.ref)
    assert raw.get("cs:batch:{b}") == b"x"
