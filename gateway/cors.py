"""Pages of other origins: none may call, unless it is on the list (API-20).

Credentials of a browser (cookies) are never allowed along; a page brings a key or a token.
"""

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.keys import SETTINGS

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE"
HEADERS = (
    "Authorization, Content-Type, X-API-Key, X-Request-Id, Idempotency-Key, Prefer, "
    "Last-Event-ID, If-None-Match, traceparent"
)
EXPOSED = (
    "X-Request-Id, Location, ETag, Retry-After, RateLimit, RateLimit-Policy, "
    "Idempotency-Replayed, Preference-Applied"
)
MAX_AGE_S = 600


@web.middleware
async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers what a browser asks before a page of a listed origin may call."""
    asked = "Access-Control-Request-Method" in request.headers
    if request.method == "OPTIONS" and asked and _is_listed(request):
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": METHODS,
                "Access-Control-Allow-Headers": HEADERS,
                "Access-Control-Max-Age": str(MAX_AGE_S),
            },
        )
    return await handler(request)


def allowed_headers(request: web.Request, response: web.StreamResponse) -> dict[str, str]:
    """What a response says to browsers; nothing when no origin is on the list, or when what it
    carries is for everybody anyway."""
    if not request.app[SETTINGS].cors_origins or "Access-Control-Allow-Origin" in response.headers:
        return {}
    varies = [*response.headers.getall("Vary", ()), "Origin"]
    headers = {"Vary": ", ".join(dict.fromkeys(varies))}
    if _is_listed(request):
        headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        headers["Access-Control-Expose-Headers"] = EXPOSED
    return headers


def _is_listed(request: web.Request) -> bool:
    return request.headers.get("Origin") in request.app[SETTINGS].cors_origins
