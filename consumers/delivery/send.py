"""An attempt: admission, keys, one signed request, verdict, record."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from consumers.delivery import record as records
from consumers.delivery import verdict as verdicts
from consumers.delivery.settings import DeliverySettings
from consumers.delivery.signing import Key, parse_key, signature, webhook_id
from consumers.delivery.verdict import About, Verdict
from consumers.destinations import Admitted, Deferred, Disabled, Lease
from consumers.processor import Context, Reject, RetryLater
from consumers.tracing import traceparent_of
from outbound.client import Call, Client, Reply
from outbound.errors import OutboundError
from schemas.queues.webhooks import Webhook
from streams import Job
from streams.backoff import delay_ms, jitter_chance
from streams.options import backoff_of

logger = logging.getLogger(__name__)

READ_BYTES = 16 * 1024
"""Of an answer's body; then the connection is closed (WH-20)."""


class Desk(Protocol):
    """Who may deliver, with which keys (`consumers.destinations.Destinations`)."""

    async def admit(
        self, organization_id: str, origin: str, job_id: str, *, returns: bool = False
    ) -> Admitted | Deferred | Disabled: ...
    async def settle(self, lease: Lease, outcome: About, defer_ms: int = 0) -> None: ...
    async def keys(self, organization_id: str, origin: str) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """What every attempt needs, for one processor."""

    client: Client
    desk: Desk
    settings: DeliverySettings = field(default_factory=DeliverySettings)
    clock_s: Callable[[], float] = time.time
    """Epoch seconds, for timestamps in requests and records."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one went."""

    verdict: Verdict
    reply: Reply | None
    timing: records.Timing


def body_of(webhook: Webhook, most_bytes: int) -> bytes | None:
    """The body, the same bytes whenever it is made; None for GET. Raises Reject (WH-1, WH-9)."""
    if webhook.method == "GET":
        return None
    body = orjson.dumps(webhook.payload)
    if len(body) > most_bytes:
        raise Reject(
            f"payload has {len(body)} bytes as JSON; at most {most_bytes} are sent",
            code="payload_too_large",
        )
    return body


def headers_of(webhook: Webhook, identifier: str, timestamp_s: int, signed: str) -> dict[str, str]:
    """The headers of an attempt; the job's own cannot be among ours (WH-2, WH-8)."""
    ours = {
        "webhook-id": identifier,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": signed,
    }
    if webhook.method != "GET":
        ours["content-type"] = "application/json"
    return {**(webhook.headers or {}), **ours}


async def admitted(delivery: Delivery, webhook: Webhook, job: Job) -> Lease:
    """The right to try now. Raises RetryLater or Reject, neither of which charges an attempt."""
    returns = job.attempts_started - 1 > job.attempts_made
    match await delivery.desk.admit(webhook.organization_id, webhook.url, job.ref, returns=returns):
        case Admitted(lease):
            return lease
        case Deferred(after_ms, reason, gate):
            raise RetryLater(after_ms, f"the destination gets nothing now: {reason}", gate=gate)
        case Disabled(reason, message):
            raise Reject(message, code=reason)


async def attempt(
    delivery: Delivery, webhook: Webhook, job: Job, lease: Lease, context: Context
) -> Attempt:
    """Send once; whatever happens, the lease is given back and the attempt written down.

    Failing to do these two is logged, not raised: a lease runs out by itself, and what was
    delivered stays delivered.
    """
    began_s, tried = delivery.clock_s(), None
    try:
        tried = await _send(delivery, webhook, job)
    except asyncio.CancelledError:
        duration_ms = max(0, int((delivery.clock_s() - began_s) * 1_000))
        timing = records.Timing(int(began_s * 1_000), duration_ms)
        tried = Attempt(verdicts.INTERRUPTED, None, timing)
        raise
    finally:
        about, defer_ms = (tried.verdict.about, tried.verdict.defer_ms) if tried else ("neutral", 0)
        await _quietly(delivery.desk.settle(lease, about, defer_ms))
        if tried is not None:
            await _quietly(context.attempt(_entry(job, tried)))
    return tried


def _entry(job: Job, tried: Attempt) -> dict[str, Any]:
    number = job.attempts_made + 1
    next_ms = None
    if tried.verdict.destiny == "retry" and number < job.attempts:
        backoff_ms = delay_ms(backoff_of(job.opts), number, jitter_chance(job.ref, number))
        wait_ms = max(backoff_ms, tried.verdict.after_ms)
        next_ms = tried.timing.started_ms + tried.timing.duration_ms + wait_ms
    return records.record(number, tried.timing, tried.verdict, tried.reply, next_ms)


async def _send(delivery: Delivery, webhook: Webhook, job: Job) -> Attempt:
    body = body_of(webhook, delivery.settings.max_body_bytes)
    secrets = await delivery.desk.keys(webhook.organization_id, webhook.url)
    identifier = webhook_id(webhook.organization_id, job.queue, job.ref)
    began_s, started = delivery.clock_s(), time.monotonic()
    signed = signature(_keys(secrets), identifier, int(began_s), body or b"")
    call = Call(
        webhook.method,
        webhook.url,
        headers_of(webhook, identifier, int(began_s), signed) | _traced(delivery, job),
        body,
        (webhook.timeout_ms or delivery.settings.timeout_s * 1_000) / 1_000,
    )
    reply = None
    try:
        reply = await delivery.client.send(call, max_bytes=READ_BYTES)
        verdict = verdicts.of_answer(
            reply.status,
            reply.headers,
            retry_on_4xx=webhook.retry_on_4xx,
            now_s=delivery.clock_s(),
        )
    except OutboundError as error:
        verdict = verdicts.of_error(error)
    duration_ms = int((time.monotonic() - started) * 1_000)
    return Attempt(verdict, reply, records.Timing(int(began_s * 1_000), duration_ms))


def _traced(delivery: Delivery, job: Job) -> dict[str, str]:
    trace = traceparent_of(job) if delivery.settings.traceparent else None
    return {"traceparent": trace} if trace else {}


def _keys(secrets: list[str]) -> list[Key]:
    return [parse_key(secret) for secret in secrets]


async def _quietly(step: Awaitable[Any]) -> None:
    try:
        await asyncio.shield(asyncio.ensure_future(step))
    except Exception as error:  # noqa: BLE001 - what was delivered stays delivered
        logger.warning("a delivery could not be written down: %r", error)
