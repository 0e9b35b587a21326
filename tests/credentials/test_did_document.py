"""Which keys a document gives (F3), in every spelling (H4), and which it does not."""

import json
from typing import Any

import base58
import orjson
import pytest

from credentials import did_key, keys
from credentials.document import MAX_BYTES, check, methods, parse
from credentials.errors import DidError

DID = "did:web:issuer.example"
JWKS = {kind: keys.public_jwk(keys.generate(kind)) for kind in keys.KEY_TYPES}
ED25519, P256, K256 = JWKS["Ed25519"], JWKS["P-256"], JWKS["secp256k1"]


def multibase(jwk: dict[str, str]) -> str:
    return did_key.encode(jwk).removeprefix("did:key:")


def raw_of(jwk: dict[str, str]) -> bytes:
    return base58.b58decode(multibase(jwk)[1:])[2:]


def base58_of(jwk: dict[str, str]) -> str:
    return base58.b58encode(raw_of(jwk)).decode()


def method(kind: str, **more: Any) -> dict[str, Any]:
    return {"id": f"{DID}#k", "type": kind, "controller": DID, **more}


def documented(*entries: dict[str, Any], listed: Any = None) -> dict[str, Any]:
    names = [entry["id"] for entry in entries] if listed is None else listed
    return {"id": DID, "verificationMethod": list(entries), "assertionMethod": names}


@pytest.mark.parametrize("jwk", JWKS.values(), ids=JWKS)
@pytest.mark.parametrize("kind", ["JsonWebKey", "JsonWebKey2020", "Multikey"])
def test_every_key_in_the_types_for_all(kind: str, jwk: dict[str, str]) -> None:
    key: Any = {"publicKeyMultibase": multibase(jwk)} if kind == "Multikey" else {}
    more = key or {"publicKeyJwk": {**jwk, "kid": "x", "use": "sig", "alg": keys.algorithm_of(jwk)}}
    (found,) = methods(documented(method(kind, **more)), DID)
    assert (found.id, found.type, found.jwk) == (f"{DID}#k", kind, jwk)
    assert found.algorithms == keys.algorithms_of(jwk)


@pytest.mark.parametrize(
    ("kind", "more", "jwk"),
    [
        ("Ed25519VerificationKey2018", {"publicKeyBase58": base58_of(ED25519)}, ED25519),
        ("Ed25519VerificationKey2018", {"publicKeyJwk": ED25519}, ED25519),
        ("Ed25519VerificationKey2020", {"publicKeyMultibase": multibase(ED25519)}, ED25519),
        ("Ed25519VerificationKey2020", {"publicKeyJwk": ED25519}, ED25519),
        ("EcdsaSecp256k1VerificationKey2019", {"publicKeyJwk": K256}, K256),
        ("EcdsaSecp256k1VerificationKey2019", {"publicKeyHex": raw_of(K256).hex()}, K256),
        ("EcdsaSecp256k1VerificationKey2019", {"publicKeyBase58": base58_of(K256)}, K256),
    ],
)  # fmt: skip
def test_the_types_of_one_curve(kind: str, more: dict[str, Any], jwk: dict[str, str]) -> None:
    (found,) = methods(documented(method(kind, **more)), DID)
    assert found.jwk == jwk


GOOD = method("JsonWebKey", publicKeyJwk=P256)


@pytest.mark.parametrize(
    "bad",
    [
        GOOD | {"controller": "did:web:other.example"},
        GOOD | {"controller": [DID]},
        {name: value for name, value in GOOD.items() if name != "controller"},
        GOOD | {"type": "RsaVerificationKey2018"},
        GOOD | {"type": ["JsonWebKey"]},
        GOOD | {"type": None},
        method("JsonWebKey"),
        method("JsonWebKey", publicKeyJwk="x"),
        method("JsonWebKey", publicKeyMultibase=multibase(P256)),
        method("JsonWebKey", publicKeyJwk={**P256, "d": "AAAA"}),
        method("JsonWebKey", publicKeyJwk={**P256, "use": "enc"}),
        method("JsonWebKey", publicKeyJwk={**P256, "key_ops": ["sign"]}),
        method("JsonWebKey", publicKeyJwk={**P256, "key_ops": "verify"}),
        method("JsonWebKey", publicKeyJwk={**P256, "alg": "ES384"}),
        method("JsonWebKey", publicKeyJwk={**P256, "alg": "none"}),
        method("JsonWebKey", publicKeyJwk={**P256, "y": P256["x"]}),
        method("JsonWebKey", publicKeyJwk={**P256, "x": 1}),
        method("JsonWebKey", publicKeyJwk={**P256, "crv": "P-384"}),
        method("JsonWebKey", publicKeyJwk={**ED25519, "crv": "X25519"}),
        method("JsonWebKey", publicKeyJwk={**ED25519, "kty": "EC"}),
        method("JsonWebKey", publicKeyJwk={"kty": "oct", "k": "AAAA"}),
        method("Multikey", publicKeyMultibase=1),
        method("Multikey", publicKeyMultibase="z"),
        method("Multikey", publicKeyMultibase=multibase(P256)[:-1]),
        method("Multikey", publicKeyMultibase="z" + "1" * 5_000),
        method("Ed25519VerificationKey2020", publicKeyMultibase=multibase(P256)),
        method("Ed25519VerificationKey2018", publicKeyBase58="0"),
        method("Ed25519VerificationKey2018", publicKeyBase58="1" * 5_000),
        method("Ed25519VerificationKey2018", publicKeyJwk=P256),
        method("EcdsaSecp256k1VerificationKey2019", publicKeyJwk=P256),
        method("EcdsaSecp256k1VerificationKey2019", publicKeyHex="zz"),
        method("EcdsaSecp256k1VerificationKey2019", publicKeyHex="04" + "00" * 64),
        GOOD | {"id": "did:web:other.example#k"},
        GOOD | {"id": DID},
        GOOD | {"id": f"{DID}:sub#k"},
        GOOD | {"id": f"{DID}#"},
        GOOD | {"id": f"{DID}#k\n"},
        GOOD | {"id": 1},
    ],
)
def test_what_gives_no_key(bad: dict[str, Any]) -> None:
    assert methods(documented(bad), DID) == ()
    # It takes nothing from the good one beside it.
    other = GOOD | {"id": f"{DID}#good"}
    assert [m.id for m in methods(documented(bad, other), DID)] == [f"{DID}#good"]


@pytest.mark.parametrize("listed", [[], None, "x", [None], [1], {"a": 1}, [f"{DID}#other"], ["k"]])
def test_a_key_counts_only_for_what_it_is_listed_for(listed: Any) -> None:
    document = documented(GOOD) | {"assertionMethod": listed, "authentication": [f"{DID}#k"]}
    assert methods(document, DID) == ()
    assert [m.id for m in methods(document, DID, "authentication")] == [f"{DID}#k"]


def test_relative_ids_are_resolved_against_the_did() -> None:
    relative = GOOD | {"id": "#k"}
    for listed in (["#k"], [f"{DID}#k"], ["#k", f"{DID}#k"]):
        (found,) = methods(documented(relative, listed=listed), DID)
        assert found.id == f"{DID}#k"


def test_a_key_may_stand_where_it_is_listed() -> None:
    (found,) = methods({"id": DID, "assertionMethod": [GOOD]}, DID)
    assert found.jwk == P256
    assert methods({"id": DID, "authentication": [GOOD]}, DID) == ()


def test_an_id_that_names_two_keys_names_none() -> None:
    other = GOOD | {"publicKeyJwk": K256}
    for document in (
        documented(GOOD, other),
        documented(GOOD | {"id": "#k"}, other),
        documented(GOOD) | {"authentication": [other]},
    ):
        with pytest.raises(DidError) as caught:
            methods(document, DID)
        assert caught.value.code == "invalidDidDocument"
    assert len(methods(documented(GOOD, GOOD), DID)) == 1


@pytest.mark.parametrize(
    "bad",
    [
        method("JsonWebKey", publicKeyJwk={"kty": "OKP", "crv": "Ed25519", "x": "A" * 1_000_000}),
        method("JsonWebKey", publicKeyJwk={**P256, "y": "A" * 1_000_000}),
        method("EcdsaSecp256k1VerificationKey2019", publicKeyHex="02" * 500_000),
        method("EcdsaSecp256k1VerificationKey2019", publicKeyBase58="2" * 1_000_000),
        method("Multikey", publicKeyMultibase="z" + "2" * 1_000_000),
    ],
    ids=["okp", "ec", "hex", "base58", "multibase"],
)
def test_a_key_of_a_megabyte_is_not_decoded(
    bad: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    for name in ("b58encode", "b58decode"):
        plain = getattr(base58, name)

        def watched(value: Any, plain: Any = plain) -> Any:
            seen.append(len(value))
            assert len(value) < 1_000, "base58 takes quadratic time"
            return plain(value)

        monkeypatch.setattr(base58, name, watched)
    assert methods(documented(bad), DID) == ()
    assert all(size < 1_000 for size in seen)


def test_a_document_full_of_keys_is_bounded() -> None:
    entries = [GOOD | {"id": f"#k{n}"} for n in range(1_000)]
    assert len(methods(documented(*entries), DID)) == 200


@pytest.mark.parametrize(
    "body",
    [
        b"", b"x", b"[]", b'"x"', b"null", b"{}", b'{"id": 1}', b'{"id": "did:web:issuer.exampl"}',
        b'{"id": "did:web:Issuer.example"}', b'{"id": "did:web:issuer.example#"}', b"\xff",
        b'{"id": NaN}', b'{"id": "did:web:issuer.example", "a": ' + b"[" * 70 + b"]" * 70 + b"}",
        b'{"a":' * 5_000, b" " * (MAX_BYTES + 1),
        b'{"id": "did:web:issuer.example", "assertionMethod": [], "assertionMethod": ["#a"]}',
        b'{"id": "did:web:issuer.example", "service": [{"id": "#s", "\\u0069d": "#t"}]}',
    ],
    ids=range(17),
)  # fmt: skip
def test_what_is_no_document_of_this_did(body: bytes) -> None:
    with pytest.raises(DidError) as caught:
        parse(body, DID)
    assert caught.value.code == "invalidDidDocument"


def test_a_document_has_a_number_of_parts() -> None:
    def filled(parts: int) -> bytes:
        return orjson.dumps({"id": DID, "service": [[]] * parts})

    assert parse(filled(19_998), DID)["id"] == DID
    with pytest.raises(DidError) as caught:
        parse(filled(19_999), DID)
    assert caught.value.code == "invalidDidDocument"


def test_a_document_is_what_was_sent() -> None:
    document = documented(GOOD)
    assert parse(orjson.dumps(document), DID) == document == check(document, DID)


def test_did_key_documents_give_their_key() -> None:
    for jwk in JWKS.values():
        did = did_key.encode(jwk)
        (found,) = methods(did_key.document(did), did)
        assert (found.id, found.jwk) == (did_key.verification_method(did), jwk)
    x25519 = did_key.document(did_key.encode(ED25519))["verificationMethod"][1]
    did = f"did:key:{x25519['publicKeyMultibase']}"
    assert methods(did_key.document(did), did) == ()
    assert methods(did_key.document(did), did, "keyAgreement") == ()
    assert json.dumps(x25519)
