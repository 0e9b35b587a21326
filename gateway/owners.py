"""Whose a job is, for what is told without its data."""

from collections import OrderedDict

from streams import Redis
from streams.live import Happening
from streams.outcomes import owners
from streams.store import Store

JOBS_KEPT = 20_000
ANSWERS_KEPT = 1_000


class Owners:
    """Asks in bulk and remembers: jobs do not change hands, and many listen to one stream."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._jobs: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._answers: OrderedDict[Happening, list[str | None]] = OrderedDict()

    async def of(self, happening: Happening) -> list[str | None]:
        """The organization of each of its jobs; None: unknown, or the job names none.

        A job that is gone before anybody asked is unknown for good. Raises Unavailable."""
        if happening in self._answers:
            return self._answers[happening]
        queue, jobs = happening.queue, happening.jobs
        if happening.event == "added":  # an id that was used before may be somebody else's now
            for job in jobs:
                self._jobs.pop((queue, job), None)
        unknown = [job for job in jobs if (queue, job) not in self._jobs]
        found = await owners(Store(self._redis, queue), unknown)
        pairs = zip(unknown, found, strict=True)
        self._jobs.update({(queue, job): owner for job, owner in pairs if owner is not None})
        answer = self._answers[happening] = [self._jobs.get((queue, job)) for job in jobs]
        while len(self._jobs) > JOBS_KEPT:
            self._jobs.popitem(last=False)
        if len(self._answers) > ANSWERS_KEPT:
            self._answers.popitem(last=False)
        return answer
