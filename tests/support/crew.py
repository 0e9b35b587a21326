"""Worker processes of a chaos test, and what they have reported."""

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processes import end, spawn, until

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).parent / "chaos_worker.py"
WITHIN_S = 15.0


@dataclass
class Hand:
    """One worker process."""

    process: subprocess.Popen[bytes]
    report: Path
    log: Path

    def said(self, word: str) -> list[str]:
        """The job ids it reported with `word`, in order."""
        if not self.report.exists():
            return []
        pairs = [line.split(" ", 1) for line in self.report.read_text().splitlines()]
        return [job_id for said, job_id in pairs if said == word]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL; back when it is gone."""
        self.process.kill()
        self.process.wait()

    async def ended(self, within_s: float = WITHIN_S) -> int:
        """Its exit status; what it printed is in the error when it does not end in time."""
        with self._log_in_error():
            await until(
                lambda: self.process.poll() is not None, within_s=within_s, what="the worker ended"
            )
        return self.process.wait()

    def open_gate(self) -> None:
        """Let its held jobs return."""
        self.process.send_signal(signal.SIGUSR1)

    async def says(self, word: str, count: int, within_s: float = WITHIN_S) -> list[str]:
        """Wait until it has reported `word` at least `count` times -> the ids."""
        with self._log_in_error():
            await until(
                lambda: len(self.said(word)) >= count, within_s=within_s, what=f"{count} x {word}"
            )
        return self.said(word)

    @contextmanager
    def _log_in_error(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as late:
            late.add_note(f"{self.report.name} printed: {self.log.read_text() or 'nothing'}")
            raise


@dataclass
class Crew:
    """All worker processes of one test on one queue; whoever is left is ended with the test."""

    folder: Path
    url: str
    queue: str
    settings: dict[str, Any] = field(default_factory=dict)
    hands: list[Hand] = field(default_factory=list)
    program: Path = PROGRAM

    async def hire(self, **settings: Any) -> Hand:
        """Start a worker and wait until it is ready. Keywords: see `chaos_worker.Wanted`."""
        name = f"w{len(self.hands)}"
        report, log = self.folder / name, self.folder / f"{name}.log"
        wanted = {"url": self.url, "queue": self.queue, "report": str(report)}
        words = json.dumps({**wanted, **self.settings, **settings})
        with log.open("wb") as output:
            process = spawn(
                [sys.executable, self.program, words],
                env={"PYTHONPATH": str(ROOT)},
                output=output,
            )
        hand = Hand(process, report, log)
        self.hands.append(hand)
        await hand.says("ready", 1)
        return hand

    def tally(self, word: str) -> Counter[str]:
        """How often each job has been reported with `word`, by all hands together."""
        return Counter(job_id for hand in self.hands for job_id in hand.said(word))


@contextmanager
def crew(
    folder: Path, url: str, queue: str, program: Path = PROGRAM, **settings: Any
) -> Iterator[Crew]:
    """A crew for the length of the block. Keywords: defaults of all its workers."""
    made = Crew(folder, url, queue, settings, program=program)
    try:
        yield made
    finally:
        for hand in made.hands:
            end(hand.process, patience_s=1.0)
