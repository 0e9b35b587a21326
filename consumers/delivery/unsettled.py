"""Ends of deliveries that Redis has not taken yet. They are sent until it does, so that the places
at their destinations are given back before their leases run out."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from streams.errors import CredstreamError, Unavailable

logger = logging.getLogger(__name__)

KEPT_MAX = 10_000
"""The oldest are dropped beyond that: their leases run out by themselves."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
CLOSING_S = 5.0

ItemT = TypeVar("ItemT")


class SettleQueue(Generic[ItemT]):
    """Sends each item until Redis answers. `send` must be repeatable."""

    def __init__(self, send: Callable[[ItemT], Awaitable[None]]) -> None:
        self._send = send
        self._items: deque[ItemT] = deque(maxlen=KEPT_MAX)
        self._sending: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: ItemT) -> None:
        """Send an item in the background."""
        self._items.append(item)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_all())

    async def close(self) -> None:
        """Wait for what is left, a few seconds at most."""
        if self._sending is not None:
            await asyncio.wait([self._sending], timeout=CLOSING_S)
            self._sending.cancel()
            with suppress(asyncio.CancelledError):
                await self._sending

    async def _send_all(self) -> None:
        failures = 0
        while self._items:
            # In a cluster one node may be away while the others answer: nothing waits behind it.
            item = self._items.popleft()
            try:
                await self._send(item)
            except Unavailable:
                self._items.append(item)
                failures += 1
                await asyncio.sleep(min(FIRST_PAUSE_S * 2 ** min(failures, 6), LONGEST_PAUSE_S))
            except CredstreamError as error:
                logger.warning("the end of a delivery is refused: %s", error)
            else:
                failures = 0
