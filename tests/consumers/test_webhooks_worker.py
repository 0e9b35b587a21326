"""Deliveries from the queue to a receiver and back: real Redis, real destinations, real HTTP."""

import asyncio
from typing import Any

import orjson
import pytest
from by_hand import Hand
from deliveries import data
from gate import ended
from processes import until
from receivers import open_settings, raw, receiver, reply
from redis_servers import Server
from standardwebhooks.webhooks import Webhook as Oracle
from working import delivering, destinations

from consumers.delivery import send
from consumers.delivery.send import Delivery
from consumers.destinations import open_destinations
from consumers.processor import Context, Resources
from consumers.processors.webhooks import open_delivery
from consumers.relay import Relay
from outbound.client import open_client
from schemas.job import Backoff, JobOptions, State
from schemas.queues.webhooks import SPEC, Webhook
from schemas.spec import QueueSpec
from streams import JobView, Queue, Redis, connect

AT_ONCE = JobOptions(backoff=Backoff(type="fixed", delay=0))


async def submit(redis: Redis, url: str, options: JobOptions = AT_ONCE, **changes: Any) -> str:
    return (await Queue(SPEC, redis).add("x", data(url, **changes), options)).id


async def finished(redis: Redis, job_id: str) -> JobView:
    return await ended(redis, job_id, SPEC.name)


async def test_a_delivery_that_succeeds_at_the_second_attempt(redis: Redis) -> None:
    async with (
        receiver(reply(503, b"busy"), reply(200, b"ok")) as server,
        delivering(redis) as desk,
    ):
        job_id = await submit(redis, server.url)
        job = await finished(redis, job_id)
        (secret,) = await desk.keys("org-1", server.url)
    assert job.state == State.COMPLETED
    result = dict(job.returnvalue)
    result.pop("durationMs")
    assert result == {"status": 200, "attempts": 2, "webhookId": job_id}
    first, second = server.requests
    assert first.header("webhook-id") == second.header("webhook-id") == job_id
    assert first.body == second.body
    headers = {name: second.header(name) for name in second.names() if name.startswith("webhook")}
    assert Oracle(secret).verify(second.body, headers) == {"event": "vc.issued", "n": 1}
    records = await Queue(SPEC, redis).attempts(job_id)
    assert [(r["number"], r["outcome"], r["status"], r["body"]) for r in records] == [
        (1, "retry", 503, "busy"),
        (2, "success", 200, "ok"),
    ]
    assert records[0]["nextAttemptAt"] is not None


async def test_three_attempts_and_then_it_has_failed(redis: Redis) -> None:
    async with receiver(reply(500)) as server, delivering(redis):
        job = await finished(redis, await submit(redis, server.url))
    assert (job.state, job.attempts_made, len(server.requests)) == (State.FAILED, 3, 3)
    assert [(error.reason, error.code) for error in job.errors] == [("failed", "http_500")] * 3


@pytest.mark.parametrize(("status", "code"), [(404, "http_404"), (302, "redirect_not_followed")])
async def test_what_is_refused_is_not_tried_again(redis: Redis, status: int, code: str) -> None:
    async with receiver(reply(status)) as server, delivering(redis):
        job = await finished(redis, await submit(redis, server.url))
    assert (job.state, job.attempts_made, len(server.requests)) == (State.FAILED, 1, 1)
    assert [(error.reason, error.code) for error in job.errors] == [("rejected", code)]


async def test_unless_the_job_asks_for_it(redis: Redis) -> None:
    async with receiver(reply(404), reply(200)) as server, delivering(redis):
        job = await finished(redis, await submit(redis, server.url, retryOn4xx=True))
    assert (job.state, len(server.requests)) == (State.COMPLETED, 2)


async def test_a_short_absence_of_redis_does_not_keep_a_healthy_destination_waiting(
    own_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    arrived, answer = asyncio.Semaphore(0), asyncio.Event()

    async def slow(seen: Any, writer: asyncio.StreamWriter) -> None:
        arrived.release()
        await answer.wait()
        await reply(200)(seen, writer)

    redis = connect(own_server.url)
    async with receiver(slow) as server, delivering(redis):
        held = [await submit(redis, server.url) for _ in range(5)]
        for _ in held:
            await asyncio.wait_for(arrived.acquire(), 20)
        own_server.stop()
        answer.set()
        await until(lambda: "given back when Redis is" in caplog.text, within_s=20, what="it fails")
        own_server.start()
        later = [await submit(redis, server.url) for _ in range(5)]
        jobs = [await finished(redis, job_id) for job_id in (*held, *later)]
    assert {job.state for job in jobs} == {State.COMPLETED}
    assert len(server.requests) == 10
    await redis.close()


async def test_410_ends_the_deliveries_to_a_destination(redis: Redis) -> None:
    async with receiver(reply(410)) as server, delivering(redis):
        first = await finished(redis, await submit(redis, server.url))
        second = await finished(redis, await submit(redis, server.url + "other"))
        other = await finished(redis, await submit(redis, server.url, organizationId="org-2"))
    assert [e.code for job in (first, second, other) for e in job.errors] == [
        "gone", "destination_disabled", "gone",
    ]  # fmt: skip
    assert len(server.requests) == 2


async def test_retry_after_keeps_other_jobs_away_and_charges_them_nothing(redis: Redis) -> None:
    queue = Queue(SPEC, redis)
    async with receiver(reply(503, b"", {"Retry-After": "3600"})) as server, delivering(redis):
        first = await submit(redis, server.url)
        await until(lambda: is_delayed(queue, first), within_s=20, what="the first is delayed")
        second = await submit(redis, server.url)
        await until(lambda: is_delayed(queue, second), within_s=20, what="the second is delayed")
    jobs = [await queue.get(job_id) for job_id in (first, second)]
    assert [job.attempts_made for job in jobs if job] == [1, 0]
    assert jobs[0] is not None
    assert jobs[0].delay_until is not None
    assert jobs[0].delay_until - (jobs[0].processed_on or jobs[0].timestamp) >= 3_590_000
    assert len(server.requests) == 1


async def test_the_recorded_next_attempt_has_the_jitter_that_is_used(redis: Redis) -> None:
    """With hours of jitter: the minute that a machine may lose between the two tells nothing."""
    queue = Queue(SPEC, redis)
    hour_ms = 3_600_000
    options = JobOptions(backoff=Backoff(type="fixed", delay=10 * hour_ms, jitter=1.0))
    async with receiver(reply(500)) as server, delivering(redis):
        job_ids = [await submit(redis, server.url, options) for _ in range(5)]
        for job_id in job_ids:
            await until(lambda j=job_id: is_delayed(queue, j), within_s=20, what="it is delayed")  # type: ignore[misc]
    waits = set()
    for job_id in job_ids:
        job, (record,) = await queue.get(job_id), await queue.attempts(job_id)
        assert job is not None
        assert job.delay_until is not None
        assert abs(job.delay_until - record["nextAttemptAt"]) < 60_000
        waits.add((job.delay_until - record["started"]) // 60_000)
    assert len(waits) > 1


async def is_delayed(queue: Queue, job_id: str) -> bool:
    job = await queue.get(job_id)
    return job is not None and job.state == State.DELAYED


ODD_BYTES = bytes(b for b in range(0x20, 0x100) if b != 0x7F)


async def test_a_delivery_is_made_once_whatever_bytes_the_answer_has_in_its_headers(
    redis: Redis,
) -> None:
    """Header values are ISO 8859-1 where they are not UTF-8 (RFC 9110, section 5.5)."""
    answer = raw(b"HTTP/1.1 200 \xff\r\nContent-Length: 0\r\nServer: " + ODD_BYTES + b"\r\n\r\n")
    async with receiver(answer) as server, delivering(redis):
        job_id = await submit(redis, server.url)
        job = await finished(redis, job_id)
    assert (job.state, job.attempts_made, len(server.requests)) == (State.COMPLETED, 1, 1)
    (record,) = await Queue(SPEC, redis).attempts(job_id)
    assert record["outcome"] == "success"
    assert record["headers"]["server"] == ODD_BYTES.decode("latin-1").strip(" ")


async def test_a_replayed_delivery_has_its_old_id_and_all_its_attempts(redis: Redis) -> None:
    queue = Queue(SPEC, redis)
    answers = [reply(500)] * 3 + [reply(500), reply(200)]
    async with receiver(*answers) as server, delivering(redis):
        job_id = await submit(redis, server.url)
        await finished(redis, job_id)
        await queue.revive(job_id)
        await until(lambda: is_completed(queue, job_id), within_s=20, what="the replay is done")
    assert {seen.header("webhook-id") for seen in server.requests} == {job_id}
    assert len({seen.body for seen in server.requests}) == 1
    assert len(server.requests) == 5


async def is_completed(queue: Queue, job_id: str) -> bool:
    job = await queue.get(job_id)
    return job is not None and job.state == State.COMPLETED


async def test_a_delivery_whose_answer_got_lost_comes_again_under_its_id(redis: Redis) -> None:
    """The worker dies between the answer and its record: the job goes back and runs again."""
    hand = Hand(redis, SPEC)
    async with receiver(reply(200)) as server, open_client(open_settings()) as client:
        job_id = await submit(redis, server.url)
        claim = await hand.take_one()
        delivery = Delivery(client, destinations(redis))
        webhook = Webhook.model_validate(claim.job.data)
        lease = await send.admitted(delivery, webhook, claim.job)
        context = Context(hand.claims, claim, delivery)
        await send.attempt(delivery, webhook, claim.job, lease, context)
        await hand.release(claim)
        async with delivering(redis):
            job = await finished(redis, job_id)
    assert job.state == State.COMPLETED
    first, second = server.requests
    assert first.header("webhook-id") == second.header("webhook-id") == job_id
    assert first.body == second.body


async def test_the_callback_of_a_job_arrives_signed_and_once(redis: Redis) -> None:
    spec = QueueSpec("chaos")
    async with receiver(reply(200)) as server, delivering(redis) as desk:
        options = JobOptions(callback_url=server.url)
        told = {"organizationId": "org-1"}
        job_id = (await Queue(spec, redis).add("x", told, options)).id
        hand = Hand(redis, spec)
        await hand.complete(await hand.take_one(), result={"n": 1})
        relay = Relay(spec, redis)
        await relay.pass_on()
        await relay.pass_on()
        (callback,) = await Queue(spec, redis).callbacks(job_id)
        job = await finished(redis, callback)
        (secret,) = await desk.keys("org-1", server.url)
    assert job.state == State.COMPLETED
    (seen,) = server.requests
    body = orjson.loads(seen.body)
    assert (body["event"], body["n"]) == ("chaos.completed", 1)
    assert seen.header("webhook-id") == job.returnvalue["webhookId"]
    headers = {name: seen.header(name) for name in seen.names() if name.startswith("webhook")}
    Oracle(secret).verify(seen.body, headers)


async def test_it_opens_with_the_settings_of_the_environment(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("WEBHOOK_TIMEOUT_S", "30")
    resources = Resources(redis, tmp_path)
    async with open_delivery(resources) as delivery, open_destinations(resources) as desk:
        assert delivery.settings.timeout_s == 30
        assert await delivery.desk.keys("o", "https://a.test") == await desk.keys(
            "o", "https://a.test"
        )
