"""Our gateway and one of Fastify and BullMQ side by side, one process each, on one Redis.

    python -m bench.gateway [--server valkey|redis] [--rounds 3] [--seconds 3] [--quick] [--json F]

Both sides of a figure run within the same minute, their order turned round every round, on an empty
Redis; the load comes from a process of its own. Printed are the median of each side and the median
of the rounds' ratios. `CPU` is what the gateway's process (all its threads) has used.
"""

import argparse
import asyncio
import json
import os
import socket as sockets
import subprocess
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

import aiohttp

from bench.run import npm_ci, short
from bench.server import flush, serving, version
from bench.table import Figure, Round, field, table
from bench.usage import usage
from credstream.process import Command, end, spawn

HERE = Path(__file__).parent
FASTIFY = HERE / "fastify"
PEERS = ("fastify", "bullmq", "ioredis")
PAYLOAD = json.loads((HERE / "payload.json").read_text())
JOBS = "/queue/vc-issuance/jobs"
START_S = 20.0
GRACE_S = 10.0
WARM_UP_S = 2.0
"""Of every load before the first round, for compilers that learn while they run."""
SETTLE_S = 0.5
"""Between two measurements: what the last one left behind (garbage, closing connections) ends."""


@dataclass(frozen=True)
class Load:
    """One measurement of a gateway."""

    name: str
    connections: int
    array: int = 0
    """Jobs in one request; 0: one job, no array."""
    reads: bool = False

    @property
    def jobs(self) -> int:
        """That one request is about."""
        return self.array or 1


LOADS = (
    Load("single-1", 1),
    Load("single-32", 32),
    Load("single-100", 100),
    Load("array-100", 4, array=100),
    Load("array-1000", 4, array=1_000),
    Load("read-32", 32, reads=True),
)


def _figures() -> tuple[Figure, ...]:
    found = []
    for load in LOADS:
        what = "job reads" if load.reads else "submissions" if not load.array else "jobs"
        size = f" in arrays of {load.array}" if load.array else ""
        label = f"{what}{size}, {load.connections} conn."
        per_s = 5.0 if load.array else 1.0 if load.reads else 1.5
        rows = (
            (label, "jobs_per_s", "1/s", per_s, True),
            ("  answered within p50", "p50_ms", "ms", 1.0, False),
            ("  answered within p99", "p99_ms", "ms", 1.0, False),
            ("  gateway CPU per 1,000", "cpu_s_per_1000", "s", 1.0, False),
        )
        found += [
            Figure(label, load.name, field(name), unit, target, more_is_better=more)
            for label, name, unit, target, more in rows
        ]
    return tuple(found)


def request_of(load: Load, port: int, job_id: str) -> bytes:
    """The bytes that every connection of a load sends again and again."""
    host = f"Host: 127.0.0.1:{port}\r\n"
    if load.reads:
        return f"GET /queue/vc-issuance/job/{job_id} HTTP/1.1\r\n{host}\r\n".encode()
    one = {"name": "issue-vc", "data": PAYLOAD}
    body = json.dumps([one] * load.array if load.array else one, separators=(",", ":")).encode()
    head = f"POST {JOBS} HTTP/1.1\r\n{host}Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Gateway:
    """A running one."""

    process: Process
    port: int

    async def job_id(self, session: aiohttp.ClientSession) -> str:
        """Of a job that is there."""
        body = {"name": "issue-vc", "data": PAYLOAD}
        async with session.post(f"http://127.0.0.1:{self.port}{JOBS}", json=body) as response:
            answer = await response.json()
        if response.status != 202:
            sys.exit(f"a submission was answered {response.status}: {answer}")
        return str(answer["data"]["id"])

    def cpu_s(self) -> float:
        """What it has used, all threads."""
        words = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _free_port() -> int:
    with sockets.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


async def start(side: str, redis: Path, folder: str, **settings: str) -> Gateway:
    """Start one side and wait until it is ready. `settings`: of ours, beside what it needs."""
    port = _free_port()
    argv = ["node", str(FASTIFY / "server.js"), "--socket", str(redis), "--port", str(port)]
    env = {"NODE_ENV": "production"}
    if side == "ours":
        argv = [sys.executable, "-m", "credstream", "gateway", "--port", str(port)]
        env = {"REDIS_URL": f"unix://{redis}", "DATA_DIR": folder, "HOST": "127.0.0.1"}
        env |= {"LOG_LEVEL": "error", "DURABILITY_FORCE": "true", **settings}
    process = await spawn(Command(argv, env=env))
    deadline_s = time.monotonic() + START_S
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < deadline_s and process.returncode is None:
            try:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
                    if response.status == 200:
                        return Gateway(process, port)
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)
    await end(process, grace_s=GRACE_S)
    sys.exit(f"{side}: not ready within {START_S:g} s")


async def measure(gateway: Gateway, load: Load, seconds: float, redis: Path) -> dict[str, float]:
    """One load on one gateway, on an empty Redis."""
    flush(redis)
    async with aiohttp.ClientSession() as session:
        job_id = await gateway.job_id(session)
    argv = ("bench.gateway_client", str(gateway.port), str(load.connections), str(seconds))
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *argv, cwd=HERE.parent, stdin=PIPE, stdout=PIPE
    )
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(request_of(load, gateway.port, job_id))
    client.stdin.close()
    await client.stdout.readline()
    cpu_s, before = gateway.cpu_s(), usage(redis)
    said = await client.stdout.read()
    cpu_s, after = gateway.cpu_s() - cpu_s, usage(redis)
    if await client.wait():
        sys.exit(f"the load {load.name} ended with {client.returncode}")
    measured: dict[str, float] = json.loads(said)
    jobs = measured["requests"] * load.jobs
    measured["jobs_per_s"] = measured["per_s"] * load.jobs
    measured["cpu_s_per_1000"] = cpu_s / jobs * 1_000
    measured["redis_cpu_s_per_1000"] = (after.cpu_s - before.cpu_s) / jobs * 1_000
    await asyncio.sleep(SETTLE_S)
    return measured


async def rounds(redis: Path, loads: list[Load], count: int, seconds: float) -> list[Round]:
    """Every round of the run."""
    done: list[Round] = []
    with tempfile.TemporaryDirectory(prefix="cs-bench-") as folder:
        sides: dict[str, Gateway] = {}
        try:
            for side in ("fastify", "ours"):
                sides[side] = await start(side, redis, folder)
                for load in loads:
                    await measure(sides[side], load, WARM_UP_S, redis)
            for number in range(count):
                print(f"round {number + 1} of {count}", file=sys.stderr, flush=True)
                order = sorted(sides, reverse=number % 2 == 1)
                this: dict[str, dict[str, dict[str, float]]] = {}
                for load in loads:
                    this[load.name] = {}
                    for side in order:
                        measured = await measure(sides[side], load, seconds, redis)
                        this[load.name][side] = measured
                        print(f"  {load.name:<11} {side:<7} {short(measured)}", file=sys.stderr)
                done.append(this)
        finally:
            for gateway in sides.values():
                await end(gateway.process, grace_s=GRACE_S)
    return done


def versions(redis: Path) -> str:
    """Whom this run compared, on what."""
    packages = {name: FASTIFY / "node_modules" / name / "package.json" for name in PEERS}
    theirs = ", ".join(
        f"{name} {json.loads(path.read_text())['version']}" for name, path in packages.items()
    )
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    python = ".".join(str(part) for part in sys.version_info[:3])
    ours = ", ".join(f"{name} {installed(name)}" for name in ("aiohttp", "redis", "uvloop"))
    return (
        f"server:  {version(redis)}, AOF off\n"
        f"Fastify: {theirs}, Node {node.stdout.strip().removeprefix('v')}\n"
        f"ours:    Python {python}, {ours}"
    )


def report(redis: Path, loads: list[Load], done: list[Round], seconds: float) -> None:
    """Print versions, commands and the table."""
    print(versions(redis), "", sep="\n")
    print("commands:")
    print("  node bench/fastify/server.js --socket SOCKET --port PORT")
    print("  REDIS_URL=unix://SOCKET python -m credstream gateway --port PORT")
    for load in loads:
        words = f"PORT {load.connections} {seconds:g}"
        print(f"  python -m bench.gateway_client {words} < REQUEST    # {load.name}")
    print("", table(done, _figures(), peer="fastify", heading="Fastify"), sep="\n")


def main() -> None:
    """Run the benchmark named by the command line."""
    parser = argparse.ArgumentParser(description="Our gateway beside Fastify and BullMQ.")
    parser.add_argument("--server", choices=("valkey", "redis"), default="valkey")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each measurement (3)")
    parser.add_argument("--only", help="loads whose name begins so")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--json", type=Path, help="also write everything measured here")
    wanted = parser.parse_args()
    loads = [load for load in LOADS if load.name.startswith(wanted.only or "")]
    seconds = wanted.seconds or (1.0 if wanted.quick else 3.0)
    npm_ci(FASTIFY)
    with serving(wanted.server) as redis:
        count = wanted.rounds or (1 if wanted.quick else 3)
        done = asyncio.run(rounds(redis, loads, count, seconds))
        report(redis, loads, done, seconds)
    if wanted.json:
        wanted.json.write_text(json.dumps({"rounds": done}, indent=1) + "\n")


if __name__ == "__main__":
    main()
