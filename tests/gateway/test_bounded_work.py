"""Whatever a body holds, little of it is looked at, and others are served in between."""

import asyncio
from collections import Counter
from io import BytesIO
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession

from gateway import faults, submit
from gateway.shapes import Submission
from streams import Queue, Redis
from tests.gateway.samples import ISSUANCE

JSON = {"Content-Type": "application/json"}
ANSWER_BYTES_MAX = 16_384


@pytest.fixture
def formatted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many places of documents were put into words."""
    counted: Counter[str] = Counter()
    place = faults._place

    def counting(*arguments: Any) -> Any:
        counted["places"] += 1
        return place(*arguments)

    monkeypatch.setattr(faults, "_place", counting)
    return counted


def members(count: int) -> dict[str, int]:
    return {f"m{number}": 1 for number in range(count)}


async def problem(http: ClientSession, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
    async with http.post(path, data=BytesIO(body), headers=JSON) as response:
        text = await response.read()
        assert len(text) <= ANSWER_BYTES_MAX
        found: dict[str, Any] = orjson.loads(text)
        return response.status, found


@pytest.mark.parametrize("count", [10, 19, 20, 21, 1_000, 1_300])
async def test_who_signs_in_with_anything_gets_a_short_answer(
    http: ClientSession, formatted: Counter[str], count: int
) -> None:
    status, found = await problem(http, "/dashboard/login", orjson.dumps(members(count)))
    assert status == 422
    assert 1 <= len(found["errors"]) <= faults.FAULTS_MAX
    assert formatted["places"] <= faults.FAULTS_MAX


@pytest.mark.parametrize(
    "path",
    ["/dashboard/login", "/queue/emails/clean", "/keys", "/webhooks/replay", "/dashboard/keys"],
)
async def test_small_documents_are_small(
    http: ClientSession, formatted: Counter[str], path: str
) -> None:
    status, found = await problem(http, path, orjson.dumps(members(105_000)))
    assert (status, found["code"]) == (413, "body_too_large")
    assert "16384 bytes" in found["detail"]
    assert formatted == {}


@pytest.mark.parametrize("data", [{}, ISSUANCE])
async def test_a_job_of_very_many_members_is_not_listed(
    http: ClientSession, formatted: Counter[str], data: dict[str, Any]
) -> None:
    for count in (900, 15_000):
        body = orjson.dumps({"data": data | members(count), "x" * 1_000: 1})
        status, found = await problem(http, "/queue/vc-issuance/jobs", body)
        assert status == 422
        assert all(len(one["pointer"]) <= faults.POINTER_MAX_CHARS for one in found["errors"])
    assert formatted["places"] <= 3 * faults.FAULTS_MAX


@pytest.mark.parametrize("count", [480, 200])
@pytest.mark.parametrize("path", ["/queue/vc-issuance/jobs", "/queue/vc-issuance/batches"])
async def test_of_many_jobs_that_do_not_fit_few_are_looked_at(
    http: ClientSession,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    formatted: Counter[str],
    path: str,
    count: int,
) -> None:
    judged: list[int] = []
    judge = submit._faults_of_model

    def judging(*arguments: Any) -> Any:
        judged.append(1)
        return judge(*arguments)

    monkeypatch.setattr(submit, "_faults_of_model", judging)
    jobs = [{"data": ISSUANCE | members(count)}] * 1_000
    body = orjson.dumps({"jobs": jobs} if path.endswith("batches") else jobs)
    found = await problem(http, path, body)
    expected = (400, "malformed_body") if count == 480 else (422, "invalid_job")
    assert (found[0], found[1]["code"]) == expected
    assert len(found[1]["errors"]) <= faults.FAULTS_MAX
    assert len(judged) <= 2 * faults.FAULTS_MAX
    assert formatted["places"] <= 2 * faults.FAULTS_MAX
    assert (await Queue("vc-issuance", redis).counts()).total == 0


@pytest.mark.parametrize("kind", ["jobs", "batches"])
async def test_others_are_served_while_a_long_submission_is_checked(
    http: ClientSession, redis: Redis, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    turn = 0
    checks: Counter[int] = Counter()
    validate = Submission.model_validate

    def validating(value: Any) -> Submission:
        checks[turn] += 1
        return validate(value)

    async def turning() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(Submission, "model_validate", validating)
    ticking = asyncio.create_task(turning())
    jobs = [{"data": ISSUANCE}] * 999 + [{"data": ISSUANCE, "options": {"priority": 11}}]
    body = orjson.dumps({"jobs": jobs} if kind == "batches" else jobs)
    status, found = await problem(http, f"/queue/vc-issuance/{kind}", body)
    ticking.cancel()
    at = "/jobs" if kind == "batches" else ""
    assert status == 422
    assert [one["pointer"] for one in found["errors"]] == [f"{at}/999/options/priority"]
    assert checks.total() == 2_000
    assert max(checks.values()) <= 2 * submit.JOBS_PER_TURN
    assert (await Queue("vc-issuance", redis).counts()).total == 0
