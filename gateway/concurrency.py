"""How many requests may be held open at the same time, by whom and in all, in this process.

A request that waits costs memory and a connection as long as it waits, whatever its rate. So there
is a limit for each organization, which others do not notice, and one for the process.
"""

import functools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from aiohttp import web

from gateway.errors import Kind, Refusal
from gateway.keys import SETTINGS
from gateway.principal import principal_of
from gateway.routes import Route

RETRY_AFTER_S = 5


class TooManyAtOnce(Refusal):
    """A request that would be one too many at the same time."""

    kind = Kind(429, "too_many_at_once", "Too many requests at the same time")
    headers = {"Retry-After": str(RETRY_AFTER_S)}  # noqa: RUF012 - nobody changes it


class ConcurrencyLimit:
    """Counts what is open: `total` in this process, `each` for one name. Of one event loop."""

    def __init__(self, what: str, total: int, each: int) -> None:
        self._what, self._total, self._each = what, total, each
        self._open: Counter[str] = Counter()
        self._count = 0

    @property
    def count(self) -> int:
        """How many are open."""
        return self._count

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """One more is open inside the block. Raises TooManyAtOnce."""
        if self._open[name] >= self._each:
            raise self._refusal(self._each, "for you")
        if self._count >= self._total:
            raise self._refusal(self._total, "in this gateway")
        self._open[name] += 1
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]

    def _refusal(self, limit: int, whose: str) -> TooManyAtOnce:
        return TooManyAtOnce(
            f"{limit} {self._what} may be open at the same time {whose}. "
            f"End one, or try again in {RETRY_AFTER_S} s."
        )


HELD = web.AppKey("held", ConcurrencyLimit)
"""Requests that wait for what happens: event streams, and submissions that wait for an end."""
PUBLIC = web.AppKey("public", ConcurrencyLimit)
"""Requests of routes that anybody may call, by address."""


def install(app: web.Application) -> None:
    """Give `app` its limits."""
    settings = app[SETTINGS]
    app[HELD] = ConcurrencyLimit(
        "waiting requests", settings.held_requests_max, settings.held_requests_per_organization
    )
    app[PUBLIC] = ConcurrencyLimit(
        "requests without a credential",
        settings.public_requests_max,
        settings.public_requests_per_address,
    )


@contextmanager
def held(request: web.Request) -> Iterator[None]:
    """This request waits inside the block. Raises TooManyAtOnce."""
    principal = principal_of(request)
    name = f"o:{principal.organization_id}"
    if principal.is_platform:
        name = f"p:{principal.key_id or principal.name}"
    with request.app[HELD].hold(name):
        yield


def holding(route: Route) -> Route:
    """The same route; if its requests are held, each counts as long as it is answered."""
    if not route.is_held:
        return route
    handler = route.handler

    @functools.wraps(handler)
    async def answer(request: web.Request) -> web.StreamResponse:
        with held(request):
            return await handler(request)

    return replace(route, handler=answer)
