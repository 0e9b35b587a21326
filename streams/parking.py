"""Parked jobs: each waits for a gate (a destination of webhooks) until there is room behind it.

A parked job is a delayed one that is due at the end of its longest wait, and stands in the line of
its gate. Who finds room makes the first of the line due at once. Whoever dies in between loses
nothing: the gates are looked at again and again, and each job becomes due by itself in the end.
"""

from collections.abc import Sequence
from typing import NamedTuple

from streams import keys
from streams.connection import Redis
from streams.destinations import Rules
from streams.store import Store, change

GATES_A_CALL = 20
HELD_MS = 5_000
"""For so long a gate that somebody looks at is not given to others."""
LONGEST_MS = 60_000
"""No look is further ahead."""
LOOK_MS = 1_000
"""When to look again at a gate whose jobs are made due as others end."""


class Due(NamedTuple):
    """Gates to look at, each with the number of jobs parked there."""

    gates: Sequence[tuple[str, int]]
    next_ms: int
    """Until the next one's time comes, `LONGEST_MS` at most."""


class Parking:
    """The parked jobs of one queue."""

    def __init__(self, redis: Redis, queue: str) -> None:
        self._store = Store(redis, queue)
        self._keys = self._store.keys

    async def due(self) -> Due:
        """Gates whose time to be looked at has come. They are the caller's for `HELD_MS`."""
        reply = await self._store.call(
            "gates", most=GATES_A_CALL, held_ms=HELD_MS, longest_ms=LONGEST_MS
        )
        gates = [
            (name.decode(), count) for name, count in zip(reply[2::2], reply[3::2], strict=True)
        ]
        return Due(gates, LONGEST_MS if reply[1] < 0 else int(reply[1]))

    async def release(self, gate: str, most: int, look_ms: int) -> tuple[int, bool]:
        """Make at most `most` jobs due, those added first first; say how many, and whether others
        are left. The gate is looked at again after `look_ms`."""
        reply = await self._store.call("unpark", gate=gate, most=most, look_ms=look_ms)
        return int(reply[1]), bool(reply[2])

    async def look_soon(self, gate: str) -> None:
        """Have a gate looked at now: something about it has changed."""
        await self._store.redis.command(
            b"ZADD", self._keys["gates"], b"XX", 0, gate, key=self._keys.prefix
        )

    async def place(self, gate: str, job_id: str, added: str, due_ms: int) -> int | None:
        """How many parked jobs stand before a delayed one; None: it is not parked there."""
        line, first = self._keys["parked"], f"[{gate}:"
        member = f"{gate}:{added}:{due_ms}:{job_id}"
        found, ahead = await self._store.redis.run(
            self._keys.prefix,
            (b"ZSCORE", line, member),
            (b"ZLEXCOUNT", line, first, f"({member}"),
        )
        return None if found is None else int(ahead)


async def look(
    redis: Redis, identifier: str, parked: int, rules: Rules, *, unused: int = 0
) -> tuple[int, int]:
    """How many of the jobs that are parked for a destination may come now (their places are kept
    for them), and in how many ms to look again. `unused`: places that were kept for nobody."""
    reply = await change(
        redis,
        keys.destination(identifier),
        "dest_look",
        count=parked,
        unused=unused,
        **rules.limits(),
        open_ms=rules.open_ms,
        forget_ms=rules.forget_ms,
    )
    return int(reply[1]), int(reply[2])
