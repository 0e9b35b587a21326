"""Why jobs died, many at once and without their payloads."""

import asyncio
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from schemas.job import code_of
from streams.store import Store

HOP_JOBS = 500
FINISHED = 10
"""Where in a header the time of the ending stands (`streams.record.Header`)."""
_ITEM = b'{"attempt":'


class Death(NamedTuple):
    """The end of one job. A tuple, because there are ten thousand of them."""

    job_id: str
    name: str
    reason: str
    code: str
    """The class of the exception or the word of the refusal; the reason where there is neither."""
    message: str
    at_ms: int
    """By the clock of Redis."""


@dataclass(frozen=True, slots=True)
class Deaths:
    """The newest dead letters of a queue, newest first."""

    version: tuple[int, str]
    """How many lie there and the last that ever came: as long as both stay, so does the rest."""
    found: list[Death]

    @property
    def total(self) -> int:
        return self.version[0]


async def version(store: Store) -> tuple[int, str]:
    """What `Deaths.version` would be now. Raises Unavailable."""
    reply = await store.call("causes", cursor="", take=0)
    return reply[1], reply[2].decode()


async def deaths(store: Store, most: int) -> Deaths:
    """The newest `most`, read in hops. Raises Unavailable."""
    seen = await version(store)
    found: list[Death] = []
    hop = await _hop(store, b"", min(HOP_JOBS, most))
    while True:
        count = (len(hop) - 4) // 4
        left = most - len(found) - count
        following = None
        if hop[3] and left > 0:  # Redis reads the next ones while these are decoded
            following = asyncio.create_task(_hop(store, hop[3], min(HOP_JOBS, left)))
            await asyncio.sleep(0)
        found += [_death(hop[at : at + 4]) for at in range(4, len(hop), 4)]
        if following is None:
            return Deaths(seen, found)
        hop = await following


async def _hop(store: Store, cursor: bytes, take: int) -> list[Any]:
    return await store.call("causes", cursor=cursor, take=take)


def _death(row: list[bytes]) -> Death:
    job_id, header, name, history = row
    last = _last(history)
    reason = str(last.get("reason", "failed"))
    finished = header.split(b":", FINISHED + 1)[FINISHED]
    return Death(
        job_id=job_id.decode(),
        name=name[1:-1].decode(),  # the script sends no name with escapes
        reason=reason,
        code=code_of(last),
        message=str(last.get("message", "")),
        at_ms=int(float(finished)) if finished else int(last.get("at", 0)),
    )


def _last(history: bytes) -> dict[str, Any]:
    """The last item of a history whose beginning may be missing; {} when it cannot be read."""
    if not history:
        return {}
    text = history[history.rfind(_ITEM) : -1] if not history.startswith(b"[") else history
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    item = found[-1] if isinstance(found, list) and found else found
    return item if isinstance(item, dict) else {}
