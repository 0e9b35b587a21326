"""From NewJob to the arguments of `add`. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import TypeAdapter

from schemas.fields import WebUrl
from schemas.spec import CallbackEvents, QueueSpec
from streams.errors import TooBig
from streams.job import NewJob, new_ids
from streams.options import Resolved, resolve
from streams.scripts import Argument

INLINE_BYTES = 32 * 1024
"""Payloads and results above this are put aside in `blobs`."""
PAYLOAD_BYTES = 16 * 1024 * 1024
CALL_JOBS = 500
CALL_BYTES = 1024 * 1024


_URL: TypeAdapter[str] = TypeAdapter(WebUrl)
NO_TENANT = "default"


def _tenant(data: Mapping[str, Any]) -> str:
    """Whose job it is. Only the product's payloads must say so."""
    tenant = data.get("organizationId")
    return tenant if isinstance(tenant, str) and tenant else NO_TENANT


def _callback_url(job: NewJob, data: Mapping[str, Any]) -> str | None:
    """Where the ending is to be reported. ValidationError when `data.callbackUrl` is no URL."""
    if job.options and job.options.callback_url:
        return job.options.callback_url
    url = data.get("callbackUrl")
    return None if url is None else _URL.validate_python(url)


@dataclass(slots=True)
class Batch:
    """Jobs for one call of `add`: ids in order, and the script's runs."""

    ids: list[str]
    delayed: list[bool]
    args: list[Argument]


def _callback(spec: QueueSpec, url: str, data: Mapping[str, Any]) -> bytes:
    events = (
        spec.events(data)
        if spec.events
        else CallbackEvents(f"{spec.name}.completed", f"{spec.name}.failed")
    )
    return orjson.dumps(
        {
            "url": url,
            "completed": events.completed,
            "failed": events.failed,
            "organizationId": _tenant(data),
        }
    )


def batches(spec: QueueSpec, jobs: Sequence[NewJob]) -> Iterator[Batch]:
    """The jobs cut into calls of at most 500 jobs and about 1 MiB, consecutive jobs with the same
    options sharing a run. Raises TooBig, or TypeError for data that is not JSON."""
    fresh = new_ids(len(jobs))
    batch, size = Batch([], [], []), 0
    last: tuple[Resolved, str] | None = None
    count_at = 0
    for job, fresh_id in zip(jobs, fresh, strict=True):
        options, data = job.options, job.data if job.data is not None else {}
        resolved = resolve(_shared(options), spec.defaults)
        payload = orjson.dumps(data)
        url = _callback_url(job, data)
        flags = resolved.flags + ("C" if url else "") + ("B" if len(payload) > INLINE_BYTES else "")
        if len(payload) > PAYLOAD_BYTES:
            raise TooBig(f"the payload has {len(payload)} bytes; at most {PAYLOAD_BYTES} fit")
        if batch.ids and (len(batch.ids) == CALL_JOBS or size + len(payload) > CALL_BYTES):
            yield batch
            batch, size, last = Batch([], [], []), 0, None
        args = batch.args
        if last is None or last[0] is not resolved or last[1] != flags:
            args += (resolved.priority, resolved.delay_ms, resolved.expires_ms, flags, 0)
            last, count_at = (resolved, flags), len(args) - 1
        args[count_at] += 1  # type: ignore[operator]
        job_id = (options.job_id if options else None) or fresh_id
        big = "B" in flags
        body = b'{"name":%b,"data":%b,"opts":%b}' % (
            orjson.dumps(job.name or spec.name),
            b"null" if big else payload,
            resolved.opts,
        )
        args += (job_id, body)
        if url:
            args.append(_callback(spec, url, data))
        if big:
            args.append(payload)
        batch.ids.append(job_id)
        batch.delayed.append(resolved.delay_ms > 0)
        size += len(body) + (len(payload) if big else 0)
    if batch.ids:
        yield batch


def _shared(options: Any) -> Any:
    """Options without what belongs to one job alone, so that their resolution can be shared."""
    if options is None or (options.job_id is None and options.callback_url is None):
        return options
    return options.model_copy(update={"job_id": None, "callback_url": None})
