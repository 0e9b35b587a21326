"""Contexts inside a credential must not give the standard's own terms another meaning (E9).

JSON-LD processors refuse that; whoever reads the members by name would be deceived by it. Only
contexts written into the document are judged: those named by URL are never fetched.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from credentials.verdict import Invalid

_FILES = {"1.1": "credentials-v1.jsonld", "2.0": "credentials-v2.jsonld"}
_LITERAL = frozenset({"jsonSchema"})
"""Members whose value is plain JSON, where `@context` is a name like any other."""


def check(document: Mapping[str, Any], version: str) -> None:
    """Raises Invalid MALFORMED_VALUE_ERROR for a protected term that is defined anew, or contexts
    that are taken back with null."""
    terms = _protected(version)
    for context in _contexts(document):
        if context is None:
            raise Invalid("MALFORMED_VALUE_ERROR", "A context must not be taken back with null.")
        if not isinstance(context, dict):
            continue
        for name in terms.keys() & context.keys():
            if _meaning(context[name]) != terms[name]:
                raise Invalid(
                    "MALFORMED_VALUE_ERROR",
                    f"A context in the credential gives {name}, a protected term, a new meaning.",
                )


@cache
def _protected(version: str) -> Mapping[str, Any]:
    """The terms that the first context protects, with their meanings."""
    path = Path(__file__).parent / "context_documents" / _FILES[version]
    context = json.loads(path.read_text("utf-8"))["@context"]
    return {name: _meaning(value) for name, value in context.items() if name[:1] != "@"}


def _meaning(definition: Any) -> Any:
    """A definition in one spelling."""
    if not isinstance(definition, dict):
        return {"@id": definition}
    return {name: value for name, value in definition.items() if name != "@protected"}


def _contexts(value: Any) -> Iterator[Any]:
    """Each context of each node."""
    if isinstance(value, list):
        for item in value:
            yield from _contexts(item)
    elif isinstance(value, dict):
        for name, member in value.items():
            if name == "@context":
                yield from member if isinstance(member, list) else [member]
            elif name not in _LITERAL:
                yield from _contexts(member)
