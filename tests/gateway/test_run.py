"""A real gateway process: where it binds, and how it ends."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import orjson
import pytest
from aiohttp import ClientConnectorError, ClientSession

from streams import Queue, Redis
from tests.gateway.samples import ISSUANCE

PROGRAM = """
import logging
logging.basicConfig(level=logging.INFO)
from gateway.run import run
from gateway.settings import GatewaySettings
run(GatewaySettings())
"""
BODY = orjson.dumps({"data": ISSUANCE})
HEAD = (
    b"POST /queue/vc-issuance/jobs HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
LISTENS = re.compile(r"listens on http://\S+:(\d+)")


class Gateway:
    """One process and what it said up to its port."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    async def port(self) -> int:
        """The port it listens on; fails with its output when it ends instead."""
        assert self.process.stderr is not None
        while line := (await self.process.stderr.readline()).decode():
            self.said += line
            if found := LISTENS.search(line):
                return int(found[1])
        raise AssertionError(self.said)

    async def end(self) -> tuple[int, str]:
        """Its exit status and everything it said."""
        assert self.process.stderr is not None
        self.said += (await self.process.stderr.read()).decode()
        return await self.process.wait(), self.said


Start = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def start(redis_url: str) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def starting(**env: str) -> Gateway:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", PROGRAM),
                env={**os.environ, "REDIS_URL": redis_url, "PORT": "0", **env},
                stderr=asyncio.subprocess.PIPE,
            )
            stack.push_async_callback(_stop, process)
            return Gateway(process)

        yield starting


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.communicate()


async def test_sigterm_finishes_what_is_in_flight_and_exits_0(start: Start, redis: Redis) -> None:
    gateway = await start()
    port = await gateway.port()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + HEAD % len(BODY) + BODY[:50])
    # Once the first answer is here, the second request is being read.
    assert (await reader.readuntil(b"}}")).startswith(b"HTTP/1.1 200")

    gateway.process.send_signal(signal.SIGTERM)
    await _refused(port)
    writer.write(BODY[50:])
    answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 202")
    assert b"Connection: close" in answer
    assert (await gateway.end())[0] == 0
    assert (await Queue("vc-issuance", redis).counts()).waiting == 1


async def test_an_open_connection_may_send_one_last_request(start: Start) -> None:
    gateway = await start()
    port = await gateway.port()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"Connection: close" not in await reader.readuntil(b"}}")

    gateway.process.send_signal(signal.SIGTERM)
    await _refused(port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = await reader.read()
    writer.close()

    assert answer.startswith(b"HTTP/1.1 503")
    assert b'"code":"not_ready"' in answer
    assert b"Connection: close" in answer
    assert (await gateway.end())[0] == 0


async def test_a_second_sigterm_waits_for_nothing(start: Start) -> None:
    gateway = await start(SHUTDOWN_TIMEOUT_S="3600")
    port = await gateway.port()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + HEAD % len(BODY) + BODY[:50])
    await reader.readuntil(b"}}")
    gateway.process.send_signal(signal.SIGTERM)
    await _refused(port)
    gateway.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(60):  # the rest of the body never comes
        status, said = await gateway.end()
    writer.close()
    assert status == 0
    assert "Traceback" not in said


async def test_no_request_is_lost_when_it_stops_under_load(start: Start, redis: Redis) -> None:
    gateway = await start()
    port = await gateway.port()
    stored: list[str] = []
    busy = asyncio.Event()

    async def client(http: ClientSession) -> None:
        while True:
            try:
                async with http.post(
                    f"http://localhost:{port}/queue/vc-issuance/jobs",
                    data=BODY,
                    headers={"Content-Type": "application/json"},
                ) as response:
                    assert response.status == 202
                    stored.append((await response.json())["data"]["id"])
            except ClientConnectorError:
                return  # it was never sent: nobody listens any more
            if len(stored) > 100:
                busy.set()

    async with ClientSession() as http:
        clients = [asyncio.create_task(client(http)) for _ in range(20)]
        await busy.wait()
        gateway.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*clients)
    assert (await gateway.end())[0] == 0
    assert (await Queue("vc-issuance", redis).counts()).waiting == len(set(stored)) == len(stored)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_gateway_ends_and_says_nothing_wrong(
    start: Start, sign: signal.Signals
) -> None:
    gateway = await start()
    port = await gateway.port()
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    gateway.process.send_signal(sign)
    status, said = await gateway.end()
    writer.close()
    assert status == 0
    assert "Traceback" not in said
    assert not [line for line in said.splitlines() if "WARNING" in line and "durab" not in line]
    assert "ERROR" not in said


async def test_requests_are_not_logged(start: Start) -> None:
    gateway = await start()
    port = await gateway.port()
    for path, status in [("/queue/stats?secret=1", 200), ("/secret", 404)]:
        assert await _status(port, path) == status
    gateway.process.terminate()
    _, said = await gateway.end()
    assert "secret" not in said


async def test_it_does_not_start_beyond_loopback_without_the_users_word(start: Start) -> None:
    gateway = await start(HOST="0.0.0.0")
    status, said = await gateway.end()
    assert status != 0
    assert "ALLOW_INSECURE=true" in said

    gateway = await start(HOST="0.0.0.0", ALLOW_INSECURE="true")
    await gateway.port()
    gateway.process.terminate()
    status, said = await gateway.end()
    assert status == 0
    assert "ERROR" in said
    assert "ALLOW_INSECURE" in said


async def test_it_starts_without_redis_and_is_not_ready(start: Start) -> None:
    gateway = await start(REDIS_URL="unix:///nonexistent/socket")
    port = await gateway.port()
    for path, status in [("/livez", 200), ("/readyz", 503), ("/queue/stats", 503)]:
        assert await _status(port, path) == status
    gateway.process.terminate()
    assert (await gateway.end())[0] == 0


async def test_processes_share_a_port(start: Start) -> None:
    first = await start(REUSE_PORT="true")
    port = await first.port()
    second = await start(REUSE_PORT="true", PORT=str(port))
    assert await second.port() == port
    first.process.terminate()
    assert (await first.end())[0] == 0
    assert await _status(port, "/livez") == 200


async def test_an_address_in_use_is_an_error(start: Start) -> None:
    first = await start()
    second = await start(PORT=str(await first.port()))
    status, said = await second.end()
    assert status != 0
    assert "in use" in said


async def _status(port: int, path: str) -> int:
    url = f"http://localhost:{port}{path}"
    async with ClientSession() as http, http.get(url) as response:
        return response.status


async def _refused(port: int) -> None:
    """Returns when nothing listens on `port` any more."""
    while True:
        with socket.socket() as probe:
            probe.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(probe, ("127.0.0.1", port))
            except ConnectionError:
                return
