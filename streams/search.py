"""Jobs of a state that fit a description, found by looking at a bounded number of them."""

from collections.abc import Callable
from dataclasses import dataclass

from schemas.job import JobView, State, code_of
from streams.looking import Looking

HOP_JOBS = 200
"""Jobs read at once; a job's record can have 64 KiB."""


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

    def fits(self, job: JobView) -> bool:
        """Whether this is one of them."""
        moment = job.finished_on if job.finished_on is not None else job.timestamp
        return (
            (self.name is None or job.name == self.name)
            and (self.organization_id is None or owner_of(job) == self.organization_id)
            and (self.since_ms is None or moment >= self.since_ms)
            and (self.until_ms is None or moment < self.until_ms)
            and (self.error is None or self._in_error(job))
        )

    def _in_error(self, job: JobView) -> bool:
        if not job.errors or self.error is None:
            return False
        last = job.errors[-1]
        sought = self.error.lower()
        code = code_of(vars(last))
        message = getattr(last, "message", "")
        occurs = sought in message.lower()
        if occurs and self.reads is not None:
            occurs = sought in self.reads(message).lower()
        return occurs or sought == code.lower()


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has come upon."""

    jobs: list[JobView]
    cursor: str
    """Where to go on; empty when all jobs of the state have been looked at."""
    scanned: int


def owner_of(job: JobView) -> str | None:
    """The organization that a job's data names."""
    owner = job.data.get("organizationId") if isinstance(job.data, dict) else None
    return owner if isinstance(owner, str) else None


async def search(
    queue: Looking, wanted: Wanted, cursor: str = "", *, most: int = 100, scan_most: int = 5_000
) -> Found:
    """Up to `most` jobs from behind `cursor`, in the order of their state, among the next
    `scan_most`. Raises Unavailable."""
    jobs: list[JobView] = []
    scanned = 0
    while scanned < scan_most:
        hop = min(HOP_JOBS, scan_most - scanned)
        part = await queue.slice(wanted.state, cursor, end=hop - 1)
        for job, place in zip(part.jobs, part.places, strict=True):
            scanned += 1
            if wanted.fits(job):
                jobs.append(job)
                if len(jobs) == most:
                    return Found(jobs, place, scanned)
        cursor = part.cursor
        if not cursor:
            break
    return Found(jobs, cursor, scanned)
