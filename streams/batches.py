"""Batches: many jobs under one name. The ids of the jobs follow from that of the batch, so what
became of a batch is looked up in its queue and costs its jobs nothing."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from schemas.identity import JobRef, batch_job_ref
from streams import keys
from streams.connection import Redis
from streams.scan import scan
from streams.store import change

TTL_MS = 7 * 24 * 3600 * 1000
"""How long a batch is remembered; its jobs follow the retention of their queue."""


class OtherBatch(Exception):
    """The id belongs to a batch of other jobs."""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What is written down of a batch as a whole. Times are epoch ms by the clock of Redis."""

    ref: JobRef
    """Its id inside Redis, of the same kinds as those of jobs."""
    queue: str
    organization_id: str | None
    count: int
    created_ms: int = 0
    expires_ms: int = 0
    stored: bool = False
    """All jobs are in the queue: what is missing now was there."""

    def job_refs(self, start: int = 0, end: int | None = None) -> list[JobRef]:
        """The ids inside Redis of jobs start..end-1."""
        return [batch_job_ref(self.ref, number) for number in range(self.count)[start:end]]


async def open_batch(redis: Redis, record: BatchRecord, digest: str) -> tuple[BatchRecord, bool]:
    """Write a batch down before its jobs are added; also says whether it had been before.

    `digest` stands for the jobs. Raises OtherBatch, Unavailable, Full. May be repeated."""
    reply = await change(
        redis,
        keys.batch(record.ref),
        "batch_open",
        queue=record.queue,
        org=record.organization_id or "",
        count=record.count,
        digest=digest,
        ttl_ms=TTL_MS,
    )
    if reply[0] == b"DIFFERS":
        raise OtherBatch(record.ref)
    created, expires, stored = (int(item) for item in reply[1:4])
    known = replace(record, created_ms=created, expires_ms=expires, stored=bool(stored))
    return known, reply[0] == b"ALREADY"


async def batch_stored(redis: Redis, ref: JobRef) -> None:
    """Note that all jobs of the batch are in their queue. May be repeated."""
    await change(redis, keys.batch(ref), "batch_stored")


async def find_batch(redis: Redis, ref: JobRef) -> BatchRecord | None:
    """A batch, as long as it is remembered."""
    at = keys.batch(ref)
    flat = await redis.command(b"HGETALL", at["batch"], key=at.prefix)
    found: Mapping[bytes, Any] = dict(zip(flat[::2], flat[1::2], strict=True))
    if not found:
        return None
    return BatchRecord(
        ref,
        found[b"queue"].decode(),
        found[b"org"].decode() or None,
        int(found[b"count"]),
        created_ms=int(found[b"created"]),
        expires_ms=int(found[b"expires"]),
        stored=b"stored" in found,
    )


async def forget_batches(redis: Redis, queue: str) -> None:
    """Remove the records of all batches of a queue. May be repeated. Raises Unavailable."""
    async for names in scan(redis, f"{keys.BATCHES}*".encode()):
        found = await asyncio.gather(
            *(redis.command("HGET", name, "queue", key=name) for name in names)
        )
        for name, one in zip(names, found, strict=True):
            if one == queue.encode():
                await redis.command("UNLINK", name, key=name)
