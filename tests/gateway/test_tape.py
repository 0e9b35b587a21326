"""Tapes: whoever follows one hears everything once, whatever becomes of the reading."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import tape as tapes
from gateway.tape import Ended, Reader, Tape
from streams import Queue, Redis, connect
from streams.live import START, Events, Position, Watch

KEY = "cs:{a}:events"
step = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 8)),
    st.tuples(st.just("fill"), st.integers(1, 5)),
    st.tuples(st.just("lose")),
    st.tuples(st.just("follow"), st.integers(0, 2)),
    st.tuples(st.just("join"), st.integers(0, 2)),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(step, max_size=50))
def test_followers_hear_everything_once(redis_url: str, raw: Any, steps: list[Any]) -> None:
    """A tape of five entries that is filled now and then, and whose reader loses connections."""
    raw.delete(KEY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tapes, "KEPT", 5)
        asyncio.run(Life(redis_url, raw).live(steps))


class Life:
    """A stream, its tape, three followers."""

    def __init__(self, url: str, raw: Any) -> None:
        self.redis, self.raw = connect(url), raw
        self.tape = Tape(Events(self.redis, "a"))
        self.written: list[str] = []
        self.at: list[Position] = [START] * 3
        self.begun: list[int] = [0] * 3
        self.heard: list[list[str]] = [[], [], []]

    async def live(self, steps: list[Any]) -> None:
        for name, *args in steps:
            await getattr(self, name)(*args)
        for who in range(3):
            while self.begun[who] + len(self.heard[who]) < len(self.written):
                await self.follow(who)
            assert self.heard[who] == self.written[self.begun[who] :]
        await self.redis.close()

    async def write(self, count: int) -> None:
        for _ in range(count):
            self.written.append(str(len(self.written)))
            self.raw.xadd(KEY, {"e": "added", "i": self.written[-1]})

    async def fill(self, most: int) -> None:
        """What the reader does."""
        if self.tape.head is None:
            self.tape.start(await self.tape.events.last())
        elif found := (await self.tape.events.since(self.tape.head, most)).found:
            self.tape.put(found)

    async def lose(self) -> None:
        self.tape.stop()

    async def join(self, who: int) -> None:
        """Leaves and comes back as a new client."""
        self.at[who] = await self.tape.events.last()
        self.begun[who], self.heard[who] = len(self.written), []

    async def follow(self, who: int) -> None:
        task = asyncio.create_task(self.tape.next(self.at[who]))
        for _ in range(1_000):
            if task.done() or self.begun[who] + len(self.heard[who]) >= len(self.written):
                break
            await self.fill(10)  # it may lie behind what it knows, and wait for the reader
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            return
        page = task.result()
        assert not page.gap
        self.heard[who] += [job for one in page.found for job in one.jobs]
        self.at[who] = page.last


async def test_nothing_is_read_when_nobody_listens(
    redis: Redis, raw: Any, monkeypatch: pytest.MonkeyPatch, redis_kind: str
) -> None:
    if redis_kind == "cluster":
        pytest.skip("the connections are on several nodes")
    monkeypatch.setattr(tapes, "LINGER_S", 0.0)
    reader, queue = Reader(redis), Queue("a", redis)
    for _ in range(2):
        with reader.follow("a") as tape:
            at = await tape.now()
            await queue.pause()
            assert (await tape.next(at)).found[0].event == "paused"
        await queue.resume()
        while tape.head is not None:
            await asyncio.sleep(0.001)
    while any(one["cmd"] == "xread" for one in raw.client_list()):
        await asyncio.sleep(0.001)
    await reader.close()


async def test_a_tape_that_joins_later_is_read_soon(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while a read without it waits, which would not end by itself."""
    monkeypatch.setattr(tapes, "Watch", lambda redis: Watch(redis, block_ms=600_000))
    reader = Reader(redis)
    with reader.follow("a") as first:
        while first.head is None:
            await asyncio.sleep(0.001)
        with reader.follow("b") as second:
            while second.head is None:
                await asyncio.sleep(0.001)
    await reader.close()


async def test_a_stream_that_outran_the_reader_is_caught_up(
    redis: Redis, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More entries came at once than one read takes: some may have been cut off unseen."""
    reader = Reader(redis)
    with reader.follow("a") as tape:
        while tape.head is None:
            await asyncio.sleep(0.001)
        at = await tape.now()
        pipe = raw.pipeline(transaction=False)
        for number in range(1_500):
            pipe.xadd(KEY, {"e": "added", "i": str(number)})
        pipe.xtrim(KEY, maxlen=600, approximate=False)
        pipe.execute()
        page = await tape.next(at)
        while not page.gap:
            page = await tape.next(page.last)
        heard = [job for one in page.found for job in one.jobs]
        while len(heard) < 600:
            page = await tape.next(page.last)
            heard += [job for one in page.found for job in one.jobs]
            assert not page.gap
    assert heard == [str(number) for number in range(900, 1_500)]
    await reader.close()


async def test_after_the_end_nobody_waits(redis: Redis) -> None:
    reader = Reader(redis)
    with reader.follow("a") as tape:
        waiting = asyncio.create_task(tape.next(START))
        await asyncio.sleep(0)
        reader.end()
        with pytest.raises(Ended):
            await waiting
        with reader.follow("b") as other, pytest.raises(Ended):
            await other.next(START)
    await reader.close()
