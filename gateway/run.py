"""One gateway process, from settings to exit."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable

from gateway.app import create_app
from gateway.security import check_bind
from gateway.server import listening
from gateway.settings import GatewaySettings
from streams import Redis, RedisSettings, connect

if sys.platform != "win32":
    import uvloop

logger = logging.getLogger(__name__)

COMPLAINT_INTERVAL_S = 60.0


async def serve(settings: GatewaySettings, redis: Redis | RedisSettings | None = None) -> None:
    """Serve until SIGTERM or SIGINT, finish what is in flight, return.

    `redis`: a connection that stays the caller's, or what to connect to (None: the environment).
    Raises Exposed before anything is bound, OSError when the address is taken.
    """
    check_bind(settings)
    stop = _on(signal.SIGTERM, signal.SIGINT)
    connection = redis if isinstance(redis, Redis) else connect(redis)
    try:
        async with listening(create_app(connection, settings)) as (host, port):
            shown = f"[{host}]" if ":" in host else host
            logger.info("gateway listens on http://%s:%s", shown, port)
            complaint = asyncio.create_task(_complain(settings))
            await stop.wait()
            complaint.cancel()
            logger.info("gateway stops: finishing requests in flight")
    finally:
        if connection is not redis:
            await connection.close()


def run(settings: GatewaySettings, redis: RedisSettings | None = None) -> None:
    """`serve` on an event loop of its own: uvloop where it exists."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(settings, redis))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    return uvloop.new_event_loop


def _on(*signals: signal.Signals) -> asyncio.Event:
    """Set when the process gets one of `signals`; a second one changes nothing."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    for one in signals:
        loop.add_signal_handler(one, event.set)
    return event


async def _complain(settings: GatewaySettings) -> None:
    while not settings.is_loopback:
        logger.error(
            "ALLOW_INSECURE: everybody who reaches %s may submit, read and remove jobs",
            settings.host,
        )
        await asyncio.sleep(COMPLAINT_INTERVAL_S)
