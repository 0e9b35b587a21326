"""How the long-running commands log, to standard error: lines for people on a terminal, one JSON
object a line everywhere else. Neither shows what looks like a secret."""

import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

import orjson

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")
JOBS = "credstream.jobs"
_EXTRA = {
    "queue": "queue",
    "job_id": "jobId",
    "request_id": "requestId",
    "duration_ms": "durationMs",
    "trace_id": "traceId",
}


def configure(level: str, log_format: str | None = None) -> None:
    """Log lines of `level` (one of LEVELS) and above. `log_format`: one of FORMATS; None: text on a
    terminal, else json."""
    chosen = log_format or ("text" if sys.stderr.isatty() else "json")
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if chosen == "json" else TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class TextLines(logging.Formatter):
    """For people. What becomes of jobs is told in the seed's words and nothing else."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the places of an exception below it."""
        from gateway.redaction import redacted_text

        line = record.getMessage()
        if record.name != JOBS:
            stamp = self.formatTime(record)
            line = f"{stamp} {record.levelname:<7} {record.name}: {line}"
        line = redacted_text(line)
        return f"{line}\n{told(record.exc_info[1])}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """For machines: `time`, `level`, `logger`, `message`; where known also `queue`, `jobId`,
    `requestId`, `durationMs`, `traceId`, and `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object without a line end."""
        from gateway.redaction import redacted_text

        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        said: dict[str, Any] = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redacted_text(record.getMessage()),
        }
        for attribute, name in _EXTRA.items():
            value = getattr(record, attribute, None)
            if value is not None:
                said[name] = value
        if record.exc_info:
            said["exception"] = told(record.exc_info[1])
        return orjson.dumps(said).decode()


def told(error: BaseException | None) -> str:
    """Where an exception and its causes came from. Their messages are left out: what a library
    says of a value that does not fit often quotes the value."""
    parts: list[str] = []
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        places = [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
        kind = type(error)
        parts.append("\n".join([f"{kind.__module__}.{kind.__qualname__}", *places]))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\ncaused by ".join(parts)
