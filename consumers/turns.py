"""Short computations of many jobs, one in each round of the event loop.

Signing takes a fraction of a millisecond, too little for a thread. But when a thousand jobs are
ready at once, the loop would run them all before it looks at anything else: no lease renewed, no
signal heard for as long as they take together.
"""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Turns:
    """Where jobs wait for their turn. Of one event loop."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(*args)`, in a round of the loop in which no other one of these runs."""
        async with self._turn:
            # Held across a round: a lock that is free again at once would let everybody through.
            await asyncio.sleep(0)
            return function(*args, **kwargs)
