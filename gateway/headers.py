"""What every response carries, and the id that ties a request to its lines in the log."""

import logging
import re
from contextvars import ContextVar
from secrets import token_hex

from aiohttp import web

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
CURRENT: ContextVar[str] = ContextVar("request_id")
"""The id of the request that this task works on."""
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Server": "credstream",
}
_UNLESS_SAID = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
"""JSON is nothing to be shown, framed or executed; a page of ours says what it needs."""


def request_id_of(request: web.BaseRequest) -> str:
    """The client's X-Request-Id if it is a plain word, else a new one (it goes into logs)."""
    offered = request.headers.get("X-Request-Id", "")
    return offered if _REQUEST_ID.fullmatch(offered) else token_hex(8)


def stamp(response: web.StreamResponse, request_id: str) -> None:
    """The headers of every response. Which server software runs here is nobody's business."""
    headers = response.headers
    headers["X-Request-Id"] = request_id
    headers.update(_ALWAYS)
    for name, value in _UNLESS_SAID.items():
        headers.setdefault(name, value)


class RequestIds(logging.Filter):
    """Puts the id of the request into every line that is logged on its behalf (API-14)."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Never refuses a line."""
        request_id = CURRENT.get("")
        message = record.getMessage()
        if request_id and request_id not in message:
            record.request_id = request_id
            record.msg, record.args = f"{message} [request {request_id}]", None
        return True


def log_request_ids() -> None:
    """Every handler of the root logger names the request from now on."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(one, RequestIds) for one in handler.filters):
            handler.addFilter(RequestIds())
