"""A real Prometheus (Debian's) looks at gateways and a worker: every name in rules, dashboards and
autoscalers is there, and the demand that KEDA asks for is the true backlog."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from manifests import DEPLOY, ROOT, of
from processes import end, free_ports, spawn, until

from consumers import Worker
from credstream.commands.serve import program
from schemas.job import JobOptions
from schemas.metrics import names_of
from schemas.spec import catalog
from streams import Job, NewJob, Queue, connect

QUEUE = "vc-verification"
DATA = {"vcJwt": "e30.e30.AAAA", "organizationId": "org-1", "userId": "user-1"}
FOREIGN = {
    *("redis_memory_used_bytes", "redis_memory_max_bytes", "redis_evicted_keys_total"),
    *("redis_aof_last_write_status", "redis_aof_last_bgrewrite_status"),
    *("redis_connected_slaves", "redis_commands_processed_total"),
    "kube_horizontalpodautoscaler_status_current_replicas",
    "kube_horizontalpodautoscaler_spec_max_replicas",
}
"""What prometheus-redis-exporter and kube-state-metrics export."""
WITHIN_S = 60.0


def rules() -> Iterator[str]:
    for name in ("recording.yaml", "alerts.yaml"):
        for group in yaml.safe_load((DEPLOY / "prometheus" / name).read_text())["groups"]:
            yield from (rule["expr"] for rule in group["rules"])


def panels() -> Iterator[dict[str, Any]]:
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        yield from json.loads(path.read_text())["panels"]


def panel_queries() -> Iterator[str]:
    for panel in panels():
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", "1m")
            yield re.sub(r"\$(namespace|queue)", ".*", text)


def scaler_query(queue: str) -> str:
    """What KEDA asks Prometheus for, to scale the workers of a queue."""
    (scaler,) = [
        one
        for one in of("standalone", "ScaledObject")
        if one["metadata"]["name"] == f"worker-{queue}"
    ]
    query: str = scaler["spec"]["triggers"][0]["metadata"]["query"]
    return query


def names(expression: str) -> set[str]:
    """The metrics in an expression, but for those that recording rules make."""
    plain = re.sub(r"\w+:\w+:\w+", "", expression)
    return set(re.findall(r"\b(?:credstream|bullmq|redis|kube)_[a-z0-9_]+", plain))


def test_every_name_is_one_that_is_exported() -> None:
    scalers = [scaler_query(queue) for queue in catalog()]
    used = {name for text in (*rules(), *panel_queries(), *scalers) for name in names(text)}
    assert len(used) > 30
    assert used - names_of("worker") - names_of("gateway") == FOREIGN
    for rule in yaml.safe_load((DEPLOY / "prometheus" / "adapter.yaml").read_text())["rules"][
        "external"
    ]:
        assert names(rule["seriesQuery"]) == {"credstream_queue_demand"}


def test_recording_rules_that_are_used_exist() -> None:
    text = (DEPLOY / "prometheus" / "recording.yaml").read_text()
    made = {rule["record"] for rule in yaml.safe_load(text)["groups"][0]["rules"]}
    used = {name for expr in rules() for name in re.findall(r"queue:\w+:\w+", expr)}
    assert used <= made


def test_panels_say_what_they_show_in_which_unit_and_have_no_source_of_their_own() -> None:
    for panel in panels():
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"


@asynccontextmanager
async def stack(redis_url: str, folder: Path) -> AsyncIterator[tuple[str, str, list[int]]]:
    """Two gateways, a worker for other queues, and a Prometheus -> its address, a gateway's, and
    the ports it scrapes."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("prometheus is not installed (Debian package prometheus)")
    *scraped, http_a, http_b, web = free_ports(6)
    env = {"REDIS_URL": redis_url, "DATA_DIR": str(folder), "LOG_LEVEL": "warning"}
    gateways = [
        {"PORT": str(port), "METRICS_ON": "port", "METRICS_PORT": str(metrics)}
        for port, metrics in zip((http_a, http_b), scraped, strict=False)
    ]
    worker = {
        "QUEUES": "emails,webhooks",
        "MAIL_BACKEND": "capture",
        "PROBE_PORT": str(scraped[2]),
    }
    config = yaml.safe_load((DEPLOY / "prometheus" / "compose.yaml").read_text())
    config["global"]["scrape_interval"] = "1s"
    config["rule_files"] = [str(DEPLOY / "prometheus" / name) for name in config["rule_files"]]
    (job,) = config["scrape_configs"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in scraped]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    words = (f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}")
    async with AsyncExitStack() as started:
        for command, more in (
            *((program("gateway"), one) for one in gateways),
            (program("worker"), worker),
            ([binary, *words, f"--web.listen-address=127.0.0.1:{web}"], {}),
        ):
            process = spawn(command, cwd=ROOT, env={**env, **more})
            started.callback(end, process)
        yield f"http://127.0.0.1:{web}", f"http://127.0.0.1:{http_a}", scraped


async def lint(session: aiohttp.ClientSession, url: str) -> None:
    """`promtool check metrics` has nothing to say of what a process exports (G1)."""
    async with session.get(url) as response:
        text = await response.text()
    # Those of the client library and the interpreter have the names they have.
    ours = [line for line in text.splitlines(keepends=True) if "python_" not in line]
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input="".join(ours),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


async def ask(session: aiohttp.ClientSession, url: str, query: str) -> list[Any]:
    """The samples of an instant query."""
    try:
        async with session.get(f"{url}/api/v1/query", params={"query": query}) as response:
            if response.status == 503:  # it is starting
                return []
            answer = await response.json()
    except aiohttp.ClientConnectionError:
        return []
    assert answer["status"] == "success", (query, answer)
    found: list[Any] = answer["data"]["result"]
    return found


async def test_prometheus_sees_everything_and_the_true_demand(
    redis_url: str, tmp_path: Path
) -> None:
    """Out-of-order completion and cancels, where the lag of a consumer group would be null (E1)."""
    first = asyncio.Event()

    async def handle(job: Job) -> dict[str, Any]:
        if job.id == "job-0":
            await first.wait()
        if job.id == "job-9":
            await asyncio.Event().wait()
        return {}

    redis = connect(redis_url)
    queue = Queue(QUEUE, redis)
    async with (
        stack(redis_url, tmp_path) as (url, gateway, exposed),
        aiohttp.ClientSession() as session,
    ):
        await until(
            lambda: ask(session, url, "count(up == 1) == 3"), within_s=WITHIN_S, what="all are up"
        )
        jobs = [
            NewJob(name="x", data=DATA, options=JobOptions(job_id=f"job-{number}"))
            for number in range(10)
        ]
        await queue.add_many(jobs)
        async with Worker(catalog()[QUEUE], handle, concurrency=2, redis=redis):

            async def all_but_two() -> bool:
                counts = await queue.counts()
                return (counts.completed, counts.active) == (8, 2)

            await until(all_but_two, within_s=WITHIN_S, what="later jobs overtook the first")
            # Both slots are held: what comes now waits.
            more = [
                NewJob(name="x", data=DATA, options=JobOptions(job_id=f"more-{number}"))
                for number in range(20)
            ]
            await queue.add_many(more)
            for number in range(5):
                await queue.cancel(f"more-{number + 7}")
            later = NewJob(name="x", data=DATA, options=JobOptions(job_id="later", delay=3_600_000))
            await queue.add_many([later])
            counts = await queue.counts()
            assert (counts.waiting, counts.active, counts.delayed) == (15, 2, 1)

            async def demand() -> list[Any]:
                return await ask(session, url, f"{scaler_query(QUEUE)} == 17")

            await until(demand, within_s=WITHIN_S, what="the demand is 15 waiting and 2 active")
            assert len(await ask(session, url, scaler_query(QUEUE))) == 1
            async with session.get(f"{gateway}/queue") as response:
                assert response.status == 200
            used = {name for text in (*rules(), *panel_queries()) for name in names(text)}
            # A code of errors is there when an error has had it.
            wanted = used - FOREIGN - {"credstream_attempt_errors_total"}

            async def missing() -> set[str]:
                known = await ask(session, url, 'count by (__name__) ({__name__=~"credstream_.*"})')
                return wanted - {one["metric"]["__name__"] for one in known}

            async def complete() -> bool:
                return not await missing()

            await until(complete, within_s=WITHIN_S, what="every metric has been scraped")
            for port in exposed:
                await lint(session, f"http://127.0.0.1:{port}/metrics")
            for query in (*rules(), *panel_queries()):
                await ask(session, url, query)
            await queue.cancel("job-9")
            first.set()

            async def at_rest() -> list[Any]:
                return await ask(session, url, f"{scaler_query(QUEUE)} == 0")

            await until(at_rest, within_s=WITHIN_S, what="nothing is due any more")
    await redis.close()
