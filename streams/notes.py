"""What a running job tells of itself. It is kept beside the job and goes with it."""

from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from streams.job import Job
from streams.sanitize import clean_text, encode_value
from streams.store import Store

LINE_CHARS = 4_096
PROGRESS_BYTES = 64 * 1024
REMEMBERED_BYTES = 1024 * 1024
_LINES = {"l": (100, 16_384), "a": (20, 65_536)}
"""Kind of note -> most lines and bytes of it that are kept."""


class Held(Protocol):
    """A job that is being run, and where it lies."""

    @property
    def job(self) -> Job: ...
    @property
    def place(self) -> bytes: ...


class Notes:
    """Notes are refused when the claim is lost: a late worker says nothing about a job."""

    store: Store

    async def progress(self, claim: Held, value: Any) -> bool:
        """Store a job's progress (any JSON, 64 KiB). False when the claim is lost. Raises
        InvalidValue."""
        return await self._note(claim, "p", encode_value(value, PROGRESS_BYTES))

    async def log(self, claim: Held, line: str) -> bool:
        """Append a log line to a job (the last 100, 16 KiB). False when the claim is lost."""
        return await self._note(claim, "l", orjson.dumps(clean_text(line, LINE_CHARS)))

    async def attempt(self, claim: Held, record: Mapping[str, Any]) -> bool:
        """Append what an attempt did (the last 20, 64 KiB). False when the claim is lost. Raises
        InvalidValue."""
        return await self._note(claim, "a", encode_value(record, _LINES["a"][1]))

    async def remember(self, claim: Held, value: Any) -> bool:
        """Store one value (any JSON, 1 MiB) for later runs of the job. False when the claim is
        lost. Raises InvalidValue."""
        return await self._note(claim, "m", encode_value(value, REMEMBERED_BYTES))

    async def recall(self, claim: Held) -> Any:
        """What a run of this job remembered last; None when nothing."""
        field = f"{claim.job.ref}:m"
        run = self.store.keys["run"]
        stored = await self.store.redis.command("HGET", run, field, key=self.store.keys.prefix)
        return orjson.loads(stored) if stored else None

    async def _note(self, claim: Held, kind: str, value: bytes) -> bool:
        most, room = _LINES.get(kind, (1, 0))
        reply = await self.store.call(
            "note",
            id=claim.job.ref,
            place=claim.place,
            kind=kind,
            value=value,
            most=most,
            room=room,
        )
        return bool(reply[0] == b"OK")
