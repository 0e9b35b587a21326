"""Values and texts of foreign code become storable, or are refused with the reason."""

import dataclasses
import datetime as dt
import math
from typing import Any

import orjson
import pytest
from hostile import ANY_TEXT, ANY_VALUE
from hypothesis import given

from streams.errors import InvalidValue
from streams.sanitize import MAX_DEPTH, clean_text, encode_value

ROOM = 1_024


class Unreadable:
    """An object whose text is an error."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error


class Overridden(str):
    """A str that answers its own methods with nonsense."""

    __slots__ = ()

    def __str__(self) -> str:
        return self

    def __getitem__(self, _: object) -> Any:
        raise SystemExit

    def replace(self, *_: object) -> Any:
        raise SystemExit


@dataclasses.dataclass
class Point:
    x: Any


class NoOffset(dt.tzinfo):
    def utcoffset(self, _: object) -> Any:
        raise KeyError("no offset")


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@given(ANY_TEXT)
def test_any_text_becomes_storable(text: str) -> None:
    cleaned = clean_text(text, 50)
    assert "\0" not in cleaned
    assert orjson.loads(orjson.dumps(cleaned)) == cleaned
    assert len(cleaned) <= min(len(text), 50)
    if text.isascii() and "\0" not in text:
        assert cleaned == text[:50]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("a\0b", "a\ufffdb"),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "\N{GRINNING FACE}"),
        (Overridden("plain"), "plain"),
        (ValueError("boom"), "boom"),
        *(
            (Unreadable(error), "<Unreadable without a readable text>")
            for error in (KeyError(1), SystemExit(1), KeyboardInterrupt(), GeneratorExit())
        ),
    ],
)
def test_what_is_not_text_is_repaired(value: object, text: str) -> None:
    assert clean_text(value, 60) == text


def test_a_long_text_is_cut() -> None:
    assert clean_text(10**5_000, 60) == "<int without a readable text>"
    assert clean_text("x" * 100, 7) == "x" * 7


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (object(), "not JSON serializable: object"),
        ({1: 2}, "Dict key must be str"),
        ({"set": {1}}, "not JSON serializable: set"),
        (2**70, "64-bit"),
        (-(2**70), "64-bit"),
        ("\ud800", "surrogates"),
        (math.nan, "NaN"),
        ([1, {"a": math.inf}], "NaN"),
        ({"a": None, "b": -math.inf}, "NaN"),
        (Point(math.nan), "NaN"),
        (cyclic(), "cyclic or nested deeper than 200"),
        (Point(cyclic()), "cyclic or nested deeper than 200"),
        (nested(MAX_DEPTH + 1), "nested deeper than 200"),
        ("x" * ROOM, "at most 1024"),
        (dt.datetime(2026, 1, 1, tzinfo=NoOffset()), "no offset"),
    ],
)
def test_what_json_does_not_have_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(InvalidValue, match=reason):
        encode_value(value, ROOM)


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -(2**63), 2**64 - 1, 1.5, "a\0b", [None], {"a": None}, nested(MAX_DEPTH)],
)
def test_json_is_stored_as_it_is(value: Any) -> None:
    assert orjson.loads(encode_value(value, ROOM)) == value


def test_many_brackets_are_no_depth() -> None:
    assert encode_value([[]] * (MAX_DEPTH + 1), ROOM).count(b"[]") == MAX_DEPTH + 1


def test_dataclasses_and_times_are_stored_as_objects_and_texts() -> None:
    at = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    assert encode_value(Point(at), ROOM) == b'{"x":"2026-01-02T03:04:05+00:00"}'


@given(ANY_VALUE)
def test_a_value_is_stored_exactly_or_refused(value: Any) -> None:
    try:
        encoded = encode_value(value, 100_000)
    except InvalidValue:
        return
    assert orjson.loads(encoded) == value
