"""Walking over keys by pattern, on every node that holds keys."""

from collections.abc import AsyncIterator

from streams.connection import Redis

SCAN_KEYS = 500
"""Keys looked at per step: a step holds Redis for well under a millisecond."""


async def scan(redis: Redis, pattern: bytes) -> AsyncIterator[list[str]]:
    """The names of keys that match, in batches, each batch without repetitions.

    What lay there all the time is shown at least once, what came in meanwhile perhaps not (SCAN).
    Raises Unavailable."""
    for link in await redis.everywhere():
        cursor = b"0"
        while True:
            command = (b"SCAN", cursor, b"MATCH", pattern, b"COUNT", SCAN_KEYS)
            cursor, names = await redis.judge((await link.run(command))[0], command)
            yield sorted({name.decode() for name in names})
            if cursor == b"0":
                break
