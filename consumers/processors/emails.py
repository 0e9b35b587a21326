"""emails: render a template and hand the message to the mail relay.

At least once by default: every repetition carries the same Message-ID. With `onAmbiguous: hold` at
most once.
"""

from datetime import datetime
from typing import Any

from consumers.mail.delivery import deliver, known_result
from consumers.mail.mailer import Mailer, open_mailer
from consumers.processor import Context, Processor, RetryLater
from schemas.queues.emails import SPEC, Email
from streams import Job


async def handle(job: Job, context: Context) -> dict[str, Any]:
    """Answer `{messageId, relayResponse, acceptedAt}`.

    Rejects, for good: recipient_suppressed, recipient_refused, message_refused, ambiguous,
    sender_not_allowed, smtputf8_unsupported, and what is wrong with the message or its template.
    """
    mailer: Mailer = context.state
    email: Email = job.payload
    policy = email.on_ambiguous or mailer.settings.mail_on_ambiguous
    known = await known_result(job, context, policy)
    if known is not None:
        return known
    _not_before(email.send_at, job.claimed_ms)
    outgoing = await mailer.write(job, email)
    return await deliver(job, context, mailer.backend, outgoing, policy)


def _not_before(send_at: str | None, now_ms: int) -> None:
    """Puts a job off until its time, by the clock of Redis and without charging an attempt."""
    if send_at is None:
        return
    early_ms = int(datetime.fromisoformat(send_at).timestamp() * 1000) - now_ms
    if early_ms > 0:
        raise RetryLater(early_ms, f"to be sent at {send_at}")


PROCESSOR = Processor(spec=SPEC, handle=handle, open=open_mailer)
