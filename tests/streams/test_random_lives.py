"""Random lives of a queue against a real server; after every step the whole queue is checked.

Time is never waited for: what is to be due, idle or old is made so in Redis.
"""

import asyncio
from itertools import count
from typing import Any

import pytest
from consistency import Snapshot, assert_consistent
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from schemas.job import JobOptions, KeepFor, State
from schemas.spec import Limiter, QueueSpec
from streams import NewJob, Queue, connect
from streams.claims import Claim, Claims, Ending
from streams.errors import NotFound, WrongState
from streams.upkeep import Upkeep

EXAMPLES, STEPS = 60, 40
NUMBERS = count()
IDS = st.sampled_from([f"j{n}" for n in range(9)])
KEEP = st.sampled_from([None, None, True, False, KeepFor(age=3600)])
NEW_JOBS = st.builds(
    lambda big, **options: NewJob(
        "x", {"text": "x" * 33_000 if big else ""}, JobOptions(**options)
    ),
    big=st.sampled_from([False, False, True]),
    job_id=IDS,
    priority=st.sampled_from([None, 0, 1, 10]),
    delay=st.sampled_from([None, None, 3_600_000]),
    remove_on_complete=KEEP,
    remove_on_fail=KEEP,
    callback_url=st.sampled_from([None, "https://example.com/hook"]),
)
HISTORY = b'[{"attempt":1,"reason":"failed","message":"no","at":1}]'
KINDS = st.sampled_from(["complete", "complete", "retry", "fail", "release"])


class Life(RuleBasedStateMachine):
    """One queue and three workers. `old` are claims that are over."""

    runner: asyncio.Runner
    redis: Any

    @initialize()
    def open(self) -> None:
        spec = QueueSpec(f"life-{next(NUMBERS)}")
        self.queue, self.upkeep = Queue(spec, self.redis), Upkeep(spec, self.redis)
        self.hands = [Claims(spec, self.redis, f"w{n}") for n in range(3)]
        self.held: list[Claim] = []
        self.old: list[Claim] = []
        self.concurrency: int | None = None
        self.limited = self.paused = False

    def do(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    def check_invariants(self, *args: Any, **kwargs: Any) -> None:
        super().check_invariants(*args, **kwargs)
        if hasattr(self, "queue"):
            seen = self.do(assert_consistent(self.queue))
            active = {p.pointer for p in seen.places.values() if p.kind == "active"}
            assert active == {claim.place.decode() for claim in self.held}

    def look(self) -> Snapshot:
        return self.do(assert_consistent(self.queue))

    def over(self, claim: Claim) -> None:
        self.held.remove(claim)
        self.old.append(claim)

    @rule(jobs=st.lists(NEW_JOBS, min_size=1, max_size=5))
    def add(self, jobs: list[NewJob]) -> None:
        known = set(self.look().places)
        for job, added in zip(jobs, self.do(self.queue.add_many(jobs)), strict=True):
            assert added.deduplicated == (added.id in known)
            assert added.id == job.options.job_id
            known.add(added.id)

    @rule(hand=st.integers(0, 2), want=st.integers(1, 5))
    def claim(self, hand: int, want: int) -> None:
        places = self.look().places
        ready = [(p.lane, p.entry, i) for i, p in places.items() if p.kind == "waiting"]
        order = sorted(ready, key=lambda r: (r[0], *map(int, r[1].split("-"))))
        claimed = self.do(self._claim(self.hands[hand], want))
        got = [claim.job.id for claim in claimed.claims]
        assert got == [job_id for _, _, job_id in order][: len(got)], "priority, then FIFO"
        if self.paused:
            assert (claimed.word, got) == ("PAUSED", [])
        elif not self.limited and self.concurrency is None:
            assert len(got) == min(want, len(order))
        self.held += claimed.claims
        if self.concurrency is not None and got:
            assert len(self.held) <= self.concurrency

    async def _claim(self, claims: Claims, want: int) -> Any:
        link = await claims.link()
        try:
            return (await claims.claim(link, want))[0]
        finally:
            await self.redis.forget(link)

    @rule(data=st.data(), kind=KINDS, big=st.booleans())
    def settle(self, data: st.DataObject, kind: str, big: bool) -> None:
        """Every settle is sent twice: the second changes nothing."""
        chosen = [c for c in self.held if data.draw(st.booleans())]
        result = b'"%b"' % (b"x" * 33_000) if big else b'{"ok":true}'
        endings = [Ending(c, kind, result=result, history=HISTORY) for c in chosen]
        calls = self.hands[0].settle(endings)
        for (_, part), reply in zip(calls, self.send(calls), strict=True):
            assert Claims.words(reply, len(part)) == ["OK"] * len(part)
        for claim in chosen:
            self.over(claim)
        before = self.look()
        for (_, part), reply in zip(calls, self.send(calls), strict=True):
            assert Claims.words(reply, len(part)) == ["ALREADY"] * len(part)
        assert self.look() == before

    def send(self, calls: list[Any]) -> list[Any]:
        return self.do(self.hands[0].send([command for command, _ in calls])) if calls else []

    @rule(kind=KINDS)
    def stale(self, kind: str) -> None:
        """A writer whose claim is over is refused."""
        before = self.look()
        calls = self.hands[1].settle([Ending(c, kind, history=HISTORY) for c in self.old])
        for (_, part), reply in zip(calls, self.send(calls), strict=True):
            assert "OK" not in Claims.words(reply, len(part))
        assert self.look() == before
        renewed = self.do(self.hands[1].renew(self.old, 0))
        assert renewed.lost == self.old or len(renewed.lost) == len(self.old)

    @rule(job_id=IDS, verb=st.sampled_from(["remove", "revive", "cancel"]))
    def operate(self, job_id: str, verb: str) -> None:
        place = self.look().places.get(job_id)
        try:
            self.do(getattr(self.queue, verb)(job_id))
        except NotFound:
            assert place is None
        except WrongState:
            assert place is not None
            allowed = {"remove": {"active"}, "cancel": {"completed", "dead"}}
            wrong = allowed.get(verb, {"waiting", "active", "delayed", "completed"})
            assert place.kind in wrong

    @rule(state=st.sampled_from([State.COMPLETED, State.FAILED]))
    def clean(self, state: State) -> None:
        self.do(self.queue.clean(state=state))
        assert not self.look().streams["completed" if state is State.COMPLETED else "dead"]

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.do(self.queue.pause() if paused else self.queue.resume())
        self.paused = paused

    @rule(limited=st.booleans(), concurrency=st.sampled_from([None, None, 3]))
    def limit(self, limited: bool, concurrency: int | None) -> None:
        limiter = Limiter(4, 60_000) if limited else None
        self.do(self.queue.set_limits(limiter, concurrency))
        self.limited, self.concurrency = limited, concurrency

    @rule()
    def come_due(self) -> None:
        key = self.queue.store.keys["delayed"]
        for job_id in self.look().sets["delayed"]:
            self.do(self.redis.command("ZADD", key, 1, job_id, key=self.queue.store.keys.prefix))
        self.do(self.upkeep.promote())
        assert not self.look().sets["delayed"]

    @rule()
    def stall(self) -> None:
        """Every worker falls silent: all its claims are over, their jobs wait again or are dead."""
        keys = self.queue.store.keys
        for claim in self.held:
            lane = keys.lane(int(claim.lane))
            idle = ("XCLAIM", lane, "workers", "w0", 0, claim.entry, "IDLE", 10**8, "JUSTID")
            self.do(self.redis.command(*idle, key=keys.prefix))
        assert self.do(self.upkeep.reclaim()).count == len(self.held)
        for claim in list(self.held):
            self.over(claim)

    @rule()
    def keep_up(self) -> None:
        self.do(self.upkeep.prune())
        before = self.look()
        assert self.do(self.upkeep.sweep()).count == 0
        assert self.look().places.keys() == before.places.keys()

    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        if self.held:
            claim = data.draw(st.sampled_from(self.held))
            assert self.do(self.hands[0].progress(claim, {"at": 1}))
            assert self.do(self.hands[0].log(claim, "a line"))
        assert not any(self.do(self.hands[0].log(claim, "late")) for claim in self.old[-2:])


@pytest.mark.timeout(300)
def test_random_lives(redis: Any, redis_url: str) -> None:
    with asyncio.Runner() as runner:
        handle = connect(redis_url)
        life = type("Life", (Life,), {"runner": runner, "redis": handle})
        wanted = settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        try:
            run_state_machine_as_test(life, settings=wanted)
        finally:
            runner.run(handle.close())
