"""One verb on many jobs: each job's change is its own transition, all of a call in few writes."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from streams.connection import Lost
from streams.scripts import SCRIPTS, Argument, Command
from streams.store import Store, enter
from streams.upkeep_index import UpkeepIndex

WRITE_JOBS = 100
"""Scripts that go in one write: other clients wait for no more than these."""


class Verb(StrEnum):
    """What can be done to many jobs."""

    RETRY = "retry"
    REMOVE = "remove"
    CANCEL = "cancel"
    PROMOTE = "promote"


_SCRIPTS = {
    Verb.RETRY: "revive",
    Verb.REMOVE: "remove",
    Verb.CANCEL: "cancel",
    Verb.PROMOTE: "advance",
}
_WORDS = {
    b"OK": "done",
    b"CANCELLING": "cancelling",
    b"MISSING": "missing",
    b"ACTIVE": "active",
    b"LOOP": "looping",
}
DONE = frozenset({"done", "cancelling"})
"""The words of jobs that the verb has had its effect on."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How `retry` is to be done; other verbs know no terms."""

    interval_ms: float = 0
    """Between one job and the next: they are spread over time as delayed jobs."""
    most_endings: int | None = None
    """Jobs that have ended more often stay where they are; None: without bound."""

    def of(self, number: int) -> dict[str, Argument]:
        """Those of one job, as its script takes them."""
        bound = "" if self.most_endings is None else self.most_endings
        return {"delay_ms": round(number * self.interval_ms), "most_endings": bound}


async def act(
    store: Store,
    verb: Verb,
    ids: Sequence[str],
    terms: Terms = Terms(),
    *,
    who: bytes = b"",
    once: str = "",
) -> list[str]:
    """Do it to every job, in this order; per job `done`, `cancelling`, `missing`, `looping`, or
    the state that forbids it.

    May be repeated: what is done is then told by its state; under the same `once` (a hash of an
    idempotency key) as it was told the first time, and nothing is done to it again. `who`
    (`streams.audit.Deed`) is recorded once, beside the first effect. Raises Unavailable: any part
    may have been done."""
    await store.ready()
    if who:
        await enter(store.redis, store.keys)
    store = store.under(once) if once else store
    words: list[str] = []
    for at in range(0, len(ids), WRITE_JOBS):
        part = ids[at : at + WRITE_JOBS]
        commands = [
            store.command(
                _SCRIPTS[verb],
                (),
                id=job_id,
                **(terms.of(at + number) if verb is Verb.RETRY else {}),
                who=who,
                once=once and job_id,
            )
            for number, job_id in enumerate(part)
        ]
        words += await _send(store, verb, commands)
    return words


async def _send(store: Store, verb: Verb, commands: list[Command]) -> list[str]:
    again = False
    try:
        replies = await store.redis.run(store.keys.prefix, *commands)
    except Lost:
        again = True
        await store.redis.unreachable()
        replies = await store.redis.run(store.keys.prefix, *commands)
    script = SCRIPTS[_SCRIPTS[verb]]
    if verb is Verb.CANCEL:
        count = sum(reply[0] == b"OK" for reply in replies if isinstance(reply, list))
        store.redis.tally.buried[store.keys.tag, "cancelled"] += count
        await UpkeepIndex(store.redis).hasten(store.keys.tag)
    return [_word(verb, script.check(reply), again=again) for reply in replies]


def _word(verb: Verb, reply: list[Any], *, again: bool) -> str:
    """`again`: the first of two calls may have done it."""
    word = _WORDS.get(reply[0]) or reply[1].decode()
    if again and word == "missing" and verb is Verb.REMOVE:
        return "done"
    begun = {"waiting", "delayed", "active", "completed"}
    if again and word in begun and verb in {Verb.RETRY, Verb.PROMOTE}:
        return "done"
    if again and word == "failed" and verb is Verb.CANCEL:
        return "done"
    return word
