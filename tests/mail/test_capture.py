"""The capture backend: whole files, one per job, nothing sent."""

import stat
from pathlib import Path
from typing import Any

import pytest
from processes import until

from consumers.mail import capture, mailer
from consumers.mail.settings import MailError
from consumers.processor import NotConfigured
from gateway.captured import Captured
from streams import errors, mail


async def test_a_message_becomes_a_file(desk: Any, mail_env: Any, tmp_path: Path) -> None:
    mail_env(MAIL_BACKEND="capture")
    async with desk() as at:
        claim = await at.take(cc=["john@example.com"])
        result = await at.run(claim)
        await at.run(await at.release(claim))
    (file,) = (tmp_path / "mail").iterdir()
    assert result["relayResponse"] == f"250 captured as {file.name}"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    shown = Captured(tmp_path / "mail").show(file.stem)
    assert shown is not None
    assert shown["messageId"] == result["messageId"]
    assert shown["from"] == "Credstream <no-reply@credstream.example>"
    assert shown["envelope"] == {
        "from": "no-reply@credstream.example",
        "to": ["jane@example.com", "john@example.com"],
    }
    assert "The message." in shown["text"]


async def test_what_is_sent_again_takes_its_place(
    desk: Any, mail_env: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_env(MAIL_BACKEND="capture")

    async def forget(*_: Any) -> None:
        return None

    async with desk() as at:
        claim = await at.take()
        monkeypatch.setattr(at.claims, "recall", forget)
        await at.run(claim)
        await at.run(claim)
        await at.send()
    assert len(list((tmp_path / "mail").iterdir())) == 2


async def test_half_a_message_is_never_seen(
    desk: Any, mail_env: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_env(MAIL_BACKEND="capture")
    seen: list[list[dict[str, Any]]] = []

    def fail(_: int) -> None:
        seen.append(Captured(tmp_path / "mail").page(0, 9))
        raise OSError(28, "No space left on device")

    async with desk() as at:
        monkeypatch.setattr(capture.os, "fsync", fail)
        with pytest.raises(OSError, match="No space"):
            await at.send()
    assert seen == [[]]
    assert list((tmp_path / "mail").iterdir()) == []


async def test_the_oldest_are_shed(
    desk: Any, mail_env: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_env(MAIL_BACKEND="capture")
    monkeypatch.setattr(capture, "KEPT", 3)
    async with desk() as at:
        sent = [(await at.send())["messageId"] for _ in range(5)]
    kept = {one["messageId"] for one in Captured(tmp_path / "mail").page(0, 9)}
    assert len(kept) == 3
    assert kept < set(sent)


async def test_capture_is_not_for_production(desk: Any, mail_env: Any) -> None:
    mail_env(MAIL_BACKEND="capture")
    with pytest.raises(MailError, match="production"):
        async with desk(production=True):
            pass


async def test_a_folder_that_cannot_be_made(desk: Any, mail_env: Any, tmp_path: Path) -> None:
    mail_env(MAIL_BACKEND="capture")
    (tmp_path / "mail").write_text("in the way")
    with pytest.raises(MailError, match="cannot be stored"):
        async with desk():
            pass


async def test_without_configuration_nothing_is_worked_on(desk: Any, mail_env: Any) -> None:
    mail_env(MAIL_FROM="a@example.com")
    with pytest.raises(NotConfigured, match="SMTP_HOST"):
        async with desk():
            pass


async def test_a_worker_starts_without_redis_and_tells_gateways_later(
    desk: Any, mail_env: Any, redis: Any, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail_env(MAIL_BACKEND="capture")
    tries: list[int] = []
    announce = mail.announce

    async def away_twice(*arguments: Any) -> None:
        tries.append(1)
        if len(tries) < 3:
            raise errors.Unavailable("not yet")
        await announce(*arguments)

    monkeypatch.setattr(mail, "announce", away_twice)
    monkeypatch.setattr(mailer, "ANNOUNCE_AGAIN_S", 0.01)
    async with desk():
        await until(lambda: raw.hexists("cs:queues", "emails"), within_s=10, what="announced")
    assert len(tries) == 3
