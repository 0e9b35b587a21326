"""What a job is, as everyone outside the engine sees it."""

from typing import Any

import pytest

from schemas.job import code_of


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
