"""did:key: a public key as a DID, the DID as a document (the did:key method, W3C CCG).

`encode` and `decode` are inverse to each other; `document` builds what a resolver answers. Keys
travel as public JWKs. Errors are `DidError` with the method's own error names.
"""

import base64
import contextlib
from typing import Any, Literal

import base58
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from credentials.edwards import to_montgomery
from credentials.errors import DidError
from credentials.keys import PublicJwk

__all__ = ["DidError", "PublicJwk", "decode", "document", "encode", "verification_method"]

Relationship = Literal[
    "authentication",
    "assertionMethod",
    "capabilityInvocation",
    "capabilityDelegation",
    "keyAgreement",
]
SIGNING: tuple[Relationship, ...] = (
    "authentication",
    "assertionMethod",
    "capabilityInvocation",
    "capabilityDelegation",
)
KeyFormat = Literal["Multikey", "JsonWebKey2020", "Ed25519VerificationKey2020"]
"""How `document` writes keys down: the formats that the method does not call experimental."""
_SUITES: dict[KeyFormat, list[str]] = {
    "Multikey": ["https://w3id.org/security/multikey/v1"],
    "JsonWebKey2020": ["https://w3id.org/security/suites/jws-2020/v1"],
    "Ed25519VerificationKey2020": [
        "https://w3id.org/security/suites/ed25519-2020/v1",
        "https://w3id.org/security/suites/x25519-2020/v1",
    ],
}
_TYPES_2020 = {"Ed25519": "Ed25519VerificationKey2020", "X25519": "X25519KeyAgreementKey2020"}

MAX_CHARS = 2_048
"""Longest DID read; base58 takes quadratic time. RSA-8192 needs 1,440."""

_PREFIX = "did:key:"
_OKP = {0xED: "Ed25519", 0xEC: "X25519"}
_EC: dict[int, tuple[str, ec.EllipticCurve]] = {
    0xE7: ("secp256k1", ec.SECP256K1()),
    0x1200: ("P-256", ec.SECP256R1()),
    0x1201: ("P-384", ec.SECP384R1()),
    0x1202: ("P-521", ec.SECP521R1()),
}
_RSA = 0x1205
_CODEC_OF = {name: code for code, name in _OKP.items()} | {
    name: code for code, (name, _) in _EC.items()
}


def encode(jwk: PublicJwk) -> str:
    """The did:key of a public JWK (Ed25519, X25519, secp256k1, P-256, P-384, P-521 or RSA).

    Raises DidError `unsupportedPublicKeyType`, `invalidPublicKey` or `invalidPublicKeyLength`.
    """
    try:
        code, raw = _raw_of(jwk)
    except KeyError as missing:
        raise DidError("invalidPublicKey", f"The key has no {missing}.") from None
    did = _PREFIX + _multibase(code, raw)
    decode(did)
    return did


def decode(did: str) -> PublicJwk:
    """The public JWK that a did:key holds, members only as RFC 7638 needs them.

    Raises DidError: `invalidDid`, `methodNotSupported`, `unsupportedPublicKeyType`,
    `invalidPublicKeyLength`, `invalidPublicKey`.
    """
    code, raw = _parse(did)
    if code in _OKP:
        _check_length(raw, 32, _OKP[code])
        if code == 0xED:
            _x25519(raw)
        return {"kty": "OKP", "crv": _OKP[code], "x": _b64(raw)}
    if code in _EC:
        return _ec_jwk(raw, *_EC[code])
    if code == _RSA:
        return _rsa_jwk(raw)
    raise DidError("unsupportedPublicKeyType", f"Keys of multicodec 0x{code:x} are not supported.")


def verification_method(did: str) -> str:
    """The id of the one key of a did:key: the DID, `#`, and its multibase value again."""
    return f"{did}#{did.removeprefix(_PREFIX)}"


def document(did: str, key_format: KeyFormat = "Multikey") -> dict[str, Any]:
    """The DID document of a did:key.

    An Ed25519 key signs and has an X25519 key derived from it for key agreement; an X25519 key
    only agrees; every other key does both. Raises DidError as `decode` does, and
    `unsupportedPublicKeyType` when such a key cannot be written in this format.
    """
    jwk = decode(did)
    own = verification_method(did)
    keys = [_method(did, did.removeprefix(_PREFIX), jwk, key_format)]
    agreement = own
    if jwk.get("crv") == "Ed25519":
        x25519 = _x25519(_unb64(jwk["x"]))
        derived = _multibase(0xEC, x25519)
        derived_jwk = {"kty": "OKP", "crv": "X25519", "x": _b64(x25519)}
        keys.append(_method(did, derived, derived_jwk, key_format))
        agreement = f"{did}#{derived}"
    signing: tuple[Relationship, ...] = () if jwk.get("crv") == "X25519" else SIGNING
    return {
        "@context": ["https://www.w3.org/ns/did/v1", *_SUITES[key_format]],
        "id": did,
        "verificationMethod": keys,
        **{relationship: [own] for relationship in signing},
        "keyAgreement": [agreement],
    }


def _parse(did: str) -> tuple[int, bytes]:
    """Multicodec and key bytes. The message never repeats the DID: it may be huge."""
    if len(did) > MAX_CHARS or not did.isascii():
        raise DidError("invalidDid", f"A DID is ASCII of at most {MAX_CHARS} characters.")
    scheme, _, rest = did.partition(":")
    method, separator, value = rest.partition(":")
    if scheme != "did" or not separator:
        raise DidError("invalidDid", "A DID starts with did:, a method and a colon.")
    if method != "key":
        raise DidError("methodNotSupported", "This is not a did:key.")
    if not value.startswith("z"):
        raise DidError("invalidDid", "The key must be multibase base58btc: it starts with z.")
    try:
        data = base58.b58decode(value[1:])
    except ValueError:
        raise DidError("invalidDid", "The key is not base58btc.") from None
    return _read_varint(data)


def _read_varint(data: bytes) -> tuple[int, bytes]:
    code = 0
    for index, byte in enumerate(data[:9]):
        code |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if byte == 0 and index > 0:
                break
            return code, data[index + 1 :]
    raise DidError("invalidDid", "The key does not start with a minimal unsigned varint.")


def _write_varint(code: int) -> bytes:
    out = bytearray()
    while code >= 0x80:
        out.append(code & 0x7F | 0x80)
        code >>= 7
    out.append(code)
    return bytes(out)


def _multibase(code: int, raw: bytes) -> str:
    return "z" + base58.b58encode(_write_varint(code) + raw).decode()


def _method(did: str, value: str, jwk: PublicJwk, key_format: KeyFormat) -> dict[str, Any]:
    head = {"id": f"{did}#{value}", "type": str(key_format), "controller": did}
    if key_format == "JsonWebKey2020":
        return head | {"publicKeyJwk": jwk}
    if key_format == "Ed25519VerificationKey2020":
        head["type"] = _TYPES_2020.get(jwk.get("crv", ""), "")
        if not head["type"]:
            raise DidError("unsupportedPublicKeyType", "This key is none of Ed25519.")
    return head | {"publicKeyMultibase": value}


def _raw_of(jwk: PublicJwk) -> tuple[int, bytes]:
    if jwk.get("kty") == "RSA":
        numbers = rsa.RSAPublicNumbers(_uint(jwk["e"]), _uint(jwk["n"]))
        try:
            key = numbers.public_key()
        except ValueError as error:
            raise DidError("invalidPublicKey", str(error)) from None
        return _RSA, key.public_bytes(Encoding.DER, PublicFormat.PKCS1)
    code = _CODEC_OF.get(jwk.get("crv", ""))
    if code is None or jwk.get("kty") != ("OKP" if code in _OKP else "EC"):
        raise DidError("unsupportedPublicKeyType", "There is no did:key for this type of key.")
    if code in _OKP:
        raw = _unb64(jwk["x"])
        # Before anything is written in base58, which takes quadratic time.
        _check_length(raw, 32, _OKP[code])
        return code, raw
    name, curve = _EC[code]
    x, y = _unb64(jwk["x"]), _unb64(jwk["y"])
    for coordinate in (x, y):
        _check_length(coordinate, (curve.key_size + 7) // 8, name, "coordinate")
    try:
        numbers_ec = ec.EllipticCurvePublicNumbers(
            int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve
        )
        point = numbers_ec.public_key()
    except ValueError as error:
        raise DidError("invalidPublicKey", str(error)) from None
    return code, point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def _ec_jwk(raw: bytes, name: str, curve: ec.EllipticCurve) -> PublicJwk:
    size = (curve.key_size + 7) // 8
    _check_length(raw, size + 1, name)
    try:
        numbers = ec.EllipticCurvePublicKey.from_encoded_point(curve, raw).public_numbers()
    except ValueError:
        raise DidError("invalidPublicKey", f"This is not a point of {name}.") from None
    x, y = (_b64(number.to_bytes(size, "big")) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": name, "x": x, "y": y}


def _rsa_jwk(raw: bytes) -> PublicJwk:
    try:
        key = load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    # Only PKCS#1 and only DER: the same key must not have two DIDs.
    if not isinstance(key, rsa.RSAPublicKey) or raw != key.public_bytes(
        Encoding.DER, PublicFormat.PKCS1
    ):
        raise DidError("invalidPublicKey", "This is not an RSA key in PKCS#1 DER.")
    numbers = key.public_numbers()
    n, e = (_b64(i.to_bytes((i.bit_length() + 7) // 8, "big")) for i in (numbers.n, numbers.e))
    return {"kty": "RSA", "n": n, "e": e}


def _x25519(raw: bytes) -> bytes:
    try:
        return to_montgomery(raw)
    except ValueError:
        raise DidError("invalidPublicKey", "This is not a point of Ed25519.") from None


def _check_length(raw: bytes, expected: int, name: str, what: str = "key") -> None:
    """A coordinate has all bytes of its field, no more and no less (RFC 7518, 6.2.1.2)."""
    if len(raw) != expected:
        raise DidError(
            "invalidPublicKeyLength",
            f"A {what} of {name} has {expected} bytes here, this one has {len(raw)}.",
        )


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    """Base64url as JOSE has it: without padding, the one spelling of its bytes."""
    if "=" not in text:
        with contextlib.suppress(ValueError):
            padded = text + "=" * (-len(text) % 4)
            raw = base64.b64decode(padded, altchars=b"-_", validate=True)
            if _b64(raw) == text:
                return raw
    raise DidError("invalidPublicKey", "A member of the key is not base64url.")


def _uint(text: str) -> int:
    """A Base64urlUInt: the fewest bytes that hold the number (RFC 7518, 2)."""
    raw = _unb64(text)
    if raw[:1] == b"\0":
        raise DidError("invalidPublicKey", "A number of the key begins with a byte of zeros.")
    return int.from_bytes(raw, "big")
