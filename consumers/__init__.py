"""Loops over the engine's verbs: claim, execute, settle; and the upkeep of queues."""

from consumers.processor import (
    Context,
    NotConfigured,
    Processor,
    Reject,
    Resources,
    Retry,
    RetryLater,
)
from consumers.worker import Worker

__all__ = [
    "Context",
    "NotConfigured",
    "Processor",
    "Reject",
    "Resources",
    "Retry",
    "RetryLater",
    "Worker",
]
