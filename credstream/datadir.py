"""The directory that holds the development data, and the lock that gives it one owner.

<data dir>/                 0700
    credstream.lock         who uses it: the owner's pid, then the server's
    appendonlydir/          the data: Valkey's append-only file
    valkey.log              what the server had to say
    valkey.sock             where it listens (see `socket_path` for long directory names)
"""

import asyncio
import fcntl
import os
import stat
from pathlib import Path
from typing import Self

from credstream.process import is_alive
from streams.development import default_data_dir, socket_path

__all__ = ["DataDirError", "Lock", "default_data_dir", "prepare", "prepare_socket", "socket_path"]

LOCK_NAME = "credstream.lock"
LOG_NAME = "valkey.log"
LEFTOVER_WAIT_S = 10.0
"""How long a server whose owner was killed may take to write its last data and go."""
LOCK_POLL_S = 0.02


class DataDirError(Exception):
    """The data directory cannot be used. The message says why and what to do."""


def prepare(data_dir: Path) -> Path:
    """Make `data_dir` exist, ours and closed to others (0700). Answers its absolute path.

    An existing directory is closed to others only when it is empty or already ours: closing, say,
    `/tmp` because somebody mistyped an option would break the machine. Raises DataDirError.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = data_dir.resolve(strict=True)
        status = path.stat()
        if status.st_uid != os.geteuid():
            raise DataDirError(
                f"The data directory {path} belongs to another user. Choose one of your own with "
                "--data-dir."
            )
        if stat.S_IMODE(status.st_mode) & 0o077:
            if any(path.iterdir()) and not (path / LOCK_NAME).exists():
                raise DataDirError(
                    f"The data directory {path} is open to other users and holds files that are "
                    "not Credstream's. Choose an empty or a new directory with --data-dir."
                )
            path.chmod(0o700)
    except OSError as error:
        raise DataDirError(
            f"The data directory {data_dir} cannot be used: {error.strerror or error}. Choose "
            "another one with --data-dir."
        ) from error
    return path


def prepare_socket(data_dir: Path) -> Path:
    """Make room for the server's socket: its directory exists, is private, holds no stale one.

    Call it while holding the lock: whatever socket lies there then has no server behind it.
    """
    path = socket_path(data_dir)
    try:
        if path.parent != data_dir:
            _private(path.parent)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DataDirError(
            f"The socket {path} cannot be made: {error.strerror or error}."
        ) from error
    return path


def _private(directory: Path) -> None:
    """A directory in a place where anyone may write: nobody may have put one there before us."""
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    if not ours or stat.S_IMODE(status.st_mode) & 0o077:
        raise DataDirError(
            f"{directory} exists and is not a private directory of yours. Remove it, or choose a "
            "shorter --data-dir."
        )


class Lock:
    """The right to use one data directory, held by this process *and* its server.

    The server inherits the open file, and an flock lasts until the last copy is closed: when the
    owner is killed, the directory stays locked until its server has really gone, so two servers
    never write one append-only file. The kernel frees it; no stale lock needs cleaning up.
    """

    def __init__(self, fd: int, path: Path) -> None:
        self.fd = fd
        self._path = path

    @classmethod
    async def take(cls, data_dir: Path) -> Self:
        """Lock `data_dir`. Raises DataDirError that names the holder when somebody has it."""
        path = data_dir / LOCK_NAME
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DataDirError(
                f"The lock file {path} cannot be opened: {error.strerror or error}."
            ) from error
        try:
            await _wait_for_lock(fd, data_dir)
        except BaseException:
            os.close(fd)
            raise
        lock = cls(fd, path)
        lock.note(server_pid=None)
        return lock

    def note(self, server_pid: int | None) -> None:
        """Write down who holds the lock, for the message a second owner gets."""
        lines = [str(os.getpid()), *([str(server_pid)] if server_pid else [])]
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, ("\n".join(lines) + "\n").encode(), 0)

    def release(self) -> None:
        """Give it back. Closing is enough, and leaves the lock with a server still alive."""
        os.close(self.fd)


async def _wait_for_lock(fd: int, data_dir: Path) -> None:
    """Refused at once while the owner lives; its leftover server gets time to finish."""
    waited_s = 0.0
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner, server = _holders(fd)
            if owner and is_alive(owner):
                raise DataDirError(
                    f"The data directory {data_dir} is in use by another credstream (process "
                    f"{owner}). Stop that one, or choose another directory with --data-dir."
                ) from None
            if waited_s >= LEFTOVER_WAIT_S:
                raise DataDirError(_leftover_message(data_dir, server)) from None
            # The kernel has no awaitable for a lock becoming free that could be cancelled.
            await asyncio.sleep(LOCK_POLL_S)
            waited_s += LOCK_POLL_S
        else:
            return


def _holders(fd: int) -> tuple[int | None, int | None]:
    lines = os.pread(fd, 64, 0).decode("ascii", "replace").split()
    owner, server, *_ = [*(int(line) for line in lines if line.isdecimal()), None, None]
    return owner, server


def _leftover_message(data_dir: Path, server_pid: int | None) -> str:
    which = f"process {server_pid}" if server_pid else "see `ps`"
    how = f"kill {server_pid}" if server_pid else "kill"
    return (
        f"The Valkey server of an earlier credstream still uses {data_dir} ({which}). "
        f"Stop it with `{how}` and try again."
    )
