"""From records to what people see. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from schemas.identity import JobRef
from schemas.job import AttemptError, JobView, State
from streams.options import opts_of
from streams.record import Header, fields
from streams.sealing import FLAG, Cipher, show_stored


def started_on(worker: str, job_id: str, beats: Mapping[str, bytes]) -> int | None:
    """When a worker says it started a job; None when it has not said so yet."""
    beat = beats.get(worker)
    if beat is None:
        return None
    running: dict[str, int] = orjson.loads(beat.partition(b":")[2]).get("running", {})
    return running.get(job_id)


def job_view(
    queue: str,
    state: State,
    where: bytes,
    flat: list[bytes],
    extra: Mapping[str, Any],
    cipher: Cipher | None = None,
) -> JobView:
    """A job's view. `where` is its stream entry or, delayed, its due time. `extra` may hold
    progress, payload, result (bytes of JSON) and beats, now_ms for active jobs."""
    record = fields(flat)
    header = Header.parse(record[b"h"])
    body = orjson.loads(record[b"b"])
    history = orjson.loads(record[b"x"]) if b"x" in record else []
    errors = [AttemptError.model_construct(**item) for item in history]
    ref = JobRef(record[b"j"].decode())
    running = state is State.ACTIVE
    processed_on = body.get("processedOn")
    if running:
        _, worker, idle = where.decode().split(" ")
        beats, now_ms = extra.get("beats", {}), extra.get("now_ms", 0)
        processed_on = started_on(worker, ref, beats) or (now_ms - int(idle)) or None
    elif history and processed_on is None:
        processed_on = history[-1].get("started")
    payload, result = extra.get("payload"), extra.get("result")
    data = orjson.loads(payload) if payload else body["data"]
    returned = orjson.loads(result) if result else body.get("returnvalue")
    if FLAG in header.flags:
        data = show_stored(cipher, queue, ref, "data", data)
        returned = show_stored(cipher, queue, ref, "result", returned)
    return JobView.model_construct(
        id=ref.shown,
        ref=ref,
        organization_id=owner_in(data),
        name=body["name"],
        queue=queue,
        state=state,
        data=data,
        opts=opts_of(body) | {"priority": header.priority},
        progress=orjson.loads(extra["progress"]) if extra.get("progress") else None,
        attempts_made=header.made,
        attempts_started=header.started + running,
        stalled_count=header.stalled,
        timestamp=int(header.added),
        processed_on=processed_on,
        finished_on=int(header.finished) if header.finished else None,
        delay_until=int(float(where)) if state is State.DELAYED else None,
        returnvalue=returned,
        failed_reason=errors[-1].message if errors and state is State.FAILED else None,
        errors=errors,
    )


def owner_in(data: Any) -> str | None:
    """The organization that a job's data names."""
    owner = data.get("organizationId") if isinstance(data, dict) else None
    return owner if isinstance(owner, str) else None


class Glance(NamedTuple):
    """What lists and searches look at of a job: a quarter of the work of its view.

    Times are epoch milliseconds by the clock of Redis; None where it has not happened."""

    ref: JobRef
    name: str
    data: Any
    attempts_made: int
    timestamp: int
    finished_on: int | None
    delay_until: int | None
    error: Mapping[str, Any] | None
    """Its last failed attempt."""

    @property
    def id(self) -> str:
        """The id outside."""
        return self.ref.shown


def glance(
    queue: str,
    state: State,
    where: bytes,
    flat: list[bytes],
    payload: bytes | None,
    cipher: Cipher | None = None,
) -> Glance:
    """A glance at a record; `where` as for `job_view`, `payload` if it was put aside."""
    record = fields(flat)
    header = Header.parse(record[b"h"])
    body = orjson.loads(record[b"b"])
    history = orjson.loads(record[b"x"]) if b"x" in record else []
    job_id = record[b"j"].decode()
    data = orjson.loads(payload) if payload else body["data"]
    if FLAG in header.flags:
        data = show_stored(cipher, queue, job_id, "data", data)
    return Glance(
        ref=JobRef(job_id),
        name=body["name"],
        data=data,
        attempts_made=header.made,
        timestamp=int(header.added),
        finished_on=int(header.finished) if header.finished else None,
        delay_until=int(float(where)) if state is State.DELAYED else None,
        error=history[-1] if history else None,
    )
