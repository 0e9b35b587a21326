"""The outbox relay: an ending that owes a callback becomes a job of the webhooks queue.

Any number of relays may run: the callback's id is deterministic, so a second add changes nothing,
and only then is the entry forgotten.
"""

from typing import Any

import orjson
from pydantic import ValidationError

from schemas.fields import first_fault
from schemas.job import JobOptions, KeepFor
from schemas.spec import QueueSpec, catalog
from streams import NewJob, Redis
from streams.encode import batches
from streams.errors import TooBig
from streams.upkeep import Done, Owed, Upkeep

WEBHOOKS = "webhooks"
KEPT = KeepFor(age=24 * 3600)
"""Callback jobs are kept this long at least: their ids are what makes a second relay harmless."""


def callback_id(queue: str, owed: Owed) -> str:
    return f"cb-{queue}-{owed.job_id}-{owed.ending}"


def callback_job(queue: str, owed: Owed) -> NewJob:
    """The webhooks job for an ending."""
    event = owed.to[owed.event]
    if owed.event == "failed":
        error = {key: owed.value.get(key) for key in ("reason", "code", "message")}
        payload: dict[str, Any] = {
            "event": event,
            "queue": queue,
            "jobId": owed.job_id,
            "error": error,
        }
    elif isinstance(owed.value, dict):
        payload = {"event": event, **owed.value}
    else:
        payload = {"event": event, "result": owed.value}
    data = {
        "url": owed.to["url"],
        "method": "POST",
        "payload": payload,
        "event": event,
        "organizationId": owed.to["organizationId"],
    }
    options = JobOptions.model_construct(job_id=callback_id(queue, owed), remove_on_complete=KEPT)
    return NewJob(event, data, options)


class Relay:
    """Passes the endings of one queue on."""

    def __init__(self, spec: QueueSpec, redis: Redis) -> None:
        self._spec = spec
        self._from = Upkeep(spec, redis)
        target = catalog().get(WEBHOOKS) or QueueSpec(WEBHOOKS)
        self._to = Upkeep(target, redis)

    async def pass_on(self, _interval_ms: int = 0) -> Done:
        """Queue the callbacks of the oldest endings; answers how many."""
        owed = await self._from.owed()
        jobs = []
        for item in owed:
            job = callback_job(self._spec.name, item)
            try:
                self._check(job)
                jobs.append(job)
            except (ValidationError, TooBig) as error:
                await self._refuse(item, job, error)
        for batch in batches(self._to.spec, jobs):
            await self._to.forward(batch.args)
        if owed:
            await self._from.paid([item.entry for item in owed])
        return Done(len(owed), len(owed) == 100)

    def _check(self, job: NewJob) -> None:
        if self._to.spec.payload is not None:
            self._to.spec.payload.model_validate(job.data)
        for _ in batches(self._to.spec, [job]):
            pass

    async def _refuse(self, owed: Owed, job: NewJob, error: Exception) -> None:
        message = first_fault(error) if isinstance(error, ValidationError) else str(error)
        data = None if isinstance(error, TooBig) else job.data
        body = orjson.dumps({"name": job.name, "data": data, "opts": {}})
        await self._to.refuse(
            callback_id(self._spec.name, owed), body, f"the callback cannot be queued: {message}"
        )
