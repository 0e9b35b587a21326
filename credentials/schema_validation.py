"""JSON Schema against a credential, both from strangers: bounded in steps, without any fetching.

Keywords are those of the jsonschema library, metered (`metered`), and a reference leads nowhere but
into the schema itself. `format` is an annotation, as the specification has it by default.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jsonschema import Draft7Validator, Draft201909Validator, Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema_specifications import (  # type: ignore[import-untyped]
    REGISTRY as SPECIFICATIONS,
)
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT7, DRAFT201909, DRAFT202012

from credentials.metered import REFERENCES, Meter, TooCostly, faults, metered
from credentials.patterns import PatternRefused
from credentials.requester import STEPS
from credentials.verdict import Invalid

Json = dict[str, Any]

MAX_STEPS = 100_000
"""What a validation may cost; a step takes two microseconds at most."""

MAX_SCHEMA_STEPS = 600_000
"""What finding out may cost whether a schema is one: 350,000 for an ordinary one of 97 KB."""

_DIALECTS: dict[str, tuple[Any, Any]] = {
    "https://json-schema.org/draft/2020-12/schema": (Draft202012Validator, DRAFT202012),
    "https://json-schema.org/draft/2019-09/schema": (Draft201909Validator, DRAFT201909),
    "http://json-schema.org/draft-07/schema": (Draft7Validator, DRAFT7),
}
_DRAFT7 = "http://json-schema.org/draft-07/"


class Indeterminate(Exception):
    """Neither yes nor no: not understood here."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A version of JSON Schema with metered keywords."""

    uri: str
    validator: Any
    specification: Any


def validate(schema: Json, instance: Json, steps: int = STEPS, is_well_formed: bool = False) -> int:
    """Return what it took, in steps, when `instance` conforms. Takes some tenths of a second at
    worst: call it in a thread. `steps`: what it may take; `is_well_formed`: that the schema is one
    is known.

    Raises Invalid: SCHEMA_MALFORMED, the schema is none; SCHEMA_INDETERMINATE, it cannot be judged
    by here, which counts as a no (J1-J3); SCHEMA_VALIDATION_ERROR, it does not conform.
    """
    try:
        dialect, plain = _prepared(schema)
        left = steps
        if not is_well_formed:
            meter = Meter(plain, min(left, MAX_SCHEMA_STEPS))
            fault = _first_fault(_metaschema(dialect), plain, meter)
            if fault is not None:
                raise Invalid(
                    "SCHEMA_MALFORMED", f"The schema is not a JSON Schema, {_place(fault)}."
                )
            left -= meter.spent
        meter = Meter(instance, min(left, MAX_STEPS))
        judge = _judge(dialect, schema["$id"].removesuffix("#"), plain)
        fault = _first_fault(judge, instance, meter)
    except (Indeterminate, TooCostly, PatternRefused) as error:
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
    return steps - left + meter.spent


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
        if name in REFERENCES | {"$id"} and isinstance(value, str) and not value.startswith("#")
    ]
    if outside or re.match(r"(?:https?:)?//json-schema\.org\b", own_id, re.IGNORECASE):
        raise Indeterminate("it refers to something outside itself")
    if "$schema" in names:
        raise Indeterminate("parts of it follow a dialect of their own")


@lru_cache(maxsize=8)
def _dialect(uri: str) -> Dialect:
    if uri not in _DIALECTS:
        raise Indeterminate(f"its dialect is not supported; {', '.join(_DIALECTS)} are")
    library, specification = _DIALECTS[uri]
    return Dialect(uri, metered(library), specification)


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


def _first_fault(validator: Any, instance: Any, meter: Meter) -> ValidationError | None:
    found = faults(validator, instance, meter, most=1)
    return best_match(found) if found else None


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
