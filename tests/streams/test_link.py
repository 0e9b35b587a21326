"""One connection and its callers: who gets which reply, and what a cut connection means."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path

import pytest
from fault_proxy import FaultProxy, calls
from processes import until
from redis.asyncio.connection import UnixDomainSocketConnection
from redis_servers import Server

from streams import connect
from streams.errors import Unavailable
from streams.link import Link, Lost
from streams.scripts import BY_SHA, SCRIPTS

ECHO = b"ECHO"


@pytest.fixture
async def proxy(own_server: Server) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(own_server.socket) as proxy:
        yield proxy


def link_to(socket: Path, timeout_s: float = 20) -> Link:
    async def connect() -> UnixDomainSocketConnection:
        return UnixDomainSocketConnection(path=str(socket), protocol=2, driver_info=None)

    return Link(connect, timeout_s)


@pytest.fixture
async def link(proxy: FaultProxy) -> AsyncIterator[Link]:
    link = link_to(proxy.socket)
    try:
        yield link
    finally:
        await link.close()


def connections(proxy: FaultProxy) -> int:
    """How many were opened: each begins with CLIENT ID."""
    return proxy.commands[b"CLIENT"]


async def test_callers_that_overlap_share_a_connection_and_get_their_own_replies(
    link: Link, proxy: FaultProxy
) -> None:
    async def ask(number: int) -> None:
        words = [str(number * 10 + n).encode() for n in range(number % 4 + 1)]
        assert await link.send(*((ECHO, word) for word in words)) == words

    await asyncio.gather(*(ask(number) for number in range(200)))
    assert connections(proxy) == 1


async def test_no_command_has_no_reply_and_waits_for_none(link: Link) -> None:
    assert await link.send() == []
    assert await asyncio.gather(link.send((ECHO, b"a")), link.send()) == [[b"a"], []]


async def test_an_error_reply_is_one_element_and_disturbs_nobody(link: Link) -> None:
    replies, after = await asyncio.gather(
        link.send((ECHO, b"a"), (b"NOSUCH",), (ECHO, b"b")), link.send((ECHO, b"c"))
    )
    assert [replies[0], replies[2], *after] == [b"a", b"b", b"c"]
    assert "unknown command" in str(replies[1])


async def test_a_cut_connection_is_lost_for_all_who_wait_and_new_for_the_next(
    link: Link, proxy: FaultProxy
) -> None:
    await link.send((ECHO, b"warm"))
    held = proxy.hold_reply(calls("ECHO"))
    waiting = [asyncio.create_task(link.send((ECHO, str(n).encode()))) for n in range(3)]
    await held.happened.wait()

    assert proxy.cut_all() == 1

    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Lost, Lost, Lost]
    assert await link.send((ECHO, b"again")) == [b"again"]
    assert connections(proxy) == 2


async def test_what_was_sent_once_is_not_sent_again(link: Link, proxy: FaultProxy) -> None:
    await link.send((ECHO, b"warm"))
    lost = proxy.drop_reply(calls("INCR"))
    with pytest.raises(Lost):
        await link.send((b"INCR", b"counter"))
    await lost.happened.wait()
    assert await link.send((b"GET", b"counter")) == [b"1"]


async def test_where_nobody_listens_it_is_unavailable_and_later_not(
    link: Link, proxy: FaultProxy
) -> None:
    proxy.refuse()
    with pytest.raises(Unavailable):
        await link.send((ECHO, b"a"))
    proxy.heal()
    assert await link.send((ECHO, b"b")) == [b"b"]


async def test_a_handshake_that_nobody_answers_ends(tmp_path: Path) -> None:
    """The test's own time limit is the bound: without one the first call would wait for ever."""
    silent = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    path = tmp_path / "s"
    async with await asyncio.start_unix_server(say_nothing, str(path)):
        link = link_to(path, timeout_s=0.1)
        for _ in range(2):
            with pytest.raises(Unavailable) as caught:
                await link.send((ECHO, b"a"))
            assert not isinstance(caught.value, Lost)
        await link.close()
        silent.set()


async def test_callers_that_wait_for_a_connection_share_the_attempt_that_fails() -> None:
    """Where an attempt takes seconds (a resolver that does not answer), one after the other would
    keep a worker from stopping for minutes."""
    attempts, knocking, over = 0, asyncio.Event(), asyncio.Event()

    async def connect() -> UnixDomainSocketConnection:
        nonlocal attempts
        attempts += 1
        knocking.set()
        await over.wait()
        raise OSError("no answer")

    link = Link(connect, 20)
    calls = [asyncio.create_task(link.send((ECHO, b"a"))) for _ in range(20)]
    await knocking.wait()
    over.set()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(end, Unavailable) and not isinstance(end, Lost) for end in ends)
    assert attempts == 2, "one was under way when most came; the next was begun for all of them"
    with pytest.raises(Unavailable):
        await link.send((ECHO, b"a"))
    assert attempts == 3


async def test_a_reply_that_does_not_come_in_time_is_lost(proxy: FaultProxy) -> None:
    link = link_to(proxy.socket, timeout_s=0.2)
    await link.send((ECHO, b"warm"))
    proxy.black_hole()
    with pytest.raises(Lost, match="in time"):
        await link.send((ECHO, b"a"))
    proxy.heal()
    assert await link.send((ECHO, b"b")) == [b"b"]
    await link.close()


async def test_a_caller_that_gave_up_does_not_shift_the_replies(
    link: Link, proxy: FaultProxy
) -> None:
    await link.send((ECHO, b"warm"))
    held = proxy.hold_reply(calls("ECHO"))
    gone = asyncio.create_task(link.send((ECHO, b"a"), (ECHO, b"b")))
    await held.happened.wait()
    staying = [asyncio.create_task(link.send((ECHO, word))) for word in (b"c", b"d")]
    await until(lambda: proxy.commands[ECHO] == 5, within_s=20, what="all have been sent")

    gone.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await gone
    held.release()

    assert await asyncio.gather(*staying) == [[b"c"], [b"d"]]
    assert connections(proxy) == 1


async def test_a_caller_that_gave_up_while_connecting_leaves_the_way_open(
    link: Link, proxy: FaultProxy
) -> None:
    held = proxy.hold_reply(calls("CLIENT"))
    gone = asyncio.create_task(link.send((ECHO, b"a")))
    await held.happened.wait()
    staying = asyncio.create_task(link.send((ECHO, b"b")))
    gone.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await gone
    held.release()
    assert await staying == [b"b"]


async def test_a_script_the_server_does_not_know_is_taught(link: Link, proxy: FaultProxy) -> None:
    known = SCRIPTS["open"]
    key = b"cs:{chaos}:meta"
    call = (b"EVALSHA", known.sha, 1, key, 1)
    assert known.keys == ("meta",)
    await link.send((b"SCRIPT", b"FLUSH"))
    first, echo, second = await link.run(call, (ECHO, b"once"), call)
    assert (first[0], echo, second[0]) == (b"OK", b"once", b"OK")
    assert proxy.commands[ECHO] == 1
    assert await link.send((b"SCRIPT", b"EXISTS", known.sha)) == [[1]]


async def test_a_script_the_server_cannot_read_is_said_to_be_that(
    link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(SCRIPTS["open"], source=b"#!lua\nnonsense", sha=b"0" * 40)
    monkeypatch.setitem(BY_SHA, broken.sha, broken)  # type: ignore[arg-type]
    (reply,) = await link.run((b"EVALSHA", broken.sha, 0))
    assert "compiling" in str(reply)


async def test_a_closed_link_fails_who_waits_and_opens_again(link: Link, proxy: FaultProxy) -> None:
    await link.send((ECHO, b"warm"))
    held = proxy.hold_reply(calls("ECHO"))
    waiting = asyncio.create_task(link.send((ECHO, b"a")))
    await held.happened.wait()
    await link.close()
    with pytest.raises(Lost):
        await waiting
    held.release()
    assert await link.send((ECHO, b"b")) == [b"b"]


async def test_a_cancellation_at_any_step_of_connecting_is_not_swallowed(
    own_server: Server,
) -> None:
    """redis-py sends through `asyncio.wait_for` where a socket timeout is set (on a cluster it is),
    and Python 3.11's returns a result that is already there instead of being cancelled."""

    async def made() -> UnixDomainSocketConnection:
        return UnixDomainSocketConnection(
            path=str(own_server.socket), protocol=2, driver_info=None, socket_timeout=20
        )

    async def ask() -> None:
        link = Link(made, 20)
        try:
            await link.send((ECHO, b"x"))
        finally:
            await link.close()

    await cancelled_at_every_step(ask)


# redis-py closes what it was discovering with only when it is not cancelled; the collector does.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_nor_is_one_while_a_cluster_is_discovered(redis_url: str) -> None:
    async def ask() -> None:
        redis = connect(redis_url)
        try:
            await (await redis.dedicated("cs:{q}:", 1)).send((b"PING",))
        finally:
            await redis.close()

    await cancelled_at_every_step(ask)


async def cancelled_at_every_step(ask: Callable[[], Coroutine[None, None, None]]) -> None:
    """Cancelled after one turn of the event loop, after two, ... until it is too late."""
    for steps in range(2_000):
        asking = asyncio.create_task(ask())
        for _ in range(steps):
            await asyncio.sleep(0)
        if not asking.cancel():
            assert steps > 1
            return
        (answer,) = await asyncio.gather(asking, return_exceptions=True)
        assert isinstance(answer, asyncio.CancelledError), f"step {steps}: {answer!r}"
    pytest.fail("it never ended")
