"""`Prefer: wait`: the end of a job in the answer to its submission."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.app import create_app
from gateway.server import listening
from gateway.settings import GatewaySettings
from gateway.tape import Tape
from gateway.waiting import Vanished, outcome, preferred_wait_s
from schemas.job import JobView, State
from streams import Queue, Redis
from streams.errors import Unavailable
from streams.live import START, Events, Position

JOBS = "/queue/vc-issuance/jobs"
WAIT = {"Prefer": "wait=30"}


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ([], 0),
        (["wait=10"], 10),
        (["Wait = 10"], 10),
        (['wait="10"'], 10),
        (["wait=31"], 30),
        (["wait=999999999"], 30),
        (["wait=0"], 0),
        (["wait"], 0),
        (["wait=-1"], 0),
        (["wait=1.5"], 0),
        (["wait=\u0661"], 0),
        (["wait=" + "9" * 5_000], 0),
        (["respond-async"], 0),
        (["respond-async, wait=10"], 10),
        (["foo; bar", "wait=7; x=1"], 7),
        (['foo="a, wait=9"'], 0),
        (['foo="a\\", wait=9", wait=8'], 8),
        (["wait=5, wait=9"], 5),
        (["wait=x, wait=9"], 0),
        (["a" * 8_000], 0),
        (['"' * 8_000], 0),
    ],
)
def test_what_a_client_prefers(headers: list[str], wait_s: int) -> None:
    assert preferred_wait_s(headers) == wait_s


async def test_nobody_waits_unasked(http: ClientSession, issuance: dict[str, Any]) -> None:
    for prefer in ("respond-async", "handling=lenient", "wait=0", "wait=no"):
        async with http.post(JOBS, json={"data": issuance}, headers={"Prefer": prefer}) as response:
            assert response.status == 202
            assert response.headers["Vary"] == "Prefer"
            assert "Preference-Applied" not in response.headers


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [
        ("complete", b'{"vcJwt":"x"}', ("completed", {"vcJwt": "x"}, None)),
        (
            "fail",
            b'[{"attempt":1,"reason":"failed","message":"no key","at":1}]',
            ("failed", None, "no key"),
        ),
    ],
)
async def test_a_job_that_ends_in_time_is_the_answer(
    http: ClientSession, hands: Any, issuance: dict[str, Any], kind: str, text: bytes, shown: Any
) -> None:
    asked = asyncio.create_task(http.post(JOBS, json={"data": issuance}, headers=WAIT).__aenter__())
    claims = await _take(hands)
    await hands.end(claims, kind, text)
    response = await asked
    job = (await response.json())["data"]
    assert response.status == 200
    assert response.headers["Preference-Applied"] == "wait"
    assert response.headers["Vary"] == "Prefer"
    assert response.headers["Location"].endswith(job["id"])
    assert (job["state"], job["returnvalue"], job["failedReason"]) == shown
    assert job["id"] == claims[0].job.id


async def _take(hands: Any) -> Any:
    while not (claims := await hands.take(1)):
        await asyncio.sleep(0.001)
    return claims


async def test_many_wait_at_once_and_each_gets_its_own(
    http: ClientSession, hands: Any, issuance: dict[str, Any]
) -> None:
    async def ask(number: int) -> None:
        body = {"data": issuance, "options": {"jobId": f"n{number}"}}
        async with http.post(JOBS, json=body, headers=WAIT) as response:
            assert (await response.json())["data"]["returnvalue"] == f"n{number}"

    async with asyncio.TaskGroup() as group:
        for number in range(30):
            group.create_task(ask(number))
        done = 0
        while done < 30:
            for claim in await _take(hands):
                await hands.end([claim], "complete", f'"{claim.job.id}"'.encode())
                done += 1


async def test_a_job_that_takes_longer_is_accepted(
    http: ClientSession, issuance: dict[str, Any]
) -> None:
    headers = {"Prefer": "wait=1"}
    async with http.post(JOBS, json={"data": issuance}, headers=headers) as response:
        assert response.status == 202
        assert "Preference-Applied" not in response.headers
        assert (await response.json())["data"]["state"] == "waiting"


async def test_a_job_that_is_done_already_is_shown_at_once(
    http: ClientSession, hands: Any, issuance: dict[str, Any]
) -> None:
    body = {"data": issuance, "options": {"jobId": "once"}}
    async with http.post(JOBS, json=body) as response:
        assert response.status == 202
    await hands.end(await hands.take(1), "complete", b"7")
    async with http.post(JOBS, json=body, headers=WAIT) as response:
        assert (await response.json())["data"]["returnvalue"] == 7


async def test_of_a_job_that_is_not_kept_its_end_is_told(
    http: ClientSession, hands: Any, issuance: dict[str, Any]
) -> None:
    body = {"data": issuance, "options": {"removeOnComplete": True}}
    asked = asyncio.create_task(http.post(JOBS, json=body, headers=WAIT).__aenter__())
    await hands.end(await _take(hands), "complete", b"7")
    response = await asked
    receipt = (await response.json())["data"]
    assert (response.status, receipt["state"]) == (200, "completed")
    assert "returnvalue" not in receipt


async def test_a_job_that_is_removed_was_only_accepted(
    http: ClientSession, queue: Queue, issuance: dict[str, Any]
) -> None:
    body = {"data": issuance, "options": {"jobId": "x"}}
    asked = asyncio.create_task(http.post(JOBS, json=body, headers=WAIT).__aenter__())
    while await queue.get("x") is None:
        await asyncio.sleep(0.001)
    await queue.remove("x")
    assert (await asked).status == 202


async def test_an_array_is_not_waited_for(http: ClientSession, issuance: dict[str, Any]) -> None:
    async with http.post(JOBS, json=[{"data": issuance}], headers=WAIT) as response:
        assert response.status == 202
        assert response.headers["Vary"] == "Prefer"


async def test_a_gateway_that_stops_answers_who_waits(
    redis: Redis, issuance: dict[str, Any], queue: Queue
) -> None:
    gateway = AsyncExitStack()
    app = create_app(redis, GatewaySettings(host="127.0.0.1", port=0))
    _, port = await gateway.enter_async_context(listening(app))
    async with ClientSession(f"http://localhost:{port}") as http:
        asked = asyncio.create_task(
            http.post(JOBS, json={"data": issuance}, headers=WAIT).__aenter__()
        )
        while not (await queue.counts()).waiting:
            await asyncio.sleep(0.001)
        await gateway.aclose()
        assert (await asked).status == 202


class Slow(Queue):
    """A queue in which something happens before or after the state is read."""

    def __init__(self, redis: Redis, before: Any = None, after: Any = None) -> None:
        super().__init__("vc-issuance", redis)
        self._before, self._after = before, after

    async def get(self, job_id: str) -> JobView | None:
        if self._before:
            happens, self._before = self._before, None
            await happens()
        job = await super().get(job_id)
        if self._after:
            happens, self._after = self._after, None
            await happens()
        return job


@pytest.mark.parametrize("case", ["before", "after", "before cut", "after cut"])
async def test_no_end_is_missed_whenever_it_comes(
    redis: Redis, queue: Queue, hands: Any, raw: Any, issuance: dict[str, Any], case: str
) -> None:
    """Around the read of the state, also when the event stream is cut behind the noted place."""
    when, _, cut = case.partition(" ")
    added = await queue.add("issue", issuance)
    tape = Tape(Events(redis, "vc-issuance"))
    place = await tape.now()

    async def end() -> None:
        await hands.end(await hands.take(1), "complete", b"7")
        if cut:
            await queue.pause()
            raw.xtrim("cs:{vc-issuance}:events", maxlen=1, approximate=False)

    slow = Slow(redis, **{when: end})
    async with asyncio.timeout(10):
        job = await outcome(tape, slow, added.id, place, 60)
    assert job is not None
    assert (job.state, job.returnvalue) == (State.COMPLETED, 7)


async def test_the_end_of_a_job_that_is_not_kept_is_not_missed(
    redis: Redis, queue: Queue, hands: Any, issuance: dict[str, Any]
) -> None:
    tape = Tape(Events(redis, "vc-issuance"))
    place = await tape.now()
    added = await queue.add("issue", issuance, remove_on_complete=True)
    await hands.end(await hands.take(1), "complete", b"7")
    async with asyncio.timeout(10):
        with pytest.raises(Vanished, match="completed"):
            await outcome(tape, queue, added.id, place, 60)


async def test_a_job_that_runs_again_is_waited_for_again(
    redis: Redis, queue: Queue, hands: Any, issuance: dict[str, Any]
) -> None:
    """It failed and was revived before its state was read: the failure is not its end any more."""
    added = await queue.add("issue", issuance)
    tape = Tape(Events(redis, "vc-issuance"))
    place = await tape.now()
    history = b'[{"attempt":1,"reason":"failed","message":"no key","at":1}]'
    await hands.end(await hands.take(1), "fail", history)
    await queue.revive(added.id)

    async def end() -> None:
        await hands.end(await hands.take(1), "complete", b"8")

    async with asyncio.timeout(10):
        job = await outcome(tape, Slow(redis, after=end), added.id, place, 60)
    assert job is not None
    assert job.returnvalue == 8


async def test_an_accepted_job_is_not_called_lost_when_redis_goes_away(redis: Redis) -> None:
    async def away() -> None:
        raise Unavailable("gone")

    tape = Tape(Events(redis, "vc-issuance"))
    assert await outcome(tape, Slow(redis, before=away), "x", START, 60) is None


async def test_a_place_far_back_is_read_from_redis(
    redis: Redis, queue: Queue, hands: Any, issuance: dict[str, Any]
) -> None:
    tape = Tape(Events(redis, "vc-issuance"))
    place: Position = await tape.now()
    added = await queue.add("issue", issuance, remove_on_complete=True)
    for _ in range(300):
        await queue.pause()
    await queue.resume()
    await hands.end(await hands.take(1), "complete", b"7")
    async with asyncio.timeout(10):
        with pytest.raises(Vanished):
            await outcome(tape, queue, added.id, place, 60)
