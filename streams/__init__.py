"""The engine: verbs over Redis Streams. It never sleeps, reads no environment but Redis' own
settings, and knows no HTTP."""

from schemas.job import JobView
from streams import errors
from streams.connection import Redis, connect
from streams.job import Added, Job, NewJob
from streams.queue import Counts, Queue, queue_names
from streams.settings import RedisSettings

__all__ = [
    "Added",
    "Counts",
    "Job",
    "JobView",
    "NewJob",
    "Queue",
    "Redis",
    "RedisSettings",
    "connect",
    "errors",
    "queue_names",
]
