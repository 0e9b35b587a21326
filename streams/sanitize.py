"""Values from handlers and foreign servers, made fit to be stored as text or JSON. Pure.

A value that cannot be represented is refused (`encode_value`); text is repaired (`clean_text`),
because it describes something that has happened already.
"""

import json
from dataclasses import fields, is_dataclass
from datetime import date, time
from typing import Any

import orjson

from streams.errors import InvalidValue

ORJSON_DEPTH = 254
"""Levels that orjson writes at most."""
MAX_DEPTH = 200
"""Levels of nesting of one stored value, which is written again inside callbacks and pages."""
_SHALLOW_BYTES = 2 * MAX_DEPTH
"""A level takes two bytes at least: a shorter value is not too deep."""
REPLACEMENT = "\ufffd"
_TOO_DEEP = f"it is cyclic or nested deeper than {MAX_DEPTH} levels"
# orjson reads these through C attributes and crashes the process where one of them raises.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def clean_text(value: object, limit_chars: int) -> str:
    """The text of any object, at most `limit_chars` long, encodable as UTF-8 and without NUL.

    Lone surrogates and NUL become U+FFFD; an object whose `__str__` raises is named by its type.
    """
    try:
        text = str(value)
    except BaseException:  # noqa: BLE001 - `__str__` is foreign code and may raise anything
        text = f"<{type(value).__name__} without a readable text>"
    # Of a subclass of str, whose own methods are foreign code as well, only the characters.
    text = str.__getitem__(text, slice(limit_chars)).replace("\0", REPLACEMENT)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def encode_value(value: Any, limit_bytes: int) -> bytes:
    """A value as JSON, readable by every JSON parser and by orjson within other documents.

    Raises InvalidValue for what JSON does not have (NaN, other keys than text, lone surrogates,
    integers beyond 64 bits, cycles, foreign classes), for more than MAX_DEPTH levels and for more
    than `limit_bytes` bytes.
    """
    try:
        encoded = orjson.dumps(value, _plain, _OPTIONS)
    except Exception as error:  # noqa: BLE001 - properties of foreign objects may raise anything
        reason = clean_text(error.__cause__ or error, 200)
        raise InvalidValue(_TOO_DEEP if "ecursion" in reason else reason) from None
    size = len(encoded)
    if size > limit_bytes:
        raise InvalidValue(f"it has {size} bytes as JSON; at most {limit_bytes} are stored")
    if size > _SHALLOW_BYTES and encoded.count(b"[") + encoded.count(b"{") > MAX_DEPTH:
        _refuse_depth(encoded)
    if b"null" in encoded and value is not None:
        _refuse_nan(value)
    return encoded


def _plain(value: Any) -> Any:
    """Dataclasses as objects, dates and times as in RFC 3339."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, date | time):
        return value.isoformat()
    raise TypeError(f"Type is not JSON serializable: {type(value).__name__}")


def _refuse_depth(encoded: bytes) -> None:
    """Raise InvalidValue if valid JSON is nested deeper than MAX_DEPTH; orjson counts in C."""
    try:
        value = orjson.loads(encoded)
        for _ in range(ORJSON_DEPTH - MAX_DEPTH):
            value = [value]
        orjson.dumps(value)
    except (TypeError, ValueError):
        raise InvalidValue(_TOO_DEEP) from None


def _refuse_nan(value: Any) -> None:
    """orjson writes NaN and the infinities as null, which readers would take for an answer."""
    try:
        json.dumps(value, allow_nan=False, check_circular=False, default=_plain_or_text)
    except ValueError:
        raise InvalidValue("it contains NaN or Infinity, which JSON does not have") from None


def _plain_or_text(value: Any) -> Any:
    try:
        return _plain(value)
    except TypeError:
        # An enumeration or a UUID, which orjson has encoded.
        return getattr(value, "value", "")
