"""A route: method, path, handler, who may call it, and what goes in and out.

Every module that answers requests ends with its `ROUTES`; `gateway/app.py` joins them. The checks
of permissions and the API description are made from this table and nothing else.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from gateway.principal import Scope

SMALL_BODY_BYTES: Final = 16 * 1024
IDS_BODY_BYTES: Final = 256 * 1024
"""Of a body that names up to 1000 jobs."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or a header, which may be absent and may occur once."""

    name: str
    schema: Mapping[str, Any]
    """JSON Schema."""
    description: str


_INDEX = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
START = Parameter("start", _INDEX, "The first one, from 0.")
END = Parameter("end", _INDEX, "The last one, included.")
ORGANIZATION = Parameter(
    "organizationId",
    {"type": "string", "minLength": 1, "maxLength": 256},
    "Whose; the platform must name an organization, others may leave it out.",
)
PREFER = Parameter(
    "Prefer",
    {"type": "string"},
    "`wait=10`: how long to wait for the end (seconds). What is unknown is ignored.",
)
TRACEPARENT = Parameter(
    "traceparent", {"type": "string"}, "The W3C trace context; a malformed one is ignored."
)
IF_NONE_MATCH = Parameter(
    "If-None-Match", {"type": "string"}, "ETags of what the client has: 304 if it is the same."
)


@dataclass(frozen=True, slots=True)
class Route:
    """One row of the API. The first line of the handler's docstring describes it, without its own
    method and path if it begins with those."""

    method: str
    path: str
    handler: Handler
    needs: Scope
    platform_only: bool = False
    """Only a principal of no organization may call it: it concerns every tenant."""
    body: Any = None
    """What the request's JSON must be, as a type pydantic understands; None: no body."""
    body_bytes: int | None = SMALL_BODY_BYTES
    """The limit of a body; None: it holds jobs, for which BODY_LIMIT_BYTES and BULK_LIMIT_BYTES
    are."""
    answer: Any = None
    """What the answer's JSON is, inside the envelope; None: any."""
    statuses: tuple[int, ...] = (200,)
    """The statuses of success."""
    query: tuple[Parameter, ...] = ()
    """Every query parameter there is; other ones are refused, or ignored."""
    headers: tuple[Parameter, ...] = ()
    """Request headers that decide something, beside those of credentials."""
    paged: bool = False
    """The envelope says in `next` where the next page begins."""
    is_held: bool = False
    """It is answered as long as something happens: there is a limit for such requests."""
    is_probe: bool = False
    """An orchestrator asks it; it is never limited."""
    lines: bool = False
    """It takes and answers lines (NDJSON) as well, and remembers keys by itself."""
    secret: bool = False
    """Its answer holds what is shown once, and is kept for repetitions only sealed."""

    @property
    def is_page(self) -> bool:
        """Whether it is for people with a browser, and no part of the API."""
        return self.path.startswith("/dashboard")

    def definition(self) -> web.RouteDef:
        """The same, for aiohttp."""
        if self.method == "GET":
            return web.get(self.path, self.handler)
        return web.route(self.method, self.path, self.handler)


ROUTE = web.RequestKey("route", Route)
"""The row that a request is answered by."""
