"""Everything the engine raises.

CredstreamError
├── Unavailable          Redis cannot be reached, is loading, failing over or read-only: try again
│   ├── BacklogFull      the queue has as many unfinished jobs as it may: nothing was stored
│   ├── Full             Redis is out of memory: submissions are refused until there is room
│   ├── NotDurable       stored, but not on as many replicas as the durability level asks for
│   ├── SealingUnavailable  the queue seals its jobs, and this process has no key
│   └── SealedError      what is stored is sealed and cannot be opened here
├── NotFound             no such job
├── WrongState           the job is not where the verb needs it (carries `.state`)
├── Looping              the job has failed too often to be run again without being forced
├── KeyReused            an idempotency key that belongs to another submission
├── LostClaim            the job is no longer ours: its lease was lost, another worker has it
├── QueueInUse           a queue with active jobs or live workers, which only force deletes
├── TooBig               payload or result above the limit
├── InvalidValue         a value that cannot be stored as JSON
├── BadPage              an offset deeper than pages go; use a cursor
├── Refused              Redis refused a command it should not have: wrong type, missing permission
│   └── EncodingError    an argument that no command can carry: nothing was sent
└── LayoutError          the data in Redis has another layout than this version reads
"""


class CredstreamError(Exception):
    """Base of every error of the engine."""


class Unavailable(CredstreamError):
    """Redis did not do it and nothing is known to be stored; the call may be repeated."""

    retry_after_ms = 1_000


class Full(Unavailable):
    """Redis has reached maxmemory: add is refused, workers go on."""

    retry_after_ms = 5_000


class BacklogFull(Unavailable):
    """A submission does not fit below the queue's backlog limit: nothing of it was stored."""

    retry_after_ms = 5_000

    def __init__(self, queue: str, limit: int) -> None:
        super().__init__(
            f"Queue {queue} holds as many jobs that have not ended as it may ({limit}), or would "
            "with these. Nothing was queued: try again later, or with fewer jobs."
        )


class NotDurable(Unavailable):
    """The primary has it, too few replicas do. The call may be repeated and adds nothing twice
    when its jobs have ids or an idempotency key."""


class SealingUnavailable(Unavailable):
    """The queue seals what is stored, and this process has no key for it: nothing was stored."""


class SealedError(Unavailable):
    """A payload or result is sealed under a key that this process has not got."""


class NotFound(CredstreamError):
    """No job with this id in this queue."""


class WrongState(CredstreamError):
    """The job exists, but not in a state this verb applies to."""

    def __init__(self, message: str, state: str) -> None:
        super().__init__(message)
        self.state = state


class Looping(CredstreamError):
    """The job has come back to the dead letters again and again."""


class KeyReused(CredstreamError):
    """What was submitted under this idempotency key before was something else."""


class LostClaim(CredstreamError):
    """This worker no longer holds the job."""


class QueueInUse(CredstreamError):
    """The queue cannot be deleted without force: it has active jobs or live workers."""

    def __init__(self, queue: str, active: int, workers: int) -> None:
        super().__init__(
            f"Queue {queue} has {active} active jobs and {workers} live workers. Stop the workers "
            "and wait for the jobs, or delete it with force=true."
        )


class TooBig(CredstreamError):
    """A payload or result exceeds the limit."""


class InvalidValue(CredstreamError, ValueError):
    """A value that JSON cannot represent, or one nested too deep or too large to be stored."""


class BadPage(CredstreamError):
    """The page lies deeper than offsets go."""


class Refused(CredstreamError):
    """Redis refused a command: a key of another type, a missing permission. For operators; the
    text is Redis' own and is not for clients."""


class EncodingError(Refused):
    """An argument of a command has a type or text that cannot be encoded; nothing was sent."""


class LayoutError(CredstreamError):
    """`meta.layout` is not the one that this version reads."""
