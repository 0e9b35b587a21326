"""What metrics and spans cost a worker: processor time per job, all ways in turn, in one process.

    python -m bench.tracing [--jobs 10000] [--rounds 5] [--server valkey|redis]

Jobs do nothing, so this is the most that a share can be; `bench.footprint` has what a job of the
product costs. Every job comes with a trace context and has two spans. They go by OTLP over HTTP to
a collector that swallows them, a process of its own; none is dropped, and sending them counts.
"""

import argparse
import asyncio
import multiprocessing
import secrets
import statistics
import time
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, HTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from unittest import mock

from bench.server import flush, serving, version
from consumers import Worker
from consumers.hooks import metrics, tracing
from credstream import telemetry
from schemas.job import JobOptions
from streams import Job, NewJob, Queue, connect

WAYS: dict[str, dict[str, str]] = {
    "nothing": {"OTEL_TRACES_EXPORTER": "none"},
    "metrics": {"OTEL_TRACES_EXPORTER": "none"},
    "metrics and spans of a tenth": {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_TRACES_SAMPLER": "traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.1",
    },
    "metrics and all spans": {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "always_on"},
}


class Swallow(BaseHTTPRequestHandler):
    """The collector."""

    def do_POST(self) -> None:
        """200, whatever it is."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_request(self, *_: Any) -> None:
        """Nothing."""


def collect(port: Connection) -> None:
    """Swallow spans, on a port that is told first."""
    server = HTTPServer(("127.0.0.1", 0), Swallow)
    port.send(server.server_port)
    server.serve_forever()


async def work(socket: Path, jobs: int, tracer: Any, *, counted: bool) -> float:
    """Seconds of processor time that `jobs` took."""
    redis, ended = connect(f"unix://{socket}"), asyncio.Semaphore(0)

    async def nothing(_: Job) -> None:
        ended.release()

    contexts = (f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01" for _ in range(jobs))
    some = [NewJob("x", {}, JobOptions(traceparent=context)) for context in contexts]
    await Queue("bench", redis).add_many(some)
    worker = Worker("bench", nothing, concurrency=100, redis=redis)
    if counted:
        metrics.attach(worker)
    if tracer is not None:
        tracing.attach(worker, tracer)
    before_s = time.process_time()
    async with worker:
        for _ in range(jobs):
            await ended.acquire()
    await redis.close()
    return time.process_time() - before_s


def one_way(socket: Path, jobs: int, name: str) -> float:
    """Processor time of a job, in microseconds."""
    flush(socket)
    with mock.patch.dict("os.environ", WAYS[name]), telemetry.tracing("worker") as tracer:
        used_s = asyncio.run(work(socket, jobs, tracer, counted=name != "nothing"))
        worked_s = time.process_time()
    return 1e6 * (used_s + time.process_time() - worked_s) / jobs


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--server", choices=["valkey", "redis"], default="valkey")
    args = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    spawned = multiprocessing.get_context("spawn")
    spawned.Process(target=collect, args=(theirs,), daemon=True).start()
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{ours.recv()}"}
    found: defaultdict[str, list[float]] = defaultdict(list)
    whole = {**endpoint, "OTEL_BSP_MAX_QUEUE_SIZE": str(2 * args.jobs)}
    with serving(args.server) as socket, mock.patch.dict("os.environ", whole):
        print(f"{version(socket)}, {args.jobs} jobs, {args.rounds} rounds")
        for turn in range(-1, args.rounds):  # the first warms up
            for name in [*WAYS][:: 1 if turn % 2 else -1]:
                used = one_way(socket, args.jobs, name)
                found[name] += [used] if turn >= 0 else []
    for name in WAYS:
        ratio = statistics.median(a / b for a, b in zip(found[name], found["metrics"], strict=True))
        print(f"| {name} | {statistics.median(found[name]):.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
