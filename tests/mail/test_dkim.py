"""Signatures that a verifier of its own accepts, and what breaks them (EM-16)."""

import re
import sys
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from consumers.mail.dkim import Signer
from consumers.mail.settings import MailError


def pem(key: Any, kind: Any = serialization.PrivateFormat.PKCS8) -> bytes:
    encoded: bytes = key.private_bytes(
        serialization.Encoding.PEM, kind, serialization.NoEncryption()
    )
    return encoded


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2_048)


@pytest.fixture
def key_file(key: rsa.RSAPrivateKey, tmp_path: Path) -> Path:
    path = tmp_path / "dkim.pem"
    path.write_bytes(pem(key))
    return path


def verified(content: bytes, key: rsa.RSAPrivateKey) -> bool:
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    import base64

    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)

    def look_up(name: bytes, timeout: int = 5) -> bytes:
        assert name == b"s1._domainkey.example.org."
        return record

    return bool(dkim.verify(content, dnsfunc=look_up))


async def test_what_arrives_is_signed(
    desk: Any, relay: Any, smtp_env: Any, key: Any, key_file: Path
) -> None:
    smtp_env(
        MAIL_DKIM_DOMAIN="example.org", MAIL_DKIM_SELECTOR="s1", MAIL_DKIM_KEY_FILE=key_file,
        MAIL_SENDERS='{"org-b": "b@example.net", "org-c": "c@mail.example.org"}',
        PUBLIC_URL="https://app.example.com/" + "p" * 200,
    )  # fmt: skip
    async with desk() as at:
        await at.send(unsubscribe=True, context={"message": "Grüße\n.\n..x\n" + "long " * 300})
        await at.send(organizationId="org-b")
        await at.send(organizationId="org-c")
    signed, foreign, below = (got.content for got in relay.received)
    assert verified(signed, key)
    assert verified(below, key)
    assert b"DKIM-Signature" not in foreign
    header = re.sub(rb"\s+", b"", signed[: signed.index(b"\r\nFrom:")])
    assert b"a=rsa-sha256" in header
    assert b"c=relaxed/relaxed" in header
    names = re.search(rb"h=([^;]+);", header)
    assert names is not None
    covered = names.group(1).lower().split(b":")
    for name in (b"from", b"to", b"subject"):
        assert covered.count(name) == 2
    for name in (b"date", b"message-id", b"list-unsubscribe", b"list-unsubscribe-post"):
        assert name in covered
    for extra in (b"From: evil@x.y", b"To: x@y.z", b"Subject: other"):
        assert not verified(extra + b"\r\n" + signed, key)
    other = signed.replace(b"List-Unsubscribe-Post: List-U", b"List-Unsubscribe-Post: list-U")
    assert other != signed
    assert not verified(other, key)


def test_whose_mail_is_signed(key_file: Path) -> None:
    signer = Signer("Example.org", "s1", key_file)
    assert signer.signs("a@example.org")
    assert signer.signs("a@mail.EXAMPLE.org")
    assert not signer.signs("a@badexample.org")
    assert not signer.signs("a@org")


def test_both_forms_of_a_key(key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(pem(key, serialization.PrivateFormat.TraditionalOpenSSL))
    assert verified(Signer("example.org", "s1", path).sign(b"From: a@b.c\r\n\r\nx\r\n"), key)


@pytest.mark.parametrize("content", [b"", b"x", pem(ec.generate_private_key(ec.SECP256R1()))])
def test_keys_that_cannot_sign(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(MailError, match="MAIL_DKIM_KEY_FILE"):
        Signer("example.org", "s1", path)


def test_a_key_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MailError, match="cannot be read"):
        Signer("example.org", "s1", tmp_path / "nothing")


def test_without_dkimpy(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dkim", None)
    with pytest.raises(MailError, match="extra `dkim`"):
        Signer("example.org", "s1", key_file)
