"""Signing with every type of key: what others verify, and always the same bytes."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from credentials import keys, signer
from credentials.errors import CredentialError
from credentials.keys import KeyTypeRefused

KEY_ID = "did:web:issuer.example#key-1"
CURVES: dict[str, Any] = {
    "P-256": (ec.SECP256R1(), hashes.SHA256(), "ES256"),
    "P-384": (ec.SECP384R1(), hashes.SHA384(), "ES384"),
    "secp256k1": (ec.SECP256K1(), hashes.SHA256(), "ES256K"),
}


def read(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.mark.parametrize("kind", keys.KEY_TYPES)
def test_the_signature_verifies_with_nothing_of_ours(kind: keys.KeyType) -> None:
    key = keys.generate(kind)
    token = signer.sign({"a": "ä"}, key, KEY_ID)
    head, body, signature = token.split(".")
    jwk = keys.public_jwk(key)
    signed = f"{head}.{body}".encode()
    if kind == "Ed25519":
        Ed25519PublicKey.from_public_bytes(read(jwk["x"])).verify(read(signature), signed)
        algorithm = "EdDSA"
    else:
        curve, digest, algorithm = CURVES[kind]
        numbers = [int.from_bytes(read(jwk[name]), "big") for name in ("x", "y")]
        raw = read(signature)
        size = (curve.key_size + 7) // 8
        assert len(raw) == 2 * size
        r, s = (int.from_bytes(part, "big") for part in (raw[:size], raw[size:]))
        public = ec.EllipticCurvePublicNumbers(*numbers, curve).public_key()
        public.verify(encode_dss_signature(r, s), signed, ec.ECDSA(digest))
    assert json.loads(read(head)) == {
        "alg": algorithm,
        "typ": "vc+jwt",
        "cty": "vc",
        "kid": KEY_ID,
    }
    assert json.loads(read(body)) == {"a": "ä"}


@pytest.mark.parametrize("kind", keys.KEY_TYPES)
def test_the_same_bytes_every_time(kind: keys.KeyType) -> None:
    """A7: also ECDSA, which has chance in it where nobody takes it out."""
    key = keys.generate(kind)
    again = keys.load_private(key.as_dict(private=True))
    assert len({signer.sign({"a": 1}, one, KEY_ID) for one in (key, again) for _ in range(5)}) == 1
    assert signer.sign({"a": 2}, key, KEY_ID) != signer.sign({"a": 1}, key, KEY_ID)


def test_a_known_signature() -> None:
    """RFC 6979 A.2.5: P-256 with SHA-256 over `sample`."""
    d = bytes.fromhex("C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721")
    private = ec.derive_private_key(int.from_bytes(d, "big"), ec.SECP256R1())
    numbers = private.public_key().public_numbers()

    def b64(number: int) -> str:
        return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()

    jwk = {"kty": "EC", "crv": "P-256", "x": b64(numbers.x), "y": b64(numbers.y)}
    key: Any = keys.load_private({**jwk, "d": b64(int.from_bytes(d, "big"))})
    signature = signer._ALGORITHMS["ES256"].sign(b"sample", key)
    assert signature.hex().upper() == (
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716"
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
    )


def test_the_header_is_what_was_asked_for() -> None:
    key = keys.generate("Ed25519")
    token = signer.sign({}, key, KEY_ID, algorithm="Ed25519", typ="JWT", cty=None)
    assert json.loads(read(token.split(".")[0])) == {
        "alg": "Ed25519",
        "typ": "JWT",
        "kid": KEY_ID,
    }
    bare = signer.sign({}, key, KEY_ID, typ=None, cty=None)
    assert json.loads(read(bare.split(".")[0])) == {"alg": "EdDSA", "kid": KEY_ID}


@pytest.mark.parametrize("kind", keys.KEY_TYPES)
@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256", "ES256", "ES384", "EdDSA", "x"])
def test_a_key_signs_with_its_own_algorithm_only(kind: keys.KeyType, algorithm: str) -> None:
    """F1: what a key may do follows from the key."""
    key = keys.generate(kind)
    if algorithm in keys.algorithms_of(keys.public_jwk(key)):
        assert signer.sign({}, key, KEY_ID, algorithm=algorithm)
        return
    with pytest.raises(CredentialError) as caught:
        signer.sign({}, key, KEY_ID, algorithm=algorithm)
    assert caught.value.code == "key_type_not_supported"


def test_a_long_id_fits_and_a_long_payload_does_not() -> None:
    key = keys.generate("Ed25519")
    assert signer.sign({}, key, f"did:web:{'a' * 2_000}#key-1")
    for size in (200_000, 300_000):
        with pytest.raises(CredentialError) as caught:
            signer.sign({"a": "x" * size}, key, KEY_ID)
        assert caught.value.code == "credential_too_large"


def test_what_a_key_is_for() -> None:
    """F1, F2."""
    made = {kind: keys.public_jwk(keys.generate(kind)) for kind in keys.KEY_TYPES}
    assert {kind: keys.algorithms_of(jwk) for kind, jwk in made.items()} == {
        "Ed25519": ("EdDSA", "Ed25519"),
        "P-256": ("ES256",),
        "P-384": ("ES384",),
        "secp256k1": ("ES256K",),
    }
    for jwk in ({}, {"kty": "RSA"}, {"kty": "oct"}, {"kty": "EC", "crv": "P-521"},
                {"kty": "OKP", "crv": "X25519"}, {"kty": "EC", "crv": "Ed25519"},
                {"kty": "OKP", "crv": "P-256"}, {"kty": "EC", "crv": None}):  # fmt: skip
        assert keys.algorithms_of(jwk) == ()
        with pytest.raises(KeyTypeRefused):
            keys.algorithm_of(jwk)
    okp = keys.public_jwk(keys.generate("Ed25519"))
    assert keys.algorithm_of(okp) == "EdDSA"
    assert keys.algorithm_of(okp, "Ed25519") == "Ed25519"
    for name in ("RSA", "ed25519", "", "P-521"):
        with pytest.raises(KeyTypeRefused):
            keys.key_type(name)
    assert keys.key_type("P-384") == "P-384"


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
        keys.public_jwk(keys.generate("P-256")),
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "d": "c2VjcmV0"},
        {"kty": "oct", "k": "c2VjcmV0"},
    ],
)
def test_what_is_no_private_key(jwk: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="not a private key") as caught:
        keys.load_private(jwk)
    assert "c2VjcmV0" not in str(caught.value)
