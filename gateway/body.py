"""Request bodies: bounded in size and time, and JSON of which nothing can get lost.

Python's JSON readers quietly drop what JSON allows and a store cannot keep: the first of two
equal members, digits of an integer beyond 64 bits. A submission that means something else than
its sender wrote is worse than a refused one, so such documents are refused (RFC 8259 section 4
and 6 leave both open; RFC 7493 forbids them).
"""

import asyncio
import json
from typing import Any, Final, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from gateway import faults
from gateway.errors import (
    BodyTooBig,
    EncodedBody,
    Fault,
    InvalidRequest,
    MalformedBody,
    NotJson,
    SlowBody,
)
from gateway.keys import SETTINGS

DEPTH_MAX = 64
CONTAINERS_MAX = 50_000
"""Objects and arrays in a document. A megabyte can hold half a million empty ones, with which
Python is busy for a second, thread or not."""
INLINE_BYTES = 64 * 1024
"""A longer body is parsed in a thread: a megabyte of brackets takes half a second."""
INT_MIN, INT_MAX = -(2**63), 2**64 - 1
_INT_DIGITS_MAX = 20
BODY = web.RequestKey("body", bytes)
"""The bytes of a body that has been read."""
Model = TypeVar("Model", bound=BaseModel)


class Empty:
    """The type of `EMPTY`."""


EMPTY: Final = Empty()
"""What `read_json` answers for a request without a body."""


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
    if len(body) > INLINE_BYTES:
        return await asyncio.to_thread(parse, body)
    return parse(body) if body else EMPTY


async def read_body(request: web.Request, *, bulk: bool = False) -> bytes:
    """The bytes of the body, kept in `BODY`. Raises SlowBody, BodyTooBig."""
    kept: bytes | None = request.get(BODY)
    if kept is not None:
        _check_length(request, kept, len(kept), bulk=bulk)
        return kept
    if request.content.is_eof():  # a short body is there already: there is no time to measure
        request[BODY] = body = await _collect(request, bulk)
        return body
    timeout_s = request.app[SETTINGS].body_timeout_s
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
        raise InvalidRequest(
            "Nothing was done; `errors` says what does not fit.", faults.of_model(error, body)
        ) from None


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
    """An array may be longer than other documents."""
    settings = request.app[SETTINGS]
    is_array = bulk or body[:64].lstrip().startswith(b"[")
    limit = settings.bulk_limit_bytes if is_array else settings.body_limit_bytes
    if length > limit:
        raise BodyTooBig(f"The body may be {limit} bytes long.")


def parse(body: bytes) -> Any:
    """Strict JSON: UTF-8, no NaN, depth <= 64, no duplicate members, 64-bit integers, at most
    50,000 objects and arrays."""
    if _opened(body) > CONTAINERS_MAX and _opened(_outside_strings(body)) > CONTAINERS_MAX:
        words = f"The body holds more than {CONTAINERS_MAX} objects and arrays."
        raise MalformedBody(
            words, [Fault("", "send less at a time, or what is many as one string")]
        )
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"The body is not JSON: {error}.") from None
    if _opened(body) > DEPTH_MAX and _is_deeper(value, DEPTH_MAX):
        raise MalformedBody(f"The body is nested deeper than {DEPTH_MAX} levels.")
    # If it comes out again byte for byte, nothing got lost, and the careful reader, several times
    # slower, is not needed. Most clients write compact JSON, or as Python does, with spaces.
    if orjson.dumps(value) != body and _spaced(value, body) != body:
        json.loads(body, object_pairs_hook=_refuse_duplicates, parse_int=_refuse_long)
    return value


def _spaced(value: Any, body: bytes) -> bytes:
    return json.dumps(value, ensure_ascii=body.isascii()).encode()


def _outside_strings(body: bytes) -> bytes:
    """Every second piece between quotes, once no quote is escaped any more."""
    return b"".join(body.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2])


def _opened(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _is_deeper(value: Any, depth: int) -> bool:
    """Level by level, because recursion is what a depth bomb aims at."""
    level = [value]
    for _ in range(depth):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return False
    return True


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise MalformedBody(f"The member {json.dumps(name[:64])} occurs twice in one object.")
        seen.add(name)


def _refuse_long(digits: str) -> None:
    if len(digits) > _INT_DIGITS_MAX or not INT_MIN <= int(digits) <= INT_MAX:
        raise MalformedBody("An integer is beyond 64 bits; send it as a string.")
