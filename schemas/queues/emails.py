"""emails: send a template-based e-mail."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from schemas.fields import DateTimeStamp, JsonObject, OrganizationId, Payload, UserId
from schemas.plain_words import worded
from schemas.spec import CallbackEvents, QueueSpec

MAX_ATTACHMENTS = 10
MAX_MESSAGE_BYTES = 10 * 1024 * 1024
MAX_COPIES = 10
MAX_METADATA = 20
MAX_TAGS = 10

# An encoded word is decoded again by mail libraries, line ends and all.
_ENCODED_WORD = re.compile(r"=\?[^?]*\?[bBqQ]\?|=\?.*\?=", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LINE_END = re.compile(r"[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")
_METADATA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
# One mailbox: no quoted local part, no group, list, comment, display name or address literal.
_MAILBOX = re.compile(
    r"[^\s\x00-\x20\x7f-\x9f()<>\[\]:;@\\,\".]+(?:\.[^\s\x00-\x20\x7f-\x9f()<>\[\]:;@\\,\".]+)*"
    r"@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W_](?:[\w-]{0,61}[^\W_])?"
)


def header_safe(value: str) -> str:
    """`value`, if it can stand in a header as it is. Raises ValueError (EM-2)."""
    if _CONTROL.search(value) or _ENCODED_WORD.search(value):
        raise ValueError("must not hold control characters, line separators or encoded words")
    return value


def mailbox(value: str) -> str:
    """`value`, if it is exactly one address and nothing around it. Raises ValueError (EM-1)."""
    if _MAILBOX.fullmatch(value) is None or len(value.rpartition("@")[0].encode()) > 64:
        raise ValueError("must be exactly one address, as name@example.com")
    try:
        # `.test` is reserved for tests (RFC 6761): no mail to it ever leaves anywhere.
        validate_email(value, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise ValueError(f"must be an address that can exist: {error}") from None
    return value


def _filename(value: str) -> str:
    if _LINE_END.search(value) or _ENCODED_WORD.search(value):
        raise ValueError("must not hold line ends or encoded words")
    return value


HeaderText = Annotated[str, StringConstraints(max_length=998), AfterValidator(header_safe)]
Mailbox = Annotated[str, StringConstraints(max_length=320), AfterValidator(mailbox)]
"""Exactly one address, without a display name."""
TemplateName = Annotated[
    str,
    StringConstraints(
        pattern=worded(
            r"^[a-z0-9][a-z0-9_-]{0,63}\z",
            "must be the name of a template: at most 64 of a-z, 0-9, _ and -",
        )
    ),
]
OnAmbiguous = Literal["resend", "hold"]
"""What to do when nobody knows whether the relay took the message: send it again (at least once),
or fail with reason `ambiguous` and leave it to an operator (at most once)."""


def decode_attachment(content: str, encoding: str | None) -> bytes:
    """The bytes of an attachment. Raises ValueError when `content` is not in `encoding`."""
    try:
        if encoding == "base64":
            return base64.b64decode(content, validate=True)
        if encoding == "hex":
            return binascii.unhexlify(content)
        return content.encode()
    except ValueError:
        raise ValueError(f"content is not {encoding or 'utf-8'}") from None


class Attachment(Payload):
    """A file. `encoding` says how `content` carries its bytes; absent means UTF-8 text.

    Of `filename` the last part of the path is used, without control and direction characters.
    """

    filename: Annotated[str, StringConstraints(max_length=255), AfterValidator(_filename)]
    content: Annotated[str, StringConstraints(max_length=2 * MAX_MESSAGE_BYTES)]
    encoding: Annotated[
        Literal["base64", "hex", "utf-8", "utf8"] | None, Field(validate_default=True)
    ] = None

    @field_validator("encoding")
    @classmethod
    def _decodes(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "content" in info.data:
            decode_attachment(info.data["content"], value)
        return value


class Email(Payload):
    """What an emails job carries. The sender comes from configuration, never from the job."""

    to: Mailbox
    """Exactly one mailbox."""
    subject: HeaderText | None = None
    """Left out: the template's own."""
    template: TemplateName
    """Name of a template directory on the operator's disk."""
    context: JsonObject
    organization_id: OrganizationId
    user_id: UserId | None = None
    attachments: Annotated[list[Attachment], Field(max_length=MAX_ATTACHMENTS)] | None = None
    cc: Annotated[list[Mailbox], Field(max_length=MAX_COPIES)] | None = None
    reply_to: Mailbox | None = None
    metadata: dict[str, HeaderText] | None = None
    """Goes into headers `X-Metadata-<name>`; at most 20, values of at most 512 characters."""
    tags: (
        Annotated[
            list[Annotated[HeaderText, Field(min_length=1, max_length=128)]],
            Field(max_length=MAX_TAGS),
        ]
        | None
    ) = None
    """Go into one header `X-Tag` each."""
    send_at: DateTimeStamp | None = None
    """Not sent before this moment."""
    on_ambiguous: OnAmbiguous | None = None
    """Left out: as MAIL_ON_AMBIGUOUS says."""
    unsubscribe: bool = False
    """Offer one-click unsubscription (RFC 8058); the template finds `unsubscribe_url`."""

    @field_validator("attachments")
    @classmethod
    def _fit_into_a_message(cls, value: list[Attachment] | None) -> list[Attachment] | None:
        if sum(len(decode_attachment(a.content, a.encoding)) for a in value or ()) > (
            MAX_MESSAGE_BYTES
        ):
            raise ValueError("must not exceed 10 MiB together")
        return value

    @field_validator("metadata")
    @classmethod
    def _becomes_headers(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        names = [name.lower() for name in value or ()]
        if len(names) > MAX_METADATA:
            raise ValueError(f"must not hold more than {MAX_METADATA} members")
        if len(set(names)) < len(names):
            raise ValueError("must not hold a name twice, in different case")
        for name, text in (value or {}).items():
            if _METADATA_NAME.fullmatch(name) is None:
                raise ValueError("names are 1 to 64 letters, digits and hyphens")
            if len(text) > 512:
                raise ValueError(f"{name} must not exceed 512 characters")
        return value


class EmailSent(Payload):
    """The result: the Message-ID, the relay's answer, and when it came (UTC)."""

    message_id: str
    relay_response: str
    accepted_at: str


def events(_payload: Mapping[str, Any]) -> CallbackEvents:
    """The callback events of an e-mail."""
    return CallbackEvents(completed="email.sent", failed="email.failed")


SPEC = QueueSpec(
    name="emails",
    payload=Email,
    result=EmailSent,
    description="Send e-mails from templates",
    events=events,
)
