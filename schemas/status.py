"""Names around status lists: purposes, whose lists there are, and places in them.

A list's id is the tag of its pool, which all lists of an (organization, issuer) share, and a
random name: it tells neither whose it is nor how many there are.
"""

import base64
import hashlib
import json
import re
import secrets
from dataclasses import dataclass
from typing import Annotated, Literal, Self, get_args

from pydantic import StringConstraints

from schemas.plain_words import worded

Purpose = Literal["revocation", "suspension"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

LIST_ID = r"[a-z2-7]{26}-[a-z2-7]{13}"
ListId = Annotated[
    str,
    StringConstraints(
        strict=True, pattern=worded(rf"^{LIST_ID}\z", "must be the id of a status list")
    ),
]
POOL_CHARS = 26
PATH = "/status-lists/"
"""Where lists are served, below the address of the gateway."""

_LIST_ID = re.compile(LIST_ID)


def is_list_id(text: str) -> bool:
    """Whether `text` has the shape of a list's id."""
    return _LIST_ID.fullmatch(text) is not None


def list_url(base_url: str, list_id: str) -> str:
    """Where a list is served: the `statusListCredential` of its entries."""
    return f"{base_url}{PATH}{list_id}"


def fresh_name() -> str:
    """A random name for a list: 13 characters, 64 bits."""
    return _base32(secrets.token_bytes(8))


def digest(origin: tuple[str, ...]) -> str:
    """A short hash of what asked for something: 16 characters, 80 bits."""
    return _base32(hashlib.sha256(json.dumps(origin).encode()).digest()[:10])


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose lists: an organization, and the DID that signs for it."""

    organization_id: str
    issuer_did: str

    @property
    def pool(self) -> str:
        """The tag of its pool: 26 characters, whatever the names hold."""
        named = json.dumps([self.organization_id, self.issuer_did]).encode()
        return _base32(hashlib.sha256(named).digest()[:16])


@dataclass(frozen=True, slots=True)
class Place:
    """One bit of one list."""

    list_id: str
    index: int

    @property
    def pool(self) -> str:
        """The pool that the list belongs to."""
        return self.list_id[:POOL_CHARS]

    @property
    def name(self) -> str:
        """The list within its pool."""
        return self.list_id[POOL_CHARS + 1 :]

    @property
    def short(self) -> str:
        """The place within its pool, as a credential's record holds it."""
        return f"{self.name}:{self.index}"

    @classmethod
    def within(cls, pool: str, short: str) -> Self:
        """The place that `short` means in a pool."""
        name, _, index = short.partition(":")
        return cls(f"{pool}-{name}", int(index))


@dataclass(frozen=True, slots=True)
class Frame:
    """What all credentials of a list share. A list made in another frame takes no more of them."""

    base_url: str
    """Lists are served below it; it is written into credentials and never changes for a list."""
    size: int
    """Entries in a list."""


def _base32(raw: bytes) -> str:
    return base64.b32encode(raw).rstrip(b"=").decode().lower()
