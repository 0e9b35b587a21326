"""Computations of many jobs and organizations, so that none of them keeps the others waiting.

Signing takes a fraction of a millisecond, too little for a thread. But when a thousand jobs are
ready at once, the loop would run them all before it looks at anything else: no lease renewed, no
signal heard for as long as they take together. Judging by a schema takes up to half a second of a
thread: an organization with many of them must not have all threads.
"""

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from credentials.requester import current_requester

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 2


class FairExecutor:
    """Runs short computations on the event loop, one in each of its rounds, and long ones in
    threads, where requesters take turns. Of one event loop."""

    def __init__(self, threads: int = THREADS) -> None:
        self._turn = asyncio.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="computation")
        self._free = threads
        self._busy: set[str] = set()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(*args)`, in a round of the loop in which no other one of these runs."""
        async with self._turn:
            # Held across a round: a lock that is free again at once would let everybody through.
            await asyncio.sleep(0)
            return function(*args, **kwargs)

    async def run_long(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(*args)` in a thread, when it is the turn of the current requester, who has one
        thread at a time. Raises CapacityError."""
        requester = current_requester()
        requester.count_computation()
        name = requester.name
        await self._wait_for_turn(name)
        loop = asyncio.get_running_loop()

        def finished(_running: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._end_turn, name)

        running = self._pool.submit(function, *args, **kwargs)
        running.add_done_callback(finished)
        return await asyncio.wrap_future(running)

    def close(self) -> None:
        """Start nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _wait_for_turn(self, name: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, deque()).append(turn)
        self._give_turns()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._end_turn(name)
            raise

    def _give_turns(self) -> None:
        for name in list(self._waiting):
            if not self._free:
                return
            if name not in self._busy:
                self._give_turn(name)

    def _give_turn(self, name: str) -> None:
        turns = self._waiting[name]
        while turns:
            turn = turns.popleft()
            if not turn.done():  # cancelled
                turn.set_result(None)
                self._busy.add(name)
                self._free -= 1
                break
        if not turns:
            del self._waiting[name]

    def _end_turn(self, name: str) -> None:
        self._busy.discard(name)
        self._free += 1
        if name in self._waiting:
            self._waiting.move_to_end(name)
        self._give_turns()
