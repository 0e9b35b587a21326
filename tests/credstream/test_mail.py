"""`credstream mail` and the mail of `credstream up`: captured, not sent."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from consumers.mail.capture import FOLDER, Capture
from consumers.mail.message import Outgoing
from credstream.cli import main

MAIL = {
    "data": {
        "to": "jane@example.com",
        "template": "credential-issued",
        "context": {
            "name": "Jane",
            "issuer_name": "Example University",
            "credential_name": "Bachelor of Science",
        },
        "organizationId": "org-123",
        "attachments": [
            {
                "filename": "diploma.pdf",
                "content": base64.b64encode(b"%PDF-1.7").decode(),
                "encoding": "base64",
            }
        ],
    }
}
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """run("list", ...): `credstream mail list ...` on this test's data."""

    def run(*words: str) -> Result:
        return CliRunner().invoke(main, ["mail", words[0], "--data-dir", str(tmp_path), *words[1:]])

    return run


async def keep(tmp_path: Path, number: int, text: str = "Hello") -> str:
    content = (
        f"From: a@b.com\r\nTo: jane@example.com\r\nSubject: [bold]no {number}\r\n"
        f"Message-ID: <X@b.com>\r\nContent-Type: text/plain\r\n\r\n{text}\r\n"
    )
    identifier = "A" * 31 + "ABCD"[number]
    outgoing = Outgoing(
        f"<{identifier}@b.com>", "a@b.com", ("jane@example.com",), content.encode(), number, False
    )

    async def nothing() -> None: ...

    await Capture(tmp_path / FOLDER).send(outgoing, nothing)
    return f"{number:013d}-{identifier.lower()}"


def test_nothing_was_captured(run: Run) -> None:
    assert run("list").exit_code == 0
    assert json.loads(run("list", "--json").output) == []
    for words in (["show"], ["show", "0000000000000-" + "a" * 32], ["show", "../x"]):
        result = run(*words)
        assert result.exit_code == 1
        assert "Traceback" not in result.output


async def test_list_and_show(run: Run, tmp_path: Path) -> None:
    ids = [await keep(tmp_path, number) for number in range(3)]
    listed = run("list", "-n", "2").output
    assert "[bold]no 2" in listed
    assert "no 0" not in listed
    assert [one["id"] for one in json.loads(run("list", "--json").output)] == ids[::-1]
    assert "Subject: [bold]no 2" in run("show").output
    shown = run("show", ids[0]).output
    assert "To: jane@example.com" in shown
    assert "Hello" in shown
    assert json.loads(run("show", ids[0], "--json").output)["envelope"]["to"] == [
        "jane@example.com"
    ]
    assert run("show", ids[0], "--raw").output.startswith("Return-Path: <a@b.com>")


async def test_a_message_does_not_reach_the_terminals_controls(run: Run, tmp_path: Path) -> None:
    await keep(tmp_path, 0, "a\x1b[2Jb\x07\u202ec")
    assert not {"\x1b", "\x07", "\u202e"} & set(run("show").output)


def test_up_captures_mail(ups: Any, run: Run, tmp_path: Path) -> None:
    unset = dict.fromkeys(("MAIL_BACKEND", "SMTP_HOST"), "")
    up = ups("--data-dir", tmp_path, **unset)
    up.wait_ready()
    assert "credstream mail list" in up.said()
    job = up.ended(up.call("POST", "/queue/emails/jobs", MAIL), "emails")
    assert job["state"] == "completed", job
    assert job["returnvalue"]["relayResponse"].startswith("250 captured as ")
    shown = run("show").output
    for line in (
        "To: jane@example.com",
        "Subject: Your credential Bachelor of Science",
        "Example University has issued you a credential: Bachelor of Science.",
        "[diploma.pdf, application/pdf, 8 bytes]",
    ):
        assert line in shown
    (listed,) = up.call("GET", "/mail/captured")
    message = up.call("GET", f"/mail/captured/{listed['id']}")
    assert message["messageId"] == job["returnvalue"]["messageId"]
    assert base64.b64decode(message["attachments"][0]["content"]) == b"%PDF-1.7"
    assert up.stop() == 0
