"""Ids of jobs: who makes them, and how they are written (docs/protocol.md, "Identity of jobs").

An id that begins with `~` is derived: Credstream makes it from what the job is about, and no
submission can bring it.
"""

import base64
import hashlib
import json

DERIVED = "~"
"""How derived ids begin."""
_HASH_BYTES = 10
"""16 digits of base32hex, 80 bits."""


def callback_id(queue: str, entry: str, ending: tuple[str, str, int]) -> str:
    """The id of the webhooks job that reports an ending.

    `entry` is the outbox entry; `ending` is the job's id, when it was added (epoch ms) and how
    often it has ended: after a failover that lost writes, an entry of the same id may be about
    another ending. A queue's name has no colon."""
    return f"{DERIVED}cb:{queue}:{entry}:{digest(json.dumps(ending))}"


def publication_id(list_id: str, version: int) -> str:
    """The id of the job that publishes this version of a status list."""
    return f"{DERIVED}st:{list_id}.{version}"


def inspection_id(list_id: str, slot_end_ms: int) -> str:
    """The id of the job that publishes a status list if a change in this slot was left behind."""
    return f"{DERIVED}st:{list_id}.after.{slot_end_ms}"


def digest(text: str) -> str:
    """A short hash: 16 digits of base32hex in lower case."""
    raw = hashlib.sha256(text.encode()).digest()[:_HASH_BYTES]
    return base64.b32hexencode(raw).decode().lower()
