"""The outbox relay: an ending that owes a callback becomes a job of the webhooks queue.

Any number of relays may run: the callback's id is deterministic, so a second add changes nothing,
and only then is the entry forgotten.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from schemas import identity
from schemas.fields import first_fault
from schemas.job import JobOptions
from schemas.spec import QueueSpec, catalog
from streams import NewJob, Redis
from streams.encode import batches
from streams.errors import InvalidValue, NotDurable, SealedError
from streams.sanitize import clean_text, encode_value
from streams.schedules import Schedules
from streams.sealing import open_stored
from streams.upkeep import Done, Owed, Upkeep

WEBHOOKS = "webhooks"
SUMMARY_BYTES = 16 * 1024
"""Of a callback that cannot be queued: where it was to go."""


def callback_id(queue: str, owed: Owed) -> str:
    """The same however often the entry is relayed, and that of no other entry."""
    ending = (owed.job_id, owed.added, owed.ending)
    return identity.callback_id(queue, owed.entry.decode(), ending)


def callback_job(spec: QueueSpec, owed: Owed) -> NewJob:
    """The webhooks job for an ending."""
    event = owed.to[owed.event]
    data = {
        "url": owed.to["url"],
        "method": "POST",
        "payload": callback_payload(spec, owed),
        "event": event,
        "organizationId": owed.to["organizationId"],
    }
    job_id = callback_id(spec.name, owed)
    # Only what is set takes part in the merge with the queue's defaults.
    traced = {"traceparent": owed.to["traceparent"]} if "traceparent" in owed.to else {}
    options = JobOptions.model_construct(**traced)
    return NewJob(event, data, options, ref=job_id, is_sealed=owed.is_sealed)


def callback_payload(spec: QueueSpec, owed: Owed) -> dict[str, Any]:
    """What is told about an ending; the order of members is the order on the wire.

    It follows from the outbox entry alone, so that two relays write the same bytes.
    """
    told: dict[str, Any] = {"event": owed.to[owed.event]}
    result = owed.value
    if owed.event != "failed" and spec.callback_members is not None and isinstance(result, dict):
        return told | {name: result[name] for name in spec.callback_members if name in result}
    told |= {
        "queue": spec.name,
        "jobId": identity.shown_id(owed.job_id),
        "occurredAt": _moment(owed.entry),
    }
    if owed.event == "failed":
        return told | {"error": {key: result.get(key) for key in ("reason", "code", "message")}}
    if isinstance(result, dict) and not result.keys() & told.keys():
        return told | result
    return told | {"result": result}


def _moment(entry: bytes) -> str:
    """When an ending was written down: its entry begins with the time, by the clock of Redis."""
    moment = datetime.fromtimestamp(int(entry.split(b"-")[0]) / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Relay:
    """Passes the endings of one queue on."""

    def __init__(self, spec: QueueSpec, redis: Redis) -> None:
        self._spec = spec
        self._from = Upkeep(spec, redis)
        target = catalog().get(WEBHOOKS) or QueueSpec(WEBHOOKS)
        self._to = Upkeep(target, redis)
        self._schedules = Schedules(redis)
        self._after = b""
        """Endings up to this entry are queued, but replicas were too slow to confirm it."""

    async def pass_on(self, _interval_ms: int = 0) -> Done:
        """Queue the callbacks of the oldest endings; answers how many. An ending is forgotten when
        its callback is as durable as a submission. Those whose replicas are slow stay for a later
        turn and hold up no others; one that cannot be turned into a callback becomes a dead letter
        of the webhooks queue. A callback of a sealed job is sealed. Raises NotDurable, Unavailable,
        and SealedError where a process with the key must do it."""
        owed, more = await self._from.owed(self._after)
        self._after = b""
        jobs, late = [], None
        for item in owed:
            try:
                jobs.append(self._checked(self._opened(item)))
            except SealedError:
                raise  # a process with the key passes it on
            except Exception as error:  # noqa: BLE001 - of data alone: Redis is not asked
                await self._refuse(item, error)
        cipher = self._to.redis.cipher
        for batch in batches(self._to.spec, await self._schedules.fill(jobs), cipher):
            try:
                reply = await self._to.forward(batch.args)
            except NotDurable as error:
                late = error
                continue
            known = len(reply[2::2])
            self._to.redis.tally.added[self._to.spec.name] += len(batch.ids) - known
        if late is not None:
            self._after = owed[-1].entry
            raise late
        if owed:
            queued = [(item, callback_id(self._spec.name, item)) for item in owed]
            await self._from.acknowledge(queued)
        return Done(len(owed), more)

    def _opened(self, owed: Owed) -> Owed:
        """The ending with its value opened. Raises SealedError, InvalidValue."""
        if not owed.is_sealed or owed.event == "failed":
            return owed
        cipher = self._to.redis.cipher
        value = open_stored(cipher, self._spec.name, owed.job_id, "result", owed.value)
        return replace(owed, value=value)

    def _checked(self, owed: Owed) -> NewJob:
        """The callback job of an ending, after everything that `add` does with it but sending."""
        if owed.fault:
            raise InvalidValue(owed.fault)
        job = callback_job(self._spec, owed)
        if self._to.spec.payload is not None:
            self._to.spec.payload.model_validate(job.data)
        for _ in batches(self._to.spec, [job]):
            pass
        return job

    async def _refuse(self, owed: Owed, error: Exception) -> None:
        """Make the callback a dead letter, with its destination and without its payload."""
        fault = first_fault(error) if isinstance(error, ValidationError) else error
        event = owed.to.get(owed.event)
        data = {"event": event, "payload": None} | {
            name: owed.to.get(name) for name in ("url", "organizationId")
        }
        try:
            body = encode_value({"name": str(event), "data": data, "opts": {}}, SUMMARY_BYTES)
        except InvalidValue:
            body = b'{"name":"callback","data":null,"opts":{}}'
        message = f"the callback cannot be queued: {clean_text(fault, 500)}"
        await self._to.refuse(callback_id(self._spec.name, owed), body, message)
