"""Mail for development: nothing is sent, every message becomes a file that can be looked at."""

import asyncio
import os
import re
import secrets
from pathlib import Path

from consumers.mail.message import Outgoing
from consumers.mail.settings import MailError
from consumers.mail.smtp import Accepted, BeforeData

FOLDER = "mail"
"""Below DATA_DIR."""
KEPT = 1_000
"""The oldest beyond these are deleted."""
_ID = re.compile(r"<([A-Z2-7]{32})@")


class Capture:
    """Writes `<epoch ms>-<id>.eml`: a message and, before it, the envelope in trace headers.

    The name follows from the job, so what is sent again takes the place of what was there."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder. Raises MailError when that cannot be."""
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise MailError(f"Captured mail cannot be stored in {folder}: {error}.") from None

    async def send(self, outgoing: Outgoing, before_data: BeforeData) -> Accepted:
        """Store the message."""
        await before_data()
        name = await asyncio.to_thread(self._store, outgoing)
        return Accepted(f"250 captured as {name}")

    async def close(self) -> None:
        """Nothing is open."""

    def _store(self, outgoing: Outgoing) -> str:
        found = _ID.match(outgoing.message_id)
        identifier = found.group(1).lower() if found else secrets.token_hex(16)
        name = f"{outgoing.created_ms:013d}-{identifier}.eml"
        to = "".join(f"Delivered-To: {one}\r\n" for one in outgoing.recipients)
        envelope = f"Return-Path: <{outgoing.sender}>\r\n{to}".encode()
        _write(self._folder / name, envelope + outgoing.content)
        self._shed()
        return name

    def _shed(self) -> None:
        names = sorted(path for path in self._folder.glob("*.eml"))
        for path in names[:-KEPT]:
            path.unlink(missing_ok=True)


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing: whoever lists the folder never reads half a message."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fresh.touch(mode=0o600, exist_ok=False)
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
