"""What gateways have noticed about their surroundings, for `credstream doctor`."""

from streams import keys
from streams.connection import Redis

KEEP_MS = 24 * 3_600_000


async def note_forwarded(redis: Redis) -> None:
    """Remember for a day that requests came through a proxy that is not trusted.

    Raises Unavailable."""
    at = keys.gateways()
    await redis.command("SET", at["forwarded"], 1, "PX", KEEP_MS, key=at.prefix)


async def is_forwarded(redis: Redis) -> bool:
    """Whether a gateway noted such requests within the last day. Raises Unavailable."""
    at = keys.gateways()
    return await redis.command("GET", at["forwarded"], key=at.prefix) is not None
