"""Times in credentials: xsd:dateTime strings and the NumericDates of a JWT, as epoch seconds."""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from credentials.verdict import Invalid

_DATE_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})T(24:00:00|\d{2}:\d{2}:\d{2})(?:(\.\d{1,30})|)"
    r"(Z|[+-](?:(?:0\d|1[0-3]):[0-5]\d|14:00))?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_S = (datetime.min.replace(tzinfo=UTC) - _EPOCH).total_seconds()
_LAST_S = (datetime.max.replace(microsecond=0, tzinfo=UTC) - _EPOCH).total_seconds()


def date_time(name: str, value: Any) -> float:
    """Epoch seconds of an xsd:dateTime. One without an offset is read as UTC (VCDM 2.0, 4.9).

    Raises Invalid MALFORMED_VALUE_ERROR.
    """
    matched = _DATE_TIME.fullmatch(value) if isinstance(value, str) and len(value) <= 64 else None
    if matched is not None:
        day, clock, fraction, offset = matched.groups()
        midnight = clock == "24:00:00"
        if not midnight or not (fraction or "").strip(".0"):
            text = f"{day}T{'00:00:00' if midnight else clock}{_offset(offset)}"
            try:
                seconds = (datetime.fromisoformat(text) - _EPOCH).total_seconds()
            except (ValueError, OverflowError):
                pass
            else:
                return seconds + float(fraction or 0) + (86_400 if midnight else 0)
    raise Invalid(
        "MALFORMED_VALUE_ERROR",
        f"{name} must be a date and time such as 2030-01-31T00:00:00Z.",
    )


def _offset(offset: str | None) -> str:
    return "+00:00" if offset in (None, "Z") else str(offset)


def numeric_date(name: str, value: Any) -> float:
    """Epoch seconds of a NumericDate: any finite JSON number (B5).

    Raises Invalid MALFORMED_VALUE_ERROR.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Invalid("MALFORMED_VALUE_ERROR", f"{name} must be a number of seconds since 1970.")
    return float(value)


def written(seconds: float) -> str:
    """Epoch seconds as a dateTime in UTC, whole seconds, within the years 1 to 9999."""
    whole = math.floor(min(max(seconds, _FIRST_S), _LAST_S))
    return (_EPOCH + timedelta(seconds=whole)).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Window:
    """When a token may be accepted: after all of the starts and before all of the ends.

    Names are those of the claims, for the message.
    """

    starts: tuple[tuple[str, float], ...] = ()
    ends: tuple[tuple[str, float], ...] = ()

    def check(self, now_s: float, skew_s: float) -> None:
        """One skew for every claim (F8). Raises Invalid NOT_YET_VALID or EXPIRED."""
        for name, start in self.starts:
            if now_s + skew_s < start:
                raise Invalid("NOT_YET_VALID", f"{name} is {written(start)}, which is to come.")
        for name, end in self.ends:
            if now_s - skew_s >= end:
                raise Invalid("EXPIRED", f"{name} was {written(end)}.")


def signature_window(payload: dict[str, Any]) -> Window:
    """What `nbf`, `iat` and `exp` say. Raises Invalid MALFORMED_VALUE_ERROR."""
    return Window(
        tuple((n, numeric_date(n, payload[n])) for n in ("nbf", "iat") if n in payload),
        tuple((n, numeric_date(n, payload[n])) for n in ("exp",) if n in payload),
    )
