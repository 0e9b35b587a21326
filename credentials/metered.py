"""JSON Schema at a bounded price: the keywords of the jsonschema library, each call paid for.

Regular expressions run in linear time (`patterns`), and unique items are found without comparing
each with each. Whoever judges says how many steps it may cost, and what a pattern means that the
engine does not know.
"""

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from jsonschema import validators
from jsonschema.exceptions import ValidationError

from credentials.patterns import MAX_TEXT_CHARS, PatternRefused, searches, states

REFERENCES = {"$ref", "$dynamicRef", "$recursiveRef"}


class TooCostly(Exception):
    """The steps are used up; whether the instance conforms is not known."""


class Meter:
    """What is left to spend on one validation, and how much there is to look at.

    `steps`: one takes one to seven microseconds. `lenient`: a pattern that the engine does not know
    says nothing, and texts may have any length; otherwise both raise PatternRefused.
    """

    def __init__(self, instance: Any, steps: int, *, lenient: bool = False) -> None:
        self.left = steps
        self.lenient = lenient
        self._weights: dict[int, int] = {}
        self._weigh(instance)

    def spend(self, steps: int) -> None:
        """Raises TooCostly when the budget is used up."""
        self.left -= steps
        if self.left < 0:
            raise TooCostly("judging by this schema takes too long")

    def weight(self, instance: Any) -> int:
        """About how many values `instance` holds; long strings count for more."""
        if isinstance(instance, str):
            return 1 + len(instance) // 64
        return self._weights.get(id(instance), 1)

    def found(self, pattern: str, text: str, *, unknown: bool) -> bool:
        """Whether `pattern` occurs in `text`; `unknown`: what is said when nobody can tell."""
        try:
            self.spend(1 + states(pattern) * len(text) // MAX_TEXT_CHARS)
            return searches(pattern, text, None if self.lenient else MAX_TEXT_CHARS)
        except PatternRefused:
            if self.lenient:
                return unknown
            raise

    def _weigh(self, value: Any) -> int:
        if not isinstance(value, dict | list):
            return self.weight(value)
        items = value.values() if isinstance(value, dict) else value
        weight = self._weights[id(value)] = 1 + sum(map(self._weigh, items))
        return weight


_meter: ContextVar[Meter] = ContextVar("meter")


def metered(library: Any) -> Any:
    """A validator class like `library`, for use within `faults` only."""
    keywords = dict(library.VALIDATORS) | {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    paid = {name: _paid(name, keyword) for name, keyword in keywords.items()}
    return validators.extend(library, validators=paid)  # type: ignore[no-untyped-call]


def faults(validator: Any, instance: Any, meter: Meter, most: int) -> list[ValidationError]:
    """What a `metered` validator has against `instance`, at most `most` of it.

    Raises TooCostly, PatternRefused, and what the library raises for schemas that are none.
    """
    token = _meter.set(meter)
    try:
        found = validator.iter_errors(instance)
        return [fault for _, fault in zip(range(most), found, strict=False)]
    finally:
        _meter.reset(token)


def _paid(name: str, keyword: Callable[..., Any]) -> Callable[..., Iterator[ValidationError]]:
    def paid(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        meter = _meter.get()
        meter.spend(_cost(name, value) * (1 + meter.weight(instance) // 64))
        yield from keyword(validator, value, instance, schema) or ()

    return paid


def _cost(name: str, value: Any) -> int:
    if name in REFERENCES and isinstance(value, str) and not value.startswith("#/"):
        return 20  # an anchor, looked for in every scope entered so far
    if isinstance(value, list | dict):
        return 1 + len(value)
    return 1


def _pattern(_validator: Any, pattern: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    if isinstance(instance, str) and not _meter.get().found(pattern, instance, unknown=True):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, properties: Any, instance: Any, _schema: Any
) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    for pattern, subschema in properties.items():
        for name, value in instance.items():
            if _meter.get().found(pattern, name, unknown=False):
                yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, additional: Any, instance: Any, schema: Any
) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    meter, patterns = _meter.get(), schema.get("patternProperties", {})
    for name, value in instance.items():
        if name in schema.get("properties", {}):
            continue
        if any(meter.found(each, name, unknown=True) for each in patterns):
            continue
        if isinstance(additional, dict):
            yield from validator.descend(value, additional, path=name)
        elif additional is False:
            yield ValidationError(f"{name!r} is not a known member")


def _unique_items(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    if wanted is True and isinstance(instance, list):
        _meter.get().spend(_meter.get().weight(instance))
        if len({_key(item) for item in instance}) != len(instance):
            yield ValidationError("has an item twice")


def _key(value: Any) -> Any:
    """A hashable value, equal for what JSON Schema calls equal: 1 is 1.0 and is not true."""
    if isinstance(value, dict):
        return frozenset((name, _key(member)) for name, member in value.items())
    if isinstance(value, list):
        return tuple(map(_key, value))
    return ("boolean", value) if isinstance(value, bool) else value
