"""Jobs of a state that fit a description, found by looking at a bounded number of them."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from schemas.job import JobView, State, code_of
from streams.connection import Redis
from streams.keys import page_cursors
from streams.looking import Looking, place_of
from streams.store import change
from streams.views import Glance, owner_in

HOP_JOBS = 200
"""Jobs read at once; a job's record can have 64 KiB."""
ASIDE_JOBS = 16
"""Jobs whose payloads are read at once, if they were put aside; one can have 1 MiB."""
SCAN_BYTES = 32 * 1024 * 1024
"""Records and payloads one search reads, and what the last of them has beyond: large jobs must not
hold up everybody else."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What jobs must be like; None: anything."""

    state: State
    name: str | None = None
    error: str | None = None
    """Occurs in the message or is the code of the last error; upper and lower case are the same."""
    organization_id: str | None = None
    since_ms: int | None = None
    """Ended jobs: when they ended; others: when they were added. Epoch ms, included."""
    until_ms: int | None = None
    """As `since_ms`, not included."""
    reads: Callable[[str], str] | None = None
    """What whoever searches sees of a message; None: all. What it does not see, it cannot find."""

    def fits(self, job: Glance) -> bool:
        """Whether this is one of them."""
        moment = job.finished_on if job.finished_on is not None else job.timestamp
        return (
            (self.name is None or job.name == self.name)
            and (self.organization_id is None or owner_of(job) == self.organization_id)
            and (self.since_ms is None or moment >= self.since_ms)
            and (self.until_ms is None or moment < self.until_ms)
            and (self.error is None or self._in_error(job))
        )

    def _in_error(self, job: Glance) -> bool:
        if job.error is None or self.error is None:
            return False
        message = message_of(job)
        sought = self.error.lower()
        occurs = sought in message.lower()
        if occurs and self.reads is not None:
            occurs = sought in self.reads(message).lower()
        return occurs or sought == code_of(job.error).lower()


@dataclass(frozen=True, slots=True)
class Sought:
    """What a search has come upon, at a glance."""

    jobs: list[Glance]
    rows: list[Any]
    """Their records."""
    cursor: str
    """Where to go on; empty when all jobs of the state have been looked at."""
    scanned: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has come upon, whole."""

    jobs: list[JobView]
    cursor: str
    """As in `Sought`."""
    scanned: int


def owner_of(job: JobView | Glance) -> str | None:
    """The organization that a job's data names."""
    return owner_in(job.data)


def message_of(job: Glance) -> str:
    """What its last failed attempt said; empty when there is none."""
    return "" if job.error is None else str(job.error.get("message", ""))


async def seek(
    queue: Looking, wanted: Wanted, cursor: str = "", *, most: int = 100, scan_most: int = 5_000
) -> Sought:
    """Up to `most` jobs from behind `cursor`, in the order of their state, among the next
    `scan_most` or `SCAN_BYTES`, whichever ends first. Raises Unavailable."""
    jobs, rows, scanned, read_bytes = list[Glance](), list[Any](), 0, 0
    while scanned < scan_most:
        hop = await queue.rows(wanted.state, cursor, end=min(HOP_JOBS, scan_most - scanned) - 1)
        for at in range(0, len(hop.rows), ASIDE_JOBS):
            part = hop.rows[at : at + ASIDE_JOBS]
            for row, (job, size) in zip(part, await queue.glances(wanted.state, part), strict=True):
                scanned, read_bytes = scanned + 1, read_bytes + size
                if wanted.fits(job):
                    jobs.append(job)
                    rows.append(row)
                if len(jobs) == most or read_bytes >= SCAN_BYTES:
                    return Sought(jobs, rows, place_of(wanted.state, row), scanned)
        cursor = hop.cursor
        if not cursor:
            break
    return Sought(jobs, rows, cursor, scanned)


async def search(
    queue: Looking, wanted: Wanted, cursor: str = "", *, most: int = 100, scan_most: int = 5_000
) -> Found:
    """As `seek`, with the whole jobs. Raises Unavailable."""
    found = await seek(queue, wanted, cursor, most=most, scan_most=scan_most)
    jobs = await queue.views(wanted.state, found.rows)
    return Found(jobs, found.cursor, found.scanned)


async def cursor_secret(redis: Redis) -> bytes:
    """What seals places in lists that hold ids; made once. Raises Unavailable, Full."""
    reply = await change(redis, page_cursors(), "mail_secret", fresh=secrets.token_bytes(64))
    secret: bytes = reply[1]
    return secret
