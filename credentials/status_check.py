"""Whether a credential was revoked or suspended: W3C Bitstring Status List 1.0 (I1-I7).

Entries of other types say nothing here and are passed over, as the data model demands (E8). For a
BitstringStatusListEntry everything must be had and hold; what cannot be looked up is no good news.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from credentials import bitstring
from credentials.authentic import Reader
from credentials.datamodel import Json, entries, malformed, types_of
from credentials.integrity import check
from credentials.moments import date_time
from credentials.references import StatusEntry, status_entries
from credentials.requester import current_requester
from credentials.retrieval import NotRetrieved, Retrieve
from credentials.settings import ListIssuers
from credentials.statements import Statement
from credentials.verdict import CouldNotTell, Invalid

MAX_LIST_CHARS = 4 * 1024 * 1024
"""Longest status list credential read, as a token."""

CACHE_BYTES = 64 * 1024 * 1024
DEFAULT_TTL_S = 300.0
"""How long a list is believed that does not say (`ttl`), and the longest it is believed (I7)."""

MEDIA_TYPES = "application/vc+jwt, application/jwt;q=0.9, text/plain;q=0.5"
LIST, LIST_CREDENTIAL = "BitstringStatusList", "BitstringStatusListCredential"
_SET = {
    "revocation": ("STATUS_REVOKED", "The issuer has revoked this credential."),
    "suspension": ("STATUS_SUSPENDED", "The issuer has suspended this credential."),
}

INFORMATIVE = frozenset({"refresh", "message"})
"""Purposes whose value leaves a credential valid (Bitstring Status List 1.0, 2.1)."""

Hosted = Callable[[str], Awaitable[str | None]]
"""URL -> the token of a status list of this installation; None: not one of ours."""


@dataclass(frozen=True, slots=True)
class StatusList:
    """A list whose signature was verified. `until_s` bounds how long it is believed."""

    issuer: str
    purposes: frozenset[str]
    bits: bytes
    until_s: float
    body: bytes
    """The token it came in, as it was served."""


@dataclass(slots=True)
class StatusCheck:
    """Looks entries up; keeps the lists it fetched for as long as they may be believed.

    `hosted` is asked first and what it gives is not kept: a revocation here counts at once.
    """

    reader: Reader
    retrieve: Retrieve
    hosted: Hosted | None = None
    list_issuers: ListIssuers = "same"
    _known: OrderedDict[str, StatusList] = field(default_factory=OrderedDict)
    _fetching: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict)

    async def check(self, statement: Statement) -> list[Json]:
        """Return when no entry of the credential is set that makes it invalid: `{purpose, value,
        message?}` of each that does not.

        Raises Invalid: STATUS_REVOKED, STATUS_SUSPENDED, STATUS_SET, STATUS_RETRIEVAL_ERROR,
        STATUS_VERIFICATION_ERROR, STATUS_LIST_LENGTH_ERROR, RANGE_ERROR, MALFORMED_VALUE_ERROR,
        RELATED_RESOURCE_MISMATCH; CouldNotTell STATUS_RETRIEVAL_ERROR.
        """
        said = []
        for entry in status_entries(statement.document):
            found = await self._list(entry.url)
            check(statement.document, entry.url, found.body)
            if self.list_issuers == "same" and found.issuer != statement.signer:
                raise _unverified("it is not by the issuer of the credential")
            if entry.purpose not in found.purposes:
                raise _unverified(f"it is not about {entry.purpose}")
            value = value_of(found.bits, entry)
            if entry.purpose in INFORMATIVE:
                said.append(_said(entry, value))
            elif value:
                raise Invalid(*_SET.get(entry.purpose, _other(entry.purpose)))
        return said

    async def _list(self, url: str) -> StatusList:
        token = await self.hosted(url) if self.hosted else None
        if token is not None:
            return await self._verified(token.encode())
        known = self._recall(url)
        return known if known is not None else await self._fetched_once(url)

    async def _fetched_once(self, url: str) -> StatusList:
        """One fetch at a time of a list for a requester; the others then find it here."""
        requester = current_requester()
        requester.occupy()
        name = (requester.name, url)
        lock = self._fetching.setdefault(name, asyncio.Lock())
        try:
            async with lock:
                return self._recall(url) or self._keep(url, await self._fetched(url))
        finally:
            if not lock.locked():
                self._fetching.pop(name, None)

    def _recall(self, url: str) -> StatusList | None:
        known = self._known.get(url)
        return known if known is not None and self.reader.clock() < known.until_s else None

    def _keep(self, url: str, found: StatusList) -> StatusList:
        self._known.pop(url, None)
        self._known[url] = found
        while sum(len(kept.bits) + len(kept.body) for kept in self._known.values()) > CACHE_BYTES:
            self._known.popitem(last=False)
        return found

    async def _fetched(self, url: str) -> StatusList:
        try:
            body = await self.retrieve(url, MAX_LIST_CHARS, MEDIA_TYPES)
        except NotRetrieved as error:
            code, message = "STATUS_RETRIEVAL_ERROR", f"The status list: {error}"
            if error.transient:
                raise CouldNotTell(code, message, after_s=error.after_s) from error
            raise Invalid(code, message) from None
        # What is not a token fails as one, with its own words.
        return await self._verified(body)

    async def _verified(self, body: bytes) -> StatusList:
        """The list in a token, by the same pipeline as any credential (I3)."""
        token = body.decode("ascii", errors="replace").strip(" \t\r\n")
        try:
            statement = await self.reader.authentic(token, max_chars=MAX_LIST_CHARS)
        except Invalid as error:
            raise _unverified(f"{error.code}, {error}") from None
        subject = _subject(statement.document)
        purposes = subject.get("statusPurpose")
        named: list[Any] = purposes if isinstance(purposes, list) else [purposes]
        if not named or not all(isinstance(purpose, str) for purpose in named):
            raise malformed("statusPurpose of a status list must be one or more strings.")
        encoded = subject.get("encodedList")
        if not isinstance(encoded, str):
            raise malformed("encodedList of a status list must be a string.")
        bits = await self.reader.keys.compute_long(bitstring.decode, encoded)
        until_s = self._until(statement.document, subject)
        return StatusList(statement.signer, frozenset(named), bits, until_s, body)

    def _until(self, document: Json, subject: Json) -> float:
        """When the list has to be fetched again: `ttl` is in milliseconds (I7)."""
        ttl = subject.get("ttl", DEFAULT_TTL_S * 1000)
        if isinstance(ttl, bool) or not isinstance(ttl, int | float) or ttl < 0:
            raise malformed("ttl of a status list must be a number of milliseconds.")
        until_s = self.reader.clock() + min(ttl / 1000, DEFAULT_TTL_S)
        for name in ("validUntil", "expirationDate"):
            if name in document:
                until_s = min(until_s, date_time(name, document[name]))
        return until_s


def value_of(bits: bytes, entry: StatusEntry) -> int:
    """The bits of the entry as a number. Raises STATUS_LIST_LENGTH_ERROR, RANGE_ERROR."""
    if len(bits) * 8 // entry.size < bitstring.MIN_BITS:
        raise Invalid(
            "STATUS_LIST_LENGTH_ERROR",
            f"The status list has fewer than {bitstring.MIN_BITS} entries of {entry.size} bits.",
        )
    first = entry.index * entry.size
    value = 0
    for position in range(first, first + entry.size):
        value = value << 1 | bitstring.bit(bits, position)
    return value


def _said(entry: StatusEntry, value: int) -> Json:
    said: Json = {"purpose": entry.purpose, "value": value}
    return said | {"message": entry.messages[value]} if entry.messages else said


def _subject(document: Json) -> Json:
    if LIST_CREDENTIAL not in types_of(document):
        raise _unverified(f"its type does not include {LIST_CREDENTIAL}")
    if status_entries(document):
        raise _unverified("it has a status of its own")
    subjects = entries(document, "credentialSubject")
    if len(subjects) != 1 or LIST not in types_of(subjects[0]):
        raise _unverified(f"its subject is not of type {LIST}")
    return subjects[0]


def _unverified(why: str) -> Invalid:
    return Invalid(
        "STATUS_VERIFICATION_ERROR", f"The status list cannot be accepted: {why.removesuffix('.')}."
    )


def _other(purpose: Any) -> tuple[str, str]:
    return "STATUS_SET", f"The status of this credential for {str(purpose)[:64]} is set."
