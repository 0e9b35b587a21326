"""What each role needs: memory and processor time, idle and under a steady load.

    python -m bench.footprint [--rate 200] [--seconds 60] [--idle 20] [--server valkey|redis]

A gateway, a worker for each queue and a scheduler, one process each as in a pod, on one Redis. The
load is `rate` jobs a second for every queue in turn, submitted one by one over HTTP, each with what
its queue is for: keys made, credentials signed and checked, webhooks sent to a receiver here, mail
rendered and captured. `RSS` is the resident memory (at most, since the start, under load), `CPU`
the share of one core; processor time of a process does not depend on what else runs here.
"""

import argparse
import asyncio
import os
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from bench.credentials import SUBJECT, TENANT, data
from bench.server import flush, serving, version
from credstream.commands.serve import program
from credstream.process import Command, end, spawn
from schemas.spec import catalog

PORT = 28_921
HOOK_PORT = 28_922
PROBES = 28_930
TICKS = os.sysconf("SC_CLK_TCK")
START_S = 60.0
GRACE_S = 40.0
URL = f"http://127.0.0.1:{PORT}"
MAIL = {
    "to": "ada@credstream.example",
    "subject": "Hello",
    "template": "notice",
    "context": {"message": "Hello"},
    **TENANT,
}
HOOK = {
    "url": f"http://127.0.0.1:{HOOK_PORT}/",
    "method": "POST",
    "event": "vc.issued",
    "payload": {"subject": SUBJECT},
    "organizationId": TENANT["organizationId"],
}


def memory_kb(process: Process, name: str) -> int:
    """A line of /proc/<pid>/status: VmRSS (now) or VmHWM (the most there was), KiB."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)


def cpu_s(process: Process) -> float:
    """Processor time of all threads since the start."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@asynccontextmanager
async def roles(redis_url: str, folder: Path) -> AsyncIterator[dict[str, Process]]:
    """The processes by what they are; none outlives the block."""
    env = {
        "REDIS_URL": redis_url,
        "DATA_DIR": str(folder),
        "DURABILITY_FORCE": "true",
        "LOG_LEVEL": "error",
        "PUBLIC_URL": URL,
        "PORT": str(PORT),
        "MAIL_BACKEND": "capture",
        "QUEUE_CONCURRENCY": "10",
        "WEBHOOK_ALLOW_HTTP": "true",
        "WEBHOOK_ALLOW_NETS": f"127.0.0.0/8:{HOOK_PORT}",
    }
    wanted = {"gateway": (program("gateway"), env)}
    for number, queue in enumerate(catalog()):
        own = {"QUEUES": queue, "PROBE_PORT": str(PROBES + number)}
        wanted[f"worker {queue}"] = program("worker"), env | own
    wanted["scheduler"] = program("scheduler"), env | {"PROBE_PORT": str(PROBES - 1)}
    async with AsyncExitStack() as stack:
        started = {}
        for name, (words, own) in wanted.items():
            started[name] = process = await spawn(Command(argv=words, env=own))
            stack.push_async_callback(end, process, grace_s=GRACE_S)
        yield started


async def ready(session: aiohttp.ClientSession) -> None:
    """Until all of them say so."""
    async with asyncio.timeout(START_S):
        for port in (PORT, PROBES - 1, *range(PROBES, PROBES + len(catalog()))):
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                        if answer.status == 200:
                            break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.1)


async def submit(session: aiohttp.ClientSession, queue: str, payload: Mapping[str, Any]) -> str:
    """One job -> its id."""
    async with session.post(f"{URL}/queue/{queue}/jobs", json={"data": payload}) as answer:
        said = await answer.json()
    if answer.status >= 300:
        raise RuntimeError(said)
    return str(said["data"]["id"])


async def result(session: aiohttp.ClientSession, queue: str, payload: Mapping[str, Any]) -> Any:
    """What a job returns."""
    job = await submit(session, queue, payload)
    while True:
        async with session.get(f"{URL}/queue/{queue}/job/{job}") as answer:
            said = (await answer.json())["data"]
        if said["state"] == "completed":
            return said["returnvalue"]
        if said["state"] == "failed":
            raise RuntimeError(said)
        await asyncio.sleep(0.05)


async def payloads(session: aiohttp.ClientSession) -> dict[str, Mapping[str, Any]]:
    """What the load of each queue is. `status-lists` has none: others add its few jobs."""
    key = {"operation": "create", "didMethod": "key", **TENANT}
    issue = data((await result(session, "did-operations", key))["did"])
    token = (await result(session, "vc-issuance", issue))["vcJwt"]
    return {
        "did-operations": key,
        "emails": MAIL,
        "vc-issuance": issue,
        "vc-verification": {"vcJwt": token, **TENANT},
        "webhooks": HOOK,
    }


async def steady(
    session: aiohttp.ClientSession, queue: str, payload: Mapping[str, Any], rate: int, seconds: int
) -> int:
    """Jobs at a steady pace, whatever the answers take; how many, once all have ended."""
    loop = asyncio.get_running_loop()
    begun_s, jobs = loop.time(), rate * seconds
    running: set[asyncio.Task[str]] = set()
    for number in range(jobs):
        await asyncio.sleep(max(0.0, begun_s + number / rate - loop.time()))
        task = asyncio.create_task(submit(session, queue, payload))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    while True:
        async with session.get(f"{URL}/queue/{queue}/stats") as answer:
            counts = (await answer.json())["data"]
        if not counts["waiting"] + counts["active"] + counts["delayed"]:
            return jobs
        await asyncio.sleep(0.1)


async def receive(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Whatever is sent, 200."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def measure(socket: Path, folder: Path, args: argparse.Namespace) -> None:
    """Print a row for every role."""
    receiver = await asyncio.start_server(receive, "127.0.0.1", HOOK_PORT)
    async with (
        receiver,
        roles(f"unix://{socket}", folder) as running,
        aiohttp.ClientSession() as http,
    ):
        await ready(http)
        loads = await payloads(http)
        spent = {name: cpu_s(process) for name, process in running.items()}
        await asyncio.sleep(args.idle)
        idle = {name: (cpu_s(one) - spent[name]) / args.idle for name, one in running.items()}
        rss = {name: memory_kb(process, "VmRSS") for name, process in running.items()}
        per_job: dict[str, list[float]] = {name: [] for name in running}
        for queue, payload in loads.items():
            spent = {name: cpu_s(process) for name, process in running.items()}
            jobs = await steady(http, queue, payload, args.rate, args.seconds)
            for name in ("gateway", "scheduler", f"worker {queue}"):
                per_job[name].append((cpu_s(running[name]) - spent[name]) / jobs)
        for name, process in running.items():
            used = f"{1000 * max(per_job[name]):.1f}" if per_job[name] else "-"
            most = memory_kb(process, "VmHWM")
            print(
                f"| {name} | {rss[name] / 1024:.0f} | {most / 1024:.0f} "
                f"| {100 * idle[name]:.1f} % | {used} |"
            )


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--idle", type=int, default=20)
    parser.add_argument("--server", choices=["valkey", "redis"], default="valkey")
    args = parser.parse_args()
    with serving(args.server) as socket, tempfile.TemporaryDirectory() as folder:
        flush(socket)
        print(f"{version(socket)}, {args.rate} jobs/s for {args.seconds} s for each queue")
        print("| role | RSS idle, MiB | at most | CPU idle | CPU per job, ms |")
        print("|---|---|---|---|---|")
        asyncio.run(measure(socket, Path(folder), args))


if __name__ == "__main__":
    main()
