"""How many fetches one requester has at one host, and whether that host is asked at all.

Hosts are counted for each requester: what somebody makes of a host that others use, too, is nothing
that these notice.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from yarl import URL

from outbound.errors import OutboundError, Unreachable

HOST_FETCHES = 8
"""Fetches of one requester from one host at a time."""
FAILURES_TO_OPEN = 5
"""After so many failures in a row the host is not asked for a while."""
OPEN_S = 15.0
OPEN_MAX_S = 120.0
HOSTS_MAX = 10_000


class HostBusy(OutboundError):
    """This requester has as many fetches at this host as it may have. Nothing was sent."""

    def __init__(self) -> None:
        super().__init__(f"{HOST_FETCHES} fetches from this host are under way.", code="host_busy")


class CircuitOpen(Unreachable):
    """The host did not answer lately; nothing was sent. `after_s`: when it is asked again."""

    def __init__(self, after_s: float) -> None:
        message = f"The server did not answer lately; it is asked again in {after_s:.0f} s."
        super().__init__(message, code="circuit_open")
        self.after_s = after_s


@dataclass(slots=True)
class _Host:
    active: int = 0
    failures: int = 0
    """In a row."""
    open_until_s: float = 0.0


class FetchLimits:
    """Counts fetches by requester and host. Of one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._hosts: OrderedDict[tuple[str, str], _Host] = OrderedDict()

    @contextmanager
    def fetching(self, requester: str, url: str) -> Iterator[None]:
        """Do one fetch in the block. Raises HostBusy, CircuitOpen.

        Unreachable, raised in the block, is a failure of the host; another exception says nothing
        about it, and everything else is an answer.
        """
        name = (requester, _host_of(url))
        host = self._hosts.setdefault(name, _Host())
        self._hosts.move_to_end(name)
        try:
            self._check(host)
            host.active += 1
            try:
                yield
                host.failures = 0
            except Unreachable:
                self._count_failure(host)
                raise
            finally:
                host.active -= 1
        finally:
            self._forget(name, host)

    def _check(self, host: _Host) -> None:
        left_s = host.open_until_s - self._clock()
        if left_s > 0:
            raise CircuitOpen(left_s)
        # After a pause one fetch finds out whether the host is back.
        if host.active >= (HOST_FETCHES if host.failures < FAILURES_TO_OPEN else 1):
            raise HostBusy

    def _count_failure(self, host: _Host) -> None:
        now_s = self._clock()
        if host.open_until_s > now_s:
            return  # it began before the pause
        host.failures += 1
        if host.failures >= FAILURES_TO_OPEN:
            pause_s = OPEN_S * 2.0 ** min(host.failures - FAILURES_TO_OPEN, 10)
            host.open_until_s = now_s + min(pause_s, OPEN_MAX_S)

    def _forget(self, name: tuple[str, str], host: _Host) -> None:
        if not host.active and not host.failures:
            self._hosts.pop(name, None)
        while len(self._hosts) > HOSTS_MAX:
            self._hosts.popitem(last=False)


def _host_of(url: str) -> str:
    try:
        parsed = URL(url)
        return f"{(parsed.host or '').lower()}:{parsed.port}"
    except ValueError:
        return ""
