"""A whole Credstream, as `credstream up` makes it."""

import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from processes import end, eventually, free_ports, spawn

START_S = 40.0
ROOT = Path(__file__).parents[2]


@dataclass
class Up:
    """One `credstream up` and what it prints."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)["data"]

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.said()
        try:
            return self.call("GET", "/readyz") == {"status": "ready"}
        except (OSError, urllib.error.URLError):
            return False

    def wait_ready(self) -> None:
        eventually(self.is_ready, within_s=START_S, what="ready")
        # Its own look at the gateway may come a little after ours.
        eventually(lambda: "Credstream is up." in self.said(), within_s=START_S, what="welcome")

    def children(self) -> dict[str, int]:
        """The processes it runs now, by the last word of what they are."""
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        found = {}
        for pid in map(int, pids.split()):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().split()
            found[next((w for w in ("gateway", "worker") if w in words), "valkey")] = pid
        return found

    def ended(self, job: dict[str, Any], queue: str) -> Any:
        def look() -> Any:
            found = self.call("GET", f"/queue/{queue}/job/{job['id']}")
            return found if found["state"] in ("completed", "failed") else None

        return eventually(look, within_s=START_S, what=f"job {job['id']} ended")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START_S)


def start(log: Path, *words: str | Path, **env: str) -> Up:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "credstream", "up", "--port", str(port), *words]
    unset = {"REDIS_URL": "", "REDIS_HOST": "", "HOST": "127.0.0.1"}
    with log.open("ab") as output:
        process = spawn(command, cwd=ROOT, env={**unset, **env}, output=output)
    return Up(process, port, log)


@pytest.fixture
def ups(tmp_path: Path) -> Iterator[Any]:
    """Starts any number of them; all are gone afterwards."""
    running: list[Up] = []

    def begin(*words: str | Path, **env: str) -> Up:
        running.append(start(tmp_path / f"up-{len(running)}.log", *words, **env))
        return running[-1]

    yield begin
    for up in running:
        end(up.process, patience_s=START_S)


@pytest.fixture(scope="module")
def up_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one that a module's tests share."""
    place = tmp_path_factory.mktemp("up")
    up = start(place / "up.log", "--data-dir", place / "data")
    try:
        up.wait_ready()
        yield up.url
    finally:
        end(up.process, patience_s=START_S)
