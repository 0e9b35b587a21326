"""The one way to a server that somebody else named: guarded at the socket, bounded in bytes and
time, without redirects, cookies, proxies from the environment or decompression (WH-23)."""

import asyncio
import logging
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from outbound.answers import Connector
from outbound.bodies import CHUNK_BYTES, read_in_time, read_into
from outbound.errors import Blocked, OutboundError, TooLarge
from outbound.faults import Lost, meaning, refused_by_proxy, unreachable
from outbound.guard import DIALLED_MAX, Guard, Judged, OpenSocket, Trail, plain_socket, trail
from outbound.names import Bounded, Names, resolve_all
from outbound.settings import OutboundSettings
from outbound.urls import admitted

logger = logging.getLogger(__name__)

USER_AGENT = "Credstream/1.0"
_OWN_NAMES_S = 60
"""How long the addresses of our own servers are believed before they are looked up again."""
_EVERYWHERE = ("0.0.0.0", "::", "*")  # noqa: S104 - recognised, not bound
_FINAL_STATUSES = range(200, 600)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer that was read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """One request. The body is sent as it is; header names and values are the caller's care."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    total_s: float = 15


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose status line arrived; `body` is as much of the rest as was wanted."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    address: str
    """What was dialled, `host:port`; for operators only."""


class Client:
    """Connections are never reused: each is resolved, judged and dialled on its own (SS-4)."""

    def __init__(
        self, session: aiohttp.ClientSession, settings: OutboundSettings, guard: Guard,
        names: AbstractResolver,
    ) -> None:  # fmt: skip
        self._session = session
        self._settings = settings
        self._guard = guard
        self._names = names
        self._proxy = _proxy(settings)
        self._own_known_until = float("-inf")
        self._looking_up = asyncio.Lock()

    async def get(
        self, url: str, *, max_bytes: int, total_s: float = 10, accept: str = "application/json"
    ) -> Fetched:
        """Fetch a document of at most `max_bytes`. Raises Blocked, Unreachable or TooLarge.

        Any final status is an answer, a redirect too; it is not followed. `total_s` is for all of
        it, and a body that comes in drops is given up before (outbound.bodies).
        """

        async def read(response: aiohttp.ClientResponse) -> Fetched:
            body = await read_in_time(response, max_bytes + 1)
            if len(body) > max_bytes:
                raise TooLarge(max_bytes)
            return Fetched(response.status, response.headers, body)

        return await self._exchange(Call("GET", url, {"Accept": accept}, None, total_s), read)

    async def send(self, call: Call, *, max_bytes: int) -> Reply:
        """Make exactly one request and keep the first `max_bytes` of the answer's body.

        The status line decides: a body that never ends or breaks off is no error (WH-10).
        Raises Blocked or Unreachable.
        """

        async def read(response: aiohttp.ClientResponse) -> Reply:
            body = bytearray()
            try:
                await read_into(body, response, max_bytes)
            except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
                logger.debug("the answer broke off after its status line: %r", error)
            dialled = trail.get().dialled
            return Reply(
                response.status, response.headers, bytes(body), dialled[-1] if dialled else ""
            )

        return await self._exchange(call, read)

    async def _exchange(
        self, call: Call, read: Callable[[aiohttp.ClientResponse], Awaitable[_T]]
    ) -> _T:
        url = admitted(call.url, self._settings)
        await self._know_ourselves()
        self._refuse_literal_behind_proxy(url)
        steps = Trail()
        token = trail.set(steps)
        try:
            async with self._session.request(
                call.method,
                url,
                headers=call.headers,
                data=call.body,
                allow_redirects=False,
                proxy=self._proxy,
                timeout=aiohttp.ClientTimeout(
                    total=call.total_s, connect=self._settings.connect_timeout_s
                ),
            ) as response:
                _check_answer(response, self._proxy)
                try:
                    return await read(response)
                finally:
                    response.close()
        except (aiohttp.ClientError, OSError, ValueError, Lost) as error:
            raise meaning(error, steps) from error
        finally:
            trail.reset(token)

    async def _know_ourselves(self) -> None:
        """Look up the names of our own servers, now and then (SS-6)."""
        if time.monotonic() < self._own_known_until:
            return
        async with self._looking_up:
            now = time.monotonic()
            if now < self._own_known_until:
                return
            places = [place for place in self._settings.never if place[0] not in _EVERYWHERE]
            self._guard.own |= await resolve_all(self._names, places)
            self._own_known_until = now + _OWN_NAMES_S

    def _refuse_literal_behind_proxy(self, url: URL) -> None:
        """The socket guard sees the proxy only, so an address in the URL is judged here."""
        if self._proxy is None:
            return
        try:
            reason = self._guard.refusal(url.raw_host or "", url.port or 0)
        except ValueError:
            return  # a name: the proxy resolves it
        if reason is not None:
            logger.warning("not asked of the proxy: %s: %s", url.raw_host, reason)
            raise Blocked


@asynccontextmanager
async def open_client(
    settings: OutboundSettings,
    *,
    names: AbstractResolver | None = None,
    open_socket: OpenSocket = plain_socket,
) -> AsyncIterator[Client]:
    """A client for as long as a processor is open. OSError when the CA file cannot be read."""
    _warn(settings)
    names = Bounded(names or Names(), settings.dns_timeout_s)
    guard = Guard(settings, open_socket)
    guard.own_everywhere = frozenset(p for host, p in settings.never if host in _EVERYWHERE)
    connector = Connector(
        resolver=Judged(names, guard),
        use_dns_cache=False,
        force_close=True,
        limit=0,
        interleave=DIALLED_MAX,
        ssl=await asyncio.to_thread(_tls, settings.ca_file),
        socket_factory=guard.socket_for,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": USER_AGENT},
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type"),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=CHUNK_BYTES,
        middlewares=(_once,),
        trace_configs=[_watch_connections()],
        requote_redirect_url=False,
    )
    try:
        async with session:
            yield Client(session, settings, guard, names)
    finally:
        await names.close()


async def get(
    settings: OutboundSettings, url: str, *, max_bytes: int, total_s: float = 10,
    accept: str = "application/json",
) -> Fetched:  # fmt: skip
    """One fetch with a client of its own; use `open_client` for more than one."""
    async with open_client(settings) as client:
        return await client.get(url, max_bytes=max_bytes, total_s=total_s, accept=accept)


async def _once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """One call is one request: aiohttp sends GET and PUT a second time when the connection
    breaks, which the receiver would see as two deliveries."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise Lost(error) from error


def _check_answer(response: aiohttp.ClientResponse, proxy: URL | None) -> None:
    if response.status not in _FINAL_STATUSES:
        raise unreachable("invalid_http_response")
    refused = refused_by_proxy(response.headers) if proxy is not None else None
    if refused is not None:
        raise refused


@cache
def _tls(ca_file: Path | None) -> ssl.SSLContext:
    """Read once per process: the system's authorities are many."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(("http/1.1",))
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def _proxy(settings: OutboundSettings) -> URL | None:
    return None if settings.proxy_url is None else URL(settings.proxy_url.get_secret_value())


def _watch_connections() -> aiohttp.TraceConfig:
    async def connected(
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        _params: aiohttp.TraceConnectionCreateEndParams,
    ) -> None:
        trail.get().connected = True

    watch = aiohttp.TraceConfig()
    watch.on_connection_create_end.append(connected)
    return watch


def _warn(settings: OutboundSettings) -> None:
    if settings.allow_nets:
        nets = ", ".join(map(str, settings.allow_nets))
        logger.warning(
            "WEBHOOK_ALLOW_NETS opens %s to URLs that tenants name: for development only", nets
        )
    if settings.allow_http:
        logger.warning("WEBHOOK_ALLOW_HTTP lets signed bodies and answers travel unencrypted")


__all__ = ["Call", "Client", "Fetched", "OutboundError", "Reply", "get", "open_client"]
