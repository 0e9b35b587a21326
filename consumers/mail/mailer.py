"""Everything a running emails worker needs, opened once and checked before the first job."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from consumers.mail.capture import FOLDER, Capture
from consumers.mail.dkim import Signer
from consumers.mail.message import Letter, Outgoing, build, message_id
from consumers.mail.settings import MailError, MailSettings, Sender
from consumers.mail.smtp import Backend, Relay
from consumers.mail.templates import MailTemplate, load_templates, payload_schema
from consumers.processor import NotConfigured, Reject, Resources
from schemas.queues.emails import SPEC, Email, header_safe
from streams import Job, Redis, mail
from streams.errors import CredstreamError

logger = logging.getLogger(__name__)

ANNOUNCE_AGAIN_S = 2.0
NOT_CONFIGURED = (
    "no way to send mail is set up: set SMTP_HOST and MAIL_FROM, or MAIL_BACKEND=capture to look "
    "at mail without sending it"
)


@dataclass(frozen=True, slots=True)
class Mailer:
    """Turns jobs into messages and knows where they go."""

    settings: MailSettings
    templates: dict[str, MailTemplate]
    backend: Backend
    redis: Redis
    signer: Signer | None = None

    async def write(self, job: Job, email: Email) -> Outgoing:
        """The finished message of a job, signed if that is set up.

        Rejects for good: sender_not_allowed, recipient_suppressed, template_unknown,
        subject_missing, header_unsafe, message_too_large, and as templates do."""
        sender = self._sender(email.organization_id)
        email = await self._without_suppressed(email)
        letter = await self._letter(job, email, sender)
        outgoing = await _written(letter, self.settings.mail_bounce_address)
        if self.signer is None or not self.signer.signs(sender.address):
            return outgoing
        signed = await asyncio.to_thread(self.signer.sign, outgoing.content)
        return replace(outgoing, content=signed)

    def _sender(self, organization_id: str) -> Sender:
        sender = self.settings.sender_of(organization_id)
        if sender is None:
            raise Reject(
                "This organization may not send mail: no sender is set up for it.",
                code="sender_not_allowed",
            )
        return sender

    async def _without_suppressed(self, email: Email) -> Email:
        """The same without copies to suppressed addresses. Before anything is dialled (EM-18)."""
        if await self._is_suppressed(email.organization_id, email.to):
            raise Reject(
                "This organization may not write to this address: it is suppressed.",
                code="recipient_suppressed",
            )
        copies = [
            one
            for one in email.cc or ()
            if not await self._is_suppressed(email.organization_id, one)
        ]
        return email.model_copy(update={"cc": copies}) if email.cc else email

    async def _is_suppressed(self, organization_id: str, address: str) -> bool:
        entry_id = mail.address_id(organization_id, address)
        where = mail.tenant(organization_id)
        return await mail.suppressed(self.redis, where, entry_id) is not None

    async def _letter(self, job: Job, email: Email, sender: Sender) -> Letter:
        template = self.templates.get(email.template)
        if template is None:
            raise Reject(f"There is no mail template {email.template}.", code="template_unknown")
        link = await self._unsubscribe_url(email) if email.unsubscribe else None
        made = template.render(email.context, link)
        return Letter(
            message_id=message_id(email.organization_id, job.queue, job.ref, sender.domain),
            date=datetime.fromtimestamp(job.timestamp / 1000, UTC),
            sender=sender,
            to=email.to,
            subject=_subject(email.subject, made.subject, template.name),
            text=made.text,
            html=made.html,
            cc=email.cc or (),
            reply_to=email.reply_to,
            attachments=email.attachments or (),
            unsubscribe_url=link,
            tags=email.tags or (),
            metadata=email.metadata or {},
        )

    async def _unsubscribe_url(self, email: Email) -> str:
        entry_id = mail.address_id(email.organization_id, email.to)
        where = mail.tenant(email.organization_id)
        secret = await mail.link_secret(self.redis)
        token = mail.unsubscribe_token(secret, where, entry_id)
        return f"{self.settings.public_url.rstrip('/')}/mail/unsubscribe/{token}"


async def _written(letter: Letter, bounce_address: str | None) -> Outgoing:
    """As `build`; files take seconds when they are large, so they are not for the event loop."""
    if letter.attachments:
        return await asyncio.to_thread(build, letter, bounce_address)
    return build(letter, bounce_address)


def _subject(given: str | None, rendered: str | None, template: str) -> str:
    """The job's own, else the template's, on one line."""
    subject = given if given is not None else rendered
    if subject is None:
        raise Reject(
            f"There is no subject: the job has none, and template {template} has no subject.txt.",
            code="subject_missing",
        )
    try:
        return header_safe(subject.strip())
    except ValueError as error:
        raise Reject(f"The subject {error}.", code="header_unsafe") from None


@asynccontextmanager
async def open_mailer(resources: Resources) -> AsyncIterator[Mailer]:
    """A mailer for a processor; tells gateways what its templates take.

    Raises NotConfigured when no way to send mail is set up, MailError when one cannot work."""
    settings = MailSettings()
    if settings.backend is None:
        raise NotConfigured(NOT_CONFIGURED)
    templates = load_templates(settings.mail_templates_dir)
    mailer = Mailer(
        settings, templates, _backend(settings, resources), resources.redis, _signer(settings)
    )
    announcing = asyncio.create_task(_announce(resources.redis, payload_schema(templates)))
    logger.info("mail goes out by %s; templates: %s", settings.backend, ", ".join(templates))
    try:
        yield mailer
    finally:
        announcing.cancel()
        await asyncio.wait({announcing})
        await mailer.backend.close()


async def _announce(redis: Redis, schema: Mapping[str, Any]) -> None:
    """Until it has worked: a worker also starts while Redis is away."""
    while True:
        try:
            await mail.announce(redis, SPEC.name, schema)
        except CredstreamError as error:
            logger.warning("the mail templates cannot be announced yet: %s", error)
            await asyncio.sleep(ANNOUNCE_AGAIN_S)
        else:
            return


def _backend(settings: MailSettings, resources: Resources) -> Backend:
    if settings.backend == "smtp":
        if urlsplit(settings.public_url).scheme != "https":
            # RFC 8058 section 3.1: the link must be https; providers show no button for another.
            logger.warning(
                "mail offers no unsubscription by one click: PUBLIC_URL is %s, set it to the https "
                "address of the gateway",
                settings.public_url,
            )
        named = (settings.mail_from, *settings.mail_senders.values())
        return Relay(settings, next(sender for sender in named if sender).domain)
    if resources.production:
        raise MailError("MAIL_BACKEND=capture sends nothing: it is not for production (APP_ENV).")
    if resources.data_dir is None:
        raise MailError("MAIL_BACKEND=capture needs DATA_DIR, where mail is stored.")
    return Capture(resources.data_dir / FOLDER)


def _signer(settings: MailSettings) -> Signer | None:
    domain, selector = settings.mail_dkim_domain, settings.mail_dkim_selector
    if domain is None or selector is None or settings.mail_dkim_key_file is None:
        return None
    signer = Signer(domain, selector, settings.mail_dkim_key_file)
    senders = [settings.mail_from, *settings.mail_senders.values()]
    unsigned = [one.address for one in senders if one and not signer.signs(one.address)]
    if unsigned:
        logger.warning("mail from %s is not of %s: no DKIM", ", ".join(unsigned), domain)
    return signer
