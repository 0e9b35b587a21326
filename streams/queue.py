"""A queue in the hands of producers and operators."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson

from schemas.job import JobOptions, JobView, State
from schemas.spec import Limiter, QueueSpec, catalog
from streams.connection import Redis, connect
from streams.encode import CALL_JOBS, Batch, batches
from streams.errors import BadPage, NotFound, WrongState
from streams.job import Added, NewJob
from streams.store import Store, registered
from streams.views import job_view

DEEPEST_OFFSET = 10_000
HOP = 500
CALLS_IN_FLIGHT = 4
SILENT_MS = 10_000
"""A worker that has not said anything for this long does not count as live."""


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
    due: int = 0
    """Delayed jobs whose time has come (part of `delayed`)."""
    outbox: int = 0
    """Endings whose callback is not queued yet."""

    @property
    def total(self) -> int:
        return self.waiting + self.active + self.completed + self.failed + self.delayed


class Queue:
    """Adds jobs, finds them, and lets an operator act on them.

    Every verb may raise Unavailable (try again). `who`: the operator's deed, encoded; the script
    that has the effect records it beside it (`streams.audit`). A queue named in the catalogue checks
    payloads against its model: pydantic.ValidationError says where they do not fit.
    """

    def __init__(self, queue: str | QueueSpec, redis: Redis | str | None = None) -> None:
        if isinstance(queue, str):
            queue = catalog().get(queue) or QueueSpec(queue)
        self.spec = queue
        self.name = queue.name
        self.redis = redis if isinstance(redis, Redis) else connect(redis)
        self.store = Store(self.redis, queue.name)

    async def add(
        self,
        name: str,
        data: Mapping[str, Any] | None = None,
        options: JobOptions | None = None,
        **option_fields: Any,
    ) -> Added:
        """Add one job; it is in Redis when this returns. Options as a JobOptions or by keyword.

        Raises pydantic.ValidationError, TooBig, Full."""
        if option_fields:
            given = options.model_dump(exclude_unset=True) if options else {}
            options = JobOptions.model_validate(given | option_fields)
        return (await self.add_many([NewJob(name, data, options)]))[0]

    def check(self, job: NewJob) -> None:
        """Raises pydantic.ValidationError unless the payload fits the queue."""
        if self.spec.payload is not None:
            self.spec.payload.model_validate(job.data if job.data is not None else {})

    async def add_many(self, jobs: Sequence[NewJob], *, checked: bool = False) -> list[Added]:
        """Add jobs in order; each call to Redis (500 jobs, 1 MiB) is atomic.

        All are checked before the first is stored, unless the caller has done so (`checked`).
        Raises as `add`."""
        for job in () if checked else jobs:
            self.check(job)
        cut = list(batches(self.spec, jobs)) if len(jobs) <= CALL_JOBS else batches(self.spec, jobs)
        if isinstance(cut, list) and len(cut) == 1:
            return await self._send(cut[0])
        await self.store.ready()
        added: list[Added] = []
        sending: list[asyncio.Task[list[Added]]] = []
        try:
            for batch in cut:
                sending.append(asyncio.create_task(self._send(batch)))
                await asyncio.sleep(0)
                if len(sending) >= CALLS_IN_FLIGHT:
                    added += await sending.pop(0)
            while sending:
                added += await sending.pop(0)
        finally:
            if sending:
                await asyncio.gather(*sending, return_exceptions=True)
        return added

    async def _send(self, batch: Batch) -> list[Added]:
        reply = await self.store.add(batch.args)
        waiting, delayed = State.WAITING, State.DELAYED
        added = [
            Added(job_id, delayed if late else waiting, False)
            for job_id, late in zip(batch.ids, batch.delayed, strict=True)
        ]
        for index, state in zip(reply[2::2], reply[3::2], strict=True):
            added[index - 1] = Added(batch.ids[index - 1], State(state.decode()), True)
        return added

    async def get(self, job_id: str) -> JobView | None:
        """One job, wherever it lies; None when there is none."""
        reply = await self.store.call("lookup", id=job_id)
        if reply[0] == b"MISSING":
            return None
        _, state, where, flat, progress, _, payload, result = reply[:8]
        extra = {"progress": progress, "payload": payload, "result": result}
        if state == b"active":
            extra |= await self._running()
        return job_view(self.name, State(state.decode()), where, flat, extra)

    async def logs(self, job_id: str) -> list[str]:
        """The lines the job's handler logged, at most the last 100. Raises NotFound."""
        reply = await self.store.call("lookup", id=job_id)
        if reply[0] == b"MISSING":
            raise NotFound(f"queue {self.name} has no job {job_id}")
        lines: list[str] = [orjson.loads(line) for line in (reply[5] or b"").split(b"\n") if line]
        return lines

    async def attempts(self, job_id: str) -> list[dict[str, Any]]:
        """What the job's handler recorded of its attempts, at most the last 20. Raises NotFound."""
        reply = await self.store.call("lookup", id=job_id)
        if reply[0] == b"MISSING":
            raise NotFound(f"queue {self.name} has no job {job_id}")
        return [orjson.loads(line) for line in (reply[8] or b"").split(b"\n") if line]

    async def page(self, state: State, start: int = 0, end: int = 10) -> list[JobView]:
        """Jobs `start`..`end` (both included, zero-based) of a state: ended ones newest first,
        waiting ones in the order they will run, delayed ones in the order they become due.

        Raises BadPage beyond offset 10,000."""
        if start > DEEPEST_OFFSET:
            raise BadPage(f"start may be at most {DEEPEST_OFFSET}; use a cursor to go deeper")
        cursor, skip, rows = b"", start, list[Any]()
        while len(rows) <= end - start:
            wanted = end - start + 1 - len(rows)
            hop = min(skip, HOP)
            take = min(wanted, HOP - hop) if skip <= HOP else 0
            reply = await self.store.call("page", state=state, cursor=cursor, skip=hop, take=take)
            _, cursor, passed, found = reply
            skip -= passed
            rows += found
            if cursor == b"":
                break
        extra = await self._running() if state is State.ACTIVE and rows else {}
        payloads = await self._payloads(rows)
        return [
            job_view(self.name, state, where, flat, extra | big)
            for (where, flat), big in zip(rows, payloads, strict=True)
        ]

    async def _payloads(self, rows: list[Any]) -> list[dict[str, Any]]:
        """What jobs of a page had put aside, and their progress."""
        if not rows:
            return []
        ids = [flat[1] for _, flat in rows]
        key, keys = self.store.keys.prefix, self.store.keys
        payloads, results, progress = await self.redis.run(
            key,
            ("HMGET", keys["blobs"], *(i + b":d" for i in ids)),
            ("HMGET", keys["blobs"], *(i + b":r" for i in ids)),
            ("HMGET", keys["run"], *(i + b":p" for i in ids)),
        )
        return [
            {"payload": d, "result": r, "progress": p}
            for d, r, p in zip(payloads, results, progress, strict=True)
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
            due=reply[13],
            outbox=reply[14],
        )

    async def pause(self, *, who: bytes = b"") -> None:
        """No worker starts a job until `resume`; running ones finish, adds are accepted."""
        await self.store.call("control", ("paused", 1), event="paused", who=who)

    async def resume(self, *, who: bytes = b"") -> None:
        await self.store.call("control", ("paused", ""), event="resumed", who=who)

    async def set_limits(
        self,
        limiter: Limiter | None = None,
        concurrency: int | None = None,
        *,
        who: bytes = b"",
    ) -> None:
        """Starts per time window and jobs active at once, over all workers; None lifts a limit."""
        changes: tuple[str | int, ...] = (
            *("max", limiter.max if limiter else ""),
            *("duration", limiter.duration if limiter else ""),
            *("concurrency", concurrency or ""),
        )
        await self.store.call("control", changes, event="limits", who=who)

    async def clean(
        self,
        grace_ms: int = 0,
        state: State = State.COMPLETED,
        most: int | None = None,
        *,
        who: bytes = b"",
    ) -> int:
        """Remove ended jobs that ended at least `grace_ms` ago; answers how many."""
        removed, after = 0, b""
        while most is None or removed < most:
            room = HOP if most is None else min(HOP, most - removed)
            reply = await self.store.call(
                "clean", state=state, grace_ms=grace_ms, after=after, most=room, who=who
            )
            removed += reply[1]
            who = b"" if removed else who  # one record, beside the first effect
            after = reply[2]
            if not after:
                break
        return removed

    async def remove(self, job_id: str, *, who: bytes = b"") -> None:
        """Remove a job that is not running. Raises NotFound, WrongState (active: cancel it)."""
        reply, again = await self.store.twice("remove", id=job_id, who=who)
        if reply[0] == b"MISSING" and not again:
            raise NotFound(f"queue {self.name} has no job {job_id}")
        if reply[0] == b"ACTIVE":
            raise WrongState(f"job {job_id} is running; cancel it first", "active")

    async def revive(self, job_id: str, *, who: bytes = b"") -> State:
        """Run a failed job again with all its attempts. Raises NotFound, WrongState."""
        reply, again = await self.store.twice("revive", id=job_id, who=who)
        if reply[0] == b"MISSING":
            raise NotFound(f"queue {self.name} has no job {job_id}")
        if reply[0] == b"WRONG":
            state = reply[1].decode()
            if again and state in (State.WAITING, State.ACTIVE):
                return State.WAITING
            raise WrongState(f"job {job_id} is {state}; only a failed job can be retried", state)
        return State.WAITING

    async def cancel(self, job_id: str, *, who: bytes = b"") -> str:
        """Stop a job: `cancelled` when it had not started, `cancelling` when its worker has been
        told. Raises NotFound, WrongState when it has ended."""
        reply = await self.store.call("cancel", id=job_id, who=who)
        if reply[0] == b"MISSING":
            raise NotFound(f"queue {self.name} has no job {job_id}")
        if reply[0] == b"ENDED":
            state = reply[1].decode()
            raise WrongState(f"job {job_id} has ended: it is {state}", state)
        return "cancelled" if reply[0] == b"OK" else "cancelling"

    async def register(self) -> None:
        """Make this queue known to gateways. The payload's JSON Schema goes with it."""
        schema = self.spec.payload.model_json_schema() if self.spec.payload else None
        about = orjson.dumps({"schema": schema, "description": self.spec.description})
        await self.store.register(self.name, about)


@cache
def _shipped() -> dict[str, dict[str, Any] | None]:
    return {
        spec.name: spec.payload.model_json_schema() if spec.payload else None
        for spec in catalog().values()
    }


async def queue_names(redis: Redis) -> dict[str, dict[str, Any] | None]:
    """Every known queue and the JSON Schema of its payload: the product's, then those that
    workers registered."""
    return await registered(redis) | _shipped()
