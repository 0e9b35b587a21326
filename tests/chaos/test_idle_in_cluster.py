"""An idle worker of a cluster, when the queue's slot gets another owner."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ledger import key
from processes import eventually, until
from redis_cluster import Cluster, SlotMove, cluster, replica, slot_of
from redis_servers import Server

from consumers import Worker
from streams import Job, Queue, Redis, connect

QUEUE = "chaos"
SLOT = slot_of(key(QUEUE, "jobs"))
IDLE_S = 1.0
WITHIN_S = 20.0


def stat(server: Server, section: str) -> dict[str, Any]:
    with server.client() as client:
        found: dict[str, Any] = client.info(section)
    return found


def is_waited_on(server: Server) -> bool:
    return bool(stat(server, "clients")["blocked_clients"])


def waits(servers: Sequence[Server]) -> int:
    """How often a worker has begun to wait, and was refused or not."""
    found = (stat(server, "commandstats").get("cmdstat_bzpopmin", {}) for server in servers)
    return sum(one.get("calls", 0) + one.get("rejected_calls", 0) for one in found)


@asynccontextmanager
async def idle_worker(redis: Redis, on: Server) -> AsyncIterator[asyncio.Event]:
    """A worker that waits on a node -> an event: it did a job."""
    done = asyncio.Event()

    async def work(_: Job) -> None:
        done.set()

    async with Worker(QUEUE, work, redis=redis):
        await until(lambda: is_waited_on(on), within_s=WITHIN_S, what="the worker waits")
        yield done


async def assert_waits_at(server: Server, everywhere: Sequence[Server]) -> None:
    """The worker waits in peace on this node."""
    await until(lambda: is_waited_on(server), within_s=WITHIN_S, what="it waits where the queue is")
    before = waits(everywhere)
    await asyncio.sleep(IDLE_S)
    assert waits(everywhere) - before <= 4 * IDLE_S


async def test_it_waits_where_the_slot_has_moved() -> None:
    with cluster(3) as three:
        redis, home = connect(three.url), three.owner(SLOT)
        there = (home + 1) % 3
        async with idle_worker(redis, three.nodes[home]) as done:
            move = SlotMove(three, SLOT, there)
            move.begin()
            move.finish()
            await assert_waits_at(three.nodes[there], three.nodes)
            await Queue(QUEUE, redis).add("work", {})
            await asyncio.wait_for(done.wait(), WITHIN_S)
        await redis.close()


async def test_it_asks_seldom_while_the_slot_is_on_its_way() -> None:
    """The old owner refuses the wait, as the marker is not there: until all is moved there is no
    place to wait."""
    with cluster(3) as three:
        redis, home = connect(three.url), three.owner(SLOT)
        async with idle_worker(redis, three.nodes[home]):
            move = SlotMove(three, SLOT, (home + 1) % 3)
            move.begin()
            move.move(*move.keys())
            before = waits(three.nodes)
            await asyncio.sleep(IDLE_S)
            assert waits(three.nodes) - before <= 20 * IDLE_S
            move.finish()
            await assert_waits_at(three.nodes[move.to], three.nodes)
        await redis.close()


async def test_it_waits_at_the_replica_that_has_taken_over() -> None:
    with cluster(3) as three, replica(three, three.owner(SLOT)) as heir:
        everywhere = [*three.nodes, heir]
        redis = connect(three.url)
        async with idle_worker(redis, three.nodes[three.owner(SLOT)]) as done:
            with heir.client() as client:
                eventually(lambda: _knows(three, heir), within_s=WITHIN_S, what="all know it")
                client.execute_command("CLUSTER", "FAILOVER")
            await assert_waits_at(heir, everywhere)
            await Queue(QUEUE, redis).add("work", {})
            await asyncio.wait_for(done.wait(), WITHIN_S)
        await redis.close()


def _knows(made: Cluster, server: Server) -> bool:
    """Whether every master has heard of this node: only then do they vote for it."""
    with server.client() as client:
        name = client.execute_command("CLUSTER", "MYID")
    told = (made.ask(number, "CLUSTER", "NODES") for number in range(len(made.nodes)))
    return all(name.decode() in str(one) for one in told)
