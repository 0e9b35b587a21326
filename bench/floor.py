"""The floor: what plain streams cost, with nothing a job queue adds.

    python -m bench.floor --socket PATH --jobs 20000

XADD in batches, XREADGROUP COUNT 100, XACK and XDEL of the batch in one write, straight through
a socket. No engine on Redis Streams can be cheaper; it also loses, repeats and forgets jobs.
"""

import argparse
import json
import socket as sockets
import time
from pathlib import Path
from typing import Any

import hiredis

from bench.usage import cpu_us_per_job, usage

PAYLOAD = (Path(__file__).parent / "payload.json").read_text()
BATCH = 100
ADD_BATCH = 500
STREAM, GROUP, CONSUMER = "floor", "workers", "one"


class Line:
    """A connection that writes many commands at once and reads that many answers."""

    def __init__(self, path: Path) -> None:
        self._socket = sockets.socket(sockets.AF_UNIX)
        self._socket.connect(str(path))
        self._reader = hiredis.Reader()

    def ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Send all, then read one answer each; the first error answer is raised."""
        self._socket.sendall(b"".join(hiredis.pack_command(command) for command in commands))
        answers: list[Any] = []
        while len(answers) < len(commands):
            answer = self._reader.gets()
            if answer is False:
                self._reader.feed(self._socket.recv(1 << 20))
            elif isinstance(answer, hiredis.HiredisError):
                raise answer
            else:
                answers.append(answer)
        return answers

    def close(self) -> None:
        self._socket.close()


def measure(path: Path, jobs: int) -> dict[str, float]:
    """Add, read, acknowledge and delete `jobs` entries."""
    line = Line(path)
    line.ask(("XGROUP", "CREATE", STREAM, GROUP, "0", "MKSTREAM"))
    body = json.dumps(json.loads(PAYLOAD), separators=(",", ":"))
    start, started = usage(path), time.monotonic()
    for done in range(0, jobs, ADD_BATCH):
        line.ask(*[("XADD", STREAM, "*", "b", body)] * min(ADD_BATCH, jobs - done))
    added, added_at = usage(path), time.monotonic()
    read = ("XREADGROUP", "GROUP", GROUP, CONSUMER, "COUNT", BATCH, "STREAMS", STREAM, ">")
    while (answer := line.ask(read)[0]) is not None:
        ids = [entry[0] for entry in answer[0][1]]
        line.ask(("XACK", STREAM, GROUP, *ids), ("XDEL", STREAM, *ids))
    ended, ended_at = usage(path), time.monotonic()
    line.close()
    return {
        "add_per_s": jobs / (added_at - started),
        "process_per_s": jobs / (ended_at - added_at),
        "cpu_add_us": cpu_us_per_job(start, added, jobs),
        "cpu_process_us": cpu_us_per_job(added, ended, jobs),
    }


def main() -> None:
    """Measure the floor of the server named on the command line."""
    parser = argparse.ArgumentParser(description="What plain streams cost.")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=20_000)
    wanted = parser.parse_args()
    print(json.dumps(measure(wanted.socket, wanted.jobs)))


if __name__ == "__main__":
    main()
