"""Slow and half-sent requests do not hold a connection for long, and break nothing."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession

from gateway import strict_json
from gateway.settings import GatewaySettings
from streams import Queue, Redis
from tests.gateway.samples import ISSUANCE, Serve

HEAD = (
    b"POST /queue/vc-issuance/jobs HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
BODY = orjson.dumps({"data": ISSUANCE})


@pytest.fixture
async def impatient(serve: Serve) -> AsyncIterator[ClientSession]:
    """A gateway that waits 50 ms for bodies and 50 ms for headers."""
    settings = GatewaySettings(
        host="127.0.0.1", port=0, body_timeout_s=0.05, keepalive_timeout_s=0.05
    )
    async with serve(settings) as session:
        yield session


async def dial(http: ClientSession) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with http.get("/livez") as response:
        port = response.url.port
    return await asyncio.open_connection("127.0.0.1", port)


async def test_a_body_that_does_not_come_is_408_and_the_connection_closes(
    impatient: ClientSession, redis: Redis
) -> None:
    for beginning in (b"", BODY[:20]):
        reader, writer = await dial(impatient)
        writer.write(HEAD % len(BODY) + beginning)
        answer = await reader.readuntil(b"}")
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"Connection: close" in answer
        assert b'"code":"body_timeout"' in answer
    assert (await Queue("vc-issuance", redis).counts()).total == 0


async def test_headers_that_do_not_come_close_the_connection(impatient: ClientSession) -> None:
    for beginning in (b"", b"GET /livez HTTP/1.1\r\nHost: loc"):
        reader, writer = await dial(impatient)
        writer.write(beginning)
        assert await reader.read() == b""
        writer.close()


async def test_a_client_that_leaves_in_the_middle_of_its_body_queues_nothing(
    http: ClientSession, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await dial(http)
    writer.write(HEAD % len(BODY) + BODY[:-1])
    await writer.drain()
    writer.transport.abort()
    async with http.get("/livez") as response:
        assert response.status == 200
    assert (await Queue("vc-issuance", redis).counts()).total == 0
    assert not caplog.records


async def test_a_long_body_is_parsed_beside_the_event_loop(
    http: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long time for many brackets, in which nobody else would get an answer."""
    threads: list[int] = []
    plain = strict_json.parse

    def parse(raw: bytes, bounds: strict_json.Bounds) -> Any:
        threads.append(threading.get_ident())
        return plain(raw, bounds)

    monkeypatch.setattr(strict_json, "parse", parse)
    long = {"data": ISSUANCE | {"claims": {"a": [["x" * 20]] * 4_000}}}
    for data, status in ((orjson.dumps(long), 202), (b"[" * 70_000, 400)):
        headers = {"Content-Type": "application/json"}
        async with http.post("/queue/vc-issuance/jobs", data=data, headers=headers) as response:
            assert response.status == status
    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_pipelined_requests_are_answered_in_order(http: ClientSession) -> None:
    reader, writer = await dial(http)
    one = HEAD % len(BODY) + BODY
    last = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    writer.write(one * 20 + last)
    answers = (await reader.read()).split(b"HTTP/1.1 ")[1:]
    writer.close()
    assert [answer[:3] for answer in answers] == [b"202"] * 20 + [b"200"]
