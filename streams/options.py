"""Options are resolved once, when a job is added: job, then queue, then default. Pure."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from schemas.job import DEFAULTS, Backoff, JobOptions, KeepFor


@dataclass(frozen=True, slots=True)
class Resolved:
    """What `add` needs to know of a job's options; `opts` is what is stored with the job."""

    priority: int
    delay_ms: int
    expires_ms: int
    flags: str
    opts: bytes


def _keep_flag(keep: bool | KeepFor | None, gone: str, kept: str, aged: str) -> str:
    if keep is True:
        return gone
    if keep is False:
        return kept
    return f"{aged}{keep.age * 1000}" if keep else ""


@lru_cache(maxsize=512)
def resolve(options: JobOptions | None, defaults: JobOptions) -> Resolved:
    """The options that hold for a job. `job_id`, `callback_url` are the caller's business."""
    merged = (options or JobOptions()).over(defaults).over(DEFAULTS)
    flags = (
        ("E" if merged.expires else "")
        + _keep_flag(merged.remove_on_complete, "D", "K", "A")
        + _keep_flag(merged.remove_on_fail, "F", "L", "X")
    )
    opts: dict[str, Any] = {
        name: value
        for name, value in merged.model_dump(by_alias=True, exclude_none=True).items()
        if name not in ("jobId", "callbackUrl") and not (name == "delay" and value == 0)
    }
    if merged.backoff is not None:
        opts["backoff"] = merged.backoff.model_dump(exclude_defaults=True) | {
            "type": merged.backoff.type,
            "delay": merged.backoff.delay,
        }
    return Resolved(
        priority=int(merged.priority or 0),
        delay_ms=merged.delay or 0,
        expires_ms=merged.expires or 0,
        flags=flags,
        opts=orjson.dumps(opts),
    )


@lru_cache(maxsize=512)
def _backoff(kind: str, delay: int, jitter: float, most: int | None) -> Backoff:
    return Backoff.model_validate({"type": kind, "delay": delay, "jitter": jitter, "max": most})


def backoff_of(opts: dict[str, Any]) -> Backoff:
    """The backoff stored with a job."""
    stored = opts.get("backoff") or {}
    return _backoff(
        stored.get("type", "exponential"),
        stored.get("delay", 2_000),
        stored.get("jitter", 0.0),
        stored.get("max"),
    )
