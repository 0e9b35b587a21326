"""Nobody knows whether the relay took a message: sent again, or held (EM-10)."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import end, spawn, until
from scripted_relay import CLOSE, ScriptedRelay, scripted

from consumers.processor import ClaimLost, Reject, Retry
from schemas.job import JobOptions, State
from streams import Queue, Redis, errors
from tests.mail.conftest import PAYLOAD

WORKER = Path(__file__).parents[1] / "support" / "mail_worker.py"
ENDED = (State.COMPLETED, State.FAILED)
SUBMISSION = {
    "SMTP_TLS": "none",
    "SMTP_HOST": "127.0.0.1",
    "MAIL_FROM": "no-reply@example.org",
}


@pytest.fixture
def workers(redis_url: str, tmp_path: Path) -> Iterator[Any]:
    """workers(dies): a worker process; all are gone afterwards."""
    running: list[Any] = []

    def begin(dies: bool) -> Any:
        wanted = {"url": redis_url, "data_dir": str(tmp_path), "dies": dies}
        root = str(WORKER.parents[2])
        with (tmp_path / "log").open("ab") as log:
            command = [sys.executable, WORKER, json.dumps(wanted)]
            running.append(spawn(command, env={"PYTHONPATH": root}, output=log))
        return running[-1]

    yield begin
    for process in running:
        end(process)


@pytest.mark.parametrize("policy", ["resend", "hold"])
@pytest.mark.parametrize("said_by", ["job", "setting"])
async def test_kill_9_between_250_and_the_completion(
    workers: Any, redis: Redis, relay: Any, smtp_env: Any, policy: str, said_by: str
) -> None:
    if said_by == "setting":
        smtp_env(MAIL_ON_AMBIGUOUS=policy)
    else:
        smtp_env(MAIL_ON_AMBIGUOUS="hold" if policy == "resend" else "resend")
    queue = Queue("emails", redis)
    said = {"onAmbiguous": policy} if said_by == "job" else {}
    job_id = (await queue.add("emails", PAYLOAD | said)).id
    first = workers(True)
    await until(lambda: first.poll() is not None, within_s=60, what="the worker is dead")
    assert first.poll() == -signal.SIGKILL
    assert len(relay.received) == 1
    workers(False)

    async def has_ended() -> bool:
        job = await queue.get(job_id)
        return job is not None and job.state in ENDED

    await until(has_ended, within_s=60, what="the job has ended")
    job = await queue.get(job_id)
    assert job is not None
    ids = [got.message["Message-ID"] for got in relay.received]
    if policy == "resend":
        assert job.state is State.COMPLETED
        assert ids == [job.returnvalue["messageId"]] * 2
        return
    assert job.state is State.FAILED
    assert job.errors[-1].code == "ambiguous"
    assert len(ids) == 1
    # The operator decides: a retry sends it.
    await queue.revive(job_id)
    await until(has_ended, within_s=60, what="the retried job has ended")
    job = await queue.get(job_id)
    assert job is not None
    assert job.state is State.COMPLETED
    assert [got.message["Message-ID"] for got in relay.received] == ids * 2


async def test_what_was_sent_is_not_sent_again(desk: Any, relay: Any, smtp_env: Any) -> None:
    async with desk() as at:
        claim = await at.take()
        result = await at.run(claim)
        assert await at.run(await at.release(claim)) == result
    assert len(relay.received) == 1


@pytest.mark.parametrize("stage", ["mail", "rcpt", "data", "end-of-data"])
async def test_a_clear_no_leaves_nothing_in_doubt(desk: Any, mail_env: Any, stage: str) -> None:
    """Held messages are those in doubt, not those the relay has refused for now."""
    async with scripted(ScriptedRelay({stage: ["451 later", ""]})) as relay:
        mail_env(**SUBMISSION, SMTP_PORT=relay.port, MAIL_ON_AMBIGUOUS="hold")
        async with desk() as at:
            claim = await at.take()
            with pytest.raises(Retry):
                await at.run(claim)
            await at.run(await at.release(claim))


async def test_a_held_message_stays_held_however_often_it_is_delivered(
    desk: Any, mail_env: Any
) -> None:
    async with scripted(ScriptedRelay({"end-of-data": [CLOSE, ""]})) as relay:
        mail_env(**SUBMISSION, SMTP_PORT=relay.port)
        async with desk() as at:
            claim = await at.take(onAmbiguous="hold")
            for _ in range(3):
                with pytest.raises(Reject) as caught:
                    await at.run(claim)
                assert caught.value.code == "ambiguous"
                claim = await at.release(claim)
            await at.fail(claim)
            assert len(relay.messages) == 1
            await at.queue.revive(claim.job.id)
            await at.run(await at.claim())
    assert len(relay.messages) == 2


async def test_a_job_that_was_lost_is_not_sent(desk: Any, relay: Any, smtp_env: Any) -> None:
    """The mark before DATA is refused to a worker whose job another one has: no DATA."""
    async with desk() as at:
        lost = await at.take()
        mine = await at.release(lost)
        with pytest.raises(ClaimLost):
            await at.run(lost)
        assert "DATA" not in relay.commands
        await at.run(mine)
    assert len(relay.received) == 1


async def test_a_mark_that_cannot_be_written_sends_nothing(
    desk: Any, relay: Any, smtp_env: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise errors.Unavailable("cut off")

    async with desk() as at:
        claim = await at.take()
        monkeypatch.setattr(at.claims, "remember", away)
        with pytest.raises(errors.Unavailable):
            await at.run(claim)
        assert relay.received == []
        assert at.mailer.backend.idle == 0


async def test_a_message_that_is_out_completes_its_job_whatever_redis_does(
    desk: Any, relay: Any, smtp_env: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise errors.Unavailable("cut off")

    async with desk() as at:
        claim = await at.take()

        def cut() -> None:
            monkeypatch.setattr(at.claims, "remember", away)
            monkeypatch.setattr(at.claims, "attempt", away)

        relay.on_data = cut
        result = await at.run(claim)
    assert result["relayResponse"] == "250 queued as 1"


async def test_a_job_may_be_tried_for_days(desk: Any, relay: Any, smtp_env: Any) -> None:
    """The schedule for relays that are down, as the documentation gives it."""
    options = JobOptions.model_validate({"backoff": {"type": "durable"}})
    async with desk() as at:
        await at.queue.add("emails", PAYLOAD, options)
        claim = await at.claim()
    assert claim.job.attempts == 10
