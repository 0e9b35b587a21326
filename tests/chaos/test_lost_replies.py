"""One reply of each verb is lost on its way back: Redis has obeyed and nobody knows.

The same life of a queue is lived once for every script, through a proxy that swallows the reply
of the script's first call and cuts the connection. No job may be lost, doubled or orphaned.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from fault_proxy import FaultProxy, calls
from ledger import assert_at_rest, ended_events, ids, pending
from processes import until

from consumers import Worker
from consumers.processor import Context, Reject
from schemas.job import Backoff, JobOptions
from schemas.spec import QueueSpec
from streams import Job, NewJob, Queue, connect, errors
from streams.scripts import SCRIPTS

QUEUE = "chaos"
SPEC = QueueSpec(QUEUE, lease_ms=1_500, defaults=JobOptions(backoff=Backoff(type="fixed", delay=20)))
VERBS = [
    *("add", "claim", "complete", "retry", "fail", "release", "renew", "promote", "reclaim"),
    *("prune", "sweep", "forward", "heartbeat", "leave", "cancel", "revive", "remove"),
    *("control", "note", "lookup", "counts"),
]
CALLBACK = "https://example.com/hook"


class Life:
    """What happens to the jobs of one queue, from the first add to the last ending."""

    def __init__(self, url: str) -> None:
        self.redis = connect(url)
        self.queue = Queue(SPEC, self.redis)
        self.gate = asyncio.Event()
        self.held = asyncio.Event()
        self.completed: list[str] = []
        self.dead: list[str] = []

    async def handle(self, job: Job, context: Context) -> dict[str, int]:
        if job.data.get("held"):
            self.held.set()
            await self.gate.wait()
        if job.data.get("rejected") and not self.gate.is_set():
            raise Reject("no", code="no")
        if job.attempts_made < job.data.get("fails", 0):
            raise RuntimeError("told to fail")
        await context.progress(50)
        return {"n": 1}

    def worker(self) -> Worker:
        return Worker(SPEC, self.handle, concurrency=8, redis=self.redis)

    async def add(self, count: int = 1, options: JobOptions | None = None, **data: Any) -> list[str]:
        jobs = [NewJob(name="x", data=data, options=options)] * count
        return [one.id for one in await self.queue.add_many(jobs)]
