"""From NewJob to the arguments of `add`. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson
from pydantic import TypeAdapter

from schemas.fields import NO_TENANT, WebUrl
from schemas.identity import chosen_ref
from schemas.spec import CallbackEvents, QueueSpec
from streams.errors import TooBig
from streams.job import NewJob, new_ids
from streams.options import Resolved, resolve
from streams.scripts import Argument
from streams.sealing import FLAG, Cipher, is_to_be_sealed, seal_data

INLINE_BYTES = 32 * 1024
"""Payloads and results above this are put aside in `blobs`."""
PAYLOAD_BYTES = 8 * 1024 * 1024
"""A call that stores one holds Redis for 15 to 20 ms; 16 MiB took 31 to 41 ms."""
CALL_JOBS = 500
CALL_BYTES = 1024 * 1024


_URL: TypeAdapter[str] = TypeAdapter(WebUrl)


def tenant_of(data: Mapping[str, Any]) -> str:
    """Whose job it is. Only the product's payloads must say so."""
    tenant = data.get("organizationId")
    return tenant if isinstance(tenant, str) and tenant else NO_TENANT


def _callback_url(job: NewJob, data: Mapping[str, Any]) -> str | None:
    """Where the ending is to be reported. ValidationError when `data.callbackUrl` is no URL."""
    if job.options and job.options.callback_url:
        return job.options.callback_url
    url = data.get("callbackUrl")
    return None if url is None else _URL.validate_python(url)


class Batch:
    """Jobs for one call of `add`: ids in order, and the script's runs."""

    __slots__ = ("_count_at", "_flags", "_resolved", "args", "delayed", "ids", "size")

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.delayed: list[bool] = []
        self.args: list[Argument] = []
        self.size = 0
        self._resolved: Resolved | None = None
        self._flags = ""
        self._count_at = 0

    def fits(self, size: int) -> bool:
        """Whether a job of `size` bytes may join: at most 500 jobs, about 1 MiB."""
        return not self.ids or (len(self.ids) < CALL_JOBS and self.size + size <= CALL_BYTES)

    def put(self, job_id: str, resolved: Resolved, flags: str, parts: tuple[bytes, ...]) -> None:
        """Add one job; consecutive jobs with the same options share a run."""
        args = self.args
        if self._resolved is not resolved or self._flags != flags:
            args += (resolved.priority, resolved.delay_ms, resolved.expires_ms, flags, 0)
            self._resolved, self._flags, self._count_at = resolved, flags, len(args) - 1
        args[self._count_at] += 1  # type: ignore[operator]
        args.append(job_id)
        args += parts
        self.ids.append(job_id)
        self.delayed.append(resolved.delay_ms > 0)
        self.size += sum(map(len, parts))


def _callback(spec: QueueSpec, url: str, data: Mapping[str, Any], trace: str | None) -> bytes:
    events = (
        spec.events(data)
        if spec.events
        else CallbackEvents(f"{spec.name}.completed", f"{spec.name}.failed")
    )
    callback = {
        "url": url,
        "completed": events.completed,
        "failed": events.failed,
        "organizationId": tenant_of(data),
    }
    return orjson.dumps(callback | ({"traceparent": trace} if trace else {}))


def _body(name: str, payload: bytes, opts: bytes) -> bytes:
    if opts:
        return b'{"name":%b,"data":%b,"opts":%b}' % (orjson.dumps(name), payload, opts)
    return b'{"name":%b,"data":%b}' % (orjson.dumps(name), payload)


def _payload(data: Mapping[str, Any]) -> bytes:
    payload = orjson.dumps(data)
    if len(payload) > PAYLOAD_BYTES:
        raise TooBig(f"the payload has {len(payload)} bytes; at most {PAYLOAD_BYTES} fit")
    return payload


def verify(spec: QueueSpec, jobs: Iterable[NewJob]) -> None:
    """Raise what `batches` would raise for any of these jobs.

    It costs a tenth of the encoding, so that this can go on while the first calls are under way.
    """
    dumps = orjson.dumps
    for job in jobs:
        data = job.data if job.data is not None else {}
        if len(dumps(data)) > PAYLOAD_BYTES:
            _payload(data)
        if "callbackUrl" in data or job.options is not None:
            url = _callback_url(job, data)
            if url is not None:
                _callback(spec, url, data, None)
        if not job.name.isascii():
            dumps(job.name)


def batches(
    spec: QueueSpec, jobs: Sequence[NewJob], cipher: Cipher | None = None
) -> Iterator[Batch]:
    """The jobs cut into calls, sealed where the queue is. Raises TooBig, ValidationError for a
    callback URL that is none, TypeError for data that is not JSON, or SealingUnavailable."""
    fresh = new_ids(len(jobs))
    is_sealed = is_to_be_sealed(spec, cipher)
    batch = Batch()
    for job, fresh_id in zip(jobs, fresh, strict=True):
        options, data = job.options, job.data if job.data is not None else {}
        resolved = resolve(_shared(options), spec.defaults)
        payload = _payload(data)
        ref = job.ref or fresh_id
        if not job.ref and options is not None and options.job_id:
            ref = chosen_ref(None, options.job_id)
        url = _callback_url(job, data)
        flags, parts = resolved.flags, tuple[bytes, ...]()
        if (is_sealed or job.is_sealed) and cipher is not None:
            flags += FLAG
            payload = seal_data(cipher, spec.name, ref, payload, tenant_of(data))
        if url is not None:
            flags += "C"
            parts = (_callback(spec, url, data, options.traceparent if options else None),)
        if len(payload) > INLINE_BYTES:
            flags += "B"
            parts += (payload,)
            payload = b"null"
        body = _body(job.name or spec.name, payload, resolved.opts)
        if not batch.fits(len(body) + sum(map(len, parts))):
            yield batch
            batch = Batch()
        batch.put(ref, resolved, flags, (body, *parts))
    if batch.ids:
        yield batch


def _shared(options: Any) -> Any:
    """Options without what belongs to one job alone, so that their resolution can be shared."""
    if options is None or (options.job_id is None and options.callback_url is None):
        return options
    return options.model_copy(update={"job_id": None, "callback_url": None})
