"""Jobs of sealed queues: nothing of them lies in Redis in plain text, and everything else works."""

import base64
import json
import secrets
from typing import Any

import pytest
from processes import until

import credstream
import streams
from consumers import Worker
from consumers.processor import Reject
from consumers.relay import Relay
from credentials.keyring import Keyring
from credentials.payload_cipher import PayloadCipher
from credstream.queues import Queues
from schemas.job import JobOptions, State
from schemas.spec import QueueSpec
from streams import Job, NewJob, Queue
from streams.claims import Ending
from streams.errors import SealedError, SealingUnavailable
from streams.search import Wanted, search

SPEC = QueueSpec("diplomas", sealed="available", lease_ms=2_000)
MARK = "Ada-Lovelace"
HOOK = "https://example.com/hook"


def ring(name: str = "k1") -> Keyring:
    return Keyring.parse(f"{name}:{base64.b64encode(secrets.token_bytes(32)).decode()}", "data")


@pytest.fixture
def sealing(redis: streams.Redis) -> streams.Redis:
    redis.cipher = PayloadCipher(ring())
    return redis


def everything(raw: Any) -> bytes:
    """All that lies in Redis, as DUMP gives it, without compression."""
    raw.config_set("rdbcompression", "no")
    return b"".join(raw.dump(key) or b"" for key in raw.scan_iter(count=1_000))


def data(size: int = 0) -> dict[str, Any]:
    return {"organizationId": "org-1", "name": MARK, "much": "x" * size}


async def echo(job: Job) -> dict[str, Any]:
    assert job.data["name"] == MARK
    return {"diploma": f"of {job.data['name']}", "much": job.data["much"]}


@pytest.mark.parametrize("size", [0, 100, 40_000])
async def test_nothing_lies_in_plain_text_at_any_time(
    sealing: streams.Redis, raw: Any, size: int
) -> None:
    queue = Queue(SPEC, sealing)
    told = JobOptions(callback_url=HOOK)
    added = [
        await queue.add("a", data(size)),
        await queue.add("b", data(size), delay=1),
        await queue.add("c", data(size), told),
    ]
    assert MARK.encode() not in everything(raw)
    assert [job.data for job in await queue.page(State.WAITING)] == [data(size)] * 2
    async with Worker(SPEC, echo, redis=sealing):

        async def ended() -> bool:
            return (await queue.counts()).completed == 3

        await until(ended, within_s=20, what="all have ended")
    found = [await queue.get(one.id) for one in added]
    assert [(one.data, one.returnvalue["diploma"]) for one in found if one] == [
        (data(size), f"of {MARK}")
    ] * 3

    async def told_all() -> bool:
        await Relay(SPEC, sealing).pass_on()
        return (await Queue("webhooks", sealing).counts()).waiting == 1

    await until(told_all, within_s=10, what="the callback is queued")
    assert MARK.encode() not in everything(raw)
    (callback,) = await Queue("webhooks", sealing).page(State.WAITING)
    assert callback.data["payload"]["diploma"] == f"of {MARK}"


async def test_a_process_without_the_key_sees_whose_it_is_and_no_more(
    sealing: streams.Redis, redis_url: str
) -> None:
    added = await Queue(SPEC, sealing).add("a", data())
    other = streams.connect(redis_url)
    try:
        for cipher in (None, PayloadCipher(ring("k2"))):
            other.cipher = cipher
            job = await Queue(SPEC, other).get(added.id)
            assert job is not None
            assert job.data == {"organizationId": "org-1", "sealed": True}
    finally:
        await other.close()


async def test_a_worker_without_the_key_puts_the_job_off_and_charges_nothing(
    sealing: streams.Redis, redis_url: str
) -> None:
    queue = Queue(SPEC, sealing)
    added = await queue.add("a", data())
    other = streams.connect(redis_url)
    try:
        async with Worker(SPEC, echo, redis=other):

            async def put_off() -> bool:
                return (await queue.counts()).delayed == 1

            await until(put_off, within_s=10, what="it was put off")
    finally:
        await other.close()
    job = await queue.get(added.id)
    assert job is not None
    assert (job.attempts_made, job.errors[-1].reason) == (0, "later")
    assert "CREDSTREAM_DATA_KEKS_FILE" in job.errors[-1].message


async def test_a_relay_without_the_key_leaves_the_ending_to_one_that_has_it(
    sealing: streams.Redis, redis_url: str
) -> None:
    queue = Queue(SPEC, sealing)
    await queue.add("a", data(), JobOptions(callback_url=HOOK))
    worker = Worker(SPEC, echo, redis=sealing)
    other = streams.connect(redis_url)
    try:
        claims = worker.claims
        link = await claims.link()
        claimed, _ = await claims.claim(link, 1)
        (claim,) = claimed.claims
        ending = claims.seal(Ending(claim, "complete", result=b'{"diploma":1}'))
        await claims.send([command for command, _ in claims.settle([ending])])
        with pytest.raises(SealedError):
            await Relay(SPEC, other).pass_on()
        assert (await queue.counts()).outbox == 1
        assert (await Relay(SPEC, sealing).pass_on()).count == 1
        assert (await queue.counts()).outbox == 0
    finally:
        await other.close()


async def test_a_text_moved_to_another_job_does_not_open(sealing: streams.Redis, raw: Any) -> None:
    queue = Queue(SPEC, sealing)
    one, two = await queue.add_many([NewJob("a", data()), NewJob("b", {"organizationId": "o"})])
    first, second = (raw.xrange("cs:{diplomas}:p5")[n] for n in (0, 1))
    sealed = json.loads(first[1][b"b"])["data"]
    body = json.loads(second[1][b"b"]) | {"data": sealed}
    raw.xdel("cs:{diplomas}:p5", second[0])
    entry = raw.xadd("cs:{diplomas}:p5", second[1] | {b"b": json.dumps(body).encode()})
    raw.hset("cs:{diplomas}:jobs", two.id, b"5:" + entry)
    found = await queue.get(two.id)
    assert found is not None
    assert found.data == {"organizationId": "org-1", "sealed": True}
    assert (await queue.get(one.id)).data == data()  # type: ignore[union-attr]


async def test_a_member_called_sealed_of_a_plain_job_is_the_clients(redis: streams.Redis) -> None:
    """The flag says what is sealed, not what a payload looks like."""
    redis.cipher = PayloadCipher(ring())
    sent = {"sealed": "1.data/k1.AAAA.AAAA", "organizationId": "o"}
    queue = Queue(QueueSpec("plain"), redis)
    added = await queue.add("a", sent)
    seen: list[Any] = []

    async def handler(job: Job) -> dict[str, Any]:
        seen.append(job.data)
        return {"sealed": "mine"}

    async with Worker(queue.spec, handler, redis=redis):

        async def ended() -> bool:
            return (await queue.counts()).completed == 1

        await until(ended, within_s=10, what="it has ended")
    job = await queue.get(added.id)
    assert job is not None
    assert (seen, job.data, job.returnvalue) == ([sent], sent, {"sealed": "mine"})


async def test_a_queue_that_must_seal_takes_nothing_without_a_key(redis: streams.Redis) -> None:
    queue = Queue(QueueSpec("must", sealed="always"), redis)
    with pytest.raises(SealingUnavailable, match="Nothing was stored"):
        await queue.add("a", data())
    assert (await queue.counts()).total == 0


async def test_an_old_key_opens_and_the_new_one_seals(sealing: streams.Redis) -> None:
    old, new = (base64.b64encode(secrets.token_bytes(32)).decode() for _ in "ab")
    sealing.cipher = PayloadCipher(Keyring.parse(f"old:{old}", "data"))
    queue = Queue(SPEC, sealing)
    first = await queue.add("a", data())
    sealing.cipher = PayloadCipher(Keyring.parse(f"new:{new},old:{old}", "data"))
    second = await queue.add("b", data())
    assert [(await queue.get(one.id)).data for one in (first, second)] == [data()] * 2  # type: ignore[union-attr]
    sealing.cipher = PayloadCipher(Keyring.parse(f"new:{new}", "data"))
    job = await queue.get(first.id)
    assert job is not None
    assert job.data["sealed"] is True


async def test_operators_search_and_redrive_what_is_sealed(sealing: streams.Redis) -> None:
    queue = Queue(SPEC, sealing)
    added = await queue.add("a", data(), attempts=1)
    failing = True

    async def handler(job: Job) -> dict[str, Any]:
        if failing:
            raise Reject("not today")
        return await echo(job)

    async with Worker(SPEC, handler, redis=sealing):

        async def failed() -> bool:
            return (await queue.counts()).failed == 1

        await until(failed, within_s=10, what="it failed")
        mine = await search(queue, Wanted(State.FAILED, organization_id="org-1"))
        others = await search(queue, Wanted(State.FAILED, organization_id="org-2"))
        assert ([job.id for job in mine.jobs], others.jobs) == ([added.id], [])
        failing = False
        await queue.revive(added.id)

        async def completed() -> bool:
            return (await queue.counts()).completed == 1

        await until(completed, within_s=10, what="it completed")
    job = await queue.get(added.id)
    assert job is not None
    assert job.returnvalue == {"diploma": f"of {MARK}", "much": ""}


async def test_every_handle_of_a_python_program_seals(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("CREDSTREAM_DATA_KEKS", f"k1:{'A' * 43}=")
    queues = Queues()
    try:
        assert queues.get_queue("vc-issuance").redis.cipher is not None
        assert credstream.connect().cipher is not None
    finally:
        await queues.close()
