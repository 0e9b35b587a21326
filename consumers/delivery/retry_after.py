"""Retry-After (RFC 9110 section 10.2.3): how long a receiver asks to be left alone."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MOST_S = 86_400
"""A receiver that asks for more is asked again after a day (WH-17)."""

_SECONDS = re.compile(r"[0-9]{1,100}")
_DATE = re.compile(
    r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT"
    r"|[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT"
    r"|[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}"
)
"""The three forms of an HTTP-date (RFC 9110 section 5.6.7)."""


def retry_after_ms(value: str, now_s: float) -> int | None:
    """Milliseconds from `now_s` (epoch); None for a header that means nothing.

    >>> retry_after_ms("120", 0.0), retry_after_ms("-5", 0.0)
    (120000, None)
    """
    if _SECONDS.fullmatch(value):
        return min(int(value), MOST_S) * 1_000
    if _DATE.fullmatch(value) is None:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    wait_s = moment.replace(tzinfo=UTC) - datetime.fromtimestamp(now_s, UTC)
    return int(min(max(wait_s.total_seconds(), 0), MOST_S) * 1_000)
