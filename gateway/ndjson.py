"""Jobs as lines (`application/x-ndjson`): as many as there are, in bounded memory (API-7).

Each line is a job of its own: one that does not fit does not stop the others. For each there is one
line in the answer, in order, as soon as it is queued.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import orjson
from aiohttp import web

from gateway.body import ask_for_body, read_line, refuse_encoding
from gateway.directory import Listed
from gateway.errors import BodyTooBig, Refusal, SlowBody, tell
from gateway.headers import stamp
from gateway.idempotency import REPLAYED, once
from gateway.keys import REQUEST_ID, SETTINGS
from gateway.submit import Way, submit_one
from streams.errors import CredstreamError

MEDIA_TYPE = "application/x-ndjson"
TOGETHER = 16
"""Lines that are worked on without a look at anybody else: about 2 ms."""


async def answer(request: web.Request, listed: Listed, way: Way) -> web.StreamResponse:
    """Queue every line; stream what became of each.

    A line is `{"success": true, "data": receipt}` or a problem. Under an Idempotency-Key line n is
    submitted once: what was cut off is sent again from its beginning. Once the first answer is
    sent, what ends the request early can only be told by the last one. Raises what stops it before.
    """
    refuse_encoding(request)
    await ask_for_body(request)
    with once(request) as key:
        return await _answer(request, listed, replace(way, key=key))


async def _answer(request: web.Request, listed: Listed, way: Way) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"})
    stamp(response, request[REQUEST_ID])
    timeout_s = request.app[SETTINGS].body_timeout_s
    count = 0
    try:
        async for lines in _groups(request, timeout_s):
            ways = [_of_line(way, count + n, line) for n, line in enumerate(lines)]
            count += len(lines)
            queued = map(partial(_queue, request, listed), lines, ways)
            found = await asyncio.gather(*queued)
            if not response.prepared and found[0][1]:
                response.headers.update(REPLAYED)
            await _send(request, response, [text for text, _ in found], timeout_s)
    except Refusal as error:
        if not response.prepared:
            raise
        await _send(request, response, [_told(request, error)], timeout_s)
        response.force_close()
    if not response.prepared:
        await response.prepare(request)
    await response.write_eof()
    return response


async def _send(
    request: web.Request, response: web.StreamResponse, lines: list[bytes], timeout_s: float
) -> None:
    if not response.prepared:
        await response.prepare(request)
    try:
        async with asyncio.timeout(timeout_s):
            await response.write(b"".join(line + b"\n" for line in lines))
    except TimeoutError:
        raise ConnectionResetError("the client does not read what became of its lines") from None


def _of_line(way: Way, number: int, line: bytes) -> Way:
    return way if way.key is None else replace(way, key=way.key.line(number, line))


async def _queue(request: web.Request, listed: Listed, line: bytes, way: Way) -> tuple[bytes, bool]:
    """What became of a line, and whether that is repeated."""
    try:
        line_read = await read_line(request, line)
        receipt, _, replayed = await submit_one(listed, line_read, way)
    except (Refusal, CredstreamError) as error:
        return _told(request, error), False
    return orjson.dumps({"success": True, "data": receipt}), replayed


def _told(request: web.Request, error: BaseException) -> bytes:
    body = tell(request, error, request[REQUEST_ID]).body
    return body if isinstance(body, bytes) else b""


async def _groups(request: web.Request, timeout_s: float) -> AsyncIterator[list[bytes]]:
    """The lines of the body that are not empty, as they come: some of those of one read, which
    aiohttp keeps small. Raises SlowBody, BodyTooBig."""
    rest = b""
    while not request.content.at_eof():
        lines, rest = await _lines(request, rest, timeout_s)
        for at in range(0, len(lines), TOGETHER):
            yield lines[at : at + TOGETHER]
    if rest.strip():
        yield [rest]


async def _lines(request: web.Request, rest: bytes, timeout_s: float) -> tuple[list[bytes], bytes]:
    """The next lines that are not empty, at least one before the end, and the beginning of another.
    `rest` is the beginning of the first. One must come whole in time: a byte now and then, or an
    empty line, does not keep the connection. Raises SlowBody, BodyTooBig."""
    limit = request.app[SETTINGS].body_limit_bytes
    lines: list[bytes] = []
    try:
        async with asyncio.timeout(timeout_s):
            while not (lines or request.content.at_eof()):
                *whole, rest = (rest + await request.content.readany()).split(b"\n")
                if any(len(line) > limit for line in (*whole, rest)):
                    raise BodyTooBig(f"A line may be {limit} bytes long.")
                lines = [line for line in whole if line.strip()]
    except TimeoutError:
        raise SlowBody(f"No whole line came for {timeout_s:g} seconds.") from None
    return lines, rest
