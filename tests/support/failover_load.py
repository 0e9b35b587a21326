"""Jobs come and are worked on while a primary is killed: what it costs."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

from failover import Deployment
from ledger import ids, key
from processes import until
from pydantic import SecretStr

from consumers import Worker
from schemas.job import JobOptions
from schemas.spec import QueueSpec
from streams import Job, NewJob, Queue, RedisSettings, connect
from streams.errors import Unavailable

SPEC = QueueSpec("failover", lease_ms=2_000)
BATCH = 20
PAUSE_S = 0.01
WITHIN_S = 60.0


@dataclass
class Outcome:
    """What became of the jobs; times in seconds."""

    acknowledged: list[str] = field(default_factory=list)
    handled: Counter[str] = field(default_factory=Counter)
    """How often the handler ran for each job."""
    completed: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    """Submissions that were answered with an error and sent again."""
    write_gap_s: float = 0
    """The longest time without an acknowledged submission."""
    work_gap_s: float = 0
    """The longest time without a handled job."""

    @property
    def lost(self) -> int:
        """Acknowledged and gone: the replica had not got them when its primary died."""
        return len(set(self.acknowledged) - set(self.completed))


def settings_of(deployment: Deployment) -> RedisSettings:
    """As a pod would read them: a URL without a password, and files."""
    files = {
        name.removeprefix("REDIS_").lower(): value for name, value in deployment.files().items()
    }
    return RedisSettings(url=SecretStr(deployment.url), **files)


async def kill_under_load(
    deployment: Deployment, *, before: int = 400, after: int = 400
) -> Outcome:
    """`before` jobs are acknowledged, the primary of their queue gets SIGKILL, `after` more are
    acknowledged; then everything that is there is worked off."""
    out = Outcome()
    primary = deployment.primary_of(key(SPEC.name, "jobs"))
    producer, consumer = (connect(settings_of(deployment)) for _ in range(2))
    clock = {"written": time.monotonic(), "worked": time.monotonic()}

    def gap(what: str) -> float:
        now, then = time.monotonic(), clock[what]
        clock[what] = now
        return now - then

    async def handle(job: Job) -> None:
        out.handled[job.id] += 1
        out.work_gap_s = max(out.work_gap_s, gap("worked"))

    async def submit(number: int) -> None:
        jobs = [
            NewJob(name="x", data={}, options=JobOptions(job_id=f"job-{number + one}"))
            for one in range(BATCH)
        ]
        while True:
            try:
                added = await Queue(SPEC, producer).add_many(jobs)
            except Unavailable:
                out.refused += 1
                await asyncio.sleep(PAUSE_S)
                continue
            out.acknowledged += [one.id for one in added]
            out.write_gap_s = max(out.write_gap_s, gap("written"))
            return

    try:
        async with Worker(SPEC, handle, concurrency=20, redis=consumer):
            for number in range(0, before, BATCH):
                await submit(number)
                await asyncio.sleep(PAUSE_S)
            await until(lambda: out.handled, within_s=WITHIN_S, what="work has begun")
            out.write_gap_s = out.work_gap_s = 0
            primary.kill()
            for number in range(before, before + after, BATCH):
                await submit(number)
                await asyncio.sleep(PAUSE_S)
            with deployment.heir_of(primary).client() as raw:

                def finished() -> bool:
                    done = ids(raw, SPEC.name, "completed")
                    everything = raw.hlen(key(SPEC.name, "jobs"))
                    return set(out.acknowledged[-BATCH:]) <= set(done) and len(done) == everything

                await until(finished, within_s=WITHIN_S, what="what is there is done")
                out.completed.update(ids(raw, SPEC.name, "completed"))
    finally:
        await producer.close()
        await consumer.close()
    return out
