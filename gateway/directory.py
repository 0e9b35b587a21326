"""Which queues exist, and how their payloads are checked."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gateway.admission import Admission
from gateway.coalesce import Coalescer
from gateway.errors import QueueNotFound
from gateway.payload_schema import PayloadSchema, compiled
from schemas.job import QueueName
from schemas.spec import QueueSpec, catalog
from streams import Queue, Redis
from streams.errors import CredstreamError
from streams.store import RegisteredQueue, registered

FRESH_S = 2.0
_NAME = TypeAdapter(QueueName)


@dataclass(frozen=True, slots=True)
class Listed:
    """One known queue."""

    name: str
    queue: Queue
    spec: QueueSpec | None = None
    """The product's own queues: the engine checks their payloads by this."""
    schema: dict[str, Any] | None = None
    is_internal: bool = False
    """No organization is told that it exists."""
    checker: PayloadSchema | None = None
    """A JSON Schema that workers registered: the gateway checks by this. For a queue of the product
    it says what the workers can do beyond the payload model."""
    admission: Admission = field(default_factory=Admission, compare=False)
    together: Coalescer = field(init=False, compare=False)
    """The way in for single jobs."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "together", Coalescer(self.queue, self.admission))


class Directory:
    """The product's queues, and those that custom workers and producers registered in Redis.

    What is registered is read at most every 2 s, and once more before a name is called unknown: a
    queue can be used as soon as its worker has registered it.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.admission = Admission()
        """Of the event loop that serves these queues."""
        self._product = {
            name: Listed(
                name,
                Queue(spec, redis),
                spec,
                is_internal=spec.internal,
                admission=self.admission,
            )
            for name, spec in catalog().items()
        }
        self._custom: dict[str, Listed] = {}
        self._read_at_s = self._asked_at_s = float("-inf")
        self._reading = asyncio.Lock()

    async def all(self) -> Mapping[str, Listed]:
        """Every known queue by name."""
        await self._read_since(_now_s() - FRESH_S)
        return self._product | self._custom

    async def find(self, name: str) -> Listed:
        """The queue called `name`, or QueueNotFound. Product queues are found without Redis."""
        if name in self._product:
            await self._hear_workers()
            return self._product[name]
        if _is_name(name):
            asked_at_s = _now_s()
            for oldest_s in (asked_at_s - FRESH_S, asked_at_s):
                await self._read_since(oldest_s)
                if listed := self._custom.get(name):
                    return listed
        raise unknown_queue(name)

    def unlisted(self, name: str) -> Queue:
        """A queue that is not known here. Raises QueueNotFound for what is no name of a queue."""
        if not _is_name(name):
            raise QueueNotFound(f"No queue is called {name[:64]!r}.")
        return Queue(name, self._redis)

    def forget(self, name: str) -> None:
        """A queue is not listed any more."""
        self._custom.pop(name, None)

    async def _hear_workers(self) -> None:
        """What is registered for product queues, asked for by one request every 2 s: the others do
        not wait for it, nor does any fail when Redis is away; what it wants there will tell it."""
        now_s = _now_s()
        if max(self._asked_at_s, self._read_at_s) < now_s - FRESH_S:
            self._asked_at_s = now_s
            with contextlib.suppress(CredstreamError):
                await self._read_since(now_s)

    async def _read_since(self, oldest_s: float) -> None:
        """Read again unless what we have was read after `oldest_s`; callers share one read."""
        async with self._reading:
            if self._read_at_s >= oldest_s:
                return
            started_s = _now_s()
            said = await registered(self._redis)
            self._custom = {
                name: self._list(name, about)
                for name, about in said.items()
                if name not in self._product
            }
            for name, listed in self._product.items():
                about = said.get(name)
                schema = about.schema if about is not None else None
                if listed.schema != schema:
                    checker = compiled(name, schema)
                    self._product[name] = replace(listed, schema=schema, checker=checker)
            self._read_at_s = started_s

    def _list(self, name: str, about: RegisteredQueue) -> Listed:
        known = self._custom.get(name)
        if known is not None and (known.schema, known.is_internal) == about:
            return known
        checker, queue = compiled(name, about.schema), Queue(name, self._redis)
        return Listed(name, queue, None, about.schema, about.is_internal, checker, self.admission)


def unknown_queue(name: str) -> QueueNotFound:
    """The refusal of a name that no queue has, as far as the client may know."""
    return QueueNotFound(f"No queue is called {name[:64]!r}.")


def _is_name(name: str) -> bool:
    try:
        _NAME.validate_python(name)
    except ValidationError:
        return False
    return True


def _now_s() -> float:
    return asyncio.get_running_loop().time()
