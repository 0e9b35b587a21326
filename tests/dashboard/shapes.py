"""Every shape that a value of a declared type can take: ordinary, absent, empty, long and odd.

The first value of each list is the ordinary one. Lists stay linear: a composite is varied in one
part at a time, and in all parts at once.
"""

import dataclasses
import enum
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

LONG = "long " * 1_000
ODD = '<b onclick="x">&\'{{ 7 * 7 }}{% raw %}\u202e\x00\U0001d54f'
MANY = 30
INTEGERS = (1_700_000_000_000, 0, 1, 2**53)
JSON = ({"a": 1}, None, "", 0, True, 1.5, [], {}, ODD, LONG, {ODD: [{"b": None}]}, [[1]])


def shapes(kind: Any) -> list[Any]:
    """The values that something declared as `kind` can have."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return shapes(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return [value for one in arguments for value in shapes(one)]
    if origin is typing.Literal:
        return list(arguments)
    if origin is tuple:
        return [tuple(shapes(one)[0] for one in arguments if one is not ...)]
    if origin in (list, Sequence):
        return several(shapes(arguments[0]))
    if origin in (dict, Mapping):
        inner = shapes(arguments[1])
        return [{"name": inner[0]}, {}, *({ODD: one, LONG: one} for one in inner)]
    return _plain(kind)


def _plain(kind: Any) -> list[Any]:
    if kind is Any:
        return list(JSON)
    if kind is type(None):
        return [None]
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return list(kind)
    known: dict[Any, list[Any]] = {
        str: ["word", "", LONG, ODD],
        bool: [True, False],
        int: list(INTEGERS),
        float: [0.5, 0.0, 1.0],
        bytes: [b"x", b""],
    }
    if kind in known:
        return known[kind]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return wire(kind)
    if dataclasses.is_dataclass(kind):
        return instances(kind)
    raise TypeError(f"no shapes are known of {kind!r}")


def several(items: Sequence[Any]) -> list[list[Any]]:
    """Lists of these items: each alone, all together, very many, none."""
    return [[items[0]], [], list(items), [items[0]] * MANY, *([one] for one in items[1:])]


def wire(model: type[BaseModel], **given: list[Any]) -> list[dict[str, Any]]:
    """Documents of this model, as they stand in JSON. `given`: values of members, by alias."""
    hints = typing.get_type_hints(model, include_extras=True)
    members = {
        field.serialization_alias or field.alias or name: hints[name]
        for name, field in model.model_fields.items()
    }
    return list(varied({name: given.get(name) or shapes(kind) for name, kind in members.items()}))


def instances(cls: Any, **given: list[Any]) -> list[Any]:
    """Objects of this dataclass."""
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = [field.name for field in dataclasses.fields(cls) if field.init]
    kinds = {name: given.get(name) or shapes(hints[name]) for name in fields}
    return [cls(**values) for values in varied(kinds)]


def varied(alternatives: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """The ordinary document, those that differ in one member, and some that differ in all."""
    ordinary = {name: values[0] for name, values in alternatives.items()}
    yield ordinary
    for name, values in alternatives.items():
        for value in values[1:]:
            yield ordinary | {name: value}
    for number in range(1, max(map(len, alternatives.values()), default=1)):
        yield {name: values[number % len(values)] for name, values in alternatives.items()}
