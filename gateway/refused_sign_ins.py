"""Sign-ins to the dashboard that failed, for the audit record: bounded, whoever tries how often.

The first failure of an address is recorded at once, with the count of the others when its minute is
over. Of very many addresses at a time, those beyond a limit are counted together.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator

from aiohttp import web

from gateway.keys import REDIS, REQUEST_ID
from gateway.security import client_address
from streams import Redis, audit
from streams.audit import Deed
from streams.errors import CredstreamError

logger = logging.getLogger(__name__)

ACTION = "session.refuse"
ADDRESSES_MAX = 50
"""Addresses that have records of their own in one minute."""
LOGGED_MAX = 10
"""Lines in the log for one address in one minute."""
MINUTE_S = 60.0


class RefusedSignIns:
    """Writes at most two records for an address and minute."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._more: Counter[str] = Counter()
        """By address: failures of this minute that have no record yet."""
        self._others = 0
        """The same of addresses beyond the limit."""

    async def add(self, request: web.Request, reason: str) -> None:
        """Log and record a failure of this request; `reason` holds nothing secret."""
        address = client_address(request) or ""
        if self._more[address] < LOGGED_MAX and self._others < LOGGED_MAX:
            logger.warning("a sign-in from %s was refused: %s", address, reason)
        if address in self._more:
            self._more[address] += 1
        elif len(self._more) >= ADDRESSES_MAX:
            self._others += 1
        else:
            self._more[address] = 0
            await self._record(address, {"count": 1, "reason": reason}, request.get(REQUEST_ID))

    async def flush(self) -> None:
        """Record what was only counted, and begin another minute."""
        counted, others = self._more, self._others
        self._more, self._others = Counter(), 0
        for address, count in counted.items():
            if count:
                await self._record(address, {"count": count})
        if others:
            await self._record(None, {"count": others})

    async def living(self, _app: web.Application) -> AsyncIterator[None]:
        """For `cleanup_ctx` of the application: flushes once a minute, and at the end."""
        task = asyncio.create_task(self._flush_on())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await self.flush()

    async def _flush_on(self) -> None:
        while True:
            await asyncio.sleep(MINUTE_S)
            await self.flush()

    async def _record(
        self, address: str | None, parameters: dict[str, object], request_id: str | None = None
    ) -> None:
        deed = Deed(
            actor="anonymous",
            action=ACTION,
            target="dashboard",
            address=address,
            request_id=request_id,
            parameters=parameters,
        )
        try:
            await audit.record(self._redis, deed)
        except CredstreamError as error:
            logger.warning("a refused sign-in could not be recorded: %s", error)


REFUSED_SIGN_INS = web.AppKey("refused_sign_ins", RefusedSignIns)


def install(app: web.Application) -> None:
    """Give `app` its record of refused sign-ins."""
    app[REFUSED_SIGN_INS] = refused = RefusedSignIns(app[REDIS])
    app.cleanup_ctx.append(refused.living)
