"""Request bodies: bounded in size, time and content by the route they are sent to."""

import asyncio
from typing import Any, Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from gateway import faults
from gateway.errors import (
    BodyTooBig,
    EncodedBody,
    InvalidRequest,
    NotJson,
    SlowBody,
)
from gateway.keys import CONTINUE, SETTINGS
from gateway.routes import ROUTE, Route
from gateway.strict_json import BULK, DOCUMENT, SMALL, Bounds, DocumentReader

SMALL_BODY_S = 10.0
"""A small body must have arrived by then."""
BODY = web.RequestKey("body", bytes)
"""The bytes of a body that has been read."""
READER = web.AppKey("document_reader", DocumentReader)
Model = TypeVar("Model", bound=BaseModel)


class Empty:
    """The type of `EMPTY`."""


EMPTY: Final = Empty()
"""What `read_json` answers for a request without a body."""


def install(app: web.Application) -> None:
    """Give `app` the reader of its documents."""
    app[READER] = DocumentReader()


async def ask_for_body(request: web.Request) -> None:
    """Tell a client that waits for it to go on, right before its body is read. A request that is
    refused before does not get here, and its body is never sent."""
    if request.pop(CONTINUE, False):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def refuse_encoding(request: web.Request) -> None:
    """Raises EncodedBody for a compressed body: what it unpacks to has no bound (API-17)."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise EncodedBody("Send the body without Content-Encoding.")


async def read_json(request: web.Request, *, bulk: bool = False) -> Any:
    """The document in the body, or `EMPTY`. `bulk`: it may be as long as an array.

    Raises SlowBody, BodyTooBig, NotJson, EncodedBody, MalformedBody.
    """
    refuse_encoding(request)
    if not (request.can_read_body or request.get(BODY)):
        return EMPTY
    if request.content_type != "application/json":
        raise NotJson("Send the body with Content-Type: application/json.")
    body = await read_body(request, bulk=bulk)
    if not body:
        return EMPTY
    return await request.app[READER].read(body, _bounds(request, body, bulk=bulk))


async def read_line(request: web.Request, line: bytes) -> Any:
    """The document in one line of a body of lines. Raises MalformedBody."""
    return await request.app[READER].read(line)


async def read_body(request: web.Request, *, bulk: bool = False) -> bytes:
    """The bytes of the body, kept in `BODY`. Raises SlowBody, BodyTooBig."""
    kept: bytes | None = request.get(BODY)
    if kept is not None:
        _check_length(request, kept, len(kept), bulk=bulk)
        return kept
    _check_length(request, b"", request.content_length or 0, bulk=True)
    await ask_for_body(request)
    if request.content.is_eof():  # a short body is there already: there is no time to measure
        request[BODY] = body = await _collect(request, bulk)
        return body
    timeout_s = request.app[SETTINGS].body_timeout_s
    if _small_bytes(request) is not None:
        timeout_s = min(timeout_s, SMALL_BODY_S)
    try:
        async with asyncio.timeout(timeout_s):
            request[BODY] = body = await _collect(request, bulk)
    except TimeoutError:
        raise SlowBody(f"The body must arrive within {timeout_s:g} seconds.") from None
    return body


async def read_model(request: web.Request, model: type[Model]) -> Model:
    """The body as `model`; an empty body is an object without members.

    Raises as `read_json`, and InvalidRequest, which says what does not fit."""
    body = await read_json(request)
    body = {} if body is EMPTY else body
    try:
        return model.model_validate(body)
    except ValidationError as error:
        words = "Nothing was done; `errors` says what does not fit."
        raise InvalidRequest(words, faults.of_model(error, body)) from None


async def _collect(request: web.Request, bulk: bool) -> bytes:
    declared = request.content_length or 0
    body = bytearray()
    while not request.content.at_eof():
        body += await request.content.readany()
        _check_length(request, body, max(len(body), declared), bulk=bulk)
    return bytes(body)


def _check_length(
    request: web.Request, body: bytes | bytearray, length: int, *, bulk: bool
) -> None:
    """An array of jobs may be longer than other documents."""
    settings = request.app[SETTINGS]
    limit = _small_bytes(request)
    if limit is None:
        is_bulk = bulk or _is_array(body)
        limit = settings.bulk_limit_bytes if is_bulk else settings.body_limit_bytes
    if length > limit:
        raise BodyTooBig(f"The body may be {limit} bytes long.")


def _bounds(request: web.Request, body: bytes, *, bulk: bool) -> Bounds:
    if _small_bytes(request) is not None:
        return SMALL
    return BULK if bulk or _is_array(body) else DOCUMENT


def _small_bytes(request: web.Request) -> int | None:
    """The limit of the route itself; None: its bodies are jobs, for which the settings say it."""
    route: Route | None = request.get(ROUTE)
    if route is None or route.body_bytes is None:
        return None
    return min(route.body_bytes, request.app[SETTINGS].body_limit_bytes)


def _is_array(body: bytes | bytearray) -> bool:
    return body[:64].lstrip().startswith(b"[")
