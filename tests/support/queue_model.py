"""What a queue should be after each verb: the same machine, in memory and without Redis."""

import json
from dataclasses import dataclass, field
from typing import Any

from consistency import Snapshot

SUSPECTS = 11
LANES = range(-1, SUSPECTS + 1)
MAX_STALLS = 3
GROUP = 8


@dataclass(eq=False)
class ModelJob:
    """One job as it ought to be. `lane`: where it waits or runs; `gone_*`, `own_*`: what its
    options say about being kept after that ending."""

    id: str
    priority: int = 5
    gone_completed: bool = False
    own_completed: bool = False
    gone_failed: bool = False
    own_failed: bool = False
    callback: bool = False
    expires_ms: int | None = None
    """The clock of Redis by which it must have started."""
    state: str = "waiting"
    lane: int = 5
    worker: str = ""
    entry: str = ""
    marked: bool = False
    made: int = 0
    started: int = 0
    stalled: int = 0
    endings: int = 0
    data: Any = None

    @property
    def waits_in(self) -> int:
        """The lane for a job that is due."""
        return SUSPECTS if self.stalled else self.priority

    @property
    def counters(self) -> tuple[int, int, int, int]:
        return self.made, self.started, self.stalled, self.endings


@dataclass
class Model:
    """The queue. Every method is one transition."""

    jobs: dict[str, ModelJob] = field(default_factory=dict)
    lanes: dict[int, list[ModelJob]] = field(default_factory=lambda: {n: [] for n in LANES})
    due: dict[str, float] = field(default_factory=dict)
    """When each delayed job is due; read from Redis after it was set."""
    completed: list[ModelJob] = field(default_factory=list)
    dead: list[ModelJob] = field(default_factory=list)
    outbox: list[tuple[str, int, str]] = field(default_factory=list)
    paused: bool = False
    most: int | None = None
    granted: int = 0
    aged: int = 0
    """Those of `granted` that lie outside the rate limit's window; the next claim that gets past
    the concurrency limit, or is refused for the rate limit, forgets them."""
    cap: int | None = None
    tester: str | None = None
    """The worker that has the lease to run suspects."""

    def active(self) -> list[ModelJob]:
        """Running jobs in the order reclaim meets them."""
        found = [job for job in self.jobs.values() if job.state == "active"]
        return sorted(found, key=lambda job: (job.lane, *map(int, job.entry.split("-"))))

    def wait(self, job: ModelJob, lane: int) -> None:
        """To the end of a lane."""
        job.state, job.lane, job.worker, job.entry = "waiting", lane, "", ""
        self.lanes[lane].append(job)

    def delay(self, job: ModelJob, due_ms: float) -> None:
        job.state = "delayed"
        self.due[job.id] = due_ms

    def promote(self, now_ms: int) -> int:
        """Due jobs, the most urgent first, and of those in the order they became due."""
        due = (job_id for job_id, at in self.due.items() if at <= now_ms)
        ready = sorted(due, key=lambda i: (self.jobs[i].priority, self.due[i], i))[:100]
        for job_id in ready:
            del self.due[job_id]
            self.wait(self.jobs[job_id], self.jobs[job_id].waits_in)
        return len(ready)

    def _testing(self) -> list[ModelJob]:
        return [job for job in self.active() if job.lane == SUSPECTS]

    def _admit(self, want: int, spare: int = 0) -> tuple[str, int]:
        """The word, and how many jobs may start."""
        if self.paused:
            return "PAUSED", 0
        if self.most is not None:
            want = min(want, self.most - (self.granted - self.aged) - spare)
            if want <= 0:
                self._forget_aged()
                return "LIMITED", 0
        if self.cap is not None:
            want = min(want, self.cap - len(self.active()) - spare)
            if want <= 0:
                return "FULL", 0
        return "OK", want

    def isolate(self, worker: str, want: int) -> tuple[str, list[ModelJob]]:
        """The same of a process that runs suspects only."""
        suspects = self.lanes[SUSPECTS]
        if self.tester not in (None, worker):
            return "TAKEN", []
        if not suspects and not self._testing():
            self.tester = None
            return "NONE", []
        self.tester = worker
        if self._testing():
            return "WAIT", []
        word, room = self._admit(min(want, GROUP, len(suspects)))
        if word != "OK":
            return word, []
        self._forget_aged()
        group = [suspects.pop(0)]
        while suspects and len(group) < room and group[0].stalled == suspects[0].stalled == 1:
            group.append(suspects.pop(0))
        for job in [job for job in group if job.marked]:
            self.fail(job)
            group.remove(job)
        for job in group:
            job.state = "active"
        if self.most is not None:
            self.granted += len(group)
        return "OK", group

    def claim(self, worker: str, want: int, now_ms: int) -> tuple[str, list[ModelJob]]:
        """The word and the jobs a claim must answer."""
        suspects = self.lanes[SUSPECTS]
        is_leased = self.tester is not None
        word, room = self._admit(want, spare=int(is_leased and bool(suspects)))
        if word != "OK":
            return word, []
        self._forget_aged()
        self.promote(now_ms)
        if suspects and not is_leased and not self._testing():
            self.tester = worker
        taken: list[ModelJob] = []
        for lane in LANES[:-1]:
            while self.lanes[lane] and len(taken) < room:
                job = self.lanes[lane].pop(0)
                if job.marked or (job.expires_ms is not None and job.expires_ms <= now_ms):
                    self.fail(job)
                else:
                    job.state = "active"
                    taken.append(job)
        if self.most is not None:
            self.granted += len(taken)
        return "OK", taken

    def complete(self, job: ModelJob) -> None:
        self._start_counts(job)
        job.made += 1
        self._end(job, "completed", self.completed, gone=job.gone_completed)

    def attempt_fails(self, job: ModelJob) -> None:
        self._start_counts(job)
        job.made += 1
        self.fail(job)

    def fail(self, job: ModelJob) -> None:
        self._end(job, "failed", self.dead, gone=job.gone_failed)

    def retry(self, job: ModelJob, due_ms: float, *, charged: bool) -> None:
        self._start_counts(job)
        job.made += charged
        self.delay(job, due_ms)

    def release(self, job: ModelJob, *, started: bool) -> None:
        if started:
            job.expires_ms = None
        self.wait(job, SUSPECTS if job.stalled else -1)

    def reclaim(self, job: ModelJob) -> None:
        """Its worker fell silent."""
        self._start_counts(job)
        if job.lane == SUSPECTS:
            self.tester = None
        if job.marked:
            self.fail(job)
            return
        job.stalled += 1
        if job.lane == SUSPECTS and job.stalled >= MAX_STALLS:
            self.fail(job)
        else:
            self.wait(job, SUSPECTS)

    def withdraw(self, job: ModelJob) -> None:
        """Take a job that is waiting or delayed out of its place."""
        self.due.pop(job.id, None)
        for lane in self.lanes.values():
            if job in lane:
                lane.remove(job)

    def cancel(self, job: ModelJob) -> None:
        if job.state == "active":
            job.marked = True
        else:
            self.withdraw(job)
            self.fail(job)

    def forget(self, job: ModelJob) -> None:
        """The job and everything it owns is gone."""
        self.withdraw(job)
        for ended in (self.completed, self.dead):
            if job in ended:
                ended.remove(job)
        del self.jobs[job.id]

    def revive(self, job: ModelJob) -> None:
        self.dead.remove(job)
        job.made = job.started = job.stalled = 0
        job.expires_ms = None
        self.wait(job, job.priority)

    def prune(self, ended: list[ModelJob], count: int | None, *, all_due: bool) -> None:
        """Drop what exceeds a queue's retention; jobs with one of their own are not counted."""
        own = "own_completed" if ended is self.completed else "own_failed"
        common = [job for job in ended if not getattr(job, own)]
        excess = len(common) if all_due else 0 if count is None else len(common) - count
        for job in common[: max(0, excess)]:
            self.forget(job)

    def assert_agrees(self, seen: Snapshot) -> None:
        """Redis holds exactly this."""
        for lane, jobs in self.lanes.items():
            entries = seen.lanes[lane].items()
            waiting = [record["j"] for entry, record in entries if entry not in seen.pending[lane]]
            assert waiting == [job.id for job in jobs], f"lane {lane}"
        places = seen.places
        running = {job_id: one.consumer for job_id, one in places.items() if one.consumer}
        assert running == {job.id: job.worker for job in self.active()}
        assert seen.sets["delayed"] == self.due
        for name, ended in (("completed", self.completed), ("dead", self.dead)):
            assert [one["j"] for one in seen.streams[name].values()] == [job.id for job in ended]
        assert [_owed(record) for record in seen.streams["outbox"].values()] == self.outbox
        marked = {job.id for job in self.jobs.values() if job.marked}
        assert seen.hashes["cancel"].keys() == marked
        assert int(seen.hashes["meta"].get("granted", 0)) == self.granted
        for job_id, job in self.jobs.items():
            header = places[job_id].header
            found = (header.made, header.started, header.stalled, header.endings)
            assert found == job.counters, job_id

    def _forget_aged(self) -> None:
        self.granted, self.aged = self.granted - self.aged, 0

    @staticmethod
    def _start_counts(job: ModelJob) -> None:
        job.started += 1
        job.expires_ms = None

    def _end(self, job: ModelJob, state: str, ended: list[ModelJob], *, gone: bool) -> None:
        job.endings += 1
        job.state, job.marked, job.worker, job.entry = state, False, "", ""
        if job.callback:
            self.outbox.append((job.id, job.endings, state))
        if gone:
            del self.jobs[job.id]
        else:
            ended.append(job)


def _owed(record: dict[str, str]) -> tuple[str, int, str]:
    if "o" in record:
        owed: dict[str, Any] = json.loads(record["o"])
        return record["j"], owed["ending"], owed["event"]
    return record["j"], int(record["h"].split(":")[5]), "failed"
