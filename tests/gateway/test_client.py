"""The typed client: what it answers, what it raises, what it sends again."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from click.testing import CliRunner

from credstream import Client
from credstream.api import (
    Busy,
    Conflict,
    Forbidden,
    Invalid,
    NotThere,
    Stranger,
    Unreachable,
)
from credstream.cli import main
from gateway.settings import GatewaySettings
from gateway.shapes import LimiterModel
from schemas.job import JobOptions, State
from streams import Queue, Redis
from streams.claims import Claims
from tests.gateway.callers import key
from tests.gateway.samples import Serve

QUEUE = "vc-issuance"
HOUR_MS = 3_600_000


@pytest.fixture
async def client(http: ClientSession) -> AsyncIterator[Client]:
    async with http.get("/livez") as response:
        url = str(response.url.origin())
    async with Client(url) as one:
        yield one


async def test_a_job_from_beginning_to_end(
    client: Client, hands: Any, issuance: dict[str, Any]
) -> None:
    receipt = await client.submit(QUEUE, issuance, name="issue", priority=0, job_id="a/b")
    assert (receipt.id, receipt.state, receipt.deduplicated) == ("a/b", State.WAITING, False)
    waiting = asyncio.create_task(client.wait_for_end(QUEUE, "a/b"))
    claims = await hands.take(1)
    assert (await client.why(QUEUE, "a/b")).state is State.ACTIVE
    await hands.log(claims[0], "a line")
    assert await client.logs(QUEUE, "a/b") == ["a line"]
    assert await client.attempts(QUEUE, "a/b") == []
    await hands.end(claims, "complete", b'{"vcJwt":"x"}')
    job = await waiting
    assert (job.state, job.returnvalue, job.opts["priority"]) == ("completed", {"vcJwt": "x"}, 0)
    assert await client.clean(QUEUE) == 1
    with pytest.raises(NotThere) as refused:
        await client.job(QUEUE, "a/b")
    assert (refused.value.status, refused.value.code) == (404, "job_not_found")


async def test_operators_verbs(client: Client, queue: Queue, issuance: dict[str, Any]) -> None:
    options = JobOptions(delay=HOUR_MS)
    await client.submit(QUEUE, issuance, options=options, job_id="one")
    assert await client.prioritize(QUEUE, "one", 1) is State.DELAYED
    assert await client.promote(QUEUE, "one") is State.WAITING
    assert await client.cancel(QUEUE, "one") == "cancelled"
    assert [job.id for job in (await client.dead_letters(QUEUE, error="cancelled")).jobs] == ["one"]
    assert await client.retry(QUEUE, "one") is State.WAITING
    with pytest.raises(Conflict, match="another state"):
        await client.retry(QUEUE, "one")
    await client.remove(QUEUE, "one")
    await client.pause(QUEUE)
    assert (await client.stats_of(QUEUE)).paused
    await client.resume(QUEUE)
    limits = await client.set_limits(QUEUE, limiter=LimiterModel(max=3, duration=1_000))
    assert limits == await client.limits(QUEUE)
    assert (await queue.counts()).total == 0


async def test_many(client: Client, issuance: dict[str, Any]) -> None:
    receipts = await client.submit_many(QUEUE, [{"data": issuance}] * 30)
    page = await client.jobs(QUEUE, State.WAITING, count=10)
    assert [job.id for job in page.jobs] == [one.id for one in receipts[:10]]
    assert page.next is not None
    rest = await client.jobs(QUEUE, State.WAITING, count=100, before=page.next)
    assert (len(rest.jobs), rest.next) == (20, None)
    every = [job.id async for job in client.all_jobs(QUEUE, State.WAITING)]
    assert every == [one.id for one in receipts]
    outcome = await client.bulk(QUEUE, "cancel", filter={"status": "waiting"}, limit=20)
    assert (outcome.done, outcome.skipped) == (20, {})
    assert (await client.redrive(QUEUE, filter={}, dryRun=True)).matched == 20


async def test_looking_around(client: Client, queue: Queue) -> None:
    await Claims(queue.spec, queue.redis, "w-1").heartbeat({"slots": 2, "running": {}})
    assert {one.name for one in await client.queues()} >= {QUEUE, "emails"}
    assert {one.name for one in await client.stats()} >= {QUEUE, "emails"}
    (worker,) = await client.workers(QUEUE)
    assert [one.name for one in await client.workers()] == [worker.name] == ["w-1"]


async def test_a_batch(client: Client, hands: Any, issuance: dict[str, Any]) -> None:
    jobs = [{"data": issuance}] * 3
    receipt = await client.submit_batch(QUEUE, jobs, batch_id="mine")
    assert (await client.submit_batch(QUEUE, jobs, batch_id="mine")).deduplicated
    await hands.end(await hands.take(2), "complete", b'"yes"')
    progress = await client.batch(receipt.id)
    assert (progress.counts.completed, progress.counts.waiting, progress.done) == (2, 1, False)
    results = await client.batch_results(receipt.id, end=1)
    assert [item.state for item in results.items] == ["completed", "completed"]


async def test_events(client: Client, issuance: dict[str, Any]) -> None:
    async with contextlib.aclosing(client.events(QUEUE, after="0-1")) as events:
        await client.submit(QUEUE, issuance, job_id="one")
        await client.pause(QUEUE)
        added, paused = await anext(events), await anext(events)
    assert (added.event, added.queue, added.jobs) == ("added", QUEUE, ["one"])
    assert (paused.event, paused.jobs) == ("paused", [])
    async with contextlib.aclosing(client.events(QUEUE, after=added.id)) as events:
        assert await anext(events) == paused
    with pytest.raises(NotThere):
        await anext(client.events("nobody"))


async def test_what_does_not_fit_is_told_with_its_place(client: Client) -> None:
    with pytest.raises(Invalid) as refused:
        await client.submit(QUEUE, {})
    assert refused.value.code == "invalid_job"
    assert "/data/issuerDid" in [fault["pointer"] for fault in refused.value.faults]


async def test_a_key(serve: Serve, redis: Redis) -> None:
    text = await key(redis, ["read"])
    async with serve(GatewaySettings(host="127.0.0.1", port=0)) as http:
        async with http.get("/livez") as response:
            url = str(response.url.origin())
        async with Client(url, key=f" {text}\n") as reader:
            await reader.stats()
            with pytest.raises(Forbidden):
                await reader.pause(QUEUE)
        async with Client(url, key=text + "x") as stranger:
            with pytest.raises(Forbidden):
                await stranger.stats()


async def test_the_command_line_takes_a_key(serve: Serve, redis: Redis, tmp_path: Path) -> None:
    text = await key(redis, ["read"])
    file = tmp_path / "key"
    file.write_text(f"{text}\n")
    async with serve(GatewaySettings(host="127.0.0.1", port=0)) as http:
        url = str(http._base_url)

        async def call(*words: str, **env: str) -> tuple[int, str]:
            invoke, given = CliRunner().invoke, {"CREDSTREAM_URL": url, **env}
            result = await asyncio.to_thread(invoke, main, words, env=given)
            assert text not in result.output
            return result.exit_code, result.output

        assert (await call("stats", CREDSTREAM_KEY=text))[0] == 0
        assert (await call("stats", "--key", f"@{file}"))[0] == 0
        code, told = await call("submit", QUEUE, "--key", text)
        assert (code, "scope submit" in told) == (1, True), told
        code, told = await call("stats")
        assert (code, "CREDSTREAM_KEY" in told) == (1, True), told
        code, told = await call("stats", "--key", f"{text}x")
        assert (code, "CREDSTREAM_KEY" in told) == (1, True), told
        code, told = await call("stats", "--key", "@/nowhere")
        assert (code, "/nowhere cannot be read" in told) == (2, True), told
        code, told = await call("stats", "--key", "two words")
        assert (code, "one word" in told) == (2, True), told


# against a server that does what the test says

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def scripted(*answers: Answer) -> AsyncIterator[tuple[Client, list[web.Request]]]:
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        return await answers[len(seen) - 1](request)

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with Client(f"http://127.0.0.1:{runner.addresses[0][1]}") as client:
            yield client, seen
    finally:
        await runner.cleanup()


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def busy(_request: web.Request) -> web.StreamResponse:
    return web.json_response({"title": "Not now", "status": 503}, status=503)


async def accepted(_request: web.Request) -> web.StreamResponse:
    receipt = {"id": "1", "state": "waiting", "deduplicated": False, "queue": "q", "name": "n"}
    return web.json_response({"success": True, "data": receipt}, status=202)


async def moved(_request: web.Request) -> web.StreamResponse:
    data = {"id": "1", "queue": "q", "state": "waiting"}
    return web.json_response({"success": True, "data": data})


async def test_a_submission_is_sent_again_under_the_same_key() -> None:
    async with scripted(hang_up, busy, accepted) as (client, seen):
        assert (await client.submit("q", {})).id == "1"
    keys = {request.headers["Idempotency-Key"] for request in seen}
    assert (len(seen), len(keys)) == (3, 1)


async def test_events_go_on_where_they_were_cut_off() -> None:
    def some(text: bytes) -> Answer:
        async def told(_request: web.Request) -> web.Response:
            return web.Response(body=text, content_type="text/event-stream")

        return told

    def event(number: int) -> bytes:
        data = b'{"queue":"q","event":"e","jobs":["%d"],"at":1,"count":7}' % number
        return b"id: %d-0\nevent: e\ndata: %b\n\n" % (number, data)

    answers = (
        some(b"retry: 3000\n\n" + event(1) + b"id: 2-0\nda"),  # the second one is not whole
        busy,
        some(event(2) + b":\nid: 5-0\n\n"),
        some(b'event: gap\ndata: {"queue":"q","event":"gap"}\n\n'),
        *(hang_up for _ in range(8)),
    )
    async with scripted(*answers) as (client, seen):
        events = client.events(after="0-9", tries=2)
        found = [await anext(events) for _ in range(3)]
        with pytest.raises(Unreachable):
            await anext(events)
    assert [(one.event, one.jobs, one.id) for one in found] == [
        ("e", ["1"], "1-0"),
        ("e", ["2"], "2-0"),
        ("gap", [], None),
    ]
    assert found[0].more == {"count": 7}
    said = [request.headers["Last-Event-ID"] for request in seen]
    assert said[:4] == ["0-9", "1-0", "1-0", "5-0"]
    assert set(said[4:]) == {"5-0"}


@pytest.mark.parametrize("number", [math.nan, math.inf])
async def test_what_json_does_not_have_is_not_sent_as_null(number: float) -> None:
    async with scripted(accepted) as (client, seen):
        with pytest.raises(ValueError, match="JSON"):
            await client.submit("q", {"deep": [{"x": number}]})
        assert (await client.submit("q", {"x": None, "y": 1.5})).id == "1"
    assert len(seen) == 1


async def test_two_submissions_have_two_keys() -> None:
    async with scripted(accepted, accepted) as (client, seen):
        await client.submit("q", {})
        await client.submit("q", {})
    assert len({request.headers["Idempotency-Key"] for request in seen}) == 2


async def test_what_is_no_submission_is_sent_again_under_the_same_key() -> None:
    async with scripted(hang_up, moved) as (client, seen):
        assert await client.retry("q", "1") is State.WAITING
    assert len({request.headers["Idempotency-Key"] for request in seen}) == 1


async def test_it_gives_up() -> None:
    async with scripted(busy, busy, busy) as (client, seen):
        with pytest.raises(Busy, match="Not now"):
            await client.stats()
    assert len(seen) == 3


async def test_a_refusal_is_not_asked_again() -> None:
    async def no(_request: web.Request) -> web.StreamResponse:
        return web.json_response({"title": "No", "status": 422, "code": "x"}, status=422)

    async with scripted(no) as (client, seen):
        with pytest.raises(Invalid):
            await client.submit("q", {})
    assert len(seen) == 1


async def test_somebody_else_answers() -> None:
    async def page(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="hello")

    async with scripted(page) as (client, seen):
        with pytest.raises(Stranger, match="not as a Credstream"):
            await client.stats()
    assert len(seen) == 1
    for address in ("nonsense", "http://", "ftp://localhost", "http://localhost:99999"):
        async with Client(address) as client:
            with pytest.raises(Stranger, match=f"^{address} is no"):
                await client.stats()


async def test_move_answers_the_state() -> None:
    async with scripted(moved) as (client, _):
        assert await client.promote("q", "1") is State.WAITING
