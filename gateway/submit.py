"""From a request body to queued jobs: all of it fits and is queued, or nothing is.

The engine checks payloads of the product's queues as it adds them, so the usual case is checked
once. Only when something does not fit is everything looked at again, to name every fault.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from gateway import faults
from gateway.directory import Listed
from gateway.errors import Fault, InvalidJob, Kind, OtherOrganization, Refusal
from gateway.idempotency import Reused
from gateway.payload_schema import PayloadSchema
from gateway.shapes import Submission, receipt
from gateway.tracing import submitting
from schemas import JobOptions
from schemas.identity import JobRef, chosen_ref
from schemas.spec import PAYLOAD_TOO_LARGE
from streams import Added, NewJob
from streams.errors import KeyReused
from streams.once import OnceKey

FAULTS_PER_JOB_MAX = 10
NOTHING_QUEUED = "Nothing was queued; `errors` says what does not fit."
JOBS_PER_TURN = 20
"""So many jobs are validated before others are served."""


class JobTooBig(Refusal):
    """The body fits, but a job in it carries more than its queue passes on."""

    kind = Kind(413, "payload_too_large", "The job is too large")


@dataclass(frozen=True, slots=True)
class Way:
    """How jobs come in, beside what they are."""

    trace: str | None = None
    """The W3C trace context they are part of."""
    organization_id: str | None = None
    """The tenant who submits them, and whom they must name; None: the platform."""
    key: OnceKey | None = None
    """What makes a second submission the same as the first."""
    refs: Sequence[str] = ()
    """The ids inside Redis, for jobs whose ids are made here."""

    def ref_of(self, job: Submission, number: int) -> str:
        """The id inside Redis of the job at this place; empty: it gets a fresh one."""
        if self.refs:
            return self.refs[number]
        chosen = job.options.job_id if job.options else None
        return chosen_ref(self.organization_id, chosen) if chosen else ""


class Accepted(NamedTuple):
    """A job that was queued, or was there already."""

    receipt: dict[str, Any]
    ref: JobRef
    replayed: bool
    """The same was answered before."""


PLATFORM = Way()


async def submit_one(listed: Listed, value: Any, way: Way = PLATFORM) -> Accepted:
    """Queue one job. Raises InvalidJob, OtherOrganization, Reused, and as the engine does."""
    try:
        job = Submission.model_validate(value)
        await _check(listed, [job], way)
        with submitting(way.trace, listed.name, [_trace_named(job)]) as told:
            options = _traced(job.options, told.trace)
            new = NewJob(job.name or listed.name, job.data, options, way.ref_of(job, 0))
            if way.key is None:
                added, replayed = await listed.together.add(new), False
            else:
                (added,), replayed = await _once(listed, [new], way.key)
            told.stored([added.id])
    except (ValidationError, InvalidJob) as error:
        found = await _all_faults(listed, [((), value)])
        raise _refused(error, found or _told(error)) from None
    return Accepted(receipt(listed.name, new.name, added), JobRef(added.ref), replayed)


async def submit_many(
    listed: Listed, values: list[Any], way: Way = PLATFORM, place: faults.Path = ()
) -> tuple[list[dict[str, Any]], bool]:
    """Queue all jobs or none; receipts in the order of `values`, which lie at `place` in the body,
    and whether they are repeated ones.

    Raises as `submit_one`."""
    try:
        jobs = await _validated(values)
        await _check(listed, jobs, way, place)
        with submitting(way.trace, listed.name, [_trace_named(job) for job in jobs]) as told:
            new = [
                NewJob(
                    job.name or listed.name,
                    job.data,
                    _traced(job.options, told.trace),
                    way.ref_of(job, number),
                )
                for number, job in enumerate(jobs)
            ]
            if way.key is None:
                added, replayed = await listed.queue.add_many(new), False
            else:
                added, replayed = await _once(listed, new, way.key)
            told.stored([one.id for one in added])
    except (ValidationError, InvalidJob) as error:
        found = await _all_faults(listed, _placed(values, place))
        raise _refused(error, found or _told(error)) from None
    receipts = [receipt(listed.name, job.name, one) for job, one in zip(new, added, strict=True)]
    return receipts, replayed


async def _once(listed: Listed, jobs: list[NewJob], key: OnceKey) -> tuple[list[Added], bool]:
    try:
        return await listed.queue.add_once(jobs, key)
    except KeyReused:
        raise Reused("Another body was sent with this Idempotency-Key; take a new one.") from None


async def check_many(listed: Listed, values: list[Any], place: faults.Path = ()) -> None:
    """Raises what `submit_many` would raise because of the jobs themselves."""
    found = await _all_faults(listed, _placed(values, place))
    if not found and listed.checker is not None:
        found = await _mismatches(listed.checker, [value["data"] for value in values], place)
    if found:
        raise InvalidJob(NOTHING_QUEUED, found)


async def check_shapes(listed: Listed, values: list[Any], place: faults.Path = ()) -> None:
    """Raises InvalidJob unless each of these documents is a job, whatever its data."""
    try:
        await _validated(values)
    except ValidationError as error:
        found = await _all_faults(listed, _placed(values, place))
        raise InvalidJob(NOTHING_QUEUED, found or faults.of_model(error, None)) from None


def _placed(values: list[Any], place: faults.Path) -> list[tuple[faults.Path, Any]]:
    return [((*place, index), value) for index, value in enumerate(values)]


def _trace_named(job: Submission) -> str | None:
    return job.options.traceparent if job.options else None


def _traced(options: JobOptions | None, trace: str | None) -> JobOptions | None:
    """What a submitter says about one job wins over the header of the request."""
    if trace is None:
        return options
    if options is None:
        return JobOptions.model_validate({"traceparent": trace})
    return options.model_copy(update={"traceparent": options.traceparent or trace})


async def _validated(values: list[Any]) -> list[Submission]:
    """Raises ValidationError at the first that does not fit."""
    jobs: list[Submission] = []
    for value in values:
        jobs.append(Submission.model_validate(value))
        if len(jobs) % JOBS_PER_TURN == 0:
            await asyncio.sleep(0)
    return jobs


async def _all_faults(listed: Listed, placed: list[tuple[faults.Path, Any]]) -> list[Fault]:
    """The first things that are wrong with submitted jobs (each with its place in the body), at
    most ten of each; of what a registered schema says, as much as can be said in a moment."""
    found: list[Fault] = []
    fitting: list[tuple[faults.Path, dict[str, Any]]] = []
    for number, (place, value) in enumerate(placed, start=1):
        if number % JOBS_PER_TURN == 0:
            await asyncio.sleep(0)
        wrong = _faults_of_model(Submission, value, place)
        data = value.get("data") if isinstance(value, dict) else None
        if isinstance(data, dict):
            payload = listed.spec.payload if listed.spec is not None else None
            unfit = _faults_of_model(payload, data, (*place, "data")) if payload else []
            if not unfit:
                fitting.append(((*place, "data"), data))
            wrong += unfit
        found += wrong[:FAULTS_PER_JOB_MAX]
        if len(found) >= faults.FAULTS_MAX:
            return found[: faults.FAULTS_MAX]
    if listed.checker is not None:
        for index, mismatch in listed.checker.at_once([data for _, data in fitting]):
            found += faults.of_schema([mismatch], fitting[index][0])
    return found[: faults.FAULTS_MAX]


def _faults_of_model(model: type[BaseModel], value: Any, place: faults.Path) -> list[Fault]:
    try:
        model.model_validate(value)
    except ValidationError as error:
        return faults.of_model(error, value, place)
    return []


async def _check(
    listed: Listed, jobs: Sequence[Submission], way: Way, place: faults.Path | None = None
) -> None:
    """What only the gateway knows: who submits, and the JSON Schema that workers registered.
    `place` of an array in the body; None: the body is the job."""
    own = way.organization_id
    if own is not None and any(job.data.get("organizationId") != own for job in jobs):
        raise OtherOrganization("Every job must name your organization (data.organizationId).")
    if listed.checker is not None:
        found = await _mismatches(listed.checker, [job.data for job in jobs], place)
        if found:
            raise InvalidJob(NOTHING_QUEUED, found)


async def _mismatches(
    schema: PayloadSchema, payloads: list[dict[str, Any]], place: faults.Path | None
) -> list[Fault]:
    found: list[Fault] = []
    for index, mismatch in await schema.mismatches(payloads):
        where = ("data",) if place is None else (*place, index, "data")
        found += faults.of_schema([mismatch], where)
    return found[: faults.FAULTS_MAX]


def _told(error: ValidationError | InvalidJob) -> list[Fault]:
    return list(error.faults) if isinstance(error, InvalidJob) else []


def _refused(error: ValidationError | InvalidJob, found: list[Fault]) -> Refusal:
    # The engine may refuse more than the models say; then its own words have to do.
    if isinstance(error, ValidationError):
        found = found or faults.of_model(error, None)
        if _is_too_large(error):
            return JobTooBig("Nothing was queued; `errors` says what is too large.", found)
    return InvalidJob(NOTHING_QUEUED, found)


def _is_too_large(error: ValidationError) -> bool:
    """Whether size is all that is wrong."""
    if error.error_count() > faults.FAULTS_MAX:
        return False
    return {one["type"] for one in error.errors(include_input=False)} == {PAYLOAD_TOO_LARGE}
