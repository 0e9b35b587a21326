"""The outbox relay: what a callback says, how many there are, and what becomes of a bad one."""

import contextlib
import re
from dataclasses import replace
from datetime import datetime
from itertools import permutations
from typing import Any

import orjson
import pytest
from by_hand import Hand
from ledger import ids
from pydantic import ValidationError

from consumers.relay import Relay, callback_id
from schemas.job import State
from schemas.spec import QueueSpec, Retention, catalog
from streams import JobView, Queue, Redis, schedules
from streams.upkeep import Upkeep

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
    assert re.fullmatch(r"~cb:vc-issuance:\d+-\d+:[0-9a-v]{16}", job.id)
    assert await Queue(ISSUANCE, redis).callbacks(job_id) == [job.id]
    assert job.data == {
        "url": URL,
        "method": "POST",
        "event": "vc.issued",
        "organizationId": "org-1",
        "payload": {"event": "vc.issued", **ISSUED},
    }
    assert orjson.dumps(job.data["payload"]) == AS_THE_SEED_SAYS
    assert "removeOnComplete" not in job.opts, "it is kept as long as other webhooks"


async def test_delivered_callbacks_are_dropped_as_other_webhooks_and_not_queued_again(
    redis: Redis, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay died before it forgot the ending: a second one finds it when all is over."""
    await end(redis, ISSUANCE, REQUEST, result=ISSUED)
    with monkeypatch.context() as patched:
        patched.setattr(Upkeep, "acknowledge", dying)
        with pytest.raises(RuntimeError, match="died"):
            await Relay(ISSUANCE, redis).pass_on()
    webhooks = replace(catalog()["webhooks"], retention=Retention(completed_count=0))
    hand = Hand(redis, webhooks)
    await hand.complete(*await hand.take(), result={"status": 200})
    assert (await Upkeep(webhooks, redis).prune()).count == 1
    assert raw.xlen("cs:{vc-issuance}:outbox") == 1

    assert (await Relay(ISSUANCE, redis).pass_on()).count == 1

    assert raw.xlen("cs:{vc-issuance}:outbox") == 0
    assert await callbacks(redis) == []


async def dying(*_: Any) -> None:
    raise RuntimeError("the relay died")


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
    await end(redis, CUSTOM, {"callbackUrl": URL}, result=1)
    owed = raw.dump("cs:{chaos}:outbox")
    relay = Relay(CUSTOM, redis)
    for _ in range(3):
        await relay.pass_on()
        # As if the relay had died before it forgot the ending.
        raw.restore("cs:{chaos}:outbox", 0, owed, replace=True)
    await relay.pass_on()
    assert len(await callbacks(redis)) == 1
    assert raw.xlen("cs:{chaos}:outbox") == 0


@pytest.mark.parametrize("how", ["removed", "cleaned"])
async def test_nor_is_it_reported_again_after_its_callback_was_removed(
    redis: Redis, raw: Any, how: str
) -> None:
    await end(redis, CUSTOM, {"callbackUrl": URL}, result=1)
    owed = raw.dump("cs:{chaos}:outbox")
    relay, webhooks = Relay(CUSTOM, redis), Queue("webhooks", redis)
    await relay.pass_on()
    hand = Hand(redis, catalog()["webhooks"])
    await hand.complete(await hand.take_one())
    if how == "removed":
        await webhooks.remove((await callbacks(redis, State.COMPLETED))[0].id)
    else:
        await webhooks.clean()
    raw.restore("cs:{chaos}:outbox", 0, owed, replace=True)
    await relay.pass_on()
    assert (await webhooks.counts()).total == 0


async def test_an_ending_after_a_revival_is_reported_as_another(redis: Redis) -> None:
    job_id = await end(redis, ISSUANCE, REQUEST, failed=True)
    relay, hand = Relay(ISSUANCE, redis), Hand(redis, ISSUANCE)
    await relay.pass_on()
    await Queue(ISSUANCE, redis).revive(job_id)
    await hand.complete(await hand.take_one(), result=ISSUED)
    await relay.pass_on()
    told = await callbacks(redis)
    assert [job.data["event"] for job in told] == ["vc.issuance.failed", "vc.issued"]
    assert await Queue(ISSUANCE, redis).callbacks(job_id) == [job.id for job in told]


@pytest.mark.parametrize("how", ["dropped", "removed"])
async def test_each_job_that_had_an_id_is_reported(redis: Redis, how: str) -> None:
    """An id may be used again when its job is gone: the endings are counted anew."""
    queue, relay, hand = Queue(CUSTOM, redis), Relay(CUSTOM, redis), Hand(redis, CUSTOM)
    for number in range(3):
        options = {"job_id": "nightly", "remove_on_complete": how == "dropped"}
        await queue.add("work", {"callbackUrl": URL}, None, **options)
        await hand.complete(await hand.take_one(), result={"n": number})
        await relay.pass_on()
        if how == "removed":
            await queue.remove("nightly")
    told = await callbacks(redis)
    assert [job.data["payload"]["n"] for job in told] == [0, 1, 2]
    assert {job.data["payload"]["jobId"] for job in told} == {"nightly"}


async def test_no_queue_and_job_read_as_another_queue_and_job(redis: Redis) -> None:
    """`email`, `bulk-1` and `email-bulk`, `1`: joined by hyphens they would be one name."""
    for name, job_id in (("email", "bulk-1"), ("email-bulk", "1")):
        spec = QueueSpec(name)
        hand = Hand(redis, spec)
        await Queue(spec, redis).add("work", {"callbackUrl": URL}, job_id=job_id)
        await hand.complete(await hand.take_one())
        await Relay(spec, redis).pass_on()
    assert {job.data["payload"]["queue"] for job in await callbacks(redis)} == {
        "email",
        "email-bulk",
    }


async def test_no_submission_takes_the_place_of_a_callback(redis: Redis, raw: Any) -> None:
    """Not even one that knows everything the callback's id is made from."""
    job_id = await end(redis, CUSTOM, {"callbackUrl": URL}, result=1)
    webhooks = Queue("webhooks", redis)
    ((owed,), _) = await Upkeep(CUSTOM, redis).owed()
    data = {"url": URL, "method": "POST", "payload": {}, "event": "e", "organizationId": "evil"}
    for chosen in (callback_id("chaos", owed), f"cb-chaos-{job_id}-1"):
        with contextlib.suppress(ValidationError):
            await webhooks.add("work", data, job_id=chosen)
    await Relay(CUSTOM, redis).pass_on()
    told = [job for job in await callbacks(redis) if job.data["organizationId"] != "evil"]
    assert [job.data["payload"]["jobId"] for job in told] == [job_id]


async def test_a_job_remembers_its_last_callbacks_as_long_as_it_is_there(
    redis: Redis, raw: Any
) -> None:
    queue, relay, hand = Queue(CUSTOM, redis), Relay(CUSTOM, redis), Hand(redis, CUSTOM)
    await queue.add("work", {"callbackUrl": URL}, job_id="often")
    for _ in range(7):
        await hand.fail(await hand.take_one())
        await relay.pass_on()
        await queue.revive("often")
    told = [job.id for job in await callbacks(redis)]
    assert await queue.callbacks("often") == told[-5:]
    await queue.remove("often")
    assert await queue.callbacks("often") == []
    assert raw.exists("cs:{chaos}:run") == 0


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
    queue = Queue(CUSTOM, redis)

    assert (await Relay(CUSTOM, redis).pass_on()).count == 2

    assert [job.id for job in await callbacks(redis)] == await queue.callbacks(good)
    (dead,) = await callbacks(redis, State.FAILED)
    assert [dead.id] == await queue.callbacks(bad)
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


HEADER = b"1:5:0:1:0:1:C:::1"


def deep(levels: int) -> bytes:
    return b'{"in":' * levels + b"1" + b"}" * levels


@pytest.mark.parametrize(
    "spoilt",
    [
        {b"o": b'{"to":{"url":"%b","completed":"c","organizationId":"o"},"event":"completed",'
               b'"ending":1,"value":%b}' % (URL.encode(), deep(253))},
        {b"o": b'{"to":{"url":"%b","completed":"c","organizationId":"o"},"event":"completed",'
               b'"ending":1,"value":%b}' % (URL.encode(), deep(2_000))},
        {b"o": b'{"to":{},"event":"completed","ending":1,"value":1}'},
        {b"o": b'{"to":[],"event":"completed","ending":1,"value":1}'},
        {b"o": b'{"to":{},"event":[],"ending":1,"value":1}'},
        {b"o": b'{"ending":1}'},
        {b"o": b"\xff"},
        {b"o": b"[]"},
        {b"h": b"1:5"},
        {b"x": b"[]", b"h": b"1:5:0:0:0:1"},
        {b"j": b"\xff\x00", b"o": b"null"},
    ],
    ids=range(11),
)  # fmt: skip
async def test_an_entry_that_makes_no_callback_is_a_dead_letter_and_holds_up_nobody(
    redis: Redis, raw: Any, spoilt: dict[bytes, bytes]
) -> None:
    outbox = "cs:{chaos}:outbox"
    raw.xadd(outbox, {b"j": b"spoilt", b"h": HEADER, **spoilt})
    good = await end(redis, CUSTOM, {"callbackUrl": URL}, result=1)
    done = await Relay(CUSTOM, redis).pass_on()
    assert (done.count, done.more, raw.xlen(outbox)) == (2, False, 0)
    assert (await callback(redis)).data["payload"]["jobId"] == good
    (dead,) = await callbacks(redis, State.FAILED)
    assert [error.reason for error in dead.errors] == ["callback"]
    assert (dead.failed_reason or "").startswith("the callback cannot be queued: ")


async def test_a_dead_callback_says_where_it_was_to_go(redis: Redis, raw: Any) -> None:
    to = b'{"url":"%b","completed":"c","organizationId":"org-1"}' % URL.encode()
    owed = b'{"to":%b,"event":"completed","ending":1,"value":%b}' % (to, deep(251))
    raw.xadd("cs:{chaos}:outbox", {b"j": b"spoilt", b"h": HEADER, b"o": owed})
    await Relay(CUSTOM, redis).pass_on()
    (dead,) = await callbacks(redis, State.FAILED)
    assert dead.data == {"event": "c", "payload": None, "url": URL, "organizationId": "org-1"}


async def test_large_endings_are_read_a_mebibyte_at_a_time(redis: Redis, raw: Any) -> None:
    queue, hand, relay = Queue(CUSTOM, redis), Hand(redis, CUSTOM), Relay(CUSTOM, redis)
    for _ in range(5):
        await queue.add("work", {"callbackUrl": URL})
    await hand.complete(*await hand.take(5), result="x" * 700_000)
    done = [await relay.pass_on() for _ in range(4)]
    assert [(one.count, one.more) for one in done] == [(2, True), (2, True), (1, False), (0, False)]
    assert (await Queue("webhooks", redis).counts()).total == 5
