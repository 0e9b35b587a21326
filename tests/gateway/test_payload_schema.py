"""Registered schemas are checked at a bounded price, whatever is submitted."""

import asyncio
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession

from gateway import payload_schema
from gateway.payload_schema import PayloadSchema, TooCostlyToCheck, compiled
from streams import Redis
from streams.keys import CATALOGUE

NUMBERS = {"properties": {"v": {"type": "array", "items": {"type": "integer", "maximum": 10}}}}


TWICE = [{"n": n // 2} for n in range(10_000)]


def schema(body: dict[str, Any]) -> PayloadSchema:
    made = compiled("q", body)
    assert made is not None
    return made


async def found(body: dict[str, Any], *payloads: Any) -> list[tuple[int, str]]:
    """Which payloads do not fit, and where."""
    wrong = await schema(body).mismatches(payloads)
    return [(index, fault.json_path) for index, fault in wrong]


async def test_the_event_loop_goes_on_while_a_large_payload_is_checked() -> None:
    """Turns of the loop are counted, not time."""
    turns, running = 0, True

    async def turn() -> None:
        nonlocal turns
        while running:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(turn())
    assert await found(NUMBERS, {"v": [1] * 30_000 + [11]}) == [(0, "$.v[30000]")]
    running = False
    await other
    assert turns > 20


@pytest.fixture
def little_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload_schema, "STEPS_MAX", 20_000)


async def test_what_would_take_too_long_is_refused(
    http: ClientSession, redis: Redis, little_time: None
) -> None:
    about = orjson.dumps({"schema": NUMBERS, "description": ""})
    await redis.command("HSET", CATALOGUE, "numbers", about, key=CATALOGUE)
    for job in ({"data": {"v": [1] * 10_000}}, [{"data": {"v": [1] * 4_000}}] * 2):
        async with http.post("/queue/numbers/jobs", json=job) as response:
            problem = await response.json(content_type="application/problem+json")
        assert (response.status, problem["code"]) == (422, "payload_too_costly")
    async with http.get("/queue/numbers/stats") as response:
        assert (await response.json())["data"]["total"] == 0
    large, few = {"data": {"v": [1] * 3_000 + [11]}}, {"data": {"v": [11]}}
    for body, places in ((large, {"/data/v/3000"}), ([few, few], {"/0/data/v/0", "/1/data/v/0"})):
        async with http.post("/queue/numbers/jobs", json=body) as response:
            problem = await response.json(content_type="application/problem+json")
        assert (response.status, problem["code"]) == (422, "invalid_job")
        assert {one["pointer"] for one in problem["errors"]} == places
    body = {"jobs": [large]}
    async with http.post("/queue/numbers/batches", json=body) as response:
        problem = await response.json(content_type="application/problem+json")
    assert [one["pointer"] for one in problem["errors"]] == ["/jobs/0/data/v/3000"]


async def test_at_most_ten_things_are_said_of_one_payload() -> None:
    assert len(await found(NUMBERS, {"v": [11] * 50}, {"v": [11]})) == 11


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        # A backtracking engine takes time exponential in the length.
        ({"properties": {"s": {"pattern": "^(a+)+$"}}}, {"s": "a" * 5_000 + "b"}),
        ({"patternProperties": {"^(a+)+$": False}}, {"a" * 50: 1}),
        ({"patternProperties": {"^a+$": {}}, "additionalProperties": False}, {"b": 1}),
        # Each with each would be 10^8 comparisons.
        (
            {"properties": {"v": {"uniqueItems": True}}},
            {"v": TWICE},
        ),
    ],
)
async def test_keywords_of_ours(body: Any, payload: Any) -> None:
    assert [index for index, _ in await found(body, payload)] == [0]


async def test_what_only_a_backtracking_engine_knows_says_nothing() -> None:
    ahead = {"properties": {"s": {"pattern": "^(?=x)"}, "t": {"maxLength": 1}}}
    assert await found(ahead, {"s": "y", "t": "long"}) == [(0, "$.t")]
    assert await found({"patternProperties": {"^(?=x)": False}}, {"y": 1}) == []


async def test_a_budget_is_for_all_payloads_of_a_request(little_time: None) -> None:
    made = schema(NUMBERS)
    few = {"v": [1] * 100}
    assert made.at_once([few] * 4) == []
    with pytest.raises(TooCostlyToCheck):
        await made.mismatches([{"v": [1] * 1_000}] * 10)
    # What was found before the end is said.
    assert await found(NUMBERS, {"v": [11]}, {"v": [1] * 10_000}) == [(0, "$.v[0]")]
