"""The bytes of a message: names of files, headers that are not folded, bounds."""

import email
import json
from datetime import UTC, datetime
from email.policy import SMTPUTF8
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from consumers.mail import message as module
from consumers.mail.filename import MAX_BYTES, media_type, safe_filename
from consumers.mail.message import Letter, Outgoing, build
from consumers.mail.settings import Sender
from consumers.processor import Reject
from schemas.queues.emails import Attachment

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "email.json").read_text())
DATE = datetime(2026, 11, 24, tzinfo=UTC)
EXPECTED = {
    "bidi control removed": "invoicefdp.exe",
    "kept (RFC 2231)": "résumé 日本.pdf",
    "one parameter only": "a_; filename=_evil.exe",
}


def built(**changes: Any) -> Outgoing:
    letter: dict[str, Any] = {
        "message_id": "<ABC@example.org>",
        "date": DATE,
        "sender": Sender("Example", "a@example.org"),
        "to": "jane@example.com",
        "subject": "x",
        "text": "text",
        "html": "<p>html</p>",
    }
    return build(Letter(**letter | changes), None)


@pytest.mark.parametrize("row", VECTORS["filenames"])
def test_vectors_of_file_names(row: dict[str, str]) -> None:
    if "or rejected" in row["expect"]:
        with pytest.raises(ValidationError):
            Attachment(filename=row["given"], content="x")
        return
    expected = EXPECTED.get(row["expect"], row["expect"])
    assert safe_filename(row["given"]) == expected
    content = built(attachments=[Attachment(filename=row["given"], content="x")]).content
    (part,) = email.message_from_bytes(content, policy=SMTPUTF8).iter_attachments()  # type: ignore[attr-defined]
    assert part.get_filename() == expected
    assert set(part["Content-Disposition"].params) == {"filename"}
    assert part.get_content_disposition() == "attachment"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/etc/passwd", "passwd"),
        ("C:\\a\\b.txt", "b.txt"),
        ("a/", "attachment"),
        ("..", "attachment"),
        (" . ", "attachment"),
        ("e\u0301.txt", "é.txt"),
        ("\u200ba\ufeff.txt", "a.txt"),
        ("x" * 300 + ".pdf", "x" * 146 + ".pdf"),
        ("ü" * 100 + ".pdf", "ü" * 73 + ".pdf"),
        ("a." + "y" * 300, ("a." + "y" * 300)[:150]),
        ("a:b<c>|d", "a_b_c__d"),
    ],
)
def test_file_names(given: str, expected: str) -> None:
    assert safe_filename(given) == expected
    assert len(expected.encode()) <= MAX_BYTES


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.pdf", "application/pdf"),
        ("A.PNG", "image/png"),
        ("a.txt", "text/plain"),
        ("a.eml", "application/octet-stream"),
        ("a.tar.gz", "application/octet-stream"),
        ("a.nothing", "application/octet-stream"),
        ("attachment", "application/octet-stream"),
    ],
)
def test_media_types_go_by_the_extension(name: str, kind: str) -> None:
    assert "/".join(media_type(name)) == kind
    content = built(attachments=[Attachment(filename=name, content="ü\r\n.\r\n")]).content
    (part,) = email.message_from_bytes(content, policy=SMTPUTF8).iter_attachments()  # type: ignore[attr-defined]
    assert part.get_content_type() == kind
    assert part.get_payload(decode=True) == "ü\r\n.\r\n".encode()


def test_list_unsubscribe_is_not_folded() -> None:
    url = VECTORS["folding"]["value"].strip("<>")
    content = built(unsubscribe_url=url).content
    assert f"\r\nList-Unsubscribe: <{url}>\r\n".encode() in content
    assert VECTORS["folding"]["must_not_contain"].encode() not in content


def test_no_line_is_longer_than_smtp_allows() -> None:
    outgoing = built(
        subject="ü " * 490, text="x" * 5_000, html="y" * 5_000, sender=Sender("ü" * 300, "a@b.com"),
        cc=[f"{'c' * 60}{n}@example.com" for n in range(10)],
        attachments=[Attachment(filename="a.bin", content="z" * 5_000)],
    )  # fmt: skip
    assert max(len(line) for line in outgoing.content.split(b"\r\n")) <= 998


def test_control_characters_of_a_text_stay_out() -> None:
    content = built(text="a\x00b\x1b[31m\x0cc\td", html="<p>\x00\x85</p>").content
    assert not set(content) & (set(range(32)) - {9, 10, 13})


def test_a_message_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MESSAGE_BYTES", 2_000)
    built()
    with pytest.raises(Reject) as caught:
        built(text="x" * 2_000)
    assert caught.value.code == "message_too_large"


@pytest.mark.parametrize("name", ["sender", "reply_to", "tags", "metadata", "unsubscribe_url"])
@pytest.mark.parametrize("evil", ["a\r\nBcc: x@y.z", "=?utf-8?q?a=0ABcc:_x@y.z?="])
def test_no_part_of_a_letter_carries_a_header(name: str, evil: str) -> None:
    values: dict[str, Any] = {
        "sender": Sender(evil, "a@b.com"),
        "reply_to": evil,
        "tags": [evil],
        "metadata": {"a": evil},
        "unsubscribe_url": evil,
    }
    with pytest.raises(Reject) as caught:
        built(**{name: values[name]})
    assert caught.value.code == "header_unsafe"


@pytest.mark.parametrize("name", ["a b", "a:b", "a\r\nBcc: x@y.z\r\nX"])
def test_no_name_of_metadata_makes_a_header_of_its_own(name: str) -> None:
    with pytest.raises(Reject):
        built(metadata={name: "x"})
