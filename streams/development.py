"""The Redis of a running `credstream up`: where its socket lies, and whether it answers.

`RedisSettings` without an address falls back to it, so that `connect()` beside a running
`credstream up` finds the same jobs.
"""

import hashlib
import os
import socket
import tempfile
from pathlib import Path

from pydantic_settings import BaseSettings

SOCKET_NAME = "valkey.sock"
MAX_SOCKET_PATH_BYTES = 103
"""sockaddr_un.sun_path less its NUL: 107 bytes on Linux, 103 on macOS and the BSDs."""


class Xdg(BaseSettings):
    """The directories of the XDG Base Directory Specification 0.8; empty where not set."""

    xdg_data_home: str = ""
    xdg_runtime_dir: str = ""


def default_data_dir() -> Path:
    """`$XDG_DATA_HOME/credstream`, or `~/.local/share/credstream` (XDG Base Directory 0.8)."""
    base = Xdg().xdg_data_home
    # The specification: a relative path there is invalid and is to be ignored.
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share"
    return root / "credstream"


def socket_path(data_dir: Path) -> Path:
    """Where the server of `data_dir` listens.

    In the data directory itself, unless that path is longer than a unix socket's name may be:
    then in a short private directory, `$XDG_RUNTIME_DIR/credstream-<hash>` or, without one,
    `/tmp/credstream-<uid>-<hash>`, the hash being that of the data directory's path.
    """
    path = data_dir.resolve() / SOCKET_NAME
    if _fits(path):
        return path
    tag = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]
    runtime = Xdg().xdg_runtime_dir
    if Path(runtime).is_absolute():
        short = Path(runtime) / f"credstream-{tag}" / SOCKET_NAME
        if _fits(short):
            return short
    return Path(tempfile.gettempdir()) / f"credstream-{os.getuid()}-{tag}" / SOCKET_NAME


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES


def running_socket() -> Path | None:
    """The socket of this user's `credstream up` in its default data directory, if a server
    accepts connections there; None where none runs."""
    if not hasattr(socket, "AF_UNIX"):
        return None
    try:
        path = socket_path(default_data_dir())
        if path.stat().st_uid != os.getuid():
            return None
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            probe.connect(str(path))
    except (OSError, RuntimeError):  # RuntimeError: this user has no home directory
        return None
    return path
