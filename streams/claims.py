"""A queue in the hands of a worker: claim, and everything that can be done with a claim.

The fencing token of a claim is its entry: an entry is delivered at most once, so it is pending for
its claimer or it is nothing. Only a failover that forgets a claim delivers an entry again; the hash
of the worker's name in the token tells the two claims apart.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from redis.exceptions import AskError, ResponseError

from schemas.spec import QueueSpec
from streams.claim import Claim, Claimed, place, waited_ms
from streams.connection import Redis
from streams.endings import KINDS, Ending, arguments, parts
from streams.errors import Refused
from streams.job import Job
from streams.link import Link
from streams.notes import Notes
from streams.scripts import SCRIPTS, Argument, Command
from streams.sealing import FLAG, open_stored, seal_result
from streams.shared_wait import SharedWaits, shared_waits
from streams.store import Store, exceptions

__all__ = ["BLOCK_MS", "Claim", "Claimed", "Claims", "Ending", "Renewed", "place", "waited_ms"]

BLOCK_MS = 4_000
"""The longest an idle worker waits in Redis before it asks again."""
RENEWED_A_CALL = 1_000
STRAYS_A_CALL = 16
"""Records have some 64 KiB at most, so a call moves a mebibyte."""


class Claims(Notes):
    """The verbs of one worker on one queue. Only `claim` must not be sent twice."""

    def __init__(self, spec: QueueSpec, redis: Redis, worker: str) -> None:
        self.spec = spec
        self.redis = redis
        self.worker = worker
        self.token = hashlib.blake2s(worker.encode(), digest_size=3).hexdigest()
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
        if any(isinstance(reply, AskError) for reply in replies):  # a MovedError is one, too
            # The node of this connection has not got the queue: the next one asks who has.
            await link.close()
        is_wait_refused = block_ms > 0 and isinstance(replies[-2], ResponseError)
        is_woken = block_ms > 0 and isinstance(replies[-2], list)
        settled = await self._judge(replies[: len(first)], first)
        reply = await self.redis.judge(replies[-1], commands[-1])
        claimed = self._claimed(SCRIPTS["claim"].check(reply), 4)
        claimed.has_suspects = reply[3] == 1
        claimed.is_wait_refused = is_wait_refused
        claimed.needs_upkeep |= is_woken and not claimed.lanes
        return claimed, settled

    async def isolate(self, parent: str, want: int) -> Claimed:
        """Up to `want` suspects, for a process that holds nothing else. `parent`: the worker that
        was told to start this one. Raises Unavailable: whatever it brought is found by renew."""
        reply = await self.store.once("isolate", worker=self.worker, parent=parent, want=want)
        return self._claimed(reply, 3)

    def _claimed(self, reply: list[Any], first: int) -> Claimed:
        """A reply whose lanes begin at `first`; counts what was buried on the way."""
        lanes = list(zip(reply[first::2], reply[first + 1 :: 2], strict=True))
        has_buried = bool(lanes) and lanes[-1][0] == b"dead"
        if has_buried:
            reasons = lanes.pop()[1]
            self.redis.tally.buried.update((self.spec.name, reason.decode()) for reason in reasons)
        about = (reply[0].decode(), reply[1], reply[2], self.spec.name, self.token)
        return Claimed(*about, lanes, needs_upkeep=has_buried)

    @property
    def shared(self) -> SharedWaits:
        """What this worker may share a wait with."""
        return shared_waits(self.redis)

    async def shared_link(self) -> Link:
        """The connection that is everybody's, for a claim that does not wait."""
        return await self.redis.link(self._key)

    async def wait_with_others(self, limit_ms: int) -> bool:
        """Wait for something to do on a connection that is shared by many idle workers."""
        return await self.shared.wait(self._wake, limit_ms / 1000)

    async def unblock(self, link: Link) -> None:
        """Make a waiting claim return now. Raises Refused where CLIENT UNBLOCK is not allowed: the
        wait then ends by itself within BLOCK_MS."""
        await self.redis.command("CLIENT", "UNBLOCK", link.client_id, key=self._key)

    async def payload(self, job: Job) -> Job:
        """The job with its payload, if that had been put aside or is sealed. Raises SealedError."""
        if "B" in job.header.flags:
            field = f"{job.ref}:d"
            data = await self.redis.command("HGET", self.store.keys["blobs"], field, key=self._key)
            job = job.with_data(data) if data is not None else job
        if FLAG in job.header.flags:
            cipher = self.redis.cipher
            job = job.with_value(open_stored(cipher, job.queue, job.ref, "data", job.data))
        return job

    def seal(self, ending: Ending) -> Ending:
        """The ending with its result sealed, if its job is. Raises SealingUnavailable."""
        job = ending.claim.job
        if ending.kind == "complete" and FLAG in job.header.flags:
            ending.result = seal_result(self.redis.cipher, job.queue, job.ref, ending.result)
        return ending

    def settle(self, endings: Sequence[Ending]) -> list[tuple[Command, list[Ending]]]:
        """The calls that carry these endings out, each with the endings it covers."""
        calls: list[tuple[Command, list[Ending]]] = []
        for kind in KINDS:
            for part in parts([ending for ending in endings if ending.kind == kind]):
                if kind == "complete":
                    part.sort(key=_lane)
                args = arguments(kind, part)
                calls.append((self.store.command(kind, args, token=self.token), part))
        return calls

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Settles on the shared connection: per call its reply, or Refused as an element, so that
        one call does not stop the others. May be repeated when it raises."""
        link = await self.redis.link(self._key)
        return await self._judge(await link.run(*commands), commands)

    async def _judge(self, replies: Sequence[Any], commands: Sequence[Command]) -> list[Any]:
        """Per call its reply or Refused. Raises Unavailable."""
        judged: list[Any] = []
        for reply, command in zip(replies, commands, strict=True):
            try:
                judged.append(await self.redis.judge(reply, command))
            except Refused as error:
                judged.append(error)
        return judged

    @staticmethod
    def words(reply: Any, count: int) -> list[str]:
        """Per ending: OK, ALREADY (done before; the reply was lost) or LOST (no longer ours)."""
        return exceptions(reply, count)

    async def renew(self, claims: Sequence[Claim], stray_ms: int) -> "Renewed":
        """Keep the leases. Says which claims are lost, which jobs are to be cancelled, and which
        claims this worker holds without knowing."""
        found = Renewed([], [], [])
        for at in range(0, max(1, len(claims)), RENEWED_A_CALL):
            part = claims[at : at + RENEWED_A_CALL]
            is_last = at + RENEWED_A_CALL >= len(claims)
            args = [word for c in part for word in (c.lane, c.entry, c.job.ref)]
            reply = await self.store.call(
                "renew", args, worker=self.worker, stray_ms=stray_ms if is_last else ""
            )
            found.lost += [part[n - 1] for n in reply[2]]
            found.cancelled += [part[n - 1] for n in reply[3]]
            pairs = zip(reply[4][::2], reply[4][1::2], strict=True)
            found.strays += [(str(lane).encode(), entry) for lane, entry in pairs]
        if len(claims) > RENEWED_A_CALL:
            named = {(claim.lane, claim.entry) for claim in claims}
            found.strays = [stray for stray in found.strays if stray not in named]
        return found

    async def release_strays(self, strays: Sequence[tuple[bytes, bytes]]) -> None:
        """Give back claims whose reply was lost on its way to this worker. If it arrives all the
        same, what is done with such a claim is answered LOST."""
        for at in range(0, len(strays), STRAYS_A_CALL):
            part = strays[at : at + STRAYS_A_CALL]
            keys = [self.store.keys.lane(int(lane)) for lane, _ in part]
            reads = [("XRANGE", k, e, e) for k, (_, e) in zip(keys, part, strict=True)]
            args: list[Argument] = []
            for (lane, entry), found in zip(
                part, await self.redis.run(self._key, *reads), strict=True
            ):
                if found:
                    args += (lane, entry, found[0][1][1], 0)
            if args:
                await self.store.call("release", args, token="")

    async def heartbeat(self, info: dict[str, Any]) -> None:
        await self.store.call(
            "heartbeat",
            worker=self.worker,
            slots=info.get("slots", 0),
            info=orjson.dumps(info),
        )

    async def leave(self) -> None:
        await self.store.call("leave", worker=self.worker)


def _lane(ending: Ending) -> bytes:
    return ending.claim.lane


@dataclass(slots=True)
class Renewed:
    lost: list[Claim]
    cancelled: list[Claim]
    strays: list[tuple[bytes, bytes]]
