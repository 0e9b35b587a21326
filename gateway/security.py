"""Who may talk to a gateway that asks for no credentials.

It binds loopback only, serves only Hosts that name this machine (a page on the web can make its
own name resolve to 127.0.0.1), and takes no unsafe request that a browser sends for another site.
"""

import re

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.errors import CrossSite, ForeignHost
from gateway.settings import GatewaySettings

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL_HOST = re.compile(
    r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE
)


class Exposed(Exception):
    """The gateway would be reachable from other machines without asking for credentials."""


def check_bind(settings: GatewaySettings) -> None:
    """Raises Exposed when `settings` would open the gateway to a network by accident."""
    if not settings.is_loopback and not settings.allow_insecure:
        raise Exposed(
            f"HOST={settings.host} is reachable from other machines and no credential is "
            "configured. Bind 127.0.0.1, or set ALLOW_INSECURE=true if something in front of "
            "the gateway controls access."
        )


def guard(settings: GatewaySettings) -> Middleware:
    """Middleware that refuses foreign Hosts (when bound to loopback) and cross-site changes."""
    local_only = settings.is_loopback

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if local_only and not _LOCAL_HOST.fullmatch(request.headers.get("Host", "")):
            raise ForeignHost("Use localhost or 127.0.0.1: this gateway serves its own machine.")
        if request.method not in SAFE_METHODS and _is_cross_site(request):
            raise CrossSite("A page of another site may not do this.")
        return await handler(request)

    return check


def _is_cross_site(request: web.Request) -> bool:
    """Fetch metadata where the browser sends it, else Origin; no browser sends neither.

    The rules of Go's CrossOriginProtection, plus one: a cookie without either header is refused.
    """
    headers = request.headers
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("Origin")
    if origin is not None:
        return origin.partition("://")[2].lower() != headers.get("Host", "").lower()
    return "Cookie" in headers
