"""What a gateway exports: the table, the depths of queues as they are, and its requests."""

import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from processes import until
from prometheus_client.parser import text_string_to_metric_families

from consumers import Reject, Worker
from consumers.hooks.minutes import counted
from gateway.app import TABLE, create_app
from gateway.directory import Directory
from gateway.measuring import Depths, Lag
from gateway.metrics import METRICS, metrics_port
from gateway.server import listening
from gateway.settings import GatewaySettings
from schemas.job import JobOptions
from schemas.metrics import METRICS as DEFINED
from schemas.metrics import names_of
from schemas.spec import catalog
from streams import Job, NewJob, Queue, Redis
from tests.gateway.conftest import Hands
from tests.gateway.samples import Serve

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]
DOCS = Path(__file__).parents[2] / "docs"
ANY_PORT = GatewaySettings(host="127.0.0.1", port=0)


def read(text: str) -> Series:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scrape(http: ClientSession, path: str = "/metrics") -> Series:
    async with http.get(path) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return read(await response.text())


def value(series: Series, name: str, **labels: str) -> float:
    return series[name, frozenset(labels.items())]


async def test_everything_in_the_table_is_exported_and_nothing_else(http: ClientSession) -> None:
    await scrape(http)
    series = await scrape(http)
    ours = {name for name, _ in series if name.startswith(("credstream_", "bullmq_"))}
    assert ours == names_of("gateway")
    for queue in catalog():
        for name in ("waiting", "total", "failed_total"):
            assert value(series, f"bullmq_jobs_{name}", queue=queue) == 0
        assert value(series, "credstream_jobs_added_total", queue=queue) == 0


async def test_depths_are_those_of_redis(
    redis: Redis, queue: Queue, hands: Hands, issuance: dict[str, Any], serve: Serve
) -> None:
    for _ in range(4):
        await queue.add("issue", issuance)
    await queue.add("issue", issuance, delay=3_600_000)
    await queue.add("issue", issuance, priority=0)
    held = await hands.take(3)
    await hands.end(held[:1], "complete", b"{}")
    async with serve(ANY_PORT) as http:
        series = await scrape(http)
        async with http.get("/internal/scaling/vc-issuance") as response:
            assert await response.json() == {"queue": "vc-issuance", "demand": 4}
    here = {"queue": "vc-issuance"}
    states = {"waiting": 2, "active": 2, "delayed": 1, "completed": 1, "failed": 0}
    for state, count in states.items():
        assert value(series, "credstream_queue_jobs", **here, state=state) == count
    assert value(series, "credstream_queue_demand", **here) == 4
    assert value(series, "bullmq_jobs_waiting", **here) == 2
    assert value(series, "credstream_queue_oldest_waiting_seconds", **here) >= 0
    assert value(series, "credstream_queue_paused", **here) == 0


async def test_what_workers_ended_is_served_beside_what_waits(
    redis: Redis, queue: Queue, issuance: dict[str, Any], serve: Serve
) -> None:
    """All three names in one scrape of a gateway, and they outlive the workers."""

    async def handle(job: Job) -> None:
        if job.attempts == 1:
            raise Reject("no")

    here = {"queue": "vc-issuance"}
    for round_of in (1, 2):
        await queue.add_many(
            [NewJob("issue", issuance, JobOptions(attempts=n % 3 + 1)) for n in range(9)]
        )
        worker = Worker(queue.spec, handle, redis=redis)
        async with counted(redis, [worker], every_s=0.01), worker:
            await until(lambda: is_idle(queue), within_s=20, what="all have ended")
        async with serve(ANY_PORT) as http:
            series = await scrape(http)
        assert value(series, "bullmq_jobs_total", **here) == 9 * round_of
        assert value(series, "bullmq_jobs_failed_total", **here) == 3 * round_of
        assert value(series, "bullmq_jobs_waiting", **here) == 0


async def is_idle(queue: Queue) -> bool:
    counts = await queue.counts()
    return counts.waiting == counts.active == 0


async def test_demand_is_the_backlog_after_endings_out_of_order_and_removals(
    queue: Queue, hands: Hands, issuance: dict[str, Any], serve: Serve
) -> None:
    ids = [(await queue.add("issue", issuance)).id for _ in range(8)]
    held = await hands.take(4)
    await hands.end(held[2:], "complete", b"{}")  # the last delivered first: `lag` turns null
    await queue.remove(ids[6])
    await queue.cancel(ids[7])
    async with serve(ANY_PORT) as http:
        series = await scrape(http)
    assert value(series, "credstream_queue_demand", queue="vc-issuance") == 4
    assert value(series, "credstream_queue_jobs", queue="vc-issuance", state="failed") == 1


async def test_numbers_are_read_once_for_scrapes_that_come_together(
    redis: Redis, queue: Queue, issuance: dict[str, Any]
) -> None:
    depths = Depths(Directory(redis), queues_max=1)
    await depths.read()
    await queue.add("issue", issuance)
    await depths.read()
    waiting = {row.labels: row.value for row in depths.rows() if row.name == "bullmq_jobs_waiting"}
    assert waiting["vc-issuance",] == 0


async def test_custom_queues_are_shown_up_to_a_bound(redis: Redis) -> None:
    for name in ("zebra", "ant", "bee"):
        await Queue(name, redis).register()
    depths = Depths(Directory(redis), queues_max=2)
    await depths.read()
    assert set(depths.names) == {*catalog(), "ant", "bee"}
    (hidden,) = [row.value for row in depths.rows() if row.name == "credstream_queues_hidden"]
    assert hidden == 1


async def test_requests_are_counted_by_the_template_of_their_path(http: ClientSession) -> None:
    async with http.get("/queue/vc-issuance/job/id-kanarie") as response:
        assert response.status == 404
    async with http.get("/nowhere/id-kanarie") as response:
        assert response.status == 404
    async with http.request("PROPFIND", "/queue/stats") as response:
        assert response.status == 405
    async with http.get("/metrics") as response:
        text = await response.text()
    assert "kanarie" not in text
    assert "PROPFIND" not in text
    series = read(text)
    name = "credstream_http_requests_total"
    route = "/queue/{name}/job/{id}"
    assert value(series, name, method="GET", route=route, status="404") == 1
    assert value(series, name, method="GET", route=route, status="500") == 0
    assert value(series, name, method="GET", route="(none)", status="404") == 1
    assert value(series, name, method="other", route="(none)", status="405") == 1
    spread = "credstream_http_request_duration_seconds_count"
    assert value(series, spread, method="GET", route=route) == 1
    assert value(series, "credstream_http_requests_running") == 1


async def test_without_redis_there_are_no_depths_and_the_rest_goes_on(own_server: Any) -> None:
    import streams

    redis = streams.connect(own_server.url)
    app = create_app(redis, ANY_PORT)
    own_server.stop()
    text = (await app[METRICS].exposition()).decode()
    series = read(text)
    assert value(series, "credstream_redis_up") == 0
    assert "credstream_queue_jobs{" not in text
    assert "credstream_redis_latency_seconds " not in text
    await redis.close()


@pytest.mark.parametrize(("where", "on_api"), [("api", 200), ("port", 404), ("off", 404)])
async def test_where_metrics_are_served(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, where: str, on_api: int
) -> None:
    monkeypatch.setenv("METRICS_ON", where)
    monkeypatch.setenv("METRICS_PORT", "0")
    app = create_app(redis, ANY_PORT)
    async with listening(app) as (_, port), metrics_port(app) as own, ClientSession() as http:
        async with http.get(f"http://localhost:{port}/metrics") as response:
            assert response.status == on_api
        assert bool(own) == (where == "port")
        for path in ("metrics", "livez", "readyz", "internal/scaling/emails") if own else ():
            async with http.get(f"http://127.0.0.1:{own}/{path}") as response:
                assert response.status == 200
        for path in ("queue/stats", "internal/scaling/unknown") if own else ():
            async with http.get(f"http://127.0.0.1:{own}/{path}") as response:
                assert response.status == 404


def test_who_may_read_metrics_may_see_every_tenant() -> None:
    routes = [route for route in TABLE if route.path in ("/metrics", "/internal/scaling/{name}")]
    assert len(routes) == 2
    assert all(route.needs == "read" and route.platform_only for route in routes)


async def test_a_late_event_loop_is_noticed() -> None:
    import asyncio

    lag = Lag()
    lag.start()
    due_s = asyncio.get_running_loop().time() - 3
    lag.stop()
    lag._beat(due_s)
    lag.stop()
    assert lag.worst_s >= 3


def test_the_documented_metrics_are_those_there_are() -> None:
    page = (DOCS / "operations.md").read_text()
    cells = r"^\| `([a-z_]+)` \| (\w+) \| ([^|]*) \| ([^|]*) \| (.*) \|$"
    rows = re.findall(cells, page, re.MULTILINE)
    listed = {name: (kind, labels, sides, text) for name, kind, labels, sides, text in rows}
    assert listed == {
        metric.name: (
            metric.kind,
            ", ".join(metric.labels) or "-",
            ", ".join(metric.sides),
            metric.help,
        )
        for metric in DEFINED
    }
