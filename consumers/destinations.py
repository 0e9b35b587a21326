"""Who may deliver to a destination now, and with which keys: asked before and told after every
webhook.

    admission = await destinations.admit(organization_id, url, job.ref)
    match admission:
        case Deferred(after_ms, reason, gate): raise RetryLater(after_ms, ..., gate=gate)
        case Disabled(reason, message): raise Reject(message, code=reason)
        case Admitted(lease): send, then in any case `await destinations.settle(lease, outcome)`

A deferred job may be put off many times: the queue needs a `max_starts` that allows it.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from consumers.delivery.parked import ParkedDeliveries
from consumers.delivery.unsettled import SettleQueue
from consumers.processor import Resources
from consumers.rotation import ring_for
from credentials.webhook_secrets import WebhookSecrets, WebhookSecretSettings
from schemas.origins import origin_of
from schemas.spec import Limiter
from streams import Redis
from streams import destinations as store
from streams.audit import Deed
from streams.destinations import Destination, Ended, Later, Never, Outcome, Rules
from streams.endings import Gate
from streams.errors import CredstreamError, Full, Unavailable
from streams.secret_shelf import SecretShelf

logger = logging.getLogger(__name__)

QUEUE = "webhooks"
"""Its event stream tells what becomes of destinations."""
RELISTED_S = 3_600.0
"""How often a process enters a destination that it uses into the list of its organization."""
LISTED_MAX = 10_000

_WHY = {
    "gone": "it answered 410 Gone",
    "failing": "its deliveries kept failing",
    "operator": "an operator disabled it",
}


class DestinationSettings(BaseSettings):
    """Environment variables `WEBHOOK_DESTINATION_CONCURRENCY`, `..._RATE_MAX`, `..._RATE_MS`."""

    model_config = SettingsConfigDict(
        env_prefix="WEBHOOK_DESTINATION_", frozen=True, extra="ignore"
    )

    concurrency: int = Field(default=5, ge=1, le=1_000)
    rate_max: int = Field(default=0, ge=0, le=10_000)
    """Deliveries started per `rate_ms`; 0: no limit."""
    rate_ms: int = Field(default=60_000, ge=1, le=3_600_000)

    def rules(self) -> Rules:
        """The installation's numbers."""
        rate = Limiter(self.rate_max, self.rate_ms) if self.rate_max else None
        return Rules(concurrency=self.concurrency, rate=rate)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to make one delivery. It ends by itself after `Rules.lease_ms`."""

    id: str
    destination: Destination


@dataclass(frozen=True, slots=True)
class Admitted:
    """Deliver now, then settle."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not now, and it is not the job's fault: no attempt is charged. Reasons: `retry_after`,
    `circuit_open`, `circuit_half_open`, `concurrency`, `rate`."""

    after_ms: int
    """The longest wait."""
    reason: str
    gate: Gate
    """Where the job waits until the destination has room."""


@dataclass(frozen=True, slots=True)
class Disabled:
    """Not at all: the job has failed. `reason` is its code, `destination_disabled` or
    `destination_unavailable`; `message` is for people."""

    reason: str
    message: str


class Destinations:
    """Leases and keys of every destination, for one processor."""

    def __init__(self, redis: Redis, signing: WebhookSecrets, rules: Rules | None = None) -> None:
        self._redis = redis
        self._signing = signing
        self.rules = rules or Rules()
        self._listed: dict[Destination, float] = {}
        self._unsettled = SettleQueue(self._settle)
        self._parked = ParkedDeliveries(redis, QUEUE, self.rules)

    async def admit(
        self, organization_id: str, origin: str, job_id: str, *, returns: bool = False
    ) -> Admitted | Deferred | Disabled:
        """Ask for a lease. `origin` may be the whole URL. `returns`: the job was put off before."""
        to = Destination(organization_id, origin_of(origin))
        await self._write_down(to)
        lease = Lease(f"{job_id} {secrets.token_hex(12)}", to)
        answer = await store.admit(self._redis, to, job_id, lease.id, self.rules, returns=returns)
        match answer:
            case Later(after_ms, look_ms, reason):
                return Deferred(after_ms, reason, Gate(to.id, look_ms))
            case Never(reason, detail):
                return Disabled(reason, _message(to, reason, detail))
        return Admitted(lease)

    async def settle(self, lease: Lease, outcome: Outcome, defer_ms: int = 0) -> None:
        """Give a lease back. `success` and `failure` speak about the destination, `neutral` does
        not (refused payload, our own fault); `gone` (410) disables it (WH-14). No other job
        comes for `defer_ms` (Retry-After, WH-18). May be called twice. When Redis is away, the
        lease is given back in the background."""
        ended = lease, outcome, defer_ms
        try:
            await self._settle(ended)
        except Unavailable as error:
            logger.warning("a lease is given back when Redis is there again: %s", error)
            self._unsettled.add(ended)

    async def __aenter__(self) -> Self:
        """Begin to look after parked deliveries."""
        self._looking = asyncio.create_task(self._parked.keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give back what could not be given back before, within a few seconds."""
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)
        await self._unsettled.close()

    async def _settle(self, how: tuple[Lease, Outcome, int]) -> None:
        lease, outcome, defer_ms = how
        to = lease.destination
        deed = Deed(
            actor="credstream",
            action="destination.disable",
            target=to.id,
            organization_id=to.organization_id,
            parameters={"origin": to.origin, "outcome": outcome},
        )
        ended = Ended(outcome, defer_ms, deed.encode())
        settled = await store.settle(self._redis, to, lease.id, ended, self.rules)
        if settled.room:
            await self._parked.release(to.id, settled.room)
        if settled.became:
            await self._tell(to, settled.became, settled.why)

    async def keys(self, organization_id: str, origin: str) -> list[str]:
        """Signing keys (`whsec_`, `whsk_`), newest first; made when there are none yet.

        Raises SealError when the ring of this process cannot open them.
        """
        return await self._signing.signing(organization_id, origin_of(origin))

    async def _tell(self, to: Destination, became: str, why: str) -> None:
        level = logging.INFO if became == "closed" else logging.WARNING
        logger.log(level, "webhook destination %s %s: %s", to.id, became, why)
        with contextlib.suppress(CredstreamError):  # the change itself is written down already
            await store.announce(self._redis, QUEUE, to, became, why)

    async def _write_down(self, to: Destination) -> None:
        now_s = time.monotonic()
        if self._listed.get(to, -RELISTED_S) + RELISTED_S > now_s:
            return
        try:
            await store.write_down(self._redis, to, self.rules.forget_ms)
        except Full:
            return  # A list without it is no reason to keep a delivery back.
        if len(self._listed) >= LISTED_MAX:
            self._listed.clear()
        self._listed[to] = now_s


def _message(to: Destination, reason: str, detail: str) -> str:
    if reason == "destination_disabled":
        why = _WHY.get(detail, detail)
        return f"{to.origin} is disabled: {why}. Enable it again, then retry the job."
    return f"{to.origin} has been failing for as long as a delivery may wait for it."


@asynccontextmanager
async def open_destinations(resources: Resources) -> AsyncIterator[Destinations]:
    """Destinations for a processor. Raises KeyringError when this process has no ring, or not
    all of it."""
    keyring = ring_for(resources, "webhook")
    shelf = SecretShelf(resources.redis)
    signing = WebhookSecrets(shelf, keyring, WebhookSecretSettings().overlap_ms)
    rules = DestinationSettings().rules()
    async with Destinations(resources.redis, signing, rules) as destinations:
        yield destinations
