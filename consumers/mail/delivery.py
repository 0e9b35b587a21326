"""Handing a message over, and what is known of that when the job runs again (EM-10).

Before DATA the job remembers `sending`, after 250 `sent`. Whoever finds `sending` cannot know
whether the relay took the message: it is sent again with the same Message-ID, or held.
"""

import logging
import time
from datetime import UTC, datetime
from typing import Any

from consumers.mail.message import Outgoing
from consumers.mail.outcome import Meaning, NotDelivered
from consumers.mail.smtp import Accepted, Backend
from consumers.processor import ClaimLost, Context, Reject, Retry
from schemas.queues.emails import OnAmbiguous
from streams import Job
from streams.errors import CredstreamError

logger = logging.getLogger(__name__)

HELD = (
    "Nobody knows whether the mail relay took this message, and the job asks not to risk a second "
    "one. Retry the job to send it again."
)


async def known_result(job: Job, context: Context, policy: OnAmbiguous) -> dict[str, Any] | None:
    """What an earlier run of this job brought: its result, if the message is out.

    Rejects as `ambiguous` where that is unknown and the policy is `hold`. A job that ended so and
    was retried by an operator is sent: that is the decision it was waiting for."""
    marker = await context.recall() or {}
    if marker.get("state") == "sent":
        result: dict[str, Any] = marker["result"]
        return result
    unknown = marker.get("state") == "sending" and marker.get("endings") == job.header.endings
    if unknown and policy == "hold":
        raise Reject(HELD, code="ambiguous")
    return None


async def deliver(
    job: Job, context: Context, backend: Backend, outgoing: Outgoing, policy: OnAmbiguous
) -> dict[str, Any]:
    """Send, once; the job's result. Raises Retry, Reject and ClaimLost."""
    started_s = time.monotonic()
    marked = False

    async def before_data() -> None:
        nonlocal marked
        await context.remember({"state": "sending", "endings": job.header.endings})
        marked = True

    record = {"attempt": job.attempts_made + 1, "startedAt": _now()}
    try:
        accepted = await backend.send(outgoing, before_data)
    except NotDelivered as failure:
        await _record(context, record | failure.told(), started_s)
        if marked and failure.meaning is not Meaning.AMBIGUOUS:
            await context.remember({"state": "refused"})
        raise _ending(failure, policy) from failure
    result = {
        "messageId": outgoing.message_id,
        "relayResponse": accepted.response,
        "acceptedAt": _now(),
    }
    await _remember_sent(context, result)
    told = {"outcome": "sent", "message": accepted.response}
    await _record(context, record | told | _refused(accepted), started_s)
    return result


async def _remember_sent(context: Context, result: dict[str, Any]) -> None:
    """The message is out, whatever becomes of this note: a failure here must not fail the job."""
    try:
        await context.remember({"state": "sent", "result": result})
    except (CredstreamError, ClaimLost) as error:
        logger.warning("a mail was sent, but that could not be noted: %s", error)


async def _record(context: Context, record: dict[str, Any], started_s: float) -> None:
    duration_ms = int((time.monotonic() - started_s) * 1000)
    try:
        await context.attempt(record | {"durationMs": duration_ms})
    except CredstreamError as error:
        logger.warning("an attempt could not be recorded: %s", error)


def _refused(accepted: Accepted) -> dict[str, Any]:
    return {"refusedCopies": accepted.refused} if accepted.refused else {}


def _ending(failure: NotDelivered, policy: OnAmbiguous) -> Reject | Retry:
    if failure.meaning is Meaning.ALERT:
        logger.error("no mail goes out until this is mended: %s (%s)", failure, failure.code)
    if failure.meaning is Meaning.PERMANENT:
        return Reject(str(failure), code=failure.code)
    if failure.meaning is Meaning.AMBIGUOUS and policy == "hold":
        return Reject(HELD, code="ambiguous")
    return Retry(str(failure), code=failure.code)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
