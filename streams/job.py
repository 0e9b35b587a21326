"""A job on its way in (NewJob) and in the hands of a handler (Job)."""

import os
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from schemas.job import JobOptions, State
from streams.options import opts_of
from streams.record import Header


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a producer asks for. `data` is any JSON object; `name` defaults to the queue's."""

    name: str = ""
    data: Mapping[str, Any] | None = None
    options: JobOptions | None = None


class Added(NamedTuple):
    """The answer to an add. `deduplicated`: the id was known, nothing was added, and `state` is
    that of the job that has it."""

    id: str
    state: State
    deduplicated: bool


class Job:
    """One job as its handler sees it: an immutable record. The body is decoded when first used."""

    __slots__ = ("_body", "_document", "claimed_ms", "header", "id", "queue")

    def __init__(
        self, queue: str, job_id: str, header: Header, body: bytes, claimed_ms: int
    ) -> None:
        self.queue = queue
        self.id = job_id
        self.header = header
        self.claimed_ms = claimed_ms
        """When this run's claim was made: epoch ms by the clock of Redis."""
        self._body = body
        self._document: dict[str, Any] | None = None

    @property
    def body(self) -> bytes:
        """The job's JSON as stored: an object with name, data and the options that differ from
        the defaults."""
        return self._body

    @property
    def document(self) -> dict[str, Any]:
        if self._document is None:
            self._document = orjson.loads(self._body)
        return self._document

    @property
    def name(self) -> str:
        return str(self.document["name"])

    @property
    def data(self) -> Any:
        return self.document["data"]

    @property
    def opts(self) -> dict[str, Any]:
        """Every option that holds for this job, by its wire name."""
        return opts_of(self.document)

    @property
    def timestamp(self) -> int:
        """When the job was added: epoch ms by the clock of Redis."""
        return int(self.header.added)

    @property
    def attempts_made(self) -> int:
        """Attempts that ended before this run."""
        return self.header.made

    @property
    def attempts_started(self) -> int:
        """Starts including this one."""
        return self.header.started + 1

    @property
    def attempts(self) -> int:
        """Tries in total."""
        return int(self.opts.get("attempts", 1))

    @property
    def stalled_count(self) -> int:
        return self.header.stalled

    def with_data(self, data: bytes) -> "Job":
        """The same job with the payload that had been put aside (claim check)."""
        document = self.document | {"data": orjson.loads(data)}
        job = Job(self.queue, self.id, self.header, self._body, self.claimed_ms)
        job._document = document
        return job

    def __repr__(self) -> str:
        return f"Job(queue={self.queue!r}, id={self.id!r}, attempts_made={self.attempts_made})"


class _Mint:
    """Fresh ids in the order they are asked for: a number that never repeats within a process,
    and 40 random bits that tell processes apart."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0
        self.start()

    def start(self) -> None:
        """A process begins: also one that was forked from a process that had begun."""
        self._nonce = secrets.token_hex(5)

    def take(self, count: int) -> list[str]:
        # Milliseconds and 16 bits to count within one; a clock that was set back changes nothing.
        now = time.time_ns() // 1_000_000 << 16
        with self._lock:
            first = max(now, self._last + 1)
            self._last = first + count - 1
        nonce = self._nonce
        return [f"{number:016x}{nonce}" for number in range(first, first + count)]


_MINT = _Mint()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_MINT.start)


def new_ids(count: int) -> list[str]:
    """`count` fresh ids: 26 hex digits that begin with the time. Those of one process sort in the
    order they were made, so its delayed jobs that become due together run in that order."""
    return _MINT.take(count)
