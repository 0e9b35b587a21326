"""What the routes of mail answer. They are closed, as those of `gateway.answer_shapes`."""

from typing import Literal

from pydantic import Field

from schemas.job import Wire


class SuppressionEntry(Wire):
    """An address that an organization may not write to. Times are epoch ms."""

    id: str
    """A hash of the address."""
    reason: str
    since: int
    until: int | None


class Suppressed(SuppressionEntry):
    """It may not write to this address."""

    suppressed: Literal[True]


class NotSuppressed(Wire):
    """It may write to this address."""

    id: str
    suppressed: Literal[False]


class CapturedMail(Wire):
    """A message that a development worker captured."""

    id: str
    message_id: str
    sender: str = Field(alias="from")
    to: str
    cc: str
    subject: str
    date: str
    size_bytes: int


class MailEnvelope(Wire):
    """Who it would have been sent by and to."""

    sender: str = Field(alias="from")
    to: list[str]


class MailHeader(Wire):
    """One header line."""

    name: str
    value: str


class MailFile(Wire):
    """An attached file, in Base64."""

    filename: str
    content_type: str
    size_bytes: int
    content: str


class CapturedMessage(CapturedMail):
    """All of a captured message."""

    envelope: MailEnvelope
    headers: list[MailHeader]
    text: str | None
    html: str | None
    attachments: list[MailFile]
