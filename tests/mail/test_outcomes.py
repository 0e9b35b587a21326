"""Every row of smtp-replies.json against a relay that answers so."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from processes import free_ports
from scripted_relay import CLOSE, SILENCE, ScriptedRelay, scripted

from consumers.mail.outcome import Meaning, Stage, judge
from consumers.processor import Reject, Retry

ROWS = json.loads((Path(__file__).parents[1] / "vectors" / "smtp-replies.json").read_text())
SUBMISSION = {
    "SMTP_TLS": "none",
    "SMTP_HOST": "127.0.0.1",
    "MAIL_FROM": "no-reply@example.org",
}
OK = ""


def answered(row: dict[str, Any]) -> list[ScriptedRelay | None]:
    """Relays that behave as the row says; None: nobody listens."""
    stage, reply = row["stage"], row["reply"]
    if isinstance(reply, int):
        return [ScriptedRelay({stage: f"{reply} no"})]
    at = {
        ("connect", "refused/timeout/reset"): [{"banner": CLOSE}, {"banner": SILENCE}],
        ("end-of-data", "timeout"): [{"end-of-data": SILENCE}],
        ("end-of-data", "disconnect"): [{"end-of-data": CLOSE}],
        ("end-of-data", "-1 (unparsable)"): [{"end-of-data": "what?"}],
        ("quit", "any error after 250"): [{"quit": "500 no"}, {"quit": CLOSE}, {"quit": "?"}],
    }
    relays: list[ScriptedRelay | None] = [
        ScriptedRelay(dict(r)) for r in at.get((stage, reply), ())
    ]
    if stage == "connect":
        relays.append(None)
    if reply == "SMTPUTF8 not offered":
        relays.append(ScriptedRelay(extensions=("SIZE",)))
    return relays


CASES = [(row, relay) for row in ROWS for relay in answered(row)]
ELSEWHERE = [row for row in ROWS if not answered(row)]
"""Rows about TLS are in test_relay.py; the one about a ValueError is at the end of this file."""


def test_no_row_is_left_out() -> None:
    assert {(row["stage"], str(row["reply"])) for row in ELSEWHERE} == {
        ("starttls", "not offered"),
        ("starttls", "certificate error"),
        ("local", "ValueError (control character)"),
    }
    assert len(ROWS) == 32


async def outcome_of(at: Any, **changes: Any) -> tuple[str, str]:
    """`retry`, `permanent`, `success`, and the code."""
    try:
        await at.send(**changes)
    except Retry as error:
        return "retry", error.code
    except Reject as error:
        return ("ambiguous" if error.code == "ambiguous" else "permanent"), error.code
    return "success", ""


@pytest.mark.parametrize(
    ("row", "relay"),
    CASES,
    ids=[f"{row['stage']}-{row['reply']}-{n}" for n, (row, _) in enumerate(CASES)],
)
async def test_row(
    desk: Any,
    mail_env: Any,
    caplog: pytest.LogCaptureFixture,
    row: dict[str, Any],
    relay: ScriptedRelay | None,
) -> None:
    mail_env(**SUBMISSION, SMTP_PORT=free_ports(1)[0], SMTP_TIMEOUT_S=30)
    mail_env(MAIL_ON_AMBIGUOUS="hold")  # tells an ambiguous end from a retry
    if relay is not None and SILENCE in relay.replies.values():
        mail_env(SMTP_TIMEOUT_S=0.3)
    if row["stage"] == "auth":
        mail_env(SMTP_USERNAME="me", SMTP_PASSWORD="secret-canary")
    changes = {"to": "jösé@example.com"} if row["stage"] == "local" else {}
    if relay is None:
        async with desk() as at:
            outcome, code = await outcome_of(at, **changes)
    else:
        async with scripted(relay):
            mail_env(SMTP_PORT=relay.port)
            async with desk() as at:
                outcome, code = await outcome_of(at, **changes)
    expected, _, alert = row["outcome"].partition("+")
    assert outcome == expected
    alerts = [one for one in caplog.records if one.levelno == logging.ERROR]
    assert bool(alerts) == bool(alert)
    assert "secret-canary" not in caplog.text
    if relay is not None and row["stage"] not in ("end-of-data", "quit"):
        assert relay.messages == []
    if expected == "retry":
        assert code in ("relay_unavailable", "relay_deferred", "relay_auth_failed")


async def test_ambiguous_is_sent_again_unless_held(desk: Any, mail_env: Any) -> None:
    relay = ScriptedRelay({"end-of-data": [CLOSE, OK]})
    async with scripted(relay):
        mail_env(**SUBMISSION, SMTP_PORT=relay.port)
        async with desk() as at:
            claim = await at.take()
            with pytest.raises(Retry) as caught:
                await at.run(claim)
            assert caught.value.code == "ambiguous"
            result = await at.run(await at.release(claim))
    assert len(relay.messages) == 2
    wanted = f"Message-ID: {result['messageId']}\r\n".encode()
    assert all(wanted in message for message in relay.messages)


@pytest.mark.parametrize("code", [500, 530, 534, 535, 538, 550, 599])
@pytest.mark.parametrize("stage", ["mail", "rcpt", "data"])
async def test_a_refused_log_in_is_never_the_messages_fault(
    desk: Any, mail_env: Any, stage: str, code: int
) -> None:
    async with scripted(ScriptedRelay({stage: f"{code} no"})) as relay:
        mail_env(**SUBMISSION, SMTP_PORT=relay.port)
        async with desk() as at:
            outcome, _ = await outcome_of(at)
    assert outcome == ("retry" if code in (530, 534, 535, 538) else "permanent")


async def test_every_attempt_is_recorded(desk: Any, mail_env: Any) -> None:
    relay = ScriptedRelay({"rcpt": ["450 later\x07 \x1b[31mplease", OK]})
    async with scripted(relay):
        mail_env(**SUBMISSION, SMTP_PORT=relay.port)
        async with desk() as at:
            claim = await at.take()
            with pytest.raises(Retry, match="450 later"):
                await at.run(claim)
            await at.run(claim)
            first, second = await at.queue.attempts(claim.job.id)
    assert first["outcome"] == "retry"
    assert (first["stage"], first["code"]) == ("rcpt", "relay_deferred")
    assert first["message"] == "The mail relay answered 450 later [31mplease"
    assert (second["outcome"], second["message"]) == ("sent", "250 queued")
    assert {"attempt", "startedAt", "durationMs"} <= set(second)


async def test_a_copy_that_is_refused_for_good_does_not_hold_up_the_message(
    desk: Any, mail_env: Any
) -> None:
    relay = ScriptedRelay({"rcpt": [OK, "550 no such user", OK]})
    async with scripted(relay):
        mail_env(**SUBMISSION, SMTP_PORT=relay.port)
        async with desk() as at:
            claim = await at.take(cc=["x@example.com", "y@example.com"])
            await at.run(claim)
            (record,) = await at.queue.attempts(claim.job.id)
    assert record["refusedCopies"] == {"x@example.com": "550 no such user"}
    assert len(relay.messages) == 1


async def test_a_copy_that_is_refused_for_now_is_tried_again_with_the_message(
    desk: Any, mail_env: Any
) -> None:
    relay = ScriptedRelay({"rcpt": [OK, "450 later", OK]})
    async with scripted(relay):
        mail_env(**SUBMISSION, SMTP_PORT=relay.port)
        async with desk() as at:
            claim = await at.take(cc=["x@example.com"])
            with pytest.raises(Retry):
                await at.run(claim)
            assert relay.messages == []
            await at.run(claim)
    assert len(relay.messages) == 1


async def test_a_relay_that_is_slow_at_every_step_is_cut_off(desk: Any, mail_env: Any) -> None:
    """Each answer is in time for a socket's timeout; the whole delivery is not (EM-13)."""
    relay = ScriptedRelay(delay_s=0.2)
    async with scripted(relay):
        mail_env(**SUBMISSION, SMTP_PORT=relay.port, SMTP_TIMEOUT_S=0.5)
        async with desk() as at:
            outcome, code = await outcome_of(at)
    assert (outcome, code) == ("retry", "relay_unavailable")
    assert relay.said
    assert relay.messages == []


def test_a_control_character_in_a_command_is_permanent() -> None:
    for stage in (Stage.MAIL, Stage.RCPT):
        failure = judge(stage, ValueError("prohibited control character"))
        assert (failure.meaning, failure.code) == (Meaning.PERMANENT, "message_invalid")
