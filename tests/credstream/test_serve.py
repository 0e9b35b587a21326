"""`credstream gateway` and `credstream worker`, alone and as several processes."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import end, eventually, free_ports, spawn

import streams
from credstream.process import is_alive
from schemas.job import State

PATIENCE_S = 40.0
ROOT = Path(__file__).parents[2]
PROCESSOR = """
import os
from consumers.processor import Processor
from schemas.spec import QueueSpec

async def handle(job):
    return {"pid": os.getpid(), "twice": job.data["n"] * 2}

PROCESSOR = Processor(spec=QueueSpec("doubling"), handle=handle)
"""


class Program:
    """One `credstream ...` and what it prints."""

    def __init__(self, log: Path, *words: str | Path, **env: str) -> None:
        self.log = log
        with log.open("wb") as output:
            command = [sys.executable, "-m", "credstream", *words]
            self.process = spawn(command, cwd=ROOT, env=env, output=output)

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, text: str, times: int = 1) -> None:
        def look() -> bool:
            assert self.process.poll() is None, self.said()
            return self.said().count(text) >= times

        eventually(look, within_s=PATIENCE_S, what=text)

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def programs(tmp_path: Path, redis_url: str) -> Iterator[Any]:
    """Starts programs on the test's Redis; all are gone afterwards."""
    running: list[Program] = []

    def begin(*words: str | Path, **env: str) -> Program:
        log = tmp_path / f"program-{len(running)}.log"
        running.append(Program(log, *words, REDIS_URL=redis_url, DATA_DIR=str(tmp_path), **env))
        return running[-1]

    yield begin
    for program in running:
        end(program.process, patience_s=PATIENCE_S)


@pytest.fixture
def processor(tmp_path: Path) -> Path:
    """A processor in a file of its own, for the queue `doubling`."""
    path = tmp_path / "doubling.py"
    path.write_text(PROCESSOR)
    return path


async def completed(queue: streams.Queue, count: int) -> list[Any]:
    """The results of the first `count` completed jobs, once there are so many."""
    ids = [
        added.id
        for added in await queue.add_many([streams.NewJob("n", {"n": n}) for n in range(count)])
    ]
    results = []
    for job_id in ids:
        while (job := await queue.get(job_id)) is None or job.state != State.COMPLETED:
            pass
        results.append(job.returnvalue)
    return results


def stats(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "credstream", "stats", "--url", url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize("processes", [1, 2])
def test_gateway(programs: Any, processes: int) -> None:
    (port,) = free_ports(1)
    program = programs("gateway", "--port", str(port), "--processes", str(processes))
    program.says("gateway listens on", times=processes)
    children = program.children()
    assert len(children) == (processes if processes > 1 else 0)
    assert stats(f"http://127.0.0.1:{port}").returncode == 0
    assert program.stop() == 0
    assert not any(is_alive(pid) for pid in children)
    assert "Traceback" not in program.said()


def test_killed_gateway_leaves_no_process(programs: Any) -> None:
    (port,) = free_ports(1)
    program = programs("gateway", "--port", str(port), "--processes", "2")
    program.says("gateway listens on", times=2)
    children = program.children()
    program.process.kill()
    for pid in children:
        eventually(lambda pid=pid: not is_alive(pid), within_s=PATIENCE_S, what="it is gone")


@pytest.mark.parametrize("processes", [1, 2])
async def test_worker(programs: Any, redis: streams.Redis, processor: Path, processes: int) -> None:
    words = ("--queues", "doubling", "--processors", processor, "--concurrency", "2")
    program = programs("worker", *words, "--processes", str(processes))
    program.says("working on doubling, 2 at once each", times=processes)
    results = await completed(streams.Queue("doubling", redis), 20)
    assert [result["twice"] for result in results] == [2 * n for n in range(20)]
    pids = {result["pid"] for result in results}
    assert pids <= ({program.process.pid} if processes == 1 else set(program.children()))
    assert program.stop() == 0
    assert program.said().count("all jobs finished or given back") == processes
    assert "Traceback" not in program.said()


def test_probe_ports_of_several_workers_do_not_collide(programs: Any, processor: Path) -> None:
    (first,) = free_ports(1)
    words = ("--queues", "doubling", "--processors", processor, "--processes", "2")
    program = programs("worker", *words, PROBE_PORT=str(first))
    program.says("working on doubling", times=2)
    assert program.stop() == 0
    assert "ended" not in program.said()


@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--queues", "nonsense"], "no processor for nonsense"),
        (["--processors", "/no/such/file.py"], "there is no file /no/such/file.py"),
        (["--processors", "no_such_module"], "there is no module no_such_module"),
    ],
)
def test_what_cannot_be_found_is_told_once(
    programs: Any, processes: str, words: list[str], told: str
) -> None:
    program = programs("worker", *words, "--processes", processes)
    assert program.process.wait(PATIENCE_S) == 2
    assert program.said().count(told) == 1
    assert "Traceback" not in program.said()


def test_production_without_a_key_is_refused(programs: Any) -> None:
    program = programs("worker", APP_ENV="production")
    assert program.process.wait(PATIENCE_S) == 2
    assert "No key-encryption key: set CREDSTREAM_KEKS" in program.said()
    assert "Traceback" not in program.said()
