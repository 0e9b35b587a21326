"""What Redis has spent and holds, and percentiles: the measuring both Python sides share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class Usage:
    """One look at Redis: CPU seconds since it started, bytes in use now."""

    cpu_s: float
    memory_bytes: int


def usage(socket: Path) -> Usage:
    """Ask Redis; the connection is made and closed for it."""
    with Redis(unix_socket_path=str(socket)) as client:
        cpu, memory = client.info("cpu"), client.info("memory")
    spent = float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])
    return Usage(spent, int(memory["used_memory"]))


def cpu_us_per_job(before: Usage, after: Usage, jobs: int) -> float:
    """Redis CPU microseconds for each of `jobs` between two looks."""
    return (after.cpu_s - before.cpu_s) / jobs * MICROSECONDS


def bytes_per_job(before: Usage, after: Usage, jobs: int) -> float:
    """How many bytes more Redis holds for each of `jobs` between two looks."""
    return (after.memory_bytes - before.memory_bytes) / jobs


def spread(samples_ms: Sequence[float]) -> dict[str, float]:
    """The median and the 99th percentile of milliseconds, under the names both sides print."""
    ordered = sorted(samples_ms)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, math.floor(len(ordered) * share))]

    return {"p50_ms": at(0.5), "p99_ms": at(0.99)}
