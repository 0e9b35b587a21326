"""What there is to see of a queue: its jobs, one by one and in pages, and its counts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.identity import JobRef, refs_of, shown_id
from schemas.job import JobView, State
from schemas.spec import Limiter
from streams.aside import payload_name, read_blobs, result_name
from streams.connection import Redis
from streams.errors import BadPage, NotFound
from streams.outcomes import states
from streams.store import Store
from streams.views import Glance, glance, job_view

DEEPEST_OFFSET = 10_000
HOP = 500
SILENT_MS = 10_000
"""A worker that has not said anything for this long does not count as live."""
_ENTRY = r"(?!0+-0+\Z)[0-9]{1,15}-[0-9]{1,15}"
"""No entry is called 0-0, and Redis refuses a range that ends before it."""
_CURSORS = {
    State.COMPLETED: re.compile(_ENTRY),
    State.FAILED: re.compile(_ENTRY),
    State.WAITING: re.compile(rf"(-1|[0-9]|10|11) {_ENTRY}"),
    State.ACTIVE: re.compile(rf"(-1|[0-9]|10|11) {_ENTRY}"),
    State.DELAYED: re.compile(r"[0-9]{1,15} [!-~]{1,255}"),
}


@dataclass(frozen=True, slots=True)
class Counts:
    """How many jobs lie where, at one instant."""

    waiting: int
    active: int
    completed: int
    failed: int
    delayed: int
    paused: bool = False
    workers: int = 0
    oldest_waiting_ms: int | None = None
    limiter: Limiter | None = None
    concurrency: int | None = None
    backlog: int | None = None
    """Most jobs that have not ended; None: no limit."""
    due: int = 0
    """Delayed jobs whose time has come (part of `delayed`)."""
    outbox: int = 0
    """Endings whose callback is not queued yet."""
    ended_completed: int = 0
    """Jobs that workers completed since the queue was made, some seconds late."""
    ended_failed: int = 0
    """The same of jobs that failed."""

    @property
    def total(self) -> int:
        return self.waiting + self.active + self.completed + self.failed + self.delayed


def is_cursor(state: State, text: str) -> bool:
    """Whether `text` can be the place of a job of this state."""
    return _CURSORS[state].fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Slice:
    """Jobs in the order of their state, each with its place."""

    jobs: list[JobView]
    places: list[str]
    cursor: str
    """Where to go on; empty at the end."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Records in the order of their state, as the script answers them."""

    rows: list[Any]
    cursor: str
    """Where to go on; empty at the end."""


class Looking:
    """The part of a queue that changes nothing. Every verb may raise Unavailable.

    `job_id`: an id inside Redis (JobRef), or one as the platform knows it (any other string)."""

    name: str
    store: Store
    redis: Redis

    async def get(self, job_id: str) -> JobView | None:
        """One job, wherever it lies; None when there is none."""
        reply = await self._whole(job_id)
        if reply is None:
            return None
        _, state, where, flat, progress, *_, payload, result = reply
        extra = {"progress": progress, "payload": payload, "result": result}
        if state == b"active":
            extra |= await self._running()
        return job_view(self.name, State(state.decode()), where, flat, extra, self.redis.cipher)

    async def glance(self, job_id: str) -> tuple[State, Glance] | None:
        """One job, as lists and searches see it; None when there is none."""
        reply = await self._whole(job_id)
        if reply is None:
            return None
        state = State(reply[1].decode())
        return state, glance(self.name, state, reply[2], reply[3], reply[-2], self.redis.cipher)

    async def _whole(self, job_id: str) -> list[Any] | None:
        """What `lookup` answers, then payload and result if they are stored apart."""
        reply = await self.store.call("lookup", refs_of(job_id))
        while reply[0] != b"MISSING":
            names = payload_name(reply[3]), result_name(reply[3])
            wanted = [name for name in names if name is not None]
            found = await read_blobs(self.store, wanted) if wanted else {}
            whole = [*reply, *(found.get(name) if name else None for name in names)]
            if None not in found.values():
                return whole
            # It has gone between the two reads, or its blob is lost for good.
            again = await self.store.call("lookup", refs_of(job_id))
            if again == reply:
                return whole
            reply = again
        return None

    async def logs(self, job_id: str) -> list[str]:
        """The lines the job's handler logged, at most the last 100. Raises NotFound."""
        lines: list[str] = await self._lines(job_id, 5)
        return lines

    async def attempts(self, job_id: str) -> list[dict[str, Any]]:
        """What the job's handler recorded of its attempts, at most the last 20. Raises NotFound."""
        records: list[dict[str, Any]] = await self._lines(job_id, 6)
        return records

    async def ref_of(self, job_id: str) -> JobRef:
        """The id inside Redis of the job that `job_id` means for the platform."""
        refs = refs_of(job_id)
        if len(refs) == 1:
            return refs[0]
        found = zip(refs, await states(self.store, refs), strict=True)
        return next((ref for ref, state in found if state is not None), refs[0])

    async def callbacks(self, job_id: str) -> list[JobRef]:
        """The ids of the last 5 webhooks jobs that report its endings, oldest first."""
        reply = await self.store.call("lookup", refs_of(job_id))
        words = [] if reply[0] == b"MISSING" else (reply[8] or b"").decode().split()
        return [JobRef(word) for word in words]

    async def _lines(self, job_id: str, at: int) -> list[Any]:
        reply = await self.store.call("lookup", refs_of(job_id))
        if reply[0] == b"MISSING":
            raise NotFound(f"queue {self.name} has no job {shown_id(job_id)}")
        return [orjson.loads(line) for line in (reply[at] or b"").split(b"\n") if line]

    async def page(self, state: State, start: int = 0, end: int = 10) -> list[JobView]:
        """Jobs `start`..`end` (both included, zero-based) of a state: ended ones newest first,
        waiting ones in the order they will run, delayed ones in the order they become due.

        Raises BadPage beyond offset 10,000."""
        return (await self.slice(state, start=start, end=end)).jobs

    async def slice(
        self, state: State, cursor: str = "", *, start: int = 0, end: int = 10
    ) -> Slice:
        """As `page`, counted from behind the job at `cursor`, and with places to go on from.

        What is inserted or removed meanwhile does not shift it. Raises BadPage."""
        if start > DEEPEST_OFFSET:
            raise BadPage(f"start may be at most {DEEPEST_OFFSET}; use a cursor to go deeper")
        part = await self.rows(state, cursor, start=start, end=end)
        jobs = await self.views(state, part.rows)
        return Slice(jobs, [place_of(state, row) for row in part.rows], part.cursor)

    async def rows(self, state: State, cursor: str = "", *, start: int = 0, end: int = 10) -> Rows:
        """As `slice`, the records alone: what was put aside of them is not read."""
        at, skip, rows = cursor.encode(), start, list[Any]()
        while len(rows) <= end - start:
            wanted = end - start + 1 - len(rows)
            hop = min(skip, HOP)
            take = min(wanted, HOP - hop) if skip <= HOP else 0
            reply = await self.store.call("page", state=state, cursor=at, skip=hop, take=take)
            _, at, passed, found = reply
            skip -= passed
            rows += found
            if at == b"":
                break
        return Rows(rows, at.decode())

    async def views(self, state: State, rows: Sequence[Any]) -> list[JobView]:
        """The whole jobs of records."""
        extra = await self._running() if state is State.ACTIVE and rows else {}
        payloads = await self._payloads(rows)
        return [
            job_view(self.name, state, row[0], row[1], extra | big, self.redis.cipher)
            for row, big in zip(rows, payloads, strict=True)
        ]

    async def glances(self, state: State, rows: Sequence[Any]) -> list[tuple[Glance, int]]:
        """A glance at each record, and how many bytes it took: of what was put aside the payloads
        are read, and nothing where there are none."""
        names = [payload_name(row[1]) for row in rows]
        payloads = await read_blobs(self.store, [name for name in names if name is not None])
        glances = []
        for (where, flat, *_), name in zip(rows, names, strict=True):
            payload = payloads.get(name) if name else None
            size = sum(map(len, flat)) + len(payload or b"")
            one = glance(self.name, state, where, flat, payload, self.redis.cipher)
            glances.append((one, size))
        return glances

    async def _payloads(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """What jobs of a page had put aside, and their progress."""
        if not rows:
            return []
        key, run = self.store.keys.prefix, self.store.keys["run"]
        fields = [row[1][1] + b":p" for row in rows]
        progress = await self.redis.command("HMGET", run, *fields, key=key)
        names = [(payload_name(row[1]), result_name(row[1])) for row in rows]
        found = await read_blobs(self.store, [n for pair in names for n in pair if n is not None])
        return [
            {
                "payload": found.get(payload) if payload else None,
                "result": found.get(result) if result else None,
                "progress": some,
            }
            for (payload, result), some in zip(names, progress, strict=True)
        ]

    async def _running(self) -> dict[str, Any]:
        seconds, micros = await self.redis.command("TIME", key=self.store.keys.prefix)
        beats = await self.store.worker_beats()
        return {"beats": beats, "now_ms": int(seconds) * 1000 + int(micros) // 1000}

    async def counts(self) -> Counts:
        """All counts at one instant, exact."""
        reply = await self.store.call("counts", silent_ms=SILENT_MS)
        limiter = Limiter(int(reply[10]), int(reply[11])) if reply[10] else None
        waiting, active, completed, failed, delayed = reply[2:7]
        return Counts(
            waiting,
            active,
            completed,
            failed,
            delayed,
            paused=bool(reply[7]),
            workers=reply[8],
            oldest_waiting_ms=None if reply[9] < 0 else reply[9],
            limiter=limiter,
            concurrency=int(reply[12]) if reply[12] else None,
            backlog=int(reply[17]) if reply[17] else None,
            due=reply[13],
            outbox=reply[14],
            ended_completed=int(reply[15]),
            ended_failed=int(reply[16]),
        )


def place_of(state: State, row: Sequence[Any]) -> str:
    """The cursor of a row: what comes next lies behind it."""
    where: str = row[0].decode()
    if state is State.DELAYED:
        return f"{where} {row[1][1].decode()}"
    if state in (State.WAITING, State.ACTIVE):
        return f"{row[2]} {where.partition(' ')[0]}"
    return where
