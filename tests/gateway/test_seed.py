"""The command lines people know from the BullMQ system this one replaces, run as they are."""

import asyncio
import json
import shlex
import shutil
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import ClientSession

from streams import Queue

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")

Run = Callable[[str], Awaitable[Any]]
STATS = {"name", "waiting", "active", "completed", "failed", "delayed", "total"}


@pytest.fixture
async def run(http: ClientSession) -> Run:
    """Run a line against the test's gateway; its `data`."""
    async with http.get("/livez") as response:
        address = f"localhost:{response.url.port}"

    async def running(line: str) -> Any:
        here = line.replace("localhost:3000", address).replace("\\\n", " ")
        words = shlex.split(here, comments=True)
        process = await asyncio.create_subprocess_exec(
            *words, "-sS", "--fail-with-body", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert process.returncode == 0, out
        answer = json.loads(out)
        assert answer["success"] is True
        return answer["data"]

    return running


@pytest.fixture
async def job(queue: Queue, issuance: dict[str, Any]) -> str:
    """Job 12345, which has failed."""
    added = await queue.add("issue-vc", issuance, job_id="12345")
    await queue.cancel(added.id)
    return added.id


async def test_stats_of_all_queues(run: Run) -> None:
    rows = await run("curl http://localhost:3000/queue/stats")
    assert all(set(row) >= STATS for row in rows)
    assert {row["name"] for row in rows} >= {
        "vc-issuance",
        "vc-verification",
        "webhooks",
        "emails",
        "did-operations",
    }


async def test_stats_of_one_queue(run: Run) -> None:
    row = await run("curl http://localhost:3000/queue/vc-issuance/stats")
    assert set(row) >= STATS


async def test_list_failed_jobs(run: Run, job: str) -> None:
    jobs = await run('curl "http://localhost:3000/queue/vc-issuance/jobs?status=failed"')
    assert [one["id"] for one in jobs] == [job]


async def test_job_details(run: Run, job: str) -> None:
    shown = await run("curl http://localhost:3000/queue/vc-issuance/job/12345")
    assert (shown["id"], shown["state"]) == (job, "failed")


@pytest.mark.usefixtures("job")
async def test_retry(run: Run, queue: Queue) -> None:
    await run("curl -X POST http://localhost:3000/queue/vc-issuance/job/12345/retry")
    assert (await queue.counts()).waiting == 1


@pytest.mark.usefixtures("job")
async def test_remove(run: Run, queue: Queue) -> None:
    await run("curl -X DELETE http://localhost:3000/queue/vc-issuance/job/12345")
    assert (await queue.counts()).total == 0


async def test_pause_and_resume(run: Run, queue: Queue) -> None:
    await run("curl -X POST http://localhost:3000/queue/vc-issuance/pause")
    assert (await queue.counts()).paused
    await run("curl -X POST http://localhost:3000/queue/vc-issuance/resume")
    assert not (await queue.counts()).paused


CLEAN = """curl -X POST http://localhost:3000/queue/vc-issuance/clean \\
  -H "Content-Type: application/json" \\
  -d '{"grace": 3600000}'  # 1 hour
"""


@pytest.mark.parametrize(
    ("line", "removed"),
    [(CLEAN, 0), ("curl -X POST http://localhost:3000/queue/vc-issuance/clean", 1)],
)
async def test_clean(
    run: Run, hands: Any, queue: Queue, issuance: dict[str, Any], line: str, removed: int
) -> None:
    await queue.add("issue-vc", issuance)
    await hands.end(await hands.take(1), "complete", b"{}")
    assert await run(line) == {"removed": removed}
    assert (await queue.counts()).completed == 1 - removed
