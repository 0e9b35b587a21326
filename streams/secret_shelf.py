"""Where the sealed keys that sign webhooks lie."""

from streams.connection import Redis
from streams.destinations import Destination, clock_ms
from streams.store import change


class SecretShelf:
    """Where sealed signing keys lie: opaque text with a version, one per destination."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def now_ms(self, organization_id: str, origin: str) -> int:
        """By the clock of Redis."""
        return await clock_ms(self._redis, Destination(organization_id, origin).keys)

    async def load(self, organization_id: str, origin: str) -> tuple[int, str | None]:
        """Version and text; 0 and None when there is none."""
        at = Destination(organization_id, origin).keys
        version, sealed = await self._redis.command(
            b"HMGET", at["secret"], b"version", b"sealed", key=at.prefix
        )
        return int(version or 0), sealed.decode() if sealed else None

    async def keep(
        self, organization_id: str, origin: str, version: int, sealed: str, who: bytes
    ) -> bool:
        """Replace what `load` answered; False when somebody else did so since.

        A repetition after a lost reply finds its own text and is a success.
        """
        at = Destination(organization_id, origin).keys
        reply = await change(
            self._redis, at, "dest_secret", version=version, sealed=sealed, who=who
        )
        return bool(reply[2] == sealed.encode())
