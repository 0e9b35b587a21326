"""Pages and actions call the handlers of the HTTP API: the same checks, verbs and audit records.

What a handler answers is read back here, so that a page shows what the API tells.
"""

from typing import Any

import orjson
from aiohttp import web

from gateway.principal import principal_of
from gateway.tenancy import NAMED


def answer(response: web.Response) -> dict[str, Any]:
    """The whole envelope: `data`, and perhaps `next`."""
    document: dict[str, Any] = orjson.loads(response.text or "{}")
    return document


def told(response: web.Response) -> Any:
    """The `data` of what a handler answered."""
    return answer(response)["data"]


def asked(request: web.Request) -> web.Request:
    """The same request without empty parameters: forms send every field, the API refuses empty
    ones or takes them at their word."""
    given = [(name, value) for name, value in request.query.items() if value]
    return request.clone(rel_url=request.rel_url.with_query(given))


def organization(request: web.Request) -> str | None:
    """Whose things a page shows: the principal's own, or those the platform has chosen (None: it
    has not)."""
    own = principal_of(request).organization_id
    return request.query.get(NAMED) or None if own is None else own


def query_of(request: web.Request, **changed: Any) -> str:
    """The address of this page with other parameters; None takes one out."""
    query = {name: value for name, value in request.query.items() if name not in changed}
    query |= {name: str(value) for name, value in changed.items() if value is not None}
    return str(request.rel_url.with_query(query))


def number_of(request: web.Request, name: str) -> int:
    """A parameter the API has checked; 0 when it is absent."""
    return int(request.query.get(name, "0"))
