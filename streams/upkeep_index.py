"""The index of queues by when a scheduler has to look at them next, shared by all schedulers."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from schemas.spec import QueueSpec, Retention, catalog
from streams import keys
from streams.connection import Redis
from streams.errors import CredstreamError
from streams.scripts import Argument
from streams.store import change


@dataclass(frozen=True, slots=True)
class Turn:
    """What a scheduler got: queues to look at, each with what was announced of it (JSON; empty:
    nothing), and in how many ms the next one is due."""

    queues: Mapping[str, bytes]
    next_ms: int


class UpkeepIndex:
    """Verbs on the index. Each may be repeated; each raises Unavailable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._keys = keys.upkeep()

    async def announce(self, spec: QueueSpec) -> None:
        """Enter a queue, with what its workers go by where the catalogue does not say it."""
        told = b"" if catalog().get(spec.name) == spec else _encode(spec)
        await self._call("upkeep_announce", queue=spec.name, spec=told)

    async def enter(self, queue: str) -> None:
        """Enter a queue, whatever its workers have announced."""
        await self._call("upkeep_enter", queue=queue)

    async def forget(self, queue: str) -> None:
        """Take a queue out of the index."""
        await self._call("upkeep_forget", queue=queue)

    async def turn(self, looks: Mapping[str, int], most: int, hold_ms: int) -> Turn:
        """Report in how many ms each queue of `looks` is due again, and get at most `most` queues
        that are due; they are handed to nobody else for `hold_ms`."""
        rest: list[Argument] = []
        for queue, in_ms in looks.items():
            rest += (queue, in_ms)
        reply = await self._call("upkeep_turn", rest, most=most, hold_ms=hold_ms)
        pairs = zip(reply[2::2], reply[3::2], strict=True)
        return Turn({name.decode(): spec for name, spec in pairs}, int(reply[1]))

    async def hasten(self, queue: str) -> None:
        """Make a scheduler look at a queue now, if there is one and if Redis can be reached: it
        would do so anyway, only later."""
        with suppress(CredstreamError):
            await self._call("upkeep_hasten", queue=queue)

    async def _call(self, name: str, rest: list[Argument] | None = None, **named: Argument) -> Any:
        return await change(self._redis, self._keys, name, rest or (), **named)


def _encode(spec: QueueSpec) -> bytes:
    return orjson.dumps(
        {
            "lease_ms": spec.lease_ms,
            "max_stalls": spec.max_stalls,
            "retention": asdict(spec.retention),
            "callback_members": spec.callback_members,
        }
    )


def decode_spec(name: str, told: bytes) -> QueueSpec:
    """As much of a spec as upkeep needs, from what was announced."""
    said = orjson.loads(told)
    members = said["callback_members"]
    return QueueSpec(
        name,
        lease_ms=said["lease_ms"],
        max_stalls=said["max_stalls"],
        retention=Retention(**said["retention"]),
        callback_members=None if members is None else tuple(members),
    )
