"""A JWS in compact serialization (RFC 7515), taken apart without believing any of it."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any

from credentials.strict_json import NotJson, load_object
from credentials.verdict import Invalid
from schemas.queues.vc_verification import MAX_TOKEN_CHARS

ALGORITHMS = frozenset({"EdDSA", "Ed25519", "ES256", "ES384", "ES256K"})
"""What any key could have signed with (F1). Which of them one did, its type decides."""

MAX_HEADER_CHARS = 16 * 1024

_BASE64URL = re.compile(r"[A-Za-z0-9_-]*")


@dataclass(frozen=True, slots=True)
class Token:
    """A parsed token; nothing in it is verified yet."""

    header: dict[str, Any]
    payload: dict[str, Any]
    signing_input: bytes
    """The bytes that were signed, as they came."""
    signature: bytes

    @property
    def algorithm(self) -> str:
        """One of ALGORITHMS."""
        return str(self.header["alg"])

    @property
    def kid(self) -> str | None:
        """The name of the key, as the signer wrote it."""
        kid = self.header.get("kid")
        return kid if isinstance(kid, str) else None

    @property
    def media_type(self) -> str | None:
        """`typ` in lower case without its `application/`; None when there is none (C2)."""
        return self._media_type("typ")

    @property
    def content_type(self) -> str | None:
        """`cty`, likewise."""
        return self._media_type("cty")

    def _media_type(self, member: str) -> str | None:
        value = self.header.get(member)
        return None if value is None else str(value).lower().removeprefix("application/")


def parse(text: str, *, max_chars: int = MAX_TOKEN_CHARS) -> Token:
    """The parts of `text`. Size comes before everything else (F7).

    Raises Invalid: TOKEN_TOO_LARGE; PARSING_ERROR, not three parts of canonical base64url that hold
    JSON objects (C8, F6); ALGORITHM_NOT_ALLOWED (F1); CRITICAL_HEADER_NOT_SUPPORTED (C7);
    MALFORMED_VALUE_ERROR, a header member of the wrong type.
    """
    if len(text) > max_chars:
        raise Invalid("TOKEN_TOO_LARGE", f"The token is longer than {max_chars} characters.")
    parts = text.split(".", 3)
    if len(parts) != 3:
        raise Invalid(
            "PARSING_ERROR", "A token is three parts with two dots between them (compact JWS)."
        )
    head, body, signature = parts
    if len(head) > MAX_HEADER_CHARS:
        raise Invalid(
            "TOKEN_TOO_LARGE", f"The token's header is longer than {MAX_HEADER_CHARS} characters."
        )
    header = _members("header", _decode("header", head))
    _check_header(header)
    payload = _members("payload", _decode("payload", body))
    return Token(header, payload, f"{head}.{body}".encode(), _decode("signature", signature))


def _decode(name: str, part: str) -> bytes:
    """Base64url without padding, the one spelling of its bytes."""
    if _BASE64URL.fullmatch(part) is not None:
        try:
            raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        except binascii.Error:
            raw = b""
        if base64.urlsafe_b64encode(raw).rstrip(b"=") == part.encode():
            return raw
    raise Invalid("PARSING_ERROR", f"The token's {name} is not base64url without padding.")


def _members(name: str, raw: bytes) -> dict[str, Any]:
    try:
        return load_object(raw)
    except NotJson as error:
        raise Invalid("PARSING_ERROR", f"The token's {name} {error}.") from None


def _check_header(header: dict[str, Any]) -> None:
    """What a header may ask for. Its `jwk`, `jku`, `x5u` and `x5c` are never looked at (F4), and
    members nobody knows are ignored (C6)."""
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise Invalid(
            "ALGORITHM_NOT_ALLOWED",
            f"The header must name one of these algorithms: {', '.join(sorted(ALGORITHMS))}.",
        )
    if "crit" in header:
        raise Invalid(
            "CRITICAL_HEADER_NOT_SUPPORTED",
            "The header marks extensions as critical, and none is supported.",
        )
    if header.get("b64", True) is not True:
        raise Invalid(
            "CRITICAL_HEADER_NOT_SUPPORTED", "An unencoded payload (b64) is not supported."
        )
    for name in ("typ", "cty", "kid"):
        if name in header and not isinstance(header[name], str):
            raise Invalid("MALFORMED_VALUE_ERROR", f"The header's {name} must be a string.")
