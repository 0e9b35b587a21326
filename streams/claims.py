"""A queue in the hands of a worker: claim, and everything that can be done with a claim.

The fencing token of a claim is its entry: an entry is delivered at most once, so it is pending for
its claimer or it is nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.spec import QueueSpec
from streams.connection import Redis
from streams.encode import CALL_BYTES, CALL_JOBS, INLINE_BYTES
from streams.job import Job
from streams.link import Link
from streams.notes import Notes
from streams.record import Header
from streams.scripts import SCRIPTS, Argument, Command
from streams.store import Store, exceptions

BLOCK_MS = 2_000
"""The longest an idle worker waits in Redis before it asks again."""


def place(lane: bytes, entry: bytes) -> bytes:
    """The pointer of a job that lies in a lane."""
    return b"b:" + entry if lane == b"-1" else lane + b":" + entry


@dataclass(slots=True)
class Claim:
    """The right to finish one job."""

    job: Job
    lane: bytes
    entry: bytes
    callback: bytes | None
    history: bytes | None

    @property
    def place(self) -> bytes:
        """The job's pointer while this claim holds."""
        return place(self.lane, self.entry)

    @property
    def origin(self) -> str:
        return f"{self.lane.decode()}.{self.entry.decode()}"


@dataclass(slots=True)
class Claimed:
    """What a claim brought. `word`: OK, PAUSED, LIMITED or FULL; `next_ms`: when it is worth
    asking again (-1: no idea); `now_ms`: the clock of Redis."""

    word: str
    now_ms: int
    next_ms: int
    claims: list[Claim]


@dataclass(slots=True)
class Ending:
    """A claim and what becomes of its job. `kind`: complete, retry, fail or release."""

    claim: Claim
    kind: str
    result: bytes = b"null"
    history: bytes = b"[]"
    delay_ms: int = 0
    charged: bool = True


def waited_ms(claims: Sequence[Claim]) -> list[int]:
    """Per claim, from when its job became waiting, which its entry tells, to the claim."""
    waited = [claim.job.claimed_ms - int(claim.entry.split(b"-", 1)[0]) for claim in claims]
    # A clock of Redis that was set back lets an entry come from the future.
    return waited if min(waited, default=0) >= 0 else [max(0, value) for value in waited]


class Claims(Notes):
    """The verbs of one worker on one queue. Only `claim` must not be sent twice."""

    def __init__(self, spec: QueueSpec, redis: Redis, worker: str) -> None:
        self.spec = spec
        self.redis = redis
        self.worker = worker
        self.store = Store(redis, spec.name)
        self._key = self.store.keys.prefix
        self._wake = self.store.keys["wake"]

    async def link(self) -> Link:
        """A connection of this worker's own, to wait on."""
        await self.store.open()
        return await self.redis.dedicated(self._key, BLOCK_MS / 1000)

    async def claim(
        self, link: Link, want: int, block_ms: int = 0, first: Sequence[Command] = ()
    ) -> tuple[Claimed, list[Any]]:
        """Up to `want` jobs, after `first` (settles) in the same write and after waiting up to
        `block_ms` for something to do. Raises Unavailable: whatever it brought is found by renew.
        """
        commands = [*first]
        if block_ms > 0:
            commands.append(("BZPOPMIN", self._wake, block_ms / 1000))
        commands.append(self.store.command("claim", worker=self.worker, want=want))
        replies = await link.run(*commands)
        settled = [
            await self.redis.judge(r, c) for r, c in zip(replies[: len(first)], first, strict=True)
        ]
        reply = await self.redis.judge(replies[-1], commands[-1])
        return self._decode(SCRIPTS["claim"].check(reply)), settled

    def _decode(self, reply: list[Any]) -> Claimed:
        now_ms, claims = reply[1], list[Claim]()
        for lane, entries in zip(reply[3::2], reply[4::2], strict=True):
            if lane == b"dead":
                self.redis.tally.buried.update((self.spec.name, r.decode()) for r in entries)
                continue
            for entry, flat in entries:
                callback = history = None
                for at in range(6, len(flat), 2):
                    if flat[at] == b"c":
                        callback = flat[at + 1]
                    elif flat[at] == b"x":
                        history = flat[at + 1]
                header = Header.parse(flat[3])
                job = Job(self.spec.name, flat[1].decode(), header, flat[5], now_ms)
                claims.append(Claim(job, lane, entry, callback, history))
        return Claimed(reply[0].decode(), now_ms, reply[2], claims)

    async def unblock(self, link: Link) -> None:
        """Make a waiting claim return now. Raises Refused where CLIENT UNBLOCK is not allowed: the
        wait then ends by itself within BLOCK_MS."""
        await self.redis.command("CLIENT", "UNBLOCK", link.client_id, key=self._key)

    async def payload(self, job: Job) -> Job:
        """The job with its payload, if that had been put aside."""
        if "B" not in job.header.flags:
            return job
        field = f"{job.id}:d"
        data = await self.redis.command("HGET", self.store.keys["blobs"], field, key=self._key)
        return job.with_data(data) if data is not None else job

    def settle(self, endings: Sequence[Ending]) -> list[tuple[Command, list[Ending]]]:
        """The calls that carry these endings out, each with the endings it covers."""
        calls: list[tuple[Command, list[Ending]]] = []
        for kind in ("complete", "retry", "fail", "release"):
            chosen = [ending for ending in endings if ending.kind == kind]
            while chosen:
                size = count = 0
                while count < len(chosen) and count < CALL_JOBS and size < CALL_BYTES:
                    size += len(chosen[count].result) + len(chosen[count].claim.job.body)
                    count += 1
                part, chosen = chosen[:count], chosen[count:]
                if kind == "complete":
                    part.sort(key=lambda ending: ending.claim.lane)
                    calls.append((self.store.command(kind, _completions(part)), part))
                else:
                    args = [arg for ending in part for arg in _ARGS[kind](ending)]
                    calls.append((self.store.command(kind, args), part))
        return calls

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Settles on the shared connection. May be repeated when it raises."""
        return await self.redis.run(self._key, *commands)

    @staticmethod
    def words(reply: Any, count: int) -> list[str]:
        """Per ending: OK, ALREADY (done before; the reply was lost) or LOST (no longer ours)."""
        return exceptions(reply, count)

    async def renew(self, claims: Sequence[Claim], stray_ms: int) -> "Renewed":
        """Keep the leases. Says which claims are lost, which jobs are to be cancelled, and which
        claims this worker holds without knowing."""
        args: list[Argument] = []
        for claim in claims:
            args += (claim.lane, claim.entry, claim.job.id)
        reply = await self.store.call("renew", args, worker=self.worker, stray_ms=stray_ms)
        return Renewed(
            lost=[claims[n - 1] for n in reply[2]],
            cancelled=[claims[n - 1] for n in reply[3]],
            strays=[
                (str(lane).encode(), entry)
                for lane, entry in zip(reply[4][::2], reply[4][1::2], strict=True)
            ],
        )

    async def release_strays(self, strays: Sequence[tuple[bytes, bytes]]) -> None:
        """Give back claims whose reply was lost on its way to this worker."""
        args: list[Argument] = []
        for lane, entry in strays:
            key = self.store.keys.lane(int(lane))
            found = await self.redis.command("XRANGE", key, entry, entry, key=self._key)
            if found:
                args += (lane, entry, found[0][1][1])
        if args:
            await self.store.call("release", args)

    async def heartbeat(self, info: dict[str, Any]) -> None:
        await self.store.call("heartbeat", worker=self.worker, info=orjson.dumps(info))

    async def leave(self) -> None:
        await self.store.call("leave", worker=self.worker)


@dataclass(slots=True)
class Renewed:
    lost: list[Claim]
    cancelled: list[Claim]
    strays: list[tuple[bytes, bytes]]


def _completions(endings: list[Ending]) -> list[Argument]:
    args: list[Argument] = []
    lane, count_at = b"", 0
    for ending in endings:
        claim = ending.claim
        if claim.lane != lane:
            lane = claim.lane
            args += (lane, 0)
            count_at = len(args) - 1
        args[count_at] += 1  # type: ignore[operator]
        job, flags = claim.job, claim.job.header.flags
        big = len(ending.result) > INLINE_BYTES
        header = job.header.moved(
            claim.origin, made=1, endings=1, flags=flags + "R" if big else flags
        )
        text = header.render(nonce="D" in flags)
        body = b'%b,"processedOn":%d,"returnvalue":%b}' % (
            job.body[:-1],
            job.claimed_ms,
            b"null" if big else ending.result,
        )
        args += (claim.entry, job.id, text, body)
        if "A" in flags:
            args.append(_number_after(flags, "A"))
        if big:
            args.append(ending.result)
        if claim.callback is not None and "C" in flags:
            args.append(_owed(claim, "completed", header, ending.result))
    return args


def _owed(claim: Claim, event: str, header: Header, value: bytes) -> bytes:
    """An outbox entry complete in itself: where to, what happened, and the result or error."""
    return b'{"to":%b,"event":"%b","ending":%d,"value":%b}' % (
        claim.callback or b"{}",
        event.encode(),
        header.endings,
        value,
    )


def _retry(ending: Ending) -> tuple[Argument, ...]:
    claim = ending.claim
    header = claim.job.header.moved(claim.origin, made=int(ending.charged), endings=0)
    text = header.render(nonce=bool(header.nonce))
    history = ending.history
    return (claim.lane, claim.entry, claim.job.id, text, history, ending.delay_ms)


def _fail(ending: Ending) -> tuple[Argument, ...]:
    claim = ending.claim
    header = claim.job.header.moved(claim.origin, made=1, endings=1)
    text = header.render(nonce="F" in header.flags)
    owed: bytes = b""
    if claim.callback is not None:
        owed = _owed(claim, "failed", header, orjson.dumps(orjson.loads(ending.history)[-1]))
    return (claim.lane, claim.entry, claim.job.id, text, ending.history, owed)


def _release(ending: Ending) -> tuple[Argument, ...]:
    claim = ending.claim
    return (claim.lane, claim.entry, claim.job.id)


_ARGS = {"retry": _retry, "fail": _fail, "release": _release}


def _number_after(flags: str, letter: str) -> int:
    digits = flags[flags.index(letter) + 1 :]
    end = next((n for n, c in enumerate(digits) if not c.isdigit()), len(digits))
    return int(digits[:end])
