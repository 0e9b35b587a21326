"""A message as the bytes that go over the wire, and the check that it is what was meant.

CPython's own serialiser has turned encoded words into headers (CVE-2024-6923), so the bytes are
read again by another parser before they leave: the headers must be those that were set (EM-2).
"""

import base64
import email
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage, Message

from email_validator import validate_email

from consumers.mail.filename import media_type, safe_filename
from consumers.mail.settings import Sender
from consumers.processor import Reject
from schemas.queues.emails import MAX_MESSAGE_BYTES, Attachment, decode_attachment, header_safe

MESSAGE_BYTES = 2 * MAX_MESSAGE_BYTES
"""10 MiB of files are 13.7 MiB in base64; the texts come to that."""
# Longer lines than 78: a folded List-Unsubscribe becomes encoded words, which no provider reads.
_ASCII = policy.SMTP.clone(max_line_length=998, cte_type="7bit")
_UTF8 = policy.SMTPUTF8.clone(max_line_length=998, cte_type="7bit")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_BARE_LINE_END = re.compile(rb"\r(?!\n)|(?<!\r)\n")


@dataclass(frozen=True, slots=True)
class Letter:
    """What a message is made of."""

    message_id: str
    """With its angle brackets."""
    date: datetime
    sender: Sender
    to: str
    subject: str
    text: str
    html: str
    cc: Sequence[str] = ()
    reply_to: str | None = None
    attachments: Sequence[Attachment] = ()
    unsubscribe_url: str | None = None
    tags: Sequence[str] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message and its envelope."""

    message_id: str
    sender: str
    """The envelope sender."""
    recipients: tuple[str, ...]
    """The first is `to`, the others are copies."""
    content: bytes
    created_ms: int
    """When its job was added: epoch ms."""
    utf8: bool
    """An address needs SMTPUTF8 (RFC 6531)."""


def message_id(organization_id: str, queue: str, job_id: str, domain: str) -> str:
    """`<...@domain>`, the same for every run of a job and for no other job (EM-9)."""
    # A `|` in an organization's name must not read as the end of it.
    organization = organization_id.replace("%", "%25").replace("|", "%7C")
    digest = hashlib.sha256(f"{organization}|{queue}|{job_id}".encode()).digest()
    return f"<{base64.b32encode(digest).decode()[:32]}@{domain}>"


def spelled(address: str) -> tuple[str, bool]:
    """An address as it goes into an envelope, and whether that needs SMTPUTF8."""
    known = validate_email(address, check_deliverability=False, test_environment=True)
    if known.ascii_email is not None:
        return known.ascii_email, False
    return known.normalized, True


def build(letter: Letter, bounce_address: str | None) -> Outgoing:
    """The message in bytes. Rejects for good: header_unsafe, message_too_large."""
    try:
        recipients, reply_to, utf8 = _addresses(letter)
        message = EmailMessage(_UTF8 if utf8 else _ASCII)
        _set_headers(message, letter, recipients, reply_to)
        _set_content(message, letter)
        content = message.as_bytes()
    except (ValueError, UnicodeError) as error:
        raise Reject(f"The message cannot be written: {error}", code="header_unsafe") from None
    check(content, message.keys())
    if len(content) > MESSAGE_BYTES:
        raise Reject("The message is longer than 20 MiB.", code="message_too_large")
    sender = bounce_address or letter.sender.address
    created_ms = int(letter.date.timestamp() * 1000)
    return Outgoing(letter.message_id, sender, recipients, content, created_ms, utf8)


def _addresses(letter: Letter) -> tuple[tuple[str, ...], str | None, bool]:
    """Recipients and reply address as they are spelled, and whether any needs SMTPUTF8."""
    given = (letter.to, *letter.cc, *([letter.reply_to] if letter.reply_to else []))
    spellings = [spelled(address) for address in given]
    names = tuple(name for name, _ in spellings)
    utf8 = any(needs for _, needs in spellings)
    return (names[:-1], names[-1], utf8) if letter.reply_to else (names, None, utf8)


def check(content: bytes, names: Sequence[str]) -> None:
    """Reject unless another parser finds exactly these headers, and lines end in CRLF only."""
    read: Message = email.message_from_bytes(content, policy=policy.compat32)
    # A header of ours that cannot be parsed ends the header section: then names are missing.
    if [name.lower() for name in read.keys()] != [name.lower() for name in names]:  # noqa: SIM118
        raise Reject("The message would carry headers that nobody set.", code="header_unsafe")
    if _BARE_LINE_END.search(content):
        raise Reject("The message has line ends other than CRLF.", code="header_unsafe")


def _set_headers(
    message: EmailMessage, letter: Letter, recipients: Sequence[str], reply_to: str | None
) -> None:
    sender = letter.sender
    message["From"] = Address(header_safe(sender.name), addr_spec=sender.address)
    message["To"] = _address(recipients[0])
    if recipients[1:]:
        message["Cc"] = [_address(one) for one in recipients[1:]]
    if reply_to:
        message["Reply-To"] = _address(reply_to)
    message["Subject"] = header_safe(letter.subject)
    message["Date"] = letter.date.astimezone(UTC)
    message["Message-ID"] = letter.message_id
    if letter.unsubscribe_url:
        message["List-Unsubscribe"] = f"<{header_safe(letter.unsubscribe_url)}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    for tag in letter.tags:
        message["X-Tag"] = header_safe(tag)
    for name, value in letter.metadata.items():
        message[f"X-Metadata-{name}"] = header_safe(value)


def _address(address: str) -> Address:
    local, _, domain = address.rpartition("@")
    return Address(username=local, domain=domain)


def _set_content(message: EmailMessage, letter: Letter) -> None:
    message.set_content(_CONTROLS.sub("", letter.text))
    message.add_alternative(_CONTROLS.sub("", letter.html), subtype="html")
    for attachment in letter.attachments:
        name = safe_filename(attachment.filename)
        main, sub = media_type(name)
        message.add_attachment(
            decode_attachment(attachment.content, attachment.encoding),
            maintype=main,
            subtype=sub,
            filename=name,
        )
