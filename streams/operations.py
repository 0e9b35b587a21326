"""What operators do to a queue and to its jobs."""

from itertools import count
from typing import Literal

from schemas.identity import JobRef, shown_id
from schemas.job import State
from schemas.spec import Limiter
from streams.errors import Looping, NotFound, WrongState
from streams.store import Store
from streams.upkeep_index import UpkeepIndex

CLEAN_JOBS = 500
"""Jobs one call of `clean` looks at."""


class Operations:
    """The part of a queue that changes what is there.

    `who`: the operator's deed (`streams.audit.Deed`), recorded by the script that has the effect,
    if it has one. `once`: the name of a call (a hash of its idempotency key); under it the verb has
    its effect once in 24 hours, and says later what it said then. `job_id`: an id inside Redis
    (JobRef), or one as the platform knows it (any other string). Every verb may be repeated, and
    may raise Unavailable.
    """

    name: str
    store: Store

    async def ref_of(self, job_id: str) -> JobRef:
        """The id inside Redis of the job that `job_id` means for the platform."""
        raise NotImplementedError

    async def pause(self, *, who: bytes = b"", once: str = "") -> None:
        """No worker starts a job until `resume`; running ones finish, adds are accepted."""
        await self._control(("paused", 1), "paused", who, once)

    async def resume(self, *, who: bytes = b"", once: str = "") -> None:
        """Undo `pause`."""
        await self._control(("paused", ""), "resumed", who, once)

    async def set_limits(
        self,
        limiter: Limiter | None = None,
        concurrency: int | None = None,
        backlog: int | Literal["kept"] | None = "kept",
        *,
        who: bytes = b"",
    ) -> None:
        """Starts per time window and jobs active at once, over all workers, and jobs that have not
        ended; None lifts a limit, and `kept` leaves that of the backlog as it is."""
        changes: tuple[str | int, ...] = (
            *("max", limiter.max if limiter else ""),
            *("duration", limiter.duration if limiter else ""),
            *("concurrency", concurrency or ""),
            *(() if backlog == "kept" else ("backlog", backlog or "")),
        )
        await self._control(changes, "limits", who)

    async def _control(
        self, changes: tuple[str | int, ...], event: str, who: bytes, once: str = ""
    ) -> None:
        store = self._marking(once)
        await store.call("control", changes, event=event, who=who, once=once and event)

    async def clean(
        self,
        grace_ms: int = 0,
        state: State = State.COMPLETED,
        most: int | None = None,
        *,
        who: bytes = b"",
        once: str = "",
    ) -> int:
        """Remove ended jobs that ended at least `grace_ms` ago; answers how many."""
        store, removed, after = self._marking(once), 0, b""
        for number in count():
            room = CLEAN_JOBS if most is None else min(CLEAN_JOBS, most - removed)
            reply = await store.call(
                "clean",
                state=state,
                grace_ms=grace_ms,
                after=after,
                most=room,
                who=who,
                once=once and f"clean {number}",
            )
            removed += int(reply[1])
            who = b"" if removed else who  # one record, beside the first effect
            after = reply[2]
            if not after or removed == most:
                break
        return removed

    async def drain(
        self,
        *,
        with_delayed: bool = False,
        most: int | None = None,
        who: bytes = b"",
        once: str = "",
    ) -> tuple[int, bool]:
        """Remove jobs that have not started: waiting ones, and on request delayed ones. They owe
        no callback. Answers how many, and whether `most` left others."""
        store, removed = self._marking(once), 0
        for number in count():
            room = CLEAN_JOBS if most is None else min(CLEAN_JOBS, most - removed)
            reply = await store.call(
                "drain",
                with_delayed=int(with_delayed),
                most=room,
                who=who,
                once=once and f"drain {number}",
            )
            removed += int(reply[1])
            who = b"" if removed else who  # one record, beside the first effect
            if not int(reply[2]) or removed == most:
                break
        return removed, bool(int(reply[2]))

    async def remove(self, job_id: str, *, who: bytes = b"") -> None:
        """Remove a job that is not running. Raises NotFound, WrongState (active: cancel it)."""
        ref = await self.ref_of(job_id)
        reply, again = await self.store.twice("remove", id=ref, who=who, once="")
        if reply[0] == b"MISSING" and not again:
            raise self._unknown(job_id)
        if reply[0] == b"ACTIVE":
            raise WrongState(f"job {shown_id(job_id)} is running; cancel it first", "active")

    async def revive(
        self,
        job_id: str,
        *,
        delay_ms: int = 0,
        most_endings: int | None = None,
        who: bytes = b"",
        once: str = "",
    ) -> State:
        """Run a failed job again with all its attempts, after `delay_ms`.

        Raises NotFound, WrongState, Looping when it has ended more often than `most_endings`."""
        bound = "" if most_endings is None else most_endings
        ref = await self.ref_of(job_id)
        reply, again = await self._marking(once).twice(
            "revive",
            id=ref,
            delay_ms=delay_ms,
            most_endings=bound,
            who=who,
            once=once and ref,
        )
        intended = State.DELAYED if delay_ms > 0 else State.WAITING
        if reply[0] == b"LOOP":
            raise Looping(f"job {shown_id(job_id)} has failed {int(reply[1])} times")
        done = (State.WAITING, State.DELAYED, State.ACTIVE, State.COMPLETED)
        return self._moved(job_id, reply, intended, done if again else ())

    async def advance(self, job_id: str, *, who: bytes = b"", once: str = "") -> State:
        """Let a delayed job wait for a worker now. Raises NotFound, WrongState."""
        store, ref = self._marking(once), await self.ref_of(job_id)
        reply, again = await store.twice("advance", id=ref, who=who, once=once and ref)
        done = (State.WAITING, State.ACTIVE, State.COMPLETED)
        return self._moved(job_id, reply, State.WAITING, done if again else ())

    async def prioritize(self, job_id: str, priority: int, *, who: bytes = b"") -> State:
        """Give a waiting or delayed job another priority (0..10); a waiting one goes to the end of
        those that have it. Raises NotFound, WrongState."""
        ref = await self.ref_of(job_id)
        reply = await self.store.call("prioritize", id=ref, priority=priority, who=who)
        state = State(reply[1].decode()) if reply[0] == b"OK" else State.WAITING
        return self._moved(job_id, reply, state, ())

    async def cancel(self, job_id: str, *, who: bytes = b"", once: str = "") -> str:
        """Stop a job: `cancelled` when it had not started, `cancelling` when its worker has been
        told. Raises NotFound, WrongState when it has ended."""
        store, ref = self._marking(once), await self.ref_of(job_id)
        reply, again = await store.twice("cancel", id=ref, who=who, once=once and ref)
        if reply[0] == b"MISSING":
            raise self._unknown(job_id)
        if reply[0] == b"ENDED" and again and reply[1] == b"failed":
            return "cancelled"  # by the call whose reply was lost
        if reply[0] == b"ENDED":
            state = reply[1].decode()
            raise WrongState(f"job {shown_id(job_id)} has ended: it is {state}", state)
        if reply[0] != b"OK":
            return "cancelling"
        self.store.redis.tally.buried[self.name, "cancelled"] += 1
        await UpkeepIndex(self.store.redis).hasten(self.name)
        return "cancelled"

    def _marking(self, once: str) -> Store:
        return self.store.under(once) if once else self.store

    def _moved(
        self, job_id: str, reply: list[bytes], intended: State, done: tuple[State, ...]
    ) -> State:
        """The state a verb has brought about. `done`: where the first of two calls can have brought
        the job."""
        if reply[0] == b"MISSING":
            raise self._unknown(job_id)
        if reply[0] == b"WRONG" and reply[1].decode() not in done:
            state = reply[1].decode()
            raise WrongState(
                f"job {shown_id(job_id)} is {state}, and this is not for {state} jobs", state
            )
        return intended

    def _unknown(self, job_id: str) -> NotFound:
        return NotFound(f"queue {self.name} has no job {shown_id(job_id)}")
