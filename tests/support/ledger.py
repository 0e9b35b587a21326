"""What must be true of a queue when the dust has settled, read from Redis with no code of ours."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

LANES = ("back", *(f"p{priority}" for priority in range(11)), "suspects")
BATCH = 10_000
BAND = 1e13
"""A score in `delayed` is priority * BAND + when the job is due."""


def key(queue: str, name: str) -> str:
    return f"cs:{{{queue}}}:{name}"


def entries(raw: Any, queue: str, name: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """All entries of one of a queue's streams."""
    found: list[tuple[bytes, dict[bytes, bytes]]] = raw.xrange(key(queue, name))
    return found


def ids(raw: Any, queue: str, name: str) -> list[str]:
    """The job ids in one of a queue's streams, oldest first, as the platform knows them."""
    return [fields[b"j"].decode().removeprefix(":") for _, fields in entries(raw, queue, name)]


def pending(raw: Any, queue: str) -> int:
    """Entries in the hands of a worker, over all lanes."""
    total = 0
    for lane in LANES:
        if raw.exists(key(queue, lane)):
            groups = raw.xinfo_groups(key(queue, lane))
            total += sum(int(group["pending"]) for group in groups)
    return total


def ended_events(raw: Any, queue: str, word: str) -> Counter[str]:
    """How often the event stream says `word` of each job (it keeps about 2,000 entries)."""
    told: Counter[str] = Counter()
    for _, fields in entries(raw, queue, "events"):
        if fields[b"e"].decode() == word:
            told.update(word.removeprefix(":") for word in fields[b"i"].decode().split())
    return told


def make_due(raw: Any, queue: str, job_id: str, at_ms: float = 1, priority: int = 5) -> None:
    """A delayed job is due since `at_ms`, as if that much time had passed."""
    raw.zadd(key(queue, "delayed"), {job_id: priority * BAND + at_ms})
    raw.hset(key(queue, "meta"), "due", 0)


def assert_all_completed(raw: Any, queue: str, wanted: Iterable[str]) -> None:
    """Each of these jobs completed once, there is no other job, and nothing is left behind."""
    jobs = Counter(wanted)
    assert Counter(ids(raw, queue, "completed")) == jobs
    assert ids(raw, queue, "dead") == []
    told = ended_events(raw, queue, "completed")
    assert {job for job, times in told.items() if times > 1} == set()
    assert_at_rest(raw, queue)


def assert_at_rest(raw: Any, queue: str) -> None:
    """Nothing waits, runs or is delayed; every pointer leads to the entry of its job."""
    assert pending(raw, queue) == 0
    assert {lane: raw.xlen(key(queue, lane)) for lane in LANES} == dict.fromkeys(LANES, 0)
    for empty in ("delayed", "delayed:jobs", "cancel"):
        assert not raw.exists(key(queue, empty)), empty
    places = {}
    for name, kind in (("completed", "c"), ("dead", "f")):
        for entry, fields in entries(raw, queue, name):
            places[fields[b"j"]] = f"{kind}:{entry.decode()}".encode()
    assert raw.hgetall(key(queue, "jobs")) == places
