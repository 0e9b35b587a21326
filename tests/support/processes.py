"""Child processes that cannot outlive the tests, and waiting for conditions with a bound."""

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TypeVar

PR_SET_PDEATHSIG = 1
POLL_S = 0.01
T = TypeVar("T")


def _die_with_parent() -> None:
    """Run in the child before exec: the kernel kills it when the thread that made it dies.

    `atexit` alone is not enough: a test run that is itself killed would leave servers behind.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def spawn(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    output: IO[bytes] | int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start `command`; it dies with us. `env` is added to ours. Call from a thread that stays."""
    return subprocess.Popen(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - one C call, nothing that could deadlock
    )


def end(process: subprocess.Popen[bytes], *, patience_s: float = 5.0) -> int:
    """SIGTERM, and SIGKILL when that is ignored for `patience_s`; the exit status.

    A frozen process is thawed first: SIGTERM would not reach it.
    """
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()


def eventually(condition: Callable[[], T], *, within_s: float, what: str) -> T:
    """The first true answer of `condition`, asked every 10 ms; TimeoutError naming `what`."""
    deadline = time.monotonic() + within_s
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s} s: {what} (last answer: {answer!r})")
        time.sleep(POLL_S)


async def until(condition: Callable[[], object], *, within_s: float, what: str) -> None:
    """Wait for a true answer of `condition` while the loop goes on; TimeoutError names `what`.

    `condition` may be a coroutine function. asyncio's own deadline is not used: it would cut a
    question short in the middle.
    """
    deadline = time.monotonic() + within_s
    while True:
        answer = condition()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s} s: {what} (last answer: {answer!r})")
        await asyncio.sleep(POLL_S)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nothing listens on now; all held open until the last is found."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
