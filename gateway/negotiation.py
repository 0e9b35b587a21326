"""Content negotiation: a client that takes none of a route's media types is told so beforehand.

A request that cannot be answered in a way its sender understands has no effect (RFC 9110, 12.5.1
and 15.5.7). Errors are problems in JSON whatever is accepted.
"""

from functools import lru_cache
from typing import Final

from aiohttp import web

from gateway.bare import ANSWERS, JSON
from gateway.errors import Kind, Refusal
from gateway.routes import Route

LINES: Final = "application/x-ndjson"
CACHED_CHARS: Final = 256
ANY: Final = "*/*"
_NEGOTIATE_THEMSELVES = frozenset({"/1.0/identifiers/{did:.+}"})


class NotAcceptable(Refusal):
    """The route has no media type that the client accepts."""

    kind = Kind(406, "not_acceptable", "Nothing of what is accepted can be answered")


def check_accept(request: web.Request, route: Route) -> None:
    """Raises NotAcceptable. What a header says that cannot be read does not count."""
    fields = request.headers.getall("Accept", ())
    if not fields or list(fields) == [ANY] or route.is_page or route.path in _NEGOTIATE_THEMSELVES:
        return
    accept = ",".join(fields)
    judge = _accepted_again if len(accept) <= CACHED_CHARS else _accepted
    offered = _offered(route)
    if not judge(accept, offered):
        raise NotAcceptable(f"Accept {' or '.join(offered)}.")


def _offered(route: Route) -> tuple[str, ...]:
    bare = ANSWERS.get(route.path)
    if bare is not None:
        return bare.media_types
    return (JSON, LINES) if route.lines else (JSON,)


def _accepted(accept: str, offered: tuple[str, ...]) -> bool:
    """Whether one of the media types is accepted: the most specific range about it decides."""
    ranges: dict[str, float] = {}
    for item in accept.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        if "/" in name and weight.replace(".", "", 1).isdecimal():
            ranges[name] = max(ranges.get(name, 0.0), float(weight))
    if not ranges:
        return True
    return any(
        next(
            (ranges[one] for one in (kind, f"{kind.partition('/')[0]}/*", ANY) if one in ranges), 0
        )
        for kind in offered
    )


_accepted_again = lru_cache(1_024)(_accepted)
