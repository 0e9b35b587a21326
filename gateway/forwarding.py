"""Requests through a proxy that is not trusted: all clients behind it seem to have one address.

They are noticed where the address of a client matters. Redis is told once a minute at most, where
`credstream doctor` finds it.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from aiohttp import web

from gateway.keys import FORWARDED, REDIS, Forwarded
from streams import notices
from streams.errors import CredstreamError

logger = logging.getLogger(__name__)

NOTE_EVERY_S = 60.0


def install(app: web.Application) -> None:
    """Notice from now on."""
    app[FORWARDED] = Forwarded()
    app.cleanup_ctx.append(_noting)


async def note(app: web.Application) -> None:
    """Tell what was noticed since the last time, if anything was."""
    forwarded = app[FORWARDED]
    if not forwarded.is_seen:
        return
    forwarded.is_seen = False
    if not forwarded.is_logged:
        forwarded.is_logged = True
        logger.warning(
            "requests carry X-Forwarded-For while TRUSTED_PROXIES is 0: all clients behind that "
            "proxy are counted as one address; set TRUSTED_PROXIES (docs/deployment.md)"
        )
    with contextlib.suppress(CredstreamError):
        await notices.note_forwarded(app[REDIS])


async def _noting(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(_note_on(app))
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _note_on(app: web.Application) -> None:
    while True:
        await note(app)
        await asyncio.sleep(NOTE_EVERY_S)
