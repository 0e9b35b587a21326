"""What people are told of a value that does not fit: no word of Python, and no pattern."""

import re
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from schemas.fields import Did, OrganizationId, WebUrl
from schemas.job import JobId, QueueName
from schemas.plain_words import plain
from schemas.queues.did_operations import Name, Path, Uri
from schemas.queues.emails import TemplateName
from schemas.spec import catalog
from schemas.status import ListId


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Model(BaseModel, extra="forbid"):
    whole: int = 1
    number: float = 1.0
    text: str = ""
    flag: bool = False
    rows: list[int] = Field(default_factory=list, max_length=2)
    few: Annotated[int, Field(ge=1, le=5)] = 1
    short: Annotated[str, StringConstraints(min_length=1, max_length=3)] = "a"
    kind: Literal["a", "b"] = "a"
    colour: Colour = Colour.RED
    organization: OrganizationId = "o"
    did: Did = "did:a:b"
    url: WebUrl = "https://a.b"
    job_id: JobId = "a"
    queue: QueueName = "a"
    name: Name = "#a"
    path: Path = "a"
    uri: Uri = "a:b"
    template: TemplateName = "a"
    list_id: ListId = "a" * 26 + "-" + "a" * 13
    inner: dict[str, int] = Field(default_factory=dict)


def told(**values: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Model.model_validate(values)
    fault = caught.value.errors()[0]
    return plain(fault["type"], fault["msg"], fault.get("ctx"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"whole": "x"}, "must be a whole number"),
        ({"whole": 1.5}, "must be a whole number"),
        ({"number": "x"}, "must be a number"),
        ({"text": 1}, "must be a text"),
        ({"flag": "perhaps"}, "must be true or false"),
        ({"rows": {}}, "must be an array"),
        ({"rows": [1, 2, 3]}, "must have at most 2 elements"),
        ({"few": 0}, "must be at least 1"),
        ({"few": 6}, "must be at most 5"),
        ({"short": ""}, "must have at least 1 character"),
        ({"short": "abcd"}, "must have at most 3 characters"),
        ({"kind": "c"}, "must be 'a' or 'b'"),
        ({"colour": "green"}, "must be 'red' or 'blue'"),
        ({"organization": "a\n"}, "must not hold control characters"),
        ({"did": "x"}, "must be a DID, as did:web:example.org"),
        ({"url": "ftp://a"}, "must start with https:// or http://"),
        ({"job_id": "a b"}, "must be printable ASCII without spaces"),
        ({"queue": "A"}, "must consist of a-z, 0-9, _ and -, the first a letter or digit"),
        ({"name": "x"}, "must be a fragment of the DID, as #key-1"),
        ({"path": "//"}, "must be a path of at most 8 segments, as issuers/acme"),
        ({"uri": "a b"}, "must be printable ASCII without spaces"),
        ({"list_id": "x"}, "must be the id of a status list"),
        ({"more": 1}, "is not a known member"),
        ({"inner": []}, "must be an object"),
    ],
)
def test_a_fault_is_told_in_plain_words(values: dict[str, Any], words: str) -> None:
    assert told(**values) == words


def patterns(schema: Any) -> set[str]:
    """Every pattern in a core schema."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if one.get("type") == "str" and isinstance(one.get("pattern"), str):
                found.add(one["pattern"])
            waiting += list(one.values())
        elif isinstance(one, list | tuple):
            waiting += one
    return found


@pytest.mark.parametrize("queue", catalog())
def test_every_pattern_of_a_payload_has_words(queue: str) -> None:
    payload = catalog()[queue].payload
    assert payload is not None
    found = patterns(payload.__pydantic_core_schema__)
    assert found
    for pattern in found:
        words = plain("string_pattern_mismatch", "", {"pattern": pattern})
        assert words.startswith("must "), pattern
        assert not re.search(r"[\\^]|\(\?", words)
