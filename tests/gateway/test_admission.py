"""What one turn of the event loop takes on, when many knock at once."""

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import orjson
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway import admission
from gateway.admission import Admission, Door, bind
from gateway.app import create_app
from gateway.server import listening
from gateway.settings import GatewaySettings
from streams import Queue, Redis
from tests.gateway.samples import ISSUANCE

BODY = orjson.dumps({"data": ISSUANCE})
POST = b"POST /queue/vc-issuance/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
POST += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
GET = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
MANY = 60


class Turns:
    """Counts the turns of the loop, without end."""

    def __init__(self) -> None:
        self.number = 0
        self._again = True

    def run(self) -> None:
        self.number += 1
        if self._again:
            asyncio.get_running_loop().call_soon(self.run)

    def stop(self) -> None:
        self._again = False


async def _talk(port: int, words: bytes, together: asyncio.Barrier) -> bytes:
    """On a connection that has been served before, so that nobody still comes in at the door."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET.replace(b"Connection: close\r\n", b""))
    head = await reader.readuntil(b"\r\n\r\n")
    (length,) = [line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: ")]
    await reader.readexactly(int(length.partition(b": ")[2]))
    await together.wait()
    writer.write(words)
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_turn_takes_up_few_of_many_submissions_and_a_look_does_not_stand_behind_them(
    redis: Redis, queue: Queue
) -> None:
    app = create_app(redis, GatewaySettings(host="127.0.0.1", port=0))
    turns, seen = Turns(), list[tuple[str, int]]()

    @web.middleware
    async def note(request: web.Request, handler: Handler) -> web.StreamResponse:
        seen.append((request.method, turns.number))
        return await handler(request)

    app.middlewares.insert(0, note)
    together = asyncio.Barrier(MANY + 2)
    async with listening(app) as (_, port):
        words = [*[POST] * MANY, GET]
        talks = [asyncio.create_task(_talk(port, one, together)) for one in words]
        await together.wait()
        seen.clear()
        turns.run()
        answers = await asyncio.gather(*talks)
        turns.stop()
    assert {answer.split(b"\r\n")[0] for answer in answers[:-1]} == {b"HTTP/1.1 202 Accepted"}
    assert answers[-1].startswith(b"HTTP/1.1 200 OK")
    assert (await queue.counts()).waiting == MANY
    in_one_turn = Counter(turn for method, turn in seen if method == "POST")
    # A step that is late by a turn may meet the next ones: twice as many, and never more.
    assert max(in_one_turn.values()) <= 2 * admission.CHANGES_PER_TURN
    assert [method for method, _ in seen].index("GET") < MANY // 2


async def test_what_waits_goes_in_order_and_what_was_begun_goes_first() -> None:
    taken, gate = list[str](), Admission(changes_per_turn=1)

    def step(name: str) -> Callable[[], None]:
        return lambda: taken.append(name)

    assert gate.enters(b"POST /a", step("never called: it went at once"))
    for name in ("b", "c"):
        assert not gate.enters(b"POST", step(name))
    gate.goes_on(step("answer"))
    assert gate.enters(b"GET /x", step("never called either")), "a lane of its own"
    assert taken == []
    for expected in (["answer"], ["answer", "b"], ["answer", "b", "c"]):
        await asyncio.sleep(0)
        assert taken == expected
    await asyncio.sleep(0)
    assert gate.enters(b"POST", step("unused")), "when nobody waits, nobody is made to wait"
    await asyncio.sleep(0)
    gate.goes_on(step("at once"))
    assert taken[-1] == "at once"


async def test_while_somebody_looks_a_turn_takes_up_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "LOOKED_S", 1e9)
    for looks, expected in ((False, [4, 8]), (True, [1, 2])):
        taken, gate = list[int](), Admission(changes_per_turn=4)
        if looks:
            assert gate.enters(b"GET /livez", lambda: None)
        for number in range(16):  # four enter at once
            gate.enters(b"POST /a", partial(taken.append, number))
        for count in expected:
            await asyncio.sleep(0)
            assert taken == list(range(4, 4 + count))


async def test_every_other_turn_lets_somebody_in() -> None:
    turns, came = Turns(), list[int]()

    class Listening(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            accepted = super().accept()
            came.append(turns.number)
            return accepted

    (plain,) = await bind("127.0.0.1", 0)
    listening_socket = Listening(fileno=plain.detach())
    guests = [socket.create_connection(listening_socket.getsockname()) for _ in range(5)]
    everybody = asyncio.Event()

    class Guest(asyncio.Protocol):
        def connection_lost(self, exc: BaseException | None) -> None:
            if len(came) == len(guests):
                everybody.set()

    turns.run()
    door = Door([listening_socket], Guest)
    for guest in guests:
        guest.close()
    await everybody.wait()
    turns.stop()
    door.close()
    assert all(later - sooner >= 2 for sooner, later in pairwise(came)), came


async def test_a_body_of_many_jobs_does_not_keep_others_at_the_door() -> None:
    taken, gate = list[str](), Admission(changes_per_turn=1)
    assert gate.enters(b"POST", lambda: None)
    for number in range(3):
        gate.goes_on(lambda number=number: taken.append(f"line {number}"))
    for name in ("a", "b"):
        assert not gate.enters(b"POST", lambda name=name: taken.append(name))
    while len(taken) < 5:
        await asyncio.sleep(0)
    assert taken == ["line 0", "a", "line 1", "b", "line 2"]


async def test_a_request_waits_unread_and_is_taken_up_whole(
    redis: Redis, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, asked = list[Callable[[], None]](), asyncio.Event()

    def waits(_: Admission, begin: bytes, step: Callable[[], None]) -> bool:
        assert begin == POST[:20]
        steps.append(step)
        asked.set()
        return False

    monkeypatch.setattr(Admission, "enters", waits)
    app = create_app(redis, GatewaySettings(host="127.0.0.1", port=0))
    async with listening(app) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST[:20])
        await asked.wait()
        writer.write(POST[20:])
        assert (await queue.counts()).waiting == 0
        monkeypatch.setattr(Admission, "enters", lambda *_: True)
        steps.pop()()
        assert (await reader.read()).startswith(b"HTTP/1.1 202")
        writer.close()
    assert (await queue.counts()).waiting == 1


async def test_without_room_for_connections_the_door_opens_again_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(admission, "PAUSE_S", 0.0)
    came = asyncio.Event()

    class Guest(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            came.set()
            transport.close()

    class Full(socket.socket):
        refusals = 1

        def accept(self) -> tuple[socket.socket, object]:
            if self.refusals:
                self.refusals -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    (plain,) = await bind("127.0.0.1", 0)
    listening_socket = Full(fileno=plain.detach())
    door = Door([listening_socket], Guest)
    _, writer = await asyncio.open_connection(*door.address)
    await came.wait()
    assert "no room for connections" in caplog.text
    writer.close()
    door.close()
    door.close()


async def test_a_name_with_an_address_that_is_not_here_is_bound_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()

    async def both(_host: str, port: int, **_: object) -> list[object]:
        kind = socket.SOCK_STREAM
        return [
            (socket.AF_INET, kind, 6, "", ("192.0.2.1", port)),
            (socket.AF_INET, kind, 6, "", ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(loop, "getaddrinfo", both)
    (bound,) = await bind("localhost", 0)
    assert bound.getsockname()[0] == "127.0.0.1"
    with pytest.raises(OSError, match="in use"):
        await bind("localhost", bound.getsockname()[1])
    bound.close()
