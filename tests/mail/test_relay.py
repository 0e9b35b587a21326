"""The pool of connections, and TLS as it was asked for or not at all."""

import asyncio
import logging
from typing import Any

import pytest
from processes import until
from scripted_relay import CLOSE, SILENCE, ScriptedRelay, scripted

from consumers.mail import smtp
from consumers.mail.settings import MailError
from consumers.processor import Reject, Retry

SENDER = {"MAIL_FROM": "no-reply@example.org", "SMTP_HOST": "localhost"}


async def test_a_connection_is_used_again_also_after_refusals(
    desk: Any, relay: Any, smtp_env: Any
) -> None:
    relay.replies["bad@example.com"] = "550 no such user"
    async with desk() as at:
        await at.send()
        with pytest.raises(Reject, match="550"):
            await at.send(to="bad@example.com")
        await at.send()
        relay.replies["data"] = "554 spam"
        with pytest.raises(Reject, match="554"):
            await at.send()
        del relay.replies["data"]
        await at.send()
        assert at.mailer.backend.idle == 1
    assert len(relay.received) == 3
    assert len(relay.sessions) == 1


async def test_a_connection_carries_so_many_messages(
    desk: Any, relay: Any, smtp_env: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "MESSAGES_PER_CONNECTION", 3)
    async with desk() as at:
        for _ in range(7):
            await at.send()
    assert len(relay.received) == 7
    assert len(relay.sessions) == 3


async def test_an_idle_connection_is_given_up(
    desk: Any, relay: Any, smtp_env: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "IDLE_S", 0.05)
    async with desk() as at:
        await at.send()
        assert at.mailer.backend.idle == 1
        await until(lambda: at.mailer.backend.idle == 0, within_s=10, what="closed")
        await at.send()
    assert len(relay.sessions) == 2


async def test_a_relay_that_falls_silent_after_a_refusal_has_refused(
    desk: Any, mail_env: Any
) -> None:
    """The reply counts, whatever becomes of the connection."""
    async with scripted(ScriptedRelay({"rcpt": "550 no such user", "rset": SILENCE})) as relay:
        more = {"SMTP_TLS": "none", "SMTP_PORT": relay.port, "SMTP_TIMEOUT_S": 1}
        mail_env(**SENDER, **more)
        async with desk() as at:
            with pytest.raises(Reject, match="550"):
                await at.send()
            assert at.mailer.backend.idle == 0


async def test_a_connection_that_died_in_the_pool_costs_nothing(desk: Any, mail_env: Any) -> None:
    """Closed without a word, or with 421 at the next MAIL: the message goes over a fresh one."""
    for goodbye in (CLOSE, "421 idle too long"):
        async with scripted(ScriptedRelay({"mail": ["", goodbye, ""]})) as relay:
            mail_env(**SENDER, SMTP_TLS="none", SMTP_PORT=relay.port)
            async with desk() as at:
                await at.send()
                await at.send()
        assert len(relay.messages) == 2
        assert relay.connections == 2


async def test_a_fresh_connection_that_dies_is_a_failed_attempt(desk: Any, mail_env: Any) -> None:
    async with scripted(ScriptedRelay({"mail": CLOSE})) as relay:
        mail_env(**SENDER, SMTP_TLS="none", SMTP_PORT=relay.port)
        async with desk() as at:
            with pytest.raises(Retry):
                await at.send()
    assert relay.connections == 1


async def test_goodbye_is_said_at_the_end(desk: Any, mail_env: Any) -> None:
    async with scripted(ScriptedRelay()) as relay:
        mail_env(**SENDER, SMTP_TLS="none", SMTP_PORT=relay.port)
        async with desk() as at:
            await asyncio.gather(*[at.run(await at.take()) for _ in range(3)])
        await until(lambda: relay.said.count("quit") == relay.connections, within_s=5, what="quit")


async def test_a_cancelled_delivery_drops_its_connection(desk: Any, mail_env: Any) -> None:
    from scripted_relay import SILENCE

    async with scripted(ScriptedRelay({"end-of-data": SILENCE})) as relay:
        mail_env(**SENDER, SMTP_TLS="none", SMTP_PORT=relay.port)
        async with desk() as at:
            running = asyncio.create_task(at.run(await at.take()))
            await relay.silent.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert at.mailer.backend.idle == 0


@pytest.mark.parametrize("mode", ["tls", "starttls"])
async def test_tls(desk: Any, relay_with: Any, mail_env: Any, certificates: Any, mode: str) -> None:
    options: dict[str, Any] = {"tls": certificates.server}
    if mode == "starttls":
        options = {"tls_context": certificates.server, "require_starttls": True}
    async with relay_with(**options) as relay:
        mail_env(**SENDER, SMTP_TLS=mode, SMTP_PORT=relay.port, SMTP_CA_FILE=certificates.ca_file)
        async with desk() as at:
            await at.send()
            await at.send()
    assert len(relay.received) == 2
    assert len(relay.sessions) == 1
    assert relay.sessions[0].ssl is not None or mode == "tls"


@pytest.mark.parametrize("mode", ["tls", "starttls"])
@pytest.mark.parametrize("fault", ["unknown authority", "other name"])
async def test_a_certificate_that_does_not_hold_is_an_alert_and_no_message(
    desk: Any, relay_with: Any, mail_env: Any, certificates: Any, mode: str, fault: str
) -> None:
    options = {"tls" if mode == "tls" else "tls_context": certificates.server}
    host = "127.0.0.1" if fault == "unknown authority" else "127.0.0.2"
    async with relay_with(host=host, **options) as relay:
        mail_env(**SENDER | {"SMTP_HOST": host}, SMTP_TLS=mode, SMTP_PORT=relay.port)
        if fault == "other name":
            mail_env(SMTP_CA_FILE=certificates.ca_file)
        async with desk() as at:
            with pytest.raises(Retry) as caught:
                await at.send()
    assert caught.value.code == "relay_tls_failed"
    assert relay.received == []
    assert relay.commands == []


@pytest.mark.parametrize("tls", [False, True])
async def test_no_starttls_no_message(
    desk: Any, mail_env: Any, caplog: pytest.LogCaptureFixture, tls: bool
) -> None:
    """Not offered, or offered and refused: never in clear text instead, nor the password."""
    extensions = ("AUTH PLAIN", "STARTTLS") if tls else ("AUTH PLAIN",)
    relay = ScriptedRelay({"starttls": "554 not now"}, extensions=extensions)
    async with scripted(relay):
        mail_env(**SENDER, SMTP_PORT=relay.port, SMTP_USERNAME="me", SMTP_PASSWORD="canary")
        async with desk() as at:
            with pytest.raises(Retry) as caught:
                await at.send()
    assert caught.value.code == "relay_tls_failed"
    assert not {"mail", "auth", "data"} & set(relay.said)
    assert any(one.levelno == logging.ERROR for one in caplog.records)
    assert "canary" not in caplog.text


@pytest.mark.parametrize("how", ["SMTP_PASSWORD", "SMTP_PASSWORD_FILE"])
async def test_log_in(
    desk: Any, relay_with: Any, mail_env: Any, certificates: Any, tmp_path: Any, how: str
) -> None:
    from aiosmtpd.smtp import AuthResult, LoginPassword

    seen: list[Any] = []

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        seen.append(data)
        return AuthResult(success=data == LoginPassword(b"me", b"secret"))

    options = {
        "tls_context": certificates.server,
        "require_starttls": True,
        "authenticator": check,
        "auth_required": True,
    }
    (tmp_path / "password").write_text("secret\n")
    value = "secret" if how == "SMTP_PASSWORD" else tmp_path / "password"
    async with relay_with(**options) as relay:
        mail_env(
            **SENDER,
            SMTP_PORT=relay.port,
            SMTP_CA_FILE=certificates.ca_file,
            SMTP_USERNAME="me",
            **{how: value},
        )
        async with desk() as at:
            await at.send()
    assert len(relay.received) == 1
    assert len(seen) == 1


async def test_a_password_that_cannot_be_read_is_an_alert(
    desk: Any, mail_env: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with scripted(ScriptedRelay()) as relay:
        mail_env(**SENDER, SMTP_TLS="none", SMTP_PORT=relay.port, SMTP_USERNAME="me")
        mail_env(SMTP_PASSWORD_FILE=tmp_path / "nothing")
        async with desk() as at:
            with pytest.raises(Retry) as caught:
                await at.send()
    assert caught.value.code == "relay_auth_failed"
    assert any(one.levelno == logging.ERROR for one in caplog.records)


async def test_a_ca_file_that_is_none(desk: Any, mail_env: Any, tmp_path: Any) -> None:
    mail_env(**SENDER, SMTP_CA_FILE=tmp_path / "nothing")
    with pytest.raises(MailError, match="SMTP_CA_FILE"):
        async with desk():
            pass
