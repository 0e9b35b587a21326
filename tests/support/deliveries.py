"""The webhooks processor without Redis: a job, a context that takes notes, a desk that says yes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import orjson
from aiohttp.abc import AbstractResolver
from receivers import open_settings

from consumers.delivery.send import Delivery
from consumers.delivery.settings import DeliverySettings
from consumers.destinations import Admitted, Deferred, Disabled, Lease
from consumers.execute import validate
from consumers.processors import webhooks
from outbound.client import open_client
from outbound.guard import OpenSocket, plain_socket
from outbound.settings import OutboundSettings
from schemas.queues.webhooks import Delivered
from streams import Job
from streams.destinations import Destination
from streams.record import Header

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class YesDesk:
    """Admits everybody, or answers as it is told, and remembers what it heard."""

    answer: Deferred | Disabled | None = None
    secrets: list[str] = field(default_factory=lambda: [SECRET])
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    settled: list[tuple[str, int]] = field(default_factory=list)
    error: Exception | None = None

    async def admit(
        self, organization_id: str, origin: str, job_id: str, *, returns: bool = False
    ) -> Admitted | Deferred | Disabled:
        self.asked.append((organization_id, origin, job_id))
        lease = Lease("lease", Destination(organization_id, origin))
        return Admitted(lease) if self.answer is None else self.answer

    async def settle(self, lease: Lease, outcome: str, defer_ms: int = 0) -> None:
        assert lease.id == "lease"
        self.settled.append((outcome, defer_ms))
        if self.error is not None:
            raise self.error

    async def keys(self, organization_id: str, origin: str) -> list[str]:
        return self.secrets


@dataclass
class Sender:
    """Runs deliveries as a worker does."""

    delivery: Delivery
    desk: YesDesk
    records: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, url: str, *, job: Job | None = None, **changes: Any) -> dict[str, Any]:
        """The result of one attempt; raises what the processor raises."""
        job = job or a_job(url, **changes)
        validate(job, webhooks.PROCESSOR)
        answer = await webhooks.handle(job, self.context())
        assert Delivered.model_validate(answer).model_dump(by_alias=True) == answer
        return answer

    def context(self) -> Any:
        async def attempt(record: dict[str, Any]) -> None:
            self.records.append(orjson.loads(orjson.dumps(record)))

        return SimpleNamespace(state=self.delivery, attempt=attempt)


@asynccontextmanager
async def sender(
    settings: OutboundSettings | None = None,
    *,
    names: AbstractResolver | None = None,
    open_socket: OpenSocket = plain_socket,
    clock_s: Callable[[], float] = lambda: 1_767_225_600.25,
    **limits: Any,
) -> AsyncIterator[Sender]:
    """A sender that may call loopback, at the first moment of 2026 unless told otherwise."""
    desk = YesDesk()
    async with open_client(
        settings or open_settings(), names=names, open_socket=open_socket
    ) as client:
        yield Sender(Delivery(client, desk, DeliverySettings(**limits), clock_s), desk)


def data(url: str, **changes: Any) -> dict[str, Any]:
    """A payload of the queue."""
    return {
        "url": url,
        "method": "POST",
        "payload": {"event": "vc.issued", "n": 1},
        "event": "vc.issued",
        "organizationId": "org-1",
    } | changes


def a_job(
    url: str,
    *,
    job_id: str = "job-1",
    made: int = 0,
    opts: dict[str, Any] | None = None,
    **changes: Any,
) -> Job:
    """A claimed job, `made` attempts of which were charged before."""
    header = Header(5, made, made + 1, 0, 0, "", "", "", "1")
    body = orjson.dumps({"name": "n", "data": data(url, **changes), "opts": opts or {}})
    return Job("webhooks", job_id, header, body, 8_000)
