"""Pointers (RFC 6901) to what is wrong in a submitted document."""

from collections.abc import Iterable, Sequence
from typing import Any

from jsonschema.exceptions import ValidationError as SchemaMismatch
from pydantic import ValidationError

from gateway.errors import Fault
from schemas.plain_words import plain

DETAIL_MAX_CHARS = 300
POINTER_MAX_CHARS = 256
FAULTS_MAX = 20
"""What one answer lists: nobody mends more at a time."""
FORMATTED_MAX = 1_000
"""Of more than that none is put into words: this takes longer than finding them."""
Path = Sequence[str | int]


def of_model(error: ValidationError, document: Any, prefix: Path = ()) -> list[Fault]:
    """The first faults pydantic found in `document`, which lies at `prefix` in the body."""
    if error.error_count() > FORMATTED_MAX:
        words = f"{error.error_count()} members or elements of it do not fit, too many to be listed"
        return [Fault(pointer(prefix), words)]
    found = error.errors(include_url=False, include_input=False)
    return _distinct(
        Fault(
            pointer([*prefix, *_place(one["loc"], document, one["type"] == "missing")]),
            plain(one["type"], one["msg"], one.get("ctx"))[:DETAIL_MAX_CHARS],
        )
        for one in found
    )


def of_schema(errors: Iterable[SchemaMismatch], prefix: Path = ()) -> list[Fault]:
    """The faults a JSON Schema found in the value that lies at `prefix` in the body."""
    return _distinct(
        Fault(pointer([*prefix, *error.absolute_path]), error.message[:DETAIL_MAX_CHARS])
        for error in errors
    )


def pointer(path: Iterable[str | int]) -> str:
    """`["data", "a/b", 0]` -> `/data/a~1b/0`; the beginning of one that is very long."""
    text = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return text if len(text) <= POINTER_MAX_CHARS else text[: POINTER_MAX_CHARS - 3] + "..."


def _place(loc: Path, document: Any, missing: bool) -> list[str | int]:
    """`loc` without the steps that are no places: pydantic also names the branches of unions.

    A missing member is pointed at where it should be.
    """
    path: list[str | int] = []
    for number, part in enumerate(loc, start=1):
        if _has(document, part):
            document = document[part]
        elif not (missing and number == len(loc)):
            continue
        path.append(part)
    return path


def _has(document: Any, part: str | int) -> bool:
    if isinstance(document, list):
        return isinstance(part, int) and part < len(document)
    return isinstance(document, dict) and part in document


def _distinct(faults: Iterable[Fault]) -> list[Fault]:
    found: dict[Fault, None] = {}
    for fault in faults:
        found[fault] = None
        if len(found) == FAULTS_MAX:
            break
    return list(found)
