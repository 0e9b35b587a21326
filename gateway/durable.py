"""Whether Redis keeps what the durability level promises: asked before the gateway serves (REL-2).

A Redis that does not is refused (`streams.durability.NotKept`). One that cannot be asked yet is
asked again until it answers: then it is too late to refuse, and the log, /readyz and the metrics
tell.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web

from gateway.keys import REDIS
from streams import durability
from streams.durability import Standing
from streams.errors import CredstreamError

logger = logging.getLogger(__name__)

LOOK_AGAIN_S = 5.0


@dataclass(slots=True)
class Durable:
    """What is known."""

    standing: Standing | None = None
    """None: Redis could not be asked yet."""


DURABLE = web.AppKey("durable", Durable)


def install(app: web.Application) -> None:
    """Ask when the application starts, which raises NotKept where that refuses it."""
    app[DURABLE] = known = Durable()

    async def asking(_: web.Application) -> AsyncIterator[None]:
        known.standing = await durability.insist(app[REDIS])
        telling = asyncio.create_task(_tell(app))
        yield
        telling.cancel()

    app.cleanup_ctx.append(asking)


async def _tell(app: web.Application) -> None:
    known = app[DURABLE]
    while (standing := known.standing) is None:
        await asyncio.sleep(LOOK_AGAIN_S)
        with suppress(CredstreamError):
            known.standing = await durability.standing(app[REDIS])
    for check in standing.wrong:
        logger.warning("%s of Redis: %s %s", check.name, check.says, check.fix)
