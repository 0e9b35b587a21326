"""One reply of each verb is lost on its way back: Redis has obeyed and nobody knows.

The same life of a queue is lived once for every script, through a proxy that swallows a reply of
that script and cuts the connection. No job may be lost, doubled or orphaned.
"""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from fault_proxy import FaultProxy, calls
from ledger import assert_at_rest, ended_events, entries, ids
from processes import until
from redis_servers import Server, valkey

from consumers import Context, Reject, Worker
from consumers.hooks.minutes import counted
from schemas.job import Backoff, JobOptions, State
from schemas.spec import QueueSpec
from streams import Job, NewJob, Queue, connect
from streams.bulk import Verb, act
from streams.claims import Claims
from streams.errors import NotFound, WrongState
from streams.keys import QueueKeys
from streams.scripts import SCRIPTS
from streams.upkeep import Upkeep
from streams.why import standing

QUEUE = "chaos"
SPEC = QueueSpec(
    QUEUE, lease_ms=1_500, defaults=JobOptions(backoff=Backoff(type="fixed", delay=20))
)
VERBS = [
    *("open", "add", "claim", "complete", "retry", "fail", "release", "renew", "promote"),
    *("reclaim", "prune", "sweep", "forward", "heartbeat", "leave", "cancel", "revive", "remove"),
    *("control", "note", "lookup", "counts", "page", "clean"),
    *("advance", "prioritize", "refuse", "tick", "why", "upkeep", "drain"),
]
IN_BULK = ["advance", "cancel", "revive", "remove"]
"""Verbs of one job that are also sent for many in one write."""
DID_SOMETHING = {
    "claim": lambda reply: len(reply) > 100,
    "promote": lambda reply: re.search(rb"OK\r\n:[1-9]", reply) is not None,
    "reclaim": lambda reply: re.search(rb"OK\r\n:[1-9]", reply) is not None,
}
"""Verbs that are called all the time: which replies are worth losing."""
CALLED_BACK = JobOptions(callback_url="https://example.com/hook")
DONE = 15.0


class Life:
    """What happens to the jobs of one queue, from the first add to the last ending."""

    def __init__(self, url: str, direct_url: str, *, bulk: bool = False) -> None:
        self.redis = connect(url)
        self.direct_url = direct_url
        self.bulk = bulk
        self.queue = Queue(SPEC, self.redis)
        self.gate = asyncio.Event()
        self.started: Counter[str] = Counter()
        self.completed: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()

    async def handle(self, job: Job, context: Context) -> dict[str, int]:
        """Do what the payload says."""
        self.started[job.id] += 1
        if job.data.get("held"):
            await self.gate.wait()
        if job.data.get("rejected") and not self.gate.is_set():
            raise Reject("not before the gate is open", code="closed")
        if job.attempts_made < job.data.get("fails", 0):
            raise RuntimeError("told to fail")
        await context.progress(50)
        return {"n": 1}

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """A worker in the block; at its end what still runs is released at once."""
        worker = Worker(SPEC, self.handle, concurrency=40, redis=self.redis, drain_timeout_s=0)
        worker.on("completed", lambda job: self.completed.update([job.id]))
        worker.on("failed", lambda job: self.failed.update([job.id]))
        async with counted(self.redis, [worker], every_s=0.02), worker:
            yield

    async def add(self, count: int, options: JobOptions | None = None, **data: Any) -> Counter[str]:
        """Add equal jobs -> their ids."""
        data = {"organizationId": "org-1", **data}
        jobs = [NewJob(name="x", data=data, options=options)] * count
        return Counter(one.id for one in await self.queue.add_many(jobs))

    async def has_started(self, jobs: Counter[str]) -> None:
        await until(lambda: jobs <= self.started, within_s=DONE, what="they start")

    async def has_completed(self, jobs: Counter[str]) -> None:
        await until(lambda: jobs <= self.completed, within_s=DONE, what="they are completed")

    async def has_failed(self, jobs: Counter[str]) -> None:
        await until(lambda: jobs <= self.failed, within_s=DONE, what="they are dead")

    async def taken_by_a_dead_worker(self, jobs: Counter[str]) -> None:
        """Claimed (not through the proxy), and never heard of again."""
        claims = Claims(SPEC, connect(self.direct_url), "dead-worker")
        link = await claims.link()
        claimed, _ = await claims.claim(link, len(jobs))
        assert Counter(claim.job.id for claim in claimed.claims) == jobs
        await claims.redis.close()

    async def act(self, verb: Verb, jobs: Counter[str]) -> None:
        """To each of the jobs, or to all in one call. A repetition may find it done."""
        if self.bulk:
            words = await act(self.queue.store, verb, list(jobs))
            assert set(words) <= {"done", "cancelling"}, words
            return
        one = {
            Verb.CANCEL: self.queue.cancel,
            Verb.RETRY: self.queue.revive,
            Verb.REMOVE: self.queue.remove,
            Verb.PROMOTE: self.queue.advance,
        }[verb]
        for job_id in jobs:
            with contextlib.suppress(WrongState, NotFound):
                await one(job_id)


async def live(life: Life) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """-> jobs that completed, that are dead, and that owed a callback (for each ending)."""
    abandoned = await life.add(3)
    await life.taken_by_a_dead_worker(abandoned)
    ordinary = await life.add(20) + await life.add(5, fails=1) + abandoned
    await life.queue.pause()
    ordinary += await life.add(2, JobOptions(delay=50))
    told = await life.add(2, CALLED_BACK)
    rejected = await life.add(2, CALLED_BACK, rejected=True)
    await life.act(Verb.REMOVE, await life.add(2, JobOptions(delay=60_000)))
    advanced = await life.add(2, JobOptions(delay=60_000))
    await life.act(Verb.PROMOTE, advanced)
    ordinary += advanced
    for job_id in advanced:
        assert await life.queue.prioritize(job_id, 1) is State.WAITING
        assert (await standing(life.queue.store, job_id)).state is State.WAITING
    await Upkeep(SPEC, life.redis).refuse("~cb:refused", b"{}", "not to be queued")
    cancelled = await life.add(2, held=True)
    async with life.working():
        await until(lambda: _all_due(life), within_s=DONE, what="a paused queue promotes")
        await life.queue.resume()
        await life.has_started(cancelled)
        await life.act(Verb.CANCEL, cancelled)
        await life.has_failed(cancelled + rejected)
        await life.has_completed(ordinary + told)
        released = await life.add(5, held=True)
        await life.has_started(released)
    life.gate.set()
    await life.act(Verb.RETRY, rejected)
    async with life.working():
        await life.has_completed(released + rejected)
        await until(lambda: _passed_on(life), within_s=DONE, what="callbacks are queued")
    await life.queue.page(State.COMPLETED)
    await life.queue.clean(grace_ms=60_000)
    await Upkeep(SPEC, life.redis).prune()
    await life.add(2)
    assert (await life.queue.drain())[1] is False
    for job_id in ordinary:
        assert await life.queue.get(job_id) is not None
    cancelled["~cb:refused"] += 1
    return ordinary + told + rejected + released, cancelled, told + rejected + rejected


async def _all_due(life: Life) -> bool:
    return (await life.queue.counts()).delayed == 0


async def _passed_on(life: Life) -> bool:
    return (await life.queue.counts()).outbox == 0


@pytest.fixture(scope="module")
def behind() -> Any:
    """A Redis for the proxy to stand in front of."""
    with valkey() as server:
        yield server


@pytest.mark.parametrize(
    ("verb", "bulk"), [*((verb, False) for verb in VERBS), *((verb, True) for verb in IN_BULK)]
)
async def test_the_reply_of_a_verb_is_lost(behind: Server, verb: str, *, bulk: bool) -> None:
    behind.flush()
    async with FaultProxy(behind.socket) as proxy:
        digest = SCRIPTS[verb].sha.decode()
        wanted = calls(digest)
        telling = (lambda words: wanted(words) and b"c" in words) if verb == "tick" else wanted
        fault = proxy.drop_reply(telling, DID_SOMETHING.get(verb))
        life = Life(proxy.url, behind.url, bulk=bulk)
        try:
            completed, dead, owed = await live(life)
        finally:
            await life.redis.close()
        assert fault.happened.is_set()
    with behind.client() as raw:
        assert Counter(ids(raw, QUEUE, "completed")) == completed
        assert Counter(ids(raw, QUEUE, "dead")) == dead
        assert ended_events(raw, QUEUE, "completed") == completed
        assert life.completed == completed
        assert_at_rest(raw, QUEUE)
        assert all(job.startswith(f"~cb:{QUEUE}:") for job in ids(raw, "webhooks", "p5"))
        told = [orjson.loads(record[b"b"]) for _, record in entries(raw, "webhooks", "p5")]
        assert Counter(body["data"]["payload"]["jobId"] for body in told) == owed
        charted = counted_in(raw, "c")
        assert charted == completed.total() if verb == "tick" else charted <= completed.total()


def counted_in(raw: Any, name: str) -> int:
    """The sum of a count over the minutes of the charts."""
    slots = raw.hvals(QueueKeys(QUEUE)["minutes"])
    return sum(int(n) for slot in slots for n in re.findall(rf" {name}:(\d+)".encode(), slot))
