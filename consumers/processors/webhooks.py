"""webhooks: deliver an event to a server that somebody else named.

At least once: after a crash between the answer and its record the receiver sees the same
`webhook-id` again (Standard Webhooks 1.0.0; WH-1..WH-24, SS-1..SS-8).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from consumers.delivery import send
from consumers.delivery.signing import webhook_id
from consumers.destinations import open_destinations
from consumers.processor import Context, Processor, Reject, Resources, Retry
from outbound.client import open_client
from outbound.settings import OutboundSettings
from schemas.queues.webhooks import SPEC, Webhook
from streams import Job


async def handle(job: Job, context: Context) -> dict[str, Any]:
    """Make one request; answer what the receiver said (schemas.queues.webhooks.Delivered).

    Rejects, for good: invalid_payload, payload_too_large, destination_disabled,
    destination_unavailable, blocked, redirect_not_followed, gone, and http_4xx by status. What may
    pass is tried again: http_5xx, http_408, http_425, http_429, and the codes of
    `outbound.errors.Unreachable`.
    """
    delivery: send.Delivery = context.state
    webhook: Webhook = job.payload
    send.body_of(webhook, delivery.settings.max_body_bytes)
    lease = await send.admitted(delivery, webhook, job)
    attempt = await send.attempt(delivery, webhook, job, lease, context)
    return _conclude(webhook, job, attempt)


def _conclude(webhook: Webhook, job: Job, attempt: send.Attempt) -> dict[str, Any]:
    verdict, reply = attempt.verdict, attempt.reply
    if verdict.destiny == "retry":
        raise Retry(verdict.message, code=verdict.code, after_ms=verdict.after_ms)
    if verdict.destiny == "failed":
        # One word to the tenant for all that is never called (SS-7); the record says which rule.
        code = verdict.code if reply is not None else "blocked"
        raise Reject(verdict.message, code=code)
    return {
        "status": reply.status if reply is not None else None,
        "attempts": job.attempts_made + 1,
        "durationMs": attempt.timing.duration_ms,
        "webhookId": webhook_id(webhook.organization_id, job.queue, job.ref),
    }


@asynccontextmanager
async def open_delivery(resources: Resources) -> AsyncIterator[send.Delivery]:
    """Connections and keys. Raises KeyringError, ValidationError of settings, or OSError."""
    async with (
        open_client(OutboundSettings()) as client,
        open_destinations(resources) as destinations,
    ):
        yield send.Delivery(client, destinations)


PROCESSOR = Processor(spec=SPEC, handle=handle, open=open_delivery)
