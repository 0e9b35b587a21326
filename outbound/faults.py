"""From what aiohttp raises to what it means for whoever asked."""

import errno

import aiohttp

from outbound.errors import Blocked, OutboundError, Unreachable
from outbound.guard import Refused, Trail

_WORDS = {
    "dns_error": "The name could not be resolved.",
    "connect_refused": "The connection was refused.",
    "connect_timeout": "The connection was not made in time.",
    "connect_failed": "No connection could be made.",
    "tls_error": "The TLS handshake failed.",
    "read_timeout": "The answer did not arrive in time.",
    "connection_reset": "The connection was closed before the answer was complete.",
    "invalid_http_response": "The answer is not HTTP.",
    "response_headers_too_large": "The headers of the answer are too long.",
    "proxy_error": "The outgoing proxy did not connect us.",
}
_POLICY_HEADER = "X-Smokescreen-Error"
"""With this a filtering proxy says that it will never connect to that place."""


class Lost(Exception):
    """Carries a connection error past aiohttp, which would answer it with a second request."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def unreachable(code: str) -> Unreachable:
    """The error of that code, in words for people."""
    return Unreachable(_WORDS[code], code=code)


def meaning(error: Exception, trail: Trail) -> OutboundError:
    """What an exception raised by a request means."""
    if isinstance(error, Lost):
        return meaning(error.cause, trail)
    if isinstance(error, TimeoutError):
        return unreachable(_timed_out(trail))
    if isinstance(error, aiohttp.ClientConnectorError):
        return _not_connected(error, trail)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return refused_by_proxy(error.headers) or unreachable("proxy_error")
    if isinstance(error, aiohttp.ClientResponseError):
        too_long = "more than" in error.message
        return unreachable("response_headers_too_large" if too_long else "invalid_http_response")
    if isinstance(error, aiohttp.ServerDisconnectedError | OSError):
        return unreachable("connection_reset")
    if isinstance(error, ValueError) and not trail.connected:
        return Blocked("The URL cannot be read.", code="invalid_url")
    return unreachable("invalid_http_response")


def refused_by_proxy(headers: object) -> Blocked | None:
    """Whether a proxy's answer says that its policy forbids the place."""
    return Blocked() if headers is not None and _POLICY_HEADER in headers else None  # type: ignore[operator]


def _timed_out(trail: Trail) -> str:
    if trail.connected:
        return "read_timeout"
    return "connect_timeout" if trail.dialled else "dns_error"


def _not_connected(error: aiohttp.ClientConnectorError, trail: Trail) -> OutboundError:
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return unreachable("proxy_error")
    if isinstance(error, aiohttp.ClientConnectorSSLError | aiohttp.ClientConnectorCertificateError):
        return unreachable("tls_error")
    if isinstance(error.os_error, Refused):
        return Blocked()
    if isinstance(error, aiohttp.ClientConnectorDNSError) or not trail.dialled:
        return unreachable("dns_error")
    if error.os_error.errno == errno.ECONNREFUSED:
        return unreachable("connect_refused")
    if error.os_error.errno == errno.ETIMEDOUT:
        return unreachable("connect_timeout")
    broken = isinstance(error.os_error, ConnectionError)
    return unreachable("connection_reset" if broken else "connect_failed")
