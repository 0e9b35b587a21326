"""Random lives of a destination beside a model of it, on a clock that the test moves.

The scripts are the product's, but for the one call that reads the clock of Redis.
"""

from importlib import resources
from itertools import count
from typing import Any

from destination_model import Model, Numbers
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from streams.destinations import Destination
from streams.keys import Keys
from streams.scripts import RECORDS, Script, parse

NIGHTLY = settings.get_current_profile_name() == "nightly"
EXAMPLES, STEPS = (600, 80) if NIGHTLY else (80, 40)
NUMBERS = Numbers()
LIMITS = {
    "lease_ms": NUMBERS.lease_ms,
    "limit": NUMBERS.limit,
    "rate_max": NUMBERS.rate_max,
    "rate_ms": NUMBERS.rate_ms,
}
JOBS = st.sampled_from(["j1", "j2", "j3"])
OUTCOMES = st.sampled_from(["success", "failure", "failure", "failure", "neutral", "gone"])
FRESH = count()


ROOM = resources.files("streams").joinpath("lua", "_room.lua").read_text()


def on_the_tests_clock(name: str) -> Script:
    """A script that takes the time from the destination's hash."""
    source = resources.files("streams").joinpath("lua", "records", f"{name}.lua").read_text()
    told = source.replace("redis.call('TIME')", "redis.call('HMGET', about, 'clock_s', 'clock_us')")
    assert told != source
    return parse(name, told, {"room": ROOM})


ADMIT, SETTLE = on_the_tests_clock("dest_admit"), on_the_tests_clock("dest_settle")
LOOK = on_the_tests_clock("dest_look")
SWITCH = RECORDS["dest_switch"]


class Life(RuleBasedStateMachine):
    """One destination."""

    raw: Any

    @initialize()
    def begin(self) -> None:
        self.model = Model(NUMBERS)
        self.at: Keys = Destination("org", f"https://{next(FRESH)}.example").keys
        self.numbers = count()
        self.used: list[str] = []
        self.tell()
        # Known from the start, for an operator cannot switch what never was.
        assert self.admit("first", self.lease_of("first")) == ("OK", "")
        self.pass_time(NUMBERS.rate_ms + 1)

    def lease_of(self, job: str) -> str:
        return f"{job} {next(self.numbers)}"

    def tell(self) -> None:
        clock = {"clock_s": self.model.now // 1_000, "clock_us": self.model.now % 1_000 * 1_000}
        self.raw.hset(self.at["about"], mapping=clock)

    def call(self, script: Script, **named: Any) -> list[Any]:
        command = script.command(self.at, **named)
        return script.check(self.raw.execute_command("EVAL", script.source, *command[2:]))

    def admit(self, job: str, lease: str, *, returns: bool = False) -> tuple[str, str]:
        n = NUMBERS
        reply = self.call(
            ADMIT,
            org="org",
            origin="https://x.example",
            job=job,
            lease=lease,
            returns=int(returns),
            **LIMITS,
            patience_ms=n.patience_ms,
            open_ms=n.open_ms,
            forget_ms=n.forget_ms,
        )
        word = reply[0].decode()
        expected, reason = self.model.admit(job, lease, returns=returns)
        assert word == expected, (reply, reason)
        if word == "DEFER":
            assert reply[3].decode() == reason
            assert 1 <= reply[1] <= n.patience_ms + 1
            earliest = min(30_000, self.model.floor(reason) - self.model.now)
            assert max(50, earliest) <= reply[2] <= 30_000
        elif word == "DISABLED":
            assert reply[1].decode() == reason
            if reason == "destination_disabled":
                assert reply[2].decode() == self.model.reason
        else:
            self.used.append(lease)
        return word, reason

    @rule(ms=st.sampled_from([1, 400, 999, 1_000, 2_500, 5_000, 8_000, 16_000, 31_000]))
    def pass_time(self, ms: int) -> None:
        self.model.now += ms
        self.tell()

    @rule(job=JOBS, returns=st.booleans())
    def ask(self, job: str, *, returns: bool) -> None:
        self.admit(job, self.lease_of(job), returns=returns)

    @rule(parked=st.sampled_from([0, 1, 2, 50]), unused=st.sampled_from([0, 0, 1, 3]))
    def look(self, parked: int, unused: int) -> None:
        n = NUMBERS
        more = {"open_ms": n.open_ms, "forget_ms": n.forget_ms}
        reply = self.call(LOOK, count=parked, unused=unused, **LIMITS, **more)
        assert reply[1] == self.model.look(parked, unused)
        assert 50 <= reply[2] <= 30_000

    @precondition(lambda self: self.model.state != "disabled")
    @rule(job=JOBS, pause_ms=st.sampled_from([0, 0, 4_500, 5_000]))
    def outage(self, job: str, pause_ms: int) -> None:
        """Deliveries fail until nothing is admitted any more. Three span the window, or do not."""
        for _ in range(NUMBERS.requests + 1):
            self.pass_time(pause_ms)
            lease = self.lease_of(job)
            if self.admit(job, lease)[0] != "OK":
                return
            self.settle_one(lease, "failure", 0)

    @precondition(lambda self: self.model.since and self.model.state == "open")
    @rule(data=st.data(), late_ms=st.sampled_from([0, 0, 1]))
    def wait_as_long_as_one_may(self, data: st.DataObject, late_ms: int) -> None:
        """The circuit has just failed its probe again, and the job has used up its patience."""
        job = data.draw(st.sampled_from(sorted(self.model.since)))
        due = self.model.since[job] + NUMBERS.patience_ms + late_ms
        if self.model.now < due < self.model.until + NUMBERS.patience_ms:
            self.pass_time(due - self.model.now)
            probe = self.lease_of("prober")
            if self.admit("prober", probe)[0] == "OK":
                self.settle_one(probe, "failure", 0)
        self.admit(job, self.lease_of(job))

    @rule(data=st.data(), job=JOBS)
    def ask_again(self, data: st.DataObject, job: str) -> None:
        """The reply was lost: the same lease is asked for once more."""
        self.admit(job, data.draw(st.sampled_from(self.used[-3:])))

    @rule(data=st.data(), outcome=OUTCOMES, defer_ms=st.sampled_from([0, 0, 0, 0, 3_000]))
    def settle(self, data: st.DataObject, outcome: str, defer_ms: int) -> None:
        running = self.model.running()
        lease = data.draw(st.sampled_from(running or self.used[-3:]))
        self.settle_one(lease, outcome, defer_ms)

    @rule(data=st.data(), outcome=OUTCOMES)
    def settle_any(self, data: st.DataObject, outcome: str) -> None:
        """One that was settled before, that ran out, or a late one."""
        self.settle_one(data.draw(st.sampled_from(self.used[-6:])), outcome, 0)

    @precondition(lambda self: self.model.probe in self.model.running())
    @rule(outcome=st.sampled_from(["success", "failure"]))
    def settle_the_probe(self, outcome: str) -> None:
        self.settle_one(self.model.probe, outcome, 0)

    def settle_one(self, lease: str, outcome: str, defer_ms: int) -> None:
        n = NUMBERS
        reply = self.call(
            SETTLE,
            lease=lease,
            outcome=outcome,
            defer_ms=defer_ms,
            **LIMITS,
            window_ms=n.window_ms,
            requests=n.requests,
            percent=n.percent,
            open_ms=n.open_ms,
            openings=n.openings,
            forget_ms=n.forget_ms,
            who="{}",
        )
        told = reply[0].decode(), reply[1].decode(), reply[3]
        assert told == self.model.settle(lease, outcome, defer_ms)

    @precondition(lambda self: self.model.state == "open")
    @rule(job=JOBS)
    def recover(self, job: str) -> None:
        """The next probe succeeds, and one more failure is only one."""
        self.pass_time(
            max(self.model.until, self.model.not_before, self.model.now) - self.model.now
        )
        probe = self.lease_of("prober")
        if self.admit(job, probe)[0] == "OK":
            self.settle_one(probe, "success", 0)
        self.outage(job, 0)

    @precondition(lambda self: self.model.state != "closed")
    @rule()
    def enable(self) -> None:
        self.switch("enabled")
        self.outage("j1", 0)

    @rule(job=JOBS)
    def off_and_on(self, job: str) -> None:
        """What had failed before does not count afterwards."""
        lease = self.lease_of(job)
        if self.admit(job, lease)[0] == "OK":
            self.settle_one(lease, "failure", 0)
        self.switch("disabled")
        self.enable()

    @rule()
    def disable(self) -> None:
        self.switch("disabled")

    def switch(self, to: str) -> None:
        self.call(SWITCH, to=to, who="{}", forget_ms=NUMBERS.forget_ms)
        self.model.switch(to)

    @invariant()
    def never_more_than_the_limit(self) -> None:
        if not hasattr(self, "at"):
            return
        running = self.raw.zcount(self.at["leases"], f"({self.model.now}", "+inf")
        assert running == len(self.model.running()) <= NUMBERS.limit

    @invariant()
    def the_circuit_is_the_models(self) -> None:
        if not hasattr(self, "at"):
            return
        about = self.raw.hgetall(self.at["about"])
        assert about.get(b"state", b"closed").decode() == self.model.state
        assert int(about.get(b"openings", 0)) == self.model.openings
        if self.model.state == "open":
            assert int(about[b"until"]) == self.model.until
        disabled = self.model.state == "disabled"
        assert (self.raw.pttl(self.at["about"]) == -1) == disabled == (b"kept" in about)


def test_random_lives(raw: Any) -> None:
    class OnThisServer(Life):
        pass

    OnThisServer.raw = raw
    run_state_machine_as_test(
        OnThisServer,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            phases=set(Phase) - {Phase.shrink} if not NIGHTLY else set(Phase),
            suppress_health_check=list(HealthCheck),
        ),
    )
