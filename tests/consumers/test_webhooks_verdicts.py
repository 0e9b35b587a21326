"""What becomes of a delivery: every row of the tables."""

import base64
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from consumers.delivery import verdict
from consumers.delivery.record import EXCERPT_BYTES, Timing, record
from consumers.delivery.retry_after import retry_after_ms
from outbound.client import Reply
from outbound.errors import Blocked
from outbound.faults import unreachable

VECTORS = Path(__file__).parents[1] / "vectors"
OUTCOMES = json.loads((VECTORS / "webhook-outcomes.json").read_text())
STATUSES = [row for row in OUTCOMES if "status" in row and "then" not in row]
RETRY_AFTER = json.loads((VECTORS / "retry-after.json").read_text())["cases"]
NOW_S = datetime.fromisoformat("2026-01-01T00:00:00Z").timestamp()


def of(status: int, *, retry_on_4xx: bool = False, **headers: str) -> verdict.Verdict:
    found = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return verdict.of_answer(status, found, retry_on_4xx=retry_on_4xx, now_s=NOW_S)


@pytest.mark.parametrize("row", STATUSES, ids=lambda row: str(row["status"]))
def test_every_status_of_the_table(row: dict[str, Any]) -> None:
    found = of(row["status"])
    destiny, _, more = row["outcome"].partition("+")
    assert found.destiny == destiny
    assert (found.about == "gone") == (more == "disable")
    assert (found.defer_ms > 0) == (more == "throttle")
    assert str(row["status"]) in found.message


def test_no_status_is_without_a_verdict() -> None:
    for status in range(200, 600):
        expected = "success" if status < 300 else "retry" if status >= 500 else "failed"
        if status in (408, 425, 429):
            expected = "retry"
        assert of(status).destiny == expected


def test_a_job_may_ask_for_retries_after_4xx() -> None:
    for status in range(400, 500):
        assert of(status, retry_on_4xx=True).destiny == ("failed" if status == 410 else "retry")
    assert of(302, retry_on_4xx=True).destiny == "failed"


@pytest.mark.parametrize("row", RETRY_AFTER, ids=lambda row: row["header"] or "empty")
def test_every_retry_after_of_the_table(row: dict[str, Any]) -> None:
    now_s = datetime.fromisoformat(row["now"]).timestamp()
    expected = None if row["delay_s"] is None else row["delay_s"] * 1_000
    assert retry_after_ms(row["header"], now_s) == expected


@pytest.mark.parametrize(
    "value",
    ["Thu, 32 Jan 2026 00:00:00 GMT", "Thu, 01 Jan 2026 00:00:00 +0100", "٣", " 5", "5 ", "1e3",
     "Thu, 01 Jan 2026 25:00:00 GMT", "9" * 101, "Thu, 01 Foo 2026 00:00:00 GMT"],
)  # fmt: skip
def test_a_retry_after_that_means_nothing_is_ignored(value: str) -> None:
    assert retry_after_ms(value, NOW_S) is None


@pytest.mark.parametrize("status", [429, 500, 503, 529])
def test_retry_after_is_heard_on_429_and_5xx(status: int) -> None:
    found = of(status, retry_after="7")
    assert (found.after_ms, found.defer_ms) == (7_000, 7_000)


@pytest.mark.parametrize("status", [200, 302, 404, 408, 410])
def test_and_on_nothing_else(status: int) -> None:
    found = of(status, retry_after="7")
    assert (found.after_ms, found.defer_ms) == (0, 0)


def test_zero_is_a_wish_too() -> None:
    assert (of(429, retry_after="0").defer_ms, of(429).defer_ms) == (0, verdict.THROTTLED_MS)


@pytest.mark.parametrize(
    ("status", "about"),
    [(200, "success"), (302, "neutral"), (404, "neutral"), (422, "neutral"), (410, "gone"),
     (429, "neutral"), (408, "failure"), (425, "failure"), (503, "failure")],
)  # fmt: skip
def test_what_an_answer_says_about_the_destination(status: int, about: str) -> None:
    assert of(status).about == about


TRANSPORT = [row for row in OUTCOMES if row.get("why") == "transport"]
NEVER_DIALLED = {"blocked_address", "invalid_url", "scheme_not_allowed"}


@pytest.mark.parametrize("row", TRANSPORT, ids=lambda row: row["error"])
def test_what_does_not_answer_is_tried_again(row: dict[str, str]) -> None:
    found = verdict.of_error(unreachable(row["error"]))
    assert (found.destiny, found.code, found.about) == (row["outcome"], row["error"], "failure")


@pytest.mark.parametrize("code", sorted(NEVER_DIALLED))
def test_what_may_not_be_called_is_not(code: str) -> None:
    rows = {row["error"]: row["outcome"] for row in OUTCOMES if "error" in row}
    found = verdict.of_error(Blocked(code=code))
    assert (found.destiny, found.about) == (rows[code], "neutral")


def test_our_proxy_is_no_fault_of_the_destination() -> None:
    found = verdict.of_error(unreachable("proxy_error"))
    assert (found.destiny, found.about) == ("retry", "neutral")


def recorded(body: bytes = b"", headers: dict[str, str] | None = None) -> dict[str, Any]:
    reply = Reply(200, headers or {}, body, "192.0.2.1:443")
    return record(1, Timing(1_000, 5), of(200), reply, None)


def test_a_record_of_an_answer() -> None:
    assert recorded(b"ok", {"content-type": "text/plain", "set-cookie": "a=b"}) == {
        "number": 1,
        "started": 1_000,
        "durationMs": 5,
        "outcome": "success",
        "code": "http_200",
        "nextAttemptAt": None,
        "status": 200,
        "headers": {"content-type": "text/plain"},
        "body": "ok",
        "bodyEncoding": "utf-8",
        "bodyTruncated": False,
        "operator": {"address": "192.0.2.1:443"},
    }


def test_a_record_of_no_answer() -> None:
    found = verdict.of_error(unreachable("connect_refused"))
    assert record(2, Timing(1_000, 5), found, None, 3_005) == {
        "number": 2,
        "started": 1_000,
        "durationMs": 5,
        "outcome": "retry",
        "code": "connect_refused",
        "nextAttemptAt": 3_005,
        "status": None,
    }


def test_a_body_that_is_no_text_is_kept_as_base64() -> None:
    entry = recorded(b"\xff\x00")
    assert (entry["body"], entry["bodyEncoding"]) == (
        base64.b64encode(b"\xff\x00").decode(),
        "base64",
    )


@pytest.mark.parametrize("shift", range(4))
def test_an_excerpt_ends_at_a_whole_character(shift: int) -> None:
    entry = recorded(b"x" * shift + "😀".encode() * EXCERPT_BYTES)
    assert entry["bodyEncoding"] == "utf-8"
    assert entry["bodyTruncated"]
    assert EXCERPT_BYTES - 4 < len(entry["body"].encode()) <= EXCERPT_BYTES


def test_half_a_character_at_the_true_end_is_no_text() -> None:
    assert recorded("ab😀".encode()[:-1])["bodyEncoding"] == "base64"


def test_long_headers_are_cut() -> None:
    assert recorded(headers={"server": "x" * 9_000})["headers"] == {"server": "x" * 256}
