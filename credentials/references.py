"""What a credential refers to, and verifiers look up: status lists and schemas.

Nothing is fetched here. An issuer refuses what a verifier could not take (A6), by the same rules.
Entries of other types are passed over, as the data model demands (E8), and named in `unchecked`.
"""

import re
from dataclasses import dataclass

from credentials import bitstring, integrity
from credentials.datamodel import Json, entries, is_url, malformed, types_of

STATUS_ENTRY = "BitstringStatusListEntry"
MAX_STATUS_ENTRIES = 16
"""Most entries of one credential: each may cost a fetch."""

SCHEMA_TYPES = ("JsonSchema", "JsonSchemaCredential")
MAX_SCHEMAS = 8
"""Most schemas of one credential."""

MAX_WARNINGS = 16
MAX_TYPE_CHARS = 128
_HEX = re.compile(r"0[xX][0-9A-Fa-f]{1,16}")


@dataclass(frozen=True, slots=True)
class StatusEntry:
    """One BitstringStatusListEntry, well formed."""

    purpose: str
    index: int
    size: int
    """Bits per credential."""
    url: str
    messages: tuple[str, ...] = ()
    """By value; none, or one for each value."""


def check(credential: Json) -> None:
    """Raises Invalid MALFORMED_VALUE_ERROR for what no verifier of ours could look up,
    RELATED_RESOURCE_MISMATCH for a context that is not what the credential says."""
    status_entries(credential)
    for _, entry in schema_entries(credential):
        integrity.digests_of(entry)
    integrity.check_contexts(credential)


def status_entries(credential: Json) -> list[StatusEntry]:
    """The Bitstring entries of a credential, in their order. Raises Invalid."""
    found = [
        entry
        for entry in entries(credential, "credentialStatus")
        if STATUS_ENTRY in types_of(entry)
    ]
    if len(found) > MAX_STATUS_ENTRIES:
        raise malformed(f"A credential may have at most {MAX_STATUS_ENTRIES} status entries.")
    return [_entry(entry) for entry in found]


def unchecked(credential: Json) -> tuple[str, ...]:
    """A warning for each type of status or schema entry that nobody looks at here."""
    known = {"credentialStatus": {STATUS_ENTRY}, "credentialSchema": set(SCHEMA_TYPES)}
    found = {
        f"A {member} of type {', '.join(types_of(entry))[:MAX_TYPE_CHARS]} was not checked; "
        f"of type {' or '.join(sorted(types))} it would be."
        for member, types in known.items()
        for entry in entries(credential, member)
        if types.isdisjoint(types_of(entry))
    }
    return tuple(sorted(found)[:MAX_WARNINGS])


def schema_entries(credential: Json) -> list[tuple[str, Json]]:
    """The entries of VC JSON Schema with the type each is to be read as. Raises Invalid."""
    named = entries(credential, "credentialSchema")
    if len(named) > MAX_SCHEMAS:
        raise malformed(f"A credential may have at most {MAX_SCHEMAS} schemas.")
    return [(kind, entry) for entry in named for kind in SCHEMA_TYPES if kind in types_of(entry)]


def _entry(entry: Json) -> StatusEntry:
    purpose, url, size = (
        entry.get("statusPurpose"), entry.get("statusListCredential"), entry.get("statusSize", 1)
    )  # fmt: skip
    if not isinstance(purpose, str) or not purpose:
        raise malformed("statusPurpose of a status entry must be a string.")
    if not is_url(url):
        raise malformed("statusListCredential must be the URL of a status list.")
    if entry.get("id") == url:
        raise malformed("id of a status entry must not be the URL of its list.")
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 64:
        raise malformed("statusSize must be a whole number from 1 to 64.")
    index = bitstring.index(entry.get("statusListIndex"))
    return StatusEntry(purpose, index, size, str(url), _messages(entry, size))


def _messages(entry: Json, size: int) -> tuple[str, ...]:
    """statusMessage: required beyond one bit, and then one for each value (Bitstring Status List
    1.0, 2.1). Raises Invalid."""
    if "statusMessage" not in entry and size == 1:
        return ()
    listed, count = entry.get("statusMessage"), 1 << size
    if not isinstance(listed, list) or len(listed) != count:
        raise malformed(
            f"statusMessage must be an array with a message for each of the {count} values of "
            f"statusSize {size}."
        )
    found: dict[int, str] = {}
    for item in listed:
        value, text = _message(item)
        found[value] = text
    if found.keys() != set(range(count)):
        raise malformed(f"statusMessage must name each value from 0x0 to {count - 1:#x} once.")
    return tuple(found[value] for value in range(count))


def _message(item: object) -> tuple[int, str]:
    status, text = (item.get("status"), item.get("message")) if isinstance(item, dict) else (0, 0)
    if not isinstance(status, str) or _HEX.fullmatch(status) is None or not isinstance(text, str):
        raise malformed(
            "An item of statusMessage must have status, a hexadecimal value as 0x1, and message, "
            "a string."
        )
    return int(status, 16), text
