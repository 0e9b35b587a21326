"""Mail that development workers captured instead of sending it, as files below DATA_DIR (EM-20)."""

import base64
import email
import email.policy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings, SettingsConfigDict

FOLDER = "mail"
_ID = re.compile(r"[0-9]{13}-[a-z2-7]{32}")


class CaptureSettings(BaseSettings):
    """Where captured mail lies, as for workers: DATA_DIR and APP_ENV."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    data_dir: Path | None = None
    app_env: str = "development"

    @property
    def folder(self) -> Path | None:
        """None: nothing is captured here."""
        if self.data_dir is None or self.app_env == "production":
            return None
        return self.data_dir / FOLDER


@dataclass(frozen=True, slots=True)
class Captured:
    """The folder of captured mail; it may not be there yet. Blocking: run it in a thread."""

    folder: Path

    def page(self, start: int, end: int) -> list[dict[str, Any]]:
        """The messages from `start` to `end` (inclusive), newest jobs first: id, from, to, cc,
        subject, date, size in bytes."""
        found: list[dict[str, Any]] = []
        for mail_id in self._ids()[start : end + 1]:
            raw = self.raw(mail_id)
            if raw is not None:
                found.append(_summary(mail_id, raw, _parse(raw)))
        return found

    def show(self, mail_id: str) -> dict[str, Any] | None:
        """One message: its summary, envelope, headers, both texts and the attached files."""
        raw = self.raw(mail_id)
        if raw is None:
            return None
        message = _parse(raw)
        return _summary(mail_id, raw, message) | {
            "envelope": {
                "from": str(message["Return-Path"] or "").strip("<>"),
                "to": [str(one) for one in message.get_all("Delivered-To", [])],
            },
            "headers": [{"name": name, "value": str(value)} for name, value in message.items()],
            "text": _text(message, "plain"),
            "html": _text(message, "html"),
            "attachments": list(_attachments(message)),
        }

    def raw(self, mail_id: str) -> bytes | None:
        """The .eml file; None when there is none of this id."""
        if _ID.fullmatch(mail_id) is None:
            return None
        try:
            return (self.folder / f"{mail_id}.eml").read_bytes()
        except FileNotFoundError:
            return None

    def _ids(self) -> list[str]:
        names = (path.stem for path in self.folder.glob("*.eml"))
        return sorted((name for name in names if _ID.fullmatch(name)), reverse=True)


def _parse(raw: bytes) -> EmailMessage:
    return email.message_from_bytes(raw, policy=email.policy.SMTPUTF8)


def _summary(mail_id: str, raw: bytes, message: EmailMessage) -> dict[str, Any]:
    return {
        "id": mail_id,
        "messageId": str(message["Message-ID"] or ""),
        "from": str(message["From"] or ""),
        "to": str(message["To"] or ""),
        "cc": str(message["Cc"] or ""),
        "subject": str(message["Subject"] or ""),
        "date": str(message["Date"] or ""),
        "sizeBytes": len(raw),
    }


def _text(message: EmailMessage, kind: str) -> str | None:
    part = message.get_body((kind,))
    return None if part is None else str(part.get_content()).replace("\r\n", "\n")


def _attachments(message: EmailMessage) -> Iterator[dict[str, Any]]:
    for part in message.iter_attachments():
        content = part.get_payload(decode=True)
        body = content if isinstance(content, bytes) else b""
        yield {
            "filename": part.get_filename() or "",
            "contentType": part.get_content_type(),
            "sizeBytes": len(body),
            "content": base64.b64encode(body).decode(),
        }
