"""A job on its way in (NewJob) and in the hands of a handler (Job)."""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel

from schemas.identity import shown_id
from schemas.job import JobOptions, State
from streams.options import opts_of
from streams.record import Header


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a producer asks for. `data` is any JSON object; `name` defaults to the queue's."""

    name: str = ""
    data: Mapping[str, Any] | None = None
    options: JobOptions | None = None
    ref: str = ""
    """The id inside Redis; empty: `options.job_id` as a choice of the platform, else a fresh one.
    """
    is_sealed: bool = False
    """Seal it whatever its queue says: it has parts of a sealed job."""


class Added(NamedTuple):
    """The answer to an add. `deduplicated`: the id was known, nothing was added, and `state` is
    that of the job that has it."""

    ref: str
    """The id inside Redis."""
    state: State
    deduplicated: bool

    @property
    def id(self) -> str:
        """The id as its submitter knows it."""
        return shown_id(self.ref)


class Job:
    """One job as its handler sees it: an immutable record. The body is decoded when first used."""

    __slots__ = ("_body", "_document", "_payload", "claimed_ms", "header", "queue", "ref")

    def __init__(self, queue: str, ref: str, header: Header, body: bytes, claimed_ms: int) -> None:
        self.queue = queue
        self.ref = ref
        """The id inside Redis: no two jobs of a queue have the same, whoever chose it."""
        self.header = header
        self.claimed_ms = claimed_ms
        """When this run's claim was made: epoch ms by the clock of Redis."""
        self._body = body
        self._document: dict[str, Any] | None = None
        self._payload: Any = None

    @property
    def id(self) -> str:
        """The id as its submitter knows it; another organization may use the same one."""
        return shown_id(self.ref)

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
    def payload(self) -> Any:
        """The payload as the model of the queue's spec, validated by the worker before the handler
        starts; of a queue without a model the same as `data`."""
        return self.data if self._payload is None else self._payload

    def validate(self, model: type[BaseModel]) -> None:
        """Make the payload of this model. Raises pydantic.ValidationError."""
        self._payload = model.model_validate(self.data)

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
        return self.with_value(orjson.loads(data))

    def with_value(self, data: Any) -> "Job":
        """The same job with this payload, decoded."""
        document = self.document | {"data": data}
        job = Job(self.queue, self.ref, self.header, self._body, self.claimed_ms)
        job._document = document
        return job

    def __repr__(self) -> str:
        return f"Job(queue={self.queue!r}, id={self.id!r}, attempts_made={self.attempts_made})"


_LETTERS = "0123456789abcdefghijklmnopqrstuv"
"""The digits of base32hex (RFC 4648, section 7) in lower case: they sort as their values do."""
_PAIRS = [first + second for first in _LETTERS for second in _LETTERS]
_RANDOM = bytes(ord(_LETTERS[byte % 32]) for byte in range(256))
_COUNTER_BITS = 19
_RANDOM_CHARS = 13


class _IdGenerator:
    """Ids that sort in the order in which this process made them, and that nobody can predict."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def take(self, count: int) -> list[str]:
        # A clock that was set back changes nothing: the numbers go on.
        now = time.time_ns() // 1_000_000 << _COUNTER_BITS
        with self._lock:
            first = max(now, self._last + 1)
            self._last = first + count - 1
        # 32 divides 256: each byte becomes one digit, and all digits are equally likely.
        text = os.urandom(_RANDOM_CHARS * count).translate(_RANDOM).decode()
        ids: list[str] = []
        upper, head = -1, ""
        for number, at in zip(
            range(first, first + count), range(0, len(text), _RANDOM_CHARS), strict=True
        ):
            if number >> 10 != upper:
                upper = number >> 10
                head = _eleven_digits(upper)
            ids.append(head + _PAIRS[number & 1023] + text[at : at + _RANDOM_CHARS])
        return ids


def _eleven_digits(number: int) -> str:
    """55 bits in base32hex."""
    pairs = _PAIRS
    return (
        f"{_LETTERS[number >> 50]}{pairs[number >> 40 & 1023]}{pairs[number >> 30 & 1023]}"
        f"{pairs[number >> 20 & 1023]}{pairs[number >> 10 & 1023]}{pairs[number & 1023]}"
    )


_GENERATOR = _IdGenerator()


def new_ids(count: int) -> list[str]:
    """`count` fresh ids: 26 digits of base32hex.

    13 hold the time (46 bits of epoch milliseconds) and a counter (19 bits), 13 are random
    (65 bits, fresh for each id). Those of one process sort in the order they were made, so its
    delayed jobs that become due together run in that order."""
    return _GENERATOR.take(count)
