"""Answers to requests under an idempotency key, for requests that are not submissions (API-5).

Submissions write theirs down in the script that adds the jobs (`streams.once`). What other requests
do is spread over scripts, so here a key is claimed before, and the answer is kept after. What the
request is about to do (which jobs, which new id) can be written down as its plan; the scripts that
have the effect write down themselves that they had it (`lua/_once.lua`). Who dies in between leaves
a claim that runs out; the next request with the key takes up the plan, does what has not been done,
and gives the answer that the first one would have given.
"""

import secrets
from dataclasses import dataclass, replace
from typing import Any

from streams import keys
from streams.connection import Redis
from streams.errors import KeyReused
from streams.once import OnceKey
from streams.scripts import Argument
from streams.store import change

LEASE_MS = 60_000
"""How long a request may take before another one with its key is done."""
KEEP_MS = 24 * 3_600_000


class Running(Exception):
    """The first request with this key has not been answered yet."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The right to answer."""

    key: OnceKey
    nonce: str
    plan: bytes = b""
    """What an earlier request was about to do; empty: there was none, or it had none."""

    @property
    def mark(self) -> str:
        """The name under which scripts write down what they have done for this request."""
        return f"{self.key.digest}:{self.key.fingerprint[:16]}"


async def claim(redis: Redis, key: OnceKey) -> Claimed | bytes:
    """The right to answer, or what was answered. Raises Running, KeyReused, Unavailable."""
    claimed = Claimed(key, secrets.token_hex(8))
    reply = await _call(redis, "answer_claim", claimed, lease_ms=LEASE_MS)
    if reply[0] == b"DIFFERS":
        raise KeyReused("the idempotency key was used for another request")
    if reply[0] == b"RUNNING":
        raise Running(key.digest)
    if reply[0] == b"ANSWERED":
        return bytes(reply[1])
    return replace(claimed, plan=bytes(reply[1]))


async def plan(redis: Redis, claimed: Claimed, text: bytes) -> bytes:
    """Write down what is about to be done; answers what is written there. Raises Running when the
    claim has run out and somebody else has the key, Unavailable."""
    reply = await _call(
        redis, "answer_plan", claimed, plan=text, lease_ms=LEASE_MS, keep_ms=KEEP_MS
    )
    if reply[0] == b"LOST":
        raise Running(claimed.key.digest)
    return bytes(reply[1]) if reply[0] == b"ALREADY" else text


async def keep(redis: Redis, claimed: Claimed, said: bytes) -> None:
    """Remember an answer for 24 hours, unless somebody else has the key. Raises Unavailable."""
    await _call(redis, "answer_keep", claimed, said=said, keep_ms=KEEP_MS)


async def drop(redis: Redis, claimed: Claimed, *, refused: bool) -> None:
    """Give the key free: it was refused, or (its plan stays) came to no end. Raises Unavailable."""
    at = keys.answer(claimed.key.digest)
    flag = "1" if refused else ""
    await change(redis, at, "answer_drop", nonce=claimed.nonce, refused=flag)


async def _call(redis: Redis, script: str, claimed: Claimed, **args: Argument) -> list[Any]:
    at, digest = keys.answer(claimed.key.digest), claimed.key.fingerprint
    return await change(redis, at, script, (), digest=digest, nonce=claimed.nonce, **args)
