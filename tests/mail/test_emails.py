"""Jobs become messages at a real relay."""

import asyncio
import base64
import hashlib
import json
import threading
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from consumers.execute import Run, execute
from consumers.mail import mailer
from consumers.mail.message import Letter, build, check
from consumers.mail.settings import Sender
from consumers.outcome import Failed
from consumers.processor import Context, Reject, RetryLater
from consumers.processors.emails import PROCESSOR
from schemas.queues.emails import EmailSent
from streams import mail
from streams.audit import Deed

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "email.json").read_text())
ORG = "org-a"


async def test_a_message_arrives(desk: Any, relay: Any, smtp_env: Any) -> None:
    async with desk() as at:
        claim = await at.take(
            job_id="job-1",
            context={"message": "Grüße & <b>", "name": "Jäne"},
            cc=["john@example.com"],
            replyTo="help@example.org",
            tags=["welcome", "ünï"],
            metadata={"Order": "o-1"},
            attachments=[{"filename": "résumé 日本.pdf", "content": "aGk=", "encoding": "base64"}],
        )
        result = await at.run(claim)
    (got,) = relay.received
    message = got.message
    assert got.sender == "no-reply@example.org"
    assert got.recipients == ["jane@example.com", "john@example.com"]
    assert message["From"] == "Example <no-reply@example.org>"
    assert message["To"] == "jane@example.com"
    assert message["Cc"] == "john@example.com"
    assert message["Reply-To"] == "help@example.org"
    assert message["Subject"] == "Hello"
    assert message.get_all("X-Tag") == ["welcome", "ünï"]
    assert message["X-Metadata-Order"] == "o-1"
    assert "List-Unsubscribe" not in message
    digest = hashlib.sha256(b"org-a|emails|:job-1").digest()
    expected = f"<{base64.b32encode(digest).decode()[:32]}@example.org>"
    assert message["Message-ID"] == result["messageId"] == expected
    sent = parsedate_to_datetime(message["Date"])
    assert int(sent.timestamp()) == claim.job.timestamp // 1000
    assert result["relayResponse"] == "250 queued as 1"
    assert EmailSent.model_validate(result).model_dump(by_alias=True) == result
    bodies = message.get_body(("plain",)), message.get_body(("html",))
    assert "Grüße & <b>" in bodies[0].get_content()
    assert "Grüße &amp; &lt;b&gt;" in bodies[1].get_content()
    alternative = message.get_payload()[0]
    assert alternative.get_content_type() == "multipart/alternative"
    kinds = [part.get_content_type() for part in alternative.get_payload()]
    assert kinds == ["text/plain", "text/html"]
    (file,) = list(message.iter_attachments())
    assert file.get_filename() == "résumé 日本.pdf"
    assert file.get_content_type() == "application/pdf"
    assert file.get_content_disposition() == "attachment"
    assert file.get_content() == b"hi"


async def test_a_message_with_files_is_written_beside_the_event_loop(
    desk: Any, relay: Any, smtp_env: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten MiB take seconds, in which a worker must say that it is alive."""
    threads: list[bool] = []

    def written(*args: Any) -> Any:
        threads.append(threading.current_thread() is threading.main_thread())
        return build(*args)

    monkeypatch.setattr(mailer, "build", written)
    async with desk() as at:
        await at.send(attachments=[{"filename": "a.txt", "content": "a"}])
        await at.send()
    assert threads == [False, True]


async def test_message_ids_are_stable_and_never_shared(
    desk: Any, relay: Any, smtp_env: Any
) -> None:
    async with desk() as at:
        first = await at.take(job_id="a")
        again = await at.release(first)
        assert (await at.run(again))["messageId"]
        for organization, job_id in [
            ("org-a", "b"), ("org-b", "c"), ("a|emails|x", "y"), ("a", "x|emails|y"),
            ("a%7Cemails|x", "z"),
        ]:  # fmt: skip
            await at.send(job_id=job_id, organizationId=organization)
    ids = [got.message["Message-ID"] for got in relay.received]
    assert len(set(ids)) == len(ids) == 6


async def test_the_subject_may_come_from_the_template(desk: Any, relay: Any, smtp_env: Any) -> None:
    context = {"name": "J", "issuer_name": "Uni", "credential_name": "BSc"}
    async with desk() as at:
        await at.send(template="credential-issued", subject=None, context=context)
        await at.send(template="credential-revoked", subject="Mine", context=context)
        with pytest.raises(Reject) as caught:
            await at.send(subject=None)
        assert caught.value.code == "subject_missing"
        bad = context | {"credential_name": "x\r\nBcc: x@y.z"}
        with pytest.raises(Reject) as caught:
            await at.send(template="credential-issued", subject=None, context=bad)
        assert caught.value.code == "header_unsafe"
    subjects = [got.message["Subject"] for got in relay.received]
    assert subjects == ["Your credential BSc", "Mine"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"template": "nope"}, "template_unknown"),
        ({"context": {}}, "template_context_invalid"),
        ({"context": {"message": ["canary"]}}, "template_context_invalid"),
        (
            {"context": {"message": "x", "action_url": "https://canary b"}},
            "template_render_failed",
        ),
        ({"context": {"message": "x" * (1024 * 1024)}}, "template_output_too_large"),
    ],
)
async def test_what_a_template_cannot_take_fails_at_once(
    desk: Any, relay: Any, smtp_env: Any, changes: dict[str, Any], code: str
) -> None:
    async with desk() as at:
        with pytest.raises(Reject) as caught:
            await at.send(**changes)
    assert caught.value.code == code
    assert str(changes.get("template", "notice")) in str(caught.value)
    assert "canary" not in str(caught.value)
    assert relay.commands == []


@pytest.mark.parametrize("row", VECTORS["header_injection"])
async def test_header_injection_never_reaches_the_wire(
    desk: Any, relay: Any, smtp_env: Any, row: dict[str, str]
) -> None:
    """Past the door as well: a payload written by hand, values of a template, a letter."""
    async with desk() as at:
        claim = await at.take()
        claim.job.document["data"][row["field"]] = row["value"]
        run = Run(claim, Context(at.claims, claim, at.mailer))
        outcome = await execute(run, PROCESSOR, at.claims.payload)
        assert isinstance(outcome, Failed)
        assert outcome.error["code"] == "invalid_payload"
        context = {"name": "J", "issuer_name": "Uni", "credential_name": row["value"]}
        with pytest.raises(Reject) as caught:
            await at.send(template="credential-issued", subject=None, context=context)
        assert caught.value.code == "header_unsafe"
    letter = Letter(
        "<A@b.c>", datetime.now(UTC), Sender("", "a@b.c"), "x@y.z", row["value"], "x", "<p>x</p>"
    )
    with pytest.raises(Reject) as caught:
        build(letter, None)
    assert caught.value.code == "header_unsafe"
    assert relay.sessions == []
    assert relay.commands == []


def test_headers_that_appear_by_themselves_are_noticed() -> None:
    """What CPython 3.11.7 makes of an encoded word, and what a file name could smuggle."""
    check(b"Subject: x\r\nTo: a@b.c\r\n\r\nbody\r\n", ["subject", "To"])
    for content in (
        b"Subject: a\nBcc: x@y.z\r\nTo: a@b.c\r\n\r\n",
        b"Subject: a\r\nBcc: x@y.z\r\nTo: a@b.c\r\n\r\n",
        b"Subject: a\r\n\r\nTo: a@b.c\r\n\r\n",
        b"Subject: a\r\nTo: a@b.c\r\n\r\nx\ny\r\n",
        b"Subject: a\r\nTo: a@b.c\r\n\r\nx\ry\r\n",
        b"To: a@b.c\r\nSubject: a\r\n\r\n",
    ):
        with pytest.raises(Reject) as caught:
            check(content, ["Subject", "To"])
        assert caught.value.code == "header_unsafe"


async def test_sent_later(desk: Any, relay: Any, smtp_env: Any) -> None:
    async with desk() as at:
        with pytest.raises(RetryLater) as caught:
            await at.send(sendAt="2099-01-01T00:00:00Z")
        assert caught.value.after_ms > 365 * 24 * 3_600_000
        assert relay.commands == []
        await at.send(sendAt="2020-01-01T00:00:00+02:00")
    assert len(relay.received) == 1


async def test_a_suppressed_address_is_not_dialled(desk: Any, relay: Any, smtp_env: Any) -> None:
    where, jane = mail.tenant(ORG), mail.address_id(ORG, "jane@example.com")
    deed = Deed("test", "mail.suppress", "x").encode()
    async with desk() as at:
        await mail.suppress(at.redis, where, jane, "bounced", duration_ms=60_000, who=deed)
        with pytest.raises(Reject) as caught:
            await at.send(to="JANE@Example.com")
        assert caught.value.code == "recipient_suppressed"
        assert relay.sessions == []
        await at.send(to="john@example.com", cc=["jane@example.com", "jim@example.com"])
        await at.send(organizationId="org-b")
        await mail.allow(at.redis, where, jane, deed)
        await at.send()
    assert [got.recipients for got in relay.received] == [
        ["john@example.com", "jim@example.com"],
        ["jane@example.com"],
        ["jane@example.com"],
    ]
    assert relay.received[0].message["Cc"] == "jim@example.com"


async def test_unsubscribe_links(desk: Any, relay: Any, smtp_env: Any) -> None:
    base = "https://app.example.com/" + "p" * 300
    smtp_env(PUBLIC_URL=base)
    async with desk() as at:
        await at.send(unsubscribe=True)
        secret = await mail.link_secret(at.redis)
    (got,) = relay.received
    message = got.message
    link = message["List-Unsubscribe"]
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert link.startswith(f"<{base}/mail/unsubscribe/")
    assert f"\r\nList-Unsubscribe: {link}\r\n".encode() in got.content
    assert b"=?utf-8?" not in got.content
    token = link.removesuffix(">").rpartition("/")[2]
    named = mail.read_token(secret, token)
    assert named == (mail.tenant(ORG), mail.address_id(ORG, "jane@example.com"))
    assert link.strip("<>") in message.get_body(("plain",)).get_content()
    assert link.strip("<>") in message.get_body(("html",)).get_content()


async def test_senders_are_the_configurations(desk: Any, relay: Any, smtp_env: Any) -> None:
    smtp_env(
        MAIL_SENDERS='{"org-b": "Ünï <b@example.net>"}', MAIL_BOUNCE_ADDRESS="bounce@example.org"
    )
    async with desk() as at:
        await at.send()
        await at.send(organizationId="org-b")
    assert [got.sender for got in relay.received] == ["bounce@example.org"] * 2
    names = [str(got.message["From"]) for got in relay.received]
    assert names == ["Example <no-reply@example.org>", "Ünï <b@example.net>"]
    assert relay.received[1].message["Message-ID"].endswith("@example.net>")


async def test_an_organization_without_a_sender_sends_nothing(
    desk: Any, relay: Any, smtp_env: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MAIL_FROM")
    smtp_env(MAIL_SENDERS='{"org-b": "b@example.net"}')
    async with desk() as at:
        with pytest.raises(Reject) as caught:
            await at.send()
        assert caught.value.code == "sender_not_allowed"
        await at.send(organizationId="org-b")
    assert len(relay.received) == 1


@pytest.mark.parametrize("row", VECTORS["body_smuggling"])
async def test_bodies_arrive_stuffed_with_crlf_only(
    desk: Any, relay: Any, smtp_env: Any, row: dict[str, str]
) -> None:
    async with desk() as at:
        await at.send(context={"message": row["body"]})
    (got,) = relay.received
    assert relay.commands == ["MAIL no-reply@example.org", "RCPT jane@example.com", "DATA"]
    assert got.content.count(b"\r\n") == got.content.count(b"\n") == got.content.count(b"\r")
    body = got.message.get_body(("plain",)).get_content()
    assert body.strip().splitlines() == row["body"].strip().splitlines()


async def test_addresses_beyond_ascii(desk: Any, relay: Any, smtp_env: Any) -> None:
    async with desk() as at:
        await at.send(to="jösé@exämple.com")
        await at.send(to="jose@exämple.com")
    assert relay.received[0].recipients == ["jösé@exämple.com"]
    assert "SMTPUTF8" in relay.received[0].options
    assert relay.received[1].recipients == ["jose@xn--exmple-cua.com"]
    assert "SMTPUTF8" not in relay.received[1].options


async def test_a_relay_without_smtputf8(desk: Any, relay_with: Any, smtp_env: Any) -> None:
    async with relay_with(enable_SMTPUTF8=False) as plain:
        smtp_env(SMTP_PORT=plain.port)
        async with desk() as at:
            with pytest.raises(Reject) as caught:
                await at.send(to="jösé@example.com")
            assert caught.value.code == "smtputf8_unsupported"
            await at.send()
        assert len(plain.received) == 1
        assert [command[:4] for command in plain.commands] == ["MAIL", "RCPT", "DATA"]


async def test_many_at_once_share_the_pool(desk: Any, relay: Any, smtp_env: Any) -> None:
    async with desk() as at:
        claims = [await at.take() for _ in range(10)]
        await asyncio.gather(*(at.run(claim) for claim in claims[:5]))
        assert at.mailer.backend.idle == 5
        await asyncio.gather(*(at.run(claim) for claim in claims[5:]))
        assert at.mailer.backend.idle == 5
        assert len(relay.sessions) == 5
    assert len({got.message["Message-ID"] for got in relay.received}) == 10


@pytest.mark.parametrize(("url", "warned"), [("https://a.example", 0), ("http://a.example", 1)])
async def test_links_that_no_mail_provider_offers_are_told_at_start(
    desk: Any, relay: Any, smtp_env: Any, caplog: pytest.LogCaptureFixture, url: str, warned: int
) -> None:
    smtp_env(PUBLIC_URL=url)
    async with desk():
        assert caplog.text.count("PUBLIC_URL is http://a.example, set it to the https") == warned
