"""Dead letters: found, spread over time, and kept from going round for ever."""

import base64
from typing import Any

import pytest
from aiohttp import ClientSession

from schemas.job import State
from streams import Queue

BASE = "/queue/vc-issuance/dead-letters"
NO_PLACE = "?before=" + base64.urlsafe_b64encode(b"failed:0-0").decode().rstrip("=")
TIMED_OUT = b'[{"attempt":1,"reason":"timeout","message":"Issuer took too long","at":5}]'
REJECTED = b'[{"attempt":1,"reason":"rejected","message":"no","code":"issuer_unknown","at":5}]'


@pytest.fixture
async def dead(queue: Queue, hands: Any, issuance: dict[str, Any]) -> list[str]:
    """`slow-0`, `slow-1` have timed out, `no-2` was rejected; each has a name of its own."""
    names = ["slow-0", "slow-1", "no-2"]
    for name in names:
        await queue.add(name, issuance | {"organizationId": name[-1]}, job_id=name)
    for claim in await hands.take(3):
        await hands.end([claim], "fail", REJECTED if claim.job.id == "no-2" else TIMED_OUT)
    return names


async def get(http: ClientSession, query: str) -> dict[str, Any]:
    async with http.get(f"{BASE}{query}") as response:
        answer: dict[str, Any] = await response.json(content_type=None)
        assert response.status == 200, answer
    return answer


async def redrive(http: ClientSession, **body: Any) -> dict[str, Any]:
    async with http.post(f"{BASE}/redrive", json=body) as response:
        answer = await response.json(content_type=None)
        assert response.status == 200, answer
    found: dict[str, Any] = answer["data"]
    return found


@pytest.mark.usefixtures("dead")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["no-2", "slow-1", "slow-0"]),
        ("?error=TOO%20LONG", ["slow-1", "slow-0"]),
        ("?error=issuer_unknown", ["no-2"]),
        ("?error=timeout&organizationId=1", ["slow-1"]),
        ("?name=slow-0", ["slow-0"]),
        ("?since=9999999999999", []),
        ("?until=9999999999999&limit=1", ["no-2"]),
    ],
)
async def test_they_are_found(http: ClientSession, query: str, expected: list[str]) -> None:
    assert [job["id"] for job in (await get(http, query))["data"]] == expected


@pytest.mark.usefixtures("dead")
async def test_pages_follow_one_another(http: ClientSession, queue: Queue) -> None:
    first = await get(http, "?limit=2")
    await queue.remove("slow-1")  # what the page ended with: the place stays
    second = await get(http, f"?limit=2&before={first['next']}")
    assert [job["id"] for job in second["data"]] == ["slow-0"]
    assert second["next"] is None


@pytest.mark.usefixtures("dead")
async def test_a_redrive_is_spread_over_time(http: ClientSession, queue: Queue) -> None:
    answer = await redrive(http, filter={}, perSecond=0.5)
    assert (answer["action"], answer["done"]) == ("retry", 3)
    due = [job.delay_until for job in await queue.page(State.DELAYED)]
    (at_once,) = await queue.page(State.WAITING)
    assert at_once.id == "no-2"
    assert None not in due
    assert due[1] - due[0] >= 1_900  # type: ignore[operator]


@pytest.mark.usefixtures("dead")
async def test_what_comes_back_again_and_again_stays(
    http: ClientSession, hands: Any, queue: Queue
) -> None:
    for _ in range(2):
        assert (await redrive(http, ids=["no-2"], maxRedrives=2))["done"] == 1
        await hands.end(await hands.take(1), "fail", REJECTED)
    answer = await redrive(http, ids=["no-2"], maxRedrives=2)
    assert (answer["done"], answer["skipped"]) == (0, {"looping": 1})
    assert (await redrive(http, ids=["no-2"], force=True))["done"] == 1
    assert (await queue.counts()).waiting == 1


async def test_a_dry_run_counts(http: ClientSession, queue: Queue, dead: list[str]) -> None:
    answer = await redrive(http, filter={"error": "too long"}, dryRun=True)
    assert (answer["matched"], answer["done"]) == (2, 0)
    assert answer["sample"] == dead[1::-1]
    assert (await queue.counts()).failed == 3


@pytest.mark.parametrize(
    "query",
    ["?limit=0", "?limit=101", "?since=x", "?colour=red", "?name=a&name=b", "?before=x", NO_PLACE],
)
async def test_a_query_that_does_not_fit(http: ClientSession, query: str) -> None:
    async with http.get(BASE + query) as response:
        problem = await response.json(content_type=None)
    assert (response.status, problem["code"]) == (400, "invalid_query")


@pytest.mark.parametrize("per_second", [1e-300, 5e-324])
async def test_they_are_spread_over_years_at_most(
    http: ClientSession, queue: Queue, dead: list[str], per_second: float
) -> None:
    body = {"ids": dead, "perSecond": per_second}
    assert (await redrive(http, **body))["done"] == 3
    counts = await queue.counts()
    assert (counts.waiting, counts.delayed) == (1, 2)
