"""What a verification says, and the two ways in which one ends early."""

from dataclasses import dataclass, field
from typing import Any

from credentials.errors import CredentialError

MAX_SENTENCE_CHARS = 400


class Invalid(CredentialError):
    """The token is not acceptable, now and later. `code` is stable and upper-case."""


class CouldNotTell(Exception):
    """Something that is needed could not be fetched now; later it may be there (A5).

    `code` ends in `_RETRIEVAL_ERROR`; `after_s`: not before so many seconds, if it is known.
    """

    def __init__(self, code: str, message: str, *, after_s: float = 0) -> None:
        super().__init__(message)
        self.code = code
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class Verdict:
    """Valid, with what was said; or not, with why. Never both (A4)."""

    valid: bool
    issuer: str | None = None
    """The DID whose key verified: of the issuer, or of the holder of a presentation."""
    subject: str | None = None
    claims: dict[str, Any] | None = None
    """credentialSubject without its id."""
    document: dict[str, Any] | None = None
    """The credential or presentation in the form of the data model."""
    credentials: tuple["Verdict", ...] = field(default=())
    """Those in a presentation."""
    code: str | None = None
    sentence: str | None = None
    is_indeterminate: bool = False
    """It could not be told: something that is needed could not be fetched."""
    statuses: tuple[dict[str, Any], ...] = field(default=())
    """`{purpose, value, message?}` of the status entries that leave the credential valid."""
    warnings: tuple[str, ...] = field(default=())
    """What was not checked, in sentences."""

    @property
    def error(self) -> str | None:
        """`CODE: sentence`, or None."""
        return None if self.code is None else f"{self.code}: {self.sentence}"

    def result(self) -> dict[str, Any]:
        """What a vc-verification job answers: no member without a value (A3)."""
        named = {
            "valid": self.valid,
            "claims": self.claims,
            "issuer": self.issuer,
            "subject": self.subject,
            "statuses": list(self.statuses) or None,
            "warnings": list(self.warnings) or None,
            "error": self.error,
            "indeterminate": self.is_indeterminate or None,
        }
        return {name: value for name, value in named.items() if value is not None}


def invalid(error: CredentialError | CouldNotTell) -> Verdict:
    """The verdict that `error` means."""
    return Verdict(
        valid=False,
        code=error.code,
        sentence=str(error)[:MAX_SENTENCE_CHARS],
        is_indeterminate=isinstance(error, CouldNotTell),
    )
