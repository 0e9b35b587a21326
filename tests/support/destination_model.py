"""What `dest_admit`, `dest_settle` and `dest_switch` do to a destination, in Python and in memory.

Written from docs/destinations.md and the protocol, with a clock of its own.
"""

from dataclasses import dataclass, field

TENTHS = 10


@dataclass(frozen=True)
class Numbers:
    """Small enough that random lives meet every limit; all times in ms."""

    limit: int = 2
    rate_max: int = 5
    rate_ms: int = 20_000
    lease_ms: int = 8_000
    window_ms: int = 10_000
    requests: int = 3
    percent: int = 70
    open_ms: int = 5_000
    openings: int = 3
    patience_ms: int = 15_000
    promise_ms: int = 10_000
    drained: int = 20
    """Jobs of a disabled destination that come at once, to fail."""
    forget_ms: int = 10**9


@dataclass
class Model:
    """A destination. `now` is moved by the test."""

    numbers: Numbers
    now: int = 1_800_000_000_000
    state: str = "closed"
    reason: str = ""
    until: int = 0
    probe: str = ""
    openings: int = 0
    not_before: int = 0
    leases: dict[str, int] = field(default_factory=dict)
    starts: dict[str, int] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    outcomes: list[tuple[int, bool]] = field(default_factory=list)
    """Of the closed circuit: tenth of the window, and whether it was a success."""
    parked: int = 0
    """About how many jobs wait; a look says it exactly."""
    promises: int = 0
    promised_until: int = 0

    def running(self) -> list[str]:
        return [lease for lease, ends in self.leases.items() if ends > self.now]

    def promised(self) -> int:
        return self.promises if self.promised_until > self.now else 0

    def admit(self, job: str, lease: str, *, returns: bool) -> tuple[str, str]:
        """Word and reason."""
        if lease in self.running():
            return "OK", ""
        promised = self.promised()
        if returns and promised:
            self.promises -= 1
        if self.state == "disabled":
            self.since.pop(job, None)
            return "DISABLED", "destination_disabled"
        earlier = {name for name in self.running() if name.startswith(f"{job} ")}
        reason = self._why_not(earlier)
        if not reason and not returns and self._room(earlier) <= promised:
            reason = "circuit_half_open" if self.state == "open" else "concurrency"
        if not reason:
            for name in earlier:
                del self.leases[name]
            self._start(lease)
            self.since.pop(job, None)
            return "OK", ""
        if reason.startswith("circuit"):
            waits = self.since.get(job)
            if waits is not None and self.now - waits > self.numbers.patience_ms:
                del self.since[job]
                return "DISABLED", "destination_unavailable"
            if waits is None:
                self.since[job] = self.now
                oldest = self.now - 2 * self.numbers.patience_ms
                self.since = {j: at for j, at in self.since.items() if at > oldest}
        self.parked += 1
        return "DEFER", reason

    def look(self, parked: int, unused: int) -> int:
        """How many parked jobs may come."""
        promised = max(0, self.promised() - unused)
        room = self.numbers.drained if self.state == "disabled" else self._room(set())
        more = max(0, min(room - promised, parked))
        self.parked = parked - more
        self._promise(promised + more, more)
        return more

    def _promise(self, promises: int, more: int) -> None:
        self.promises = promises
        if more and promises == more:
            self.promised_until = self.now + self.numbers.promise_ms

    def floor(self, reason: str) -> int:
        """Before this moment a deferred job has no business here."""
        if reason == "retry_after":
            return self.not_before
        if reason == "circuit_open":
            return self.until
        return self.now

    def _why_not(self, earlier: set[str]) -> str:
        """`earlier`: what dead workers left to the same job, which the new lease replaces."""
        running = set(self.running()) - earlier
        if self.not_before > self.now:
            return "retry_after"
        if self.state == "open" and self.until > self.now:
            return "circuit_open"
        if self.state == "open" and self.probe in running:
            return "circuit_half_open"
        if len(running) >= self.numbers.limit:
            return "concurrency"
        recent = [at for at in self.starts.values() if at > self.now - self.numbers.rate_ms]
        return "rate" if len(recent) >= self.numbers.rate_max else ""

    def _room(self, earlier: set[str]) -> int:
        """Deliveries that may start now."""
        if self._why_not(earlier):
            return 0
        recent = sum(at > self.now - self.numbers.rate_ms for at in self.starts.values())
        free = self.numbers.limit - len(set(self.running()) - earlier)
        return min(free, self.numbers.rate_max - recent, 1 if self.state == "open" else free)

    def _start(self, lease: str) -> None:
        self.leases = {name: self.leases[name] for name in self.running()}
        self.leases[lease] = self.now + self.numbers.lease_ms
        self.starts[lease] = self.now
        if self.state == "open":
            self.probe = lease

    def settle(self, lease: str, outcome: str, defer_ms: int) -> tuple[str, str, int]:
        """Word, what the destination became, and how many parked jobs may come."""
        mine = self.leases.pop(lease, None) is not None
        self.not_before = max(self.not_before, self.now + defer_ms if defer_ms else 0)
        became = self._became(lease, outcome) if mine else ""
        if outcome == "gone" and self.state != "disabled":
            became, self.reason = "disabled", "gone"
        if became == "opened":
            self.openings += 1
            if self.openings >= self.numbers.openings:
                became, self.reason = "disabled", "failing"
        self._turn(became)
        more = 0
        if became in ("", "closed") and self.state != "disabled" and self.parked > 0:
            more = max(0, min(self._room({lease}) - self.promised(), self.parked))
        if more:
            self.parked -= more
            self._promise(self.promised() + more, more)
        return ("OK" if mine else "ALREADY"), became, more

    def _became(self, lease: str, outcome: str) -> str:
        if self.state == "open" and lease == self.probe:
            self.probe = ""
            return {"success": "closed", "failure": "opened"}.get(outcome, "")
        if self.state != "closed" or outcome not in ("success", "failure"):
            return ""
        tenth = self.now * TENTHS // self.numbers.window_ms
        self.outcomes.append((tenth, outcome == "success"))
        self.outcomes = [(at, good) for at, good in self.outcomes if at > tenth - TENTHS]
        bad = sum(not good for _, good in self.outcomes)
        enough = len(self.outcomes) >= self.numbers.requests
        share = bad * 100 >= self.numbers.percent * len(self.outcomes)
        return "opened" if outcome == "failure" and enough and share else ""

    def _turn(self, became: str) -> None:
        if became == "":
            return
        self.outcomes, self.probe = [], ""
        if became == "closed":
            self.state, self.openings = "closed", 0
        elif became == "opened":
            self.state, self.until = "open", self.now + self.numbers.open_ms
        else:
            self.state = "disabled"

    def switch(self, to: str) -> None:
        """An operator."""
        if to == "disabled":
            self.state, self.reason = "disabled", "operator"
            return
        self.state, self.openings, self.not_before = "closed", 0, 0
        self.outcomes, self.probe = [], ""
