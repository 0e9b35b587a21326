"""Errors as pages: who opens a page wants to read what is wrong, and where to sign in."""

import logging
from http import HTTPStatus
from urllib.parse import quote

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.dashboard.view import page
from gateway.errors import UNEXPECTED, kind_of
from gateway.keys import REQUEST_ID
from gateway.sessions import ASK_AGAIN
from streams.errors import CredstreamError

logger = logging.getLogger(__name__)

PREFIX = "/dashboard"
SIGN_IN = "/dashboard/login"
PROVIDER = SIGN_IN + "/provider"
"""Knows by a session of its own who it is, and sends the browser back without a question."""


def is_page(request: web.Request) -> bool:
    """Whether a browser opens a page of the dashboard (scripts ask for JSON or events)."""
    path = request.path
    within = path == PREFIX or path.startswith(PREFIX + "/")
    return within and request.method in ("GET", "HEAD") and "text/html" in accepted(request)


def accepted(request: web.Request) -> str:
    return request.headers.get("Accept", "")


@web.middleware
async def faces(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Inside `problems`: turns what a page of the dashboard raises into a page."""
    if not is_page(request):
        return await handler(request)
    try:
        return await handler(request)
    except Exception as error:
        kind = kind_of(error)
        if kind.status == HTTPStatus.UNAUTHORIZED:
            way = PROVIDER if request.get(ASK_AGAIN) else SIGN_IN
            following = quote(request.path_qs, safe="")
            return web.Response(status=303, headers={"Location": f"{way}?next={following}"})
        if kind is UNEXPECTED or isinstance(error, CredstreamError):
            logger.warning("request %s: %s", request[REQUEST_ID], kind.code, exc_info=error)
        response = page(
            request,
            "problem.html",
            title=kind.title,
            kind=kind,
            detail=kind.detail or str(error),
            request_id=request[REQUEST_ID],
        )
        response.set_status(kind.status)
        return response
