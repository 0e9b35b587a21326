"""How long a failed attempt waits. Pure."""

from zlib import crc32

from schemas.job import MAX_DELAY_MS, Backoff

_S, _MIN, _H = 1_000, 60_000, 3_600_000
DURABLE_MS = (5 * _S, 5 * _MIN, 30 * _MIN, 2 * _H, 5 * _H, 10 * _H, 14 * _H, 20 * _H, 24 * _H)
"""The example schedule of Standard Webhooks 1.0.0: 75 h 35 min in all (WH-16)."""


def delay_ms(backoff: Backoff, attempt: int, chance: float = 0.0) -> int:
    """Milliseconds to wait after failed attempt number `attempt` (1, 2, ...).

    `chance` in 0..1 places the wait within the jitter, which only ever lengthens it.

    >>> [delay_ms(Backoff(), n) for n in (1, 2, 3)]
    [2000, 4000, 8000]
    >>> delay_ms(Backoff(type="fixed", delay=500, jitter=0.2), 7, chance=0.5)
    550
    >>> delay_ms(Backoff(max=10_000), 40)
    10000
    """
    wait = backoff.delay
    if backoff.type == "durable":
        wait = DURABLE_MS[min(attempt, len(DURABLE_MS)) - 1]
    elif backoff.type == "exponential":
        wait = min(wait << min(attempt - 1, 40), MAX_DELAY_MS)
    if backoff.max is not None:
        wait = min(wait, backoff.max)
    return int(wait * (1 + backoff.jitter * chance))


def jitter_chance(job_id: str, attempt: int) -> float:
    """Where in the jitter the wait after an attempt lies, 0..1. It follows from job and attempt, so
    that whoever asks, at whatever time, gets the wait that is used.

    >>> jitter_chance("job-1", 1) == jitter_chance("job-1", 1) != jitter_chance("job-1", 2)
    True
    """
    return crc32(f"{attempt}:{job_id}".encode()) / 0xFFFF_FFFF
