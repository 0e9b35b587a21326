"""No call of a script holds Redis for long: what it does has a bound, however much there is.

A script that is not in a table here fails the test.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from heavy_queue import ACTIVE_LANE, KEYS, TEXT_BYTES, active, fill
from populated import WHO
from redis_servers import Server, redis7, valkey
from script_work import Work, work

from streams.keys import LANES, status_list
from streams.scripts import RECORDS, SCRIPTS, Command

LUA = Path(__file__).parents[2] / "streams" / "lua"
MIB = 1024 * 1024
MOST = Work(commands=1_200, rows=12_500, read=3 * MIB, written=3 * MIB // 2, taken=5 * MIB // 4)
"""Of any call. That takes some 5 ms here and some 30 ms on a host that is six times as slow."""
VARIABLE = re.compile(
    r"\b(?:for|while|repeat|unpack)\b|'(?:HGETALL|HVALS|HKEYS|SMEMBERS|LRANGE|XTRIM|DEL|UNLINK"
    r"|Z\w*RANGE\w*|X\w*RANGE|XPENDING|XINFO)'"
)
"""What can make the work of a script depend on the data."""
RECORD_BOUNDS = {
    "access_create": "the fields of one key",
    "answer_drop": "deletes a hash of five fields",
    "audit_trim": "10,000 records a call",
    "canary_release": "deletes a string",
    "dest_admit": "the leases and starts of one destination, which its limits bound",
    "dest_deed": "reads one record",
    "dest_limits": "three fields",
    "dest_settle": "twenty counters",
    "dest_switch": "deletes a hash of twenty counters",
    "did_deactivate": "the keys of one DID",
    "did_update": "the keys of one DID",
    "mail_page": "as many entries as its caller shows",
    "mail_suppress": "100 entries that have ended",
    "merge_events": "200 events of 50 ids",
    "status_draw": "32 candidates",
    "upkeep_turn": "the queues that a scheduler looks at together, 100 by default",
}
"""Scripts of records whose work depends on the data, and what bounds it."""
DEEDS = 25_000
_DEEDS = (
    f"for n = 1, {DEEDS} do redis.call('XADD', KEYS[1], n .. '-1', 'a', '{{}}', 'o', 'done') end"
)
OLD = 10**12
GATE = "ab" * 16
HEADER = "1:5:1:1:0:1:::5.1-0:1000"
BODY = '{"name":"work","data":{"text":"' + "x" * TEXT_BYTES + '"}}'
HISTORY = '[{"attempt":1,"reason":"failed","message":"' + "m" * 2_000 + '","at":1}]'
LARGE_JOBS = MIB // TEXT_BYTES
"""As many as one call may bring."""


@pytest.fixture(scope="module")
def heavy(redis_kind: str) -> Iterator[Server]:
    with (redis7 if redis_kind == "redis7" else valkey)() as server:
        with server.client() as raw:
            fill(raw)
        yield server


@pytest.fixture
def raw(heavy: Server) -> Iterator[Any]:
    with heavy.client() as client:
        yield client


def call(name: str, *rest: Any, **named: Any) -> Command:
    return SCRIPTS[name].command(KEYS, rest, **named)


def added(script: str, mark: str, jobs: int, delay_ms: int, body: str) -> Command:
    listed = [word for n in range(jobs) for word in (f"{mark}{n}", body)]
    return call(script, 5, delay_ms, 0, "", jobs, *listed, nonce="n", again=1, once=b"", room="")


def settled(raw: Any, kind: str) -> Iterator[Command]:
    """A full call of what a worker ends, of jobs with large records."""
    offset = {"retry": 0, "fail": 40, "release": 80, "complete": 120}[kind]
    claims = active(raw, LARGE_JOBS, offset)
    if kind == "complete":
        words = [word for c in claims for word in (c.entry, c.job_id, HEADER, BODY)]
        yield call(kind, ACTIVE_LANE, len(claims), *words, token="t")
        return
    parked = (HEADER, HISTORY, 5, GATE, 0)
    extra = {"retry": parked, "fail": (HEADER, HISTORY, ""), "release": (1,)}[kind]
    yield call(
        kind, *(w for c in claims for w in (ACTIVE_LANE, c.entry, c.job_id, *extra)), token="t"
    )


def unparked(raw: Any) -> Iterator[Command]:
    """A line of jobs that have moved on, and behind it one of jobs that are there."""
    there = raw.zrange(KEYS["delayed"], 0, 999, withscores=True)
    line = [f"{GATE}:{OLD}:7:gone-{n}" for n in range(1_000)]
    line += [f"{GATE}:{OLD + 1}:{int(score) % 10**13}:{job.decode()}" for job, score in there]
    raw.zadd(KEYS["parked"], dict.fromkeys(line, 0))
    left = 1
    while left:
        command = call("unpark", gate=GATE, most=1_000, look_ms=0)
        yield command
        left = raw.zlexcount(KEYS["parked"], "-", "+")


def queue_calls(raw: Any, name: str) -> Iterator[Command]:
    """The heaviest calls of a script of queues."""
    one = {"who": WHO, "once": ""}
    match name:
        case "acknowledge":
            owed = (word for n in range(100) for word in (f"{n + 1}-1", f"cnew-{n}", f"~cb:{n}"))
            yield call(name, *owed)
        case "add" | "forward":
            yield added(name, f"{name}-small-", 500, 0, "{}")
            yield added(name, f"{name}-small-", 500, 0, "{}")
            yield added(name, f"{name}-large-", LARGE_JOBS, 0, BODY)
            yield added(name, f"{name}-later-", LARGE_JOBS, 9_000, BODY)
        case "advance" | "cancel" | "remove":
            yield call(name, id="d-7", **one)
            yield call(name, id="7wait-7", **one)
        case "causes":
            yield call(name, cursor="", take=500)
        case "claim":
            yield call(name, worker="w1", want=500)
        case "clean":
            for state in ("completed", "failed"):
                yield call(name, state=state, grace_ms=0, after="", most=500, **one)
                yield call(name, state=state, grace_ms=OLD * 9, after="", most=500, **one)
        case "complete" | "fail" | "retry" | "release":
            yield from settled(raw, name)
        case "control":
            yield call(name, "max", "", event="limits", **one)
        case "counts":
            yield call(name, silent_ms=10_000)
        case "gates":
            raw.zadd(KEYS["gates"], {f"{n:032x}": 0 for n in range(1_000)})
            yield call(name, most=20, held_ms=5_000, longest_ms=60_000)
        case "delete":
            yield call(name, silent_ms=10_000, mode="check", who=b"")
        case "drain":
            for with_delayed in (0, 1):
                yield call(name, with_delayed=with_delayed, most=500, **one)
        case "heartbeat":
            yield call(name, worker="w1", slots=100, info=b"{}")
        case "isolate":
            yield call(name, worker="w1", parent="", want=8)
            yield call(name, worker="w1", parent="", want=8)
        case "leave":
            yield call(name, worker="w9")
        case "lookup":
            yield call(name, "nobody", f"{ACTIVE_LANE}run-300")
        case "note":
            (claim,) = active(raw, 1, 300)
            at = {"id": claim.job_id, "place": f"{ACTIVE_LANE}:{claim.entry.decode()}"}
            for _ in range(3):
                yield call(name, **at, kind="l", value="x" * 15_000, most=100, room=16_384)
        case "open":
            yield call(name, layout=1)
        case "outcomes":
            for detail in ("state", "result", "data"):
                yield call(name, *(f"cnew-{n}" for n in range(250)), detail=detail)
                yield call(name, *(f"{ACTIVE_LANE}run-{n}" for n in range(250)), detail=detail)
        case "outbox":
            yield call(name, begin="-", most=100)
        case "page":
            for state in ("completed", "failed", "delayed", "waiting", "active"):
                yield call(name, state=state, cursor="", skip=500, take=0)
                yield call(name, state=state, cursor="", skip=0, take=500)
        case "prioritize":
            yield call(name, id="8wait-7", priority=0, who=WHO)
        case "promote":
            yield call(name, interval_ms=0)
        case "prune":
            yield from (_pruned(OLD * 9, ""), _pruned(1, 1), _pruned(1, 1))
        case "reclaim":
            raw.hset(KEYS["meta"], "retime", "-1 -")
            yield call(name, lease_ms=0, max_stalls=3, interval_ms=0, most=250)
            raw.hdel(KEYS["meta"], "retime")
            for stalls in (3, 1):
                yield call(name, lease_ms=0, max_stalls=stalls, interval_ms=0, most=250)
        case "refuse":
            yield call(name, id="cb-1", body=BODY, message='"no"')
        case "renew":
            claims = active(raw, 1_000, 1_000)
            entries = (claim.entry for claim in claims)
            raw.execute_command("XCLAIM", KEYS.lane(ACTIVE_LANE), "workers", "w1", 0, *entries)
            words = [word for c in claims for word in (ACTIVE_LANE, c.entry, c.job_id)]
            yield call(name, *words, worker="w1", stray_ms=0)
        case "revive":
            for delay_ms in (0, 9_000):
                yield call(
                    name,
                    id=f"fnew-{500 + delay_ms // 100}",
                    delay_ms=delay_ms,
                    most_endings="",
                    **one,
                )
        case "since":
            yield call(name, after="0-1", most=500)
        case "sweep":
            for _ in LANES:
                yield call(name, silent_ms=60_000, idle_ms=0, interval_ms=0)
        case "tick":
            yield call(name, "c", 1, keep_ms=1_000)
        case "unpark":
            yield from unparked(raw)
        case "upkeep":
            keep = dict.fromkeys(("completed_ms", "completed_count"), OLD * 9)
            keep |= dict.fromkeys(("failed_ms", "failed_count"), OLD * 9)
            every = ("promote_ms", "reclaim_ms", "prune_ms", "sweep_ms")
            yield call(name, **dict.fromkeys(every, 1_000), **keep, idle_ms=3_000)
        case "why":
            for job_id in ("7wait-300", "d-300", f"{ACTIVE_LANE}run-300"):
                yield call(name, id=job_id, most=250, silent_ms=10_000)
        case _:
            pytest.fail(f"{name} is not in this table: what is the most that a call of it does?")


def _pruned(age_ms: int, count: int | str) -> Command:
    limits = {"completed_ms": age_ms, "completed_count": count}
    return call("prune", **limits, failed_ms=age_ms, failed_count=count, interval_ms=0)


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_script_of_queues_has_a_bound(raw: Any, name: str) -> None:
    for command in queue_calls(raw, name):
        done = work(raw, command)
        for field, most in asdict(MOST).items():
            assert getattr(done, field) <= most, f"{field} of {done}"


def test_an_audit_stream_is_trimmed_in_bounded_calls(raw: Any) -> None:
    keys = status_list("heavy")
    raw.eval(_DEEDS, 1, keys["audit"])
    command = RECORDS["audit_trim"].command(keys, keep_ms=1)
    left = DEEDS
    while left:
        assert work(raw, command).commands <= 5
        before, left = left, raw.xlen(keys["audit"])
        assert 0 < before - left <= 10_100


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_a_script_of_records_says_what_bounds_it(name: str) -> None:
    text = (LUA / "records" / f"{name}.lua").read_text()
    code = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    assert (VARIABLE.search(code) is not None) == (name in RECORD_BOUNDS), (
        f"the work of {name} depends on the data if and only if RECORD_BOUNDS says its bound"
    )
