"""Deleting a queue with everything it has."""

from streams import keys
from streams.batches import forget_batches
from streams.connection import Redis
from streams.errors import QueueInUse
from streams.link import Lost
from streams.looking import SILENT_MS
from streams.queue import Queue
from streams.scan import scan
from streams.scripts import SCRIPTS
from streams.store import enter
from streams.upkeep_index import UpkeepIndex


async def is_deletable(queue: Queue) -> bool:
    """Whether there is something to delete. Raises QueueInUse while jobs are active or workers
    live, and Unavailable."""
    return await _ask(queue, "check") > 0


async def unlist(redis: Redis, name: str) -> bytes | None:
    """Take a queue out of the catalogue, the index of schedulers and the events of all queues.
    Its jobs stay. Its entry of the catalogue, for `relist`; None where it had none. May be
    repeated. Raises Unavailable."""
    about: bytes | None = await redis.command("HGET", keys.CATALOGUE, name, key=keys.CATALOGUE)
    await redis.command("HDEL", keys.CATALOGUE, name, key=keys.CATALOGUE)
    await UpkeepIndex(redis).forget(name)
    merged = keys.all_events()
    await redis.command("HDEL", merged["cursors"], name, key=merged.prefix)
    return about


async def relist(redis: Redis, name: str, about: bytes | None) -> None:
    """Put a queue back into the catalogue, unless somebody listed it anew. Raises Unavailable."""
    if about is not None:
        await redis.command("HSETNX", keys.CATALOGUE, name, about, key=keys.CATALOGUE)


async def delete(queue: Queue, *, force: bool = False, who: bytes = b"") -> None:
    """Delete everything that a queue has but its audit record, in one step; records of idempotency
    keys, canaries and batches follow in small ones. May be repeated. With `force` the jobs that run
    are lost to their workers, and workers that live list the queue again.

    Raises QueueInUse unless `force`, and Unavailable."""
    redis, prefix = queue.redis, queue.store.keys.prefix
    if who:
        await enter(redis, queue.store.keys)
    await _ask(queue, "force" if force else "delete", who)
    redis.opened.discard(queue.name)
    for kind in ("idem", "canary"):
        async for names in scan(redis, f"{prefix}{kind}:*".encode()):
            if names:
                await redis.command("UNLINK", *names, key=prefix)
    await forget_batches(redis, queue.name)


async def _ask(queue: Queue, mode: str, who: bytes = b"") -> int:
    """How many keys there are, or were. The queue is not opened, which would make one."""
    redis, store = queue.redis, queue.store
    command = store.command("delete", silent_ms=SILENT_MS, mode=mode, who=who)
    try:
        (reply,) = await redis.run(store.keys.prefix, command)
    except Lost:
        await redis.unreachable()
        (reply,) = await redis.run(store.keys.prefix, command)
    reply = SCRIPTS["delete"].check(reply)
    if reply[0] == b"BUSY":
        raise QueueInUse(queue.name, int(reply[1]), int(reply[2]))
    return int(reply[1])
