"""docs/processors.md names everything that the author of a processor can use."""

import dataclasses
import re
from pathlib import Path

import pytest

from consumers.processor import Context, Processor, Resources
from schemas.job import AttemptError
from schemas.spec import QueueSpec
from streams import Job
from streams.sanitize import MAX_DEPTH

PAGE = (Path(__file__).parents[2] / "docs" / "processors.md").read_text()


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def public(kind: type) -> set[str]:
    slots = {name for name in getattr(kind, "__slots__", ()) if not name.startswith("_")}
    return slots | {name for name in vars(kind) if not name.startswith("_")}


def test_every_field_of_a_spec_is_there() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", section("QueueSpec"), re.MULTILINE))
    assert named == {field.name for field in dataclasses.fields(QueueSpec)}


def test_everything_of_the_context_is_there() -> None:
    named = set(re.findall(r"context\.(\w+)", section("The second argument")))
    assert named == public(Context)


def test_what_handlers_need_of_a_job_is_there() -> None:
    named = set(re.findall(r"job\.(\w+)", section("The job")))
    assert named <= public(Job)
    assert {"payload", "data", "id", "attempts_made", "attempts_started", "claimed_ms"} <= named


def test_a_processor_is_made_as_it_says() -> None:
    fields = [field.name for field in dataclasses.fields(Processor)]
    assert f"Processor({fields[0]}, {fields[1]}, {fields[2]}=None, {fields[3]}=None)" in PAGE
    for field in dataclasses.fields(Resources):
        assert field.name == "keks_in_use" or f"`{field.name}`" in PAGE


@pytest.mark.parametrize("word", ["Reject", "Retry", "RetryLater", "ClaimLost", "InvalidValue"])
def test_every_error_is_there(word: str) -> None:
    assert f"`{word}" in PAGE


def test_the_limits_are_those_of_the_code() -> None:
    assert f"at most {MAX_DEPTH} levels" in PAGE
    assert QueueSpec("x").timeout_ms == 15 * 60_000
    assert "timeout" in (AttemptError.__pydantic_fields__["reason"].description or "timeout")
