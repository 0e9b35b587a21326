"""The seed's log lines. Never a payload: ids, names of queues and error messages only."""

import logging
from typing import Any

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
from streams import Job

logger = logging.getLogger("credstream.jobs")


def attach(worker: Worker) -> None:
    """Log what becomes of every job of a worker, and trouble once when it begins."""
    queue = worker.spec.name
    troubled = False

    def extra(job: Job, duration_ms: int | None = None) -> dict[str, Any]:
        return {"queue": queue, "job_id": job.id, "duration_ms": duration_ms}

    def log(event: Event) -> None:
        nonlocal troubled
        match event:
            case JobCompleted(job, _, took_ms):
                logger.info("✅ [%s] Job %s completed", queue, job.id, extra=extra(job, took_ms))
            case JobFailed(job, error, took_ms):
                text = error["message"]
                logger.error(
                    "❌ [%s] Job %s failed: %s", queue, job.id, text, extra=extra(job, took_ms)
                )
            case JobRetried(job, error, delay_ms, took_ms):
                logger.log(
                    *_again(error),
                    *(queue, job.id, delay_ms, error["message"]),
                    extra=extra(job, took_ms),
                )
            case JobReleased(job):
                logger.info(
                    "↩️ [%s] Job %s given back: this worker stops", queue, job.id, extra=extra(job)
                )
            case JobLost(job):
                logger.warning(
                    "⚠️ [%s] Job %s lost to another worker", queue, job.id, extra=extra(job)
                )
            case Trouble(error):
                if not troubled:
                    logger.warning("⚠️ [%s] %s; trying again", queue, error, extra={"queue": queue})
        troubled = isinstance(event, Trouble)

    worker.hooks.add(log)


def _again(error: dict[str, Any]) -> tuple[int, str]:
    """Level and words. Who is put off has not failed, and a thousand may wait for one slow
    destination."""
    if error["reason"] == "later":
        return logging.DEBUG, "⏳ [%s] Job %s put off for %d ms: %s"
    return logging.WARNING, f"🔁 [%s] Job %s attempt {error['attempt']} failed, next in %d ms: %s"
