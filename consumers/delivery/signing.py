"""Signatures of Standard Webhooks 1.0.0: v1 (HMAC-SHA256) and v1a (Ed25519).

Signed is `<webhook-id>.<webhook-timestamp>.<body>`; every key in use gives one entry of
`webhook-signature`, the newest first (WH-4).
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HMAC_MIN_BYTES, HMAC_MAX_BYTES = 24, 64
_HMAC_PREFIX, _ED25519_PREFIX, _PUBLIC_PREFIX = "whsec_", "whsk_", "whpk_"
_SEED_BYTES = 32
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class SecretError(ValueError):
    """Not a secret that signs. The text never holds any part of it."""


@dataclass(frozen=True, slots=True, repr=False)
class HmacKey:
    """A `whsec_` secret."""

    secret: bytes

    def sign(self, message: bytes) -> str:
        digest = hmac.new(self.secret, message, hashlib.sha256).digest()
        return f"v1,{base64.b64encode(digest).decode()}"


@dataclass(frozen=True, slots=True, repr=False)
class Ed25519Key:
    """A `whsk_` secret."""

    private: Ed25519PrivateKey

    def sign(self, message: bytes) -> str:
        return f"v1a,{base64.b64encode(self.private.sign(message)).decode()}"


Key = HmacKey | Ed25519Key


def parse_key(text: str) -> Key:
    """A key from its text: `whsec_` with 24..64 bytes, or `whsk_` with seed and public half
    (WH-5). Raises SecretError."""
    if text.startswith(_HMAC_PREFIX):
        secret = _bytes(text.removeprefix(_HMAC_PREFIX))
        if not HMAC_MIN_BYTES <= len(secret) <= HMAC_MAX_BYTES:
            raise SecretError(
                f"a whsec_ secret has {HMAC_MIN_BYTES} to {HMAC_MAX_BYTES} bytes, not {len(secret)}"
            )
        return HmacKey(secret)
    if text.startswith(_ED25519_PREFIX):
        return _ed25519(_bytes(text.removeprefix(_ED25519_PREFIX)))
    if text.startswith(_PUBLIC_PREFIX):
        raise SecretError("this is a public key (whpk_); signing needs the secret (whsk_)")
    raise SecretError("a signing secret begins with whsec_ or whsk_")


def signature(keys: Sequence[Key], webhook_id: str, timestamp_s: int, body: bytes) -> str:
    """The value of `webhook-signature`."""
    message = b"%b.%d.%b" % (webhook_id.encode(), timestamp_s, body)
    return " ".join(key.sign(message) for key in keys)


def webhook_id(organization_id: str, queue: str, job_id: str) -> str:
    """The same for every attempt and replay of a job. A job id that could be taken for something
    else in the signed text, or is too long, is replaced by its hash (WH-3)."""
    if _PLAIN_ID.fullmatch(job_id):
        return job_id
    parts = (organization_id, queue, job_id)
    whole = b"".join(b"%d:%b" % (len(raw), raw) for raw in (part.encode() for part in parts))
    digest = base64.b32encode(hashlib.sha256(whole).digest())
    return f"msg_{digest.decode().rstrip('=').lower()}"


def _ed25519(raw: bytes) -> Ed25519Key:
    if len(raw) != 2 * _SEED_BYTES:
        raise SecretError(f"a whsk_ secret has {2 * _SEED_BYTES} bytes, not {len(raw)}")
    private = Ed25519PrivateKey.from_private_bytes(raw[:_SEED_BYTES])
    if not hmac.compare_digest(private.public_key().public_bytes_raw(), raw[_SEED_BYTES:]):
        raise SecretError("the public half of this whsk_ secret is not that of its seed")
    return Ed25519Key(private)


def _bytes(text: str) -> bytes:
    """Base64 of the standard alphabet and nothing else; padding may be left out."""
    digits = text.rstrip("=")
    whole = len(text) == len(digits) or len(text) % 4 == 0
    if _BASE64.fullmatch(text) is None or len(digits) % 4 == 1 or not whole:
        raise SecretError("what follows the prefix must be base64")
    return base64.b64decode(digits + "=" * (-len(digits) % 4))
