"""Counts what becomes of a worker's jobs, in plain numbers: a scrape reads them, jobs do not pay
for it. `consumers.metrics` says what they are called."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from consumers.events import (
    JobCompleted,
    JobFailed,
    JobLost,
    JobReleased,
    JobRetried,
    LoopBlocked,
    Taken,
)
from consumers.worker import Worker
from schemas.job import code_of
from schemas.metrics import (
    ATTEMPTS,
    DURATION_BUCKETS_S,
    MAILS,
    REASONS,
    WAIT_BUCKETS_S,
    WEBHOOKS,
    Row,
    Spread,
)

CODES = 40
"""Error codes counted apart for a queue: a handler may raise anything."""
OTHER = "other"
FOLD = 1_024
"""Jobs noted before their numbers are counted: many at once cost a fraction of one by one."""


def webhook_outcome(code: str) -> str:
    """One of schemas.metrics.WEBHOOKS for the code of a delivery that went wrong."""
    if code.startswith("http_"):
        outcome = "throttled" if code == "http_429" else f"http_{code[5:6]}xx"
        return outcome if outcome in WEBHOOKS else OTHER
    if code.endswith("timeout"):
        return "timeout"
    return _WEBHOOK_CODES.get(code, OTHER)


def mail_outcome(code: str) -> str:
    """One of schemas.metrics.MAILS for the code of a mail that did not go out."""
    return code if code in MAILS else OTHER


_WEBHOOK_CODES = {
    **dict.fromkeys(("destination_disabled", "destination_unavailable"), "disabled"),
    **dict.fromkeys(
        (
            *("dns_error", "connect_refused", "connect_failed", "tls_error", "connection_reset"),
            *("invalid_http_response", "response_headers_too_large", "proxy_error"),
        ),
        "unreachable",
    ),
    "blocked": "blocked",
    "redirect_not_followed": "redirect",
    "gone": "gone",
}


class Deliveries:
    """Attempts of a queue that delivers something, by a bounded set of outcomes."""

    def __init__(
        self, name: str, outcomes: tuple[str, ...], outcome_of: Callable[[str], str]
    ) -> None:
        self.name = name
        self.outcome_of = outcome_of
        self.success = outcomes[0]
        self.counts: Counter[str] = Counter(dict.fromkeys(outcomes, 0))


def _deliveries(queue: str) -> Deliveries | None:
    if queue == "webhooks":
        return Deliveries("credstream_webhook_attempts_total", WEBHOOKS, webhook_outcome)
    if queue == "emails":
        return Deliveries("credstream_mail_attempts_total", MAILS, mail_outcome)
    return None


class JobNumbers:
    """The numbers of one worker. Everything that can be counted begins at 0."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.queue = worker.spec.name
        self.attempts: Counter[str] = Counter(dict.fromkeys(ATTEMPTS, 0))
        self.reasons: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        """Of jobs whose last run was here."""
        self.codes: Counter[str] = Counter()
        self.blocked = 0
        self.duration = Spread(DURATION_BUCKETS_S)
        self.wait = Spread(WAIT_BUCKETS_S)
        self.deliveries = _deliveries(self.queue)
        self._waited_ms: list[int] = []
        self._completed_ms: list[int] = []

    def taken(self, event: Taken) -> None:
        self._waited_ms += event.waited_ms
        if len(self._waited_ms) >= FOLD:
            self._fold()

    def completed(self, event: JobCompleted) -> None:
        self._completed_ms.append(event.duration_ms)
        if len(self._completed_ms) >= FOLD:
            self._fold()

    def retried(self, event: JobRetried) -> None:
        self.duration.add(event.duration_ms / 1000)
        if event.error["reason"] == "later":
            self.attempts["later"] += 1
        else:
            self.attempts["retried"] += 1
            self._went_wrong(event.error)

    def failed(self, event: JobFailed) -> None:
        self.attempts["failed"] += 1
        self.duration.add(event.duration_ms / 1000)
        self.reasons[event.error["reason"]] += 1
        self._went_wrong(event.error)

    def released(self, _: JobReleased) -> None:
        self.attempts["released"] += 1

    def lost(self, _: JobLost) -> None:
        self.attempts["lost"] += 1

    def loop_blocked(self, _: LoopBlocked) -> None:
        self.blocked += 1

    def _went_wrong(self, error: dict[str, Any]) -> None:
        code = code_of(error)
        self.codes[code if code in self.codes or len(self.codes) < CODES else OTHER] += 1
        if self.deliveries is not None:
            self.deliveries.counts[self.deliveries.outcome_of(code)] += 1

    def _fold(self) -> None:
        """What was only noted while jobs ran joins the numbers."""
        waited_ms, self._waited_ms = self._waited_ms, []
        completed_ms, self._completed_ms = self._completed_ms, []
        self.wait.add_all_ms(waited_ms)
        self.duration.add_all_ms(completed_ms)
        self.attempts["completed"] += len(completed_ms)
        if self.deliveries is not None:
            self.deliveries.counts[self.deliveries.success] += len(completed_ms)

    def rows(self) -> Iterator[Row]:
        """The numbers under their names (schemas.metrics)."""
        self._fold()
        queue = (self.queue,)
        ended = {"completed": self.attempts["completed"], "failed": self.attempts["failed"]}
        for outcome, count in ended.items():
            yield Row("credstream_jobs_total", (self.queue, outcome), count)
        for outcome, count in self.attempts.items():
            yield Row("credstream_attempts_total", (self.queue, outcome), count)
        for code, count in self.codes.items():
            yield Row("credstream_attempt_errors_total", (self.queue, code), count)
        yield Row("credstream_job_duration_seconds", queue, self.duration)
        yield Row("credstream_job_wait_seconds", queue, self.wait)
        yield Row("credstream_event_loop_blocked_total", queue, self.blocked)
        slots, running = self.worker.concurrency, self.worker.running
        yield Row("credstream_worker_slots", queue, slots)
        yield Row("credstream_worker_running", queue, running)
        yield Row("credstream_worker_utilisation_ratio", queue, running / slots)
        if self.deliveries is not None:
            for outcome, count in self.deliveries.counts.items():
                yield Row(self.deliveries.name, (outcome,), count)


def attach(worker: Worker) -> JobNumbers:
    """Count what becomes of every job of a worker from now on."""
    numbers = JobNumbers(worker)
    for kind, hook in (
        (Taken, numbers.taken),
        (JobCompleted, numbers.completed),
        (JobRetried, numbers.retried),
        (JobFailed, numbers.failed),
        (JobReleased, numbers.released),
        (JobLost, numbers.lost),
        (LoopBlocked, numbers.loop_blocked),
    ):
        worker.hooks.listen(kind, hook)
    return numbers
