"""What works beside a running `credstream up` without a setting: Python programs, `doctor`, and
webhooks to a receiver on this machine."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import free_ports
from receivers import receiver, reply

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(marker: str) -> str:
    """README's Python block that contains `marker`."""
    blocks: list[str] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    found = [text for text in blocks if marker in text]
    assert len(found) == 1
    return found[0]


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment of a user who has set nothing."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    return {**kept, "XDG_DATA_HOME": str(tmp_path / "share")}


@pytest.fixture
def up(ups: Any, home: dict[str, str]) -> Any:
    running = ups(**home)
    running.wait_ready()
    return running


def run(home: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT, env=home, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_python_of_the_readme_works_as_it_stands(up: Any, home: dict[str, str]) -> None:
    lines = block("connect()").replace(
        "await worker.run()  # until worker.stop()",
        "async with worker:\n"
        "    while (done := await queue.get(job.id)).state != 'completed':\n"
        "        await asyncio.sleep(0.05)\n"
        "print(done.returnvalue)",
    )
    body = "\n".join(f"    {line}" for line in lines.splitlines())
    program = f"import asyncio\n\nasync def main():\n{body}\n\nasyncio.run(main())\n"
    done = run(home, "-c", program)
    assert done.returncode == 0, done.stderr
    assert "Hello, Ada" in done.stdout
    # The same Redis: the gateway of that `up` sees the job.
    assert up.call("GET", "/queue/custom-queue/stats")["completed"] == 1


def test_doctor_finds_it_and_has_nothing_to_complain_of(up: Any, home: dict[str, str]) -> None:
    done = run(home, "-m", "credstream", "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    *checks, _, _ = done.stdout.splitlines()
    words = [line[:4] for line in checks]
    assert set(words) <= {"ok  ", "note"}, done.stdout
    assert "holds" in done.stdout.splitlines()[-1]
    assert up.stop() == 0
    assert run(home, "-m", "credstream", "doctor").returncode == 3


def test_a_port_of_its_redis(ups: Any, home: dict[str, str]) -> None:
    (port,) = free_ports(1)
    running = ups("--redis-port", str(port), **home)
    running.wait_ready()
    assert f"redis://127.0.0.1:{port}" in running.said()
    answer = run(
        home, "-c",
        f"import redis; print(redis.Redis(port={port}).config_get('bind'))",
    )  # fmt: skip
    assert "127.0.0.1" in answer.stdout, answer.stderr
    refused = ups("--redis-port", str(port), "--redis-url", running.url.replace("http", "redis"))
    assert refused.process.wait(60) == 2
    assert "--redis-port is for the embedded Valkey" in refused.said()


async def test_a_webhook_goes_to_a_receiver_on_this_machine(up: Any) -> None:
    async with receiver(reply(204)) as here:
        data = {
            "url": here.url.replace("127.0.0.1", "localhost"),
            "method": "POST",
            "payload": {"n": 1},
            "event": "test.event",
            "organizationId": "org-123",
        }
        job = await asyncio.to_thread(up.call, "POST", "/queue/webhooks/jobs", {"data": data})
        ended = await asyncio.to_thread(up.ended, job, "webhooks")
    assert ended["state"] == "completed"
    assert len(here.requests) == 1


def test_a_list_of_no_mail_says_where_it_looked(tmp_path: Path, home: dict[str, str]) -> None:
    done = run(home, "-m", "credstream", "mail", "list", "--data-dir", str(tmp_path))
    assert done.returncode == 0
    assert done.stdout == ""
    assert f"No mail was captured in {tmp_path}" in done.stderr
