"""Templates: a directory each, with `body.txt`, `body.html`, `schema.json` and, if the job need
not bring a subject, `subject.txt` (EM-4..EM-7).

They come from the operator's disk. The sandbox keeps what a tenant puts into them from being more
than text; it does not bound what a template of the operator's own may cost.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from jinja2 import StrictUndefined, Template, TemplateError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import Draft202012Validator
from referencing import Registry

from consumers.mail.lint import SAFE_URL, faults_of_html, faults_of_template
from consumers.mail.settings import MailError
from consumers.processor import Reject

SHIPPED = Path(__file__).parent.parent / "mail_templates"
OUTPUT_BYTES = 1024 * 1024
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
PARTS = ("body.txt", "body.html", "subject.txt")
RESERVED = frozenset({"unsubscribe_url"})
"""Names that a template finds beside its context."""
_URL = re.compile(r"(?:https?://|mailto:)[!#-;=?-~]+", re.IGNORECASE)
# What marks text as safe without making it so.
_UNSAFE_FILTERS = ("safe", "tojson", "xmlattr", "urlize")


@dataclass(frozen=True, slots=True)
class Rendered:
    """What became of a template. `subject` is None when it has none."""

    text: str
    html: str
    subject: str | None


@dataclass(frozen=True, slots=True)
class MailTemplate:
    """One template, compiled, with the JSON Schema of its context."""

    name: str
    schema: Mapping[str, Any]
    checker: Validator
    parts: Mapping[str, Template]

    def render(self, context: Mapping[str, Any], unsubscribe_url: str | None) -> Rendered:
        """The three parts. Rejects for good: template_context_invalid, template_variable_missing,
        template_render_failed, template_output_too_large."""
        self._check(context)
        known = {**context, "unsubscribe_url": unsubscribe_url}
        made = {part: self._part(part, known) for part in self.parts}
        return Rendered(made["body.txt"], made["body.html"], made.get("subject.txt"))

    def _check(self, context: Mapping[str, Any]) -> None:
        mismatch = next(self.checker.iter_errors(context), None)
        if mismatch is not None:
            place = "".join(f"/{step}" for step in mismatch.absolute_path)
            raise Reject(
                f"context{place} does not fit the template {self.name}: {_told(mismatch)[:300]}",
                code="template_context_invalid",
            )

    def _part(self, part: str, context: Mapping[str, Any]) -> str:
        where = f"template {self.name}, {part}"
        pieces: list[str] = []
        room = OUTPUT_BYTES
        try:
            for piece in self.parts[part].generate(context):
                pieces.append(piece)
                room -= len(piece.encode())
                if room < 0:
                    break
        except UndefinedError as error:
            raise Reject(f"{where}: {error}", code="template_variable_missing") from None
        except Exception as error:  # noqa: BLE001 - a template can fail in any way Python can
            what = f"{type(error).__name__}: {error}"[:300]
            raise Reject(f"{where}: {what}", code="template_render_failed") from None
        if room < 0:
            raise Reject(f"{where}: more than 1 MiB", code="template_output_too_large")
        return "".join(pieces)


def _told(mismatch: ValidationError) -> str:
    """What the schema wants there. What is there instead stays out: errors end up in logs."""
    if mismatch.validator == "required":
        return mismatch.message
    return f"{mismatch.validator} must be {mismatch.validator_value}"


def load_templates(extra: Path | None) -> dict[str, MailTemplate]:
    """Those that ship and those in the directory `extra`, by name; reads files.

    Raises MailError naming everything that is wrong with any of them."""
    places = _directories(SHIPPED) | (_directories(extra) if extra else {})
    text, html = _environment(autoescape=False), _environment(autoescape=True)
    loaded: dict[str, MailTemplate] = {}
    faults: list[str] = []
    for name, place in sorted(places.items()):
        found = _load(name, place, text, html)
        if isinstance(found, MailTemplate):
            loaded[name] = found
        else:
            faults += [f"  {name}/{fault}" for fault in found]
    if faults:
        raise MailError("\n".join(["These mail templates cannot be used:", *faults]))
    return loaded


def payload_schema(templates: Mapping[str, MailTemplate]) -> dict[str, Any]:
    """The JSON Schema of a payload that these templates can turn into a message."""
    return {
        "properties": {"template": {"enum": sorted(templates)}},
        "allOf": [_rule(template) for _, template in sorted(templates.items())],
    }


def _rule(template: MailTemplate) -> dict[str, Any]:
    # With an $id of its own, references inside a template's schema stay inside.
    schema = {"$id": f"urn:credstream:template:{template.name}", **template.schema}
    then: dict[str, Any] = {"properties": {"context": schema}}
    if "subject.txt" not in template.parts:
        then["required"] = ["subject"]
    return {"if": {"properties": {"template": {"const": template.name}}}, "then": then}


def _directories(root: Path) -> dict[str, Path]:
    try:
        return {
            place.name: place for place in root.iterdir() if place.is_dir() and place.name[0] != "."
        }
    except OSError as error:
        raise MailError(f"MAIL_TEMPLATES_DIR cannot be read: {error}.") from None


def safe_url(value: Any) -> str:
    """The value, if it is a web or mail address. ValueError otherwise, which ends the job."""
    text = str(value)
    if _URL.fullmatch(text) is None:
        raise ValueError("safe_url: this is no http, https or mailto address")
    return text


def _environment(*, autoescape: bool) -> ImmutableSandboxedEnvironment:
    env = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=autoescape, keep_trailing_newline=True
    )
    env.filters[SAFE_URL] = safe_url
    for name in _UNSAFE_FILTERS:
        del env.filters[name]
    return env


def _load(
    name: str,
    place: Path,
    text: ImmutableSandboxedEnvironment,
    html: ImmutableSandboxedEnvironment,
) -> MailTemplate | list[str]:
    """A template, or what is wrong with it."""
    if NAME.fullmatch(name) is None:
        return [": the name must be lower-case letters, digits, _ and -, at most 64"]
    faults: list[str] = []
    parts: dict[str, Template] = {}
    for part in PARTS:
        env = html if part == "body.html" else text
        source = _read(place / part, faults, optional=part == "subject.txt")
        if source is None:
            continue
        found = faults_of_template(env, source)
        if not found and part == "body.html":
            found = faults_of_html(env, source)
        try:
            parts[part] = env.from_string(source)
        except TemplateError as error:
            found = found or [str(error)]
        faults += [f"{part}: {fault}" for fault in found]
    schema = _schema(place / "schema.json", faults)
    if faults:
        return faults
    return MailTemplate(name, schema, Draft202012Validator(schema, registry=Registry()), parts)


def _read(path: Path, faults: list[str], *, optional: bool = False) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if not optional:
            faults.append(f"{path.name}: is missing")
    except (OSError, UnicodeDecodeError) as error:
        faults.append(f"{path.name}: cannot be read: {error}")
    return None


def _schema(path: Path, faults: list[str]) -> dict[str, Any]:
    source = _read(path, faults)
    if source is None:
        return {}
    try:
        schema = orjson.loads(source)
        Draft202012Validator.check_schema(schema)
    except (orjson.JSONDecodeError, SchemaError) as error:
        faults.append(f"schema.json: is not a JSON Schema: {str(error).splitlines()[0]}")
        return {}
    if not isinstance(schema, dict):
        faults.append("schema.json: must be an object")
        return {}
    if any(not reference.startswith("#") for reference in _references(schema)):
        faults.append("schema.json: a $ref must stay inside the file and begin with #")
    if RESERVED & set(schema.get("properties", ())):
        faults.append(f"schema.json: {', '.join(RESERVED)} is given by us, not by the job")
    return schema


def _references(schema: Any) -> list[str]:
    if isinstance(schema, list):
        return [found for item in schema for found in _references(item)]
    if not isinstance(schema, dict):
        return []
    own = [str(schema[key]) for key in ("$ref", "$dynamicRef") if key in schema]
    return own + [found for item in schema.values() for found in _references(item)]
