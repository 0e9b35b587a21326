"""The rules of the W3C data models 1.1 and 2.0 for what a credential is made of (E1-E10).

Checked without JSON-LD processing: contexts are compared as strings and terms are not expanded;
only that none of the standard's own terms gets a new meaning (`protected_terms`).
"""

import re
from collections.abc import Iterable
from typing import Any, Literal

from credentials import protected_terms
from credentials.moments import Window, date_time
from credentials.verdict import Invalid

Version = Literal["1.1", "2.0"]
Json = dict[str, Any]

FIRST_CONTEXT: dict[Version, str] = {
    "1.1": "https://www.w3.org/2018/credentials/v1",
    "2.0": "https://www.w3.org/ns/credentials/v2",
}

MAX_URL_CHARS = 8_192
MAX_ITEMS = 1_000
"""Of contexts, types, subjects, and entries of one member."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`\x00-\x20\x7f]+")
_TYPED = ("credentialStatus", "credentialSchema", "evidence", "termsOfUse", "refreshService")
_LANGUAGE = {"@value", "@language", "@direction"}
_LANGUAGE_TAG = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*")

_DATES_20 = ("validFrom", "validUntil")
_DATES_11 = ("issuanceDate", "expirationDate")


def malformed(sentence: str) -> Invalid:
    """The specification's name for a value that is not what it has to be."""
    return Invalid("MALFORMED_VALUE_ERROR", sentence)


def is_url(value: Any) -> bool:
    """Whether `value` is one absolute URL (or URN, or DID), by its shape."""
    return (
        isinstance(value, str) and len(value) <= MAX_URL_CHARS and _URL.fullmatch(value) is not None
    )


def entries(document: Json, name: str) -> list[Json]:
    """The objects of a member that is one object or an array of objects; [] when it is absent.

    Raises Invalid MALFORMED_VALUE_ERROR.
    """
    if name not in document:
        return []
    value = document[name]
    items = value if isinstance(value, list) else [value]
    if len(items) > MAX_ITEMS or not all(isinstance(item, dict) and item for item in items):
        raise malformed(f"{name} must be an object, or an array of at most {MAX_ITEMS} objects.")
    return items


def types_of(document: Json) -> list[str]:
    """The values of `type`, one or many. Raises Invalid MALFORMED_VALUE_ERROR."""
    value = document.get("type")
    items: list[Any] = value if isinstance(value, list) else [value]
    if not items or len(items) > MAX_ITEMS or not all(_is_term(item) for item in items):
        raise malformed("type must be one or more terms or URLs.")
    return items


def _is_term(value: Any) -> bool:
    return isinstance(value, str) and value != "" and not re.search(r"\s", value)


def identifier(document: Json, name: str) -> str | None:
    """`id`, one URL, if it is there (E3). Raises Invalid MALFORMED_VALUE_ERROR."""
    if "id" not in document:
        return None
    if not is_url(document["id"]):
        raise malformed(f"{name} must be one absolute URL.")
    return str(document["id"])


def issuer_of(document: Json, name: str = "issuer") -> str:
    """The URL of an issuer or holder, written as a string or as an object with an id (E4)."""
    value = document.get(name)
    url = value.get("id") if isinstance(value, dict) else value
    if not is_url(url):
        raise malformed(f"{name} must be a URL, or an object whose id is one.")
    return str(url)


def check_frame(document: Json, version: Version, type_name: str) -> None:
    """`@context`, `type` and `id`: the same for credentials and presentations (E1-E3)."""
    contexts = document.get("@context")
    if not isinstance(contexts, list) or not contexts or len(contexts) > MAX_ITEMS:
        raise malformed("@context must be an array.")
    if contexts[0] != FIRST_CONTEXT[version]:
        raise malformed(f"The first item of @context must be {FIRST_CONTEXT[version]}.")
    if not all(isinstance(item, dict) or is_url(item) for item in contexts):
        raise malformed("The items of @context must be URLs or objects.")
    if type_name not in types_of(document):
        raise malformed(f"type must include {type_name}.")
    identifier(document, "id")
    protected_terms.check(document, version)


def check_credential(credential: Json, version: Version) -> Window:
    """Every rule for a credential; when it says it is valid.

    Raises Invalid MALFORMED_VALUE_ERROR that names the member.
    """
    check_frame(credential, version, "VerifiableCredential")
    issuer_of(credential)
    _check_subjects(credential)
    for name in _TYPED:
        _check_typed(credential, name)
    if version == "2.0":
        _check_language(credential)
        if isinstance(credential["issuer"], dict):
            _check_language(credential["issuer"], "issuer.")
        _check_related(credential)
        return _window(credential, *_DATES_20)
    # 1.1 reserves the names of 2.0 with their meaning (4.6, 4.7), and its context defines them: who
    # wrote that a credential ends has said so.
    stated, reserved = _window(credential, *_DATES_11), _window(credential, *_DATES_20)
    return Window(stated.starts + reserved.starts, stated.ends + reserved.ends)


def _check_subjects(credential: Json) -> None:
    subjects = entries(credential, "credentialSubject")
    if not subjects:
        raise malformed("credentialSubject must be an object with members, or several of them.")
    for subject in subjects:
        identifier(subject, "credentialSubject.id")


def _check_typed(credential: Json, name: str) -> None:
    for entry in entries(credential, name):
        try:
            types_of(entry)
        except Invalid:
            raise malformed(f"Each {name} must have a type.") from None
        identifier(entry, f"{name}.id")
        if name == "credentialSchema" and "id" not in entry:
            raise malformed("credentialSchema must have an id, the URL of the schema.")


def _check_language(thing: Json, place: str = "") -> None:
    """`name` and `description`, for people: of a credential and of its issuer (E10)."""
    for name in ("name", "description"):
        value = thing.get(name, "")
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) or _is_language(item) for item in items):
            raise malformed(
                f"{place}{name} must be a string, or objects with @value and @language."
            )


def _is_language(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and "@value" in item
        and set(item) <= _LANGUAGE
        and all(isinstance(value, str) for value in item.values())
        and _LANGUAGE_TAG.fullmatch(item.get("@language", "en")) is not None
        and item.get("@direction", "ltr") in ("ltr", "rtl")
    )


def _check_related(credential: Json) -> None:
    """Integrity of related resources (VCDM 2.0, 5.3): each named once, with a digest."""
    resources = entries(credential, "relatedResource")
    urls = [resource.get("id") for resource in resources]
    if not all(is_url(url) for url in urls) or len(set(urls)) != len(urls):
        raise malformed("Each relatedResource must have an id, a URL that no other one has.")
    if not all({"digestSRI", "digestMultibase"} & set(resource) for resource in resources):
        raise malformed("Each relatedResource must have a digestSRI or a digestMultibase.")


def _window(credential: Json, start: str, end: str) -> Window:
    starts = _times(credential, (start,))
    ends = _times(credential, (end,))
    if starts and ends and starts[0][1] > ends[0][1]:
        raise malformed(f"{start} must not be after {end}.")
    return Window(starts, ends)


def _times(credential: Json, names: Iterable[str]) -> tuple[tuple[str, float], ...]:
    return tuple((n, date_time(n, credential[n])) for n in names if n in credential)
