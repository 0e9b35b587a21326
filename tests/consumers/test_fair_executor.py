"""Long computations: requesters take turns, and each has one thread at a time."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from consumers.turns import FairExecutor
from credentials.requester import Requester, acting_for


class Gates:
    """Computations that run until they are let go, and the order in which they began."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.gate = threading.Semaphore(0)

    def computation(self, name: str) -> Callable[[], str]:
        def compute() -> str:
            self.began.append(name)
            self.gate.acquire()
            return name

        return compute


async def run_as(executor: FairExecutor, name: str, compute: Callable[[], str]) -> str:
    with acting_for(Requester(name)):
        return await executor.run_long(compute)


async def settled(gates: Gates, count: int) -> list[str]:
    while len(gates.began) < count:
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    return list(gates.began)


async def test_one_requester_has_one_thread_and_the_next_one_has_the_other() -> None:
    executor, gates = FairExecutor(threads=2), Gates()
    mine = [
        asyncio.create_task(run_as(executor, "a", gates.computation(f"a{n}"))) for n in range(5)
    ]
    assert await settled(gates, 1) == ["a0"]
    other = asyncio.create_task(run_as(executor, "b", gates.computation("b0")))
    assert await settled(gates, 2) == ["a0", "b0"]
    for _ in range(6):
        gates.gate.release()
    assert await other == "b0"
    assert await asyncio.gather(*mine) == [f"a{n}" for n in range(5)]
    executor.close()


async def test_requesters_take_turns() -> None:
    executor, gates = FairExecutor(threads=1), Gates()
    tasks = [
        asyncio.create_task(run_as(executor, name, gates.computation(f"{name}{n}")))
        for name in ("a", "b", "c")
        for n in range(3)
    ]
    for _ in range(9):
        gates.gate.release()
    await asyncio.gather(*tasks)
    assert gates.began == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]
    executor.close()


async def test_a_cancelled_one_keeps_no_turn() -> None:
    executor, gates = FairExecutor(threads=1), Gates()
    running, waiting, last = (
        asyncio.create_task(run_as(executor, "a", gates.computation(f"a{n}"))) for n in range(3)
    )
    await settled(gates, 1)
    waiting.cancel()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    # Its thread is still busy: nothing else begins.
    assert await settled(gates, 1) == ["a0"]
    gates.gate.release()
    gates.gate.release()
    assert await last == "a2"
    assert gates.began == ["a0", "a2"]
    executor.close()


async def test_what_one_raises_ends_its_turn() -> None:
    executor = FairExecutor(threads=1)

    def fail() -> str:
        raise ValueError("told to")

    with pytest.raises(ValueError, match="told to"):
        await run_as(executor, "a", fail)
    assert await run_as(executor, "a", lambda: "done") == "done"
    executor.close()
