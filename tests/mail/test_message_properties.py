"""Whatever the payload model lets pass becomes a message that says just that, or none."""

import email
from email.policy import SMTPUTF8
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from consumers.mail.filename import safe_filename
from consumers.mail.message import Letter, build
from consumers.mail.settings import Sender
from schemas.queues.emails import Email
from tests.mail.test_message import DATE

ANY = st.text(st.characters(codec="utf-8"), max_size=200)
PLAIN = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=200
) | st.text(st.sampled_from("=?utf-8qbQB_:;<>\"'\\()[]@,. üé日\u202ea"), max_size=80)
HEADER = PLAIN.map(lambda text: text.replace("?", "!") if "=?" in text else text)


@given(
    subject=HEADER,
    tags=st.lists(HEADER.filter(lambda text: 0 < len(text) <= 128), max_size=3),
    metadata=st.dictionaries(st.sampled_from(["A", "order-id"]), HEADER, max_size=2),
    message=ANY | PLAIN,
    filename=HEADER,
    name=HEADER,
)
@example(subject="=", tags=[], metadata={}, message="", filename='"', name='"')
def test_headers_are_those_that_were_set(
    subject: str,
    tags: list[str],
    metadata: dict[str, str],
    message: str,
    filename: str,
    name: str,
) -> None:
    payload: dict[str, Any] = {
        "to": "jane@example.com",
        "subject": subject,
        "template": "notice",
        "context": {"message": message},
        "organizationId": "o",
        "tags": tags,
        "metadata": metadata,
        "attachments": [{"filename": filename, "content": message}],
    }
    job = Email.model_validate(payload)
    sender = Sender(name, "a@b.com")
    letter = Letter(
        "<X@b.com>", DATE, sender, job.to, subject, message, message,
        tags=tags, metadata=metadata, attachments=job.attachments or (),
    )  # fmt: skip
    content = build(letter, None).content
    read: Any = email.message_from_bytes(content, policy=SMTPUTF8)
    expected = ["From", "To", "Subject", "Date", "Message-ID", *["X-Tag"] * len(tags)]
    expected += [f"X-Metadata-{one}" for one in metadata] + ["MIME-Version", "Content-Type"]
    assert read.keys() == expected
    assert " ".join(str(read["Subject"]).split()) == " ".join(subject.split())
    assert [str(one.addr_spec) for one in read["From"].addresses] == ["a@b.com"]
    (part,) = read.iter_attachments()
    assert part.get_filename() == safe_filename(filename)
    assert max(len(line) for line in content.split(b"\r\n")) <= 998
