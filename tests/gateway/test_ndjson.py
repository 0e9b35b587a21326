"""Jobs as lines: in order, each on its own, in bounded memory."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.settings import GatewaySettings
from streams import Queue
from tests.gateway.samples import Serve

JOBS = "/queue/vc-issuance/jobs"
LINES = {"Content-Type": "application/x-ndjson"}


def line(issuance: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"data": issuance, **more}).encode() + b"\n"


async def send(http: ClientSession, body: Any, **headers: str) -> tuple[int, list[dict[str, Any]]]:
    async with http.post(JOBS, data=body, headers=LINES | headers) as response:
        text = await response.read()
        return response.status, [json.loads(one) for one in text.splitlines()]


async def test_a_line_for_each_in_order(
    http: ClientSession, queue: Queue, issuance: dict[str, Any]
) -> None:
    body = b"".join(line(issuance, options={"jobId": f"j{n}"}) for n in range(700))
    status, answers = await send(http, body)
    assert status == 200
    assert [one["data"]["id"] for one in answers] == [f"j{n}" for n in range(700)]
    assert all(one["success"] for one in answers)
    assert (await queue.counts()).waiting == 700


async def test_one_that_does_not_fit_does_not_stop_the_others(
    http: ClientSession, queue: Queue, issuance: dict[str, Any]
) -> None:
    body = line(issuance) + b'{"data":{}}\n\n  \nnonsense\n{"a":1,"a":2}\n' + line(issuance)[:-1]
    status, answers = await send(http, body)
    assert status == 200
    codes = [one.get("code") for one in answers]
    assert codes == [None, "invalid_job", "malformed_body", "malformed_body", None]
    assert "/data/issuerDid" in [fault["pointer"] for fault in answers[1]["errors"]]
    assert (await queue.counts()).waiting == 2


async def test_answers_come_while_lines_are_sent(
    http: ClientSession, issuance: dict[str, Any]
) -> None:
    heard = asyncio.Event()

    async def lines() -> AsyncIterator[bytes]:
        yield line(issuance)
        await heard.wait()
        yield line(issuance)

    async with http.post(JOBS, data=lines(), headers=LINES) as response:
        assert json.loads(await response.content.readline())["success"]
        heard.set()
        assert json.loads(await response.content.readline())["success"]
        assert await response.content.read() == b""


async def test_a_line_that_is_too_long_ends_it(
    serve: Serve, queue: Queue, issuance: dict[str, Any]
) -> None:
    async with serve(GatewaySettings(host="127.0.0.1", port=0, body_limit_bytes=2_000)) as http:
        status, answers = await send(http, b'{"data":"' + b"x" * 5_000 + b'"}\n')
        assert (status, answers[0]["code"]) == (413, "body_too_large")

        heard = asyncio.Event()

        async def lines() -> AsyncIterator[bytes]:
            yield line(issuance)
            await heard.wait()
            yield b"x" * 5_000 + b"\n"

        async with http.post(JOBS, data=lines(), headers=LINES) as response:
            assert json.loads(await response.content.readline())["success"]
            heard.set()
            told = json.loads(await response.content.readline())
    assert (told["code"], told["success"]) == ("body_too_large", False)
    assert (await queue.counts()).waiting == 1


@pytest.mark.parametrize("drip", [b"", b" ", b"\n"])
async def test_no_line_for_too_long_ends_it(
    serve: Serve, issuance: dict[str, Any], drip: bytes
) -> None:
    async with serve(GatewaySettings(host="127.0.0.1", port=0, body_timeout_s=0.05)) as http:

        async def lines() -> AsyncIterator[bytes]:
            yield line(issuance)
            while drip:
                yield drip
                await asyncio.sleep(0.005)
            await asyncio.Event().wait()

        async with http.post(JOBS, data=lines(), headers=LINES) as response:
            answers = [json.loads(one) for one in (await response.read()).splitlines()]
    assert [one.get("code") for one in answers] == [None, "body_timeout"]


async def test_lines_under_a_key_go_on_where_they_were_cut_off(
    http: ClientSession, queue: Queue, issuance: dict[str, Any]
) -> None:
    body = b"".join(line(issuance, name=f"n{n}") for n in range(5))
    key = {"Idempotency-Key": "import"}
    _, first = await send(http, b"".join(body.splitlines(keepends=True)[:3]), **key)
    async with http.post(JOBS, data=body, headers=LINES | key) as response:
        assert response.headers["Idempotency-Replayed"] == "true"
        answers = [json.loads(one) for one in (await response.read()).splitlines()]
    assert answers[:3] == first
    assert [one["success"] for one in answers] == [True] * 5
    assert (await queue.counts()).waiting == 5

    _, answers = await send(http, line(issuance, name="other") + line(issuance, name="n1"), **key)
    assert [one.get("code") for one in answers] == ["idempotency_key_reused", None]
    status, told = await send(http, line(issuance), **{"Idempotency-Key": "a b"})
    assert (status, told[0]["code"]) == (400, "invalid_idempotency_key")
    assert (await queue.counts()).waiting == 5


@pytest.mark.parametrize(
    ("headers", "code"), [({"Content-Encoding": "gzip"}, "unsupported_encoding")]
)
async def test_what_lines_do_not_have(
    http: ClientSession, issuance: dict[str, Any], headers: dict[str, str], code: str
) -> None:
    _, answers = await send(http, line(issuance), **headers)
    assert answers[0]["code"] == code


async def test_no_lines(http: ClientSession) -> None:
    assert await send(http, b"") == (200, [])


async def test_memory_does_not_grow_with_the_lines(
    http: ClientSession, issuance: dict[str, Any]
) -> None:
    some = line(issuance, name="x" * 200) * 100

    async def peak_of(count: int) -> int:
        async def lines() -> AsyncIterator[bytes]:
            for _ in range(count // 100):
                yield some

        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        answered = 0
        async with http.post(JOBS, data=lines(), headers=LINES) as response:
            async for one in response.content:
                answered += one.startswith(b'{"success":true')
        peak = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
        assert answered == count
        return peak

    await send(http, some)
    assert await peak_of(16_000) < 2 * await peak_of(4_000)
