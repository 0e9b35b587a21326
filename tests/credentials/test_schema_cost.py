"""What judging by a stranger's schema costs: calls are counted, not time."""

from collections.abc import Callable
from typing import Any

import pytest
from call_counts import count_calls

from credentials.metered import Meter, TooCostly, faults, is_multiple, metered
from credentials.schema_validation import validate
from credentials.verdict import Invalid

LATEST = "https://json-schema.org/draft/2020-12/schema"
EARLIER = "https://json-schema.org/draft/2019-09/schema"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"
LEVELS = 40
SMALL = {"x": [0, 1], "o": {"p": 1}, "t": "a"}
WIDE: dict[str, Any] = {"x": [0] * 100_000, "o": {f"k{n}": 0 for n in range(20_000)}}


def schema(dialect: str = LATEST, **keywords: Any) -> dict[str, Any]:
    return {"$schema": dialect, "$id": "https://schema.example/x", **keywords}


def doubled(part: Callable[[str], dict[str, Any]], last: Any, **first: Any) -> dict[str, Any]:
    """Each of 40 definitions names the next one as often as `part` does."""
    parts = {f"d{n}": part(f"#/$defs/d{n + 1}") for n in range(LEVELS)}
    return schema(**{**first, "$ref": "#/$defs/d0", "$defs": {**parts, f"d{LEVELS}": last}})


def twice(keyword: str) -> Callable[[str], dict[str, Any]]:
    return lambda target: {keyword: [{"$ref": target}] * 2}


UNEVALUATED = {"unevaluatedProperties": True}
IN_BOTH = {"$dynamicAnchor": "a"}
BOMBS = {
    "allOf": doubled(twice("allOf"), {}),
    "anyOf": doubled(twice("anyOf"), {"type": "string"}),
    "oneOf": doubled(twice("oneOf"), {}),
    "not": doubled(lambda t: {"not": {"$ref": t}, "allOf": [{"$ref": t}]}, {}),
    "if": doubled(lambda t: {"if": {"$ref": t}, "then": {"$ref": t}}, {}),
    "walk allOf": doubled(twice("allOf"), {}, **UNEVALUATED),
    "walk each": doubled(lambda t: UNEVALUATED | twice("allOf")(t), {}),
    "walk two references": doubled(lambda t: {"$ref": t, "$dynamicRef": t}, {}, **UNEVALUATED),
    "walk dependentSchemas": doubled(
        lambda t: {"dependentSchemas": {"x": {"$ref": t}, "t": {"$ref": t}}}, {}, **UNEVALUATED
    ),
    "walk if": doubled(lambda t: {"if": {"$ref": t}, "then": {"$ref": t}}, {}, **UNEVALUATED),
    "walk items": schema(
        **{"$defs": doubled(lambda t: {"$ref": t, "$dynamicRef": t}, {})["$defs"]},
        properties={"x": {"unevaluatedItems": True, "$ref": "#/$defs/d0"}},
    ),
    "2019-09": doubled(lambda t: {"$ref": t, "allOf": [{"$ref": t}]}, {}, **UNEVALUATED)
    | {"$schema": EARLIER},
    "2019-09 recursive": schema(
        EARLIER, unevaluatedProperties=True, allOf=[{"$recursiveRef": "#"}] * 2
    ),
    "draft 7": schema(DRAFT_7, allOf=[{"$ref": "#/definitions/d0"}])
    | {
        "definitions": {
            f"d{n}": {"allOf": [{"$ref": f"#/definitions/d{n + 1}"}] * 2} for n in range(LEVELS)
        }
        | {f"d{LEVELS}": {}}
    },
    "dynamic": schema(
        **{
            "$dynamicRef": "#a0",
            "$defs": {
                f"d{n}": {"$dynamicAnchor": f"a{n}", "allOf": [{"$dynamicRef": f"#a{n + 1}"}] * 2}
                for n in range(LEVELS)
            }
            | {"last": {"$dynamicAnchor": f"a{LEVELS}"}},
        }
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_references_that_double(name: str) -> None:
    def judge() -> None:
        with pytest.raises(Invalid) as refusal:
            validate(BOMBS[name], SMALL)
        assert refusal.value.code == "SCHEMA_INDETERMINATE"

    count_calls(judge)


def _pointer(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(levels):
        inner = {"a": {"$defs": inner}}
    target = "#/" + "/".join(["$defs", "a"] * levels)
    return schema(
        **{"$defs": inner}, properties={"x": {"items": {"allOf": [{"$ref": target}] * 50}}}
    )


COSTLY = {
    "long pointers": _pointer(20),
    **{
        f"{keyword} of empty schemas": schema(properties={"x": {"allOf": [{keyword: {}}] * 200}})
        for keyword in ("items", "unevaluatedItems", "contains")
    },
    **{
        f"{keyword} of empty schemas": schema(properties={"o": {"allOf": [{keyword: {}}] * 200}})
        for keyword in ("additionalProperties", "propertyNames", "unevaluatedProperties")
    },
    "patterns": schema(
        properties={"o": {"allOf": [{"patternProperties": {f"{n}$": {}}} for n in range(200)]}}
    ),
    "walk patterns": schema(
        properties={
            "o": {
                "unevaluatedProperties": True,
                "allOf": [{"patternProperties": {f"k{n}$": {}}} for n in range(200)],
            }
        }
    ),
    "walk contains": schema(
        properties={
            "x": {"unevaluatedItems": True, "allOf": [{"contains": {}}] * 200},
        }
    ),
    "errors": schema(properties={"x": {"items": {"anyOf": [{"type": "string"}] * 20}}}),
    "empty schemas": schema(allOf=[{"allOf": [{}] * 300}] * 300),
}


@pytest.mark.parametrize("name", COSTLY)
def test_many_items_and_many_keywords(name: str) -> None:
    def judge() -> None:
        with pytest.raises(Invalid) as refusal:
            validate(COSTLY[name], WIDE)
        assert refusal.value.code == "SCHEMA_INDETERMINATE"

    count_calls(judge)


@pytest.mark.parametrize("name", ["walk two references", "walk dependentSchemas", "allOf"])
def test_a_registered_schema_costs_no_more(name: str) -> None:
    from jsonschema.validators import Draft202012Validator
    from referencing import Registry

    body = {k: v for k, v in BOMBS[name].items() if k not in ("$schema", "$id")}
    validator = metered(Draft202012Validator)(body, registry=Registry())
    with pytest.raises(TooCostly):
        count_calls(
            lambda: faults(validator, SMALL, Meter(SMALL, 100_000, lenient=True), 10) and None
        )


@pytest.mark.parametrize(
    ("dialect", "keywords", "instance", "conforms"),
    [
        (LATEST, {"properties": {"a": True}}, {"a": 1}, True),
        (LATEST, {"properties": {"a": True}}, {"b": 1}, False),
        (LATEST, {"allOf": [{"properties": {"a": True}}]}, {"a": 1}, True),
        (LATEST, {"anyOf": [{"properties": {"a": {"type": "null"}}}, True]}, {"a": 1}, False),
        (LATEST, {"$ref": "#/$defs/p"}, {"a": 1}, True),
        (LATEST, {"$dynamicRef": "#p"}, {"a": 1}, True),
        (LATEST, {"additionalProperties": {"type": "number"}}, {"z": 1}, True),
        (LATEST, {"patternProperties": {"^a": True}}, {"ab": 1}, True),
        (LATEST, {"patternProperties": {"^a": True}}, {"ba": 1}, False),
        (LATEST, {"dependentSchemas": {"a": {"properties": {"a": True}}}}, {"a": 1}, True),
        (LATEST, {"if": {"properties": {"a": {"const": 1}}}, "then": True}, {"a": 1}, True),
        (LATEST, {"if": False, "else": {"properties": {"a": True}}}, {"a": 1}, True),
        (LATEST, {"if": False, "then": {"properties": {"a": True}}}, {"a": 1}, False),
        (LATEST, {"allOf": [{"unevaluatedProperties": True}]}, {"a": 1}, True),
        (LATEST, {"not": {"properties": {"a": {"type": "null"}}}}, {"a": 1}, False),
        (EARLIER, {"properties": {"a": True}}, {"b": 1}, False),
        (EARLIER, {"additionalProperties": {"type": "number"}}, {"z": 1}, True),
        (EARLIER, {"$ref": "#/$defs/p"}, {"a": 1}, True),
    ],
)
def test_unevaluated_properties(
    dialect: str, keywords: dict[str, Any], instance: Any, conforms: bool
) -> None:
    part = {"properties": {"a": True}, **({"$dynamicAnchor": "p"} if dialect == LATEST else {})}
    for value in (False, {"type": "null"}):
        body = schema(
            dialect,
            **{"$defs": {"p": part}},
            properties={"v": {**keywords, "unevaluatedProperties": value}},
        )
        assert does_conform(body, {"v": instance}) is conforms
    body["properties"]["v"]["unevaluatedProperties"] = {"type": "number"}
    assert does_conform(body, {"v": instance})


@pytest.mark.parametrize(
    ("dialect", "keywords", "instance", "conforms"),
    [
        (LATEST, {}, [], True),
        (LATEST, {}, [1], False),
        (LATEST, {"prefixItems": [True]}, [1], True),
        (LATEST, {"prefixItems": [True]}, [1, 2], False),
        (LATEST, {"prefixItems": [True], "items": True}, [1, 2], True),
        (LATEST, {"contains": {"const": 1}}, [1, 1], True),
        (LATEST, {"contains": {"const": 1}}, [1, 2], False),
        (LATEST, {"allOf": [{"prefixItems": [True]}, {"contains": {"const": 2}}]}, [1, 2], True),
        (LATEST, {"anyOf": [{"items": {"type": "null"}}, True]}, [1], False),
        (LATEST, {"allOf": [{"unevaluatedItems": True}]}, [1], True),
        (EARLIER, {"items": [True]}, [1], True),
        (EARLIER, {"items": [True]}, [1, 2], False),
        (EARLIER, {"items": [True], "additionalItems": True}, [1, 2], True),
        (EARLIER, {"additionalItems": True}, [1], False),
        (EARLIER, {"items": {"type": "number"}}, [1, 2], True),
        (EARLIER, {"items": True}, [1, 2], True),
        (EARLIER, {"contains": {"const": 1}}, [1], False),
    ],
)
def test_unevaluated_items(
    dialect: str, keywords: dict[str, Any], instance: Any, conforms: bool
) -> None:
    for value in (False, {"type": "null"}):
        body = schema(dialect, properties={"v": {**keywords, "unevaluatedItems": value}})
        assert does_conform(body, {"v": instance}) is conforms
    body["properties"]["v"]["unevaluatedItems"] = {"type": "number"}
    assert does_conform(body, {"v": instance})


def does_conform(body: dict[str, Any], instance: Any) -> bool:
    try:
        validate(body, instance)
    except Invalid as refusal:
        assert refusal.code == "SCHEMA_VALIDATION_ERROR", refusal
        return False
    return True


def test_multiples_are_exact() -> None:
    for hundredths in range(10_001):
        text = f"{hundredths // 100}.{hundredths % 100:02}"
        assert is_multiple(float(text), 0.01), text
        assert not is_multiple(float(f"{text}1"), 0.01), text


@pytest.mark.parametrize(
    ("value", "divisor", "expected"),
    [
        (0, 0.01, True),
        (-0.0, 7, True),
        (-0.07, 0.01, True),
        (4.02, 0.01, True),
        (0.3, 0.1, True),
        (0.30000000000000004, 0.1, False),
        (1, 3, False),
        (9007199254740993, 2, False),
        (2**64 - 1, 5, True),
        (1e308, 1e-308, True),
        (1e308, 3, False),
        (1.7976931348623157e308, 5e-324, True),
        (5e-324, 1.7976931348623157e308, False),
        (1.5, 0.5, True),
        (1e22, 0.1, True),
        (3.5, 1e300, False),
    ],
)
def test_multiples_of_any_size(value: float, divisor: float, expected: bool) -> None:
    assert is_multiple(value, divisor) is expected
