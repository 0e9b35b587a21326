"""The work of one claim is bounded, whatever waits."""

import asyncio
from typing import Any

import pytest
from by_hand import Hand
from consistency import assert_consistent
from filling import fill
from redis.exceptions import ResponseError
from redis_servers import Server

from consumers.outcome import Retried, decide
from schemas.spec import QueueSpec
from streams import Queue, Redis, connect
from streams.claims import Claim
from streams.connection import verdict
from streams.errors import CredstreamError, Unavailable
from streams.keys import QueueKeys

SPEC = QueueSpec("chaos")
KEYS = QueueKeys(SPEC.name)
MIB = 1 << 20


@pytest.mark.parametrize("expired", [99, 100, 101, 1_000])
async def test_a_claim_buries_at_most_100_expired_jobs(
    redis: Redis, raw: Any, expired: int
) -> None:
    fill(raw, KEYS, expired, expires=1)
    (fresh,) = fill(raw, KEYS, 1, first=expired)
    hand, buried, brought = Hand(redis, SPEC), 0, list[str]()
    for _ in range(expired // 100 + 1):
        claimed = await hand.ask(10)
        failed = (await Queue(SPEC, redis).counts()).failed
        assert failed - buried <= 100
        buried = failed
        brought += [claim.job.id for claim in claimed.claims]
        assert claimed.next_ms == (-1 if brought else 0)
    assert (buried, brought) == (expired, [fresh])


async def test_cancelled_jobs_count_among_those_that_are_buried(redis: Redis, raw: Any) -> None:
    jobs = fill(raw, KEYS, 150)
    raw.hset(KEYS["cancel"], mapping={f":{job}": "1" for job in jobs})
    claimed = await Hand(redis, SPEC).ask(10)
    assert (claimed.count, claimed.next_ms) == (0, 0)
    assert (await Queue(SPEC, redis).counts()).failed == 100
    await assert_consistent(Queue(SPEC, redis))


@pytest.mark.parametrize("want", [50, 500])
async def test_a_claim_brings_about_a_mebibyte(redis: Redis, raw: Any, want: int) -> None:
    fill(raw, KEYS, 600, size=31_000)
    hand, sizes, brought = Hand(redis, SPEC), list[int](), 0
    while brought < want:
        claimed = await hand.ask(want - brought)
        sizes.append(sum(len(claim.job.body) for claim in claimed.claims))
        brought += claimed.count
        assert claimed.next_ms == (0 if brought < want else -1)
    assert max(sizes) < 3 * MIB
    assert min(sizes[:-1], default=MIB) >= MIB


async def test_small_jobs_are_brought_by_one_claim_whatever_their_lane(
    redis: Redis, raw: Any
) -> None:
    for lane in range(-1, 11):
        fill(raw, KEYS, 100, lane=lane, first=1_000 * (lane + 1))
    claimed = await Hand(redis, SPEC).ask(1_199)
    assert [(int(lane), len(entries)) for lane, entries in claimed.lanes] == [
        *((lane, 100) for lane in range(-1, 10)),
        (10, 99),
    ]
    assert claimed.next_ms == -1


def test_a_busy_redis_is_not_now() -> None:
    error = verdict(ResponseError("BUSY Redis is busy running a script."))
    assert type(error) is Unavailable
    assert not isinstance(verdict(ResponseError("BUSYGROUP Consumer Group name")), Unavailable)


async def test_a_handler_that_met_a_busy_redis_is_not_charged(own_server: Server) -> None:
    redis = connect(own_server.url)
    hand = Hand(redis, SPEC)
    await Queue(SPEC, redis).add("work")
    claim = await hand.take_one()
    with own_server.client() as raw:
        raw.config_set("busy-reply-threshold", 1)
        spin = asyncio.create_task(asyncio.to_thread(_spin, own_server))
        try:
            error = await _first_error(hand, claim)
        finally:
            raw.script_kill()
    await spin
    outcome = decide(claim.job, error, SPEC, 1)
    assert isinstance(outcome, Retried)
    assert not outcome.charged
    await redis.close()


async def _first_error(hand: Hand, claim: Claim) -> CredstreamError:
    """What a running job meets while another client's script runs."""
    while True:
        try:
            await hand.claims.progress(claim, 1)
        except CredstreamError as error:
            return error


def _spin(server: Server) -> None:
    """A script that runs until it is killed."""
    with server.client() as raw, pytest.raises(ResponseError, match="killed"):
        raw.eval("while true do redis.call('PING') end", 0)
