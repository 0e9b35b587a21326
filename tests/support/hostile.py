"""Everything that a handler may raise or return."""

import asyncio
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from consumers import Reject, RetryLater
from consumers.processor import Retry
from streams import Job

Behaviour = Callable[[], Any]
ANY_TEXT = st.lists(st.sampled_from("\0\ud800\udfff\nab\N{SNOWMAN}") | st.characters()).map("".join)
"""Text with lone surrogates and NUL in many examples; `st.text` finds them in one of a hundred."""
ANY_VALUE = st.recursive(
    st.none() | st.floats() | st.integers() | ANY_TEXT | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT | st.integers(), inner),
)


class Unreadable(Exception):
    """An error whose text is an error."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def __str__(self) -> str:
        raise self.error

    __repr__ = __str__


class Bare(RetryLater):
    """A RetryLater without what the base class sets."""

    def __init__(self) -> None:
        Exception.__init__(self, "bare")


class BareReject(Reject):
    """A Reject without a code."""

    def __init__(self) -> None:
        Exception.__init__(self, "bare")


class BareRetry(Retry):
    """A Retry without code and wait."""

    def __init__(self) -> None:
        Exception.__init__(self, "bare")


def damaged(after_ms: Any) -> RetryLater:
    """A RetryLater whose wait was overwritten."""
    error = RetryLater(0)
    error.after_ms = after_ms
    return error


def cyclic() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"in": value}
    return value


ERRORS: dict[str, Callable[[], BaseException]] = {
    "surrogate": lambda: ValueError("a\ud800b"),
    "nul": lambda: ValueError("a\0b"),
    "huge": lambda: ValueError("x" * 1_000_000),
    "unreadable": lambda: Unreadable(KeyError(1)),
    "unreadable exit": lambda: Unreadable(SystemExit(1)),
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "generator exit": GeneratorExit,
    "stop": StopAsyncIteration,
    "cancelled": asyncio.CancelledError,
    "base": lambda: BaseException("base"),
    "group": lambda: ExceptionGroup("several", [ValueError("\ud800"), Unreadable(KeyError(1))]),
    "base group": lambda: BaseExceptionGroup("several", [SystemExit(1), KeyboardInterrupt()]),
    "code is an object": lambda: Reject("no", code=object()),  # type: ignore[arg-type]
    "code is a set": lambda: Retry("no", code={1}),  # type: ignore[arg-type]
    "code is unreadable": lambda: Reject("no", code=Unreadable(SystemExit())),  # type: ignore[arg-type]
    "code has a surrogate": lambda: Reject("no", code="\udfff"),
    "code is huge": lambda: Retry("no", code="x" * 1_000_000),
    "no code": BareReject,
    "no code, no wait": BareRetry,
    "no wait": Bare,
    "message is no text": lambda: Reject(b"\xff"),  # type: ignore[arg-type]
    "decimal": lambda: RetryLater(Decimal(5)),
    "negative": lambda: RetryLater(-5),
    "inf": lambda: RetryLater(math.inf),
    "nan": lambda: RetryLater(math.nan),
    "text": lambda: RetryLater("5"),  # type: ignore[arg-type]
    "damaged by inf": lambda: damaged(math.inf),
    "damaged by text": lambda: damaged("5"),
}
"""By name: what makes the error that a handler raises."""

RESULTS: dict[str, Behaviour] = {
    "object": object,
    "nan": lambda: math.nan,
    "infinity inside": lambda: {"a": [None, -math.inf]},
    "surrogate": lambda: "\ud800",
    "surrogate key": lambda: {"\ud800": 1},
    "bytes": lambda: b"\xff",
    "number key": lambda: {1: 2},
    "big number": lambda: 2**70,
    "cyclic": cyclic,
    "deep": lambda: nested(251),
    "too deep": lambda: nested(5_000),
    "huge": lambda: "x" * (16 * 1024 * 1024 + 1),
    "error": lambda: Unreadable(SystemExit()),
    "nothing": lambda: None,
    "large": lambda: "\0" * 40_000,
}
"""By name: what makes the value that a handler returns."""

BEHAVIOURS = [f"raise {name}" for name in ERRORS] + [f"return {name}" for name in RESULTS]


async def behave(job: Job) -> Any:
    """A handler that does what its job's name says; any other name completes."""
    verb, _, name = job.name.partition(" ")
    if verb == "raise" and name in ERRORS:
        error = ERRORS[name]()
        raise error
    if verb == "return" and name in RESULTS:
        return RESULTS[name]()
    return "fine"
