"""A form from a JSON Schema, and the document from what the form sends. Pure.

Every field is sent as text. Objects, arrays and whatever has several types are JSON in a text area;
it is read here, so that the browser needs to know nothing of the schema.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway import faults
from gateway.errors import Fault, MalformedBody
from gateway.strict_json import parse

LONG_CHARS = 4_096
"""A text that may be longer gets a text area."""
FIELDS_MAX = 100
REST = ""
"""The name of the field for members that have none of their own."""
_PLAIN = {"string": "text", "integer": "integer", "number": "number", "boolean": "boolean"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form."""

    name: str
    """Of the member of `data`; REST: everything else."""
    kind: str
    """text, long, integer, number, boolean, choice or json."""
    required: bool = False
    hint: str = ""
    choices: tuple[str, ...] = ()
    default: str = ""
    """What happens when it is left out, in words; empty: nothing is known."""

    @property
    def pointer(self) -> str:
        return faults.pointer(["data", self.name]) if self.name else "/data"


def form_of(schema: Mapping[str, Any] | None) -> list[Field]:
    """The fields of `data`, the required ones first, of these the short ones; without a usable
    schema one field for all of it."""
    properties = _resolved(schema or {}, schema or {}).get("properties")
    if not isinstance(properties, dict) or not properties or len(properties) > FIELDS_MAX:
        return [Field(REST, "json", hint="The whole of data, as a JSON object.")]
    root = schema or {}
    given = root.get("required")
    required = given if isinstance(given, list) else []
    found = [_field(name, root, rule, name in required) for name, rule in properties.items()]
    found.sort(key=lambda field: (not field.required, field.kind in ("long", "json")))
    if root.get("additionalProperties", True) is not False:
        found.append(Field(REST, "json", hint="Other members of data, as a JSON object."))
    return found


def document_of(form: list[Field], sent: Mapping[str, str]) -> tuple[dict[str, Any], list[Fault]]:
    """`data` from the texts of the form (by name of the member), and what cannot be read."""
    data: dict[str, Any] = {}
    names = {field.name for field in form}
    found = [
        Fault(faults.pointer(["data", name]), "is no field of this form")
        for name in sent
        if name not in names
    ]
    for field in form:
        text = sent.get(field.name, "")
        if text == "":
            continue
        try:
            value = value_of(field.kind, text)
        except ValueError as error:
            found.append(Fault(field.pointer, str(error)))
            continue
        if field.name == REST:
            if isinstance(value, dict):
                data = value | data
            else:
                found.append(Fault(field.pointer, "must be a JSON object"))
        else:
            data[field.name] = value
    return data, found


def value_of(kind: str, text: str) -> Any:
    """What a text of this kind means. Raises ValueError with what is wrong."""
    if kind in ("integer", "number"):
        return _number(kind, text)
    if kind == "boolean":
        if text not in ("true", "false"):
            raise ValueError("must be true or false")
        return text == "true"
    if kind != "json":
        return text.replace("\r\n", "\n") if kind == "long" else text
    try:
        return parse(text.encode())
    except MalformedBody as error:
        said = str(error).replace("The body is not JSON", "is not JSON")
        raise ValueError(said.replace("The body", "The JSON")) from None
    except UnicodeEncodeError:
        raise ValueError("holds half a character") from None


def texts_of(form: list[Field], data: Mapping[str, Any]) -> dict[str, str]:
    """What the fields hold when the form begins with `data`, by name."""
    found = {one.name: text_of(one.kind, data[one.name]) for one in form if one.name in data}
    rest = {name: value for name, value in data.items() if name not in found}
    if rest:
        found[REST] = text_of("json", rest)
    return found


def text_of(kind: str, value: Any) -> str:
    """The opposite of `value_of`. A null is a field left empty."""
    if value is None:
        return ""
    if kind in ("text", "long", "choice") and isinstance(value, str):
        return value
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _number(kind: str, text: str) -> int | float:
    try:
        value = parse(text.strip().encode())
    except (MalformedBody, UnicodeEncodeError):
        value = None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    if kind == "integer" and not isinstance(value, int):
        raise ValueError("must be an integer")
    return value


def _field(name: str, root: Mapping[str, Any], rule: Any, required: bool) -> Field:
    rule = rule if isinstance(rule, dict) else {}
    default = rule.get("default")
    rule = _one_of(root, _resolved(root, rule))
    kind, choices = _kind(rule)
    said = rule.get("description")
    hint = said.split("\n\n")[0].replace("\n", " ")[:300] if isinstance(said, str) else ""
    shown = "" if default is None else text_of(kind, default)
    return Field(name, kind, required, hint or _bounds(rule, kind), choices, shown[:60])


def _kind(rule: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    choices = rule.get("enum")
    if isinstance(choices, list) and choices and all(isinstance(one, str) for one in choices):
        return "choice", tuple(choices[:200])
    word = rule.get("type")
    kind = _PLAIN.get(word, "json") if isinstance(word, str) else "json"
    longest = rule.get("maxLength")
    if kind == "text" and isinstance(longest, int) and longest >= LONG_CHARS:
        return "long", ()
    return kind, ()


def _bounds(rule: Mapping[str, Any], kind: str) -> str:
    """What the schema says of size, in words."""
    if kind == "json":
        return {"array": "A JSON array.", "object": "A JSON object."}.get(
            str(rule.get("type")), "JSON."
        )
    low = rule.get("minimum", rule.get("ge"))
    high = rule.get("maximum", rule.get("le"))
    if low is not None and high is not None:
        return f"{low} to {high}."
    return f"At least {low}." if low is not None else ""


def _resolved(root: Mapping[str, Any], rule: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rule behind a reference into this schema; others are not followed."""
    for _ in range(8):
        to = rule.get("$ref")
        if not isinstance(to, str) or not to.startswith("#/"):
            return rule
        place: Any = root
        for part in to[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            place = place.get(name) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            return {}
        rule = place
    return {}


def _one_of(root: Mapping[str, Any], rule: Mapping[str, Any]) -> Mapping[str, Any]:
    """The only alternative to null, if there is just one."""
    options = rule.get("anyOf", rule.get("oneOf"))
    if not isinstance(options, list):
        return rule
    rest = [one for one in options if isinstance(one, dict) and one.get("type") != "null"]
    return _resolved(root, rest[0]) if len(rest) == 1 else {}
