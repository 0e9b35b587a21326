"""did:key against the published vectors, both ways, and against whatever else comes in."""

import base64
import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import base58
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from credentials import did_key
from credentials.did_key import DidError

VECTORS = Path(__file__).parents[1] / "vectors"


def rows(file: str) -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = json.loads((VECTORS / file).read_text())["vectors"]
    return loaded


def of(code: bytes, raw: bytes) -> str:
    return "did:key:z" + base58.b58encode(code + raw).decode()


@pytest.mark.parametrize("row", rows("did_key_vectors.json"), ids=lambda row: row["did"][8:20])
def test_published_vectors(row: dict[str, Any]) -> None:
    did = row["did"]
    assert did_key.decode(did) == row["publicKeyJwk"]
    assert did_key.encode(row["publicKeyJwk"]) == did
    document = did_key.document(did)
    assert document.pop("@context")[0] == "https://www.w3.org/ns/did/v1"
    assert document.pop("id") == did
    keys = {key["id"]: key for key in document.pop("verificationMethod")}
    assert document == row["verificationRelationships"]
    assert set(keys) == {
        row["verificationMethodId"] or row["keyAgreementId"],
        row["keyAgreementId"],
    }
    if row["verificationMethodId"]:
        assert did_key.verification_method(did) == row["verificationMethodId"]
    for key_id, key in keys.items():
        assert (key["type"], key["controller"]) == ("Multikey", did)
        assert key_id == f"{did}#{key['publicKeyMultibase']}"
        expected = row["publicKeyJwk"]
        if key_id == row["keyAgreementId"]:
            expected = row.get("keyAgreementPublicKeyJwk", expected)
        assert did_key.decode(f"did:key:{key['publicKeyMultibase']}") == expected


@pytest.mark.parametrize("row", rows("did_key_negative.json"), ids=lambda row: row["source"])
def test_published_refusals(row: dict[str, Any]) -> None:
    with pytest.raises(DidError) as caught:
        did_key.document(row["did"])
    if row["error"].isalpha():
        assert caught.value.code == row["error"]
    assert row["did"] not in str(caught.value)


Y_MINUS_1 = (2**255 - 20).to_bytes(32, "little")


@pytest.mark.parametrize(
    ("did", "code"),
    [
        ("", "invalidDid"),
        ("did:key", "invalidDid"),
        ("did:key:", "invalidDid"),
        ("did:key:z", "invalidDid"),
        ("did:key:z0OIl", "invalidDid"),
        ("did:key:z6Mkéé", "invalidDid"),
        ("did:key:uO2onvM62pC1io6jQKm8Nc2Uy", "invalidDid"),
        ("did:key:z" + "1" * 4_000, "invalidDid"),
        (of(b"\xed\x81\x00", b"\x02" * 32), "invalidDid"),
        (of(b"\xff" * 12, b""), "invalidDid"),
        (of(b"\x80", b""), "invalidDid"),
        ("did:web:example.com", "methodNotSupported"),
        (of(b"\xeb\x01", b"\0" * 48), "unsupportedPublicKeyType"),
        (of(b"\xed\x01", b""), "invalidPublicKeyLength"),
        (of(b"\x80\x24", b"\x04" + b"\1" * 64), "invalidPublicKeyLength"),
        (of(b"\xe7\x01", b"\x05" + b"\1" * 32), "invalidPublicKey"),
        # Ed25519: not on the curve, not below the prime, the neutral element, x = 0 with a sign.
        (of(b"\xed\x01", (2).to_bytes(32, "little")), "invalidPublicKey"),
        (of(b"\xed\x01", (2**255 - 15).to_bytes(32, "little")), "invalidPublicKey"),
        (of(b"\xed\x01", (1).to_bytes(32, "little")), "invalidPublicKey"),
        (of(b"\xed\x01", Y_MINUS_1[:31] + b"\xff"), "invalidPublicKey"),
        # RSA: not DER, a tail after the key, another encoding of a key, an unknown algorithm.
        (of(b"\x85\x24", b"\x30\x03\x02\x01\x05"), "invalidPublicKey"),
        (of(b"\x85\x24", b"\x30\x05\x06\x03\x2a\x03\x04"), "invalidPublicKey"),
    ],
)
def test_more_refusals(did: str, code: str) -> None:
    with pytest.raises(DidError) as caught:
        did_key.decode(did)
    assert caught.value.code == code


def test_one_rsa_key_has_one_did() -> None:
    row = next(row for row in rows("did_key_vectors.json") if row["keyType"] == "RSA")
    data = base58.b58decode(row["did"].removeprefix("did:key:z"))
    for other in (data + b"\0", data[:2] + spki(row["publicKeyJwk"])):
        with pytest.raises(DidError, match="PKCS#1"):
            did_key.decode("did:key:z" + base58.b58encode(other).decode())


def spki(jwk: dict[str, str]) -> bytes:
    n, e = (
        int.from_bytes(base64.urlsafe_b64decode(jwk[name] + "=="), "big") for name in ("n", "e")
    )
    public = rsa.RSAPublicNumbers(e, n).public_key()
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@given(st.binary(min_size=32, max_size=32))
def test_key_agreement_follows_the_private_key(seed: bytes) -> None:
    """X25519 of the derived public key fits the derived private key: two independent ways."""
    signing = Ed25519PrivateKey.from_private_bytes(seed)
    public = signing.public_key().public_bytes_raw()
    agreement = x25519.X25519PrivateKey.from_private_bytes(hashlib.sha512(seed).digest()[:32])
    x = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
    did = did_key.encode({"kty": "OKP", "crv": "Ed25519", "x": x})
    derived = did_key.document(did)["verificationMethod"][1]["publicKeyMultibase"]
    raw = base58.b58decode(derived[1:])
    assert raw == b"\xec\x01" + agreement.public_key().public_bytes_raw()


CODES = [b"\xed\x01", b"\xec\x01", b"\xe7\x01", b"\x80\x24", b"\x81\x24", b"\x82\x24", b"\x85\x24"]


@given(
    st.sampled_from(CODES), st.one_of(st.binary(max_size=80), st.binary(min_size=32, max_size=33))
)
def test_any_bytes_are_a_key_with_one_did_or_an_error(code: bytes, raw: bytes) -> None:
    did = of(code, raw)
    try:
        jwk = did_key.decode(did)
    except DidError:
        return
    assert did_key.encode(jwk) == did


@given(st.one_of(st.text(), st.text().map("did:key:z".__add__), st.text().map("did:".__add__)))
def test_any_text_is_a_did_or_an_error(did: str) -> None:
    with contextlib.suppress(DidError):
        did_key.decode(did)


@pytest.mark.parametrize(
    ("jwk", "code"),
    [
        ({}, "unsupportedPublicKeyType"),
        ({"kty": "EC", "crv": "P-192", "x": "AA", "y": "AA"}, "unsupportedPublicKeyType"),
        ({"kty": "OKP", "crv": "Ed25519"}, "invalidPublicKey"),
        ({"kty": "OKP", "crv": "Ed25519", "x": "!"}, "invalidPublicKey"),
        ({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}, "invalidPublicKeyLength"),
        ({"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}, "invalidPublicKeyLength"),
        ({"kty": "RSA", "n": "AQ", "e": "AQAB"}, "invalidPublicKey"),
    ],
)
def test_keys_without_a_did(jwk: dict[str, str], code: str) -> None:
    with pytest.raises(DidError) as caught:
        did_key.encode(jwk)
    assert caught.value.code == code
