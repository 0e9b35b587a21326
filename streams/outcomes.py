"""What became of many jobs: their states, their results, and whose they are."""

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from schemas.job import JobView, State
from streams.aside import payload_name, read_blobs, result_name
from streams.record import fields
from streams.store import Store
from streams.views import job_view

CALL_IDS = 250
"""Jobs one call of the script looks at, if their records have no more than 1 MiB."""
CALLS_A_WRITE = 4
"""Other clients wait for no more than these."""


async def states(store: Store, ids: Sequence[str]) -> list[State | None]:
    """Where each job lies, in the order of `ids`; None: there is none of this id."""
    rows = await _ask(store, "state", ids)
    return [State(row[0].decode()) if row else None for row in rows]


async def endings(store: Store, ids: Sequence[str]) -> list[JobView | State | None]:
    """Per job its view when it has ended, with result or failure; else its state; None: no job.

    A payload that was put aside is not read: `data` is None then."""
    rows = await _ask(store, "result", ids)
    blobs = await _blobs(store, rows, result_name)
    return [_ending(store, row, big) for row, big in zip(rows, blobs, strict=True)]


async def owners(store: Store, ids: Sequence[str]) -> list[str | None]:
    """The organization of each job; None when it names none or there is no such job."""
    rows = await _ask(store, "data", ids)
    blobs = await _blobs(store, rows, payload_name)
    return [_owner(row, big) for row, big in zip(rows, blobs, strict=True)]


async def _ask(store: Store, detail: str, ids: Sequence[str]) -> list[Any]:
    """The rows of the script for all ids, though not at one instant."""
    await store.ready()
    rows: dict[int, Any] = {}
    missing = list(range(len(ids)))
    while missing:
        some = missing[: CALLS_A_WRITE * CALL_IDS]
        parts = [some[at : at + CALL_IDS] for at in range(0, len(some), CALL_IDS)]
        calls = [store.command("outcomes", [ids[n] for n in p], detail=detail) for p in parts]
        replies = await store.read(*calls)
        for part, reply in zip(parts, replies, strict=True):
            rows |= zip(part, reply[1:], strict=False)  # a call may answer fewer than it was asked
        missing = [n for n in missing if n not in rows]
    return [rows[n] for n in range(len(ids))]


async def _blobs(
    store: Store, rows: Sequence[Any], name_of: Callable[[list[bytes]], bytes | None]
) -> list[bytes | None]:
    """What is stored apart of each row's record."""
    names = [name_of(row[2]) if len(row) > 2 else None for row in rows]
    found = await read_blobs(store, [name for name in names if name is not None])
    return [None if name is None else found[name] for name in names]


def _ending(store: Store, row: list[Any], result: bytes | None) -> JobView | State | None:
    if not row:
        return None
    state = State(row[0].decode())
    if len(row) == 1:
        return state
    extra = {"result": result}
    return job_view(store.keys.tag, state, row[1], row[2], extra, store.redis.cipher)


def _owner(row: list[Any], payload: bytes | None) -> str | None:
    if len(row) < 3:
        return None
    data = orjson.loads(payload) if payload else orjson.loads(fields(row[2])[b"b"])["data"]
    owner = data.get("organizationId") if isinstance(data, dict) else None
    return owner if isinstance(owner, str) else None
