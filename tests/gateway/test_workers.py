"""Who works, on what, and how busy."""

from typing import Any

import pytest
from aiohttp import ClientSession

from streams import Queue
from streams.claims import Claims


async def get(http: ClientSession, path: str) -> list[dict[str, Any]]:
    async with http.get(path) as response:
        answer = await response.json()
        assert response.status == 200, answer
    found: list[dict[str, Any]] = answer["data"]
    return found


@pytest.mark.parametrize("path", ["/workers", "/queue/vc-issuance/workers"])
async def test_a_worker_and_what_it_runs(http: ClientSession, queue: Queue, path: str) -> None:
    worker = Claims(queue.spec, queue.redis, "w-1")
    await worker.heartbeat({"slots": 4, "running": {":b": 20, ":a": 10}, "host": "here"})
    (found,) = await get(http, path)
    assert found.pop("lastSeen") > 0
    assert found == {
        "name": "w-1",
        "queue": "vc-issuance",
        "host": "here",
        "alive": True,
        "slots": 4,
        "running": [{"id": "a", "ref": ":a", "since": 10}, {"id": "b", "ref": ":b", "since": 20}],
        "utilisation": 0.5,
    }


async def test_one_that_fell_silent_and_one_that_says_little(http: ClientSession, raw: Any) -> None:
    raw.hset("cs:{vc-issuance}:workers", mapping={"silent": b'1:{"slots":2}', "terse": b"2:"})
    found = await get(http, "/queue/vc-issuance/workers")
    shown = [(one["name"], one["alive"], one["utilisation"], one["slots"]) for one in found]
    assert shown == [("silent", False, 0.0, 2), ("terse", False, None, None)]


async def test_nobody(http: ClientSession) -> None:
    assert await get(http, "/workers") == []


async def test_queues_are_listed_with_what_they_take(http: ClientSession, queue: Queue) -> None:
    await Queue("custom-queue", queue.redis).register()
    found = {one["name"]: one for one in await get(http, "/queue")}
    assert {"vc-issuance", "emails", "webhooks", "custom-queue"} <= found.keys()
    assert found["vc-issuance"]["product"] is True
    assert "issuerDid" in found["vc-issuance"]["payload"]["properties"]
    assert (found["custom-queue"]["product"], found["custom-queue"]["payload"]) == (False, None)
