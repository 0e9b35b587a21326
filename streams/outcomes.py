"""What became of many jobs: their states, their results, and whose they are."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from schemas.job import JobView, State
from streams.record import fields
from streams.store import Store
from streams.views import job_view

CALL_IDS = 250
"""Jobs one call of the script looks at; several calls go in one write."""


async def states(store: Store, ids: Sequence[str]) -> list[State | None]:
    """Where each job lies, in the order of `ids`; None: there is none of this id."""
    rows = await _ask(store, "state", ids)
    return [State(row[0].decode()) if row else None for row in rows]


async def endings(store: Store, ids: Sequence[str]) -> list[JobView | State | None]:
    """Per job its view when it has ended, with result or failure; else its state; None: no job.

    A payload that was put aside is not read: `data` is None then."""
    rows = await _ask(store, "result", ids)
    return [_ending(store.keys.tag, row) for row in rows]


async def owners(store: Store, ids: Sequence[str]) -> list[str | None]:
    """The organization of each job; None when it names none or there is no such job."""
    rows = await _ask(store, "data", ids)
    return [_owner(row) for row in rows]


async def _ask(store: Store, detail: str, ids: Sequence[str]) -> list[Any]:
    """The rows of the script for all ids, in one write, though not at one instant."""
    if not ids:
        return []
    await store.ready()
    calls = [store.command("outcomes", part, detail=detail) for part in _parts(ids)]
    replies = await store.redis.run(store.keys.prefix, *calls)
    return [row for reply in replies for row in reply[1:]]


def _parts(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(ids), CALL_IDS):
        yield ids[at : at + CALL_IDS]


def _ending(queue: str, row: list[Any]) -> JobView | State | None:
    if not row:
        return None
    state = State(row[0].decode())
    if len(row) == 1:
        return state
    return job_view(queue, state, row[1], row[2], {"result": row[3]})


def _owner(row: list[Any]) -> str | None:
    if len(row) < 3:
        return None
    data = orjson.loads(row[3]) if row[3] else orjson.loads(fields(row[2])[b"b"])["data"]
    owner = data.get("organizationId") if isinstance(data, dict) else None
    return owner if isinstance(owner, str) else None
