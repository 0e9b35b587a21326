"""Payloads and results of jobs at rest: AES-256-GCM under a data key, which lies beside each of
them, wrapped by a key-encryption key of the ring `data`.

A sealed text is `1.<KEK>.<wrapped data key>.<nonce and ciphertext>`, the last two in base64url. The
name of what is sealed is authenticated with it, so a text opens in no other place. A data key seals
what one process seals within an hour: opening costs one unwrapping per key, not per job.
"""

import base64
import os
import time
from collections.abc import Callable
from pathlib import Path

from cachetools import LRUCache
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from credentials.keyring import (
    Keyring,
    KeyringSettings,
    configured_keyring,
)

VERSION = "1"
KEY_S = 3_600.0
"""How long a data key seals; far from the 2^32 messages that one may seal with random nonces
(NIST SP 800-38D, section 8.3)."""
KEYS_CACHED = 1_024
NONCE_BYTES = 12


class PayloadCipher:
    """Seals and opens payloads under one ring. It has no repr and is never logged."""

    def __init__(self, ring: Keyring, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._ring = ring
        self._clock_s = clock_s
        self._until_s = float("-inf")
        self._head = ""
        self._sealing: AESGCM | None = None
        self._opened: LRUCache[str, AESGCM] = LRUCache(KEYS_CACHED)

    def seal(self, plain: bytes, name: str) -> str:
        """`plain` as a text that opens only under `name`."""
        now_s = self._clock_s()
        if self._sealing is None or now_s >= self._until_s:
            key = os.urandom(32)
            self._sealing, self._until_s = AESGCM(key), now_s + KEY_S
            self._head = f"{VERSION}.{self._ring.active}.{_text(self._ring.wrap(key))}."
        nonce = os.urandom(NONCE_BYTES)
        return self._head + _text(nonce + self._sealing.encrypt(nonce, plain, name.encode()))

    def open(self, sealed: str, name: str) -> bytes:
        """What was sealed under `name`. Raises KeyError when the ring lacks its KEK, ValueError for
        a text that was changed or belongs to another name."""
        version, _, rest = sealed.partition(".")
        kek_id, _, rest = rest.partition(".")
        wrapped, _, text = rest.partition(".")
        if version != VERSION:
            raise ValueError("it is no sealed payload of this version")
        try:
            key = self._opened.get(f"{kek_id}.{wrapped}")
            if key is None:
                if kek_id not in self._ring.names:
                    raise KeyError(f"the ring of CREDSTREAM_DATA_KEKS lacks {kek_id[:80]!r}")
                key = AESGCM(self._ring.unwrap(kek_id, _bytes(wrapped)))
                self._opened[f"{kek_id}.{wrapped}"] = key
            data = _bytes(text)
            return key.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], name.encode())
        except (ValueError, InvalidTag):
            raise ValueError("it was changed, damaged or moved") from None


def configured_cipher(data_dir: Path | None, *, production: bool) -> PayloadCipher | None:
    """The cipher of this process: None where no ring `data` is set and none was made.

    Raises KeyringError for a ring that cannot be read."""
    ring = configured_keyring(KeyringSettings(), data_dir, production=production, purpose="data")
    return None if ring is None else PayloadCipher(ring)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
