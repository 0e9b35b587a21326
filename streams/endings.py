"""The ending of a claim, and how it is told to Redis. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import orjson

from streams.claim import Claim
from streams.encode import CALL_BYTES, CALL_JOBS, INLINE_BYTES
from streams.record import Header
from streams.scripts import Argument

KINDS = ("complete", "retry", "fail", "release")
Words = tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Gate:
    """What a parked job waits for (`streams.parking`). The name has no colon."""

    name: str
    look_ms: int
    """There is no room before: then the gate is looked at."""


@dataclass(slots=True)
class Ending:
    """A claim and what becomes of its job. `kind`: complete, retry, fail or release."""

    claim: Claim
    kind: str
    result: bytes = b"null"
    history: bytes = b"[]"
    delay_ms: int = 0
    charged: bool = True
    started: bool = True
    """Whether the handler was called: a job given back before that keeps its time of expiry."""
    gate: Gate | None = None
    """A job to retry is parked there."""
    _words: Words | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def words(self) -> Words:
        """This job's part of the script's arguments; encoded once, when first asked for."""
        if self._words is None:
            self._words = _WORDS[self.kind](self)
        return self._words


def parts(endings: list[Ending]) -> Iterator[list[Ending]]:
    """Cut into what one call may carry."""
    while endings:
        size = count = 0
        while count < len(endings) and count < CALL_JOBS and size < CALL_BYTES:
            size += len(endings[count].result) + len(endings[count].claim.job.body)
            count += 1
        part, endings = endings[:count], endings[count:]
        yield part


def arguments(kind: str, endings: Sequence[Ending]) -> list[Argument]:
    """The arguments of one call; completions, which must be in the order of their lanes, are led
    by lane and count."""
    args: list[Argument] = []
    lane, count_at = b"", 0
    for ending in endings:
        if kind == "complete":
            if ending.claim.lane != lane:
                lane = ending.claim.lane
                args += (lane, 0)
                count_at = len(args) - 1
            args[count_at] += 1  # type: ignore[operator]
        args += ending.words
    return args


def _complete(ending: Ending) -> Words:
    claim = ending.claim
    job, flags = claim.job, claim.job.header.flags
    big = len(ending.result) > INLINE_BYTES
    header = job.header.moved(claim.origin, made=1, endings=1, flags=flags + "R" if big else flags)
    text = header.render(nonce="D" in flags)
    body = b'%b,"processedOn":%d,"returnvalue":%b}' % (
        job.body[:-1],
        job.claimed_ms,
        b"null" if big else ending.result,
    )
    words = (claim.entry, job.ref, text, body)
    if not flags and not big:
        return words
    more: list[Argument] = []
    if "A" in flags:
        more.append(_number_after(flags, "A"))
    if big:
        more.append(ending.result)
    if claim.callback is not None and "C" in flags:
        more.append(_owed(claim, "completed", header, ending.result))
    return (*words, *more)


def _owed(claim: Claim, event: str, header: Header, value: bytes) -> bytes:
    """An outbox entry complete in itself: where to, what happened, and the result or error."""
    return b'{"to":%b,"event":"%b","ending":%d,"value":%b}' % (
        claim.callback or b"{}",
        event.encode(),
        header.endings,
        value,
    )


def _retry(ending: Ending) -> Words:
    claim = ending.claim
    header = claim.job.header.moved(claim.origin, made=int(ending.charged), endings=0)
    text = header.render(nonce=bool(header.nonce))
    history, gate = ending.history, ending.gate
    where = (gate.name, gate.look_ms) if gate else ("", 0)
    return (claim.lane, claim.entry, claim.job.ref, text, history, ending.delay_ms, *where)


def _fail(ending: Ending) -> Words:
    claim = ending.claim
    header = claim.job.header.moved(claim.origin, made=1, endings=1)
    text = header.render(nonce="F" in header.flags)
    owed: bytes = b""
    if claim.callback is not None:
        owed = _owed(claim, "failed", header, orjson.dumps(orjson.loads(ending.history)[-1]))
    return (claim.lane, claim.entry, claim.job.ref, text, ending.history, owed)


def _release(ending: Ending) -> Words:
    claim = ending.claim
    return (claim.lane, claim.entry, claim.job.ref, int(ending.started))


_WORDS = {"complete": _complete, "retry": _retry, "fail": _fail, "release": _release}


def _number_after(flags: str, letter: str) -> int:
    digits = flags[flags.index(letter) + 1 :]
    end = next((n for n, c in enumerate(digits) if not c.isdigit()), len(digits))
    return int(digits[:end])
