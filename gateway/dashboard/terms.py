"""What somebody searches for in a queue. Pure."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from gateway.errors import BadQuery
from schemas.job import State
from streams.search import Wanted, message_of, owner_of
from streams.views import Glance

SUBJECT_MEMBERS = ("subjectDid", "subject", "to", "url", "did", "verifierDid")
"""Members of a payload that say what a job is about."""
WITHIN_MS = {"10m": 600_000, "1h": 3_600_000, "24h": 86_400_000, "7d": 604_800_000}


@dataclass(frozen=True, slots=True)
class Terms(Wanted):
    """As `Wanted`; text looks into id, name, organization, subject and error at once."""

    NAMES: ClassVar[tuple[str, ...]] = ("q", "job", "org", "subject", "error", "within")
    subject: str | None = None
    text: str | None = None

    def fits(self, job: Glance) -> bool:
        """Whether this is one of them."""
        if not Wanted.fits(self, job):
            return False
        subjects = subjects_of(job)
        if self.subject is not None and not any(self.subject in one for one in subjects):
            return False
        if self.text is None:
            return True
        sought = self.text.lower()
        places = (job.id, job.name, owner_of(job) or "", message_of(job), *subjects)
        return any(sought in place.lower() for place in places)


def parsed(state: State, given: Mapping[str, str], own: str | None) -> Terms:
    """What the fields of the search mean; `own`: the tenant, which sees its own jobs at most.

    Raises BadQuery."""
    within = given.get("within")
    if within and within not in WITHIN_MS:
        raise BadQuery(f"within must be one of {', '.join(WITHIN_MS)}.")
    since = time.time_ns() // 1_000_000 - WITHIN_MS[within] if within else None
    return Terms(
        state,
        name=given.get("job") or None,
        error=given.get("error") or None,
        organization_id=own if own is not None else given.get("org") or None,
        since_ms=since,
        subject=given.get("subject") or None,
        text=(given.get("q") or "").strip() or None,
    )


def subjects_of(job: Glance) -> list[str]:
    """What a job is about."""
    if not isinstance(job.data, dict):
        return []
    found = (job.data.get(member) for member in SUBJECT_MEMBERS)
    return [value for value in found if isinstance(value, str)]
