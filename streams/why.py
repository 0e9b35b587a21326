"""What stands between a job and its start."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.identity import shown_id
from schemas.job import State
from schemas.spec import Limiter
from streams.errors import NotFound
from streams.looking import SILENT_MS
from streams.record import Header
from streams.store import Store

COUNT_MOST = 250
"""Jobs of one lane that are counted one by one, from each end."""
RECENT = 30
RATE_LEAST = 3
"""Endings without which there is no rate to speak of."""
RATE_WINDOW_MS = 15 * 60 * 1000
"""Endings before that say nothing about now."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything at one instant. Times are epoch ms by the clock of Redis."""

    now_ms: int
    state: State
    header: Header
    due_ms: int | None
    """When a delayed job becomes due."""
    worker: str | None
    """Who runs it."""
    paused: bool
    limiter: Limiter | None
    limited_until_ms: int | None
    """Until when the rate limit lets nothing start; None: it does."""
    concurrency: int | None
    active: int
    limit_used: int
    """Starts within the window of the rate limit."""
    ahead: int
    """Jobs that will start before it; before a delayed one, if it were due now."""
    ahead_exact: bool
    """False: there are at least so many."""
    workers: int
    """Those that are alive."""
    slots: int
    """Jobs the live workers can run at once."""
    rate_per_s: float | None
    """How fast jobs have been ending lately; None: too few have."""

    @property
    def is_suspect(self) -> bool:
        """Whether it waits with the suspects: a worker died while it ran it."""
        return self.state is State.WAITING and self.header.stalled > 0

    def start_ms(self) -> int | None:
        """When it will probably start; None: that cannot be said, or it has started."""
        if self.paused or not self.workers or self.state not in (State.WAITING, State.DELAYED):
            return None
        if self.is_suspect:
            return None
        earliest = max(self.now_ms, self.due_ms or 0, self._granted_ms())
        room = min(self.slots, self.concurrency or self.slots) - self.active
        if self.ahead < room:
            return earliest
        if not self.rate_per_s:
            return earliest if self.state is State.DELAYED else None
        turns = self.ahead - max(room, 0) + 1
        return max(earliest, self.now_ms + round(turns / self.rate_per_s * 1000))

    def _granted_ms(self) -> int:
        """When the rate limit lets it start, after those that come before it; 0: now."""
        if self.limiter is None:
            return 0
        free = 0 if self.limited_until_ms else max(0, self.limiter.max - self.limit_used)
        if self.ahead < free:
            return 0
        begins_ms = self.limited_until_ms or self.now_ms + self.limiter.duration
        return begins_ms + (self.ahead - free) // self.limiter.max * self.limiter.duration


async def standing(store: Store, job_id: str) -> Standing:
    """Where a job stands. Raises NotFound, Unavailable."""
    reply = await store.call("why", id=job_id, most=COUNT_MOST, silent_ms=SILENT_MS)
    if reply[0] == b"MISSING":
        raise NotFound(f"queue {store.keys.tag} has no job {shown_id(job_id)}")
    _, now_ms, state, where, worker, header, facts, active, until_ms, ahead, exact = reply[:11]
    paused, most, duration, concurrency = facts
    return Standing(
        now_ms,
        State(state.decode()),
        Header.parse(header),
        due_ms=int(float(where)) if state == b"delayed" else None,
        worker=worker.decode() or None,
        paused=paused != b"",
        limiter=Limiter(int(most), int(duration)) if most else None,
        limited_until_ms=until_ms or None,
        limit_used=int(reply[14]),
        concurrency=int(concurrency) if concurrency else None,
        active=active,
        ahead=ahead,
        ahead_exact=bool(exact),
        workers=reply[11],
        slots=reply[12],
        rate_per_s=rate([int(float(at)) for at in reply[13]], now_ms),
    )


def rate(ended_ms: Sequence[int], now_ms: int) -> float | None:
    """Jobs per second, from when the last ones ended until now: it sinks while nothing ends."""
    recent = sorted(at for at in ended_ms if now_ms - RATE_WINDOW_MS <= at <= now_ms)[-RECENT:]
    if len(recent) < RATE_LEAST:
        return None
    return len(recent) * 1000 / max(1, now_ms - recent[0])
