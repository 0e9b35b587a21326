"""Numbers, times and shapes as people read them: the filters of the templates. Pure."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

_STEPS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))
NOTHING = "\u2013"
SPARK_WIDTH, SPARK_HEIGHT = 120, 28
LAST_REPRESENTABLE_MS = 253_402_300_799_000


def number(value: float) -> str:
    """1,234,567."""
    return f"{value:,.0f}"


def short(value: float) -> str:
    """A count in at most five characters: 999, 12.3k, 4.5M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= limit:
            scaled = value / (1e3 if unit == "k" else limit)
            return f"{scaled:.1f}{unit}" if scaled < 100 else f"{scaled:.0f}{unit}"
    return f"{value:,.0f}"


def duration(ms: float | None) -> str:
    """850 ms, 12.4 s, 3 min 20 s, 5 h 12 min; a dash for None."""
    if ms is None:
        return NOTHING
    if ms < 1_000:
        return f"{ms:.0f} ms"
    if ms < 60_000:
        return f"{ms / 1000:.1f} s"
    for (size, unit), (below, below_unit) in pairwise(_STEPS):
        if ms >= size:
            rest = int(ms % size // below)
            return f"{int(ms // size)} {unit}" + (f" {rest} {below_unit}" if rest else "")
    return f"{ms / 1000:.1f} s"


def ago(ms: float, now_ms: float) -> str:
    """How long before (or after) now."""
    apart = now_ms - ms
    if abs(apart) < 1_000:
        return "now"
    for size, unit in _STEPS:
        if abs(apart) >= size:
            count = int(abs(apart) // size)
            return f"{count} {unit} ago" if apart > 0 else f"in {count} {unit}"
    return "now"


_SWITCHES = {
    "gone": "it answered 410 Gone",
    "failing": "its deliveries kept failing",
    "operator": "by an operator",
}


def cause_of_switch(reason: str) -> str:
    """Why a destination of webhooks changed, in words."""
    return _SWITCHES.get(reason, reason)


def iso(ms: float | None) -> str:
    """UTC, to the second: 2026-11-24T08:00:00Z; a dash for None."""
    if ms is None:
        return NOTHING
    clamped = min(max(ms, 0), LAST_REPRESENTABLE_MS)
    return datetime.fromtimestamp(clamped / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def size(count: float) -> str:
    """Bytes: 512 B, 12 KiB, 3.4 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit in ("B", "KiB") else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.0f} B"


def percent(share: float) -> str:
    """0.034 -> 3.4 %."""
    scaled = share * 100
    return f"{scaled:.1f} %" if 0 < scaled < 10 else f"{scaled:.0f} %"


def pretty(value: Any) -> str:
    """JSON on several lines."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode()


def segment(text: str) -> str:
    """One segment of a path."""
    return quote(text, safe="")


def job_segment(job: Mapping[str, Any]) -> str:
    """The segment that names a job in a path: its `ref` where the reader may know that, so that it
    is this job whoever chose its id, else its id."""
    return segment(job.get("ref") or job["id"])


class Spark(NamedTuple):
    """Two SVG paths: the line, and the area below it."""

    line: str
    area: str


def spark(values: Sequence[float]) -> Spark:
    """A sparkline through `values`, oldest first, in a box of 120 x 28."""
    if len(values) < 2:
        values = [0, *values, 0][:2]
    top = max(values) or 1
    step = SPARK_WIDTH / (len(values) - 1)
    points = [
        f"{at * step:.0f} {SPARK_HEIGHT - 1 - value / top * (SPARK_HEIGHT - 3):.1f}"
        for at, value in enumerate(values)
    ]
    line = "M" + "L".join(points)
    return Spark(line, f"{line}L{SPARK_WIDTH} {SPARK_HEIGHT}L0 {SPARK_HEIGHT}Z")


FILTERS: Mapping[str, Callable[..., Any]] = {
    "number": number,
    "short": short,
    "duration": duration,
    "ago": ago,
    "cause_of_switch": cause_of_switch,
    "iso": iso,
    "size": size,
    "percent": percent,
    "pretty": pretty,
    "segment": segment,
    "job_segment": job_segment,
    "spark": spark,
}
