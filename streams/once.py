"""Submissions under an idempotency key: what was answered is written down by the script that adds
the jobs, so there is no moment with the jobs and without the key, or the other way round."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from schemas.identity import is_automatic
from schemas.job import State
from streams.encode import Batch
from streams.errors import KeyReused
from streams.job import Added


@dataclass(frozen=True, slots=True)
class OnceKey:
    """An idempotency key in its scope."""

    digest: str
    """A hash of the key and its scope (who, which path). Remembered for 24 hours."""
    fingerprint: str
    """A hash of what is submitted under it."""

    def line(self, number: int, text: bytes) -> "OnceKey":
        """The key of one line (from 0) of many; the first one is what a single job would be."""
        name = f"{self.digest}:l{number}" if number else self.digest
        return OnceKey(name, hashlib.sha256(text).hexdigest())

    def part(self, number: int) -> str:
        """The name of a submission's call to Redis, of which a long one needs several."""
        return f"{self.digest}:{number}" if number else self.digest


def said(key: OnceKey, nonce: str, batch: Batch) -> bytes:
    """What is written down before the answer is known."""
    late = "".join("1" if delayed else "0" for delayed in batch.delayed)
    return orjson.dumps([nonce, key.fingerprint, late, batch.ids])


def answered(key: OnceKey, nonce: str, reply: Sequence[Any]) -> tuple[list[Added], bool]:
    """What an earlier call answered, from its KEPT; False when that was this one, whose reply was
    lost. Raises KeyReused when it was about something else."""
    first_nonce, fingerprint, late, ids = orjson.loads(reply[1])
    if fingerprint != key.fingerprint:
        raise KeyReused("the idempotency key was used for another submission")
    words = reply[2].decode().split()
    known = {int(n): State(word) for n, word in zip(words[::2], words[1::2], strict=True)}
    fresh = {"0": State.WAITING, "1": State.DELAYED}
    found = [
        Added(job_id, known.get(n) or fresh[mark], n in known)
        for n, (job_id, mark) in enumerate(zip(ids, late, strict=True), 1)
    ]
    return found, first_nonce != nonce


def added(batch: Batch, reply: Sequence[Any]) -> list[Added]:
    """What became of the jobs of a call."""
    found = [
        Added(job_id, State.DELAYED if late else State.WAITING, False)
        for job_id, late in zip(batch.ids, batch.delayed, strict=True)
    ]
    for index, state in zip(reply[2::2], reply[3::2], strict=True):
        ref = batch.ids[index - 1]
        # Nobody else has this automatic id: the job is from the first call, whose reply was lost.
        found[index - 1] = Added(ref, State(state.decode()), not is_automatic(ref))
    return found
