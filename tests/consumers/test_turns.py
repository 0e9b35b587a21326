"""FairExecutor: a thousand short computations leave room for everybody else."""

import asyncio
from itertools import pairwise

import pytest

from consumers.turns import FairExecutor


async def test_the_loop_goes_round_between_two_of_them() -> None:
    executor = FairExecutor()
    rounds = 0
    seen: list[int] = []
    done = asyncio.Event()

    async def others() -> None:
        nonlocal rounds
        while not done.is_set():
            rounds += 1
            await asyncio.sleep(0)

    watching = asyncio.create_task(others())
    await asyncio.gather(*(executor.run(lambda: seen.append(rounds)) for _ in range(50)))
    done.set()
    await watching
    assert len(seen) == 50
    assert all(later > earlier for earlier, later in pairwise(seen))


async def test_what_one_raises_stops_nobody_else() -> None:
    executor = FairExecutor()

    def fail() -> None:
        raise ValueError("told to")

    with pytest.raises(ValueError, match="told to"):
        await executor.run(fail)
    assert await executor.run(max, 1, 2) == 2


async def test_one_that_is_cancelled_lets_the_next_in() -> None:
    executor = FairExecutor()
    waiting = [asyncio.create_task(executor.run(lambda: 1)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[1].cancel()
    assert await waiting[2] == 1
