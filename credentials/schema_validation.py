"""JSON Schema against a credential, both from strangers: bounded in steps, without any fetching.

Keywords are those of the jsonschema library. Each call of one is paid for from a budget, regular
expressions run in linear time, and a reference leads nowhere but into the schema itself. `format`
is an annotation, as the specification has it by default.
"""

import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jsonschema import Draft7Validator, Draft201909Validator, Draft202012Validator, validators
from jsonschema.exceptions import ValidationError, best_match
from jsonschema_specifications import (  # type: ignore[import-untyped]
    REGISTRY as SPECIFICATIONS,
)
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT7, DRAFT201909, DRAFT202012

from credentials.patterns import PatternRefused, searches, states
from credentials.verdict import Invalid

Json = dict[str, Any]

MAX_STEPS = 100_000
"""What a validation may cost; a step takes one to seven microseconds."""

MAX_SCHEMA_STEPS = 600_000
"""What finding out may cost whether a schema is one: 345,000 for an ordinary one of 97 KB."""

_DIALECTS: dict[str, tuple[Any, Any]] = {
    "https://json-schema.org/draft/2020-12/schema": (Draft202012Validator, DRAFT202012),
    "https://json-schema.org/draft/2019-09/schema": (Draft201909Validator, DRAFT201909),
    "http://json-schema.org/draft-07/schema": (Draft7Validator, DRAFT7),
}
_DRAFT7 = "http://json-schema.org/draft-07/"
_REFERENCES = {"$ref", "$dynamicRef", "$recursiveRef"}


class Indeterminate(Exception):
    """Neither yes nor no: too costly, or not understood here."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A version of JSON Schema with metered keywords."""

    uri: str
    validator: Any
    specification: Any


class Meter:
    """What is left to spend on one validation, and how much there is to look at."""

    def __init__(self, instance: Any, steps: int) -> None:
        self.left = steps
        self._weights: dict[int, int] = {}
        self._weigh(instance)

    def spend(self, steps: int) -> None:
        """Raises Indeterminate when the budget is used up."""
        self.left -= steps
        if self.left < 0:
            raise Indeterminate("judging by this schema takes too long")

    def weight(self, instance: Any) -> int:
        """About how many values `instance` holds; long strings count for more."""
        if isinstance(instance, str):
            return 1 + len(instance) // 64
        return self._weights.get(id(instance), 1)

    def _weigh(self, value: Any) -> int:
        if not isinstance(value, dict | list):
            return self.weight(value)
        items = value.values() if isinstance(value, dict) else value
        weight = self._weights[id(value)] = 1 + sum(map(self._weigh, items))
        return weight


_meter: ContextVar[Meter] = ContextVar("meter")


def validate(schema: Json, instance: Json) -> None:
    """Return when `instance` conforms. Takes up to a second or so: call it in a thread.

    Raises Invalid: SCHEMA_MALFORMED, the schema is none; SCHEMA_INDETERMINATE, it cannot be judged
    by here, which counts as a no (J1-J3); SCHEMA_VALIDATION_ERROR, it does not conform.
    """
    try:
        dialect, plain = _prepared(schema)
        fault = _first_fault(_metaschema(dialect), plain, MAX_SCHEMA_STEPS)
        if fault is not None:
            raise Invalid("SCHEMA_MALFORMED", f"The schema is not a JSON Schema, {_place(fault)}.")
        fault = _first_fault(
            _judge(dialect, schema["$id"].removesuffix("#"), plain), instance, MAX_STEPS
        )
    except (Indeterminate, PatternRefused) as error:
        raise _indeterminate(str(error)) from None
    except Unresolvable:
        raise _indeterminate("it refers to something outside itself") from None
    except RecursionError:
        raise _indeterminate("it leads in circles") from None
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError):
        raise _indeterminate("a keyword has a value it cannot have") from None
    if fault is not None:
        raise Invalid(
            "SCHEMA_VALIDATION_ERROR",
            f"The credential does not conform to its credentialSchema, {_place(fault)}.",
        )


def _prepared(schema: Json) -> tuple[Dialect, Json]:
    """The dialect and the schema without `$schema`, which would select another class."""
    for name in ("$schema", "$id"):
        if not isinstance(schema.get(name), str):
            raise Invalid("SCHEMA_MALFORMED", f"The schema must have {name}, a string.")
    # Draft 7 is http; the suite of VC JSON Schema writes https.
    uri = schema["$schema"].removesuffix("#").replace("https://json-schema.org/draft-07/", _DRAFT7)
    dialect = _dialect(uri)
    plain = _without_dialect(schema)
    _check_self_contained(schema["$id"], plain)
    return dialect, plain


def _check_self_contained(own_id: str, plain: Json) -> None:
    """No way out of the schema, neither to the network nor to what the library knows by itself:
    a metaschema would bring its unmetered keywords along (J2). Raises Indeterminate."""
    members = list(_members({name: plain[name] for name in plain if name != "$id"}))
    names = {name for name, _ in members}
    outside = [
        name
        for name, value in members
        if name in _REFERENCES | {"$id"} and isinstance(value, str) and not value.startswith("#")
    ]
    if outside or re.match(r"(?:https?:)?//json-schema\.org\b", own_id, re.IGNORECASE):
        raise Indeterminate("it refers to something outside itself")
    if "$schema" in names:
        raise Indeterminate("parts of it follow a dialect of their own")
    # The library decides which properties are left over with the patterns of the schema.
    if {"unevaluatedProperties", "patternProperties"} <= names:
        raise Indeterminate("unevaluatedProperties beside patternProperties is not supported")


@lru_cache(maxsize=8)
def _dialect(uri: str) -> Dialect:
    if uri not in _DIALECTS:
        raise Indeterminate(f"its dialect is not supported; {', '.join(_DIALECTS)} are")
    library, specification = _DIALECTS[uri]
    keywords = dict(library.VALIDATORS) | {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    metered = {name: _metered(name, keyword) for name, keyword in keywords.items()}
    validator = validators.extend(library, validators=metered)  # type: ignore[no-untyped-call]
    return Dialect(uri, validator, specification)


@lru_cache(maxsize=8)
def _metaschema(dialect: Dialect) -> Any:
    """A validator for schemas. The `$schema` of metaschemas would lead to the unmetered classes."""
    registry: Any = Registry()
    for uri in SPECIFICATIONS:
        if uri.startswith(dialect.uri.removesuffix("schema")):
            plain = _without_dialect(SPECIFICATIONS[uri].contents)
            registry = registry.with_resource(uri, dialect.specification.create_resource(plain))
    return _over(dialect, dialect.uri, registry)


def _judge(dialect: Dialect, uri: str, schema: Json) -> Any:
    resource = dialect.specification.create_resource(schema)
    return _over(dialect, uri, Registry().with_resource(uri, resource))


def _over(dialect: Dialect, uri: str, registry: Any) -> Any:
    """A validator whose references lead into `registry` and nowhere else.

    It is crawled once, here: the library would look for anchors anew at every reference, and it
    would add all metaschemas.
    """
    crawled = registry.crawl()
    schema = crawled.contents(uri)
    return dialect.validator(schema, registry=crawled, _resolver=crawled.resolver(uri))


def _without_dialect(schema: Any) -> Json:
    return {name: value for name, value in schema.items() if name != "$schema"}


def _first_fault(validator: Any, instance: Any, steps: int) -> ValidationError | None:
    token = _meter.set(Meter(instance, steps))
    try:
        first = next(validator.iter_errors(instance), None)
        return None if first is None else best_match([first])
    finally:
        _meter.reset(token)


def _metered(name: str, keyword: Callable[..., Any]) -> Callable[..., Iterator[ValidationError]]:
    def metered(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        meter = _meter.get()
        meter.spend(_cost(name, value) * (1 + meter.weight(instance) // 64))
        yield from keyword(validator, value, instance, schema) or ()

    return metered


def _cost(name: str, value: Any) -> int:
    if name in _REFERENCES and isinstance(value, str) and not value.startswith("#/"):
        return 20  # an anchor, looked for in every scope entered so far
    if isinstance(value, list | dict):
        return 1 + len(value)
    return 1


def _pattern(_validator: Any, pattern: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    if isinstance(instance, str) and not _found(pattern, instance):
        yield ValidationError("does not match its pattern")


def _pattern_properties(
    validator: Any, properties: Any, instance: Any, _schema: Any
) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    for pattern, subschema in properties.items():
        for name, value in instance.items():
            if _found(pattern, name):
                yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(
    validator: Any, additional: Any, instance: Any, schema: Any
) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    patterns = schema.get("patternProperties", {})
    for name, value in instance.items():
        if name in schema.get("properties", {}) or any(_found(each, name) for each in patterns):
            continue
        if isinstance(additional, dict):
            yield from validator.descend(value, additional, path=name)
        elif additional is False:
            yield ValidationError("has a property that is not allowed")


def _unique_items(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    if wanted is True and isinstance(instance, list):
        _meter.get().spend(_meter.get().weight(instance))
        if len({_key(item) for item in instance}) != len(instance):
            yield ValidationError("has an item twice")


def _found(pattern: str, text: str) -> bool:
    _meter.get().spend(1 + states(pattern) * len(text) // 4_096)
    return searches(pattern, text)


def _key(value: Any) -> Any:
    """A hashable value, equal for what JSON Schema calls equal: 1 is 1.0 and is not true."""
    if isinstance(value, dict):
        return frozenset((name, _key(member)) for name, member in value.items())
    if isinstance(value, list):
        return tuple(map(_key, value))
    return ("boolean", value) if isinstance(value, bool) else value


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """Every member of every object in `value`."""
    if isinstance(value, dict):
        yield from value.items()
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _members(item)


def _place(fault: ValidationError) -> str:
    """Where it fails, and by which keyword; never the value itself."""
    return f"at {fault.json_path[:200]} by {str(fault.validator)[:64]}"


def _indeterminate(why: str) -> Invalid:
    return Invalid("SCHEMA_INDETERMINATE", f"The credentialSchema cannot be judged by: {why}.")
