"""What pydantic finds wrong, in words for people who wrote JSON or a setting, not Python."""

import re
from collections.abc import Mapping
from typing import Any

WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not a known member",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be an array",
    "tuple_type": "must be an array",
    "string_type": "must be a text",
    "string_unicode": "must be Unicode text: it holds half of a surrogate pair",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number of at most 64 bits",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "none_required": "must be null",
    "json_invalid": "must be JSON",
}
_LIMITS = {
    "greater_than_equal": ("ge", "must be at least {}"),
    "greater_than": ("gt", "must be greater than {}"),
    "less_than_equal": ("le", "must be at most {}"),
    "less_than": ("lt", "must be less than {}"),
    "multiple_of": ("multiple_of", "must be a multiple of {}"),
    "string_too_short": ("min_length", "must have at least {} characters"),
    "string_too_long": ("max_length", "must have at most {} characters"),
    "too_short": ("min_length", "must have at least {} elements"),
    "too_long": ("max_length", "must have at most {} elements"),
}
_PATTERNS: dict[str, str] = {}
_MEMBER = re.compile(r"<\w+(?:\.\w+)+: ('[^']*')>")
"""A member of an enumeration as Python writes it; the text on the wire is the group."""
_SUBJECT = re.compile(
    r"^(?:Input|String|List|Dictionary|Value|URL|Number|Datetime|Date|Tuple) should "
)


def worded(pattern: str, words: str) -> str:
    """`pattern`, of which people are told `words` where a text does not match it."""
    _PATTERNS[pattern] = words
    return pattern


def plain(kind: str, message: str, context: Mapping[str, Any] | None = None) -> str:
    """A fault of pydantic (`type`, `msg`, `ctx` of `ValidationError.errors()`) in plain words."""
    context = context or {}
    if kind in WORDS:
        return WORDS[kind]
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        if name in context:
            words = words.format(context[name])
            return words[:-1] if words.endswith(" 1 characters") else words
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(str(context.get("pattern")), "has a form that is not allowed here")
    text = _MEMBER.sub(r"\1", message.removeprefix("Value error, "))
    return _SUBJECT.sub("must ", text)
