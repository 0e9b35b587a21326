"""Loops over the engine's verbs: claim, execute, settle; and the upkeep of queues."""

from consumers.processor import Context, Processor, Reject, Resources, RetryLater
from consumers.worker import Worker

__all__ = ["Context", "Processor", "Reject", "Resources", "RetryLater", "Worker"]
