"""`queue_manager`: queues by name, over one connection made from the environment."""

from credstream.connecting import connect
from streams import Queue, Redis


class Queues:
    """Hands out queues that share one connection, made when the first is asked for.

    `REDIS_URL`, or `REDIS_HOST`, `REDIS_PORT` and `REDIS_PASSWORD`, say where Redis is. Use it
    within one event loop, and `await close()` at its end. With several Redis servers, or in tests,
    make queues directly instead: `Queue(name, connect(url))`.
    """

    def __init__(self) -> None:
        self._redis: Redis | None = None

    def get_queue(self, name: str) -> Queue:
        """The queue of this name: a `QueueName`, or any name of your own."""
        if self._redis is None:
            self._redis = connect()
        return Queue(name, self._redis)

    async def close(self) -> None:
        """Close the connection; the next `get_queue` makes a new one."""
        if self._redis is not None:
            redis, self._redis = self._redis, None
            await redis.close()


queue_manager = Queues()
