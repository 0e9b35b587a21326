"""The receiver that we show to others, against every row about verifying."""

import importlib.util
import json
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer

from consumers.delivery.signing import parse_key, signature

TESTS = Path(__file__).parents[1]
VECTORS = json.loads((TESTS / "vectors" / "standard-webhooks.json").read_text())
PUBLISHED = VECTORS["published"][0]
BODY = PUBLISHED["body"].encode()
NOW_S = PUBLISHED["timestamp"]


class Then(datetime):
    """The moment of the published signature."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Then":
        return cls.fromtimestamp(NOW_S, tz or UTC)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr("standardwebhooks.webhooks.datetime", Then)
    path = TESTS.parent / "examples" / "webhook_receiver.py"
    spec = importlib.util.spec_from_file_location("example_receiver", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def answers(example: ModuleType, *requests: Mapping[str, str]) -> tuple[list[int], list[Any]]:
    """The statuses that these headers get, and what was passed on."""
    events: list[Any] = []

    async def keep(event: Any) -> None:
        events.append(event)

    receiver = example.Receiver(PUBLISHED["key"], keep)
    statuses = []
    async with TestServer(receiver.app(), host="127.0.0.1") as server, ClientSession() as http:
        for headers in requests:
            async with http.post(server.make_url("/hook"), data=BODY, headers=headers) as response:
                statuses.append(response.status)
    return statuses, events


def headers(signed: str, timestamp: object = NOW_S) -> dict[str, str]:
    return {
        "webhook-id": PUBLISHED["id"],
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signed,
    }


async def test_a_good_signature_passes_once(example: ModuleType) -> None:
    good = headers(PUBLISHED["expect"])
    assert await answers(example, good, good) == ([202, 200], [json.loads(BODY)])


@pytest.mark.parametrize("row", VECTORS["verify_accept"], ids=lambda row: row["why"])
async def test_one_good_entry_is_enough(example: ModuleType, row: dict[str, str]) -> None:
    assert (await answers(example, headers(row["header"])))[0] == [202]


@pytest.mark.parametrize("row", VECTORS["verify_reject"], ids=lambda row: row["why"])
async def test_bad_signatures_are_refused(example: ModuleType, row: dict[str, str]) -> None:
    assert await answers(example, headers(row["header"])) == ([400], [])


@pytest.mark.parametrize("row", VECTORS["verify_timestamp"], ids=str)
async def test_timestamps(example: ModuleType, row: dict[str, Any]) -> None:
    if "offset_s" in row:
        timestamp_s = NOW_S + row["offset_s"]
        signed = signature([parse_key(PUBLISHED["key"])], PUBLISHED["id"], timestamp_s, BODY)
        given = headers(signed, timestamp_s)
    else:
        given = headers(PUBLISHED["expect"], row["value"])
    statuses, _ = await answers(example, given)
    assert statuses == [202 if row["ok"] else 400]


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
async def test_a_request_without_one_of_the_three_headers(
    example: ModuleType, missing: str
) -> None:
    given = headers(PUBLISHED["expect"])
    del given[missing]
    assert await answers(example, given) == ([400], [])
