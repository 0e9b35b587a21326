"""did:jwk against the published vectors, and what must not pass."""

import base64
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from credentials import did_jwk, keys
from credentials.document import methods
from credentials.errors import DidError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "did_jwk_vectors.json").read_text())[
    "vectors"
]


def of(jwk: Any) -> str:
    text = jwk if isinstance(jwk, bytes) else json.dumps(jwk).encode()
    return "did:jwk:" + base64.urlsafe_b64encode(text).rstrip(b"=").decode()


@pytest.mark.parametrize("row", VECTORS, ids=lambda row: row["publicKeyJwk"]["crv"])
def test_published_vectors(row: dict[str, Any]) -> None:
    did = row["did"]
    assert did_jwk.decode(did) == row["publicKeyJwk"]
    document = did_jwk.document(did)
    (method,) = document["verificationMethod"]
    assert method["id"] == row["verificationMethodId"] == f"{did}#0"
    assert method["controller"] == document["id"] == did
    assert method["publicKeyJwk"] == row["publicKeyJwk"]
    listed = {name for name, entries in document.items() if entries == [f"{did}#0"]}
    assert listed == set(row["relationships"])


@pytest.mark.parametrize("kind", keys.KEY_TYPES)
def test_both_ways(kind: keys.KeyType) -> None:
    jwk = keys.public_jwk(keys.generate(kind))
    did = did_jwk.encode({**jwk, "use": "sig"})
    assert did_jwk.decode(did) == {**jwk, "use": "sig"}
    document = did_jwk.document(did)
    assert "keyAgreement" not in document
    (method,) = methods(document, did)
    assert (method.id, method.jwk) == (f"{did}#0", jwk)


def test_a_kid_is_not_the_fragment() -> None:
    jwk = keys.public_jwk(keys.generate("P-256"))
    did = of({**jwk, "kid": "mine"})
    assert did_jwk.document(did)["assertionMethod"] == [f"{did}#0"]


ED25519 = {"kty": "OKP", "crv": "Ed25519", "x": "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik"}


@pytest.mark.parametrize(
    ("did", "code"),
    [
        (of(keys.generate("P-256").as_dict(private=True)), "invalidDid"),
        (of({"kty": "oct", "k": "AAAA"}), "invalidDid"),
        (of(ED25519) + "=", "invalidDid"),
        (of(ED25519) + "\n", "invalidDid"),
        (of(ED25519).replace("did:jwk:", "did:jwk:!"), "invalidDid"),
        (of(b"[]"), "invalidDid"),
        (of(b"{"), "invalidDid"),
        (of(json.dumps(ED25519).encode()[:-1] + b', "x": "AA"}'), "invalidDid"),
        (of(b"\xff"), "invalidDid"),
        ("did:jwk:", "invalidDid"),
        ("did:jwk:" + "A" * 5_000, "invalidDid"),
        ("did:jwk:é", "invalidDid"),
        ("jwk:", "invalidDid"),
        ("did:JWK:" + of(ED25519)[8:], "methodNotSupported"),
        ("did:key:z6Mk", "methodNotSupported"),
        (of({**ED25519, "x": 1}), "invalidPublicKey"),
        (of({**ED25519, "x": "AAAA"}), "invalidPublicKeyLength"),
        (of({**ED25519, "x": ED25519["x"] + "="}), "invalidPublicKey"),
        (of({"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}), "invalidPublicKeyLength"),
        (of({"kty": "EC", "crv": "P-192", "x": "AQ", "y": "AQ"}), "unsupportedPublicKeyType"),
        (of({}), "unsupportedPublicKeyType"),
    ],
)
def test_refusals(did: str, code: str) -> None:
    with pytest.raises(DidError) as caught:
        did_jwk.document(did)
    assert caught.value.code == code
    assert len(did) < 20 or did not in str(caught.value)


@given(st.one_of(st.text(), st.binary().map(of), st.text().map("did:jwk:".__add__)))
def test_any_text_is_a_did_or_an_error(did: str) -> None:
    with contextlib.suppress(DidError):
        did_jwk.document(did)


@given(
    st.dictionaries(
        st.sampled_from(["kty", "crv", "x", "y", "n", "e", "use", "alg"]),
        st.one_of(
            st.sampled_from(["OKP", "EC", "RSA", "Ed25519", "P-256", "AQAB", "sig"]),
            st.text(),
            st.integers(),
            st.none(),
        ),
    )
)
def test_any_object_is_a_key_or_an_error(jwk: dict[str, Any]) -> None:
    with contextlib.suppress(DidError, UnicodeEncodeError):
        did_jwk.document(of(jwk))
