"""JSON from strangers: parsed strictly, and only after its size and depth were checked (F6, F7).

Everything that comes out can be written again as JSON by any library.
"""

import json
import math
import re
from typing import Any

from schemas.fields import MAX_JSON_DEPTH

_STRINGS_AND_BRACKETS = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[{\]}]', re.DOTALL)
"""A string that is never closed is one match too: otherwise every quote in it starts a new scan."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class NotJson(ValueError):
    """The message says what is wrong, without repeating what was read."""


def loads(raw: bytes, *, max_depth: int = MAX_JSON_DEPTH) -> Any:
    """The value of `raw`, UTF-8 without a byte order mark.

    Raises NotJson: nested deeper than `max_depth`, a member named twice, NaN or infinity also as
    1e400, an integer of more than 64 bits, half of a surrogate pair, or no JSON at all.
    """
    _check_depth(raw, max_depth)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise NotJson("is not UTF-8") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        raise NotJson(f"is not JSON: {error.msg} at character {error.pos}") from None
    if _SURROGATE.search(raw):
        _check_text(value)
    return value


def load_object(raw: bytes, *, max_depth: int = MAX_JSON_DEPTH) -> dict[str, Any]:
    """As `loads`, and it must be an object. Raises NotJson."""
    value = loads(raw, max_depth=max_depth)
    if not isinstance(value, dict):
        raise NotJson("is not a JSON object")
    return value


def _check_depth(raw: bytes, max_depth: int) -> None:
    if raw.count(b"[") + raw.count(b"{") <= max_depth:
        return
    depth = 0
    for match in _STRINGS_AND_BRACKETS.finditer(raw):
        first = match[0][:1]
        if first in b"[{":
            depth += 1
            if depth > max_depth:
                raise NotJson(f"nests deeper than {max_depth} levels")
        elif first in b"]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotJson("names a member of an object twice")
    return members


def _integer(digits: str) -> int:
    # Length first: Python refuses to convert thousands of digits, with an error of its own.
    value = int(digits) if len(digits) <= 20 else 2**64
    if not -(2**63) <= value < 2**64:
        raise NotJson("holds an integer of more than 64 bits")
    return value


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise NotJson("holds a number beyond what a double can hold")
    return value


def _constant(name: str) -> Any:
    raise NotJson(f"holds {name}, which is no JSON")


def _check_text(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise NotJson("holds half of a surrogate pair") from None
