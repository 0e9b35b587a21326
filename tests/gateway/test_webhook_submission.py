"""Deliveries that cannot be are refused at the door (SS-1, WH-8, WH-9)."""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession

from streams import Queue, Redis

JSON = {"Content-Type": "application/json"}
VECTORS = Path(__file__).parents[1] / "vectors"
DENIED = json.loads((VECTORS / "ssrf-urls.json").read_text())["deny_urls"]
LIMIT = 256 * 1024


def delivery(**changes: Any) -> dict[str, Any]:
    return {
        "url": "https://example.com/hook",
        "method": "POST",
        "payload": {"event": "x"},
        "event": "x",
        "organizationId": "org-1",
    } | changes


async def submit(http: ClientSession, body: Any) -> tuple[int, dict[str, Any]]:
    async with http.post("/queue/webhooks/jobs", data=orjson.dumps(body), headers=JSON) as response:
        return response.status, await response.json(content_type=None)


async def waiting(redis: Redis) -> int:
    return (await Queue("webhooks", redis).counts()).waiting


async def test_a_body_above_256_kib_is_413(http: ClientSession, redis: Redis) -> None:
    fits = {"x": "y" * (LIMIT - len(b'{"x":""}'))}
    assert (await submit(http, {"data": delivery(payload=fits)}))[0] == 202
    over = {"data": delivery(payload={"x": fits["x"] + "y"})}
    for body, place in ((over, "/data/payload"), ([over], "/0/data/payload")):
        status, problem = await submit(http, body)
        assert (status, problem["code"]) == (413, "payload_too_large")
        assert [fault["pointer"] for fault in problem["errors"]] == [place]
        assert str(LIMIT) in problem["errors"][0]["detail"]
    assert await waiting(redis) == 1


async def test_a_large_body_with_another_fault_is_422(http: ClientSession, redis: Redis) -> None:
    status, problem = await submit(
        http, {"data": delivery(payload={"x": "y" * LIMIT}, method="DELETE")}
    )
    assert (status, problem["code"]) == (422, "invalid_job")
    assert {fault["pointer"] for fault in problem["errors"]} == {"/data/payload", "/data/method"}
    assert await waiting(redis) == 0


TOLD_BY_THE_MODEL = [
    url for url in DENIED
    if not url.startswith(("http://1", "http://[", "http://localhost", "http://metadata"))
    and url != "https://example.com:22/"
] + ["http://127.1/", "http://127。0。0。1/", "http://[fe80::1%25lo]/"]  # fmt: skip


@pytest.mark.parametrize("url", TOLD_BY_THE_MODEL, ids=lambda url: url[:60])
async def test_a_url_that_is_none_is_422(http: ClientSession, redis: Redis, url: str) -> None:
    status, problem = await submit(http, {"data": delivery(url=url)})
    assert status == 422
    assert [fault["pointer"] for fault in problem["errors"]] == ["/data/url"]
    status, problem = await submit(http, {"data": delivery(), "options": {"callbackUrl": url}})
    assert status == 422
    assert {fault["pointer"] for fault in problem["errors"]} == {"/options/callbackUrl"}
    assert await waiting(redis) == 0


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"timeoutMs": 999}, "/data/timeoutMs"),
        ({"timeoutMs": 60_001}, "/data/timeoutMs"),
        ({"retryOn4xx": "yes"}, "/data/retryOn4xx"),
        ({"headers": {"Host": "x"}}, "/data/headers"),
    ],
)
async def test_options_of_a_delivery(
    http: ClientSession, changes: dict[str, Any], place: str
) -> None:
    status, problem = await submit(http, {"data": delivery(**changes)})
    assert status == 422
    assert [fault["pointer"] for fault in problem["errors"]] == [place]
