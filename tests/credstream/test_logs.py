"""Lines for people or for machines, and never a payload or a secret."""

import io
import json
import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from gate import all_ended

from consumers import Reject, RetryLater, Worker
from consumers.hooks import logging as job_log
from credstream.logs import JsonLines, TextLines, configure
from streams import Job, Queue, Redis

CANARY = "canary-7f3a"


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, as it was before when the test is over."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def caught(kind: type[logging.Formatter], name: str, **extra: Any) -> str:
    """The line of an exception that quotes a value."""
    record = logging.makeLogRecord({"name": name, "levelno": 40, "levelname": "ERROR", **extra})
    try:
        try:
            int(CANARY)
        except ValueError as error:
            raise KeyError(CANARY) from error
    except KeyError:
        record.exc_info = sys.exc_info()
    record.msg = "it failed"
    return kind().format(record)


@pytest.mark.parametrize(
    ("stream", "chosen", "formatter"),
    [
        (Terminal(), None, TextLines),
        (io.StringIO(), None, JsonLines),
        (Terminal(), "json", JsonLines),
        (io.StringIO(), "text", TextLines),
    ],
)
def test_the_format_follows_the_terminal_unless_it_is_said(
    root: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
    stream: io.StringIO,
    chosen: str | None,
    formatter: type[logging.Formatter],
) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    configure("info", chosen)
    assert isinstance(root.handlers[0].formatter, formatter)


async def lines(redis: Redis, root: logging.Logger, log_format: str) -> str:
    """What a worker logs of four jobs full of canaries."""

    async def handle(job: Job) -> dict[str, str]:
        if job.name == "bad":
            raise Reject("Signature invalid")
        if job.name == "soon" and job.attempts_started == 1:
            raise RetryLater(1, "not now")
        if job.name == "leaky":
            raise Reject(f"refused: Bearer {CANARY * 3} whsec_{CANARY.replace('-', '') * 3}")
        return {"result": CANARY}

    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if log_format == "json" else TextLines())
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG)
    worker = Worker("chaos", handle, redis=redis)
    job_log.attach(worker)
    queue = Queue("chaos", redis)
    for name in ("good", "bad", "leaky", "soon"):
        data = {CANARY: CANARY, "organizationId": CANARY}
        await queue.add(name, data, job_id=name)
    async with worker:
        await all_ended(redis, 4)
    return stream.getvalue()


async def test_on_a_terminal_jobs_are_told_in_the_seeds_lines(
    redis: Redis, root: logging.Logger
) -> None:
    said = await lines(redis, root, "text")
    told = [line for line in said.splitlines() if "[chaos]" in line]
    assert "✅ [chaos] Job good completed" in told
    assert "❌ [chaos] Job bad failed: Signature invalid" in told
    assert CANARY not in said
    assert "refused: Bearer ***" in said


async def test_elsewhere_every_line_is_a_json_object(redis: Redis, root: logging.Logger) -> None:
    said = await lines(redis, root, "json")
    told = {line["jobId"]: line for line in map(json.loads, said.splitlines()) if "jobId" in line}
    good = told["good"]
    assert good.keys() == {
        *("time", "level", "logger", "message", "queue", "jobId", "durationMs"),
    }
    assert (good["level"], good["logger"], good["queue"]) == ("info", "credstream.jobs", "chaos")
    assert good["time"].endswith("Z")
    assert isinstance(good["durationMs"], int)
    assert told["bad"]["level"] == "error"
    put_off = next(line for line in map(json.loads, said.splitlines()) if "put off" in str(line))
    assert put_off["message"] == "⏳ [chaos] Job soon put off for 1 ms: not now"
    assert (put_off["jobId"], put_off["level"]) == ("soon", "debug")
    assert CANARY not in said


@pytest.mark.parametrize("kind", [TextLines, JsonLines])
def test_an_exception_is_told_by_where_it_came_from_and_not_by_what_it_quotes(
    kind: type[logging.Formatter],
) -> None:
    said = caught(kind, "gateway.errors")
    assert CANARY not in said
    assert "builtins.KeyError" in said
    assert "caused by builtins.ValueError" in said
    assert "test_logs.py" in said


def test_a_request_is_named_apart() -> None:
    line = json.loads(caught(JsonLines, "gateway.errors", request_id="r-1"))
    assert line["requestId"] == "r-1"
    assert line["message"] == "it failed"
