"""EnvelopedVerifiableCredential and its kin: a token inside a data: URL (VCDM 2.0, 4.13; D1)."""

import re
from typing import Any

from credentials.datamodel import FIRST_CONTEXT, malformed, types_of
from credentials.statements import Kind
from credentials.verdict import Invalid

_DATA_URL = re.compile(r"data:([^,\s]*),(\S+)", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9_.-]+")
_TYPES: dict[Kind, tuple[str, str]] = {
    "credential": ("EnvelopedVerifiableCredential", "vc"),
    "presentation": ("EnvelopedVerifiablePresentation", "vp"),
}


def unwrap(envelope: Any, kind: Kind = "credential") -> str:
    """The token in an envelope of this kind.

    Strings and unsecured credentials are refused: Invalid MALFORMED_VALUE_ERROR; envelopes around
    something that is no JWT of this kind: TYPE_NOT_ACCEPTED. What a token is, it has to say itself.
    """
    type_name, prefix = _TYPES[kind]
    if not isinstance(envelope, dict):
        raise malformed(f"Here must stand an object of type {type_name}, nothing else.")
    contexts = envelope.get("@context")
    named = contexts if isinstance(contexts, list) else [contexts]
    if FIRST_CONTEXT["2.0"] not in named:
        raise malformed(f"@context of an {type_name} must name {FIRST_CONTEXT['2.0']}.")
    if type_name not in types_of(envelope):
        raise malformed(f"Here must stand an object of type {type_name}, nothing else.")
    url = envelope.get("id")
    matched = _DATA_URL.fullmatch(url) if isinstance(url, str) else None
    if matched is None:
        raise malformed(f"id of an {type_name} must be data:application/{prefix}+jwt,<token>.")
    if matched[1].lower() != f"application/{prefix}+jwt":
        raise not_accepted(f"In an {type_name} only application/{prefix}+jwt is accepted here.")
    if _TOKEN.fullmatch(matched[2]) is None:
        raise malformed(f"What is in the {type_name} is no token.")
    return matched[2]


def is_envelope(text: str) -> bool:
    """Whether `text` is an object at all, and so no token."""
    return text.lstrip(" \t\r\n").startswith("{")


def not_accepted(what: str) -> Invalid:
    """A token of another type than the one asked for (C2)."""
    return Invalid("TYPE_NOT_ACCEPTED", what)
