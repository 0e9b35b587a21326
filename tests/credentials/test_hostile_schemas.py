"""Schemas made to hold a thread, to break the library or to get a yes: each ends with a code or a
verdict, within a number of calls."""

import json
from typing import Any

import pytest
from call_counts import count_calls
from judging import Bench
from minting import Issuer

from credentials.schema_validation import validate
from credentials.verdict import Invalid

URL = "https://schema.example/hostile"
DIALECTS = {
    "2020-12": "https://json-schema.org/draft/2020-12/schema",
    "2019-09": "https://json-schema.org/draft/2019-09/schema",
    "7": "http://json-schema.org/draft-07/schema#",
}
NO = {"SCHEMA_MALFORMED", "SCHEMA_INDETERMINATE", "SCHEMA_VALIDATION_ERROR"}
ISSUER = Issuer()
INSTANCE = {
    "x": [0, [1, [2]], {"a": "b"}] * 50,
    "o": {f"k{n}": {"n": n, "t": "a" * n} for n in range(100)},
    "t": "a" * 4_000,
    "f": 1e308,
    "s": 5e-324,
    "b": True,
    "u": "\U0001f600" * 100,
    "": {"": {"": 1}},
    "__proto__": 1,
    "$ref": "#",
}


def nested(keyword: str, levels: int, last: Any = True) -> Any:
    for _ in range(levels):
        last = {keyword: [last] if keyword.endswith("Of") else last}
    return last


def chain(count: int, **last: Any) -> dict[str, Any]:
    links: dict[str, Any] = {f"c{n}": {"$ref": f"#/$defs/c{n + 1}"} for n in range(count)}
    return {"$ref": "#/$defs/c0", "$defs": {**links, f"c{count}": last}}


WIDE = [{"const": n} for n in range(2_000)]
SCHEMAS: dict[str, dict[str, Any]] = {
    # References: in circles, to nowhere, out, and in odd spellings.
    "itself": {"$ref": "#"},
    "itself by all": {"allOf": [{"$ref": "#"}]},
    "two in a circle": {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
    },
    "circle in not": {"not": {"$ref": "#"}},
    "circle in if": {"if": {"$ref": "#"}, "then": {"$ref": "#"}},
    "circle in propertyNames": {"propertyNames": {"$ref": "#"}, "maxLength": 3},
    "circle in unevaluated": {"unevaluatedProperties": {"$ref": "#"}, "allOf": [{"$ref": "#"}]},
    "long chain": chain(2_000),
    "nowhere": {"$ref": "#/$defs/none"},
    "into a number": {"$ref": "#/maximum", "maximum": 5},
    "into a list": {"$ref": "#/allOf", "allOf": [True]},
    "into a list by name": {"$ref": "#/allOf/x", "allOf": [True]},
    "negative index": {"$ref": "#/allOf/-1", "allOf": [True]},
    "huge index": {"$ref": "#/allOf/" + "9" * 5_000, "allOf": [True]},
    "index in other digits": {"$ref": "#/allOf/\u0660", "allOf": [True]},
    "broken percent": {"$ref": "#/%zz"},
    "broken tilde": {"$ref": "#/~5"},
    "pointer of slashes": {"$ref": "#" + "/" * 20_000},
    "many pointers of slashes": {"allOf": [{"$ref": "#" + "/" * 500}] * 100},
    "anchor with a slash": {"$ref": "#a/b"},
    "no text": {"$ref": 5},
    "a list of references": {"$ref": ["#"]},
    "out": {"$ref": "https://evil.example/x"},
    "out by protocol": {"$ref": "//evil.example/x"},
    "out by path": {"$ref": "/x"},
    "file": {"$ref": "file:///etc/passwd"},
    "urn": {"$ref": "urn:x:y"},
    "out of a part": {"properties": {"x": {"items": {"$ref": "x.json#/a"}}}},
    "out, dynamic": {"$dynamicRef": "https://evil.example/x#a"},
    "out, recursive": {"$recursiveRef": "https://evil.example/"},
    "metaschema": {"$ref": "https://json-schema.org/draft/2020-12/schema"},
    "metaschema vocabulary": {"$ref": "https://json-schema.org/draft/2020-12/meta/core"},
    "an id inside": {"$defs": {"a": {"$id": "https://evil.example/"}}},
    "a schema inside": {"$defs": {"a": {"$schema": "http://json-schema.org/draft-03/schema#"}}},
    "dynamic anchors by the hundred": {
        "$defs": {f"d{n}": {"$dynamicAnchor": "a"} for n in range(500)},
        "allOf": [{"$dynamicRef": "#a"}] * 200,
    },
    "dynamic circle": {"$dynamicAnchor": "a", "allOf": [{"$dynamicRef": "#a"}]},
    "dynamic circle in unevaluated": {
        "$dynamicAnchor": "a",
        "unevaluatedItems": False,
        "unevaluatedProperties": False,
        "anyOf": [{"$dynamicRef": "#a"}],
    },
    "recursive circle": {"$recursiveAnchor": True, "anyOf": [{"$recursiveRef": "#"}]},
    # Depth and width.
    **{
        f"deep {keyword}": nested(keyword, 60, {"type": "string"})
        for keyword in ("allOf", "anyOf", "oneOf", "not", "if", "contains", "propertyNames")
    },
    "deep unevaluatedProperties": {"properties": {"o": nested("unevaluatedProperties", 50, False)}},
    "deep unevaluated by all": {
        "properties": {
            "o": nested("allOf", 15, {"unevaluatedProperties": False})
        }
    },
    "wide anyOf": {"properties": {"t": {"anyOf": WIDE}}},
    "wide oneOf": {"properties": {"x": {"items": {"oneOf": WIDE}}}},
    "wide enum": {"properties": {"x": {"items": {"enum": list(range(1, 9_000))}}}},
    "wide required": {"required": [f"r{n}" for n in range(9_000)]},
    "closed": {"additionalProperties": False, "properties": {f"r{n}": 0 for n in range(9)}},
    "wide dependentSchemas": {"dependentSchemas": {"t": {"anyOf": WIDE}}},
    "wide dependencies": {"dependencies": {"t": {"anyOf": WIDE}, "x": ["none"]}},
    # Patterns.
    **{
        f"pattern {pattern[:20]!r}": {"properties": {"t": {"pattern": pattern}}}
        for pattern in (
            "^(a+)+$!", "^(a|a)*$!", "(a*)*b", "^(a|aa)+$!", "(?=a)", "(?<!a)a", r"(a)\1", r"\1",
            "(?P<n>a)(?P=n)", "(?#x)a", "(?i)A", "[", "(", "a{2,1}", "a{1001}", "(a{60}){60}",
            "((a{20}){20}){20}", "a{999999999999}", "\\", "\ud800", "[\\w-z]", "(?:" * 400,
            "|" * 900, "\\p{Cs}", "\\u{110000}", "[^]", "a**", "+", "\x00b", "(?R)", "(*FAIL)",
            ".*" * 400 + "b", "(.{1,50}){1,50}b", "\\Z", "(?<a>a)\\k<a>",
        )
    },
    "patterns by the hundred": {
        "properties": {"o": {"patternProperties": {f"^(a|k)*{n}b": False for n in range(300)}}}
    },
    "unevaluated patterns": {
        "patternProperties": {"^(.*)*$!": True},
        "unevaluatedProperties": False,
    },
    # Values that a keyword cannot have, and numbers at the edges.
    **{
        f"{keyword} {value!r}": {"properties": {name: {keyword: value}}}
        for keyword, name, value in (
            ("multipleOf", "f", 0), ("multipleOf", "f", -1), ("multipleOf", "s", 1e308),
            ("multipleOf", "f", 3), ("multipleOf", "b", 0.5), ("minimum", "f", "1"),
            ("maximum", "s", 0), ("minLength", "u", 101), ("maxLength", "u", 99), ("type", "x", []),
            ("type", "x", "tuple"), ("type", "x", ["string", "string"]), ("enum", "x", []),
            ("enum", "x", "abc"), ("items", "x", 5), ("minItems", "x", -1), ("minItems", "x", 1e3),
            ("contains", "x", None), ("uniqueItems", "x", True), ("required", "o", "k1"),
            ("properties", "o", []), ("dependentRequired", "o", {"k1": ["none"]}),
            ("minProperties", "o", 101), ("additionalProperties", "o", "no"), ("const", "x", None),
            ("allOf", "x", []), ("allOf", "x", {}), ("if", "x", []), ("not", "x", True),
            ("patternProperties", "o", {"(": True}), ("propertyNames", "o", False),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_ends_with_an_answer(name: str, dialect: str) -> None:
    body = {"$schema": DIALECTS[dialect], "$id": URL, **SCHEMAS[name]}

    def judge() -> None:
        try:
            assert validate(body, INSTANCE) > 0
        except Invalid as refusal:
            assert refusal.code in NO
            assert str(refusal).endswith(".")
            assert len(str(refusal)) < 400

    count_calls(judge)


@pytest.mark.parametrize("name", SCHEMAS)
async def test_a_credential_with_such_a_schema_gets_a_verdict(name: str) -> None:
    body = {"$schema": DIALECTS["2020-12"], "$id": URL, **SCHEMAS[name]}
    try:
        text = json.dumps(body)
    except (ValueError, RecursionError):
        pytest.skip("no JSON")
    made = ISSUER.v20(
        credentialSubject=INSTANCE, credentialSchema={"id": URL, "type": "JsonSchema"}
    )
    verdict = await Bench(bodies={URL: text}).judge(made)
    assert verdict.valid or verdict.code in NO
