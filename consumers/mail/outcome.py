"""What an answer of a relay, or its absence, means for a message (EM-11). Pure.

A relay's trouble with us (greeting, TLS, log-in) is never the message's fault; a message is given
up only for a 5yz at MAIL, RCPT or DATA. Once its text has begun to go out, only a clear answer says
whether it was taken.
"""

import ssl
from enum import StrEnum

from aiosmtplib import (
    SMTPException,
    SMTPNotSupported,
    SMTPRecipientRefused,
    SMTPResponseException,
)

from consumers.mail.settings import MailError

REPLY_CHARS = 500
_OURS = frozenset({530, 534, 535, 538})
"""Replies about our log-in, wherever they come."""


class Stage(StrEnum):
    """How far a delivery has come."""

    CONNECT = "connect"
    """The connection, the greeting, EHLO."""
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    """From DATA to the reply after the final dot."""


class Meaning(StrEnum):
    """What to do about it."""

    RETRY = "retry"
    ALERT = "alert"
    """Retry, and tell the operator: the relay or our settings must be changed."""
    PERMANENT = "permanent"
    AMBIGUOUS = "ambiguous"
    """The relay may have taken the message."""


class NotDelivered(Exception):
    """A delivery that did not end in 250. The text is for the job's owner: it names no host."""

    def __init__(self, meaning: Meaning, code: str, message: str, stage: Stage) -> None:
        super().__init__(message)
        self.meaning = meaning
        self.code = code
        """A stable word."""
        self.stage = stage

    def told(self) -> dict[str, str]:
        """For the record of an attempt."""
        outcome, stage = self.meaning.value, self.stage.value
        return {"outcome": outcome, "stage": stage, "code": self.code, "message": str(self)}


def judge(stage: Stage, error: Exception) -> NotDelivered:
    """`error`, raised at `stage`, as what it means."""
    if isinstance(error, SMTPNotSupported) and stage is Stage.MAIL:
        return NotDelivered(
            Meaning.PERMANENT,
            "smtputf8_unsupported",
            "The address has characters that the mail relay cannot carry (no SMTPUTF8).",
            stage,
        )
    if stage in (Stage.CONNECT, Stage.STARTTLS, Stage.AUTH):
        return _of_relay(stage, error)
    if isinstance(error, ValueError):
        # A line end or the like in a command: aiosmtplib sent nothing of it.
        text = "The message or an address holds characters that SMTP cannot carry."
        return NotDelivered(Meaning.PERMANENT, "message_invalid", text, stage)
    if isinstance(error, SMTPResponseException):
        return _of_reply(stage, error)
    if stage is Stage.DATA:
        return _ambiguous("The mail relay did not say whether it took the message.")
    return NotDelivered(
        Meaning.RETRY, "relay_unavailable", "The connection to the mail relay failed.", stage
    )


def _of_relay(stage: Stage, error: Exception) -> NotDelivered:
    refused_for_good = isinstance(error, SMTPResponseException) and error.code >= 500
    # Not offered: aiosmtplib says so with its plainest class. Or our password cannot be read.
    missing = type(error) is SMTPException or isinstance(error, MailError)
    if is_tls(error) or (stage is Stage.STARTTLS and (missing or refused_for_good)):
        text = "The mail relay offers no TLS that can be trusted."
        return NotDelivered(Meaning.ALERT, "relay_tls_failed", text, stage)
    if stage is Stage.AUTH and (missing or refused_for_good):
        text = "The mail relay refused our log-in."
        return NotDelivered(Meaning.ALERT, "relay_auth_failed", text, stage)
    text = "The mail relay cannot be reached or refuses connections."
    return NotDelivered(Meaning.RETRY, "relay_unavailable", text, stage)


def _of_reply(stage: Stage, error: SMTPResponseException) -> NotDelivered:
    said = f"The mail relay answered {error.code} {reply_text(error.message)}"
    if error.code in _OURS:
        return NotDelivered(Meaning.ALERT, "relay_auth_failed", said, stage)
    if 400 <= error.code < 500:
        return NotDelivered(Meaning.RETRY, "relay_deferred", said, stage)
    if 500 <= error.code < 600:
        refused = isinstance(error, SMTPRecipientRefused)
        code = "recipient_refused" if refused else "message_refused"
        return NotDelivered(Meaning.PERMANENT, code, said, stage)
    if stage is Stage.DATA:
        return _ambiguous("The answer of the mail relay after the message cannot be understood.")
    return NotDelivered(Meaning.RETRY, "relay_unavailable", said, stage)


def _ambiguous(text: str) -> NotDelivered:
    return NotDelivered(Meaning.AMBIGUOUS, "ambiguous", text, Stage.DATA)


def is_tls(error: BaseException | None) -> bool:
    """Whether TLS is what failed, however it was wrapped."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__
    return False


def reply_text(text: str) -> str:
    """A relay's words, on one line and bounded."""
    plain = text.encode(errors="replace").decode()
    return " ".join("".join(c if c.isprintable() else " " for c in plain).split())[:REPLY_CHARS]
