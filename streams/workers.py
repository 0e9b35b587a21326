"""Who works on a queue."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from streams.looking import SILENT_MS
from streams.store import Store


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """What a worker last said of itself."""

    name: str
    queue: str
    seen_ms: int
    """When it spoke: epoch ms by the clock of Redis."""
    alive: bool
    host: str | None
    slots: int | None
    running: Mapping[str, int]
    """Jobs it runs -> when it took them (epoch ms)."""


async def workers_of(store: Store) -> list[WorkerSeen]:
    """The workers of a queue, by name. One that has stopped is not among them; one that fell silent
    is for a while. Raises Unavailable."""
    seconds, micros = await store.redis.command("TIME", key=store.keys.prefix)
    beats = await store.worker_beats()
    return seen(store.keys.tag, beats, int(seconds) * 1000 + int(micros) // 1000)


def seen(queue: str, beats: Mapping[str, bytes], now_ms: int) -> list[WorkerSeen]:
    """The same, from what lies in Redis."""
    return [_seen(queue, name, beats[name], now_ms) for name in sorted(beats)]


def _seen(queue: str, name: str, beat: bytes, now_ms: int) -> WorkerSeen:
    at, _, text = beat.partition(b":")
    said: dict[str, Any] = orjson.loads(text) if text else {}
    seen_ms = int(at)
    return WorkerSeen(
        name,
        queue,
        seen_ms,
        alive=abs(now_ms - seen_ms) <= SILENT_MS,
        host=said.get("host"),
        slots=said.get("slots"),
        running=said.get("running") or {},
    )
