"""A claim: the right to finish one job, and what a call for claims brought."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from streams.job import Job
from streams.record import Header


def place(lane: bytes, entry: bytes) -> bytes:
    """The pointer of a job that lies in a lane."""
    return b"b:" + entry if lane == b"-1" else lane + b":" + entry


@dataclass(slots=True)
class Claim:
    """The right to finish one job. `place`: the job's pointer while this claim holds."""

    job: Job
    lane: bytes
    entry: bytes
    callback: bytes | None
    history: bytes | None
    token: str = ""
    """Names the worker that holds it."""
    place: bytes = b""

    def __post_init__(self) -> None:
        self.place = self.place or place(self.lane, self.entry)

    @property
    def origin(self) -> str:
        """What a record that was moved by this claim says of where it came from."""
        return f"{self.lane.decode()}.{self.entry.decode()}.{self.token}"


@dataclass
class Claimed:
    """What a call for claims brought. `word`: OK, PAUSED, LIMITED or FULL, of suspects also TAKEN,
    WAIT or NONE; `next_ms`: when it is worth asking again (-1: no idea); `now_ms`: the clock of
    Redis; `count`: jobs."""

    word: str
    now_ms: int
    next_ms: int
    queue: str
    token: str
    lanes: list[tuple[bytes, list[Any]]]
    """Entries by lane, as Redis gave them."""
    asked: float = math.inf
    """When its caller asked for it at the latest, by the caller's clock; inf: not known."""
    has_suspects: bool = False
    """Suspects wait, and this worker has the lease to run them."""
    is_wait_refused: bool = False
    """Redis refused to wait, so asking again at once would only burn time."""
    needs_upkeep: bool = False
    """Something happened to the queue that is no job to claim, or jobs failed on the way."""

    @property
    def are_suspects(self) -> bool:
        """Whether it brought suspects, which come alone."""
        return bool(self.lanes) and self.lanes[0][0] == b"11"

    @property
    def count(self) -> int:
        return sum([len(entries) for _, entries in self.lanes])

    @cached_property
    def claims(self) -> list[Claim]:
        """Decoded when first asked for: the next call for claims need not wait for that."""
        claims = list[Claim]()
        for lane, entries in self.lanes:
            before = place(lane, b"")
            for entry, flat in entries:
                callback = history = None
                for at in range(6, len(flat), 2):
                    if flat[at] == b"c":
                        callback = flat[at + 1]
                    elif flat[at] == b"x":
                        history = flat[at + 1]
                header = Header.parse(flat[3])
                job = Job(self.queue, flat[1].decode(), header, flat[5], self.now_ms)
                claims.append(
                    Claim(job, lane, entry, callback, history, self.token, before + entry)
                )
        return claims


def waited_ms(claims: Sequence[Claim]) -> list[int]:
    """Per claim, from when its job became waiting, which its entry tells, to the claim."""
    waited = [claim.job.claimed_ms - int(claim.entry.split(b"-", 1)[0]) for claim in claims]
    # A clock of Redis that was set back lets an entry come from the future.
    return waited if min(waited, default=0) >= 0 else [max(0, value) for value in waited]
