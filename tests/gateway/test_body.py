"""Strict JSON, without a server."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.body import CONTAINERS_MAX, INT_MAX, INT_MIN, parse
from gateway.errors import MalformedBody

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(INT_MIN, INT_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(DOCUMENTS)
def test_every_document_is_read_as_written_however_it_is_spaced(document: Any) -> None:
    as_python_does, with_lines = json.dumps(document), json.dumps(document, indent=1)
    for text in (orjson.dumps(document), as_python_does.encode(), with_lines.encode()):
        assert parse(text) == document


@given(st.dictionaries(TEXT, LEAVES, min_size=1, max_size=4), st.data())
def test_a_member_that_occurs_twice_is_refused(members: dict[str, Any], data: Any) -> None:
    name = data.draw(st.sampled_from(sorted(members)))
    twice = [*members.items(), (name, data.draw(LEAVES))]
    text = ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in twice)
    with pytest.raises(MalformedBody, match="twice"):
        parse(f'[{{"x":{{{text}}}}}]'.encode())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":1}x',
        b'{"a":1}{"a":1}',
        b"[01]",
        b"[+1]",
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b"[18446744073709551616]",
        b"[-9223372036854775809]",
        b"[" + b"9" * 5_000 + b"]",
        b'["\xff"]',
        b'["\\ud800"]',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
)
def test_what_is_not_strict_json_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedBody):
        parse(text)


def test_64_levels_and_64_bits_are_kept_exactly() -> None:
    deep = b"[" * 64 + b"]" * 64
    assert orjson.dumps(parse(deep)) == deep
    assert parse(b"[18446744073709551615, -9223372036854775808]") == [INT_MAX, INT_MIN]


def test_many_brackets_are_not_a_deep_document() -> None:
    wide: list[Any] = [{"a": []} for _ in range(1_000)]
    assert parse(orjson.dumps(wide)) == wide
    assert parse(orjson.dumps("[{" * 1_000)) == "[{" * 1_000


def test_a_document_of_more_containers_than_there_is_time_for_is_refused() -> None:
    brackets = [[]] * (CONTAINERS_MAX - 1)
    assert parse(orjson.dumps(brackets)) == brackets
    for text in (orjson.dumps([*brackets, {}]), b"[" * CONTAINERS_MAX + b'"]\\\\"['):
        with pytest.raises(MalformedBody, match="50000 objects and arrays") as refused:
            parse(text)
        assert refused.value.faults[0].pointer == ""
    words = ['[[{ \\" [{' * CONTAINERS_MAX, "\\", "[", {}]
    assert parse(orjson.dumps(words)) == words, "brackets in strings are text"
