"""Searches: what they look into, where they stop, and that they go on from there."""

import pytest
from by_hand import Hand

from schemas.job import JobOptions, State
from schemas.spec import QueueSpec
from streams import NewJob, Queue, Redis, search
from streams.claims import Ending
from streams.encode import INLINE_BYTES
from streams.search import Wanted, seek

SPEC = QueueSpec("chaos")
OURS = Wanted(State.WAITING, organization_id="ours")


@pytest.fixture
def queue(redis: Redis) -> Queue:
    return Queue(SPEC, redis)


def job(organization: str, size: int = 0) -> NewJob:
    return NewJob("work", {"organizationId": organization, "big": "x" * size}, JobOptions())


async def found(queue: Queue, wanted: Wanted) -> tuple[list[str], int]:
    """Ids, and how many searches it took to the end."""
    ids: list[str] = []
    searches, cursor = 0, ""
    while cursor or not searches:
        part = await seek(queue, wanted, cursor)
        ids += [job.id for job in part.jobs]
        searches, cursor = searches + 1, part.cursor
    return ids, searches


async def test_what_was_put_aside_is_looked_into(queue: Queue) -> None:
    sizes = [0, INLINE_BYTES, 0, INLINE_BYTES]
    jobs = [job(("ours", "theirs")[n % 2 == 0], size) for n, size in enumerate(sizes)]
    ids = [one.id for one in await queue.add_many(jobs)]
    assert await found(queue, OURS) == ([ids[1], ids[3]], 1)
    whole = (await search.search(queue, OURS)).jobs
    assert [len(one.data["big"]) for one in whole] == [INLINE_BYTES] * 2


async def test_many_bytes_end_a_search_and_the_next_goes_on(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [job(("ours", "theirs")[n % 2], INLINE_BYTES * (n % 3 == 0)) for n in range(40)]
    ids = [one.id for one in await queue.add_many(jobs)]
    assert await found(queue, OURS) == (ids[::2], 1)
    monkeypatch.setattr(search, "SCAN_BYTES", 4 * INLINE_BYTES)
    assert await found(queue, OURS) == (ids[::2], 4)


async def test_a_failed_job_is_found_by_its_last_error(queue: Queue, redis: Redis) -> None:
    await queue.add_many([job("ours"), job("ours")])
    hand = Hand(redis, SPEC)
    claims = await hand.take()
    history = b'[{"attempt":1,"message":"first"},{"attempt":2,"message":"Last","code":"e_7"}]'
    endings = zip(claims, (history, b"[]"), strict=True)
    await hand.settle(*(Ending(claim, "fail", history=text) for claim, text in endings))
    for sought, hits in (("LAST", 1), ("e_7", 1), ("first", 0), ("failed", 0)):
        ids, _ = await found(queue, Wanted(State.FAILED, error=sought))
        assert ids == [claims[0].job.id][:hits], sought
