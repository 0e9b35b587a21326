"""Recorded delivery attempts, as the page of a destination shows them.

The records come from workers: of another version, or of somebody's own making. So any member can
be absent or of another type; what cannot be read is shown as absent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from schemas.job import JobView

INTEGER_MAX = 2**53
TEXT_CHARS = 300


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt of one delivery. Times in ms; None: the record does not say."""

    job_id: str
    link: str
    """The job's id in addresses: for the platform the one inside Redis."""
    event: str
    number: int | None
    started_ms: int | None
    duration_ms: int | None
    outcome: str
    code: str | None
    status: int | None
    """Of the response; None: there was none."""
    address: str | None
    """The address that was dialled, for operators of the platform."""

    @classmethod
    def read(cls, job: JobView, record: Mapping[str, Any], *, is_platform: bool) -> Self:
        """The row of a record of this job."""
        data = job.data if isinstance(job.data, dict) else {}
        operator = record.get("operator")
        return cls(
            job_id=job.id,
            link=(job.ref if is_platform else None) or job.id,
            event=_text(data.get("event")) or "",
            number=_integer(record.get("number")),
            started_ms=_integer(record.get("started")),
            duration_ms=_integer(record.get("durationMs")),
            outcome=_text(record.get("outcome")) or "unknown",
            code=_text(record.get("code")),
            status=_integer(record.get("status")),
            address=_text(operator.get("address")) if isinstance(operator, dict) else None,
        )


def _integer(value: Any) -> int | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < INTEGER_MAX:
        return int(value)
    return None


def _text(value: Any) -> str | None:
    return value[:TEXT_CHARS] if isinstance(value, str) and value else None
