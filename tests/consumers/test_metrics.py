"""What a worker process exports: the whole table, from 0, and the truth."""

import asyncio

import aiohttp
import pytest
from gate import all_ended
from processes import free_ports
from prometheus_client.parser import text_string_to_metric_families

from consumers import Reject, RetryLater, Worker
from consumers.hooks.metrics import CODES, attach, mail_outcome, webhook_outcome
from consumers.metrics import WorkerMetrics
from consumers.probes import Watched, probes
from schemas.job import Backoff
from schemas.metrics import BY_NAME, MAILS, METRICS, REASONS, WEBHOOKS, Spread, names_of
from schemas.spec import catalog
from streams import Job, Queue, Redis
from streams.durability import Standing

AT_ONCE = Backoff(type="fixed", delay=0)
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def read(text: bytes) -> Series:
    """Every sample by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(series: Series, name: str, **labels: str) -> float:
    return series[name, frozenset(labels.items())]


def exported(series: Series) -> set[str]:
    ours = ("credstream_", "bullmq_")
    return {name for name, _ in series if name.startswith(ours)}


async def succeed(_: Job) -> dict[str, str]:
    return {"canary": "payload-canary"}


async def test_everything_in_the_table_is_there_from_the_first_scrape_and_nothing_else(
    redis: Redis,
) -> None:
    numbers = [attach(Worker(name, succeed, redis=redis)) for name in ("webhooks", "emails")]
    metrics = WorkerMetrics(redis, numbers)
    metrics.standing = Standing("standard", ())
    await redis.ping()
    series = read(metrics.exposition())
    # A code is known when an error has had it.
    assert exported(series) == names_of("worker") - {"credstream_attempt_errors_total"}
    for queue in ("webhooks", "emails"):
        for outcome in ("completed", "failed"):
            assert value(series, "credstream_jobs_total", queue=queue, outcome=outcome) == 0
        for reason in REASONS:
            assert value(series, "credstream_dead_letters_total", queue=queue, reason=reason) == 0
    for outcome in WEBHOOKS:
        assert value(series, "credstream_webhook_attempts_total", outcome=outcome) == 0
    for outcome in MAILS:
        assert value(series, "credstream_mail_attempts_total", outcome=outcome) == 0


async def test_a_scheduler_exports_its_part_of_the_table(redis: Redis) -> None:
    metrics = WorkerMetrics(redis, role="scheduler", queues=lambda: ["webhooks", "custom"])
    metrics.standing = Standing("standard", ())
    await redis.ping()
    series = read(metrics.exposition())
    assert exported(series) == names_of("scheduler")
    assert value(series, "credstream_jobs_stalled_total", queue="custom") == 0
    assert value(series, "credstream_dead_letters_total", queue="custom", reason="stalled") == 0


async def test_types_labels_and_help_are_those_of_the_table(redis: Redis) -> None:
    metrics = WorkerMetrics(redis, [attach(Worker("webhooks", succeed, redis=redis))])
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        if not family.name.startswith(("credstream_", "bullmq_")):
            continue
        about = BY_NAME.get(family.name) or BY_NAME[f"{family.name}_total"]
        assert (family.type, family.documentation) == (about.kind, about.help)
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == set(about.labels)


async def test_what_becomes_of_jobs_is_counted(redis: Redis) -> None:
    async def handle(job: Job) -> dict[str, str]:
        if job.name == "bad":
            raise Reject("no", code="bad_input")
        if job.name == "weak":
            raise ValueError("payload-canary")
        if job.name == "early" and job.attempts_started == 1:
            raise RetryLater(0)
        return {"canary": "payload-canary"}

    worker = Worker("chaos", handle, redis=redis, concurrency=4)
    metrics = WorkerMetrics(redis, [attach(worker)])
    queue = Queue("chaos", redis)
    await queue.add(
        "good", {"canary": "payload-canary", "organizationId": "tenant-canary"}, attempts=4
    )
    await queue.add("early", {})
    await queue.add("bad", {}, job_id="id-canary")
    await queue.add("weak", {}, attempts=2, backoff=AT_ONCE)
    async with worker:
        await all_ended(redis, 4)
    text = metrics.exposition()
    assert b"canary" not in text
    series = read(text)
    here = {"queue": "chaos"}
    for outcome, count in {"completed": 2, "failed": 2, "retried": 1, "later": 1}.items():
        assert value(series, "credstream_attempts_total", **here, outcome=outcome) == count
    assert value(series, "credstream_jobs_total", **here, outcome="completed") == 2
    assert value(series, "credstream_dead_letters_total", **here, reason="rejected") == 1
    assert value(series, "credstream_dead_letters_total", **here, reason="failed") == 1
    assert value(series, "credstream_attempt_errors_total", **here, code="bad_input") == 1
    assert value(series, "credstream_attempt_errors_total", **here, code="ValueError") == 2
    assert value(series, "credstream_job_duration_seconds_count", **here) == 6
    assert value(series, "credstream_job_wait_seconds_count", **here) == 6
    assert value(series, "credstream_worker_slots", **here) == 4
    assert value(series, "credstream_worker_running", **here) == 0


async def test_a_job_that_runs_is_seen_running(redis: Redis) -> None:
    runs, goes_on = asyncio.Event(), asyncio.Event()

    async def handle(_: Job) -> None:
        runs.set()
        await goes_on.wait()

    worker = Worker("chaos", handle, redis=redis, concurrency=4)
    metrics = WorkerMetrics(redis, [attach(worker)])
    await Queue("chaos", redis).add("work", {})
    async with worker:
        await runs.wait()
        series = read(metrics.exposition())
        assert value(series, "credstream_worker_running", queue="chaos") == 1
        assert value(series, "credstream_worker_utilisation_ratio", queue="chaos") == 0.25
        assert value(series, "credstream_job_wait_seconds_count", queue="chaos") == 1
        assert value(series, "credstream_job_duration_seconds_count", queue="chaos") == 0
        goes_on.set()


async def test_error_codes_are_bounded(redis: Redis) -> None:
    async def handle(job: Job) -> None:
        raise Reject("no", code=f"code-{job.data['n']}")

    worker = Worker("chaos", handle, redis=redis, concurrency=50)
    numbers = attach(worker)
    queue = Queue("chaos", redis)
    for n in range(CODES + 5):
        await queue.add("work", {"n": n})
    async with worker:
        await all_ended(redis, CODES + 5)
    assert len(numbers.codes) == CODES + 1
    assert numbers.codes["other"] == 5


WEBHOOK_CODES = {
    "http_404": "http_4xx",
    "http_503": "http_5xx",
    "http_429": "throttled",
    "http_600": "other",
    "redirect_not_followed": "redirect",
    "gone": "gone",
    "blocked": "blocked",
    "read_timeout": "timeout",
    "timeout": "timeout",
    "dns_error": "unreachable",
    "destination_disabled": "disabled",
    "payload_too_large": "other",
}


@pytest.mark.parametrize(("code", "outcome"), WEBHOOK_CODES.items())
def test_codes_of_webhooks_have_a_bounded_set_of_outcomes(code: str, outcome: str) -> None:
    assert webhook_outcome(code) == outcome
    assert outcome in WEBHOOKS


def test_codes_of_mails_have_a_bounded_set_of_outcomes() -> None:
    assert mail_outcome("recipient_refused") == "recipient_refused"
    assert mail_outcome("template_unknown") == "other"


async def test_a_blocked_webhook_counts_as_a_delivery_that_was_blocked(redis: Redis) -> None:
    async def handle(job: Job) -> None:
        if job.attempts_started == 1:
            raise RetryLater(0)
        raise Reject("This URL may not be called.", code="blocked")

    worker = Worker("webhooks", handle, redis=redis)
    metrics = WorkerMetrics(redis, [attach(worker)])
    place = {"url": "http://10.0.0.1/", "organizationId": "o"}
    payload = {**place, "method": "POST", "event": "e", "payload": {}}
    await Queue("webhooks", redis).add("event", payload)
    async with worker:
        await all_ended(redis, 1, catalog()["webhooks"])
    series = read(metrics.exposition())
    assert value(series, "credstream_webhook_attempts_total", outcome="blocked") == 1
    assert sum(n for (name, _), n in series.items() if name.startswith("credstream_webhook")) == 1


async def test_they_are_served_beside_the_probes(redis: Redis) -> None:
    (port,) = free_ports(1)
    metrics = WorkerMetrics(redis, [attach(Worker("chaos", succeed, redis=redis))])
    async with (
        probes("127.0.0.1", port, Watched(redis, asyncio.Event(), metrics=metrics)),
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/metrics") as response,
    ):
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        series = read(await response.read())
    assert value(series, "credstream_redis_up") == 1
    assert value(series, "credstream_redis_latency_seconds") > 0
    assert value(series, "process_open_fds") > 0


def test_a_histogram_counts_a_value_in_the_first_bound_that_holds_it() -> None:
    spread = Spread((0.1, 1))
    for seconds in (0.1, 0.1001, 5):
        spread.add(seconds)
    assert spread.cumulative() == [("0.1", 1), ("1.0", 2), ("+Inf", 3)]
    assert spread.sum_s == pytest.approx(5.2001)


def test_the_table_is_well_formed() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.help.endswith(".")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert bool(metric.buckets_s) == (metric.kind == "histogram")
        assert list(metric.buckets_s) == sorted(metric.buckets_s)
        assert not set(metric.labels) & {"job", "id", "organization", "url", "instance"}
