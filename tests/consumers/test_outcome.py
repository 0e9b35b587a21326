"""What becomes of a job whose handler raised: the table of `decide`, and the history it leaves."""

import math
from decimal import Decimal
from typing import Any

import orjson
import pytest
from pydantic import BaseModel, ValidationError

from consumers.outcome import (
    HISTORY_ITEMS,
    MESSAGE_CHARS,
    UNKNOWN_WAIT_MS,
    Cancelled,
    Completed,
    Failed,
    Released,
    Retried,
    TimedOut,
    decide,
    ending,
)
from consumers.processor import Reject, Retry, RetryLater
from schemas.job import MAX_DELAY_MS
from schemas.spec import QueueSpec
from streams import Job
from streams.claims import Claim
from streams.errors import Full, Unavailable
from streams.record import Header

SPEC = QueueSpec("chaos", max_starts=4)
AT_MS = 9_000
CLAIMED_MS = 8_000


def job(made: int = 0, started: int | None = None, **opts: Any) -> Job:
    """A job on its next run, after `made` attempts and `started` starts."""
    header = Header(5, made, made if started is None else started, 0, 0, "", "", "", "1")
    body = orjson.dumps({"name": "n", "data": {}, "opts": opts})
    return Job("chaos", "id", header, body, CLAIMED_MS)


def claim(history: bytes | None = None) -> Claim:
    return Claim(job(), b"5", b"1-0", None, history)


BOOM = ValueError("boom")
FIXED = {"backoff": {"type": "fixed", "delay": 70}}


@pytest.mark.parametrize(
    ("run", "error", "delay_ms"),
    [
        (job(), BOOM, 2_000),
        (job(made=1), BOOM, 4_000),
        (job(made=2), BOOM, None),
        (job(made=2, attempts=4), BOOM, 8_000),
        (job(attempts=1), BOOM, None),
        (job(made=1, **FIXED), BOOM, 70),
        (job(), TimedOut("late"), 2_000),
        (job(made=2), TimedOut("late"), None),
        (job(), TimeoutError(), 2_000),
        (job(), Retry("busy"), 2_000),
        (job(), Retry("busy", after_ms=1_999), 2_000),
        (job(), Retry("busy", after_ms=90_000), 90_000),
        (job(made=2), Retry("busy", after_ms=90_000), None),
        (job(attempts=10, backoff={"type": "durable", "delay": 0}), BOOM, 5_000),
        (job(made=8, attempts=10, backoff={"type": "durable", "delay": 0}), BOOM, 86_400_000),
        (job(), Reject("never"), None),
        (job(attempts=9), Reject("never"), None),
        (job(), Cancelled("stop"), None),
        (job(attempts=9), Cancelled("stop"), None),
        # Starts that charged nothing (stalls, releases, RetryLater) use up no attempt.
        (job(made=1, started=4), BOOM, 4_000),
    ],
)
def test_a_job_is_tried_again_while_attempts_are_left(
    run: Job, error: Exception, delay_ms: int | None
) -> None:
    outcome = decide(run, error, SPEC, AT_MS)
    if delay_ms is None:
        assert isinstance(outcome, Failed)
    else:
        assert isinstance(outcome, Retried)
        assert (outcome.delay_ms, outcome.charged) == (delay_ms, True)
    assert outcome.error["attempt"] == run.attempts_made + 1


def test_jitter_is_placed_by_chance() -> None:
    backoff = {"type": "exponential", "delay": 1_000, "jitter": 0.5}
    waits = [decide(job(backoff=backoff), BOOM, SPEC, AT_MS, chance) for chance in (0, 0.5, 1)]
    assert [wait.delay_ms for wait in waits if isinstance(wait, Retried)] == [1_000, 1_250, 1_500]


def test_later_charges_nothing_even_on_the_last_attempt() -> None:
    outcome = decide(job(made=2, started=2), RetryLater(123, "busy"), SPEC, AT_MS)
    assert isinstance(outcome, Retried)
    assert (outcome.delay_ms, outcome.charged) == (123, False)
    assert (outcome.error["reason"], outcome.error["message"]) == ("later", "busy")


@pytest.mark.parametrize(
    ("error", "waits_s"),
    [
        (Unavailable("Redis went away"), [1, 2, 4, 8, 16, 32, 32]),
        (Full("Redis is out of memory"), [5, 10, 20, 40, 80, 160, 160]),
    ],
)
def test_a_job_does_not_pay_for_a_redis_that_is_away_or_full(
    error: Exception, waits_s: list[int]
) -> None:
    spec = QueueSpec("chaos")
    outcomes = [decide(job(made=2, started=2 + n), error, spec, AT_MS) for n in range(7)]
    assert [one.charged for one in outcomes if isinstance(one, Retried)] == [False] * 7
    assert [one.delay_ms for one in outcomes if isinstance(one, Retried)] == [
        1_000 * wait_s for wait_s in waits_s
    ]
    assert isinstance(decide(job(started=100), error, spec, AT_MS), Failed)


def test_later_is_said_a_bounded_number_of_times() -> None:
    kinds = [
        type(decide(job(made=1, started=started), RetryLater(1), SPEC, AT_MS))
        for started in range(1, 8)
    ]
    assert kinds == [Retried] * SPEC.max_starts + [Failed] * 3
    last = decide(job(started=4), RetryLater(1), SPEC, AT_MS)
    assert last.error["message"] == "put off 4 times: not now"  # type: ignore[union-attr]


def test_nobody_waits_a_negative_time() -> None:
    assert RetryLater(-5).after_ms == 0


@pytest.mark.parametrize(
    ("error", "reason", "code", "message"),
    [
        (ValueError("boom"), "failed", "ValueError", "boom"),
        (KeyError(), "failed", "KeyError", "KeyError"),
        (Reject("no such key", code="key_unknown"), "rejected", "key_unknown", "no such key"),
        (Reject("no"), "rejected", "rejected", "no"),
        (TimedOut("too long"), "timeout", None, "too long"),
        (Cancelled("stop"), "cancelled", None, "stop"),
    ],
)
def test_the_history_says_why_in_words_for_people_and_programs(
    error: Exception, reason: str, code: str | None, message: str
) -> None:
    item = decide(job(made=1), error, SPEC, AT_MS).error
    assert item == {
        "attempt": 2,
        "reason": reason,
        "message": message,
        "at": AT_MS,
        "started": CLAIMED_MS,
        **({"code": code} if code else {}),
    }


def test_a_message_is_cut() -> None:
    item = decide(job(), ValueError("x" * 50_000), SPEC, AT_MS).error
    assert item["message"] == "x" * MESSAGE_CHARS


def test_the_history_keeps_the_first_and_the_last_items() -> None:
    history: bytes | None = None
    for number in range(HISTORY_ITEMS + 30):
        history = ending(claim(history), Failed({"n": number})).history
    kept = [item["n"] for item in orjson.loads(history or b"")]
    assert kept == [0, *range(31, HISTORY_ITEMS + 30)]
    assert len(kept) == HISTORY_ITEMS


def test_a_job_put_off_often_keeps_its_real_errors() -> None:
    history: bytes | None = None
    outcomes = [decide(job(), Reject("first"), SPEC, AT_MS)]
    outcomes += [decide(job(), RetryLater(1, f"put off {n}"), SPEC, AT_MS) for n in range(30)]
    outcomes += [decide(job(), ValueError("last"), SPEC, AT_MS)]
    outcomes += [decide(job(), RetryLater(1, f"and off {n}"), SPEC, AT_MS) for n in range(30)]
    for outcome in outcomes:
        history = ending(claim(history), outcome).history
    kept = [item["message"] for item in orjson.loads(history or b"")]
    assert kept == ["first", "put off 29", "last", "and off 29"]


class Payload(BaseModel):
    number: int


def test_what_pydantic_says_does_not_quote_the_payload() -> None:
    with pytest.raises(ValidationError) as caught:
        Payload.model_validate({"number": "payload-canary"})
    item = decide(job(), caught.value, SPEC, AT_MS).error
    assert item["message"].startswith("data/number: ")
    assert "canary" not in item["message"]


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Completed(b"1"), "complete"),
        (Retried(5, {"n": 1}), "retry"),
        (Failed({"n": 1}), "fail"),
        (Released(), "release"),
    ],
)
def test_every_outcome_is_an_ending(outcome: Any, kind: str) -> None:
    mine = claim()
    done = ending(mine, outcome)
    assert (done.kind, done.claim) == (kind, mine)


def test_an_ending_carries_what_the_outcome_says() -> None:
    assert ending(claim(), Completed(b"[1]")).result == b"[1]"
    done = ending(claim(b'[{"n":0}]'), Retried(5, {"n": 1}, charged=False))
    assert (done.delay_ms, done.charged, done.history) == (5, False, b'[{"n":0},{"n":1}]')


@pytest.mark.parametrize(
    ("asked", "waits_ms"),
    [
        (5, 5),
        (5.2, 6),
        (Decimal("5.5"), 6),
        (-1, 0),
        (-math.pi, 0),
        (10**40, MAX_DELAY_MS),
        (1e300, MAX_DELAY_MS),
    ],
)
def test_a_wait_is_a_whole_number_within_bounds(asked: Any, waits_ms: int) -> None:
    for error in (RetryLater(asked), Retry("busy", after_ms=asked)):
        assert (error.after_ms, type(error.after_ms)) == (waits_ms, int)


@pytest.mark.parametrize("asked", [math.inf, -math.inf, math.nan, Decimal("NaN"), "5", None, True])
def test_a_wait_that_is_no_finite_number_is_refused_where_it_is_made(asked: Any) -> None:
    for make in (lambda: RetryLater(asked), lambda: Retry("busy", after_ms=asked)):
        with pytest.raises((TypeError, ValueError), match="after_ms must be a"):
            make()


@pytest.mark.parametrize("asked", [math.inf, "5", None])
def test_a_wait_that_was_damaged_is_replaced(asked: Any) -> None:
    later, again = RetryLater(0), Retry("busy")
    later.after_ms = again.after_ms = asked
    assert decide(job(), later, SPEC, AT_MS).delay_ms == UNKNOWN_WAIT_MS  # type: ignore[union-attr]
    assert decide(job(**FIXED), again, SPEC, AT_MS).delay_ms == 70  # type: ignore[union-attr]


class NoSuchIssuer(Reject):
    """A refusal of a handler's own."""


def test_a_subclass_counts_as_what_it_is() -> None:
    item = decide(job(), NoSuchIssuer("never", code="gone"), SPEC, AT_MS).error
    assert (item["reason"], item["code"]) == ("rejected", "gone")


def test_the_only_error_of_a_group_decides() -> None:
    """A TaskGroup wraps the error of one task in a group."""
    group = ExceptionGroup("tasks", [BaseExceptionGroup("inner", [Reject("never", code="gone")])])
    outcome = decide(job(), group, SPEC, AT_MS)
    assert isinstance(outcome, Failed)
    assert (outcome.error["reason"], outcome.error["message"]) == ("rejected", "never")
    several = decide(job(), ExceptionGroup("tasks", [Reject("never"), BOOM]), SPEC, AT_MS)
    assert (type(several), several.error["code"]) == (Retried, "ExceptionGroup")
