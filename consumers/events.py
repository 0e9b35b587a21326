"""What happens in a worker, as frozen records. Observers (logs, metrics, traces) are adapters."""

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from consumers.processor import positional
from streams import Job
from streams.claims import Ending

logger = logging.getLogger("credstream")


@dataclass(frozen=True, slots=True)
class Taken:
    """A claim brought jobs. `waited_ms`: how long each of them had been waiting."""

    waited_ms: list[int]


@dataclass(frozen=True, slots=True)
class Started:
    """A handler is about to run, in the task that emits this. `waited_ms`: since the job was last
    due."""

    job: Job
    waited_ms: int = 0


@dataclass(frozen=True, slots=True)
class JobCompleted:
    job: Job
    encoded: bytes
    duration_ms: int

    @property
    def result(self) -> Any:
        """What the handler answered, decoded for those who ask."""
        return orjson.loads(self.encoded)


@dataclass(frozen=True, slots=True)
class JobRetried:
    job: Job
    error: dict[str, Any]
    delay_ms: int
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class JobFailed:
    job: Job
    error: dict[str, Any]
    duration_ms: int


@dataclass(frozen=True, slots=True)
class JobReleased:
    job: Job


@dataclass(frozen=True, slots=True)
class JobLost:
    """Another worker has the job; whatever this one did to it was refused."""

    job: Job


@dataclass(frozen=True, slots=True)
class Trouble:
    """Redis could not be used; the worker goes on by itself."""

    error: Exception


@dataclass(frozen=True, slots=True)
class LoopBlocked:
    """A handler kept the event loop from turning for `blocked_s` seconds, and does so still."""

    job: Job
    blocked_s: float


JobEvent = Started | JobCompleted | JobRetried | JobFailed | JobReleased | JobLost
Event = Taken | JobEvent | Trouble | LoopBlocked
Hook = Callable[[Event], None]

NAMES: dict[str, type[Any]] = {
    "active": Started,
    "completed": JobCompleted,
    "retrying": JobRetried,
    "failed": JobFailed,
    "released": JobReleased,
    "lost": JobLost,
    "error": Trouble,
}
_DETAIL = {JobCompleted: "result", JobRetried: "error", JobFailed: "error"}


class Hooks:
    """Who wants to know. A hook that raises is logged and does not disturb the work."""

    def __init__(self) -> None:
        self._by_type: dict[type[Any], list[Hook]] = defaultdict(list)

    def on(self, name: str, listener: Callable[..., Any]) -> None:
        """Call `listener(job)` or `listener(job, result_or_error)` on every event of a name:
        active, completed, retrying, failed, released, lost; `listener(error)` on error.

        ValueError for another name."""
        if name not in NAMES:
            raise ValueError(f"no event {name!r}; there are {', '.join(NAMES)}")
        wants_detail = positional(listener) > 1

        def hook(event: Any) -> None:
            if isinstance(event, Trouble):
                listener(event.error)
            elif wants_detail and type(event) in _DETAIL:
                listener(event.job, getattr(event, _DETAIL[type(event)]))
            else:
                listener(event.job)

        self._by_type[NAMES[name]].append(hook)

    def add(self, hook: Hook) -> None:
        """Call `hook(event)` on every event."""
        for kind in NAMES.values():
            self._by_type[kind].append(hook)

    def listen(self, kind: type[Any], hook: Callable[[Any], None]) -> None:
        """Call `hook(event)` on every event of one class."""
        self._by_type[kind].append(hook)

    def wanted(self, kind: type[Any]) -> bool:
        return bool(self._by_type.get(kind))

    def emit(self, event: Event) -> None:
        for hook in self._by_type.get(type(event), ()):
            try:
                hook(event)
            except Exception:
                logger.exception("a hook for %s failed", type(event).__name__)


def event_of(done: Ending, word: str, duration_ms: int, hooks: Hooks) -> Event | None:
    """The event of a settled ending; None when nobody listens to it."""
    job = done.claim.job
    if word == "LOST":
        return JobLost(job)
    match done.kind:
        case "complete" if hooks.wanted(JobCompleted):
            return JobCompleted(job, done.result, duration_ms)
        case "retry" if hooks.wanted(JobRetried):
            return JobRetried(job, orjson.loads(done.history)[-1], done.delay_ms, duration_ms)
        case "fail" if hooks.wanted(JobFailed):
            return JobFailed(job, orjson.loads(done.history)[-1], duration_ms)
        case "release" if hooks.wanted(JobReleased):
            return JobReleased(job)
    return None
