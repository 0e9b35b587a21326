"""Is a queue in order? Reads every key of it and checks that they agree with each other."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ledger import BAND

from streams import Queue
from streams.keys import LANES, SUSPECTS
from streams.record import Header

MANY = 100_000

HASHES = ("jobs", "delayed_jobs", "blobs", "run", "cancel", "meta", "gone_jobs")
SETS = ("lanes", "delayed", "expiry_completed", "expiry_dead", "wake")
STREAMS = ("completed", "dead", "outbox")


@dataclass
class Place:
    """A job as it was found: `kind` waiting, active, delayed, completed or dead."""

    kind: str
    pointer: str
    header: Header
    lane: int = 0
    entry: str = ""
    consumer: str = ""


@dataclass
class Snapshot:
    """All of a queue but its events and the time entries have been pending. Equal snapshots:
    nothing has happened in between."""

    lanes: dict[int, dict[str, dict[str, str]]] = field(default_factory=dict)
    """Entries (in order) with their fields, by lane."""
    pending: dict[int, dict[str, tuple[str, int]]] = field(default_factory=dict)
    """Consumer and delivery count of what is pending, by lane."""
    last: dict[int, str] = field(default_factory=dict)
    """The last entry delivered, by lane; lanes without group are absent."""
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)
    sets: dict[str, dict[str, float]] = field(default_factory=dict)
    streams: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    limit: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    """Ids of jobs that were dropped."""
    bands: dict[str, int] = field(default_factory=dict)
    """The priority in the score of each delayed job."""

    @property
    def places(self) -> dict[str, Place]:
        """Every job by its id. AssertionError when one lies in two places."""
        found: dict[str, Place] = {}
        for job_id, place in self._places():
            assert job_id not in found, f"{job_id} is {found[job_id]} and {place}"
            found[job_id] = place
        return found

    def _places(self) -> Iterator[tuple[str, Place]]:
        for lane, entries in self.lanes.items():
            for entry, record in entries.items():
                consumer = self.pending[lane].get(entry, ("", 0))[0]
                pointer = f"{'b' if lane == -1 else lane}:{entry}"
                kind = "active" if consumer else "waiting"
                header = Header.parse(record["h"].encode())
                yield record["j"], Place(kind, pointer, header, lane, entry, consumer)
        for kind in ("completed", "dead"):
            for entry, record in self.streams[kind].items():
                pointer = f"{'c' if kind == 'completed' else 'f'}:{entry}"
                header = Header.parse(record["h"].encode())
                yield record["j"], Place(kind, pointer, header, entry=entry)
        for job_id, packed in self.hashes["delayed_jobs"].items():
            header = Header.parse(packed.split("\0")[0].encode())
            yield job_id, Place("delayed", "d", header)


async def snapshot(queue: Queue) -> Snapshot:
    """Read it all. Not atomic: nobody else may be at work."""
    keys, at = queue.store.keys, queue.store.keys.prefix
    lanes = {lane: keys.lane(lane) for lane in LANES}
    commands = [
        *(("XRANGE", key, "-", "+") for key in lanes.values()),
        *(("EXISTS", key) for key in lanes.values()),
        *(("HGETALL", keys[name]) for name in HASHES),
        *(("ZRANGE", keys[name], 0, -1, "WITHSCORES") for name in SETS),
        *(("XRANGE", keys[name], "-", "+") for name in STREAMS),
        ("LRANGE", keys["limit"], 0, -1),
        ("LRANGE", keys["gone"], 0, -1),
    ]
    replies = iter(_text(await queue.redis.run(at, *commands)))
    found = Snapshot(lanes={lane: _entries(next(replies)) for lane in LANES})
    exist = [lane for lane in LANES if next(replies)]
    found.hashes = {name: _pairs(next(replies)) for name in HASHES}
    found.sets = {n: {m: float(s) for m, s in _pairs(next(replies)).items()} for n in SETS}
    bands = {job_id: divmod(score, BAND) for job_id, score in found.sets["delayed"].items()}
    found.sets["delayed"] = {job_id: due for job_id, (_, due) in bands.items()}
    found.bands = {job_id: int(priority) for job_id, (priority, _) in bands.items()}
    found.streams = {name: _entries(next(replies)) for name in STREAMS}
    found.limit = next(replies)
    found.gone = {job_id for dropped in next(replies) for job_id in dropped.split()[1:]}
    groups = await queue.redis.run(at, *(("XINFO", "GROUPS", lanes[lane]) for lane in exist))
    for lane, reply in zip(exist, _text(groups), strict=True):
        for group in map(_pairs, reply):
            assert group["name"] == "workers", f"lane {lane} has a foreign group {group}"
            found.last[lane] = group["last-delivered-id"]
    held = await queue.redis.run(
        at, *(("XPENDING", lanes[lane], "workers", "-", "+", MANY) for lane in found.last)
    )
    found.pending = {lane: {} for lane in LANES}
    for lane, reply in zip(found.last, _text(held), strict=True):
        found.pending[lane] = {entry: (who, times) for entry, who, _, times in reply}
    return found


async def assert_consistent(queue: Queue) -> Snapshot:
    """AssertionError says what is out of order; the answer is what was looked at."""
    seen = await snapshot(queue)
    places = seen.places
    pointers = {job_id: place.pointer for job_id, place in places.items()}
    assert seen.hashes["jobs"] == pointers, "pointers and places of jobs differ"
    _check_lanes(seen)
    _check_belongings(seen, places)
    _check_sets(seen)
    counts = await queue.counts()
    for kind in ("waiting", "active", "delayed", "completed", "failed"):
        there = sum(place.kind == kind.replace("failed", "dead") for place in places.values())
        assert getattr(counts, kind) == there, f"{counts} but {there} {kind}"
    assert counts.total == len(places)
    assert counts.outbox == len(seen.streams["outbox"])
    assert (counts.oldest_waiting_ms is None) == (counts.waiting == 0)
    return seen


def _check_lanes(seen: Snapshot) -> None:
    for lane, entries in seen.lanes.items():
        for record in entries.values():
            stalled = Header.parse(record["h"].encode()).stalled
            assert (stalled > 0) == (lane == SUSPECTS), (
                f"{record['j']} in lane {lane}: {stalled} stalls"
            )
        ghosts = seen.pending[lane].keys() - entries.keys()
        assert not ghosts, f"lane {lane}: pending entries that do not exist: {ghosts}"
        last = _entry(seen.last.get(lane, "0-0"))
        orphans = [e for e in entries if _entry(e) <= last and e not in seen.pending[lane]]
        assert not orphans, f"lane {lane}: delivered, but pending for nobody: {orphans}"
        early = [e for e in seen.pending[lane] if _entry(e) > last]
        assert not early, f"lane {lane}: pending, but never delivered: {early}"
        again = {e: n for e, (_, n) in seen.pending[lane].items() if n != 1}
        assert not again, f"lane {lane}: delivered more than once: {again}"
        if any(entry not in seen.pending[lane] for entry in entries):
            assert str(lane) in seen.sets["lanes"], f"lane {lane} has work and is not in `lanes`"
    for lane, score in seen.sets["lanes"].items():
        assert float(lane) == score, f"lane {lane} is served at {score}"


def _check_belongings(seen: Snapshot, places: dict[str, Place]) -> None:
    owed = {f"{i}:d" for i, place in places.items() if "B" in place.header.flags}
    owed |= {
        f"{i}:r"
        for i, place in places.items()
        if place.kind == "completed" and "R" in place.header.flags
    }
    assert seen.hashes["blobs"].keys() == owed, "payloads or results without job, or missing"
    strangers = {name.rpartition(":")[0] for name in seen.hashes["run"]} - places.keys()
    assert not strangers, f"progress or log of jobs that do not exist: {strangers}"
    # A claim that is given back while its job is being cancelled keeps the mark: the next claim
    # buries the job. Ended jobs have none.
    live = {i for i, place in places.items() if place.kind in ("waiting", "delayed", "active")}
    assert seen.hashes["cancel"].keys() <= live, "cancel marks of jobs that have ended"


def _check_sets(seen: Snapshot) -> None:
    for name in ("completed", "dead"):
        flags = "AK" if name == "completed" else "XL"
        own = {
            entry
            for entry, record in seen.streams[name].items()
            if any(flag in Header.parse(record["h"].encode()).flags for flag in flags)
        }
        assert seen.sets[f"expiry_{name}"].keys() == own, f"{name}: retentions and entries differ"
    assert seen.sets["delayed"].keys() == seen.hashes["delayed_jobs"].keys()
    delayed = {i: one.header.priority for i, one in seen.places.items() if one.kind == "delayed"}
    assert seen.bands == delayed, "priorities of delayed jobs and their scores differ"
    soonest = min(seen.sets["delayed"].values(), default=None)
    if soonest is not None:
        assert float(seen.hashes["meta"]["due"]) <= soonest, "a due job would not be looked for"
    assert seen.gone == seen.hashes["gone_jobs"].keys()
    granted = sum(int(grant.partition(":")[2]) for grant in seen.limit)
    assert int(seen.hashes["meta"].get("granted", 0)) == granted, f"limiter: {seen.limit}"


def _entry(entry: str) -> tuple[int, int]:
    ms, _, sequence = entry.partition("-")
    return int(ms), int(sequence)


def _pairs(flat: list[Any]) -> dict[str, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _entries(reply: list[Any]) -> dict[str, dict[str, str]]:
    return {entry: _pairs(flat) for entry, flat in reply}


def _text(reply: Any) -> Any:
    if isinstance(reply, bytes):
        return reply.decode()
    return [_text(item) for item in reply] if isinstance(reply, list) else reply
