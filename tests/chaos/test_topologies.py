"""Under load: a cluster moves the queue's slot, a sentinel promotes, a network goes dark."""

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from crew import crew
from fault_proxy import FaultProxy
from ledger import assert_all_completed, assert_at_rest, ids, key
from processes import until
from producer import adds, producing
from pydantic import SecretStr
from redis_cluster import cluster, move_slot, slot_of
from redis_sentinel import sentinel
from redis_servers import valkey

from consumers import Worker
from schemas.spec import QueueSpec
from streams import Job, NewJob, Queue, RedisSettings, connect
from streams.errors import Unavailable
from streams.live import START, Events, Watch

QUEUE = "chaos"
SPEC = QueueSpec(QUEUE, lease_ms=2_000)
DONE = 20.0


async def test_the_queues_slot_moves_there_and_back(tmp_path: Path) -> None:
    """Key by key, with workers and a producer at work in between."""
    with (
        cluster(3) as three,
        crew(tmp_path, three.url, QUEUE, lease_ms=SPEC.lease_ms) as workers,
        three.client() as raw,
    ):
        for _ in range(2):
            await workers.hire(concurrency=20)
        slot = slot_of(key(QUEUE, "jobs"))
        home = three.owner(slot)
        async with producing(three.url, SPEC, at_least=1_000) as producer:
            for to in ((home + 1) % 3, home):
                for _ in move_slot(three, slot, to):
                    await producer.tries_again()
                await producer.reaches(len(producer.acknowledged) + 100)
        await until(
            lambda: len(ids(raw, QUEUE, "completed")) >= len(producer.acknowledged),
            within_s=DONE,
            what="all are completed",
        )
        assert_all_completed(raw, QUEUE, producer.acknowledged)
        assert workers.tally("completed") == Counter(producer.acknowledged)


async def test_a_process_that_only_asks_finds_who_took_over() -> None:
    """A gateway has no loop that looks for the new primary; its requests and its watch must."""
    with cluster(3, extra=("--cluster-require-full-coverage", "no")) as three:
        redis = connect(three.url)
        queue, watch, events = Queue(QUEUE, redis), Watch(redis, block_ms=10), Events(redis, QUEUE)
        slot = slot_of(key(QUEUE, "jobs"))
        home = three.owner(slot)
        heir, other = (number for number in range(3) if number != home)
        await queue.add("work", {})
        assert await watch.read({events: START})
        three.nodes[home].kill()
        for _ in range(2):
            with pytest.raises(Unavailable):
                await queue.add("work", {})
            with pytest.raises(Unavailable):
                await watch.read({events: START})
        for number in (heir, other):
            three.ask(number, "CLUSTER", "SETSLOT", slot, "NODE", three.id_of(heir))
        await until(partial(adds, queue), within_s=DONE, what="the heir is asked")
        assert await watch.read({events: START})
        await watch.close()
        await redis.close()


async def test_a_promoted_replica(tmp_path: Path) -> None:
    """The master is killed under load: workers find the new one, whose state is consistent."""
    with (
        sentinel() as trio,
        crew(tmp_path, trio.url, QUEUE, lease_ms=SPEC.lease_ms) as workers,
    ):
        hand = await workers.hire(concurrency=20)
        async with producing(trio.url, SPEC, at_least=1_000) as producer:
            await producer.reaches(200)
            trio.master.kill()
            gone = len(producer.acknowledged)
            await producer.reaches(gone + 500)
        with trio.replica.client() as raw:
            later = set(producer.acknowledged[gone + 100 :])
            await until(
                lambda: later <= set(ids(raw, QUEUE, "completed")),
                within_s=DONE,
                what="what came after the promotion is done",
            )
            await until(
                lambda: raw.xlen(key(QUEUE, "completed")) == raw.hlen(key(QUEUE, "jobs")),
                within_s=DONE,
                what="nothing waits any more",
            )
            done = Counter(ids(raw, QUEUE, "completed"))
            assert set(done.values()) == {1}
            assert set(done) <= set(producer.acknowledged)
            assert_at_rest(raw, QUEUE)
        assert hand.process.poll() is None


async def test_a_network_that_swallows_everything_for_a_while() -> None:
    """No error, no reply: the connection is given up in time, and all goes on when it heals."""
    done: Counter[str] = Counter()

    async def handle(_: Job) -> None:
        return None

    with valkey() as server, server.client() as raw:
        async with FaultProxy(server.socket) as proxy:
            settings = RedisSettings(url=SecretStr(proxy.url), timeout_ms=300)
            redis = connect(settings)
            worker = Worker(SPEC, handle, concurrency=20, redis=redis)
            worker.on("completed", lambda job: done.update([job.id]))
            async with worker, producing(settings, SPEC, at_least=500) as producer:
                await producer.reaches(100)
                swallowed = proxy.black_hole()
                await swallowed.wait()
                await until(lambda: producer.refused, within_s=DONE, what="a timeout is noticed")
                proxy.heal()
            direct = connect(server.url)
            after = await Queue(SPEC, direct).add_many([NewJob(name="x")] * 20)
            await direct.close()
            wanted = Counter([*producer.acknowledged, *(one.id for one in after)])
            async with Worker(SPEC, handle, concurrency=20, redis=redis) as second:
                second.on("completed", lambda job: done.update([job.id]))
                await until(
                    lambda: Counter(ids(raw, QUEUE, "completed")) == wanted,
                    within_s=DONE,
                    what="all are completed",
                )
            await redis.close()
        assert_all_completed(raw, QUEUE, wanted)
