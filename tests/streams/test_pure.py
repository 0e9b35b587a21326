"""What needs no Redis: records, backoff, options, batches."""

import doctest
import os
import time
from collections import Counter
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import streams.backoff
from schemas.job import DEFAULTS, MAX_DELAY_MS, Backoff, JobOptions, KeepFor
from schemas.spec import QueueSpec
from streams import NewJob
from streams.backoff import delay_ms
from streams.encode import CALL_BYTES, CALL_JOBS, INLINE_BYTES, Batch, batches
from streams.job import _IdGenerator, new_ids
from streams.options import backoff_of, opts_of, resolve
from streams.record import Header, fields

SPEC = QueueSpec("chaos")
COUNT = st.integers(0, 2**40)
DIGITS = st.integers(0, 2**53).map(str)
HEADERS = st.builds(
    Header,
    priority=st.integers(0, 10),
    made=COUNT,
    started=COUNT,
    stalled=COUNT,
    endings=COUNT,
    flags=st.from_regex(r"C?B?R?E?(D|K|A[1-9]\d{0,5})?(F|L|X[1-9]\d{0,5})?", fullmatch=True),
    expires=st.just("") | DIGITS,
    origin=st.just("") | st.from_regex(r"(-1|10|\d)\.\d{1,13}-\d{1,4}", fullmatch=True),
    added=DIGITS,
    finished=st.just(""),
    nonce=st.just(""),
)
BACKOFFS = st.builds(
    Backoff,
    type=st.sampled_from(["fixed", "exponential"]),
    delay=st.integers(0, MAX_DELAY_MS),
    jitter=st.floats(0, 1),
    max=st.none() | st.integers(0, MAX_DELAY_MS),
)
ATTEMPTS = st.integers(1, 1_000)


# --- records


@given(HEADERS)
def test_a_header_is_read_as_it_was_written(header: Header) -> None:
    assert Header.parse(header.render().encode()) == header


@given(HEADERS, DIGITS, st.from_regex(r"[0-9a-f]{8}", fullmatch=True))
def test_a_header_may_end_with_its_end_its_nonce_and_what_is_yet_unknown(
    header: Header, finished: str, nonce: str
) -> None:
    read = Header.parse(f"{header.render()}:{finished}:{nonce}:of a later version".encode())
    assert (read.finished, read.nonce, read.render()) == (finished, nonce, header.render())


@given(HEADERS)
def test_a_start_is_counted_once_and_says_where_it_came_from(header: Header) -> None:
    moved = header.moved("5.1-0", made=1, endings=0)
    assert (moved.made, moved.started) == (header.made + 1, header.started + 1)
    assert (moved.endings, moved.stalled, moved.flags) == (
        *(header.endings, header.stalled, header.flags),
    )
    assert (moved.origin, moved.expires) == ("5.1-0", "")


def test_a_packed_record_is_unpacked_and_keeps_unknown_fields() -> None:
    packed = b'1:5:0:0:0:0:::0.1-0:9\0{"name":"n"}\0c\0{}\0x\0[]\0new\0kept'
    assert fields([b"j", b"id", b"p", packed]) == {
        b"j": b"id",
        b"h": b"1:5:0:0:0:0:::0.1-0:9",
        b"b": b'{"name":"n"}',
        b"c": b"{}",
        b"x": b"[]",
        b"new": b"kept",
    }


def test_fresh_ids_differ_and_have_one_length() -> None:
    ids = new_ids(1_000)
    assert len(set(ids)) == 1_000
    assert {len(job_id) for job_id in ids} == {26}


def test_fresh_ids_sort_in_the_order_they_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = new_ids(100_000) + new_ids(1)
    monkeypatch.setattr(time, "time_ns", lambda: 1)
    ids += new_ids(2)
    assert ids == sorted(set(ids))


def test_a_forked_process_makes_other_ids() -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, new_ids(1)[0].encode())
        os._exit(0)
    os.waitpid(pid, 0)
    theirs, ours = os.read(read, 100).decode(), new_ids(1)[0]
    os.close(read)
    os.close(write)
    assert theirs[13:] != ours[13:]


def test_no_id_tells_anything_about_the_random_half_of_another() -> None:
    halves = [job_id[13:] for job_id in new_ids(4_000)]
    assert len(set(halves)) == 4_000
    for place in range(13):
        counts = Counter(half[place] for half in halves)
        assert set(counts) == set("0123456789abcdefghijklmnopqrstuv")
        assert max(counts.values()) < 250, "125 are expected; 250 are 11 standard deviations off"


def test_an_id_begins_with_the_time_in_base32hex(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = _IdGenerator()
    monkeypatch.setattr(time, "time_ns", lambda: 1_795_485_650_090 * 1_000_000)
    first, *_, last = fresh.take(3_000)
    assert int(first[:13], 32) == 1_795_485_650_090 << 19
    assert int(last[:13], 32) - int(first[:13], 32) == 2_999


# --- backoff


def test_the_durable_schedule_brings_its_ten_attempts_unless_told_otherwise() -> None:
    durable = Backoff(type="durable")
    waits = [delay_ms(durable, attempt) for attempt in range(1, 10)]
    assert sum(waits) == (75 * 60 + 35) * 60_000 + 5_000
    assert delay_ms(durable, 50) == 24 * 3_600_000

    def attempts(options: JobOptions | None, defaults: JobOptions) -> int | None:
        stored = orjson.loads(resolve(options, defaults).opts or b"{}")
        return stored.get("attempts")

    assert attempts(JobOptions(backoff=durable), JobOptions(attempts=3)) == 10
    assert attempts(JobOptions(backoff=durable, attempts=4), JobOptions()) == 4
    assert attempts(None, JobOptions(backoff=durable)) == 10


def test_the_examples_of_backoff() -> None:
    result = doctest.testmod(streams.backoff)
    assert result.attempted > 0
    assert result.failed == 0


@given(BACKOFFS, ATTEMPTS)
def test_exponential_doubles_and_fixed_stays_within_the_cap(backoff: Backoff, n: int) -> None:
    factor = 2 ** (n - 1) if backoff.type == "exponential" else 1
    most = MAX_DELAY_MS if backoff.max is None else backoff.max
    assert delay_ms(backoff, n) == min(backoff.delay * factor, most, MAX_DELAY_MS)


@given(BACKOFFS, ATTEMPTS, st.floats(0, 1))
def test_jitter_only_lengthens_and_by_no_more_than_its_share(
    backoff: Backoff, n: int, chance: float
) -> None:
    plain = delay_ms(backoff, n)
    assert plain <= delay_ms(backoff, n, chance) <= plain * (1 + backoff.jitter) + 1


@given(BACKOFFS, ATTEMPTS, ATTEMPTS)
def test_a_later_attempt_never_waits_less(backoff: Backoff, one: int, other: int) -> None:
    first, second = sorted((one, other))
    assert delay_ms(backoff, first) <= delay_ms(backoff, second)


def test_the_waits_of_the_seed() -> None:
    assert [delay_ms(backoff_of(opts_of({})), n) for n in (1, 2)] == [2_000, 4_000]


@given(BACKOFFS)
def test_a_backoff_is_stored_and_read_whole(backoff: Backoff) -> None:
    stored = resolve(JobOptions(backoff=backoff), JobOptions()).opts
    document = {"opts": orjson.loads(stored)} if stored else {}
    assert backoff_of(opts_of(document)) == backoff


# --- options


@pytest.mark.parametrize(
    ("job", "queue", "expected"),
    [
        (None, JobOptions(), (5, 3)),
        (None, JobOptions(priority=1, attempts=7), (1, 7)),
        (JobOptions(priority=0), JobOptions(priority=1, attempts=7), (0, 7)),
        (JobOptions(priority=9, attempts=1), JobOptions(priority=1, attempts=7), (9, 1)),
        (JobOptions(attempts=None), JobOptions(attempts=7), (5, 7)),
    ],
)
def test_the_job_decides_then_its_queue_then_the_default(
    job: JobOptions | None, queue: JobOptions, expected: tuple[int, int]
) -> None:
    resolved = resolve(job, queue)
    opts = opts_of({"opts": orjson.loads(resolved.opts)} if resolved.opts else {})
    assert (resolved.priority, opts["priority"], opts["attempts"]) == (expected[0], *expected)


def test_only_what_differs_from_the_defaults_is_stored() -> None:
    assert resolve(None, JobOptions()).opts == b""
    assert resolve(DEFAULTS, JobOptions()).opts == b""
    assert orjson.loads(resolve(JobOptions(attempts=4), JobOptions()).opts) == {"attempts": 4}
    assert opts_of({}) == {
        "priority": 5,
        "attempts": 3,
        "backoff": {"type": "exponential", "delay": 2000},
    }


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, ""),
        ({"remove_on_complete": True}, "D"),
        ({"remove_on_complete": False}, "K"),
        ({"remove_on_complete": KeepFor(age=3)}, "A3000"),
        ({"remove_on_fail": True}, "F"),
        ({"remove_on_fail": False}, "L"),
        ({"remove_on_fail": KeepFor(age=3)}, "X3000"),
        ({"expires": 9, "remove_on_complete": True, "remove_on_fail": False}, "EDL"),
    ],
)
def test_what_the_scripts_must_know_stands_in_the_flags(
    options: dict[str, Any], flags: str
) -> None:
    assert resolve(JobOptions(**options), JobOptions()).flags == flags


def test_delay_and_expiry_are_resolved_too() -> None:
    resolved = resolve(JobOptions(delay=7), JobOptions(delay=1, expires=8))
    assert (resolved.delay_ms, resolved.expires_ms) == (7, 8)
    assert resolve(JobOptions(delay=0), JobOptions(delay=1)).delay_ms == 0


# --- batches


def runs(batch: Batch) -> list[tuple[int, int, int, str, int]]:
    """The heads of a batch's runs: priority, delay, expiry, flags, count."""
    heads, at, args = [], 0, batch.args
    while at < len(args):
        head: Any = tuple(args[at : at + 5])
        per_job = 2 + ("C" in head[3]) + ("B" in head[3])
        heads.append(head)
        at += 5 + per_job * head[4]
    assert at == len(args)
    return heads


def test_a_call_has_at_most_five_hundred_jobs() -> None:
    cut = list(batches(SPEC, [NewJob("x", {})] * (2 * CALL_JOBS + 1)))
    assert [len(batch.ids) for batch in cut] == [CALL_JOBS, CALL_JOBS, 1]
    assert [runs(batch) for batch in cut] == [
        [(5, 0, 0, "", CALL_JOBS)],
        [(5, 0, 0, "", CALL_JOBS)],
        [(5, 0, 0, "", 1)],
    ]


@given(st.lists(st.integers(0, 400_000), max_size=12))
def test_a_call_has_at_most_a_mebibyte_unless_one_job_has(sizes: list[int]) -> None:
    jobs = [NewJob("x", {"t": "x" * size}) for size in sizes]
    cut = list(batches(SPEC, jobs))
    assert sum(len(batch.ids) for batch in cut) == len(jobs)
    for batch in cut:
        payload = sum(len(part) for part in batch.args if isinstance(part, bytes))
        assert payload <= CALL_BYTES or len(batch.ids) == 1
    for one, following in pairwise(cut):
        first = next(job_sizes(following))
        assert one.size + first > CALL_BYTES


def job_sizes(batch: Batch) -> Any:
    """The bytes of each job of a batch whose jobs are alike in nothing but being plain or big."""
    at, args = 0, batch.args
    while at < len(args):
        flags, count = str(args[at + 3]), args[at + 4]
        at += 5
        for _ in range(int(count)):
            per_job = 2 + ("C" in flags) + ("B" in flags)
            yield sum(len(part) for part in args[at + 1 : at + per_job])  # type: ignore[arg-type]
            at += per_job


def test_consecutive_jobs_with_the_same_options_share_a_run() -> None:
    urgent = JobOptions(priority=0)
    jobs = [
        NewJob("x", {}, urgent),
        NewJob("x", {}, JobOptions(priority=0, job_id="mine")),
        NewJob("x", {}),
        NewJob("x", {"text": "x" * INLINE_BYTES}),
        NewJob("x", {}, urgent),
        NewJob("x", {}, JobOptions(priority=0, callback_url="https://example.com/")),
        NewJob("x", {}, JobOptions(delay=9, expires=8)),
    ]
    (batch,) = batches(SPEC, jobs)
    assert runs(batch) == [
        (0, 0, 0, "", 2),
        (5, 0, 0, "", 1),
        (5, 0, 0, "B", 1),
        (0, 0, 0, "", 1),
        (0, 0, 0, "C", 1),
        (5, 9, 8, "E", 1),
    ]
    assert batch.ids[1] == ":mine"
    assert batch.delayed == [False] * 6 + [True]


def test_a_callback_url_may_come_with_the_data_and_must_be_one() -> None:
    (batch,) = batches(SPEC, [NewJob("x", {"callbackUrl": "https://example.com/h"})])
    assert orjson.loads(batch.args[-1]) == {  # type: ignore[arg-type]
        "url": "https://example.com/h",
        "completed": "chaos.completed",
        "failed": "chaos.failed",
        "organizationId": "default",
    }
    with pytest.raises(ValidationError):
        list(batches(SPEC, [NewJob("x", {"callbackUrl": 42})]))
