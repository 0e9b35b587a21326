"""What the keywords of a JSON Schema have evaluated, for `unevaluatedProperties` and
`unevaluatedItems` (JSON Schema 2020-12 core, 11; 2019-09 core, 9.3).

The jsonschema library finds this by a walk that no keyword pays for: 40 references that each name
the next one twice take 2^40 visits. Here each visit is charged to the meter of the validation.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from referencing.jsonschema import lookup_recursive_ref

if TYPE_CHECKING:
    from credentials.metered import Meter

VISIT_STEPS = 8
"""What a visit of a subschema costs, in steps of `metered.Meter`."""
ITEM_STEPS = 3
"""What it costs to look at one item or member of an instance."""


def evaluated_properties(
    validator: Any, instance: Mapping[str, Any], schema: Any, meter: "Meter"
) -> set[str]:
    """The names of members that `schema`, apart from its own `unevaluatedProperties`, evaluates.

    Raises TooCostly.
    """
    found: set[str] = set()
    for _, part in _applied(validator, instance, schema, meter):
        meter.spend(len(part))
        rest = "additionalProperties" in part
        if rest or ("unevaluatedProperties" in part and part is not schema):
            return set(instance)
        found |= instance.keys() & part.get("properties", {}).keys()
        for pattern in part.get("patternProperties", ()):
            found |= {name for name in instance if meter.found(pattern, name, unknown=True)}
    return found


def evaluated_items(validator: Any, instance: list[Any], schema: Any, meter: "Meter") -> set[int]:
    """The indexes of items that `schema`, apart from its own `unevaluatedItems`, evaluates.

    Raises TooCostly.
    """
    found: set[int] = set()
    is_2019 = "$recursiveRef" in validator.VALIDATORS
    for each, part in _applied(validator, instance, schema, meter):
        listed = part.get("items" if is_2019 else "prefixItems")
        rest = "additionalItems" if is_2019 and isinstance(listed, list) else "items"
        if rest in part or ("unevaluatedItems" in part and part is not schema):
            return set(range(len(instance)))
        if isinstance(listed, list):
            found |= set(range(min(len(listed), len(instance))))
        if "contains" in part and not is_2019:  # where it evaluates nothing
            meter.spend(ITEM_STEPS * len(instance))
            contained = each.evolve(schema=part["contains"])
            found |= {index for index, item in enumerate(instance) if contained.is_valid(item)}
    return found


def _applied(
    validator: Any, instance: Any, schema: Any, meter: "Meter"
) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    """`schema` and the subschemas that apply to the same instance and hold, each with its
    validator."""
    if not isinstance(schema, Mapping):
        return
    meter.spend(VISIT_STEPS)
    yield validator, schema
    meter.enter()
    try:
        for target in _targets(validator, schema):
            meter.spend(VISIT_STEPS)
            there = validator.evolve(schema=target.contents, _resolver=target.resolver)
            yield from _applied(there, instance, target.contents, meter)
        for part in _branches(validator, instance, schema):
            yield from _applied(validator, instance, part, meter)
    finally:
        meter.leave()


def _targets(validator: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    for name in ("$ref", "$dynamicRef"):
        if name in schema and name in validator.VALIDATORS:
            yield validator._resolver.lookup(schema[name])  # noqa: SLF001 - as its keywords do
    if "$recursiveRef" in schema and "$recursiveRef" in validator.VALIDATORS:
        yield lookup_recursive_ref(validator._resolver)  # noqa: SLF001


def _branches(validator: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    if isinstance(instance, Mapping):
        for name, part in schema.get("dependentSchemas", {}).items():
            if name in instance:
                yield part
    for keyword in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(keyword, ()):
            if _holds(validator, instance, part):
                yield part
    if "if" in schema:
        if _holds(validator, instance, schema["if"]):
            yield schema["if"]
            yield schema.get("then")
        else:
            yield schema.get("else")


def _holds(validator: Any, instance: Any, schema: Any) -> bool:
    return next(validator.descend(instance, schema), None) is None
