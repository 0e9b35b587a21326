"""The seed's log lines. Never a payload: ids, names of queues and error messages only."""

import logging

from consumers.events import (
    Event,
    JobCompleted,
    JobFailed,
    JobLost,
    JobReleased,
    JobRetried,
    Trouble,
)
from consumers.worker import Worker

logger = logging.getLogger("credstream.jobs")


def attach(worker: Worker) -> None:
    """Log what becomes of every job of a worker, and trouble once when it begins."""
    queue = worker.spec.name
    troubled = False

    def log(event: Event) -> None:
        nonlocal troubled
        match event:
            case JobCompleted(job):
                logger.info("✅ [%s] Job %s completed", queue, job.id)
            case JobFailed(job, error):
                logger.error("❌ [%s] Job %s failed: %s", queue, job.id, error["message"])
            case JobRetried(job, error, delay_ms):
                logger.warning(
                    "🔁 [%s] Job %s attempt %d failed, next in %d ms: %s",
                    *(queue, job.id, error["attempt"], delay_ms, error["message"]),
                )
            case JobReleased(job):
                logger.info("↩️ [%s] Job %s given back: this worker stops", queue, job.id)
            case JobLost(job):
                logger.warning("⚠️ [%s] Job %s lost to another worker", queue, job.id)
            case Trouble(error):
                if not troubled:
                    logger.warning("⚠️ [%s] %s; trying again", queue, error)
        troubled = isinstance(event, Trouble)

    worker.hooks.add(log)
