"""Random lives of a queue against a real server, beside the same life of a model in memory.

Time is never waited for: what is to be due is made due in Redis. `HYPOTHESIS_PROFILE=nightly` looks
longer.
"""

import asyncio
from typing import Any

import pytest
from consistency import snapshot
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test
from ledger import make_due
from queue_life import HOOK, HOUR_MS, IDS, QueueLife

from schemas.identity import JobRef
from schemas.job import State
from schemas.spec import Limiter, QueueSpec, Retention
from streams import connect
from streams.errors import NotFound, WrongState
from streams.upkeep import Upkeep

NIGHTLY = settings.get_current_profile_name() == "nightly"
EXAMPLES, STEPS = (600, 80) if NIGHTLY else (200, 40)


class Life(QueueLife):
    """With operators, crashes and the clock."""

    @rule(job_id=st.sampled_from(IDS))
    def cancel(self, job_id: str) -> None:
        job = self.model.jobs.get(job_id)
        try:
            word = self.do(self.queue.cancel(JobRef(job_id)))
        except NotFound:
            assert job is None
        except WrongState as error:
            assert job is not None
            assert error.state == job.state in {"completed", "failed"}
        else:
            assert job is not None
            assert word == ("cancelling" if job.state == "active" else "cancelled")
            self.model.cancel(job)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def cancel_running(self, data: st.DataObject) -> None:
        self.cancel(data.draw(st.sampled_from(sorted(self.held))))

    @precondition(lambda self: self.model.completed or self.model.dead)
    @rule(data=st.data())
    def remove_ended(self, data: st.DataObject) -> None:
        ended = [job.id for job in (*self.model.completed, *self.model.dead)]
        self.remove(data.draw(st.sampled_from(ended)))

    @rule(job_id=st.sampled_from(IDS))
    def remove(self, job_id: str) -> None:
        job = self.model.jobs.get(job_id)
        try:
            self.do(self.queue.remove(JobRef(job_id)))
        except NotFound:
            assert job is None
        except WrongState:
            assert job is not None
            assert job.state == "active"
        else:
            assert job is not None
            self.model.forget(job)

    @rule(job_id=st.sampled_from(IDS))
    def revive(self, job_id: str) -> None:
        job = self.model.jobs.get(job_id)
        try:
            self.do(self.queue.revive(JobRef(job_id)))
        except NotFound:
            assert job is None
        except WrongState as error:
            assert job is not None
            assert error.state == job.state != "failed"
        else:
            assert job is not None
            self.model.revive(job)

    @precondition(lambda self: self.model.due)
    @rule(data=st.data())
    def advance(self, data: st.DataObject) -> None:
        job = self.model.jobs[data.draw(st.sampled_from(sorted(self.model.due)))]
        assert self.do(self.queue.advance(JobRef(job.id))) is State.WAITING
        self.model.withdraw(job)
        self.model.wait(job, job.waits_in)

    @rule(job_id=st.sampled_from(IDS), priority=st.integers(0, 10))
    def prioritize(self, job_id: str, priority: int) -> None:
        job = self.model.jobs.get(job_id)
        try:
            state = self.do(self.queue.prioritize(JobRef(job_id), priority))
        except NotFound:
            assert job is None
        except WrongState as error:
            assert job is not None
            assert error.state == job.state not in {"waiting", "delayed"}
        else:
            assert job is not None
            assert state == job.state
            job.priority = priority
            if job.state == "waiting" and job.lane != priority:
                self.model.withdraw(job)
                self.model.wait(job, job.waits_in)

    @rule(
        state=st.sampled_from([State.COMPLETED, State.FAILED]), grace=st.sampled_from([0, HOUR_MS])
    )
    def clean(self, state: State, grace: int) -> None:
        ended = self.model.completed if state is State.COMPLETED else self.model.dead
        removed = self.do(self.queue.clean(grace, state))
        assert removed == (0 if grace else len(ended))
        for job in list(ended) if not grace else []:
            self.model.forget(job)

    @rule(stays=st.sampled_from([False, False, False, False, False, True]))
    def pause(self, stays: bool) -> None:
        self.do(self.queue.pause())
        self.model.paused = True
        self.claim("w0", 2)
        if not stays:
            self.resume()

    @precondition(lambda self: self.model.paused)
    @rule()
    def resume(self) -> None:
        self.do(self.queue.resume())
        self.model.paused = False

    @rule(
        most=st.sampled_from([None, None, None, 6, 20]),
        cap=st.sampled_from([None, None, None, 2, 6]),
    )
    def limit(self, most: int | None, cap: int | None) -> None:
        limiter = Limiter(most, HOUR_MS) if most else None
        self.do(self.queue.set_limits(limiter, cap))
        self.model.most, self.model.cap = most, cap
        if most is None:
            self.model.granted = self.model.aged = 0

    @rule()
    def look(self) -> None:
        """Every page, in order, and every job by its id."""
        model = self.model
        pages = {
            State.WAITING: [job.id for lane in model.lanes.values() for job in lane],
            State.ACTIVE: [job.id for job in model.active()],
            State.DELAYED: sorted(model.due, key=lambda job_id: (model.due[job_id], job_id)),
            State.COMPLETED: [job.id for job in reversed(model.completed)],
            State.FAILED: [job.id for job in reversed(model.dead)],
        }
        for state, expected in pages.items():
            assert [v.ref for v in self.do(self.queue.page(state, 0, 99))] == expected
        for job_id in IDS:
            view, job = self.do(self.queue.get(JobRef(job_id))), model.jobs.get(job_id)
            assert (view is None) == (job is None)
            if view is not None and job is not None:
                assert (view.state, view.attempts_made) == (job.state, job.made)
                assert view.stalled_count == job.stalled
                assert view.data == job.data

    # time, crashes and upkeep

    @precondition(lambda self: self.model.due)
    @rule(data=st.data(), promote=st.booleans())
    def due(self, data: st.DataObject, promote: bool) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.model.due)))
        self.model.due[job_id] = float(next(self.made_due))
        priority = self.model.jobs[job_id].priority
        make_due(self.raw, self.queue.name, job_id, self.model.due[job_id], priority)
        if promote:
            now_ms = self.now_ms()
            done = self.do(self.upkeep.promote())
            assert done.count == self.model.promote(now_ms)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def worker_dies(self, data: st.DataObject) -> None:
        """Everything that one worker holds has not been renewed for longer than the lease."""
        worker = data.draw(st.sampled_from(sorted({job.worker for job in self.model.active()})))
        self._falls_silent([job.id for job in self.model.active() if job.worker == worker])

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def reclaim(self, data: st.DataObject) -> None:
        """Some claims have not been renewed for longer than the lease."""
        held = st.sampled_from(sorted(self.held))
        self._falls_silent(data.draw(st.lists(held, unique=True, min_size=1)))

    def _falls_silent(self, silent: list[str]) -> None:
        for job_id in silent:
            claim, job = self.held[job_id], self.model.jobs[job_id]
            lane = self.queue.store.keys.lane(job.lane)
            idle = (
                "XCLAIM",
                lane,
                "workers",
                job.worker,
                0,
                claim.entry,
                "IDLE",
                HOUR_MS,
                "JUSTID",
            )
            self.do(self.redis.command(*idle, key=self.key("")))
        assert self.do(self.upkeep.reclaim()).count == len(silent)
        for job in [job for job in self.model.active() if job.id in silent]:
            self.stale.append((self.held.pop(job.id), True))
            self.model.reclaim(job)

    @rule(duty=st.sampled_from(["promote", "reclaim", "prune", "sweep"]))
    def clock_goes_back(self, duty: str) -> None:
        """What upkeep noted by the clock before lies in the future. Claims are timed anew."""
        later_ms = self.now_ms() + HOUR_MS
        self.raw.hset(self.key("meta"), f"next:{duty}", later_ms)
        if duty == "reclaim":
            done = self.do(self.upkeep.reclaim())
            assert (done.count, done.skipped) == (0, False)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def orphan(self, data: st.DataObject) -> None:
        """A foreign XACK: the entry is pending for nobody until the sweep finds it."""
        job = self.model.jobs[data.draw(st.sampled_from(sorted(self.held)))]
        claim = self.held.pop(job.id)
        self.raw.xack(self.queue.store.keys.lane(job.lane), "workers", claim.entry)
        assert self.do(self.upkeep.sweep()).count == 1
        self.stale.append((claim, True))
        self.model.release(job, started=False)

    @precondition(lambda self: self.model.completed or self.model.dead)
    @rule(
        completed=st.sampled_from([None, 0, 2]),
        failed=st.sampled_from([None, 1]),
        all_due=st.sampled_from([False, False, True]),
    )
    def prune(self, completed: int | None, failed: int | None, all_due: bool) -> None:
        age = 0 if all_due else None
        keep = Retention(age, completed, age, failed)
        before = len(self.model.jobs)
        self.model.prune(self.model.completed, completed, all_due=all_due)
        self.model.prune(self.model.dead, failed, all_due=all_due)
        spec = QueueSpec(self.queue.name, retention=keep)
        assert self.do(Upkeep(spec, self.redis).prune()).count == before - len(self.model.jobs)

    @precondition(lambda self: any(j.own_completed for j in self.model.completed))
    @rule(data=st.data())
    def own_age(self, data: st.DataObject) -> None:
        """A job's own retention age has passed."""
        aged = [job for job in self.model.completed if job.own_completed]
        job = data.draw(st.sampled_from(aged))
        entry = self.do(snapshot(self.queue)).places[job.id].entry
        self.raw.zadd(self.key("expiry:completed"), {entry: 1})
        spec = QueueSpec(self.queue.name, retention=Retention(None, None, None, None))
        assert self.do(Upkeep(spec, self.redis).prune()).count == 1
        self.model.forget(job)

    @precondition(lambda self: self.model.granted)
    @rule()
    def window_passes(self) -> None:
        """The starts counted so far lie outside the rate limit's window; a claim finds out."""
        for index, grant in enumerate(self.raw.lrange(self.key("limit"), 0, -1)):
            self.raw.lset(self.key("limit"), index, b"1:" + grant.partition(b":")[2])
        self.model.aged = self.model.granted

    @precondition(lambda self: self.model.outbox)
    @rule()
    def relay(self) -> None:
        owed, _ = self.do(self.upkeep.owed())
        assert [(one.job_id, one.ending, one.event) for one in owed] == self.model.outbox
        assert {one.to["url"] for one in owed} == {HOOK}
        self.do(self.upkeep.acknowledge([(one, "~cb:q:1-0:x") for one in owed]))
        self.model.outbox.clear()


@pytest.mark.timeout(1_800 if NIGHTLY else 120)
def test_random_lives(redis_url: str, raw: Any) -> None:
    with asyncio.Runner() as runner:
        handle = connect(redis_url)
        members = {"runner": runner, "redis": handle, "raw": raw}
        wanted = settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            # A failing life is told as it was: to shorten it takes longer than a run may.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        try:
            run_state_machine_as_test(type("Life", (Life,), members), settings=wanted)
        finally:
            runner.run(handle.close())
