"""A worker without any way to send mail: it says so, and jobs wait (EM-20)."""

import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import end, free_ports, spawn, until

from schemas.job import State
from streams import Queue, Redis
from tests.mail.conftest import PAYLOAD

ROOT = Path(__file__).parents[2]
UNSET = dict.fromkeys(("MAIL_BACKEND", "SMTP_HOST", "MAIL_FROM"), "")


@pytest.fixture
def worker(redis_url: str, tmp_path: Path) -> Iterator[Any]:
    """worker(queues, NAME=value): a `credstream worker`, and where its probes answer."""
    running: list[Any] = []

    def begin(queues: str, **env: object) -> str:
        (port,) = free_ports(1)
        known = {"REDIS_URL": redis_url, "PROBE_PORT": str(port), "DATA_DIR": str(tmp_path)}
        settings = UNSET | known | {name: str(value) for name, value in env.items()}
        if settings["MAIL_FROM"] == "":
            del settings["MAIL_FROM"]
        command = [sys.executable, "-m", "credstream", "worker", "--queues", queues]
        with (tmp_path / "log").open("ab") as log:
            running.append(spawn(command, cwd=ROOT, env=settings, output=log))
        return f"http://127.0.0.1:{port}/readyz"

    yield begin
    for process in running:
        end(process)


def said(address: str) -> dict[str, Any] | None:
    try:
        with urllib.request.urlopen(address, timeout=5) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except OSError:
        return None


async def test_it_says_so_and_jobs_wait_until_mail_is_set_up(
    worker: Any, redis: Redis, relay: Any, mail_env: Any, tmp_path: Path
) -> None:
    queue = Queue("emails", redis)
    job_id = (await queue.add("emails", PAYLOAD)).id
    idle = worker("emails,did-operations")
    await until(lambda: said(idle), within_s=60, what="ready")
    answer = said(idle)
    assert answer is not None
    assert answer["ready"] is True
    assert list(answer["stopped"]) == ["emails"]
    assert "SMTP_HOST" in answer["stopped"]["emails"]
    assert "working on did-operations" in (tmp_path / "log").read_text()
    counts = await queue.counts()
    assert (counts.waiting, counts.active) == (1, 0)

    mail = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": relay.port, "SMTP_TLS": "none"}
    busy = worker("emails", **mail, MAIL_FROM="no-reply@example.org")

    async def is_sent() -> bool:
        job = await queue.get(job_id)
        return job is not None and job.state is State.COMPLETED

    await until(is_sent, within_s=60, what="the job is sent")
    assert len(relay.received) == 1
    assert "stopped" not in said(busy)


async def test_mail_that_is_set_up_wrongly_ends_the_process_with_a_sentence(
    worker: Any, tmp_path: Path
) -> None:
    templates = tmp_path / "templates" / "bad"
    templates.mkdir(parents=True)
    (templates / "body.html").write_text("<a href={{ u }}>")
    worker("emails", MAIL_BACKEND="capture", MAIL_TEMPLATES_DIR=templates.parent)
    log = tmp_path / "log"
    await until(lambda: "bad/body.html" in log.read_text(), within_s=60, what="the sentence")
    assert "These mail templates cannot be used:" in log.read_text()
    assert "Traceback" not in log.read_text()
