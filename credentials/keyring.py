"""Secrets at rest: sealed as JWE under a key-encryption key (KEK) from a ring.

A ring is `id:key` pairs separated by commas or white space, each key 32 bytes in base64 or
base64url. The first seals; all open, so a new KEK is put in front and the old one stays until
every record is sealed anew.

Each purpose has a ring of its own, so a process opens only what its role needs: `issuer` the
private keys of DIDs, `webhook` the keys that sign webhooks, `data` the payloads and results of
sealed queues. The `kid` in a seal's protected header is `<purpose>/<id>`: a seal opens under no
ring of another purpose, whatever the ids are.
"""

import base64
import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self, get_args

from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from credentials.errors import CredentialError
from credentials.keys import PrivateKey, load_private

Purpose = Literal["issuer", "webhook", "data"]
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
DEVELOPMENT_FILES: Mapping[Purpose, str] = {
    "issuer": "development.keks",
    "webhook": "development.webhook.keks",
    "data": "development.data.keks",
}
"""Where a development server keeps the rings it made for itself, in its data directory."""

_ALGORITHMS = ["A256GCMKW", "A256GCM"]
_KEK_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class KeyringError(Exception):
    """The ring is missing or malformed: nothing that needs private keys may start."""


class SealError(CredentialError):
    """A stored key cannot be opened: `kek_unknown` or `key_unreadable`."""


class KeyringSettings(BaseSettings):
    """CREDSTREAM_KEKS holds the ring `issuer` itself, CREDSTREAM_KEKS_FILE names a file that does;
    CREDSTREAM_WEBHOOK_KEKS and CREDSTREAM_DATA_KEKS (and `_FILE`) are those of the other two."""

    model_config = SettingsConfigDict(env_prefix="CREDSTREAM_", extra="ignore")

    keks: SecretStr | None = None
    keks_file: Path | None = None
    webhook_keks: SecretStr | None = None
    webhook_keks_file: Path | None = None
    data_keks: SecretStr | None = None
    data_keks_file: Path | None = None
    keks_incomplete: bool = False
    """Begin although something stored is sealed under a KEK that the ring has not (I2)."""

    def text(self, purpose: Purpose) -> str | None:
        """A ring as it is written in its variable or its file; None where neither is set.

        Raises KeyringError for a file that cannot be read."""
        field = _field(purpose)
        value: SecretStr | None = getattr(self, field)
        if value is not None and value.get_secret_value().strip():
            return value.get_secret_value()
        file: Path | None = getattr(self, f"{field}_file")
        if file is None or file == Path():
            return None
        try:
            return file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise KeyringError(f"{variable(purpose)}_FILE cannot be read: {error}.") from None


class RingSettings(BaseSettings):
    """Where a development ring lies, as for workers: DATA_DIR and APP_ENV."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    data_dir: Path | None = None
    app_env: str = "development"

    @property
    def production(self) -> bool:
        return self.app_env == "production"


class Keyring:
    """Seals and opens secrets of one purpose. It has no repr and is never logged."""

    def __init__(self, keks: Mapping[str, bytes], active: str, purpose: Purpose) -> None:
        self.purpose = purpose
        self._keks = {
            f"{purpose}/{kek_id}": OctKey.import_key({"kty": "oct", "k": _b64(raw)})
            for kek_id, raw in keks.items()
        }
        self.active = f"{purpose}/{active}"

    @property
    def names(self) -> frozenset[str]:
        """`<purpose>/<id>` of the KEKs in it."""
        return frozenset(self._keks)

    @classmethod
    def parse(cls, text: str, purpose: Purpose = "issuer") -> Self:
        """The ring written in `text`. Raises KeyringError, which never repeats a key."""
        keks: dict[str, bytes] = {}
        for position, pair in enumerate(re.split(r"[\s,]+", text.strip()), start=1):
            kek_id, separator, encoded = pair.partition(":")
            if not separator or _KEK_ID.fullmatch(kek_id) is None:
                raise KeyringError(f"Entry {position} of the KEK ring is not an id:key pair.")
            if kek_id in keks:
                raise KeyringError(f"The KEK ring names {kek_id} twice.")
            keks[kek_id] = _kek(kek_id, encoded)
        return cls(keks, next(iter(keks)), purpose)

    def seal(self, key: PrivateKey, key_id: str) -> str:
        """`key` as a compact JWE that opens only under the name `key_id`, a key's absolute URL."""
        plaintext = json.dumps(key.as_dict(private=True) | {"kid": key_id})
        header = {"alg": "A256GCMKW", "enc": "A256GCM", "kid": self.active, "cty": "jwk+json"}
        return jwe.encrypt_compact(
            header, plaintext, self._keks[self.active], algorithms=_ALGORITHMS
        )

    def unseal(self, sealed: str, key_id: str) -> PrivateKey:
        """The private key sealed under the name `key_id`.

        Raises SealError `kek_unknown` when its KEK is not in the ring, else `key_unreadable`: it
        was changed, sealed with another KEK of that name, or belongs to another name.
        """
        try:
            opened = jwe.decrypt_compact(sealed, self._kek_for, algorithms=_ALGORITHMS)
            key = load_private(json.loads(opened.plaintext or b""))
        except (JoseError, ValueError, TypeError, AttributeError):
            raise SealError(
                "key_unreadable", "The stored key of this DID was changed or damaged."
            ) from None
        if key.kid != key_id:
            raise SealError("key_unreadable", "The key stored for this DID belongs to another one.")
        return key

    def seal_text(self, text: str, name: str) -> str:
        """A secret that is no JWK, as a compact JWE that opens only under `name`."""
        header = {"alg": "A256GCMKW", "enc": "A256GCM", "kid": self.active, "cty": "json"}
        plaintext = json.dumps({"name": name, "text": text})
        return jwe.encrypt_compact(
            header, plaintext, self._keks[self.active], algorithms=_ALGORITHMS
        )

    def unseal_text(self, sealed: str, name: str) -> str:
        """The secret sealed under `name`. Raises SealError as `unseal` does."""
        try:
            opened = jwe.decrypt_compact(sealed, self._kek_for, algorithms=_ALGORITHMS)
            found = json.loads(opened.plaintext or b"")
            inner, text = str(found["name"]), str(found["text"])
        except (JoseError, ValueError, TypeError, AttributeError, KeyError):
            raise SealError("key_unreadable", "The stored secret was changed or damaged.") from None
        if inner != name:
            raise SealError("key_unreadable", "The stored secret belongs to another name.")
        return text

    def reseal(self, sealed: str) -> str | None:
        """The same secret, under the same name, sealed with the active KEK; None when it is.

        Raises SealError as `unseal` does.
        """
        try:
            opened = jwe.decrypt_compact(sealed, self._kek_for, algorithms=_ALGORITHMS)
        except (JoseError, ValueError, TypeError, AttributeError):
            raise SealError("key_unreadable", "A stored secret was changed or damaged.") from None
        header = opened.headers()
        if header.get("kid") == self.active:
            return None
        header = {"alg": "A256GCMKW", "enc": "A256GCM", "kid": self.active, "cty": header["cty"]}
        return jwe.encrypt_compact(
            header, opened.plaintext or b"", self._keks[self.active], algorithms=_ALGORITHMS
        )

    def wrap(self, key: bytes) -> bytes:
        """A data key under the active KEK (AES Key Wrap, RFC 3394)."""
        return aes_key_wrap(self._keks[self.active].raw_value, key)

    def unwrap(self, kek_id: str, wrapped: bytes) -> bytes:
        """A data key from under the KEK of this name. Raises SealError `kek_unknown`, ValueError
        for bytes that are none."""
        try:
            return aes_key_unwrap(self._find(kek_id).raw_value, wrapped)
        except InvalidUnwrap:
            raise ValueError("not a wrapped key") from None

    def _kek_for(self, recipient: Any) -> OctKey:
        return self._find(recipient.headers().get("kid"))

    def _find(self, kek_id: object) -> OctKey:
        kek = self._keks.get(kek_id) if isinstance(kek_id, str) else None
        if kek is None:
            raise SealError(
                "kek_unknown",
                "A stored secret is sealed under a key-encryption key that is not in the ring: "
                f"add {str(kek_id)[:80]!r} to {variable(self.purpose)}.",
            )
        return kek


def variable(purpose: Purpose) -> str:
    """The environment variable of a ring; with `_FILE` that of its file."""
    return f"CREDSTREAM_{_field(purpose)}".upper()


def _field(purpose: Purpose) -> str:
    return "keks" if purpose == "issuer" else f"{purpose}_keks"


def open_keyring(
    settings: KeyringSettings,
    data_dir: Path | None,
    *,
    production: bool,
    purpose: Purpose = "issuer",
) -> Keyring:
    """The ring of this process for a purpose; reads files. Raises KeyringError.

    Development makes a ring of its own in `data_dir`, once. Production never does: keys sealed
    under a KEK that lies beside them, or dies with a pod, are not kept safe.
    """
    if (text := settings.text(purpose)) is not None:
        return Keyring.parse(text, purpose)
    name = variable(purpose)
    if production:
        raise KeyringError(
            f"No key-encryption key: set {name} or {name}_FILE. "
            "Secrets are never stored without one in production."
        )
    if data_dir is None:
        raise KeyringError(
            f"No key-encryption key: set {name} or {name}_FILE, or set "
            "DATA_DIR to a directory in which a development key can be kept."
        )
    return Keyring.parse(_development_ring(data_dir / DEVELOPMENT_FILES[purpose]), purpose)


def configured_keyring(
    settings: KeyringSettings, data_dir: Path | None, *, production: bool, purpose: Purpose
) -> Keyring | None:
    """As `open_keyring`, but None where no ring is set and none was made: nothing is made."""
    made = data_dir is not None and (data_dir / DEVELOPMENT_FILES[purpose]).exists()
    if settings.text(purpose) is None and (production or not made):
        return None
    return open_keyring(settings, data_dir, production=production, purpose=purpose)


def _development_ring(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(f"dev-1:{_b64(secrets.token_bytes(32))}\n")
                file.flush()
                os.fsync(file.fileno())
            # Several processes may start at once: the first link stands, all read that one.
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text()


def _kek(kek_id: str, encoded: str) -> bytes:
    text = encoded.replace("+", "-").replace("/", "_").rstrip("=")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise KeyringError(f"KEK {kek_id} is not base64.") from None
    if len(raw) != 32:
        raise KeyringError(f"KEK {kek_id} must have 32 bytes, it has {len(raw)}.")
    return raw


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
