"""One handle and programs with more than one event loop."""

import asyncio
import threading

import pytest

import streams
from streams import Queue


def test_a_handle_that_was_closed_is_used_in_another_loop(redis_url: str) -> None:
    """As a script that calls `asyncio.run` twice does."""
    queue = Queue("loops", redis_url)

    async def add() -> int:
        await asyncio.gather(*(queue.add("x", {}) for _ in range(3)))
        waiting = (await queue.counts()).waiting
        await queue.redis.close()
        return waiting

    assert [asyncio.run(add()) for _ in range(3)] == [3, 6, 9]


def test_a_handle_in_two_loops_at_once_says_what_to_do(redis_url: str) -> None:
    redis = streams.connect(redis_url)
    queue = Queue("loops", redis)
    used, done = threading.Event(), threading.Event()

    async def hold() -> None:
        await queue.add("x", {})
        used.set()
        await asyncio.to_thread(done.wait)
        await queue.add("x", {})
        await redis.close()

    async def add() -> None:
        await queue.add("x", {})

    async def count() -> int:
        async with asyncio.timeout(10):
            return (await queue.counts()).waiting

    thread = threading.Thread(target=asyncio.run, args=(hold(),))
    thread.start()
    try:
        assert used.wait(10)
        with pytest.raises(RuntimeError, match=r"another event loop.*connect\(\)"):
            asyncio.run(add())
    finally:
        done.set()
        thread.join(10)

    async def look() -> int:
        try:
            return await count()
        finally:
            await redis.close()

    assert asyncio.run(look()) == 2
