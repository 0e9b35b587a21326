"""The last word on every connection: what opens sockets sees the address really dialled.

A guard around the resolver is not enough: aiohttp does not ask a resolver for literals, and a
name may resolve to something else the second time (SS-2, SS-4).
"""

import logging
import socket
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from outbound.networks import Address, address_of, denied
from outbound.settings import OutboundSettings

logger = logging.getLogger(__name__)

AddrInfo = tuple[Any, ...]
"""As getaddrinfo gives them: family, type, proto, canonical name, (host, port, ...)."""
OpenSocket = Callable[[AddrInfo], socket.socket]


class Refused(OSError):
    """This address is not dialled. An OSError, because the connector then tries the next one;
    always the same words, because it merges equal ones when none is left (SS-3)."""

    def __init__(self) -> None:
        super().__init__("refused by the guard")


@dataclass(slots=True)
class Trail:
    """What one request has dialled so far."""

    refused: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)
    connected: bool = False


trail: ContextVar[Trail] = ContextVar("trail")
"""The running request's trail; happy eyeballs dials in tasks that inherit it."""


RECEIVE_BYTES = 128 * 1024
"""What the kernel holds of an answer that is not read; left to itself it takes megabytes."""


def plain_socket(info: AddrInfo) -> socket.socket:
    """A TCP socket for that kind of address, not yet connected."""
    family, kind, proto, *_ = info
    made = socket.socket(family=family, type=kind, proto=proto)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    return made


class Guard:
    """Decides about addresses; `socket_for` is what the connector opens sockets with."""

    def __init__(self, settings: OutboundSettings, open_socket: OpenSocket = plain_socket) -> None:
        self._allowances = settings.allow_nets
        self.is_proxied = settings.proxy_url is not None
        self._open = open_socket
        self.own: frozenset[tuple[Address, int]] = frozenset()
        """The product's own addresses, as their names resolve now."""
        self.own_everywhere: frozenset[int] = frozenset()
        """Ports on which the product listens on every address of this machine."""

    def socket_for(self, info: AddrInfo) -> socket.socket:
        """A socket for `info`. Raises Refused; the reason goes to the operator's log."""
        host, port = info[4][0], info[4][1]
        # Through a proxy the only thing dialled is the proxy, which the operator named.
        reason = None if self.is_proxied else self.refusal(host, port)
        if reason is not None:
            trail.get().refused.append(host)
            logger.warning("not dialled: %s port %s: %s", host, port, reason)
            raise Refused
        trail.get().dialled.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        return self._open(info)

    def refusal(self, host: str, port: int) -> str | None:
        """Why an address is not dialled; None when it may be. `host` is a literal."""
        address = address_of(host)
        if address.is_unspecified:
            return "it stands for this machine"
        if (address, port) in self.own:
            return "one of our own servers listens there"
        if port in self.own_everywhere and _is_here(address):
            return "we listen there ourselves"
        if any(allowance.covers(address, port) for allowance in self._allowances):
            return None
        network = denied(address)
        return None if network is None else f"{network} is not public"


DIALLED_MAX = 4
"""Addresses of one name that one request dials. It is the connector's `interleave` too: so many of
each family are dropped after a round of dialling, thus all, and none is dialled twice."""


class Judged(AbstractResolver):
    """The addresses of a name that a connection may be made to, at most `DIALLED_MAX`. When none
    may be dialled, the first is left for `Guard.socket_for` to refuse: a blocked name and an
    unknown one then take the same time (SS-7)."""

    def __init__(self, inner: AbstractResolver, guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """As the resolver inside. Raises OSError."""
        found = await self._inner.resolve(host, port, family)
        distinct = _by_turns(found)
        if self._guard.is_proxied:
            return distinct[:DIALLED_MAX]
        public = [p for p in distinct if self._guard.refusal(p["host"], port) is None]
        return public[:DIALLED_MAX] or distinct[:1]

    async def close(self) -> None:
        await self._inner.close()


def _by_turns(found: list[ResolveResult]) -> list[ResolveResult]:
    """Each address once, the families by turns: IPv6 may be there and lead nowhere."""
    distinct = {place["host"]: place for place in found}.values()
    rank: Counter[int] = Counter()
    turns = []
    for place in distinct:
        turns.append((rank[place["family"]], place))
        rank[place["family"]] += 1
    return [place for _, place in sorted(turns, key=itemgetter(0))]


def _is_here(address: Address) -> bool:
    """Whether an address belongs to this machine: only then can it be bound."""
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
