"""Every example runs, and does what it says."""

import asyncio
import importlib.util
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from gate import ended
from pydantic import ValidationError
from working import delivering

import streams
from consumers import Resources, Worker
from consumers.discovery import choose
from schemas.job import State

EXAMPLES = Path(__file__).parents[1] / "examples"
STORY_S = 120


def load(name: str) -> ModuleType:
    """An example as a module; running it is left to the test."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_has_a_test() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {path.stem for path in EXAMPLES.glob("*.py")} <= tested


async def test_produce(
    redis: streams.Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    job_id = await load("produce").main()
    job = await streams.Queue("vc-issuance", redis).get(job_id)
    assert job is not None
    assert job.name == "issue-credential"
    assert job.state == State.WAITING


async def test_bulk_verification(redis: streams.Redis) -> None:
    ids = await load("bulk_verification").main(redis, ["e30.e30.AAAA"] * 5)
    queue = streams.Queue("vc-verification", redis)
    assert [job.id for job in await queue.page(State.WAITING, 0, 10)] == ids


async def test_custom_worker(redis: streams.Redis) -> None:
    completed = await load("custom_worker").main(redis)
    assert len(completed) == 5
    assert (await streams.Queue("custom-queue", redis).counts()).completed == 5


async def test_processor(redis: streams.Redis) -> None:
    pages = await load("processor").main(redis)
    assert pages == ["Annual report 1", "Annual report 2", "Annual report 3"]
    (job,) = await streams.Queue("reports", redis).page(State.COMPLETED, 0, 10)
    assert (job.attempts_made, job.attempts_started) == (2, 3)
    assert job.progress == {"page": 3, "of": 3}
    assert await streams.Queue("reports", redis).logs(job.id) == ["printed 2 pages in run 3"]


async def test_processor_as_the_command_line_loads_it(redis: streams.Redis) -> None:
    (processor,) = choose(str(EXAMPLES / "processor.py"), ["reports"])
    queue = streams.Queue(processor.spec, redis)
    with pytest.raises(ValidationError):
        await queue.add("report", {"title": "Empty", "pages": 0})
    job_id = (await queue.add("report", {"title": "x", "pages": 1, "font": "runes"})).id
    async with AsyncExitStack() as stack:
        worker = Worker(processor, redis=redis)
        assert processor.open is not None
        worker.state = await stack.enter_async_context(processor.open(Resources(redis)))
        await stack.enter_async_context(worker)
        job = await ended(redis, job_id, "reports")
    assert (job.state, job.errors[0].code) == (State.FAILED, "font_unknown")


async def test_cpu_bound(redis: streams.Redis) -> None:
    (processor,) = choose(str(EXAMPLES / "cpu_bound.py"), ["primes"])
    assert await load("cpu_bound").main(redis, processor) == [4, 25]


async def test_priorities(redis: streams.Redis) -> None:
    ran = await load("priorities").main(redis)
    assert ran == ["put out the fire", "close the window", "answer the phone", "tidy up"]


async def test_options(redis: streams.Redis) -> None:
    states = await load("options").main(redis)
    assert states.pop("job-name") == State.DELAYED
    assert set(states.values()) == {State.WAITING}
    counts = await streams.Queue("options", redis).counts()
    assert (counts.waiting, counts.delayed) == (5 + 1, 1 + 2)


async def test_outcomes(redis: streams.Redis) -> None:
    ended = await load("outcomes").main(redis)
    assert ended["fine"].startswith("completed")
    assert ended["nobody at home"].startswith("completed")
    assert ended["no such address"] == "failed: Nobody lives there"
    assert ended["flat tyre"] == "failed: The van does not move"
    queue = streams.Queue("deliveries", redis)
    dead = {job.name: job for job in await queue.page(State.FAILED, 0, 10)}
    assert dead["no such address"].attempts_made == 1
    assert dead["no such address"].errors[0].code == "unknown_address"
    assert dead["flat tyre"].attempts_made == 2


async def test_webhook_receiver(redis: streams.Redis, capsys: pytest.CaptureFixture[str]) -> None:
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    async with delivering(redis) as desk:
        (secret,) = await desk.keys("org-123", "")
        receiver = load("webhook_receiver").Receiver(secret, received.put)
        async with TestServer(receiver.app(), host="127.0.0.1") as server:
            url = str(server.make_url("/hook"))
            queue = streams.Queue("webhooks", redis)
            job_id = (await queue.add("x", delivery(url))).id
            assert await received.get() == {"event": "vc.issued", "credentialId": "vc-1"}
            job = await ended(redis, job_id, "webhooks")
            assert job.returnvalue["status"] == 202
            for headers in ({}, {"webhook-signature": "v1"}, {"webhook-signature": "v1,a,b"}):
                head = {"webhook-id": "1", "webhook-timestamp": "1"} | headers
                async with ClientSession() as http, http.post(url, data=b"{}", headers=head) as no:
                    assert no.status == 400
            other = await queue.add("x", delivery(url) | {"organizationId": "org-666"})
            job = await ended(redis, other.id, "webhooks")
            assert (job.state, job.errors[0].code) == (State.FAILED, "http_400")
    assert received.empty()
    assert capsys.readouterr().out.count("refused") == 4


def delivery(url: str) -> dict[str, Any]:
    """The callback of an issuance."""
    payload = {"event": "vc.issued", "credentialId": "vc-1"}
    return {
        "url": url,
        "method": "POST",
        "payload": payload,
        "event": "vc.issued",
        "organizationId": "org-123",
    }


@pytest.mark.timeout(STORY_S)
def test_first_light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    story = subprocess.run(
        [sys.executable, str(EXAMPLES / "first_light.py")],
        cwd=EXAMPLES.parent,
        capture_output=True,
        text=True,
        timeout=STORY_S,
        check=False,
    )
    assert story.returncode == 0, story.stdout + story.stderr
    for line in ("the signature is valid", "attempt 3", "Completed", "The lights are out."):
        assert line in story.stdout
