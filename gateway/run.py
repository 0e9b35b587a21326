"""One gateway process, from settings to exit."""

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Callable

from credentials.keyring import RingSettings
from credentials.payload_cipher import configured_cipher
from gateway.app import create_app
from gateway.gate import GATE, Gate
from gateway.headers import log_request_ids
from gateway.keys import LIFE
from gateway.metrics import metrics_port
from gateway.oidc import OidcSettings
from gateway.security import check_bind
from gateway.server import listening
from gateway.settings import GatewaySettings
from gateway.tracing import Tracing, install
from streams import Redis, RedisSettings, access, connect
from streams.errors import CredstreamError, Unavailable

if sys.platform != "win32":
    import uvloop

logger = logging.getLogger(__name__)

COMPLAINT_INTERVAL_S = 60.0


async def serve(
    settings: GatewaySettings,
    redis: Redis | RedisSettings | None = None,
    tracing: Tracing | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, finish what is in flight (a second one: cut it off), return.

    `redis`: a connection that stays the caller's, or what to connect to (None: the environment);
    `tracing`: who tells its spans.
    Raises Exposed before anything is bound, OSError when the address is taken.
    """
    signals = Signals(signal.SIGTERM, signal.SIGINT)
    connection = redis if isinstance(redis, Redis) else connect(redis)
    place = RingSettings()
    connection.cipher = configured_cipher(place.data_dir, production=place.production)
    log_request_ids()
    try:
        await check_exposure(settings, connection)
        app = create_app(connection, settings)
        if tracing is not None:
            install(app, tracing)
        signals.hurry = app[LIFE].hurry
        async with listening(app) as (host, port), metrics_port(app) as own_port:
            shown = f"[{host}]" if ":" in host else host
            await _complain(settings, app[GATE])
            _keep_what_stays()
            logger.info("gateway listens on http://%s:%s", shown, port)
            if own_port:
                logger.info("metrics are served on port %d", own_port)
            complaint = asyncio.create_task(_complain_on(settings, app[GATE]))
            await signals.stop.wait()
            complaint.cancel()
            logger.info("gateway stops: finishing requests in flight")
    finally:
        if connection is not redis:
            await connection.close()


def _keep_what_stays() -> None:
    """The collector looks no more at what is there from the start, which is nearly everything: to
    look through all of it takes a tenth of a second, in which nobody is served."""
    gc.collect()
    gc.freeze()


def run(settings: GatewaySettings, redis: RedisSettings | None = None) -> None:
    """`serve` on an event loop of its own: uvloop where it exists."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(settings, redis))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    return uvloop.new_event_loop


class Signals:
    """The first of these signals stops the process; a second one lets it wait for nothing more."""

    def __init__(self, *signals: signal.Signals) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        loop = asyncio.get_running_loop()
        for one in signals:
            loop.add_signal_handler(one, self._came)

    def _came(self) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()


async def check_exposure(settings: GatewaySettings, redis: Redis) -> None:
    """Raises Exposed when the gateway would serve a network and there is no credential.

    When nobody can tell, it starts: it lets nobody in without one."""
    try:
        configured = OidcSettings().is_configured or await access.configured(redis)
    except Unavailable:
        configured = True
    check_bind(settings, configured=configured)


async def _complain_on(settings: GatewaySettings, gate: Gate) -> None:
    while not settings.is_loopback:
        await asyncio.sleep(COMPLAINT_INTERVAL_S)
        await _complain(settings, gate)


async def _complain(settings: GatewaySettings, gate: Gate) -> None:
    if settings.is_loopback:
        return
    with contextlib.suppress(CredstreamError):
        if await gate.is_open():
            logger.error(
                "ALLOW_INSECURE: everybody who reaches %s may submit, read and remove jobs",
                settings.host,
            )
