"""What an e-mail may say."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from schemas.queues.emails import Email

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
        {"filename": "", "content": "x"},
        {"filename": "a\r\nX-Evil: 1.txt", "content": "x"},
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
