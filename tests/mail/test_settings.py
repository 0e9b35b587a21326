"""Settings that cannot work are told at start, with what to change."""

from typing import Any

import pytest
from pydantic import ValidationError

from consumers.mail.settings import MailSettings, Sender

SMTP = {"SMTP_HOST": "mail.example.com", "MAIL_FROM": "a@example.com"}


@pytest.mark.parametrize(
    ("text", "sender"),
    [
        ("a@example.com", Sender("", "a@example.com")),
        ("Acme <a@example.com>", Sender("Acme", "a@example.com")),
        ('"Acme, Inc." <a@example.com>', Sender("Acme, Inc.", "a@example.com")),
        ("Ünï <a@exämple.com>", Sender("Ünï", "a@xn--exmple-cua.com")),
        ("<a@example.com>", Sender("", "a@example.com")),
    ],
)
def test_senders(mail_env: Any, text: str, sender: Sender) -> None:
    mail_env(MAIL_FROM=text)
    assert MailSettings().mail_from == sender


@pytest.mark.parametrize(
    "text",
    ["x", "a@b", "a@b.com, c@d.com", "A <a@b.com", "a@b.com\nBcc: x@y.z", "A\nB <a@b.com>",
     "=?utf-8?q?x?= <a@b.com>", "jösé@example.com"],
)  # fmt: skip
def test_text_that_is_no_sender(mail_env: Any, text: str) -> None:
    mail_env(MAIL_FROM=text)
    with pytest.raises(ValidationError):
        MailSettings()


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({"MAIL_BACKEND": "smtp"}, "SMTP_HOST"),
        ({"SMTP_HOST": "mail.example.com"}, "MAIL_FROM"),
        (SMTP | {"SMTP_TLS": "none"}, "clear text"),
        (SMTP | {"SMTP_TLS": "none", "SMTP_HOST": "10.0.0.1"}, "clear text"),
        (SMTP | {"SMTP_USERNAME": "me"}, "SMTP_PASSWORD"),
        (SMTP | {"SMTP_TLS": "opportunistic"}, "smtp_tls"),
        (SMTP | {"MAIL_DKIM_DOMAIN": "example.com"}, "MAIL_DKIM_SELECTOR"),
        (SMTP | {"MAIL_ON_AMBIGUOUS": "guess"}, "mail_on_ambiguous"),
        (SMTP | {"MAIL_BOUNCE_ADDRESS": "x"}, "mail_bounce_address"),
        (SMTP | {"PUBLIC_URL": "ftp://x"}, "public_url"),
        (SMTP | {"MAIL_SENDERS": '{"org": "x"}'}, "mail_senders"),
        ({"MAIL_BACKEND": "carrier-pigeon"}, "mail_backend"),
    ],
)
def test_settings_that_do_not_fit(mail_env: Any, env: dict[str, str], told: str) -> None:
    mail_env(**env)
    with pytest.raises(ValidationError, match=told):
        MailSettings()


@pytest.mark.parametrize(
    ("env", "backend", "port"),
    [
        ({}, None, 587),
        (dict.fromkeys((name.upper() for name in MailSettings.model_fields), ""), None, 587),
        (SMTP, "smtp", 587),
        (SMTP | {"SMTP_TLS": "tls"}, "smtp", 465),
        (SMTP | {"SMTP_TLS": "none", "SMTP_HOST": "::1"}, "smtp", 25),
        (SMTP | {"SMTP_TLS": "none", "SMTP_HOST": "127.0.0.9", "SMTP_PORT": "2525"}, "smtp", 2525),
        (SMTP | {"MAIL_BACKEND": "capture"}, "capture", 587),
    ],
)
def test_what_is_used(mail_env: Any, env: dict[str, str], backend: str | None, port: int) -> None:
    mail_env(**env)
    settings = MailSettings()
    assert (settings.backend, settings.port) == (backend, port)


def test_the_password_is_not_shown(mail_env: Any) -> None:
    mail_env(**SMTP, SMTP_USERNAME="me", SMTP_PASSWORD="canary")
    settings = MailSettings()
    assert "canary" not in repr(settings)
    assert settings.password() == "canary"


def test_capture_has_a_sender_unless_organizations_are_named(mail_env: Any) -> None:
    mail_env(MAIL_BACKEND="capture")
    assert MailSettings().sender_of("org") is not None
    mail_env(MAIL_SENDERS='{"org-b": "b@example.net"}')
    settings = MailSettings()
    assert settings.sender_of("org") is None
    assert settings.sender_of("org-b") == Sender("", "b@example.net")
