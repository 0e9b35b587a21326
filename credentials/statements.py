"""What a token says, in one form for every encoding and version."""

from dataclasses import dataclass, field
from typing import Any, Literal

from credentials.datamodel import Json, Version, malformed
from credentials.moments import Window
from credentials.verdict import Invalid

Kind = Literal["credential", "presentation"]

MAX_ENCLOSED = 32
"""Most credentials in one presentation."""


@dataclass(frozen=True, slots=True)
class Statement:
    """The content of a token by the data model. Nothing is verified yet."""

    kind: Kind
    version: Version
    signer: str
    """The issuer of a credential, the holder of a presentation: whose key must have signed."""
    document: Json
    """The credential or presentation, with the registered claims of a 1.1 token merged into it."""
    windows: tuple[Window, ...]
    audience: tuple[str, ...] | None
    """None: anybody's."""
    nonce: str | None
    enclosed: tuple[str, ...] = field(default=())
    """The tokens of the credentials in a presentation."""


def conflict(claim: str, member: str) -> Invalid:
    """A token that says two different things."""
    return Invalid("CLAIM_CONFLICT", f"{claim} and {member} contradict each other.")


def text_claim(payload: Json, name: str) -> str | None:
    """A registered claim that is a string. Raises Invalid MALFORMED_VALUE_ERROR."""
    value = payload.get(name)
    if name in payload and not isinstance(value, str):
        raise malformed(f"{name} must be a string.")
    return value


def audience(payload: Json) -> tuple[str, ...] | None:
    """`aud` as a tuple; None when there is none. Raises Invalid MALFORMED_VALUE_ERROR."""
    if "aud" not in payload:
        return None
    value: Any = payload["aud"]
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, str) for item in items):
        raise malformed("aud must be a string or an array of strings.")
    return tuple(items)
