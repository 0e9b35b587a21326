"""JSON Schema at a bounded price: the keywords of the jsonschema library, each call paid for.

Regular expressions run in linear time (`patterns`), unique items are found without comparing each
with each, multiples are exact, and the walks behind `unevaluated*` are paid for as well. Whoever
judges says how many steps it may cost, and what a pattern means that the engine does not know.
"""

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from decimal import Decimal
from typing import Any

from jsonschema import validators
from jsonschema.exceptions import ValidationError

from credentials.evaluated import ITEM_STEPS, evaluated_items, evaluated_properties
from credentials.patterns import MAX_TEXT_CHARS, PatternRefused, searches, states

REFERENCES = {"$ref", "$dynamicRef", "$recursiveRef"}
_APPLICATORS = {
    *("allOf", "anyOf", "oneOf", "not", "if", "contains", "dependentSchemas", "propertyNames"),
    *("unevaluatedProperties", "unevaluatedItems"),
}
"""Keywords that make validators and, where they fail, errors of others."""
_APPLICATOR_STEPS = 3
MAX_DEPTH = 140
"""Keywords within each other, those behind references included."""
_ITERATING = {
    *("items", "additionalItems", "unevaluatedItems", "contains", "propertyNames"),
    *("additionalProperties", "patternProperties", "unevaluatedProperties"),
}
"""Keywords that look at every item or member of an instance."""


class TooCostly(Exception):
    """The steps are used up; whether the instance conforms is not known."""


class Meter:
    """What is left to spend on one validation, and how much there is to look at.

    `steps`: one takes two microseconds at most. `lenient`: a pattern that the engine does not know
    says nothing, and texts may have any length; otherwise both raise PatternRefused.
    """

    def __init__(self, instance: Any, steps: int, *, lenient: bool = False) -> None:
        self._steps = self.left = steps
        self.lenient = lenient
        self._depth = 0
        self._weights: dict[int, int] = {}
        self._weigh(instance)

    @property
    def spent(self) -> int:
        """Steps taken so far."""
        return self._steps - self.left

    def spend(self, steps: int) -> None:
        """Raises TooCostly when the budget is used up."""
        self.left -= steps
        if self.left < 0:
            raise TooCostly("judging by this schema takes too long")

    def enter(self) -> None:
        """One level deeper, until `leave`. Raises RecursionError beyond MAX_DEPTH: Python's own
        limit may be reached inside an extension, which then panics."""
        if self._depth >= MAX_DEPTH:
            raise RecursionError(f"keywords lead into each other more than {MAX_DEPTH} times")
        self._depth += 1

    def leave(self) -> None:
        """One level up."""
        self._depth -= 1

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
        "multipleOf": _multiple_of,
        "unevaluatedProperties": _unevaluated_properties,
        "unevaluatedItems": _unevaluated_items,
    }
    keywords = {name: keyword for name, keyword in keywords.items() if name in library.VALIDATORS}
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
        if name in _ITERATING and isinstance(instance, list | dict):
            meter.spend(ITEM_STEPS * len(instance))
        meter.enter()
        try:
            yield from keyword(validator, value, instance, schema) or ()
        finally:
            meter.leave()

    return paid


def _cost(name: str, value: Any) -> int:
    if name in REFERENCES and isinstance(value, str):
        # An anchor is looked for in every scope entered so far, a pointer followed name by name.
        return 20 if not value.startswith("#/") else 4 + value.count("/")
    own = _APPLICATOR_STEPS if name in _APPLICATORS else 1
    return own + len(value) if isinstance(value, list | dict) else own


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


def _multiple_of(_validator: Any, divisor: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    is_number = isinstance(instance, int | float) and not isinstance(instance, bool)
    if is_number and not is_multiple(instance, divisor):
        yield ValidationError(f"{instance!r} is not a multiple of {divisor!r}")


def is_multiple(value: float, divisor: float) -> bool:
    """Whether the decimal number `value` is a whole multiple of the decimal number `divisor`.

    A float stands for the shortest decimal number that reads as it: 0.07 is 7 times 0.01, although
    neither is a binary fraction. Exponents of floats are within +-324, so no number here has more
    than 700 digits. Raises ZeroDivisionError for a divisor of 0.
    """
    (digits, exponent), (unit, scale) = _decimal(value), _decimal(divisor)
    power: int = 10 ** abs(exponent - scale)
    if exponent >= scale:
        return digits * power % unit == 0
    return digits % (unit * power) == 0


def _decimal(number: float) -> tuple[int, int]:
    """(n, e) of a finite number n * 10^e."""
    if isinstance(number, int):
        return number, 0
    sign, digits, exponent = Decimal(repr(number)).as_tuple()
    value = int("".join(map(str, digits)))
    return (-value if sign else value), int(exponent)


def _unevaluated_properties(
    validator: Any, value: Any, instance: Any, schema: Any
) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    known = evaluated_properties(validator, instance, schema, _meter.get())
    for name in instance.keys() - known:
        if value is False:
            yield ValidationError(f"{name!r} is not evaluated by any keyword")
        else:
            yield from validator.descend(instance[name], value, path=name)


def _unevaluated_items(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not isinstance(instance, list):
        return
    known = evaluated_items(validator, instance, schema, _meter.get())
    for index, item in enumerate(instance):
        if index in known:
            continue
        if value is False:
            yield ValidationError(f"item {index} is not evaluated by any keyword")
        else:
            yield from validator.descend(item, value, path=index)
