"""Names to addresses, bounded in time (SS-8)."""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

from aiohttp.abc import AbstractResolver, ResolveResult

from outbound.networks import Address, address_of

THREADS = 32
"""Lookups at once. getaddrinfo cannot be interrupted, so one that hangs holds a thread; with
threads of their own, they hold up nothing but other lookups."""

ADDRESSES_MAX = 32
"""Of a name with more addresses, the rest is not looked at."""


class Names(AbstractResolver):
    """The system's resolver."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of a name. Raises OSError."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _getaddrinfo, host, port, family)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


class Bounded(AbstractResolver):
    """A resolver that answers in time and never with nothing. Every lookup is a new one: what a
    name meant is not remembered."""

    def __init__(self, inner: AbstractResolver, timeout_s: float) -> None:
        self._inner = inner
        self._timeout_s = timeout_s

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """At least one address. Raises OSError (TimeoutError is one)."""
        async with asyncio.timeout(self._timeout_s):
            found = await self._inner.resolve(host, port, family)
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "the name has no address")
        return found[:ADDRESSES_MAX]

    async def close(self) -> None:
        await self._inner.close()


def _getaddrinfo(host: str, port: int, family: int) -> list[ResolveResult]:
    flags = socket.AI_ADDRCONFIG
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=flags)
    return [
        ResolveResult(
            hostname=host,
            host=str(place[0]),
            port=port,
            family=kind,
            proto=proto,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for kind, _, proto, _, place in found
    ]


async def resolve_all(
    names: AbstractResolver, places: Sequence[tuple[str, int]]
) -> frozenset[tuple[Address, int]]:
    """What our own names stand for now; one that does not resolve stands for nothing."""
    found: set[tuple[Address, int]] = set()
    for host, port in places:
        try:
            found.add((ip_address(host), port))
        except ValueError:
            try:
                answers = await names.resolve(host, port, socket.AF_UNSPEC)
            except OSError:
                continue
            found |= {(address_of(answer["host"]), port) for answer in answers}
    return frozenset(found)
