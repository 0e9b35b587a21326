"""What a processor is: a queue's spec and the async function that does its jobs."""

import asyncio
import inspect
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from schemas.job import MAX_DELAY_MS
from schemas.spec import QueueSpec, catalog
from streams import Redis
from streams.claims import Claim, Claims
from streams.endings import Gate

Handler = Callable[..., Any]
"""`handle(job)` or `handle(job, context)`, `async def` or `def`; returns the result (JSON)."""
ExecutorName = Literal["thread", "process"]


class Reject(Exception):
    """The job can never succeed: it goes to the dead letters at once, whatever attempts are left.

    `code` is a stable word for programs, the message a sentence for people."""

    def __init__(self, message: str, *, code: str = "rejected") -> None:
        super().__init__(message)
        self.code = code


def wait_ms(after_ms: float | Decimal) -> int:
    """A wait as whole milliseconds within 0..MAX_DELAY_MS, rounded up.

    Raises TypeError for what is no number and ValueError for NaN and infinities."""
    if isinstance(after_ms, bool) or not isinstance(after_ms, int | float | Decimal):
        raise TypeError(f"after_ms must be a number of milliseconds, not {type(after_ms).__name__}")
    if not isinstance(after_ms, int) and not math.isfinite(after_ms):
        raise ValueError(f"after_ms must be a finite number of milliseconds, not {after_ms}")
    return math.ceil(min(max(after_ms, 0), MAX_DELAY_MS))


class RetryLater(Exception):
    """Not now: the job waits `after_ms` and is tried again without a charged attempt, within the
    queue's `max_starts`. With a gate it comes back when there is room, and `after_ms` is the
    longest wait. Raises TypeError or ValueError for a wait that is no finite number."""

    def __init__(
        self, after_ms: float | Decimal, message: str = "not now", *, gate: Gate | None = None
    ) -> None:
        super().__init__(message)
        self.after_ms = wait_ms(after_ms)
        self.gate = gate


class Retry(Exception):
    """This attempt failed and is charged. The next one waits for its backoff, or for `after_ms`
    if that is longer: a receiver that asks for time gets it (WH-17)."""

    def __init__(
        self, message: str, *, code: str = "failed", after_ms: float | Decimal = 0
    ) -> None:
        super().__init__(message)
        self.code = code
        self.after_ms = wait_ms(after_ms)


class ClaimLost(Exception):
    """The job is another worker's by now: nothing may be stored for it here."""


class NotConfigured(Exception):
    """Raised by a processor's `open`: what it needs is not set up here. Its queue is not served by
    this process, which says so in /readyz; jobs wait. The message says what is missing."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What the process offers to a processor when it opens."""

    redis: Redis
    data_dir: Path | None = None
    production: bool = False
    keks_in_use: frozenset[str] = frozenset()
    """Ids of KEKs that something in Redis is sealed under, as far as is known."""


Open = Callable[[Resources], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Processor:
    """`open` yields what every call finds as `context.state`; it closes when the worker stops."""

    spec: QueueSpec
    handle: Handler
    open: Open | None = None
    executor: ExecutorName | None = None
    """Where a plain `def` runs: in a thread (the default) or in a process of its own. An `async
    def` runs in the event loop."""
    waiting: int = 0
    """Jobs that a worker may have in hand beyond its concurrency, because so many may be waiting
    for servers instead of computing. The handler bounds them."""

    @property
    def wants_context(self) -> bool:
        """Whether the handler takes `(job, context)` rather than `(job)`."""
        parameters = inspect.signature(self.handle).parameters.values()
        positional = [
            p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        return len(positional) > 1 or any(p.kind is p.VAR_POSITIONAL for p in parameters)


def processor_of(
    queue: str | Processor | QueueSpec, handler: Handler | None, executor: ExecutorName | None
) -> Processor:
    """The processor that a worker is made with. TypeError without a handler."""
    if isinstance(queue, Processor):
        return queue if executor is None else replace(queue, executor=executor)
    if handler is None:
        raise TypeError("Worker needs a handler: Worker('custom-queue', handler)")
    spec = queue if isinstance(queue, QueueSpec) else catalog().get(queue) or QueueSpec(queue)
    return Processor(spec, handler, executor=executor)


def is_async(handle: Handler) -> bool:
    """Whether calling the handler makes a coroutine."""
    call = getattr(handle, "__call__", None)  # noqa: B004 - of an object, its method
    return inspect.iscoroutinefunction(handle) or inspect.iscoroutinefunction(call)


def positional(function: Callable[..., Any]) -> int:
    """How many arguments a function asks for; those with a default are its own business."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return 2
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in kinds and p.default is p.empty for p in parameters)


class Context:
    """A running job's line to the outside."""

    __slots__ = ("_cancelled", "_claim", "_claims", "state")

    def __init__(self, claims: Claims, claim: Claim, state: Any) -> None:
        self._claims = claims
        self._claim = claim
        self._cancelled: asyncio.Event | None = None
        self.state = state

    async def progress(self, value: Any) -> None:
        """Show how far the job is; any JSON."""
        await self._claims.progress(self._claim, value)

    async def log(self, line: str) -> None:
        """Add a line to the job's log; the last 100 are kept."""
        await self._claims.log(self._claim, line)

    async def attempt(self, record: Mapping[str, Any]) -> None:
        """Add to the records of this job's attempts; the last 20 are kept as long as the job."""
        await self._claims.attempt(self._claim, record)

    async def remember(self, value: Any) -> None:
        """Store one value (JSON) that later runs of this job find, also after a crash of this
        one. It goes with the job. Raises ClaimLost when the job is no longer ours."""
        if not await self._claims.remember(self._claim, value):
            raise ClaimLost("the job was taken over")

    async def recall(self) -> Any:
        """What a run of this job remembered last; None when nothing."""
        return await self._claims.recall(self._claim)

    @property
    def cancelled(self) -> asyncio.Event:
        """Set when the job was cancelled or lost; the handler's task is cancelled as well."""
        if self._cancelled is None:
            self._cancelled = asyncio.Event()
        return self._cancelled
