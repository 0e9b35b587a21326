"""Event streams by position, and the stream of all queues: in order, and everything once."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams import Queue, Redis, connect
from streams.errors import Refused
from streams.keys import all_events
from streams.live import (
    START,
    Events,
    Happening,
    Page,
    Position,
    Watch,
    merge,
    merged_up_to,
    read_together,
)
from streams.scripts import RECORDS

QUEUES = ("a", "b")
KEY = "cs:{a}:events"


def tell(raw: Any, *events: str, **more: Any) -> list[Position]:
    return [Position.parse(raw.xadd(KEY, {"e": event, "i": "x y", **more})) for event in events]


async def test_a_stream_that_was_never_written_is_empty(redis: Redis) -> None:
    events = Events(redis, "a")
    assert await events.last() == START
    assert await events.since(START) == Page(False, START, [])
    assert (await events.since(Position(1, 0))).gap, "the one of this position was another stream"


async def test_entries_are_read_as_they_were_written(redis: Redis, raw: Any) -> None:
    (at,) = tell(raw, "cleaned", n=3, s="failed")
    page = await Events(redis, "a").since(START)
    assert page.found == [Happening(at, "a", "cleaned", ("x", "y"), (("n", "3"), ("s", "failed")))]
    assert page.last == at


async def test_pages_follow_each_other(redis: Redis, raw: Any) -> None:
    told = tell(raw, *(f"e{n}" for n in range(10)))
    events, at, found = Events(redis, "a"), START, list[Happening]()
    while (page := await events.since(at, 3)).found:
        assert not page.gap
        found += page.found
        at = page.last
    assert [one.at for one in found] == told
    assert page == Page(False, told[-1], [])


async def test_a_gap_is_told_iff_something_behind_the_position_was_trimmed(
    redis: Redis, raw: Any
) -> None:
    told, events = tell(raw, *"abcdef"), Events(redis, "a")
    for at in (START, *told):
        assert not (await events.since(at)).gap
    raw.xtrim(KEY, maxlen=2, approximate=False)
    for at in (START, *told[:3]):
        page = await events.since(at)
        assert page.gap
        assert [one.event for one in page.found] == ["e", "f"]
    for at in told[4:]:
        assert not (await events.since(at)).gap
    raw.xtrim(KEY, maxlen=0, approximate=False)
    for at in (START, *told[:-1]):
        assert await events.since(at) == Page(True, told[-1], [])
    assert await events.since(told[-1]) == Page(False, told[-1], [])
    beyond = Position(told[-1].ms, told[-1].seq + 1)
    assert (await events.since(beyond)).gap
    assert (await events.since(Position(2**64 - 1, 2**64 - 1))).gap


async def test_a_key_of_another_type_is_refused(redis: Redis, raw: Any) -> None:
    raw.set(KEY, "x")
    with pytest.raises(Refused):
        await Events(redis, "a").since(START)
    with pytest.raises(Refused):
        await Events(redis, "a").last()


async def test_a_watch_waits_for_what_comes_next(redis: Redis, raw: Any, redis_kind: str) -> None:
    watch = Watch(redis, block_ms=60_000)
    events = {name: Events(redis, name) for name in QUEUES}
    asked = dict.fromkeys(events.values(), START)
    if redis_kind == "cluster":
        asked = {events["a"]: START}
    assert read_together(redis) is (redis_kind != "cluster")
    reading = asyncio.create_task(watch.read(asked))
    await asyncio.sleep(0)
    (at,) = tell(raw, "paused")
    found = await reading
    assert {one.queue: [h.at for h in heard] for one, heard in found.items()} == {"a": [at]}
    await watch.close()


async def test_a_watch_can_be_interrupted(redis: Redis, redis_kind: str) -> None:
    if redis_kind == "cluster":
        pytest.skip("a cluster needs no interruption: every watch has one stream for good")
    watch = Watch(redis, block_ms=60_000)
    await watch.unblock()  # before there is a connection: nothing to interrupt
    reading = asyncio.create_task(watch.read({Events(redis, "a"): START}))
    while not reading.done():
        await watch.unblock()
        await asyncio.sleep(0.001)
    assert await reading == {}
    await watch.close()


async def test_a_merge_counts_once(redis: Redis, raw: Any) -> None:
    told = tell(raw, "added", "active", n=1)
    page = await Events(redis, "a").since(START)
    assert await merged_up_to(redis, "a") == START
    for _ in range(2):  # the second is a repetition: its first reply was lost
        assert await merge(redis, "a", START, page) == told[1]
    assert await merged_up_to(redis, "a") == told[1]
    merged = (await Events(redis, None).since(START)).found
    assert [(one.queue, one.event, one.jobs) for one in merged] == [
        ("a", "added", ("x", "y")),
        ("a", "active", ("x", "y")),
    ]
    assert [dict(one.more)["t"] for one in merged] == [str(at.ms) for at in told]


async def test_a_gap_has_a_place_in_the_stream_of_all(redis: Redis, raw: Any) -> None:
    tell(raw, *"abcdef")
    raw.xtrim(KEY, maxlen=1, approximate=False)
    await merge(redis, "a", START, await Events(redis, "a").since(START))
    merged = (await Events(redis, None).since(START)).found
    assert [(one.queue, one.event, one.jobs) for one in merged] == [
        ("a", "gap", ()),
        ("a", "f", ("x", "y")),
    ]


@pytest.mark.parametrize("name", ["events", "cursors"])
async def test_a_merge_into_a_key_of_another_type_writes_nothing(
    redis: Redis, raw: Any, name: str
) -> None:
    tell(raw, "added")
    page = await Events(redis, "a").since(START)
    raw.set(all_events()[name], "x")
    with pytest.raises(Refused):
        await merge(redis, "a", START, page)
    at = all_events()
    assert [key for key in at.by_name if raw.exists(at[key])] == [name]


def test_the_words_of_the_merge() -> None:
    assert RECORDS["merge_events"].replies == {b"OK", b"SKIP"}


async def test_no_queue_can_be_called_like_the_stream_of_all(redis: Redis) -> None:
    assert Queue("all", redis).store.keys["events"] != all_events()["events"]


@dataclass
class Gateway:
    """One of several that bring the queues together; it may die and forget."""

    at: dict[str, Position] = field(default_factory=dict)
    page: dict[str, Page] = field(default_factory=dict)


step = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(QUEUES), st.integers(1, 3)),
    st.tuples(st.just("look"), st.integers(0, 1), st.sampled_from(QUEUES), st.integers(1, 4)),
    st.tuples(st.just("bring"), st.integers(0, 1), st.sampled_from(QUEUES)),
    st.tuples(st.just("die"), st.integers(0, 1)),
    st.tuples(st.just("read"), st.integers(1, 4), st.integers(0, 4)),
    st.tuples(st.just("race"), st.sampled_from(QUEUES)),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(step, min_size=30, max_size=90),
    clocks=st.tuples(*[st.integers(-3, 3)] * len(QUEUES)),
)
def test_all_queues_in_one_stream_whatever_happens(
    redis_url: str, raw: Any, steps: list[Any], clocks: tuple[int, ...]
) -> None:
    """Clocks that differ and stand still, gateways that race, repeat themselves and die, a client
    that reconnects anywhere: it hears all that happened in each queue, in order and once."""
    at = all_events()
    for key in (*(f"cs:{{{name}}}:events" for name in QUEUES), at["events"], at["cursors"]):
        raw.delete(key)
    asyncio.run(Life(redis_url, raw, dict(zip(QUEUES, clocks, strict=True))).live(steps))


class Life:
    """Two gateways, one client."""

    def __init__(self, url: str, raw: Any, clocks: dict[str, int]) -> None:
        self.redis = connect(url)
        self.raw = raw
        self.clock = {name: 1_000 + ahead for name, ahead in clocks.items()}
        self.written: dict[str, list[str]] = {name: [] for name in QUEUES}
        self.heard: dict[str, list[str]] = {name: [] for name in QUEUES}
        self.ids: list[Position] = [START]
        self.gateways = [Gateway(), Gateway()]

    async def live(self, steps: list[Any]) -> None:
        for name, *args in steps:
            await getattr(self, name)(*args)
        for queue in QUEUES:
            await self.die(0)
            await self.look(0, queue, 10_000)
            await self.bring(0, queue)
        await self.read(10_000, 10_000)
        assert self.heard == self.written
        assert self.ids == sorted(set(self.ids))
        await self.redis.close()

    async def write(self, queue: str, count: int) -> None:
        for _ in range(count):
            seq, number = len(self.written[queue]), f"{queue}{len(self.written[queue])}"
            self.clock[queue] += seq % 2  # often several in one millisecond
            entry = f"{self.clock[queue]}-{seq}"
            self.raw.xadd(f"cs:{{{queue}}}:events", {"e": "added", "i": number}, id=entry)
            self.written[queue].append(number)

    async def look(self, gateway: int, queue: str, most: int) -> None:
        one = self.gateways[gateway]
        if queue not in one.at:
            one.at[queue] = await merged_up_to(self.redis, queue)
        one.page[queue] = await Events(self.redis, queue).since(one.at[queue], most)

    async def bring(self, gateway: int, queue: str) -> None:
        """What it saw a while ago; perhaps for the second time, for it keeps the page."""
        one = self.gateways[gateway]
        if queue in one.page:
            begin = one.at[queue]
            one.at[queue] = await merge(self.redis, queue, begin, one.page[queue])
            if one.at[queue] != begin:
                del one.page[queue]

    async def race(self, queue: str) -> None:
        """Both have seen the same and bring it."""
        for gateway in (0, 1):
            await self.look(gateway, queue, 3)
        for gateway in (1, 0):
            await self.bring(gateway, queue)

    async def die(self, gateway: int) -> None:
        self.gateways[gateway] = Gateway()

    async def read(self, arrived: int, kept: int) -> None:
        """It comes back with the last id it has; of what arrives it keeps the beginning."""
        page = await Events(self.redis, None).since(self.ids[-1], arrived)
        assert not page.gap
        for one in page.found[:kept]:
            self.heard[one.queue] += one.jobs
            self.ids.append(one.at)
