"""What a credential refers to, and verifiers look up: status lists and schemas.

Nothing is fetched here. An issuer refuses what a verifier could not take (A6), by the same rules.
Entries of other types are passed over, as the data model demands (E8).
"""

from dataclasses import dataclass

from credentials import bitstring, integrity
from credentials.datamodel import Json, entries, is_url, malformed, types_of

STATUS_ENTRY = "BitstringStatusListEntry"
MAX_STATUS_ENTRIES = 16
"""Most entries of one credential: each may cost a fetch."""

SCHEMA_TYPES = ("JsonSchema", "JsonSchemaCredential")
MAX_SCHEMAS = 8
"""Most schemas of one credential."""


@dataclass(frozen=True, slots=True)
class StatusEntry:
    """One BitstringStatusListEntry, well formed."""

    purpose: str
    index: int
    size: int
    """Bits per credential."""
    url: str


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
    return StatusEntry(purpose, bitstring.index(entry.get("statusListIndex")), size, str(url))
