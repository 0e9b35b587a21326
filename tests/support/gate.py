"""Jobs that run until a test lets them go, and waiting for jobs to end."""

import asyncio

from processes import until

from schemas.job import State
from schemas.spec import QueueSpec
from streams import Job, JobView, NewJob, Queue, Redis

PATIENCE_S = 20
SPEC = QueueSpec("chaos")


class Gate:
    """A handler whose jobs run until the gate opens; knows who is inside."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.inside: list[str] = []
        self.most = 0
        self.ended: list[str] = []

    async def __call__(self, job: Job) -> str:
        self.inside.append(job.id)
        self.most = max(self.most, len(self.inside))
        try:
            await self.open.wait()
        finally:
            self.inside.remove(job.id)
        self.ended.append(job.id)
        return "passed"

    async def holds(self, count: int) -> None:
        await until(
            lambda: len(self.inside) == count, within_s=PATIENCE_S, what=f"{count} are inside"
        )


async def add(redis: Redis, count: int, spec: QueueSpec = SPEC) -> list[str]:
    jobs = await Queue(spec, redis).add_many([NewJob("work", {})] * count)
    return [job.id for job in jobs]


async def ended(redis: Redis, job_id: str, queue: str = "chaos") -> JobView:
    """The job, once it has ended."""
    found: list[JobView] = []

    async def has_ended() -> bool:
        job = await Queue(queue, redis).get(job_id)
        if job is not None and job.state in (State.COMPLETED, State.FAILED):
            found.append(job)
        return bool(found)

    await until(has_ended, within_s=PATIENCE_S, what=f"{job_id} has ended")
    return found[0]


async def all_ended(redis: Redis, count: int, spec: QueueSpec = SPEC) -> None:
    async def have() -> bool:
        counts = await Queue(spec, redis).counts()
        return counts.completed + counts.failed == count

    await until(have, within_s=PATIENCE_S, what=f"{count} jobs have ended")
