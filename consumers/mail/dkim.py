"""DKIM signatures (RFC 6376) by dkimpy, which is an optional extra of this package (EM-16)."""

import email
from email import policy
from pathlib import Path
from typing import Any

from consumers.mail.settings import MailError

SIGNED = (
    "from", "to", "cc", "reply-to", "subject", "date", "message-id", "mime-version", "content-type",
    "list-unsubscribe", "list-unsubscribe-post",
)  # fmt: skip
OVERSIGNED = ("from", "to", "subject")
"""Signed once more than they are there: a second one breaks the signature."""


class Signer:
    """Signs for one domain. Opens the key once; `sign` takes milliseconds of CPU."""

    def __init__(self, domain: str, selector: str, key_file: Path) -> None:
        """Raises MailError when dkimpy is not installed or the key is no usable RSA key."""
        self.domain = domain.lower()
        self._selector = selector.encode()
        self._dkim = _library()
        try:
            self._key = key_file.read_bytes()
        except OSError as error:
            raise MailError(f"MAIL_DKIM_KEY_FILE cannot be read: {error}.") from None
        try:
            self.sign(b"From: a@b.c\r\n\r\n\r\n")
        except self._dkim.DKIMException as error:
            raise MailError(
                f"MAIL_DKIM_KEY_FILE is no RSA private key in PEM that can sign: {error}"
            ) from None

    def signs(self, address: str) -> bool:
        """Whether mail from this address is of our domain or one below it."""
        domain = address.rpartition("@")[2].lower()
        return domain == self.domain or domain.endswith(f".{self.domain}")

    def sign(self, content: bytes) -> bytes:
        """The message with a signature in front: rsa-sha256, relaxed/relaxed."""
        present = email.message_from_bytes(content, policy=policy.compat32)
        names = [name.lower() for name in present.keys()]  # noqa: SIM118 - names may repeat
        signed = [name for name in names if name in SIGNED]
        header: bytes = self._dkim.sign(
            content,
            self._selector,
            self.domain.encode(),
            self._key,
            canonicalize=(b"relaxed", b"relaxed"),
            include_headers=[name.encode() for name in (*signed, *OVERSIGNED)],
        )
        return header + content


def _library() -> Any:
    try:
        import dkim  # noqa: PLC0415 - optional, and slow to load
    except ImportError:
        raise MailError(
            "DKIM is set up, but dkimpy is not installed: install credstream with its extra `dkim`."
        ) from None
    return dkim
