"""The HTTP API for Python programs, typed.

from credstream import Client

async with Client("https://jobs.example.com", key="cs_live_...") as client:
    receipt = await client.submit("vc-issuance", {...}, priority=1)
    job = await client.wait_for_end("vc-issuance", receipt.id)
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode

from pydantic import BaseModel, TypeAdapter

from credstream.api import Gateway, word
from credstream.happenings import Happening, happenings
from gateway.answer_shapes import BatchProgress, BatchReceipt, BatchResults
from gateway.selection import BulkOutcome
from gateway.shapes import LimiterModel, QueueInfo, QueueLimits, Receipt, Stats
from gateway.why import Why
from gateway.workers import WorkerInfo
from schemas.job import JobOptions, JobView, State

ENDED = (State.COMPLETED, State.FAILED)
FIRST_POLL_S = 0.05
LONGEST_POLL_S = 1.0
DEFAULT_URL = "http://localhost:3000"
Model = TypeVar("Model", bound=BaseModel)
Action = Literal["retry", "remove", "cancel", "promote"]
_JOBS = TypeAdapter(list[JobView])
_RECEIPTS = TypeAdapter(list[Receipt])
_STATS = TypeAdapter(list[Stats])
_QUEUES = TypeAdapter(list[QueueInfo])
_WORKERS = TypeAdapter(list[WorkerInfo])


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs, and where the ones that follow begin (None: there are none)."""

    jobs: list[JobView]
    next: str | None


class Client(Gateway):
    """A gateway. Every call may raise Unreachable or a kind of Refused (`credstream.api`)."""

    def __init__(self, url: str = DEFAULT_URL, *, key: str | None = None, retries: int = 2) -> None:
        super().__init__(url, key=key, retries=retries)

    # submitting

    async def submit(
        self,
        queue: str,
        data: Mapping[str, Any],
        *,
        name: str | None = None,
        options: JobOptions | None = None,
        **option_fields: Any,
    ) -> Receipt:
        """Add one job; options as a JobOptions or by keyword. It is there once, however often this
        has to be sent."""
        return await self.submit_as_is(queue, _job(data, name, options, option_fields))

    async def submit_as_is(self, queue: str, job: Mapping[str, Any]) -> Receipt:
        """Add one job `{data, name?, options?}`, by wire names and unchecked here."""
        return Receipt.model_validate(await self.data("POST", f"{_queue(queue)}/jobs", job))

    async def submit_many(self, queue: str, jobs: Sequence[Mapping[str, Any]]) -> list[Receipt]:
        """Add jobs `{data, name?, options?}`, by wire names: all of them or none."""
        answer = await self.data("POST", f"{_queue(queue)}/jobs", [dict(job) for job in jobs])
        return _RECEIPTS.validate_python(answer)

    async def wait_for_end(self, queue: str, job_id: str) -> JobView:
        """The job once it has completed or failed, however long that takes."""
        pause_s = FIRST_POLL_S
        while True:
            job = await self.job(queue, job_id)
            if job.state in ENDED:
                return job
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LONGEST_POLL_S)

    async def submit_batch(
        self, queue: str, jobs: Sequence[Mapping[str, Any]], *, batch_id: str | None = None
    ) -> BatchReceipt:
        """Add jobs `{data, name?, options?}` under one name, by which `batch` tells of them."""
        body: dict[str, Any] = {"jobs": [dict(job) for job in jobs]}
        if batch_id is not None:
            body["batchId"] = batch_id
        answer = await self.data("POST", f"{_queue(queue)}/batches", body)
        return BatchReceipt.model_validate(answer)

    # looking

    async def batch(self, batch_id: str) -> BatchProgress:
        """How many jobs of a batch are in which state, and whether it is done."""
        return BatchProgress.model_validate(await self.data("GET", f"/batches/{word(batch_id)}"))

    async def batch_results(self, batch_id: str, start: int = 0, end: int = 99) -> BatchResults:
        """What became of the jobs `start`..`end` of a batch, at most 100."""
        path = f"/batches/{word(batch_id)}/results{_query({'start': start, 'end': end})}"
        return BatchResults.model_validate(await self.data("GET", path))

    def events(
        self, queue: str | None = None, *, after: str | None = None, tries: int = 5
    ) -> AsyncIterator[Happening]:
        """What happens, in one queue or in all, from now on or behind an event's id, without end.

        It goes on over restarts of the gateway, until `tries` connections in a row have failed."""
        return happenings(self, f"/events{_query({'queue': queue})}", after, tries)

    async def job(self, queue: str, job_id: str) -> JobView:
        """A job as it is now."""
        return JobView.model_validate(await self.data("GET", _at(queue, job_id)))

    async def jobs(
        self, queue: str, state: State, *, count: int = 100, before: str | None = None
    ) -> JobPage:
        """Up to `count` (1..1000) jobs of a state, from `before` (a page's `next`) on."""
        query = {"status": state.value, "end": count - 1, "before": before}
        answer = await self.call("GET", f"{_queue(queue)}/jobs{_query(query)}")
        return JobPage(_JOBS.validate_python(answer["data"]), answer["next"])

    async def all_jobs(self, queue: str, state: State) -> AsyncIterator[JobView]:
        """Every job of a state, page by page."""
        before: str | None = None
        while True:
            page = await self.jobs(queue, state, count=1_000, before=before)
            for job in page.jobs:
                yield job
            if page.next is None:
                return
            before = page.next

    async def dead_letters(
        self, queue: str, *, count: int = 100, before: str | None = None, **described: Any
    ) -> JobPage:
        """Failed jobs, newest first. `described`: name, error, organizationId, since, until."""
        query = {**described, "limit": count, "before": before}
        answer = await self.call("GET", f"{_queue(queue)}/dead-letters{_query(query)}")
        return JobPage(_JOBS.validate_python(answer["data"]), answer["next"])

    async def why(self, queue: str, job_id: str) -> Why:
        """Why a job has not started, and when it probably will."""
        return Why.model_validate(await self.data("GET", f"{_at(queue, job_id)}/why"))

    async def logs(self, queue: str, job_id: str) -> list[str]:
        """The last 100 lines of its handler."""
        found: list[str] = (await self.data("GET", f"{_at(queue, job_id)}/logs"))["logs"]
        return found

    async def attempts(self, queue: str, job_id: str) -> list[dict[str, Any]]:
        """What its handler recorded of its attempts."""
        answer = await self.data("GET", f"{_at(queue, job_id)}/attempts")
        found: list[dict[str, Any]] = answer["attempts"]
        return found

    async def queues(self) -> list[QueueInfo]:
        """Every queue and what it takes."""
        return _QUEUES.validate_python(await self.data("GET", "/queue"))

    async def stats(self) -> list[Stats]:
        """The counts of every queue."""
        return _STATS.validate_python(await self.data("GET", "/queue/stats"))

    async def stats_of(self, queue: str) -> Stats:
        """The counts of one queue."""
        return Stats.model_validate(await self.data("GET", f"{_queue(queue)}/stats"))

    async def workers(self, queue: str | None = None) -> list[WorkerInfo]:
        """Who works, on one queue or on all."""
        path = "/workers" if queue is None else f"{_queue(queue)}/workers"
        return _WORKERS.validate_python(await self.data("GET", path))

    async def limits(self, queue: str) -> QueueLimits:
        """The limits of a queue."""
        return QueueLimits.model_validate(await self.data("GET", f"{_queue(queue)}/limits"))

    # single jobs

    async def retry(self, queue: str, job_id: str) -> State:
        """Give a failed job another chance."""
        return await self._move(queue, job_id, "retry")

    async def promote(self, queue: str, job_id: str) -> State:
        """Let a delayed job wait for a worker now."""
        return await self._move(queue, job_id, "promote")

    async def cancel(self, queue: str, job_id: str) -> str:
        """`cancelled`: it will not run; `cancelling`: its worker has been told."""
        answer = await self.data("POST", f"{_at(queue, job_id)}/cancel")
        return str(answer["outcome"])

    async def prioritize(self, queue: str, job_id: str, priority: int) -> State:
        """Another priority, 0 (first) .. 10, for a job that has not started."""
        body = {"priority": priority}
        answer = await self.data("PUT", f"{_at(queue, job_id)}/priority", body, safe=True)
        return State(answer["state"])

    async def remove(self, queue: str, job_id: str) -> None:
        """Remove a job that does not run."""
        await self.data("DELETE", _at(queue, job_id))

    async def _move(self, queue: str, job_id: str, verb: str) -> State:
        return State((await self.data("POST", f"{_at(queue, job_id)}/{verb}"))["state"])

    # many jobs, whole queues

    async def bulk(self, queue: str, action: Action, **selection: Any) -> BulkOutcome:
        """One call about many jobs. `selection`, by wire names: ids, or filter, limit, before;
        dryRun."""
        answer = await self.data("POST", f"{_queue(queue)}/jobs/{action}", selection)
        return BulkOutcome.model_validate(answer)

    async def redrive(self, queue: str, **selection: Any) -> BulkOutcome:
        """Run dead letters again. As `bulk`, and perSecond, maxRedrives, force."""
        path = f"{_queue(queue)}/dead-letters/redrive"
        return BulkOutcome.model_validate(await self.data("POST", path, selection))

    async def pause(self, queue: str) -> None:
        """Nothing new starts."""
        await self.data("POST", f"{_queue(queue)}/pause", safe=True)

    async def resume(self, queue: str) -> None:
        """Undo `pause`."""
        await self.data("POST", f"{_queue(queue)}/resume", safe=True)

    async def clean(self, queue: str, *, grace_ms: int = 0, state: State = State.COMPLETED) -> int:
        """Remove ended jobs; how many."""
        body = {"grace": grace_ms, "status": state.value}
        return int((await self.data("POST", f"{_queue(queue)}/clean", body))["removed"])

    async def drain(self, queue: str, *, delayed: bool = False) -> int:
        """Remove jobs that have not started, with `delayed` also delayed ones; how many."""
        removed, more = 0, True
        while more:
            answer = await self.data("POST", f"{_queue(queue)}/drain", {"delayed": delayed})
            removed, more = removed + int(answer["removed"]), bool(answer["more"])
        return removed

    async def delete_queue(self, queue: str, *, force: bool = False) -> None:
        """Delete a custom queue with all of its jobs; `force`: also while it is in use."""
        await self.data("DELETE", _queue(queue) + _query({"force": "true" if force else None}))

    async def set_limits(
        self,
        queue: str,
        *,
        limiter: LimiterModel | None = None,
        concurrency: int | None = None,
        backlog: int | Literal["kept"] | None = "kept",
    ) -> QueueLimits:
        """Replace the limits; None is without, and `kept` leaves the backlog's as it is."""
        body: dict[str, Any] = {
            "limiter": None if limiter is None else limiter.model_dump(),
            "concurrency": concurrency,
        }
        if backlog != "kept":
            body["backlog"] = backlog
        answer = await self.data("PUT", f"{_queue(queue)}/limits", body, safe=True)
        return QueueLimits.model_validate(answer)


def _job(
    data: Mapping[str, Any],
    name: str | None,
    options: JobOptions | None,
    option_fields: Mapping[str, Any],
) -> dict[str, Any]:
    job: dict[str, Any] = {"data": dict(data)}
    if name is not None:
        job["name"] = name
    if option_fields:
        given = options.model_dump(exclude_unset=True) if options else {}
        options = JobOptions.model_validate(given | dict(option_fields))
    if options is not None:
        job["options"] = options.model_dump(by_alias=True, exclude_none=True, mode="json")
    return job


def _queue(name: str) -> str:
    return f"/queue/{word(name)}"


def _at(queue: str, job_id: str) -> str:
    return f"{_queue(queue)}/job/{word(job_id)}"


def _query(given: Mapping[str, Any]) -> str:
    return "?" + urlencode({name: value for name, value in given.items() if value is not None})
