"""What protects a gateway from the network, and a gateway without credentials from browsers.

Without credentials it binds loopback only, serves only Hosts that name this machine (a page on the
web can make its own name resolve to 127.0.0.1), and takes no unsafe request that a browser sends
for another site.
"""

import re
from collections.abc import Collection
from ipaddress import IPv6Address, ip_address

from aiohttp import web

from gateway.errors import CrossSite, ForeignHost, Kind, NotHttp, Refusal
from gateway.keys import FORWARDED, SETTINGS
from gateway.settings import GatewaySettings

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_LOCAL_HOST = re.compile(
    r"(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE
)
_SECRET_PARAMETER = re.compile(
    r"(?:x[-_])?api[-_]?key|access[-_]?token|bearer|authorization", re.IGNORECASE
)
_HOST = re.compile(r"(?:[\w.~!$&'()*+,;=%-]*|\[[0-9A-Za-z:.%]+\])(?::[0-9]{0,5})?", re.ASCII)
_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
ADDRESS_CHARS = 64
_KEY = re.compile(r"cs_[a-z]{2,8}_[0-9A-Za-z]{12}_[0-9A-Za-z]{20,}")


class Exposed(Exception):
    """The gateway would be reachable from other machines without asking for credentials."""


class CredentialInQuery(Refusal):
    """A secret in the address, where logs, histories and proxies keep it (AU-2)."""

    kind = Kind(400, "credential_in_query", "Credentials do not belong into the address")


def check_bind(settings: GatewaySettings, *, configured: bool = False) -> None:
    """Raises Exposed when `settings` would open the gateway to a network by accident.

    `configured`: API keys or an OpenID provider are there, so that it asks everybody.
    """
    asks = configured or settings.require_auth == "always"
    if not (settings.is_loopback or settings.allow_insecure or asks):
        raise Exposed(
            f"HOST={settings.host} is reachable from other machines and no credential is "
            "configured. Make an API key (credstream keys create), set REQUIRE_AUTH=always, or "
            "bind 127.0.0.1; ALLOW_INSECURE=true serves everybody, for a gateway behind something "
            "that controls access."
        )


def host_of(request: web.Request) -> str:
    """Whom the client means to talk to: the authority of a target in absolute form, which takes
    the place of Host (RFC 9112, 3.2.2), else Host. Raises NotHttp when that is malformed (3.2)."""
    target = request.raw_path
    host = request.headers.get("Host", "")
    if "://" in target and not target.startswith("/"):
        host = target.partition("://")[2].partition("/")[0].partition("?")[0]
    if not _HOST.fullmatch(host):
        raise NotHttp("The Host of the request is malformed: send a name, or a name and a port.")
    return host


def check_host(request: web.Request, *, is_local: bool) -> None:
    """Raises NotHttp for a malformed Host, and ForeignHost where only this machine is served
    (`is_local`) unless it names this machine."""
    host = host_of(request)
    if is_local and not _LOCAL_HOST.fullmatch(host):
        raise ForeignHost("Use localhost or 127.0.0.1: this gateway serves its own machine.")


def check_site(request: web.Request, trusted: Collection[str] = ()) -> None:
    """Raises CrossSite for a change that a browser asks for on behalf of another site.

    `trusted`: origins that may, as long as no cookie comes with it."""
    if request.method in SAFE_METHODS or not _is_cross_site(request):
        return
    if request.headers.get("Origin") in trusted and "Cookie" not in request.headers:
        return
    raise CrossSite("A page of another site may not do this.")


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
        return origin.partition("://")[2].lower() != host_of(request).lower()
    return "Cookie" in headers


def check_query(request: web.Request) -> None:
    """Raises CredentialInQuery when the query holds a secret, or a parameter named like one."""
    for name, value in request.rel_url.query.items():
        if _SECRET_PARAMETER.fullmatch(name) or _KEY.search(value) or _KEY.search(name):
            raise CredentialInQuery(
                "Send the credential as `Authorization: Bearer ...` or `X-API-Key: ...`. The one "
                "in the address may have been seen: revoke it."
            )


def without_keys(text: str) -> str:
    """A text for the log or an answer, with every API key in it as `***`."""
    return _KEY.sub("***", text)


def client_address(request: web.Request) -> str | None:
    """The address a request comes from: what the outermost of TRUSTED_PROXIES has seen, else that
    of the connection."""
    proxies = request.app[SETTINGS].trusted_proxies
    if proxies:
        named = ",".join(request.headers.getall("X-Forwarded-For", ())).split(",")
        hops = [hop.strip() for hop in named if hop.strip()]
        if len(hops) >= proxies:
            return _without_port(hops[-proxies])
    elif "X-Forwarded-For" in request.headers:
        request.app[FORWARDED].is_seen = True
    return request.remote


def client_network(request: web.Request) -> str:
    """What clients are counted by: the address, of IPv6 its first 64 bits, which one client has to
    itself."""
    address = client_address(request) or ""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)


def _without_port(hop: str) -> str:
    """`192.0.2.1:4711` and `[2001:db8::1]:4711` as proxies may write them."""
    found = _PORT.fullmatch(hop)
    return (found[1] or found[2] if found else hop)[:ADDRESS_CHARS]
