"""What becomes of a delivery, and what it says about its destination. Pure: one table."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal

from consumers.delivery.retry_after import retry_after_ms
from outbound.errors import Blocked, OutboundError

Destiny = Literal["success", "retry", "failed", "interrupted"]
About = Literal["success", "failure", "neutral", "gone"]
"""Of the destination: it works, it does not, this says nothing, it is no more."""

THROTTLED_MS = 2_000
"""How long a destination that answers 429 without Retry-After gets no other delivery."""
_TRY_AGAIN = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
_NOT_ITS_FAULT = frozenset({"proxy_error"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """`code` is a stable word, `message` for people; both may be shown to the tenant."""

    destiny: Destiny
    code: str
    message: str
    about: About
    after_ms: int = 0
    """The next attempt comes no sooner (WH-17)."""
    defer_ms: int = 0
    """No other delivery goes there for so long (WH-18)."""


INTERRUPTED = Verdict(
    "interrupted", "interrupted", "The worker was told to stop before an answer came.", "neutral"
)
"""Not charged: the job runs again, and the receiver may see it twice."""


def of_answer(
    status: int, headers: Mapping[str, str], *, retry_on_4xx: bool, now_s: float
) -> Verdict:
    """By the status line alone, and Retry-After for when (WH-10..WH-14, WH-17)."""
    code, message = f"http_{status}", f"The receiver answered {status}{_phrase(status)}."
    if status < HTTPStatus.MULTIPLE_CHOICES:
        return Verdict("success", code, message, "success")
    if status < HTTPStatus.BAD_REQUEST:
        message = f"The receiver answered {status}, and redirects are not followed."
        return Verdict("failed", "redirect_not_followed", message, "neutral")
    if status == HTTPStatus.GONE:
        return Verdict("failed", "gone", "The receiver answered 410: it is gone for good.", "gone")
    if status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _TRY_AGAIN:
        # A receiver that refuses one event may take the next.
        return Verdict("retry" if retry_on_4xx else "failed", code, message, "neutral")
    throttles = status == HTTPStatus.TOO_MANY_REQUESTS
    asked_ms = None
    if throttles or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        asked_ms = retry_after_ms(headers.get("Retry-After", ""), now_s)
    defer_ms = asked_ms if asked_ms is not None else (THROTTLED_MS if throttles else 0)
    about: About = "neutral" if throttles else "failure"
    return Verdict("retry", code, message, about, asked_ms or 0, defer_ms)


def of_error(error: OutboundError) -> Verdict:
    """No answer: tried again, unless the URL may not be called at all (WH-11, SS-7)."""
    if isinstance(error, Blocked):
        return Verdict("failed", error.code, str(error), "neutral")
    about: About = "neutral" if error.code in _NOT_ITS_FAULT else "failure"
    return Verdict("retry", error.code, str(error), about)


def _phrase(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""
