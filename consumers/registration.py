"""How a worker makes its queue known: its limits, and a place in the catalogue of custom queues."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from consumers.fetch import Fetcher
from schemas.spec import QueueSpec, catalog
from streams import Queue, Redis
from streams.errors import CredstreamError, Full, LayoutError

LISTED_AGAIN_S = 30.0


class Registration:
    """Registers the queue of one worker."""

    def __init__(
        self, spec: QueueSpec, redis: Redis, fetcher: Fetcher, trouble: Callable[[Exception], None]
    ) -> None:
        self._spec = spec
        self._queue = Queue(spec, redis)
        self._fetcher = fetcher
        self._trouble = trouble

    async def join(self) -> None:
        """Store the limits that the spec brings, and list the queue if it is a custom one; again
        until Redis has taken it or the worker stops. Raises LayoutError."""
        spec = self._spec
        while not self._fetcher.stopping.is_set():
            try:
                if spec.limiter or spec.concurrency or spec.backlog:
                    await self._queue.set_limits(
                        spec.limiter, spec.concurrency, spec.backlog or "kept"
                    )
                if spec.name not in catalog():
                    await self._queue.register()
            except LayoutError:
                raise
            except Full as error:
                # Being listed can wait; a full Redis needs its jobs done.
                self._trouble(error)
                return
            except CredstreamError as error:
                self._trouble(error)
                await self._fetcher.pause()
            else:
                return

    async def keep(self) -> None:
        """A Redis that lost what it held must learn of a custom queue, and of its limits, again:
        gateways refuse jobs for a queue that is not listed."""
        while self._spec.name not in catalog():
            await asyncio.sleep(LISTED_AGAIN_S)
            with suppress(CredstreamError):
                if await self._queue.register():
                    await self.join()
