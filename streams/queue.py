"""A queue in the hands of producers and operators."""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any

import orjson

from schemas.job import JobOptions
from schemas.spec import QueueSpec, catalog
from streams.connection import Redis, connect
from streams.encode import CALL_JOBS, Batch, batches, verify
from streams.job import Added, NewJob
from streams.looking import DEEPEST_OFFSET, SILENT_MS, Counts, Looking
from streams.once import OnceKey, answered, said
from streams.once import added as added_by
from streams.operations import Operations
from streams.schedules import Schedules
from streams.store import Store, registered

CALLS_IN_FLIGHT = 4
STEPS_PER_TURN = 100


class Queue(Looking, Operations):
    """Adds jobs, finds them, and lets an operator act on them.

    Every verb may raise Unavailable (try again). A queue named in the catalogue checks payloads
    against its model: pydantic.ValidationError says where they do not fit.
    """

    def __init__(self, queue: str | QueueSpec, redis: Redis | str | None = None) -> None:
        if isinstance(queue, str):
            queue = catalog().get(queue) or QueueSpec(queue)
        self.spec = queue
        self.name = queue.name
        self.redis = redis if isinstance(redis, Redis) else connect(redis)
        self.store = Store(self.redis, queue.name)
        self._schedules = Schedules(self.redis) if queue.scheduled else None

    async def add(
        self,
        name: str,
        data: Mapping[str, Any] | None = None,
        options: JobOptions | None = None,
        **option_fields: Any,
    ) -> Added:
        """Add one job; it is in Redis when this returns. Options as a JobOptions or by keyword.

        Raises pydantic.ValidationError, TooBig, Full, BacklogFull."""
        if option_fields:
            given = options.model_dump(exclude_unset=True) if options else {}
            options = JobOptions.model_validate(given | option_fields)
        return (await self.add_many([NewJob(name, data, options)]))[0]

    def check(self, job: NewJob) -> None:
        """Raises pydantic.ValidationError unless the payload fits the queue."""
        if self.spec.payload is not None:
            self.spec.payload.model_validate(job.data if job.data is not None else {})

    def _check_all(self, jobs: Sequence[NewJob]) -> None:
        for job in jobs:
            self.check(job)

    async def add_many(self, jobs: Sequence[NewJob], *, checked: bool = False) -> list[Added]:
        """Add jobs in order; each call to Redis (500 jobs, 1 MiB) is atomic.

        All are checked before the first is stored, unless the caller has done so (`checked`), and
        the queue's backlog limit holds for all of them together. Raises as `add`."""
        encoded = await self._encode(jobs, checked=checked)
        if isinstance(encoded, list) and len(encoded) == 1:
            return await self._send(encoded[0], self._following(0))
        await self.store.ready()
        added: list[Added] = []
        sending: list[asyncio.Task[list[Added]]] = []
        following = self._following(len(jobs))
        try:
            for batch in encoded:
                if following is not None and sending:
                    added += await sending.pop(0)  # whether all fit; meanwhile this was encoded
                    following = None
                left = following and following - len(batch.ids)
                sending.append(asyncio.create_task(self._send(batch, left)))
                await asyncio.sleep(0)
                if len(sending) >= CALLS_IN_FLIGHT:
                    added += await sending.pop(0)
            while sending:
                added += await sending.pop(0)
        finally:
            if sending:
                await asyncio.gather(*sending, return_exceptions=True)
        return added

    async def add_once(self, jobs: Sequence[NewJob], key: OnceKey) -> tuple[list[Added], bool]:
        """As `add_many`, once for 24 hours: what was added under `key` is answered again. True: all
        of it had been answered before.

        Calls of a long submission go one after the other, so one that was cut off is completed.
        Raises as `add_many`, and KeyReused."""
        encoded = await self._encode(jobs)
        found: list[Added] = []
        replayed = bool(jobs)
        following = self._following(len(jobs))
        for number, batch in enumerate(encoded):
            left = following and following - len(batch.ids)
            some, again = await self._send_once(batch, key, number, left)
            following = None
            found += some
            replayed = replayed and again
        return found, replayed

    async def _encode(self, jobs: Sequence[NewJob], *, checked: bool = False) -> Iterable[Batch]:
        """Check all jobs before any of them is sent, so that one that does not fit leaves nothing
        behind. The batches; those of more than one call are encoded while others are under way."""
        if not checked and self.spec.payload is not None:
            await _in_turns(self._check_all, jobs)
        if self._schedules is not None:
            jobs = await self._schedules.fill(jobs)
        if len(jobs) <= CALL_JOBS:
            return list(batches(self.spec, jobs, self.redis.cipher))
        await _in_turns(partial(verify, self.spec), jobs)
        return batches(self.spec, jobs, self.redis.cipher)

    def _following(self, count: int) -> int | None:
        """So many jobs have to fit at once; None: the queue takes every job, because what the
        system itself submits must not get lost."""
        return None if self.spec.internal else count

    async def _send(self, batch: Batch, following: int | None) -> list[Added]:
        return self._added(batch, await self.store.add(batch.args, following=following))

    async def _send_once(
        self, batch: Batch, key: OnceKey, number: int, following: int | None
    ) -> tuple[list[Added], bool]:
        nonce = secrets.token_hex(8)
        once = said(key, nonce, batch)
        part = key.part(number), once
        reply = await self.store.add(batch.args, following=following, once=part)
        if reply[0] == b"KEPT":
            return answered(key, nonce, reply)
        return self._added(batch, reply), False

    def _added(self, batch: Batch, reply: Sequence[Any]) -> list[Added]:
        self.redis.tally.added[self.name] += len(batch.ids) - len(reply[2::2])
        return added_by(batch, reply)

    async def register(self) -> bool:
        """Make this queue known to gateways; True: it was not. The payload's JSON Schema goes with
        it."""
        schema = self.spec.payload.model_json_schema() if self.spec.payload else None
        about: dict[str, Any] = {"schema": schema, "description": self.spec.description}
        if self.spec.internal:
            about["internal"] = True
        return await self.store.register(self.name, orjson.dumps(about))


async def _in_turns(verb: Callable[[Sequence[NewJob]], object], jobs: Sequence[NewJob]) -> None:
    """Do something with all jobs; other tasks run after every 100."""
    for at in range(0, len(jobs), STEPS_PER_TURN):
        verb(jobs[at : at + STEPS_PER_TURN])
        if len(jobs) > STEPS_PER_TURN:
            await asyncio.sleep(0)


@cache
def _shipped() -> dict[str, dict[str, Any] | None]:
    return {
        spec.name: spec.payload.model_json_schema() if spec.payload else None
        for spec in catalog().values()
    }


async def queue_names(redis: Redis) -> dict[str, dict[str, Any] | None]:
    """Every known queue and the JSON Schema of its payload: the product's, then those that
    workers registered."""
    known = {name: queue.schema for name, queue in (await registered(redis)).items()}
    return known | _shipped()


__all__ = ["DEEPEST_OFFSET", "SILENT_MS", "Counts", "OnceKey", "Queue", "queue_names"]
