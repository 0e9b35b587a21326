"""A worker dies after signing and before completing; the next one issues the same credential."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import end, spawn, until

import streams
from consumers.custody import open_custody
from consumers.processor import Resources
from credentials.keys import KEY_TYPES, KeyType
from schemas.job import State

ROOT = Path(__file__).parents[2]
WITHIN_S = 30.0
PROGRAM = ROOT / "tests" / "support" / "issuing_worker.py"
Hire = Callable[[str, bool], tuple[subprocess.Popen[bytes], Callable[[], list[Any]]]]


@pytest.fixture
def hire(tmp_path: Path, redis_url: str) -> Iterator[Hire]:
    """hire(name, hold): a worker process, and the results it has computed so far."""
    started = []

    def hire(name: str, hold: bool) -> Any:
        report = tmp_path / name
        wanted = {"url": redis_url, "data_dir": str(tmp_path), "report": str(report), "hold": hold}
        process = spawn(
            [sys.executable, PROGRAM, json.dumps(wanted)], env={"PYTHONPATH": str(ROOT)}
        )
        started.append(process)

        def said() -> list[Any]:
            lines = report.read_text().splitlines() if report.exists() else []
            return [json.loads(line) for line in lines]

        return process, said

    yield hire
    for process in started:
        end(process)


@pytest.mark.parametrize("kind", KEY_TYPES)
async def test_killed_after_signing(
    redis: streams.Redis, tmp_path: Path, payload: Any, hire: Hire, kind: KeyType
) -> None:
    async with open_custody(Resources(redis, data_dir=tmp_path)) as custody:
        issuer = await custody.create_did_key(("test", kind), "org-a", kind)
    queue = streams.Queue("vc-issuance", redis)
    data = payload.degree(issuer, status=["revocation", "suspension"])
    added = await queue.add("issue", data)
    victim, computed = hire("victim", True)
    await until(lambda: len(computed()) == 1, within_s=WITHIN_S, what="the victim has signed")
    victim.kill()
    victim.wait()
    _, again = hire("rescuer", False)

    async def completed() -> bool:
        job = await queue.get(added.id)
        return job is not None and job.state == State.COMPLETED

    await until(completed, within_s=WITHIN_S, what="the job is completed")
    job = await queue.get(added.id)
    assert job is not None
    assert job.returnvalue == computed()[0] == again()[0]
    assert job.stalled_count == 1
