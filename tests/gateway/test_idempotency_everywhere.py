"""An Idempotency-Key on every POST, not only on submissions (API-5)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.app import TABLE
from gateway.remembered import remembering
from gateway.settings import GatewaySettings
from streams import Queue, Redis
from tests.gateway.callers import OWN, Callers, callers
from tests.gateway.samples import Serve

Answer = tuple[int, Any, str | None]
MADE = {"name": "ci", "scopes": ["read"]}


async def send(http: ClientSession, path: str, body: Any = None, key: str = "k") -> Answer:
    headers = {"Idempotency-Key": key}
    async with http.post(path, json=body, headers=headers) as response:
        replayed = response.headers.get("Idempotency-Replayed")
        return response.status, await response.json(), replayed


@pytest.fixture
async def calls(serve: Serve, redis: Redis) -> AsyncIterator[Callers]:
    async with (
        serve(GatewaySettings(host="127.0.0.1", port=0)) as http,
        callers(redis, str(http._base_url), ("all", "admin")) as found,
    ):
        yield found


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/queue/vc-issuance/pause", None),
        ("/queue/vc-issuance/clean", {"grace": 0}),
        ("/queue/vc-issuance/jobs/remove", {"ids": ["a"]}),
        ("/mail/suppressions", {"address": "a@example.com", "organizationId": OWN}),
        ("/keys", MADE),
    ],
)
async def test_the_same_again(calls: Callers, raw: Any, path: str, body: Any) -> None:
    http = calls["all", None]
    first = await send(http, path, body)
    deeds = sum(raw.xlen(name) for name in raw.scan_iter(match="cs:*:audit"))
    second = await send(http, path, body)
    assert (first[0] // 100, first[2]) == (2, None)
    assert second == (first[0], first[1], "true")
    assert sum(raw.xlen(name) for name in raw.scan_iter(match="cs:*:audit")) == deeds
    (record,) = raw.scan_iter(match="cs:idem:*")
    assert 86_300_000 < raw.pttl(record) <= 86_400_000


async def test_another_body_another_path_and_another_organization(calls: Callers) -> None:
    http = calls["all", None]
    assert (await send(http, "/keys", MADE))[0] == 201
    status, body, _ = await send(http, "/keys", MADE | {"name": "other"})
    assert (status, body["code"]) == (422, "idempotency_key_reused")
    assert (await send(http, "/queue/vc-issuance/pause"))[2] is None
    status, _, replayed = await send(calls["all", OWN], "/keys", MADE | {"organizationId": OWN})
    assert (status, replayed) == (201, None)


async def test_a_secret_is_shown_again_to_who_got_it_and_lies_nowhere(
    calls: Callers, raw: Any
) -> None:
    first = await send(calls["all", None], "/keys", MADE)
    secret = first[1]["data"]["key"]
    assert (await send(calls["all", None], "/keys", MADE))[1] == first[1]
    (record,) = raw.scan_iter(match="cs:idem:*")
    assert secret[-40:].encode() not in raw.hget(record, "said")
    status, body, _ = await send(calls["admin", None], "/keys", MADE)
    assert (status, body["code"]) == (409, "idempotency_answer_withheld")
    assert raw.zcard("cs:keys:{keys}:index") == 7  # six callers, and the one that was made


async def test_what_was_refused_is_not_remembered(calls: Callers, raw: Any) -> None:
    assert (await send(calls["all", None], "/keys", {}))[0] == 422
    assert list(raw.scan_iter(match="cs:idem:*")) == []
    assert (await send(calls["all", None], "/keys", MADE))[0] == 201


async def test_while_the_first_is_in_flight(
    calls: Callers, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go = asyncio.Event(), asyncio.Event()
    pause = Queue.pause

    async def held(self: Queue, *, who: bytes = b"", once: str = "") -> None:
        entered.set()
        await go.wait()
        await pause(self, who=who, once=once)

    monkeypatch.setattr(Queue, "pause", held)
    http = calls["all", None]
    first = asyncio.create_task(send(http, "/queue/vc-issuance/pause"))
    await entered.wait()
    status, body, _ = await send(http, "/queue/vc-issuance/pause")
    assert (status, body["code"]) == (409, "idempotency_in_flight")
    go.set()
    assert (await first)[0] == 200


async def test_what_is_no_key(calls: Callers) -> None:
    status, body, _ = await send(calls["all", None], "/queue/vc-issuance/pause", key="a b")
    assert (status, body["code"]) == (400, "invalid_idempotency_key")


async def test_who_may_not_do_it_is_not_told_what_it_answered(calls: Callers) -> None:
    assert (await send(calls["all", None], "/queue/vc-issuance/pause"))[0] == 200
    status, body, _ = await send(calls["none", None], "/queue/vc-issuance/pause")
    assert (status, body["code"]) == (401, "unauthorized")


async def test_limits_of_a_body_stay(serve: Serve) -> None:
    async with serve(GatewaySettings(host="127.0.0.1", port=0, body_limit_bytes=2_000)) as http:
        body = {"ids": ["x" * 3_000]}
        status, answer, _ = await send(http, "/queue/vc-issuance/jobs/remove", body)
    assert (status, answer["code"]) == (413, "body_too_large")


def test_every_post_takes_part() -> None:
    for route in TABLE:
        if route.method == "POST" and not route.is_page:
            assert route.lines or remembering(route).handler is not route.handler, route.path
