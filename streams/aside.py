"""Read payloads and results that are stored apart from their records, in the hash `blobs`."""

from collections.abc import Sequence

from streams.record import Header, fields
from streams.store import Store

READ_BLOBS = 16
"""Blobs in one read: a blob has up to 16 MiB."""


def payload_name(flat: list[bytes]) -> bytes | None:
    """The name of the payload of a record in `blobs`; None when it is part of the record."""
    return flat[1] + b":d" if "B" in _flags(flat) else None


def result_name(flat: list[bytes]) -> bytes | None:
    """The name of the result of a completed job's record in `blobs`; None: it is in the record."""
    return flat[1] + b":r" if "R" in _flags(flat) else None


async def read_blobs(store: Store, names: Sequence[bytes]) -> dict[bytes, bytes | None]:
    """Blobs by name; None: there is none, as its job has gone meanwhile. Raises Unavailable."""
    found: dict[bytes, bytes | None] = {}
    key, blobs = store.keys.prefix, store.keys["blobs"]
    for at in range(0, len(names), READ_BLOBS):
        part = names[at : at + READ_BLOBS]
        values = await store.redis.command("HMGET", blobs, *part, key=key)
        found |= dict(zip(part, values, strict=True))
    return found


def _flags(flat: list[bytes]) -> str:
    return Header.parse(fields(flat)[b"h"]).flags
