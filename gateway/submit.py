"""From a request body to queued jobs: all of it fits and is queued, or nothing is.

The engine checks payloads of the product's queues as it adds them, so the usual case is checked
once. Only when something does not fit is everything looked at again, to name every fault.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gateway import faults
from gateway.directory import Listed
from gateway.errors import Fault, InvalidJob, Kind, OtherOrganization, Refusal
from gateway.idempotency import Reused
from gateway.shapes import Submission, receipt
from gateway.tenancy import refuse_taken
from gateway.tracing import submitting
from schemas import JobOptions
from schemas.spec import PAYLOAD_TOO_LARGE
from streams import Added, NewJob
from streams.errors import KeyReused
from streams.once import OnceKey

FAULTS_PER_JOB_MAX = 10
_SUBMISSIONS = TypeAdapter(list[Submission])


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


PLATFORM = Way()


async def submit_one(
    listed: Listed, value: Any, way: Way = PLATFORM
) -> tuple[dict[str, Any], bool]:
    """Queue one job; its receipt, and whether that is a repeated one.

    Raises InvalidJob, OtherOrganization, Reused, and as the engine does."""
    try:
        job = Submission.model_validate(value)
        _check(listed, [job], way)
        await refuse_taken(listed, way.organization_id, _named_ids([job]))
        with submitting(way.trace, listed.name, [_trace_named(job)]) as told:
            new = NewJob(job.name or listed.name, job.data, _traced(job.options, told.trace))
            if way.key is None:
                added, replayed = await listed.together.add(new), False
            else:
                (added,), replayed = await _once(listed, [new], way.key)
            told.stored([added.id])
        if added.deduplicated:
            await refuse_taken(listed, way.organization_id, [added.id])
    except (ValidationError, InvalidJob) as error:
        raise _refused(error, faults_of(listed, value)) from None
    return receipt(listed.name, new.name, added), replayed


async def submit_many(
    listed: Listed, values: list[Any], way: Way = PLATFORM, place: faults.Path = ()
) -> tuple[list[dict[str, Any]], bool]:
    """Queue all jobs or none; receipts in the order of `values`, which lie at `place` in the body,
    and whether they are repeated ones.

    Raises as `submit_one`."""
    try:
        jobs = _SUBMISSIONS.validate_python(values)
        _check(listed, jobs, way)
        await refuse_taken(listed, way.organization_id, _named_ids(jobs))
        with submitting(way.trace, listed.name, [_trace_named(job) for job in jobs]) as told:
            new = [
                NewJob(job.name or listed.name, job.data, _traced(job.options, told.trace))
                for job in jobs
            ]
            if way.key is None:
                added, replayed = await listed.queue.add_many(new), False
            else:
                added, replayed = await _once(listed, new, way.key)
            told.stored([one.id for one in added])
        known = [one.id for one in added if one.deduplicated]
        await refuse_taken(listed, way.organization_id, known)
    except (ValidationError, InvalidJob) as error:
        raise _refused(error, _all_faults(listed, values, place)) from None
    receipts = [receipt(listed.name, job.name, one) for job, one in zip(new, added, strict=True)]
    return receipts, replayed


def _named_ids(jobs: Sequence[Submission]) -> list[str]:
    """The ids that submitters chose."""
    return [job.options.job_id for job in jobs if job.options and job.options.job_id]


async def _once(listed: Listed, jobs: list[NewJob], key: OnceKey) -> tuple[list[Added], bool]:
    try:
        return await listed.queue.add_once(jobs, key)
    except KeyReused:
        raise Reused("Another body was sent with this Idempotency-Key; take a new one.") from None


def check_many(listed: Listed, values: list[Any], place: faults.Path = ()) -> None:
    """Raises what `submit_many` would raise because of the jobs themselves."""
    found = _all_faults(listed, values, place)
    if found:
        raise InvalidJob("Nothing was queued; `errors` says what does not fit.", found)


def _all_faults(listed: Listed, values: list[Any], place: faults.Path) -> list[Fault]:
    return [
        fault for i, value in enumerate(values) for fault in faults_of(listed, value, *place, i)
    ]


def _trace_named(job: Submission) -> str | None:
    return job.options.traceparent if job.options else None


def _traced(options: JobOptions | None, trace: str | None) -> JobOptions | None:
    """What a submitter says about one job wins over the header of the request."""
    if trace is None:
        return options
    if options is None:
        return JobOptions.model_validate({"traceparent": trace})
    return options.model_copy(update={"traceparent": options.traceparent or trace})


def faults_of(listed: Listed, value: Any, *index: str | int) -> list[Fault]:
    """What is wrong with one submitted job (`index`: its place in the body), at most ten."""
    found: list[Fault] = []
    try:
        Submission.model_validate(value)
    except ValidationError as error:
        found += faults.of_model(error, value, index)
    data = value.get("data") if isinstance(value, dict) else None
    if isinstance(data, dict):
        found += _payload_faults(listed, data, (*index, "data"))
    return found[:FAULTS_PER_JOB_MAX]


def _payload_faults(listed: Listed, data: dict[str, Any], place: faults.Path) -> list[Fault]:
    if listed.spec is not None and listed.spec.payload is not None:
        try:
            listed.spec.payload.model_validate(data)
        except ValidationError as error:
            return faults.of_model(error, data, place)
    return faults.of_schema(listed.mismatches(data), place)


def _check(listed: Listed, jobs: Sequence[Submission], way: Way) -> None:
    """What only the gateway knows: who submits, and the JSON Schema that workers registered."""
    own = way.organization_id
    if own is not None and any(job.data.get("organizationId") != own for job in jobs):
        raise OtherOrganization("Every job must name your organization (data.organizationId).")
    if listed.checker is not None and any(listed.mismatches(job.data) for job in jobs):
        raise InvalidJob("")


def _refused(error: ValidationError | InvalidJob, found: list[Fault]) -> Refusal:
    # The engine may refuse more than the models say; then its own words have to do.
    if isinstance(error, ValidationError):
        found = found or faults.of_model(error, None)
        if {one["type"] for one in error.errors(include_input=False)} == {PAYLOAD_TOO_LARGE}:
            return JobTooBig("Nothing was queued; `errors` says what is too large.", found)
    return InvalidJob("Nothing was queued; `errors` says what does not fit.", found)
