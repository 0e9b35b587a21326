"""Waiting for replicas (durability `replicated`): who waits, and for which primary."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from by_hand import Hand
from fault_proxy import FaultProxy
from ledger import ids
from processes import eventually, until
from redis_servers import Server, valkey

import streams
from consumers.relay import Relay
from schemas.spec import QueueSpec
from streams import Queue, Redis
from streams.errors import NotDurable
from streams.settings import RedisSettings

SPEC = QueueSpec("chaos")
CALLBACK = {"callbackUrl": "https://example.com/hook"}
LIMIT_MS = 500
ENDINGS = 250


@contextmanager
def replicated() -> Iterator[tuple[Server, Server]]:
    """A primary and its replica, which has all of its data."""
    with valkey(tcp=True, extra=("--repl-diskless-sync-delay", "0")) as primary:
        extra = ("--replicaof", "127.0.0.1", str(primary.port), "--repl-timeout", "600")
        with valkey(tcp=True, extra=extra) as replica, replica.client() as copy:
            eventually(
                lambda: copy.info("replication")["master_link_status"] == "up",
                within_s=20,
                what="a copy",
            )
            yield primary, replica


def settings(url: str, limit_ms: int = LIMIT_MS) -> RedisSettings:
    return RedisSettings(url=url, durability="replicated", durability_wait_ms=limit_ms)


@pytest.fixture
def pair() -> Iterator[tuple[Server, Server]]:
    with replicated() as found:
        yield found


@pytest.fixture
async def redis(pair: tuple[Server, Server]) -> AsyncIterator[Redis]:
    redis = streams.connect(settings(pair[0].url))
    yield redis
    await redis.close()


def waits(server: Server) -> int:
    with server.client() as client:
        return int(client.info("commandstats").get("cmdstat_wait", {}).get("calls", 0))


async def test_nobody_else_waits_while_a_submission_waits(
    pair: tuple[Server, Server], redis: Redis
) -> None:
    primary, replica = pair
    queue = Queue(SPEC, redis)
    await queue.add("work", {})
    with replica.frozen(), primary.client() as client:
        late = asyncio.create_task(queue.add("work", {}))
        await until(
            lambda: client.info("clients")["blocked_clients"] == 1, within_s=20, what="a wait"
        )
        assert (await queue.counts()).waiting == 2
        assert not late.done()
        with pytest.raises(NotDurable, match="0 replicas"):
            await late


async def test_submissions_that_come_together_share_one_wait(
    pair: tuple[Server, Server], redis: Redis
) -> None:
    primary, replica = pair
    queue = Queue(SPEC, redis)
    await queue.add("work", {})
    before = waits(primary)
    found = await asyncio.gather(*(queue.add("work", {}) for _ in range(100)))
    assert len({added.id for added in found}) == 100
    assert waits(primary) - before <= 10
    before = waits(primary)
    with replica.frozen():
        late = await asyncio.gather(
            *(queue.add("work", {}) for _ in range(100)), return_exceptions=True
        )
        assert {type(one) for one in late} == {NotDurable}
    assert waits(primary) - before <= 2
    assert (await queue.counts()).waiting == 201


async def test_a_submission_that_is_given_up_does_not_disturb_the_others(
    pair: tuple[Server, Server], redis: Redis
) -> None:
    primary, replica = pair
    queue = Queue(SPEC, redis)
    await queue.add("work", {})
    with replica.frozen(), primary.client() as client:
        first, second = (asyncio.create_task(queue.add("work", {})) for _ in range(2))
        await until(
            lambda: client.info("clients")["blocked_clients"] == 1, within_s=20, what="a wait"
        )
        first.cancel()
        with pytest.raises(NotDurable):
            await second
        assert first.cancelled()
    await queue.add("work", {})


async def test_callbacks_behind_those_that_wait_for_replicas_are_queued_as_well(
    pair: tuple[Server, Server], redis: Redis
) -> None:
    primary, replica = pair
    await _end(redis, ENDINGS)
    relay = Relay(SPEC, redis)
    with primary.client() as raw:
        with replica.frozen():
            for _ in range(3):
                with pytest.raises(NotDurable):
                    await relay.pass_on()
            assert raw.xlen("cs:{webhooks}:p5") == ENDINGS
            assert raw.xlen("cs:{chaos}:outbox") == ENDINGS
        while (await relay.pass_on()).count or raw.xlen("cs:{chaos}:outbox"):
            pass
        assert len(set(ids(raw, "webhooks", "p5"))) == raw.xlen("cs:{webhooks}:p5") == ENDINGS


async def _end(redis: Redis, count: int) -> None:
    """Jobs that have ended and owe a callback."""
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    await asyncio.gather(*(queue.add("work", CALLBACK) for _ in range(count)))
    await hand.complete(*await hand.take(count), result=1)


async def test_replicas_of_another_primary_do_not_count(pair: tuple[Server, Server]) -> None:
    """The submission goes to a primary whose replicas are slow, and the wait to the one that has
    taken over: that one's replicas may lack the submission."""
    primary, replica = pair
    with replicated() as (heir, _):
        async with FaultProxy(primary.socket) as proxy:
            redis = streams.connect(settings(proxy.url))
            queue = Queue(SPEC, redis)
            await queue.counts()
            proxy.upstream = heir.socket
            with replica.frozen(), pytest.raises(NotDurable, match="primary changed"):
                await queue.add("work", {})
            await redis.close()


async def test_the_marker_goes_by_itself(pair: tuple[Server, Server], redis: Redis) -> None:
    await Queue(SPEC, redis).add("work", {})
    with pair[0].client() as raw:
        assert 0 < raw.pttl("cs:{chaos}:marker") <= 60_000


async def test_a_full_redis_still_passes_callbacks_on(
    pair: tuple[Server, Server], redis: Redis
) -> None:
    await _end(redis, 1)
    with pair[0].client() as raw:
        raw.config_set("maxmemory", 1)
        done: Any = await Relay(SPEC, redis).pass_on()
        assert done.count == 1
