"""What a job is, as everyone outside the engine sees it."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas.job import JobOptions, KeepFor, code_of


@pytest.mark.parametrize("member", ["removeOnComplete", "removeOnFail"])
@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (True, True),
        (False, False),
        (None, None),
        (0, True),
        (10, None),
        (1, None),
        ({"count": 10}, None),
        ({"count": 0}, True),
        ({"count": 10, "age": 60}, KeepFor(age=60)),
        ({"age": 60}, KeepFor(age=60)),
    ],
)
def test_how_long_a_job_is_kept(member: str, given: Any, kept: Any) -> None:
    options = JobOptions.model_validate({member: given})
    assert options.model_dump(by_alias=True)[member] == (
        kept.model_dump() if isinstance(kept, KeepFor) else kept
    )


@pytest.mark.parametrize(
    "given",
    [
        *(-1, 1.5, "10", [], {}, {"count": -1}, {"count": "1"}, {"count": True}, {"count": None}),
        *({"count": 1, "age": 0}, {"count": 1, "limit": 5}, {"age": 0}, 2**40, float("inf")),
    ],
)
def test_what_says_nothing_about_keeping(given: Any) -> None:
    with pytest.raises(ValidationError):
        JobOptions.model_validate({"removeOnComplete": given})
    TypeAdapter(JobOptions).json_schema()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"reason": "rejected", "code": "issuer_unknown"}, "issuer_unknown"),
        ({"reason": "failed", "code": "TimeoutError"}, "TimeoutError"),
        ({"reason": "timeout"}, "timeout"),
        ({"reason": "stalled", "code": None}, "stalled"),
        ({}, "failed"),
    ],
)
def test_what_a_failure_is_sorted_by(error: dict[str, Any], code: str) -> None:
    assert code_of(error) == code
