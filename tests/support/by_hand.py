"""A worker that a test moves step by step, and the clock of Redis."""

from typing import Any

import orjson
from processes import until

from schemas.job import State
from schemas.spec import QueueSpec
from streams import Queue, Redis
from streams.claims import Claim, Claimed, Claims, Ending
from streams.endings import Gate
from streams.link import Link

PATIENCE_S = 20
FAR_MS = 3_600_000
BOOM = {"attempt": 1, "reason": "failed", "message": "boom", "at": 1}


class Hand:
    """Claims and settles on one queue. Its connection ends with the Redis handle's."""

    def __init__(self, redis: Redis, spec: QueueSpec, worker: str = "by-hand") -> None:
        self.claims = Claims(spec, redis, worker)
        self._link: Link | None = None

    async def ask(self, want: int = 100, block_ms: int = 0) -> Claimed:
        """One claim, as the engine answers it."""
        if self._link is None:
            self._link = await self.claims.link()
        return (await self.claims.claim(self._link, want, block_ms))[0]

    async def take(self, want: int = 100) -> list[Claim]:
        """What one claim brings."""
        return (await self.ask(want)).claims

    async def isolate(self, want: int = 8) -> list[Claim]:
        """Suspects, as a process that runs nothing else gets them."""
        return (await self.claims.isolate(self.claims.worker, want)).claims

    async def take_one(self) -> Claim:
        """The next job, of which there must be one."""
        (claim,) = await self.take(1)
        return claim

    async def settle(self, *endings: Ending) -> list[str]:
        """End jobs: the word for each, in the order in which the calls were made."""
        calls = self.claims.settle(endings)
        replies = await self.claims.send([command for command, _ in calls])
        words: list[str] = []
        for (_, part), reply in zip(calls, replies, strict=True):
            words += self.claims.words(reply, len(part))
        return words

    async def complete(self, *claims: Claim, result: Any = None) -> list[str]:
        return await self.settle(*(Ending(c, "complete", orjson.dumps(result)) for c in claims))

    async def fail(self, *claims: Claim, error: dict[str, Any] = BOOM) -> list[str]:
        history = orjson.dumps([error])
        return await self.settle(*(Ending(c, "fail", history=history) for c in claims))

    async def retry(self, *claims: Claim, delay_ms: int, gate: Gate | None = None) -> list[str]:
        history = orjson.dumps([BOOM])
        return await self.settle(
            *(Ending(c, "retry", history=history, delay_ms=delay_ms, gate=gate) for c in claims)
        )

    async def release(self, *claims: Claim) -> list[str]:
        return await self.settle(*(Ending(c, "release") for c in claims))


async def bring(
    queue: Queue, hand: Hand, state: State, job_id: str = "one", **options: Any
) -> None:
    """A job of this id in this state."""
    delay = {"delay": FAR_MS} if state is State.DELAYED else {}
    await queue.add("work", {"n": 1}, job_id=job_id, **delay, **options)
    if state in (State.WAITING, State.DELAYED):
        return
    claim = await hand.take_one()
    if state is State.COMPLETED:
        await hand.complete(claim, result={"ok": True})
    elif state is State.FAILED:
        await hand.fail(claim)


async def clock_ms(redis: Redis, queue: str) -> int:
    """Epoch milliseconds by the clock of the node that has this queue."""
    seconds, micros = await redis.command("TIME", key=f"cs:{{{queue}}}:")
    return int(seconds) * 1_000 + int(micros) // 1_000


async def clock_passes(redis: Redis, queue: str, moment_ms: int) -> None:
    """Return when the clock of Redis is beyond a moment."""

    async def beyond() -> bool:
        return await clock_ms(redis, queue) > moment_ms

    await until(beyond, within_s=PATIENCE_S, what=f"Redis' clock is beyond {moment_ms}")
