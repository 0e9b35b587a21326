"""Credstream: a job-queue system for credential platforms on Redis Streams.

    from credstream import Queue, Worker, connect

    queue = Queue("custom-queue", connect())
    await queue.add("greet", {"name": "Ada"}, attempts=5)

    async def greet(job):
        return {"greeting": f"Hello, {job.data['name']}"}

    await Worker("custom-queue", greet, concurrency=10).run()

The names below are imported when first used: a producer never loads the worker, and the command
line starts fast.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consumers import (
        Context,
        NotConfigured,
        Processor,
        Reject,
        Resources,
        Retry,
        RetryLater,
        Worker,
    )
    from credstream.client import Client
    from credstream.connecting import connect
    from credstream.names import QueueName
    from credstream.queues import queue_manager
    from schemas.job import Backoff, JobOptions, JobPriority, State
    from schemas.spec import Limiter, QueueSpec, Retention
    from streams import Job, NewJob, Queue

__version__ = "0.1.0"

__all__ = [
    "Backoff",
    "Client",
    "Context",
    "Job",
    "JobOptions",
    "JobPriority",
    "Limiter",
    "NewJob",
    "NotConfigured",
    "Processor",
    "Queue",
    "QueueName",
    "QueueSpec",
    "Reject",
    "Resources",
    "Retention",
    "Retry",
    "RetryLater",
    "State",
    "Worker",
    "__version__",
    "connect",
    "queue_manager",
]

_HOMES = {
    "consumers": (
        *("Context", "NotConfigured", "Processor", "Reject", "Resources"),
        *("Retry", "RetryLater", "Worker"),
    ),
    "credstream.client": ("Client",),
    "credstream.connecting": ("connect",),
    "credstream.names": ("QueueName",),
    "credstream.queues": ("queue_manager",),
    "schemas.job": ("Backoff", "JobOptions", "JobPriority", "State"),
    "schemas.spec": ("Limiter", "QueueSpec", "Retention"),
    "streams": ("Job", "NewJob", "Queue"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name on first use (PEP 562)."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
