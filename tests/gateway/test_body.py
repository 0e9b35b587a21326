"""Strict JSON, without a server."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MalformedBody
from gateway.strict_json import BULK, DOCUMENT, INT_MAX, INT_MIN, NAME_CHARS_MAX, SMALL, parse

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
    brackets = [[[]] * 9_999] * 4 + [[[]] * 9_997]
    assert parse(orjson.dumps(brackets)) == brackets
    for text in (orjson.dumps([*brackets, {}, {}]), b"[" * DOCUMENT.containers + b'"]\\\\"['):
        with pytest.raises(MalformedBody, match="50000 objects and arrays") as refused:
            parse(text)
        assert refused.value.faults[0].pointer == ""
    words = ['[[{ \\" [{' * DOCUMENT.containers, "\\", "[", {}]
    assert parse(orjson.dumps(words)) == words, "brackets in strings are text"


def test_values_are_counted_before_they_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    loads = orjson.loads
    monkeypatch.setattr(orjson, "loads", lambda body: (parsed.append(len(body)), loads(body))[1])
    part = [0] * 10_000
    for bounds in (DOCUMENT, BULK):
        many = [part] * (bounds.values // len(part))
        assert parse(orjson.dumps(many), bounds) == many
        parsed.clear()
        with pytest.raises(MalformedBody, match=f"{bounds.values} members and elements"):
            parse(orjson.dumps([*many, part]), bounds)
        assert parsed == []
    commas = {"csv": '1,"2",' * DOCUMENT.values}
    assert parse(orjson.dumps(commas)) == commas, "commas in strings are text"


def test_one_object_or_array_holds_a_bounded_number() -> None:
    for many in ([0] * DOCUMENT.entries, {str(n): 0 for n in range(DOCUMENT.entries)}):
        assert parse(orjson.dumps({"data": many})) == {"data": many}
    for few_more in ([0] * (DOCUMENT.entries + 1), {str(n): 0 for n in range(20_001)}):
        with pytest.raises(MalformedBody, match="20000 members or elements in one"):
            parse(orjson.dumps({"data": few_more}))
    with pytest.raises(MalformedBody, match="2000 members and elements"):
        parse(orjson.dumps([0] * (SMALL.entries + 2)), SMALL)


@pytest.mark.parametrize("letter", ["n", '"', "\\", "\u00fc", "\n", "\U0001f600"])
def test_names_of_members_are_short_and_texts_may_be_long(letter: str) -> None:
    name = letter * NAME_CHARS_MAX
    for fits in ({name: 1}, {"a": [{name: {name: letter}}]}, [letter * 5_000, ": " * 5_000]):
        assert parse(orjson.dumps(fits)) == fits
    for place in ({name + "x": 1}, {"a": [{name: {name + "x": letter}}]}):
        with pytest.raises(MalformedBody, match="longer than 1024 characters"):
            parse(orjson.dumps(place))
