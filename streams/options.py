"""Options are resolved once, when a job is added: job, then queue, then default. Pure."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from schemas.job import DEFAULTS, Backoff, JobOptions, KeepFor
from streams.backoff import DURABLE_MS


@dataclass(frozen=True, slots=True)
class Resolved:
    """What `add` needs to know of a job's options; `opts` is what is stored with the job: those
    that differ from the defaults of this layout, as JSON; empty when none does."""

    priority: int
    delay_ms: int
    expires_ms: int
    flags: str
    opts: bytes


def _shown(options: JobOptions) -> dict[str, Any]:
    """Options by their wire names, as people are shown them."""
    shown: dict[str, Any] = options.model_dump(
        by_alias=True, exclude_none=True, exclude={"job_id", "callback_url"}
    )
    if options.backoff is not None:
        basics = {"type": options.backoff.type, "delay": options.backoff.delay}
        shown["backoff"] = basics | options.backoff.model_dump(exclude_defaults=True)
    return shown


STANDARD = _shown(DEFAULTS)
"""What holds for an option a record of this layout does not name. Part of the layout: changing a
default means a new layout number."""


def opts_of(document: dict[str, Any]) -> dict[str, Any]:
    """All options of a stored job, by their wire names."""
    opts: dict[str, Any] = STANDARD | document.get("opts", {})
    if not opts["delay"]:
        del opts["delay"]
    return opts


def _keep_flag(keep: bool | KeepFor | None, gone: str, kept: str, aged: str) -> str:
    if keep is True:
        return gone
    if keep is False:
        return kept
    return f"{aged}{keep.age * 1000}" if keep else ""


def _patient(options: JobOptions) -> JobOptions:
    """The durable schedule brings its number of attempts along."""
    durable = options.backoff is not None and options.backoff.type == "durable"
    if not durable or options.attempts is not None:
        return options
    return JobOptions(attempts=len(DURABLE_MS) + 1).over(options)


@lru_cache(maxsize=512)
def resolve(options: JobOptions | None, defaults: JobOptions) -> Resolved:
    """The options that hold for a job. `job_id`, `callback_url` are the caller's business."""
    merged = _patient(options or JobOptions()).over(_patient(defaults)).over(DEFAULTS)
    flags = (
        ("E" if merged.expires else "")
        + _keep_flag(merged.remove_on_complete, "D", "K", "A")
        + _keep_flag(merged.remove_on_fail, "F", "L", "X")
    )
    opts = {name: value for name, value in _shown(merged).items() if STANDARD.get(name) != value}
    return Resolved(
        priority=int(merged.priority or 0),
        delay_ms=merged.delay or 0,
        expires_ms=merged.expires or 0,
        flags=flags,
        opts=orjson.dumps(opts) if opts else b"",
    )


@lru_cache(maxsize=512)
def _backoff(kind: str, delay: int, jitter: float, most: int | None) -> Backoff:
    return Backoff.model_validate({"type": kind, "delay": delay, "jitter": jitter, "max": most})


def backoff_of(opts: dict[str, Any]) -> Backoff:
    """The backoff stored with a job."""
    stored = opts["backoff"]
    return _backoff(stored["type"], stored["delay"], stored.get("jitter", 0.0), stored.get("max"))
