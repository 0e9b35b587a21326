"""Lists go compressed to clients that say they understand gzip (API-21). Nothing else does: single
jobs are small, streams of events must not wait for a block to fill.
"""

import asyncio
import functools
import gzip
from dataclasses import replace
from typing import Final, get_origin

from aiohttp import web

from gateway.routes import Handler, Route
from gateway.strict_json import INLINE_BYTES

PACKED_FROM_BYTES: Final = 1_024
"""Shorter answers fit into a packet or two as they are."""
LEVEL: Final = 5
SUFFIX: Final = "-gzip"
"""A strong ETag names bytes, so the compressed ones have one of their own."""


def packing(route: Route) -> Route:
    """The same route; if it answers a list, then compressed to who wants that."""
    if route.method != "GET" or get_origin(route.answer) is not list:
        return route
    handler: Handler = route.handler

    @functools.wraps(handler)
    async def packed(request: web.Request) -> web.StreamResponse:
        response = await handler(request)
        if isinstance(response, web.Response):
            response.headers.add("Vary", "Accept-Encoding")
            if response.status == 200 and _understands_gzip(request):
                await _pack(response)
        return response

    return replace(route, handler=packed)


async def _pack(response: web.Response) -> None:
    body = response.body
    if not isinstance(body, bytes) or len(body) <= PACKED_FROM_BYTES:
        return
    pack = functools.partial(gzip.compress, body, LEVEL, mtime=0)
    response.body = pack() if len(body) <= INLINE_BYTES else await asyncio.to_thread(pack)
    response.headers["Content-Encoding"] = "gzip"
    if (tag := response.headers.get("ETag")) is not None:
        response.headers["ETag"] = f'{tag[:-1]}{SUFFIX}"'


def _understands_gzip(request: web.Request) -> bool:
    """Whether gzip is among what it accepts, and not with the weight 0."""
    for item in ",".join(request.headers.getall("Accept-Encoding", ())).lower().split(","):
        coding, *parameters = (part.strip() for part in item.split(";"))
        if coding in ("gzip", "x-gzip"):
            weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
            return weight.strip("0.") != ""
    return False
