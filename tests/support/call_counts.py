"""How much work a function is: calls are counted, not time."""

import sys
from collections.abc import Callable
from typing import Any

CALLS_MAX = 4_000_000
"""Calls of functions, those of the library included: half a second of a thread at worst."""


class TooManyCalls(Exception):
    """The function was stopped."""


def count_calls(function: Callable[[], None], limit: int = CALLS_MAX) -> int:
    """How many calls `function` makes; TooManyCalls stops it."""
    count = 0

    def profile(_frame: Any, event: str, _arg: Any) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1
            if count > limit:
                raise TooManyCalls

    sys.setprofile(profile)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count
