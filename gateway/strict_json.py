"""JSON of which nothing can get lost, bounded before any of it is looked at.

Python's JSON readers quietly drop what JSON allows and a store cannot keep: the first of two
equal members, digits of an integer beyond 64 bits. A submission that means something else than
its sender wrote is worse than a refused one, so such documents are refused (RFC 8259 section 4
and 6 leave both open; RFC 7493 forbids them).

A document is counted as text before it is parsed, and checked as a tree before a model sees it:
the time that validation takes grows with members and elements, not with bytes.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gateway.errors import Fault, MalformedBody

DEPTH_MAX: Final = 64
NAME_CHARS_MAX: Final = 1_024
"""Of the name of a member."""
INLINE_BYTES: Final = 64 * 1024
"""A longer body is parsed in a thread: a megabyte of brackets takes half a second."""
INT_MIN, INT_MAX = -(2**63), 2**64 - 1
_INT_DIGITS_MAX = 20
_RUN_BYTES = NAME_CHARS_MAX // 2
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a document may hold."""

    values: int
    """Members and elements together."""
    entries: int
    """Members of one object, or elements of one array."""
    containers: int
    """Objects and arrays. A megabyte can hold half a million empty ones, with which Python is busy
    for a second, thread or not."""


SMALL: Final = Bounds(2_000, 2_000, 1_000)
DOCUMENT: Final = Bounds(50_000, 20_000, 50_000)
BULK: Final = Bounds(250_000, 20_000, 50_000)


class DocumentReader:
    """Parses bodies, one large one at a time: two threads would only take the processor from each
    other, and from everybody else."""

    def __init__(self) -> None:
        self._large = asyncio.Semaphore(1)

    async def read(self, body: bytes, bounds: Bounds = DOCUMENT) -> Any:
        """The document. Raises MalformedBody."""
        if len(body) <= INLINE_BYTES:
            return parse(body, bounds)
        async with self._large:
            return await asyncio.to_thread(parse, body, bounds)


def parse(body: bytes, bounds: Bounds = DOCUMENT) -> Any:
    """Strict JSON: UTF-8, no NaN, depth <= 64, no duplicate members, 64-bit integers, within
    `bounds`. Raises MalformedBody."""
    containers, values = _opened(body), _separated(body)
    if containers > bounds.containers or values > bounds.values:
        containers, values = _counted_outside_strings(body, bounds)
    if containers > bounds.containers:
        raise _too_many(bounds.containers, "objects and arrays")
    if values > bounds.values:
        raise _too_many(bounds.values, "members and elements")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedBody(f"The body is not JSON: {error}.") from None
    if _opened(body) > DEPTH_MAX or _separated(body) >= bounds.entries or _may_name_long(body):
        _check_tree(value, bounds)
    # If it comes out again byte for byte, nothing got lost, and the careful reader, several times
    # slower, is not needed. Most clients write compact JSON, or as Python does, with spaces.
    if orjson.dumps(value) != body and _spaced(value, body) != body:
        json.loads(body, object_pairs_hook=_refuse_duplicates, parse_int=_refuse_long)
    return value


def _too_many(most: int, what: str) -> MalformedBody:
    remedy = Fault("", "send less at a time, or what is many as one string")
    return MalformedBody(f"The body holds more than {most} {what}.", [remedy])


def _spaced(value: Any, body: bytes) -> bytes:
    return json.dumps(value, ensure_ascii=body.isascii()).encode()


def _opened(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _separated(text: bytes) -> int:
    """How many values a text separates; one less than there are, in each object or array."""
    return text.count(b",")


def _counted_outside_strings(body: bytes, bounds: Bounds) -> tuple[int, int]:
    """Containers and separators that are no part of a string; counted as far as they are few.

    In chunks, so that other threads run in between."""
    text = body.replace(rb"\\", b"").replace(rb"\"", b"")
    containers = values = 0
    in_string = 0
    for at in range(0, len(text), _CHUNK_BYTES):
        pieces = text[at : at + _CHUNK_BYTES].split(b'"')
        outside = b"".join(pieces[in_string::2])
        containers += _opened(outside)
        values += _separated(outside)
        in_string ^= (len(pieces) - 1) & 1
        if containers > bounds.containers or values > bounds.values:
            break
    return containers, values


def _may_name_long(body: bytes) -> bool:
    """Whether a stretch without a quote is so long that it may be the name of a member."""
    if len(body) <= NAME_CHARS_MAX:
        return False
    text = body.replace(rb"\"", b"..") if rb"\"" in body else body
    return any(
        text.find(b'"', at, at + _RUN_BYTES) < 0
        for at in range(0, len(text) - _RUN_BYTES + 1, _RUN_BYTES)
    )


def _check_tree(value: Any, bounds: Bounds) -> None:
    """Level by level, because recursion is what a depth bomb aims at. Raises MalformedBody."""
    level = [value]
    for _ in range(DEPTH_MAX):
        deeper: list[Any] = []
        for node in level:
            if type(node) is dict:
                if any(len(name) > NAME_CHARS_MAX for name in node):
                    words = f"The name of a member is longer than {NAME_CHARS_MAX} characters."
                    raise MalformedBody(words)
                children: Any = node.values()
            elif type(node) is list:
                children = node
            else:
                continue
            if len(children) > bounds.entries:
                raise _too_many(bounds.entries, "members or elements in one object or array")
            deeper += [child for child in children if type(child) is dict or type(child) is list]
        level = deeper
        if not level:
            return
    raise MalformedBody(f"The body is nested deeper than {DEPTH_MAX} levels.")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise MalformedBody(f"The member {json.dumps(name[:64])} occurs twice in one object.")
        seen.add(name)


def _refuse_long(digits: str) -> None:
    if len(digits) > _INT_DIGITS_MAX or not INT_MIN <= int(digits) <= INT_MAX:
        raise MalformedBody("An integer is beyond 64 bits; send it as a string.")
