"""What a running `credstream up` was started with, for the commands beside it.

`<data dir>/up.json` (0600) holds the environment of its processes while it runs.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from streams.development import default_data_dir, running_socket

FILE = "up.json"


@contextmanager
def recorded(data_dir: Path, env: Mapping[str, str]) -> Iterator[None]:
    """Record `env` in the data directory for as long as the context lasts."""
    path = data_dir / FILE
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(dict(env), file)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def adopt_running() -> Path | None:
    """Take over the settings of this user's running `credstream up`, where the environment does
    not set them; its data directory, or None where none runs or a Redis is named."""
    from streams import RedisSettings

    if not RedisSettings().is_default or running_socket() is None:
        return None
    data_dir = default_data_dir()
    with suppress(OSError, ValueError):
        env = json.loads((data_dir / FILE).read_text())
        for name, value in env.items():
            os.environ.setdefault(name, value)  # noqa: TID251 - what the settings then read
        return data_dir
    return None
