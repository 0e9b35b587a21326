"""Child processes that never outlive their parent.

`spawn` starts one, `end` stops one. On Linux the kernel signals the child when its parent dies,
however it dies (PR_SET_PDEATHSIG), so not even `kill -9` of the parent leaves an orphan. Other
systems have no such call: there a killed parent leaves its children, and the lock of the data
directory says so at the next start.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, and the signal the kernel sends it when its parent dies."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment of this process."""
    death_signal: signal.Signals = signal.SIGTERM
    cwd: Path | None = None
    output: IO[bytes] | None = None
    """Where stdout and stderr go; None: where ours go."""
    keep_fds: Sequence[int] = ()
    """Open files the child inherits."""


async def spawn(command: Command) -> Process:
    """Start `command` in a session of its own, tied to the life of this process.

    Call it from the main thread: the kernel watches the thread that forked, not the process. The
    own session keeps Ctrl-C in a terminal from reaching the child: its parent decides when and in
    which order children stop. Raises OSError when the program cannot be started.
    """
    return await asyncio.create_subprocess_exec(
        *command.argv,
        stdin=DEVNULL,
        stdout=command.output,
        stderr=command.output,
        cwd=command.cwd,
        env={**os.environ, **command.env},  # noqa: TID251 - a child inherits ours
        pass_fds=tuple(command.keep_fds),
        start_new_session=True,
        preexec_fn=_die_with_parent(command.death_signal),
    )


def _die_with_parent(death_signal: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def between_fork_and_exec() -> None:
        # Only calls that allocate nothing and take no lock: other threads are gone in this copy.
        if _prctl is not None:
            _prctl(PR_SET_PDEATHSIG, int(death_signal))
            # A parent that died before the call above would never trigger the signal.
            if os.getppid() != parent:
                os._exit(1)

    return between_fork_and_exec


async def end(process: Process, *, grace_s: float) -> int:
    """Ask `process` to stop, kill it after `grace_s` seconds, and answer its return code."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(grace_s):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    return await process.wait()


def describe_exit(return_code: int) -> str:
    """A return code in words: `exit code 3`, `signal SIGKILL`."""
    if return_code >= 0:
        return f"exit code {return_code}"
    try:
        return f"signal {signal.Signals(-return_code).name}"
    except ValueError:
        return f"signal {-return_code}"


def is_alive(pid: int) -> bool:
    """Whether a process with this id exists (also one that belongs to somebody else)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
