"""What an e-mail may say."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from schemas.queues.emails import Email, decode_attachment

Places = Callable[..., set[str]]
Good = Mapping[type[BaseModel], dict[str, Any]]


@pytest.mark.parametrize(
    "to",
    [
        "", "evil", "a@b.com\r\nBcc: x@y.z", "g: a@b.com, c@d.com;", '"a b"@c.com',
        "a@[127.0.0.1]", "a@localhost", "a@b..com", ".a@b.com", "a@b.com>", "a@b.com> SIZE=1",
        "a@b.com>\r\nRCPT TO:<evil@x.y", "a@b.com,c@d.com", "A <a@b.com>", "a@b.com\n", "a@-b.com",
        "a@@b.com", "x" * 65 + "@b.com", ["a@b.com"],
    ],
)  # fmt: skip
def test_an_email_goes_to_exactly_one_mailbox(places: Places, to: object) -> None:
    assert places(Email, to=to) == {"to"}


@pytest.mark.parametrize("to", ["a@b.com", "a+tag@b.com", "josé@exämple.com", "o'x@a-b.co.uk"])
def test_a_mailbox(good: Good, to: str) -> None:
    Email.model_validate(good[Email] | {"to": to})


@pytest.mark.parametrize(
    "subject",
    [
        "a\r\nBcc: x@y.z", "a\rb", "a\x85b", "a\x0bb", "a\x1cb", "a\u2028b", "a\u2029b", "a\x00",
        "=?utf-8?q?a=0ABcc:_x@y.z?=", "=?UTF-8?B?YQ0KQmNjOiB4QHkueg==?=",
        "A =?UTF-8?Q?=0A?=Bcc: injected@example.com", "x" * 999,
    ],
)  # fmt: skip
def test_a_subject_cannot_carry_a_header(places: Places, subject: str) -> None:
    assert places(Email, subject=subject) == {"subject"}


@pytest.mark.parametrize("template", ["", "../etc/passwd", "A", "a b", "a\n", "-a", "a" * 65])
def test_a_template_is_named_not_located(places: Places, template: str) -> None:
    assert places(Email, template=template) == {"template"}


@pytest.mark.parametrize(
    "attachment",
    [
        {"filename": "a", "content": "aGk", "encoding": "base64"},
        {"filename": "a", "content": "a Gk=", "encoding": "base64"},
        {"filename": "a", "content": "686", "encoding": "hex"},
        {"filename": "a", "content": "x", "encoding": "rot13"},
        {"filename": "x" * 256, "content": "x"},
        {"filename": "a\r\nX-Evil: 1.txt", "content": "x"},
        {"filename": "a\u2028b", "content": "x"},
        {"filename": "=?utf-8?q?a=0Ab?=.txt", "content": "x"},
        {"filename": "a", "content": "x", "path": "/etc/passwd"},
        {"filename": "a"},
    ],
)
def test_attachments_that_are_refused(places: Places, attachment: dict[str, str]) -> None:
    assert places(Email, attachments=[attachment]) == {"attachments"}


def test_attachments_have_bounds(places: Places) -> None:
    one = {"filename": "a", "content": "x"}
    assert places(Email, attachments=[one] * 11) == {"attachments"}
    half = {"filename": "a", "content": "x" * (6 * 1024 * 1024)}
    assert places(Email, attachments=[half, half]) == {"attachments"}


VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "email.json").read_text())


@pytest.mark.parametrize("row", VECTORS["header_injection"])
def test_vectors_of_header_injection(places: Places, row: dict[str, str]) -> None:
    assert places(Email, **{row["field"]: row["value"]}) == {row["field"]}


@pytest.mark.parametrize("to", VECTORS["recipients_reject"])
def test_vectors_of_recipients_that_are_refused(places: Places, to: str) -> None:
    assert places(Email, to=to) == {"to"}
    assert places(Email, cc=["a@b.com", to]) == {"cc"}
    assert places(Email, replyTo=to) == {"replyTo"}


@pytest.mark.parametrize("to", VECTORS["recipients_accept"])
def test_vectors_of_recipients(good: Good, to: str) -> None:
    to = to.partition(" (")[0]
    Email.model_validate(good[Email] | {"to": to, "cc": [to], "replyTo": to})


@pytest.mark.parametrize("row", VECTORS["attachments"])
def test_vectors_of_attachments(places: Places, good: Good, row: dict[str, str]) -> None:
    attachment = {"filename": "a", "content": row["content"], "encoding": row["encoding"]}
    if "error" in row:
        assert places(Email, attachments=[attachment]) == {"attachments"}
    else:
        Email.model_validate(good[Email] | {"attachments": [attachment]})
        assert decode_attachment(row["content"], row["encoding"]) == row["bytes"].encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"cc": ["a@b.com"] * 11},
        {"tags": ["x"] * 11},
        {"tags": [""]},
        {"tags": ["x" * 129]},
        {"tags": ["a\nb"]},
        {"metadata": {"a b": "x"}},
        {"metadata": {"": "x"}},
        {"metadata": {"a:b": "x"}},
        {"metadata": {"a": "x\r\nBcc: x@y.z"}},
        {"metadata": {"a": "=?utf-8?q?a=0A?="}},
        {"metadata": {"a": "x" * 513}},
        {"metadata": {"a": "x", "A": "y"}},
        {"metadata": {f"n{n}": "x" for n in range(21)}},
        {"sendAt": "tomorrow"},
        {"sendAt": "2026-02-30T00:00:00Z"},
        {"onAmbiguous": "guess"},
        {"unsubscribe": "perhaps"},
    ],
)
def test_what_goes_beside_the_message_has_bounds(places: Places, changes: dict[str, Any]) -> None:
    assert places(Email, **changes) == set(changes)


@pytest.mark.parametrize("name", ["from", "sender", "From", "bcc", "headers", "to2"])
def test_a_job_cannot_say_who_sends_or_what_headers_there_are(places: Places, name: str) -> None:
    assert places(Email, **{name: "a@b.com"}) == {name}


def test_everything_a_job_may_say(good: Good) -> None:
    Email.model_validate(
        {name: value for name, value in good[Email].items() if name != "subject"}
        | {
            "cc": ["a@b.com"],
            "replyTo": "a@b.com",
            "metadata": {"Order-1": "ü"},
            "tags": ["welcome"],
            "sendAt": "2030-01-01T00:00:00+01:00",
            "onAmbiguous": "hold",
            "unsubscribe": True,
        }
    )
