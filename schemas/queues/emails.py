"""emails: send a template-based e-mail."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from schemas.fields import JsonObject, OrganizationId, Payload, UserId
from schemas.spec import CallbackEvents, QueueSpec

MAX_ATTACHMENTS = 10
MAX_MESSAGE_BYTES = 10 * 1024 * 1024

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]|=\?[^?]*\?[bBqQ]\?")
# One mailbox: no quoted local part, no group, list, comment, display name or address literal.
_MAILBOX = re.compile(
    r"[^\s\x00-\x20\x7f-\x9f()<>\[\]:;@\\,\".]+(?:\.[^\s\x00-\x20\x7f-\x9f()<>\[\]:;@\\,\".]+)*"
    r"@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W_](?:[\w-]{0,61}[^\W_])?"
)


def _header_safe(value: str) -> str:
    # An encoded word is decoded again by mail libraries, line ends and all.
    if _UNSAFE.search(value) is not None:
        raise ValueError("must not hold control characters, line separators or encoded words")
    return value


def _mailbox(value: str) -> str:
    if _MAILBOX.fullmatch(value) is None or len(value.rpartition("@")[0].encode()) > 64:
        raise ValueError("must be exactly one address, as name@example.com")
    return value


HeaderText = Annotated[str, StringConstraints(max_length=998), AfterValidator(_header_safe)]


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
    """A file. `encoding` says how `content` carries its bytes; absent means UTF-8 text."""

    filename: Annotated[HeaderText, Field(min_length=1, max_length=255)]
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

    to: Annotated[str, StringConstraints(max_length=320), AfterValidator(_mailbox)]
    """Exactly one mailbox."""
    subject: HeaderText
    template: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}\z")]
    """Name of a template directory on the operator's disk."""
    context: JsonObject
    organization_id: OrganizationId
    user_id: UserId | None = None
    attachments: Annotated[list[Attachment], Field(max_length=MAX_ATTACHMENTS)] | None = None

    @field_validator("attachments")
    @classmethod
    def _fit_into_a_message(cls, value: list[Attachment] | None) -> list[Attachment] | None:
        if sum(len(decode_attachment(a.content, a.encoding)) for a in value or ()) > (
            MAX_MESSAGE_BYTES
        ):
            raise ValueError("must not exceed 10 MiB together")
        return value


def events(_payload: Mapping[str, Any]) -> CallbackEvents:
    """The callback events of an e-mail."""
    return CallbackEvents(completed="email.sent", failed="email.failed")


SPEC = QueueSpec(
    name="emails",
    payload=Email,
    description="Send e-mails from templates",
    events=events,
)
