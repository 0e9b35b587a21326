"""Every metric there is: name, type, labels and what it says. Rules, dashboards and autoscalers
are checked against this table; consumers and gateway export nothing that is not in it.

Labels are bounded: no job, organization or URL is ever a label. Beside these a process exports
`process_*` and `python_*` as the client library of Prometheus names them.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from schemas.job import State

Kind = Literal["counter", "gauge", "histogram"]
Side = Literal["worker", "gateway", "scheduler"]

WAIT_BUCKETS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600)
DURATION_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
HTTP_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

STATES = tuple(state.value for state in State)
OUTCOMES = ("completed", "failed")
ATTEMPTS = ("completed", "retried", "failed", "later", "released", "lost")
REASONS = (
    *("failed", "rejected", "timeout", "later"),
    *("cancelled", "expired", "stalled", "callback"),
)
"""Why a job became a dead letter: attempts spent, permanent, its last run took too long, put off
too often, cancelled, not started in time, its workers died, its callback could not be queued."""
REDIS_ERRORS = ("unreachable", "lost", "not_now", "full", "refused")
"""No connection; a connection that ended before the reply; loading, failing over or read-only;
out of memory; a command that Redis does not allow."""
WEBHOOKS = (
    *("delivered", "http_4xx", "http_5xx", "throttled", "redirect", "gone"),
    *("blocked", "timeout", "unreachable", "disabled", "other"),
)
"""`blocked`: the guard against calls into private networks refused the address."""
MAILS = (
    *("accepted", "relay_deferred", "relay_unavailable", "relay_tls_failed", "relay_auth_failed"),
    *("recipient_refused", "message_refused", "recipient_suppressed", "ambiguous", "other"),
)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric as it is scraped; a histogram also has `_bucket`, `_sum` and `_count`."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    sides: tuple[Side, ...]
    help: str
    buckets_s: tuple[float, ...] = ()


_WORKER: tuple[Side, ...] = ("worker",)
_GATEWAY: tuple[Side, ...] = ("gateway",)
_ALL: tuple[Side, ...] = ("worker", "gateway", "scheduler")
_UPKEEP: tuple[Side, ...] = ("worker", "scheduler")
_QUEUE = ("queue",)

METRICS: tuple[Metric, ...] = (
    # What a process is and how it does.
    Metric("credstream_build_info", "gauge", ("version", "role"), _ALL, "What runs here: 1."),
    Metric(
        "credstream_durability_met",
        "gauge",
        ("level",),
        _ALL,
        "Whether Redis keeps what the configured durability level promises (checked at start).",
    ),
    Metric(
        "credstream_event_loop_lag_seconds",
        "gauge",
        (),
        _ALL,
        "The longest that the event loop came late in the last 15 seconds.",
    ),
    Metric("credstream_redis_up", "gauge", (), _ALL, "Whether Redis took a write just now."),
    Metric(
        "credstream_redis_latency_seconds",
        "gauge",
        (),
        _ALL,
        "How long that write took, with the wait for the event loop.",
    ),
    Metric("credstream_redis_errors_total", "counter", ("kind",), _ALL, "Errors of Redis by kind."),
    # What a process did to jobs.
    Metric(
        "credstream_jobs_added_total",
        "counter",
        _QUEUE,
        _ALL,
        "Jobs this process stored; a job that existed already does not count.",
    ),
    Metric(
        "credstream_dead_letters_total",
        "counter",
        ("queue", "reason"),
        _ALL,
        "Jobs this process moved to the dead letters, by reason.",
    ),
    Metric(
        "credstream_jobs_total",
        "counter",
        ("queue", "outcome"),
        _WORKER,
        "Jobs that this worker brought to an end.",
    ),
    Metric(
        "credstream_attempts_total",
        "counter",
        ("queue", "outcome"),
        _WORKER,
        "Runs of handlers that ended, by what became of them; `later`: put off without a charge.",
    ),
    Metric(
        "credstream_attempt_errors_total",
        "counter",
        ("queue", "code"),
        _WORKER,
        "Runs that went wrong by the code of their error; beyond 40 codes a queue: `other`.",
    ),
    Metric(
        "credstream_event_loop_blocked_total",
        "counter",
        _QUEUE,
        _WORKER,
        "Times that a handler kept the event loop from turning for a second; the log names it.",
    ),
    Metric(
        "credstream_jobs_stalled_total",
        "counter",
        _QUEUE,
        _UPKEEP,
        "Jobs taken back from workers that fell silent.",
    ),
    Metric(
        "credstream_job_duration_seconds",
        "histogram",
        _QUEUE,
        _WORKER,
        "How long runs took, from claim to settled.",
        DURATION_BUCKETS_S,
    ),
    Metric(
        "credstream_job_wait_seconds",
        "histogram",
        _QUEUE,
        _WORKER,
        "How long jobs had been waiting (delays and backoffs apart) when a worker took them.",
        WAIT_BUCKETS_S,
    ),
    Metric("credstream_worker_slots", "gauge", _QUEUE, _WORKER, "Jobs this worker runs at once."),
    Metric("credstream_worker_running", "gauge", _QUEUE, _WORKER, "Jobs that run here now."),
    Metric(
        "credstream_worker_utilisation_ratio",
        "gauge",
        _QUEUE,
        _WORKER,
        "Running jobs by slots: 1 is fully busy.",
    ),
    Metric(
        "credstream_webhook_attempts_total",
        "counter",
        ("outcome",),
        _WORKER,
        "Deliveries of webhooks by what became of them.",
    ),
    Metric(
        "credstream_mail_attempts_total",
        "counter",
        ("outcome",),
        _WORKER,
        "Deliveries of e-mail by what became of them.",
    ),
    # What lies in Redis: the same from every gateway, so `max by (queue)`.
    Metric(
        "credstream_queue_jobs", "gauge", ("queue", "state"), _GATEWAY, "Jobs by where they lie."
    ),
    Metric(
        "credstream_queue_due",
        "gauge",
        _QUEUE,
        _GATEWAY,
        "Delayed jobs whose time has come (part of state delayed).",
    ),
    Metric(
        "credstream_queue_demand",
        "gauge",
        _QUEUE,
        _GATEWAY,
        "Jobs that want a worker now: waiting, due and active. Scale on this.",
    ),
    Metric(
        "credstream_queue_oldest_waiting_seconds",
        "gauge",
        _QUEUE,
        _GATEWAY,
        "How long the oldest waiting job has waited; 0 when none waits.",
    ),
    Metric("credstream_queue_workers", "gauge", _QUEUE, _GATEWAY, "Workers that gave a sign."),
    Metric("credstream_queue_paused", "gauge", _QUEUE, _GATEWAY, "Whether the queue is paused."),
    Metric(
        "credstream_queue_outbox",
        "gauge",
        _QUEUE,
        _GATEWAY,
        "Endings whose callback is not queued yet.",
    ),
    Metric(
        "credstream_queues_hidden",
        "gauge",
        (),
        _GATEWAY,
        "Custom queues that are not shown here because there are too many.",
    ),
    Metric("bullmq_jobs_waiting", "gauge", _QUEUE, _GATEWAY, "Jobs in state waiting."),
    Metric(
        "bullmq_jobs_total", "counter", _QUEUE, _GATEWAY, "Jobs that workers brought to an end."
    ),
    Metric(
        "bullmq_jobs_failed_total",
        "counter",
        _QUEUE,
        _GATEWAY,
        "Jobs that workers brought to an end without a result.",
    ),
    # HTTP.
    Metric(
        "credstream_http_requests_total",
        "counter",
        ("method", "route", "status"),
        _GATEWAY,
        "Requests answered.",
    ),
    Metric(
        "credstream_http_request_duration_seconds",
        "histogram",
        ("method", "route"),
        _GATEWAY,
        "How long answers took; for streams, until their end.",
        HTTP_BUCKETS_S,
    ),
    Metric("credstream_http_requests_running", "gauge", (), _GATEWAY, "Requests in work now."),
)
BY_NAME: Mapping[str, Metric] = {metric.name: metric for metric in METRICS}


class Spread:
    """A histogram while it fills: how many values lie up to each bound, and their sum."""

    __slots__ = ("bounds_s", "counts", "sum_s")

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self.bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    def add(self, value_s: float) -> None:
        self.counts[bisect_left(self.bounds_s, value_s)] += 1
        self.sum_s += value_s

    def add_all_ms(self, values_ms: Sequence[int]) -> None:
        """As `add`, for many milliseconds."""
        for value, count in Counter(values_ms).items():
            self.counts[bisect_left(self.bounds_s, value / 1000)] += count
        self.sum_s += sum(values_ms) / 1000

    def cumulative(self) -> list[tuple[str, float]]:
        """Bounds as Prometheus writes them, with how many values lie up to each."""
        total, rows = 0, list[tuple[str, float]]()
        for bound, count in zip((*map(float, self.bounds_s), "+Inf"), self.counts, strict=True):
            total += count
            rows.append((str(bound), total))
        return rows


class Row(NamedTuple):
    """One value of a metric of the table; its labels in the order of the table."""

    name: str
    labels: tuple[str, ...]
    value: "float | Spread"


def names_of(side: Side) -> frozenset[str]:
    """Every sample name that a process of this side exports."""
    names: set[str] = set()
    for metric in METRICS:
        if side in metric.sides:
            tails = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
            names |= {metric.name + tail for tail in tails}
    return frozenset(names)
