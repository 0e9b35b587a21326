"""Why jobs died, many at once and without their payloads."""

from dataclasses import dataclass
from typing import Any

import orjson

from streams.record import Header
from streams.store import Store

HOP_JOBS = 500
_ITEM = b'{"attempt":'


@dataclass(frozen=True, slots=True)
class Death:
    """The end of one job."""

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
    cursor = b""
    while len(found) < most:
        take = min(HOP_JOBS, most - len(found))
        reply = await store.call("causes", cursor=cursor, take=take)
        found += [_death(reply[at : at + 4]) for at in range(4, len(reply), 4)]
        cursor = reply[3]
        if not cursor:
            break
    return Deaths(seen, found)


def _death(row: list[bytes]) -> Death:
    job_id, header, name, history = row
    last = _last(history)
    reason = str(last.get("reason", "failed"))
    finished = Header.parse(header).finished
    return Death(
        job_id=job_id.decode(),
        name=orjson.loads(name) if name else "",
        reason=reason,
        code=str(last.get("code") or reason),
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
