"""How an organization wants its webhooks tried again, and jobs that say nothing about it (WH-16).

The choice is resolved when a job is added, as all options are: job, organization, queue, default.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from schemas.job import JobOptions
from schemas.schedules import NAMES, OPTIONS, STANDARD, Schedule
from streams import keys
from streams.connection import Redis
from streams.encode import tenant_of
from streams.job import NewJob
from streams.store import change

KNOWN_S = 2.0
"""How long a process believes what it has read."""
KNOWN_MAX = 10_000
READS_AT_ONCE = 100


async def choose(redis: Redis, organization_id: str, schedule: Schedule, *, who: bytes) -> None:
    """From now on; jobs that are there already keep theirs. Raises Unavailable."""
    await change(redis, _at(organization_id), "dest_schedule", schedule=schedule, who=who)


async def chosen(redis: Redis, organization_id: str) -> Schedule:
    """What an organization has chosen. Raises Unavailable."""
    at = _at(organization_id)
    stored = await redis.command("HGET", at["settings"], "schedule", key=at.prefix)
    return next((name for name in NAMES if stored == name.encode()), STANDARD)


class Schedules:
    """What organizations have chosen, for one producer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._known: dict[str, tuple[Schedule, float]] = {}

    async def fill(self, jobs: Sequence[NewJob]) -> Sequence[NewJob]:
        """The jobs, each with its organization's schedule if it has no backoff of its own.

        Raises Unavailable."""
        open_to = {tenant_of(job.data or {}) for job in jobs if _says_nothing(job)}
        found = await self._chosen(open_to)
        if all(name not in OPTIONS for name in found.values()):
            return jobs
        return [_filled(job, found) if _says_nothing(job) else job for job in jobs]

    async def _chosen(self, organizations: Iterable[str]) -> dict[str, Schedule]:
        now_s = time.monotonic()
        found: dict[str, Schedule] = {}
        unknown: list[str] = []
        for one in organizations:
            name, until_s = self._known.get(one, (STANDARD, now_s))
            if until_s > now_s:
                found[one] = name
            else:
                unknown.append(one)
        for start in range(0, len(unknown), READS_AT_ONCE):
            part = unknown[start : start + READS_AT_ONCE]
            names = await asyncio.gather(*(chosen(self._redis, one) for one in part))
            found |= zip(part, names, strict=True)
        self._remember({one: found[one] for one in unknown}, now_s + KNOWN_S)
        return found

    def _remember(self, found: dict[str, Schedule], until_s: float) -> None:
        if len(self._known) + len(found) > KNOWN_MAX:
            self._known.clear()
        self._known |= {one: (name, until_s) for one, name in list(found.items())[:KNOWN_MAX]}


def _at(organization_id: str) -> keys.Keys:
    return keys.destination(keys.destination_id(organization_id, ""))


def _says_nothing(job: NewJob) -> bool:
    return job.options is None or job.options.backoff is None


def _filled(job: NewJob, found: dict[str, Schedule]) -> NewJob:
    options = OPTIONS.get(found[tenant_of(job.data or {})])
    return job if options is None else replace(job, options=_over(job.options, options))


def _over(own: JobOptions | None, chosen_by_organization: JobOptions) -> JobOptions:
    return chosen_by_organization if own is None else own.over(chosen_by_organization)
