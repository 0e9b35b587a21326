"""The outbox relay: what a callback says, how many there are, and what becomes of a bad one."""

from datetime import datetime
from itertools import permutations
from typing import Any

import orjson
import pytest
from by_hand import Hand
from ledger import ids

from consumers.relay import KEPT, Relay
from schemas.job import State
from schemas.spec import QueueSpec, catalog
from streams import JobView, Queue, Redis, schedules

URL = "https://example.com/hook"
ISSUANCE = catalog()["vc-issuance"]
CUSTOM = QueueSpec("chaos")
ISSUED = {
    "vcJwt": "eyJ.e30.sig",
    "credentialId": "urn:uuid:1",
    "issuedAt": "2026-01-02T03:04:05Z",
}
AS_THE_SEED_SAYS = (
    b'{"event":"vc.issued","credentialId":"urn:uuid:1","vcJwt":"eyJ.e30.sig",'
    b'"issuedAt":"2026-01-02T03:04:05Z"}'
)
ENVELOPE = ("event", "queue", "jobId", "occurredAt")
REQUEST = {
    "issuerDid": "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH",
    "subjectDid": "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH",
    "credentialType": "UniversityDegreeCredential",
    "claims": {"degree": "BSc"},
    "organizationId": "org-1",
    "userId": "user-1",
    "callbackUrl": URL,
}
ERROR = {
    "attempt": 1,
    "reason": "rejected",
    "code": "issuer_unknown",
    "message": "no key is held for this issuer",
    "at": 1,
    "started": 1,
}


async def end(
    redis: Redis, spec: QueueSpec, data: dict[str, Any], *, result: Any = None, failed: bool = False
) -> str:
    """A job of this queue that has ended, by its id."""
    hand = Hand(redis, spec)
    job_id = (await Queue(spec, redis).add("work", data)).id
    claim = await hand.take_one()
    assert claim.job.id == job_id
    await (hand.fail(claim, error=ERROR) if failed else hand.complete(claim, result=result))
    return job_id


async def callbacks(redis: Redis, state: State = State.WAITING) -> list[JobView]:
    return await Queue("webhooks", redis).page(state, 0, 100)


async def callback(redis: Redis) -> JobView:
    (only,) = await callbacks(redis)
    return only


def without_time(job: JobView) -> dict[str, Any]:
    return {name: told for name, told in job.data["payload"].items() if name != "occurredAt"}


async def test_an_issued_credential_is_reported_exactly_as_the_seed_says(redis: Redis) -> None:
    job_id = await end(redis, ISSUANCE, REQUEST, result=ISSUED)

    assert (await Relay(ISSUANCE, redis).pass_on()).count == 1

    job = await callback(redis)
    assert job.id == f"cb-vc-issuance-{job_id}-1"
    assert job.data == {
        "url": URL,
        "method": "POST",
        "event": "vc.issued",
        "organizationId": "org-1",
        "payload": {"event": "vc.issued", **ISSUED},
    }
    assert orjson.dumps(job.data["payload"]) == AS_THE_SEED_SAYS
    assert job.opts["removeOnComplete"] == {"age": KEPT.age}
    assert KEPT.age >= 24 * 3600


@pytest.mark.parametrize("order", list(permutations(ISSUED)))
async def test_the_order_of_members_is_the_seeds_whatever_the_results_is(
    redis: Redis, order: tuple[str, ...]
) -> None:
    """And a member that the result gains is not told."""
    result = {name: ISSUED[name] for name in order} | {"credentialStatus": {"id": "x"}}
    await end(redis, ISSUANCE, REQUEST, result=result)
    await Relay(ISSUANCE, redis).pass_on()
    assert orjson.dumps((await callback(redis)).data["payload"]) == AS_THE_SEED_SAYS


async def test_an_organizations_schedule_holds_for_its_callbacks(redis: Redis) -> None:
    await schedules.choose(redis, "org-1", "durable", who=b"{}")
    for organization_id in ("org-1", "org-2"):
        await end(redis, ISSUANCE, REQUEST | {"organizationId": organization_id}, result=ISSUED)
    await Relay(ISSUANCE, redis).pass_on()
    jobs = {job.data["organizationId"]: job for job in await callbacks(redis)}
    assert jobs["org-1"].opts["backoff"]["type"] == "durable"
    assert jobs["org-1"].opts["attempts"] == 10
    assert jobs["org-1"].opts["removeOnComplete"] == {"age": KEPT.age}
    assert jobs["org-2"].opts["attempts"] == 3


async def test_a_failed_issuance_is_reported_with_its_error_and_nothing_of_the_payload(
    redis: Redis,
) -> None:
    job_id = await end(redis, ISSUANCE, REQUEST, failed=True)
    await Relay(ISSUANCE, redis).pass_on()
    assert without_time(await callback(redis)) == {
        "event": "vc.issuance.failed",
        "queue": "vc-issuance",
        "jobId": job_id,
        "error": {
            "reason": "rejected",
            "code": "issuer_unknown",
            "message": "no key is held for this issuer",
        },
    }


@pytest.mark.parametrize(
    ("result", "told"),
    [
        ({"n": 1}, {"n": 1}),
        ({}, {}),
        ([1, 2], {"result": [1, 2]}),
        (None, {"result": None}),
        ("text", {"result": "text"}),
        # Nothing of a result gets lost because the callback has a member of that name.
        *(({name: 1, "n": 2}, {"result": {name: 1, "n": 2}}) for name in ENVELOPE),
    ],
)
async def test_a_custom_queue_reports_whatever_its_result_is(
    redis: Redis, result: Any, told: dict[str, Any]
) -> None:
    job_id = await end(redis, CUSTOM, {"callbackUrl": URL}, result=result)
    await Relay(CUSTOM, redis).pass_on()
    job = await callback(redis)
    envelope = {"event": "chaos.completed", "queue": "chaos", "jobId": job_id}
    assert without_time(job) == {**envelope, **told}
    assert list(job.data["payload"])[:4] == list(ENVELOPE)


async def test_the_time_of_an_event_is_that_of_its_ending_whoever_passes_it_on(
    redis: Redis, raw: Any
) -> None:
    await end(redis, CUSTOM, {"callbackUrl": URL}, result=1)
    ((entry, _),) = raw.xrange("cs:{chaos}:outbox")
    await Relay(CUSTOM, redis).pass_on()
    told = (await callback(redis)).data["payload"]["occurredAt"]
    assert told.endswith("Z")
    moment_ms = round(datetime.fromisoformat(told).timestamp() * 1000)
    assert moment_ms == int(entry.split(b"-")[0])


async def test_a_result_that_was_put_aside_is_reported_whole(redis: Redis) -> None:
    big = {"text": "x" * 40_000}
    await end(redis, CUSTOM, {"callbackUrl": URL}, result=big)
    await Relay(CUSTOM, redis).pass_on()
    payload = (await callback(redis)).data["payload"]
    assert (payload["event"], payload["text"]) == ("chaos.completed", big["text"])


async def test_who_asked_for_no_callback_gets_none(redis: Redis) -> None:
    await end(redis, CUSTOM, {}, result=1)
    await end(redis, CUSTOM, {}, failed=True)
    assert (await Relay(CUSTOM, redis).pass_on()).count == 0
    assert await callbacks(redis) == []


async def test_one_ending_is_reported_once_however_often_it_is_passed_on(
    redis: Redis, raw: Any
) -> None:
    job_id = await end(redis, CUSTOM, {"callbackUrl": URL}, result=1)
    ((_, ending),) = raw.xrange("cs:{chaos}:outbox")
    relay = Relay(CUSTOM, redis)
    for _ in range(3):
        await relay.pass_on()
        # As if the relay had died before it forgot the ending.
        raw.xadd("cs:{chaos}:outbox", ending)
    await relay.pass_on()
    assert [job.id for job in await callbacks(redis)] == [f"cb-chaos-{job_id}-1"]
    assert raw.xlen("cs:{chaos}:outbox") == 0


@pytest.mark.parametrize("how", ["removed", "cleaned"])
async def test_nor_is_it_reported_again_after_its_callback_was_removed(
    redis: Redis, raw: Any, how: str
) -> None:
    await end(redis, CUSTOM, {"callbackUrl": URL}, result=1)
    ((_, ending),) = raw.xrange("cs:{chaos}:outbox")
    relay, webhooks = Relay(CUSTOM, redis), Queue("webhooks", redis)
    await relay.pass_on()
    hand = Hand(redis, catalog()["webhooks"])
    await hand.complete(await hand.take_one())
    if how == "removed":
        await webhooks.remove((await callbacks(redis, State.COMPLETED))[0].id)
    else:
        await webhooks.clean()
    raw.xadd("cs:{chaos}:outbox", ending)
    await relay.pass_on()
    assert (await webhooks.counts()).total == 0


async def test_an_ending_after_a_revival_is_reported_as_another(redis: Redis) -> None:
    job_id = await end(redis, ISSUANCE, REQUEST, failed=True)
    relay, hand = Relay(ISSUANCE, redis), Hand(redis, ISSUANCE)
    await relay.pass_on()
    await Queue(ISSUANCE, redis).revive(job_id)
    await hand.complete(await hand.take_one(), result=ISSUED)
    await relay.pass_on()
    assert [(job.id, job.data["event"]) for job in await callbacks(redis)] == [
        (f"cb-vc-issuance-{job_id}-1", "vc.issuance.failed"),
        (f"cb-vc-issuance-{job_id}-2", "vc.issued"),
    ]


async def test_a_callback_that_cannot_be_queued_is_a_dead_letter_and_holds_up_nobody(
    redis: Redis, raw: Any
) -> None:
    """The record may come from another version, which checked less at the door."""
    bad = await end(redis, CUSTOM, {"callbackUrl": URL}, result=1)
    ((entry, fields),) = raw.xrange("cs:{chaos}:outbox")
    raw.xdel("cs:{chaos}:outbox", entry)
    raw.xadd(
        "cs:{chaos}:outbox", {**fields, b"o": fields[b"o"].replace(URL.encode(), b"no address")}
    )
    good = await end(redis, CUSTOM, {"callbackUrl": URL}, result=2)

    assert (await Relay(CUSTOM, redis).pass_on()).count == 2

    assert [job.id for job in await callbacks(redis)] == [f"cb-chaos-{good}-1"]
    (dead,) = await callbacks(redis, State.FAILED)
    assert dead.id == f"cb-chaos-{bad}-1"
    assert [error.reason for error in dead.errors] == ["callback"]
    assert dead.failed_reason is not None
    assert dead.failed_reason.startswith("the callback cannot be queued: /url: ")
    assert ids(raw, "chaos", "outbox") == []


async def test_a_hundred_endings_a_turn_and_no_one_is_left(redis: Redis, raw: Any) -> None:
    queue, hand, relay = Queue(CUSTOM, redis), Hand(redis, CUSTOM), Relay(CUSTOM, redis)
    for _ in range(101):
        await queue.add("work", {"callbackUrl": URL})
    await hand.complete(*await hand.take(200), result=1)
    first, second = await relay.pass_on(), await relay.pass_on()
    assert ((first.count, first.more), (second.count, second.more)) == ((100, True), (1, False))
    assert (await Queue("webhooks", redis).counts()).waiting == 101
