"""Where commands read their settings from: the environment of the process, and a `.env` file."""

import os
from pathlib import Path

from dotenv import dotenv_values

from credstream.sentences import WrongUsage

MAX_FILE_BYTES = 256 * 1024
from_file: set[str] = set()
"""The variables that were taken from the file."""


def load_env_file(path: Path | None) -> None:
    """Set what `path` says and the environment of the process does not.

    None: `.env` in the working directory, if there is one. Raises WrongUsage for a file that
    cannot be read."""
    file = path or Path(".env")
    if path is None and not file.is_file():
        return
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise WrongUsage(f"{file} is larger than {MAX_FILE_BYTES // 1024} KiB: not read.")
        values = dotenv_values(file)
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{file} cannot be read: {error}. Correct it, or name another.") from None
    for name, value in values.items():
        if value is not None and name not in os.environ:  # noqa: TID251 - the doorstep itself
            os.environ[name] = value  # noqa: TID251
            from_file.add(name)


def source_of(name: str) -> str:
    """Where a setting's value comes from: `file`, `environment` or `default`."""
    if name in from_file:
        return "file"
    return "environment" if name in os.environ else "default"  # noqa: TID251
