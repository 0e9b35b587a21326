"""A queue in which everything there is lies somewhere, and a typical call of every script."""

from dataclasses import dataclass
from typing import Any

import orjson
from by_hand import BOOM, Hand, clock_ms, clock_passes

from schemas.identity import JobRef
from schemas.job import JobOptions, KeepFor, State
from schemas.spec import Limiter, QueueSpec
from streams import NewJob, Queue, Redis
from streams.audit import Deed
from streams.claims import Claim, Ending
from streams.encode import batches
from streams.endings import Gate
from streams.keys import GROUP
from streams.scripts import Command
from streams.upkeep import Upkeep

SPEC = QueueSpec("populated")
GATE = Gate("ab", 0)
HOOK = "https://example.com/hook"
BIG = "x" * 40_000
HISTORY = orjson.dumps([BOOM])
WHO = Deed("operator", "test", "populated").encode()
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "owing": {"callback_url": HOOK},
    "dropped": {"remove_on_complete": True, "remove_on_fail": True},
    "aged": {"remove_on_complete": KeepFor(age=60), "remove_on_fail": KeepFor(age=60)},
    "kept": {"remove_on_complete": False, "remove_on_fail": False},
}


def job(job_id: str, data: dict[str, Any] | None = None, **options: Any) -> NewJob:
    return NewJob("work", data or {}, JobOptions(**options), ref=job_id)


@dataclass
class Populated:
    """The queue and who holds what in it."""

    queue: Queue
    hand: Hand
    active: dict[str, Claim]
    """Claims that are held, by job: `run-<kind>`, `run-big`, `run-back`, `run-marked`."""
    suspect: Claim
    """The claim of a job that runs alone, because two workers died of it."""
    passed: list[Claim]
    """Claims that are held no more: their jobs were given back, retried, have failed."""

    def settle(self, kind: str, *claims: Claim, gate: Gate | None = None) -> Command:
        """One call that ends all of these."""
        result = orjson.dumps(BIG if kind == "complete" else None)
        endings = [Ending(c, kind, result, HISTORY, delay_ms=5, gate=gate) for c in claims]
        ((command, _),) = self.hand.claims.settle(endings)
        return command

    def add(self, script: str, *jobs: NewJob, once: bytes = b"") -> Command:
        (batch,) = batches(SPEC, jobs)
        return self.queue.store.command(script, batch.args, nonce="n", again=1, once=once, room="")


async def populate(redis: Redis) -> Populated:
    """Make it. Nothing in it depends on the moment: what is due is due by an hour or is not."""
    queue, hand = Queue(SPEC, redis), Hand(redis, SPEC)
    await _ended(queue, hand)
    suspect = await _suspects(queue, hand)
    passed = await _moved_on(queue, hand)
    active = await _active(queue, hand)
    await queue.add_many([job("back-1", priority=3), job("back-2", priority=3)])
    given_back = await hand.take(2)
    await hand.release(*given_back)
    await queue.add_many(
        [
            *(job(f"wait-{kind}", priority=4, **KINDS[kind]) for kind in KINDS),
            job("wait-big", {"text": BIG}, priority=10),
            job("due", delay=1, priority=2),
            job("due-owing", delay=1, priority=7, callback_url=HOOK),
            job("far", delay=3_600_000, **KINDS["owing"]),
            job("late", expires=1, priority=6, callback_url=HOOK),
        ]
    )
    await queue.cancel(JobRef("run-marked"))
    other = Hand(redis, SPEC, "long-gone")
    await other.claims.heartbeat({})
    await hand.claims.heartbeat({"queue": SPEC.name})
    await hand.claims.progress(active["run-plain"], 50)
    await hand.claims.log(active["run-plain"], "half way")
    await clock_passes(redis, SPEC.name, await clock_ms(redis, SPEC.name) + 2)
    return Populated(queue, hand, active, suspect, [*passed, *given_back])


async def _suspects(queue: Queue, hand: Hand) -> Claim:
    """Two jobs that a worker died of wait; one that two workers died of runs."""
    keys, upkeep = queue.store.keys, Upkeep(SPEC, queue.redis)
    for name in ("poison", "suspect-1", "suspect-2"):
        await queue.add_many([job(name, priority=2)])
        for _ in range(2 if name == "poison" else 1):
            claims = await hand.take(1) or await hand.isolate()
            idle = ("IDLE", SPEC.lease_ms, "JUSTID")
            lane = keys.lane(int(claims[0].lane))
            await queue.redis.command(
                "XCLAIM", lane, GROUP, "by-hand", 0, claims[0].entry, *idle, key=keys.prefix
            )
            await upkeep.reclaim()
    (suspect,) = await hand.isolate()
    return suspect


async def _moved_on(queue: Queue, hand: Hand) -> list[Claim]:
    """One job waits out a backoff, one has failed, and one was delivered and is nobody's."""
    await queue.add_many([job(name, priority=0) for name in ("retried", "went-wrong", "orphan")])
    retried, wrong, orphan = await hand.take()
    await hand.retry(retried, delay_ms=3_600_000, gate=GATE)
    await hand.fail(wrong)
    keys = queue.store.keys
    await queue.redis.command("XACK", keys.lane(0), GROUP, orphan.entry, key=keys.prefix)
    return [retried, wrong]


async def _ended(queue: Queue, hand: Hand) -> None:
    for how in ("done", "dead"):
        names = [*KINDS, "big"]
        options = KINDS | {"big": {}}
        data = {"big": {"text": BIG}}
        await queue.add_many(
            [job(f"{how}-{n}", data.get(n), priority=0, **options[n]) for n in names]
            + [NewJob("work", {}, JobOptions(priority=0), ref=f"~cb:{how}")]
        )
        claims = await hand.take()
        if how == "done":
            await hand.complete(*claims, result=BIG)
        else:
            await hand.fail(*claims)


async def _active(queue: Queue, hand: Hand) -> dict[str, Claim]:
    await queue.add_many([job("run-back", priority=1)])
    await hand.release(await hand.take_one())
    held = await hand.take(1)
    await queue.add_many(
        [
            *(job(f"run-{kind}", priority=5, **KINDS[kind]) for kind in KINDS),
            job("run-big", {"text": BIG}, priority=1),
            job("run-marked", priority=8, callback_url=HOOK),
        ]
    )
    held += await hand.take()
    return {claim.job.id: claim for claim in held}


async def limit(made: Populated) -> None:
    """Put limits on the queue. Three grants of the limiter lie in a window long past. No suspect
    runs, so that others may."""
    queue, keys = made.queue, made.queue.store.keys
    await queue.set_limits(Limiter(1_000, 60_000), 1_000)
    await queue.redis.command("RPUSH", keys["limit"], "1:2", "2:1", key=keys.prefix)
    await queue.redis.command("HSET", keys["meta"], "granted", 3, key=keys.prefix)
    await made.hand.release(made.suspect)


async def set_clock_back(made: Populated) -> None:
    """Everything that was noted by the clock lies in the future."""
    await limit(made)
    keys, later_ms = made.queue.store.keys, await clock_ms(made.queue.redis, SPEC.name) + 9_999_999
    duties = ("promote", "reclaim", "prune", "sweep")
    noted = [word for duty in duties for word in (f"next:{duty}", later_ms)]
    (dropped,) = await made.queue.redis.command("LRANGE", keys["gone"], 0, 0, key=keys.prefix)
    for command in (
        ("HSET", keys["meta"], *noted),
        ("LSET", keys["limit"], 0, f"{later_ms}:2"),
        ("LSET", keys["gone"], 0, f"{later_ms} {dropped.decode().partition(' ')[2]}"),
    ):
        await made.queue.redis.command(*command, key=keys.prefix)


async def commands(made: Populated) -> dict[str, Command]:
    """A call of every script, several of those that can do different things, by name."""
    store, held = made.queue.store, made.active
    mine = [claim for name, claim in held.items() if name != "run-marked"]
    stray = [arg for c in mine for arg in (c.lane, c.entry, c.job.ref)]
    plain = held["run-plain"]
    fresh = [
        job("new-1"),
        job("new-2", {"text": BIG}, callback_url=HOOK, priority=9),
        job("new-3", delay=1_000, callback_url=HOOK),
        *(job(known) for known in ("done-plain", "run-plain", "run-back", "wait-plain", "far")),
        job("done-dropped", remove_on_complete=True),
    ]
    (entry, *_), *_ = await store.redis.command(
        "XRANGE", store.keys["outbox"], "-", "+", key=store.keys.prefix
    )
    calls = {
        "acknowledge": store.command("acknowledge", (entry, "dead-owing", "~cb:dead-owing")),
        "gates": store.command("gates", most=9, held_ms=5_000, longest_ms=60_000),
        "unpark": store.command("unpark", gate=GATE.name, most=9, look_ms=0),
        "unpark none": store.command("unpark", gate=GATE.name, most=0, look_ms=0),
        "retry parked": made.settle("retry", *mine, gate=GATE),
        "add": made.add("add", *fresh),
        "add once": made.add("add", *fresh, once=b"[]"),
        "forward": made.add("forward", *fresh),
        "claim": store.command("claim", worker="other", want=100),
        "claim one": store.command("claim", worker="other", want=1),
        "clean completed": store.command(
            "clean", state=State.COMPLETED, grace_ms=0, after="", most=500, who=WHO, once=""
        ),
        "clean failed": store.command(
            "clean", state=State.FAILED, grace_ms=0, after="", most=500, who=WHO, once=""
        ),
        "control pause": store.command("control", ("paused", 1), event="paused", who=WHO, once=""),
        "control limits": store.command(
            "control",
            ("max", "", "duration", "", "concurrency", 3),
            event="limits",
            who=WHO,
            once="",
        ),
        "counts": store.command("counts", silent_ms=10_000),
        "heartbeat": store.command("heartbeat", worker="other", slots=1, info=b"{}"),
        "isolate": store.command("isolate", worker="other", parent="by-hand", want=8),
        "isolate taken": store.command("isolate", worker="other", parent="nobody", want=8),
        "leave": store.command("leave", worker="by-hand"),
        "leave idle": store.command("leave", worker="long-gone"),
        "lookup": store.command("lookup", ("nobody", "run-plain")),
        "note progress": store.command(
            "note", id="run-plain", place=plain.place, kind="p", value=b"1", most=1, room=0
        ),
        "note line": store.command(
            "note", id="run-plain", place=plain.place, kind="l", value=b'"x"', most=100, room=16384
        ),
        "open": store.command("open", layout=2),
        "promote": store.command("promote", interval_ms=1_000),
        "prune": store.command(
            "prune", completed_ms=0, completed_count=1, failed_ms=0, failed_count=1, interval_ms=9
        ),
        "reclaim": _reclaim(made, max_stalls=3),
        "reclaim poison": _reclaim(made, max_stalls=1),
        "refuse": store.command("refuse", id="~cb:refused", body=b"{}", message=b'"no"'),
        "renew": store.command("renew", stray, worker="by-hand", stray_ms=0),
        "since": store.command("since", after="0-1", most=10),
        "sweep": store.command("sweep", silent_ms=0, idle_ms=0, interval_ms=1_000),
        "tick": store.command("tick", ("c", 2, "w3", 1), keep_ms=60_000),
        "tick on": store.command("tick", ("f", 1, "w3", 1), keep_ms=60_000),
        "causes": store.command("causes", cursor="", take=3),
        "outbox": store.command("outbox", begin="-", most=2),
        "upkeep": _upkeep(made),
        "drain": store.command("drain", with_delayed=0, most=500, who=WHO, once=""),
        "drain delayed": store.command("drain", with_delayed=1, most=500, who=WHO, once=""),
        "causes none": store.command("causes", cursor="", take=0),
    }
    many = [*held, *(f"{place}-plain" for place in ("done", "dead", "wait")), "far", "nobody"]
    for detail in ("state", "result", "data"):
        calls[f"outcomes {detail}"] = store.command("outcomes", many, detail=detail)
    for state in ("completed", "failed", "delayed", "waiting", "active"):
        calls[f"page {state}"] = store.command("page", state=state, cursor="", skip=1, take=3)
    for kind in ("complete", "retry", "fail", "release"):
        calls[kind] = made.settle(kind, *mine)
        calls[f"{kind} late"] = made.settle(kind, *mine, *made.passed)
    for name in ("run-plain", "wait-owing", "wait-dropped", "far", "back-1"):
        calls[f"cancel {name}"] = store.command("cancel", id=name, who=WHO, once="")
    for name in ("dead-plain", "dead-aged", "wait-plain"):
        for delay_ms, late in ((0, ""), (9_000, " later")):
            calls[f"revive {name}{late}"] = store.command(
                "revive", id=name, delay_ms=delay_ms, most_endings=5, who=WHO, once=""
            )
    for name in ("far", "retried", "wait-plain", "run-plain", "done-plain"):
        calls[f"advance {name}"] = store.command("advance", id=name, who=WHO, once="")
    marked = store.under("by-key")
    calls["control once"] = marked.command(
        "control", ("paused", 1), event="paused", who=WHO, once="paused"
    )
    calls["clean once"] = marked.command(
        "clean", state=State.COMPLETED, grace_ms=0, after="", most=500, who=WHO, once="clean 0"
    )
    for name in ("cancel", "advance", "remove"):
        calls[f"{name} once"] = marked.command(name, id="far", who=WHO, once="far")
    calls["revive once"] = marked.command(
        "revive", id="dead-plain", delay_ms=0, most_endings=5, who=WHO, once="dead-plain"
    )
    for name, priority in (("far", 0), ("wait-big", 0), ("wait-plain", 4), ("back-1", 3)):
        calls[f"prioritize {name}"] = store.command(
            "prioritize", id=name, priority=priority, who=WHO
        )
    for name in ("wait-plain", "wait-big", "back-1", "far", "run-plain", "done-plain"):
        calls[f"why {name}"] = store.command("why", id=name, most=2, silent_ms=10_000)
    for name in ("wait-big", "far", "done-big", "dead-kept", "back-1", "~cb:done", "run-plain"):
        calls[f"remove {name}"] = store.command("remove", id=name, who=WHO, once="")
    return calls


def _upkeep(made: Populated) -> Command:
    duties = dict.fromkeys(("promote_ms", "reclaim_ms", "prune_ms", "sweep_ms"), 1_000)
    limits = ("completed_ms", "completed_count", "failed_ms", "failed_count")
    return made.queue.store.command("upkeep", **duties, **dict.fromkeys(limits, 5), idle_ms=3_000)


def _reclaim(made: Populated, max_stalls: int) -> Command:
    return made.queue.store.command(
        "reclaim", lease_ms=0, max_stalls=max_stalls, interval_ms=1_000, most=250
    )
