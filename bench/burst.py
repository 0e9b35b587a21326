"""What a burst of submissions does to everybody else who asks the gateway something.

    python -m bench.credentials --burst [--issues 1000] [--bursts 5] [--json FILE]

Processes: a Valkey, a worker, two gateways, a load, a prober. The load opens all its connections,
then sends one submission on each (`POST /queue/vc-issuance/jobs`) before it reads an answer, all
to one of the gateways. The prober asks both gateways `GET /livez` (nothing but the event loop) and
`GET /queue/stats` (and Redis) every 10 ms, before and during each burst. The gateways and the
prober have one processor, all the others another one, as pods have. The gateway without load shows
what a burst costs anybody on this machine, whatever gateways do: the same processors and Redis.
"""

import asyncio
import json
import os
import sys
import tempfile
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from redis import Redis

from bench.usage import spread
from credstream.process import Command, end, spawn

PORTS = {"loaded": 38_917, "other": 38_919}
PATHS = ("/livez", "/queue/stats")
IDLE_S = 1.0
"""Before each burst: as many samples of both, and what the machine does meanwhile hits both."""
SETTLE_S = 0.5
GRACE_S = 30
GATEWAYS, OTHERS = 0, 1
"""Processors."""
POLL_S = 0.05

Samples = dict[str, list[tuple[float, float]]]
Window = tuple[float, float]


def url(gateway: str, path: str) -> str:
    """Where a gateway is asked."""
    return f"http://127.0.0.1:{PORTS[gateway]}{path}"


def pin(pid: int, processor: int) -> None:
    """Give a process one processor, where there is a choice."""
    if hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(pid, {mine[processor % len(mine)]})


async def _client(*words: str) -> asyncio.subprocess.Process:
    argv = (sys.executable, "-m", "bench.burst_client", *words)
    client = await asyncio.create_subprocess_exec(*argv, stdin=PIPE, stdout=PIPE)
    pin(client.pid, GATEWAYS if words[0] == "probe" else OTHERS)
    return client


async def _answer(client: asyncio.subprocess.Process, given: bytes = b"") -> Any:
    said, _ = await client.communicate(given)
    if client.returncode:
        sys.exit(f"a client of the benchmark ended with {client.returncode}")
    return json.loads(said)


async def _ready(session: aiohttp.ClientSession, gateway: str) -> None:
    while True:
        try:
            async with session.get(url(gateway, "/readyz")) as response:
                if response.status == 200:
                    return
        except aiohttp.ClientError:
            pass
        await asyncio.sleep(POLL_S)


async def _left(session: aiohttp.ClientSession) -> int:
    async with session.get(url("other", "/queue/vc-issuance/stats")) as response:
        mine = (await response.json())["data"]
    return int(mine["waiting"]) + int(mine["active"])


async def measure(
    socket: Path,
    job: Callable[[aiohttp.ClientSession], Awaitable[Any]],
    issues: int,
    bursts: int,
) -> dict[str, Any]:
    """Everything, in ms. `job`: what to submit, made ready through the gateway without load."""
    with tempfile.TemporaryDirectory(prefix="cs-bench-") as folder:
        env = {"REDIS_URL": f"unix://{socket}", "DATA_DIR": folder, "HOST": "127.0.0.1"}
        env |= {"LOG_LEVEL": "warning", "DURABILITY_FORCE": "true"}
        words = {name: ("gateway", "--port", str(port)) for name, port in PORTS.items()}
        words["worker"] = ("worker", "--queues", "did-operations,vc-issuance")
        processes = [
            await spawn(Command([sys.executable, "-m", "credstream", *argv], env=env))
            for argv in words.values()
        ]
        for name, process in zip(words, processes, strict=True):
            pin(process.pid, GATEWAYS if name in PORTS else OTHERS)
        with Redis(unix_socket_path=str(socket)) as client:
            pin(int(client.info("server")["process_id"]), OTHERS)
        try:
            async with aiohttp.ClientSession(url("other", "")) as session:
                for gateway in PORTS:
                    await _ready(session, gateway)
                body = json.dumps(await job(session)).encode()
                return await _bursts(session, body, issues, bursts)
        finally:
            for process in processes:
                await end(process, grace_s=GRACE_S)


async def _bursts(
    session: aiohttp.ClientSession, job: bytes, issues: int, bursts: int
) -> dict[str, Any]:
    await _answer(await _client("load", str(PORTS["loaded"]), str(issues)), job)  # warm
    while await _left(session):
        await asyncio.sleep(POLL_S)
    prober = await _client("probe", *(url(gateway, path) for gateway in PORTS for path in PATHS))
    clock = asyncio.get_running_loop().time
    idle: list[Window] = []
    answers, signing = [], []
    for _ in range(bursts):
        await asyncio.sleep(SETTLE_S)
        idle.append((clock(), clock() + IDLE_S))
        await asyncio.sleep(IDLE_S)
        said = await _answer(await _client("load", str(PORTS["loaded"]), str(issues)), job)
        if said["taken"] != issues:
            sys.exit(f"{said['taken']} of {issues} submissions were taken")
        while await _left(session):
            await asyncio.sleep(POLL_S)
        answers.append(said)
        signing.append((said["ended_s"], clock()))
    samples = await _answer(prober)
    submitting = [(said["began_s"], said["ended_s"]) for said in answers]
    windows = {"idle": idle, "submitting": submitting, "signing": signing}
    return {
        "submitted_per_s": issues * bursts / sum(till - since for since, till in submitting),
        "issued_per_s": issues
        * bursts
        / sum(till - said["began_s"] for said, (_, till) in zip(answers, signing, strict=True)),
        "accepted_ms": spread([ms for said in answers for ms in said["ms"]]),
        "probes": {
            f"{gateway} {path}": {
                name: _within(samples[url(gateway, path)], cut) for name, cut in windows.items()
            }
            for gateway in PORTS
            for path in PATHS
        },
    }


def _within(samples: list[tuple[float, float]], windows: list[Window]) -> dict[str, float]:
    taken = [ms for due, ms in samples if any(since <= due <= till for since, till in windows)]
    return {"samples": len(taken), "worst_ms": max(taken, default=0.0), **spread(taken)}


def lines(measured: dict[str, Any], issues: int) -> str:
    """The latencies, and their ratio beside its target."""
    accepted = measured["accepted_ms"]
    shown = [
        (
            f"{issues:,} submissions at once: taken {measured['submitted_per_s']:,.0f}/s, "
            f"issued by one worker {measured['issued_per_s']:,.0f}/s"
        ),
        f"accepted after p50 {accepted['p50_ms']:.0f} p99 {accepted['p99_ms']:.0f} ms",
        f"{'gateway, GET; p50 p99':<24}{'idle':>16}{'submitting':>28}{'then signing':>30}",
    ]
    for name, of in measured["probes"].items():
        row = f"{name:<24}{of['idle']['p50_ms']:>8.1f}{of['idle']['p99_ms']:>8.1f}"
        for window in ("submitting", "signing"):
            ratio = of[window]["p99_ms"] / of["idle"]["p99_ms"]
            row += f"{of[window]['p50_ms']:>8.1f}{of[window]['p99_ms']:>8.1f}{ratio:>6.2f}x "
            row += f"({of[window]['samples']})"
        shown.append(row)
    return "\n".join(shown)
