"""A queue lived at random, beside a model of it: what producers and workers do.

The operators' and the clock's part is in tests/streams/test_state_machine.py.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from consistency import assert_consistent, snapshot
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from queue_model import MAX_STALLS, SUSPECTS, Model, ModelJob

from schemas.identity import (
    JobRef,
    batch_job_ref,
    callback_id,
    chosen_ref,
    is_automatic,
    publication_id,
)
from schemas.job import JobOptions, KeepFor, State
from schemas.spec import QueueSpec
from streams import NewJob, Queue
from streams.claims import Claim, Claimed, Claims, Ending
from streams.upkeep import Upkeep

IDS = [
    callback_id("q", "1-0", (":x", "1", 1)),
    publication_id("a-b", 2),
    batch_job_ref(chosen_ref("org-a", "batch"), 0),
    batch_job_ref("0" * 26, 1),
    JobRef("0123456789abcdefghijklmnop"),
    chosen_ref(None, "0123456789abcdefghijklmnop"),
    chosen_ref("org-a", "0123456789abcdefghijklmnop"),
    *(chosen_ref(whose, "j") for whose in (None, "org-a", "org-b")),
    chosen_ref(None, ":j"),
    chosen_ref("org-a", "!" + "}" * 127),
]
"""Of every kind, and such as differ only by whose they are."""
WORKERS = ["w0", "w1", "w2"]
HOUR_MS = 3_600_000
BIG = "x" * 33_000
HOOK = "https://example.com/hook"
HISTORY = b'[{"attempt":1,"reason":"failed","message":"told to","at":1}]'
KEEP = st.sampled_from([None, True, True, False, KeepFor(age=3600)])
NUMBERS = count()
TEXT = st.characters(exclude_categories=["Cs"])
"""All of Unicode that JSON can carry: lone surrogates are none."""
NEW_JOBS = st.builds(
    lambda text, job_id, **options: NewJob(
        "x",
        {"text": {"big": BIG}.get(text, text)} if text else {},
        JobOptions(**options),
        ref=job_id,
    ),
    text=st.sampled_from(["", "", "big"]) | st.text(TEXT, max_size=20),
    job_id=st.sampled_from(["", "", "", "", *IDS]),
    priority=st.sampled_from([None, *range(11)]),
    delay=st.sampled_from([None, None, None, HOUR_MS]),
    expires=st.sampled_from([None, None, None, 1, HOUR_MS]),
    remove_on_complete=KEEP,
    remove_on_fail=KEEP,
    callback_url=st.sampled_from([None, None, HOOK]),
)
KINDS = st.sampled_from(["complete", "complete", "fail", "fail", "retry", "later", "release"])


class QueueLife(RuleBasedStateMachine):
    """One queue; `stale` are claims that are over: (claim, taken away rather than settled)."""

    runner: asyncio.Runner
    redis: Any
    raw: Any

    @initialize()
    def open(self) -> None:
        spec = QueueSpec(f"life-{next(NUMBERS)}", max_stalls=MAX_STALLS)
        self.queue = Queue(spec, self.redis)
        self.upkeep = Upkeep(spec, self.redis)
        self.hands = {name: Claims(spec, self.redis, name) for name in WORKERS}
        self.model = Model()
        self.held: dict[str, Claim] = {}
        self.stale: list[tuple[Claim, bool]] = []
        self.made_due = count(1)

    def do(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    def key(self, name: str) -> str:
        return f"{self.queue.store.keys.prefix}{name}"

    def now_ms(self) -> int:
        seconds, micros = self.do(self.redis.command("TIME", key=self.key("")))
        return int(seconds) * 1000 + int(micros) // 1000

    def teardown(self) -> None:
        if hasattr(self, "queue"):
            self.raw.delete(*(key for key in self.queue.store.keys.by_name.values()))

    def check_invariants(self, *args: Any, **kwargs: Any) -> None:
        super().check_invariants(*args, **kwargs)
        if hasattr(self, "queue"):
            self.model.assert_agrees(self.do(assert_consistent(self.queue)))

    # producers

    @rule(jobs=st.lists(NEW_JOBS, min_size=1, max_size=5))
    def add_more(self, jobs: list[NewJob]) -> None:
        self.add(jobs)

    @rule(jobs=st.lists(NEW_JOBS, min_size=1, max_size=5))
    def add(self, jobs: list[NewJob]) -> None:
        """Ids that are not said are those of no job, while there are some."""
        free = (job_id for job_id in IDS if job_id not in self.model.jobs)
        jobs = [_named(job, free) for job in jobs]
        answers = self.do(self.queue.add_many(jobs))
        seen = self.do(snapshot(self.queue))
        for new, answer in zip(jobs, answers, strict=True):
            options = new.options
            assert options is not None
            known = self.model.jobs.get(new.ref)
            is_new = known is None or is_automatic(new.ref)
            assert answer.deduplicated == (not is_new)
            if known is not None:
                assert answer.state == known.state
                continue
            job = _modelled(new.ref, options)
            self.model.jobs[job.id] = job
            job.data = new.data
            if options.delay:
                assert answer.state == State.DELAYED
                self.model.delay(job, seen.sets["delayed"][job.id])
                added_ms = int(seen.places[job.id].header.added)
                assert added_ms + HOUR_MS == self.model.due[job.id]
            else:
                assert answer.state == State.WAITING
                self.model.wait(job, job.priority)
            expires = seen.places[job.id].header.expires
            job.expires_ms = int(expires) if expires else None

    # workers

    @rule(worker=st.sampled_from(WORKERS), want=st.integers(1, 5))
    def claim(self, worker: str, want: int) -> None:
        link = self.do(self.redis.link(self.key("")))
        claimed, _ = self.do(self.hands[worker].claim(link, want))
        tester = self.model.tester
        word, expected = self.model.claim(worker, want, claimed.now_ms)
        assert claimed.word == word
        assert claimed.has_suspects == (self.model.tester != tester)
        self._holds(worker, claimed, expected)

    @precondition(lambda self: self.model.lanes[SUSPECTS])
    @rule(worker=st.sampled_from(WORKERS), want=st.integers(1, 9))
    def isolate(self, worker: str, want: int) -> None:
        """A worker that holds nothing else may ask for suspects."""
        if any(job.worker == worker for job in self.model.active()):
            return
        claimed = self.do(self.hands[worker].isolate(worker, want))
        word, expected = self.model.isolate(worker, want)
        assert claimed.word == word
        self._holds(worker, claimed, expected)

    def _holds(self, worker: str, claimed: Claimed, expected: list[ModelJob]) -> None:
        assert [claim.job.ref for claim in claimed.claims] == [job.id for job in expected]
        for claim, job in zip(claimed.claims, expected, strict=True):
            job.worker, job.entry, job.lane = worker, claim.entry.decode(), int(claim.lane)
            assert (claim.job.attempts_made, claim.job.header.started) == (job.made, job.started)
            self.held[job.id] = claim
            assert self.do(self.hands[worker].payload(claim.job)).data == job.data

    @rule(worker=st.sampled_from(WORKERS), want=st.integers(2, 5))
    def claim_more(self, worker: str, want: int) -> None:
        self.claim(worker, want)

    @precondition(lambda self: len(self.held) > 1)
    @rule(data=st.data())
    def note_and_settle(self, data: st.DataObject) -> None:
        self.note(data)
        self.settle(data, again=False)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), again=st.booleans())
    def settle(self, data: st.DataObject, again: bool) -> None:
        """A batch of endings, some of them of claims that are no longer held; then once more."""
        chosen = data.draw(_some(sorted(self.held), 4, least=1))
        late = [self.stale[n] for n in data.draw(_some(range(len(self.stale)), 2))]
        claims = [*(self.held[job_id] for job_id in chosen), *(claim for claim, _ in late)]
        endings = [self._ending(claim, data.draw(KINDS)) for claim in claims]
        words = self._send(endings)
        for claim, taken in late:
            assert words[claim.origin] in ({"LOST"} if taken else {"LOST", "ALREADY"})
        mine = endings[: len(chosen)]
        assert {words[ending.claim.origin] for ending in mine} <= {"OK"}
        self._apply(mine)
        if again:
            assert set(self._send(mine).values()) <= {"ALREADY"}

    def _ending(self, claim: Claim, kind: str) -> Ending:
        result = b'"%b"' % BIG.encode() if claim.entry.endswith(b"1") else b'{"ok":true}'
        if kind == "later":
            return Ending(claim, "retry", history=HISTORY, delay_ms=HOUR_MS, charged=False)
        started = not claim.entry.endswith(b"0")
        return Ending(claim, kind, result=result, history=HISTORY, started=started)

    def _send(self, endings: list[Ending]) -> dict[str, str]:
        told: dict[str, str] = {}
        for hand in self.hands.values():
            calls = hand.settle([one for one in endings if one.claim.token == hand.token])
            replies = self.do(hand.send([command for command, _ in calls]))
            for (_, some), reply in zip(calls, replies, strict=True):
                words = hand.words(reply, len(some))
                told |= {one.claim.origin: word for one, word in zip(some, words, strict=True)}
        return told

    def _apply(self, endings: list[Ending]) -> None:
        """In the order the engine settles: by worker, by kind, completions by lane."""
        for hand in self.hands.values():
            self._apply_of_one([one for one in endings if one.claim.token == hand.token])

    def _apply_of_one(self, endings: list[Ending]) -> None:
        due = self.do(snapshot(self.queue)).sets["delayed"]
        order = {"complete": 0, "retry": 1, "fail": 2, "release": 3}
        endings = sorted(endings, key=lambda one: order[one.kind])
        for one in [
            *sorted((e for e in endings if e.kind == "complete"), key=lambda e: e.claim.lane),
            *(e for e in endings if e.kind != "complete"),
        ]:
            job = self.model.jobs[one.claim.job.ref]
            self.stale.append((self.held.pop(job.id), False))
            match one.kind:
                case "complete":
                    self.model.complete(job)
                case "retry":
                    self.model.retry(job, due[job.id], charged=one.charged)
                case "fail":
                    self.model.attempt_fails(job)
                case "release":
                    self.model.release(job, started=one.started)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), give_back=st.booleans())
    def renew(self, data: st.DataObject, give_back: bool) -> None:
        """Names some claims of a worker and stale ones; learns what is lost, cancelled, unknown."""
        worker = data.draw(st.sampled_from(WORKERS))
        mine = {j.id: self.held[j.id] for j in self.model.active() if j.worker == worker}
        named = data.draw(_some(sorted(mine), 5))
        stale = [claim for claim, _ in self.stale[-3:]]
        claims = [*(mine[job_id] for job_id in named), *stale]
        renewed = self.do(self.hands[worker].renew(claims, 0))
        assert sorted(c.origin for c in renewed.lost) == sorted(c.origin for c in stale)
        marked = {job.id for job in self.model.jobs.values() if job.marked}
        assert {c.job.ref for c in renewed.cancelled} == marked & {c.job.ref for c in claims}
        strays = {(c.lane, c.entry): job_id for job_id, c in mine.items() if job_id not in named}
        assert set(renewed.strays) == set(strays)
        if give_back:
            self.do(self.hands[worker].release_strays(renewed.strays))
            for stray in renewed.strays:
                self.stale.append((self.held.pop(strays[stray]), True))
                self.model.release(self.model.jobs[strays[stray]], started=False)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def note(self, data: st.DataObject) -> None:
        """Running jobs report; who no longer holds one is not heard."""
        for claim in (self.held[job_id] for job_id in data.draw(_some(sorted(self.held), 5))):
            assert self.do(self.hands["w0"].progress(claim, {"done": 5}))
            assert self.do(self.hands["w1"].log(claim, "a line"))
            assert self.do(self.queue.get(JobRef(claim.job.ref))).progress == {"done": 5}
            assert self.do(self.queue.logs(JobRef(claim.job.ref)))[-1] == "a line"
        for claim, _ in self.stale[-3:]:
            assert not self.do(self.hands["w0"].progress(claim, 1))
            assert not self.do(self.hands["w1"].log(claim, "late"))


def _named(job: NewJob, free: Iterator[str]) -> NewJob:
    return job if job.ref else replace(job, ref=next(free, IDS[0]))


def _some(values: Sequence[Any], most: int, least: int = 0) -> st.SearchStrategy[list[Any]]:
    """Up to `most` different ones of `values`, which may be empty."""
    if not values:
        return st.just([])
    return st.lists(st.sampled_from(values), unique=True, min_size=least, max_size=most)


def _modelled(job_id: str, options: JobOptions) -> ModelJob:
    on_complete, on_fail = options.remove_on_complete, options.remove_on_fail
    return ModelJob(
        job_id,
        priority=5 if options.priority is None else options.priority,
        gone_completed=on_complete is True,
        own_completed=on_complete is not None and on_complete is not True,
        gone_failed=on_fail is True,
        own_failed=on_fail is not None and on_fail is not True,
        callback=options.callback_url is not None,
    )
