"""A route: method, path, handler, who may call it, and what goes in and out.

Every module that answers requests ends with its `ROUTES`; `gateway/app.py` joins them. The checks
of permissions and the API description are made from this table and nothing else.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway.principal import Scope

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the API. The first line of the handler's docstring describes it."""

    method: str
    path: str
    handler: Handler
    needs: Scope
    platform_only: bool = False
    """Only a principal of no organization may call it: it concerns every tenant."""
    body: Any = None
    """What the request's JSON must be, as a type pydantic understands; None: no body."""
    answer: Any = None
    """What the answer's JSON is, inside the envelope; None: any."""
    statuses: tuple[int, ...] = (200,)
    """The statuses of success."""

    def definition(self) -> web.RouteDef:
        """The same, for aiohttp."""
        if self.method == "GET":
            return web.get(self.path, self.handler)
        return web.route(self.method, self.path, self.handler)
