"""Bodies over the whole domain of bytes that may call themselves JSON."""

import json

from hypothesis import strategies as st

HEX = "0123456789abcdefABCDEF"
SURROGATES = st.integers(0xD800, 0xDFFF).map(lambda code: f'"\\u{code:04x}"')
ESCAPES = st.text(HEX, min_size=4, max_size=4).map(lambda code: f'"\\u{code}"')
ANY_TEXT = st.text(max_size=30).map(lambda text: json.dumps(text, ensure_ascii=False))
"""Every character there is, among them NUL, but for surrogates, which bytes in UTF-8 cannot be."""
DIGITS = st.from_regex(r"-?[0-9]{1,400}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,5})?", fullmatch=True)
NUMBERS = DIGITS | st.sampled_from(
    [*("NaN", "Infinity", "-Infinity", "1e400", "-0", "0.0", "18446744073709551616", "01", "+1")]
)
LEAVES = SURROGATES | ESCAPES | ANY_TEXT | NUMBERS | st.sampled_from(["null", "true", "false"])
NAMES = (
    ANY_TEXT
    | SURROGATES
    | st.sampled_from(
        [
            '"data"',
            '"options"',
            '"name"',
            '"jobId"',
            '"organizationId"',
            '"__proto__"',
            '"ids"',
            '""',
        ]
    )
)
"""Few names often, so that they occur twice."""


def _array(items: list[str]) -> str:
    return f"[{','.join(items)}]"


def _object(members: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{name}:{value}" for name, value in members) + "}"


def _containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    arrays = st.lists(inner, max_size=5).map(_array)
    return arrays | st.lists(st.tuples(NAMES, inner), max_size=5).map(_object)


TREES = st.recursive(LEAVES, _containers, max_leaves=25)
DEEP = st.tuples(st.sampled_from(["[", '{"a":']), st.integers(1, 3_000), st.booleans()).map(
    lambda one: one[0] * one[1] + "1" * one[2] + ("]" if one[0] == "[" else "}") * one[1]
)
WIDE = st.tuples(LEAVES, st.integers(1, 30_000)).map(lambda one: _array([one[0]] * one[1]))
MANY = st.integers(1, 5_000).map(lambda n: _object([(f'"m{i}"', "1") for i in range(n)]))
LONG_NAMES = st.integers(1, 3_000).map(lambda n: _object([(f'"{"n" * n}"', "1")]))
VALUES = TREES | DEEP | WIDE | MANY | LONG_NAMES
BROKEN = st.tuples(TREES, st.integers(0, 40)).map(lambda one: one[0][: -one[1] or None])
BODIES = (
    VALUES.map(str.encode)
    | BROKEN.map(str.encode)
    | st.binary(max_size=200)
    | VALUES.map(lambda text: text.encode("utf-16"))
)


def within(template: str) -> st.SearchStrategy[bytes]:
    """A document of our own in which somebody else's value stands in the place of HERE."""
    return VALUES.map(lambda text: template.replace('"HERE"', text).encode())
