"""Ids of jobs and batches: who makes them, and how they are written inside and outside of Redis
(docs/protocol.md, "Identity of jobs").

Inside, the first characters say what kind an id is: `~` derived by Credstream, `<scope>:` chosen by
a submitter, else automatic. Outside, chosen ids have no scope.
"""

import base64
import hashlib
import json
import re
from functools import lru_cache

DERIVED = "~"
"""How derived ids begin. No submission can bring one."""
BATCH = "~b:"
"""How the ids of a batch's jobs begin; the id of the batch and the number of the job follow."""
SCOPE_CHARS = 16
AUTOMATIC_CHARS = 26
SHOWN_MAX_CHARS = 192
"""The longest id outside: that of a batch's job, with room for more kinds."""
INSIDE_MAX_CHARS = SHOWN_MAX_CHARS + SCOPE_CHARS + 1
_HASH_BYTES = 10
"""16 digits of base32hex, 80 bits."""
_AUTOMATIC = re.compile(rf"[0-9a-v]{{{AUTOMATIC_CHARS}}}(?:\.[0-9]{{1,9}})?")
"""Also the number of a job behind an automatic id of a batch."""
_SCOPED = re.compile(rf"(?:[0-9a-v]{{{SCOPE_CHARS}}})?:.+", re.DOTALL)


class JobRef(str):
    """The id of a job, or of a batch, inside Redis: no two have the same, whoever chose it."""

    __slots__ = ()

    @property
    def shown(self) -> str:
        """The id outside."""
        return shown_id(self)


def shown_id(ref: str) -> str:
    """The id outside of what is called `ref` inside: without the scope."""
    first = ref[0]
    if first == DERIVED:
        return BATCH + shown_id(ref[len(BATCH) :]) if ref.startswith(BATCH) else ref
    if first == ":":
        return ref[1:]
    return ref[SCOPE_CHARS + 1 :] if ref[SCOPE_CHARS : SCOPE_CHARS + 1] == ":" else ref


def is_automatic(ref: str) -> bool:
    """Whether this id inside was made for a job without an id of its own."""
    return len(ref) == AUTOMATIC_CHARS and _AUTOMATIC.fullmatch(ref) is not None


@lru_cache(maxsize=4_096)
def scope_of(organization_id: str | None) -> str:
    """The scope of the ids that an organization chooses; empty for the platform (None)."""
    return "" if organization_id is None else digest(f"organization:{organization_id}")


def chosen_ref(organization_id: str | None, chosen: str) -> JobRef:
    """The id inside of what an organization, or the platform (None), calls `chosen`."""
    return JobRef(f"{scope_of(organization_id)}:{chosen}")


def candidates(organization_id: str | None, shown: str) -> tuple[JobRef, ...]:
    """Every id inside that `shown` can be for an organization, the likeliest first: its own choice,
    an automatic id, a choice of the platform. The caller must see whose the found one is.

    For the platform (None): its own choice, or any id as it is inside (`ref` in answers)."""
    if shown.startswith(BATCH):
        batches = candidates(organization_id, shown[len(BATCH) :])
        return tuple(JobRef(BATCH + batch) for batch in batches)
    if shown.startswith(DERIVED):
        return (JobRef(shown),)
    found = [chosen_ref(organization_id, shown)]
    if _AUTOMATIC.fullmatch(shown) or (organization_id is None and _SCOPED.fullmatch(shown)):
        found.append(JobRef(shown))
    if organization_id is not None:
        found.append(chosen_ref(None, shown))
    return tuple(found)


def refs_of(job_id: str) -> tuple[JobRef, ...]:
    """Every id inside that an argument can mean for the platform; a JobRef means itself."""
    return (job_id,) if isinstance(job_id, JobRef) else candidates(None, job_id)


def batch_job_ref(batch: str, number: int) -> JobRef:
    """The id inside of a job of a batch; `batch` is the id of the batch inside."""
    return JobRef(f"{BATCH}{batch}.{number}")


def callback_id(queue: str, entry: str, ending: tuple[str, str, int]) -> JobRef:
    """The id of the webhooks job that reports an ending.

    `entry` is the outbox entry; `ending` is the job's id inside, when it was added (epoch ms) and
    how often it has ended: after a failover that lost writes, an entry of the same id may be about
    another ending. A queue's name has no colon."""
    return JobRef(f"{DERIVED}cb:{queue}:{entry}:{digest(json.dumps(ending))}")


def publication_id(list_id: str, version: int) -> JobRef:
    """The id of the job that publishes this version of a status list."""
    return JobRef(f"{DERIVED}st:{list_id}.{version}")


def inspection_id(list_id: str, slot_end_ms: int) -> JobRef:
    """The id of the job that publishes a status list if a change in this slot was left behind."""
    return JobRef(f"{DERIVED}st:{list_id}.after.{slot_end_ms}")


def digest(text: str) -> str:
    """A short hash: 16 digits of base32hex in lower case."""
    raw = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:_HASH_BYTES]
    return base64.b32hexencode(raw).decode().lower()
