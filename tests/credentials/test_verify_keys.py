"""Whose key it was: the part of verification that gets attacked (F1-F5, H4-H7, B6, A4)."""

import asyncio
import base64
import copy
import threading
from typing import Any

import base58
import pytest
from judging import Bench
from minting import Issuer, Key, b64, compact

from credentials import signatures
from credentials.errors import Deactivated, DidError, RetrievalError

TYPES = ["Ed25519", "P-256", "P-384", "secp256k1"]
SHORT = "z" + base58.b58encode(b"\xed\x01" + bytes(31)).decode()
WEB = "did:web:issuer.example"


def web(curve: str = "Ed25519", did: str = WEB, fragment: str = "key-1") -> Issuer:
    return Issuer(Key(curve), did, f"{did}#{fragment}")


def bench(issuer: Issuer, **changes: Any) -> Bench:
    known = Bench()
    known.know(issuer, **changes)
    return known


def forged(token: str, *, last: bool = True) -> str:
    """The same token with one bit of its signature changed."""
    head, body, signature = token.split(".")
    raw = bytearray(base64.urlsafe_b64decode(signature + "=="))
    raw[-1 if last else 0] ^= 1
    return f"{head}.{body}.{b64(bytes(raw))}"


@pytest.mark.parametrize("curve", TYPES)
async def test_every_type_of_key_in_both_data_models(curve: str) -> None:
    issuer = Issuer(Key(curve))
    for token in (issuer.v20(), issuer.v11()):
        verdict = await Bench().valid(token)
        assert verdict.issuer == issuer.did
        for last in (True, False):
            refusal = await Bench().judge(forged(token, last=last))
            assert refusal.code == "CRYPTOGRAPHIC_SECURITY_ERROR"


@pytest.mark.parametrize("curve", TYPES)
async def test_another_key_of_the_same_type_does_not_do(curve: str) -> None:
    token = Issuer(Key(curve), did="did:web:issuer.example", kid=f"{WEB}#key-1").v20()
    assert await bench(web(curve)).code(token) == "CRYPTOGRAPHIC_SECURITY_ERROR"


async def test_ed25519_has_two_names() -> None:
    issuer = Issuer()
    await Bench().valid(issuer.v20({"alg": "Ed25519"}))
    await Bench().valid(issuer.v20({"alg": "EdDSA"}))


@pytest.mark.parametrize(
    ("curve", "alg"),
    [("P-256", "ES384"), ("P-256", "ES256K"), ("secp256k1", "ES256"), ("P-384", "ES256"),
     ("P-256", "EdDSA"), ("Ed25519", "ES256")],
)  # fmt: skip
async def test_the_key_decides_the_algorithm(curve: str, alg: str) -> None:
    assert await Bench().code(Issuer(Key(curve)).v20({"alg": alg})) == "ALGORITHM_NOT_ALLOWED"


@pytest.mark.parametrize("curve", ["P-256", "P-384", "secp256k1"])
async def test_ecdsa_signatures_are_raw_and_of_exact_length(curve: str) -> None:
    issuer = Issuer(Key(curve))
    head, body, signature = issuer.v20().split(".")
    size = len(base64.urlsafe_b64decode(signature + "=="))
    message = f"{head}.{body}".encode()
    for bad in (
        issuer.key.sign(message, der=True),
        bytes(size),
        bytes(size // 2) + b"\1" * (size // 2),
        b"\xff" * size,
        issuer.key.sign(message)[:-1],
        issuer.key.sign(message) + b"\0",
        b"\0" + issuer.key.sign(message),
        b"",
    ):
        token = f"{head}.{body}.{b64(bad)}"
        assert await Bench().code(token) == "CRYPTOGRAPHIC_SECURITY_ERROR", bad.hex()


@pytest.mark.parametrize("size", [0, 32, 63, 65, 64])
async def test_an_ed25519_signature_of_another_length_or_of_zeros(size: int) -> None:
    head, body, _ = Issuer().v20().split(".")
    token = f"{head}.{body}.{b64(bytes(size))}"
    assert await Bench().code(token) == "CRYPTOGRAPHIC_SECURITY_ERROR"


async def test_a_key_of_somebody_else_named_by_kid() -> None:
    """The attacker signs with its own did:jwk and names it in kid; iss is the victim."""
    victim, attacker = Issuer(), Issuer()
    token = compact(
        {"alg": "EdDSA", "typ": "vc+jwt", "kid": attacker.kid}, victim.credential(), attacker.key
    )
    assert await Bench().code(token) == "ISSUER_KEY_MISMATCH"
    payload = {"iss": victim.did, "nbf": 1, "vc": victim.vc()}
    old = compact({"alg": "EdDSA", "kid": attacker.kid}, payload, attacker.key)
    assert await Bench().code(old) == "ISSUER_KEY_MISMATCH"


@pytest.mark.parametrize(
    "kid",
    [f"{WEB}#other", WEB, f"{WEB}?a#key-1", f"{WEB}/a#key-1", f"{WEB}#key-1#key-1", f"{WEB}#",
     f"{WEB}#Key-1", f"{WEB}#key%2D1", f"{WEB}# key-1"],
)  # fmt: skip
async def test_a_kid_the_document_does_not_list(kid: str) -> None:
    issuer = web()
    assert await bench(issuer).code(issuer.v20({"kid": kid})) == "KEY_NOT_AUTHORIZED"


@pytest.mark.parametrize(
    "kid", ["did:web:issuer.example.evil.example#key-1", "did:web:issuer#key-1", "did:web:#key-1"]
)
async def test_a_kid_whose_did_only_looks_like_the_issuer(kid: str) -> None:
    issuer = web()
    assert await bench(issuer).code(issuer.v20({"kid": kid})) == "ISSUER_KEY_MISMATCH"


@pytest.mark.parametrize("kid", [..., "#key-1", "key-1", "https://issuer.example/#key-1", ""])
async def test_data_model_20_wants_an_absolute_kid(kid: object) -> None:
    issuer = web()
    assert await bench(issuer).code(issuer.v20({"kid": kid})) == "MALFORMED_VALUE_ERROR"
    assert (
        await bench(issuer).code(issuer.v20({"kid": kid}, iss=issuer.did))
        == "MALFORMED_VALUE_ERROR"
    )


async def test_data_model_11_does_without_kid_and_tries_the_issuers_keys() -> None:
    first, second = web(), web(fragment="key-2")
    document = first.document()
    methods = document["verificationMethod"] + second.document()["verificationMethod"]
    both = bench(
        first, verificationMethod=methods, assertionMethod=[first.kid, second.kid]
    )  # fmt: skip
    for issuer in (first, second):
        await both.valid(issuer.v11())
        await both.valid(issuer.v11({"kid": issuer.kid}))
        await both.valid(issuer.v11({"kid": issuer.kid.removeprefix(WEB)}))
    assert await both.code(first.v11({"kid": second.kid})) == "CRYPTOGRAPHIC_SECURITY_ERROR"
    assert await both.code(first.v11({"kid": "thumbprint"})) == "KEY_NOT_AUTHORIZED"
    stranger = Issuer(Key(), WEB, first.kid)
    assert await both.code(stranger.v11()) == "CRYPTOGRAPHIC_SECURITY_ERROR"


@pytest.mark.parametrize(
    "changes",
    [
        {"assertionMethod": ...},
        {"assertionMethod": []},
        {"assertionMethod": [f"{WEB}#other"]},
        {"assertionMethod": ["did:web:evil.example#key-1"]},
        {"assertionMethod": f"{WEB}#key-1"},
        {"verificationMethod": []},
    ],
)
async def test_a_key_that_is_not_for_assertions(changes: dict[str, Any]) -> None:
    issuer = web()
    assert await bench(issuer, **changes).code(issuer.v20()) == "KEY_NOT_AUTHORIZED"
    assert await bench(issuer, **changes).code(issuer.v11()) == "KEY_NOT_AUTHORIZED"


@pytest.mark.parametrize(
    "changes",
    [
        {"controller": "did:web:evil.example"},
        {"controller": ...},
        {"id": "did:web:evil.example#key-1"},
        {"type": "RsaVerificationKey2018"},
        {"publicKeyJwk": ...},
        {"publicKeyJwk": {"kty": "OKP", "crv": "Ed25519", "x": "AA"}},
        {"publicKeyJwk": {"kty": "oct", "k": "c2VjcmV0"}},
    ],
)
async def test_a_method_that_is_not_the_issuers_own_key(changes: dict[str, Any]) -> None:
    issuer = web()
    method = copy.deepcopy(issuer.document()["verificationMethod"][0])
    method |= {name: value for name, value in changes.items() if value is not ...}
    for name in (name for name, value in changes.items() if value is ...):
        del method[name]
    known = bench(issuer, verificationMethod=[method])
    assert await known.code(issuer.v20()) == "KEY_NOT_AUTHORIZED"


async def test_a_key_that_lies_open_or_is_for_encryption() -> None:
    issuer = web()
    for extra in ({"d": "AAAA"}, {"use": "enc"}, {"key_ops": ["sign"]}):
        method = issuer.document()["verificationMethod"][0]
        method["publicKeyJwk"] = issuer.key.jwk | extra
        known = bench(issuer, verificationMethod=[method])
        assert await known.code(issuer.v20()) == "KEY_NOT_AUTHORIZED"


@pytest.mark.parametrize("member", ["revoked", "expires"])
async def test_a_key_has_an_end(member: str) -> None:
    """Controlled Identifiers 1.0, 2.2: from then on nothing is verified with it."""
    issuer = web()
    method = issuer.document()["verificationMethod"][0]

    async def code(when: object) -> str | None:
        known = bench(issuer, verificationMethod=[method | {member: when}])
        return (await known.judge(issuer.v20())).code

    assert await code("2027-01-15T08:00:01Z") is None
    assert await code("2027-01-15T08:00:00Z") == "KEY_NOT_AUTHORIZED"
    assert await code("2020-01-01T00:00:00Z") == "KEY_NOT_AUTHORIZED"
    for nonsense in ("soon", 5, None, {}):
        assert await code(nonsense) == "KEY_NOT_AUTHORIZED"


async def test_a_document_full_of_keys_does_not_hold_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    issuer = web("P-384")
    many = [issuer.document()["verificationMethod"][0] | {"id": f"{WEB}#k{n}"} for n in range(50)]
    known = bench(issuer, verificationMethod=many, assertionMethod=[each["id"] for each in many])
    loop, threads = threading.get_ident(), []
    plain = signatures.methods
    monkeypatch.setattr(
        signatures, "methods", lambda *a: threads.append(threading.get_ident()) or plain(*a)
    )
    fits = signatures._fits
    monkeypatch.setattr(
        signatures, "_fits", lambda *a: threads.append(threading.get_ident()) or fits(*a)
    )
    assert await known.code(forged(issuer.v11())) == "CRYPTOGRAPHIC_SECURITY_ERROR"
    assert len(threads) == 51
    assert loop not in threads


async def test_keys_in_the_header_are_never_looked_at() -> None:
    attacker, victim = Issuer(), web()
    known = bench(victim)
    for header in (
        {"jwk": attacker.key.jwk},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/chain"},
        {"x5c": ["MIIB"]},
    ):
        head = {"alg": "EdDSA", "typ": "vc+jwt", "kid": victim.kid} | header
        token = compact(head, victim.credential(), attacker.key)
        assert await known.code(token) == "CRYPTOGRAPHIC_SECURITY_ERROR"
        await known.valid(victim.v20(header))
    assert known.fetched == []


async def test_rotation_keeps_old_credentials_and_removal_ends_them() -> None:
    old, new = web(fragment="key-1"), web(fragment="key-2")
    methods = [*old.document()["verificationMethod"], *new.document()["verificationMethod"]]
    rotated = bench(new, verificationMethod=methods, assertionMethod=[old.kid, new.kid])
    await rotated.valid(old.v20())
    await rotated.valid(new.v20())
    removed = bench(new)
    assert await removed.code(old.v20()) == "KEY_NOT_AUTHORIZED"
    await removed.valid(new.v20())


@pytest.mark.parametrize(
    ("did", "code"),
    [
        ("https://issuer.example", "INVALID_DID"),
        ("did:WEB:issuer.example", "INVALID_DID"),
        ("did:web:issuer.example/path", "INVALID_DID"),
        ("did:ethr:0xf1232f840f3ad7d23fcdaa84d6c66dac24efb198", "DID_METHOD_NOT_SUPPORTED"),
        (f"did:key:{SHORT}", "INVALID_PUBLIC_KEY_LENGTH"),
        ("did:jwk:e30", "UNSUPPORTED_PUBLIC_KEY_TYPE"),
        ("did:web:nobody.example", "DID_NOT_FOUND"),
        ("did:web:127.0.0.1", "INVALID_DID"),
        ("did:web:2130706433", "INVALID_DID"),
    ],
)
async def test_dids_that_lead_nowhere(did: str, code: str) -> None:
    issuer = Issuer(did=did, kid=f"{did}#0")
    assert await Bench().code(issuer.v11({"kid": ...})) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Deactivated(), "DID_DEACTIVATED"),
        (DidError("blocked", "No."), "DID_BLOCKED"),
        (DidError("invalidDidDocument", "No."), "INVALID_DID_DOCUMENT"),
        (DidError("notFound", "No."), "DID_NOT_FOUND"),
    ],
)
async def test_what_resolving_says_for_good(error: DidError, code: str) -> None:
    async def resolve(_did: str) -> Any:
        raise error

    assert await Bench(resolve=resolve).code(web().v20()) == code


async def test_a_did_that_cannot_be_had_now_is_no_verdict() -> None:
    async def resolve(_did: str) -> Any:
        raise RetrievalError("The server took too long.")

    assert await Bench(resolve=resolve).unknown(web().v20()) == "DID_RETRIEVAL_ERROR"


async def test_nothing_is_resolved_for_what_cannot_be_valid() -> None:
    async def resolve(_did: str) -> Any:
        raise AssertionError

    known = Bench(resolve=resolve)
    issuer = web()
    for token in (
        issuer.v20(type=["Other"]),
        issuer.v20(validUntil="2026-12-31T00:00:00Z"),
        issuer.v20({"typ": "at+jwt"}),
        issuer.v20(aud="did:web:other.example"),
        issuer.v20({"kid": "did:web:other.example#1"}),
    ):
        assert not (await known.judge(token)).valid


async def test_what_follows_from_a_did_alone_is_computed_once_and_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    known = Bench()
    resolver = known.resolve

    async def resolve(did: str) -> Any:
        asked.append(did)
        return await resolver(did)

    monkeypatch.setattr("credentials.signatures.KNOWN_DIDS", 2)
    bench = Bench(resolve=resolve)
    issuers = [Issuer() for _ in range(3)]
    for issuer in [issuers[0], *issuers, issuers[0]]:
        await bench.valid(issuer.v20())
    assert asked == [issuer.did for issuer in [*issuers, issuers[0]]]
    asked.clear()
    known.know(web())
    for _ in range(2):
        assert await bench.code(web().v20()) == "CRYPTOGRAPHIC_SECURITY_ERROR"
    assert asked == [WEB, WEB]


def multibase(prefix: bytes, raw: bytes) -> str:
    return "z" + base58.b58encode(prefix + raw).decode()


def point(issuer: Issuer) -> bytes:
    """The compressed public key."""
    if issuer.key.curve == "Ed25519":
        return unb64(issuer.key.jwk["x"])
    odd = unb64(issuer.key.jwk["y"])[-1] & 1
    return bytes([2 + odd]) + unb64(issuer.key.jwk["x"])


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


CODECS = {
    "Ed25519": b"\xed\x01",
    "secp256k1": b"\xe7\x01",
    "P-256": b"\x80\x24",
    "P-384": b"\x81\x24",
}


def spelled(issuer: Issuer, kind: str) -> dict[str, Any]:
    """The key of `issuer` as a method of this type."""
    raw, codec = point(issuer), CODECS[issuer.key.curve]
    return {
        "JsonWebKey": {"publicKeyJwk": issuer.key.jwk},
        "JsonWebKey2020": {"publicKeyJwk": issuer.key.jwk},
        "Multikey": {"publicKeyMultibase": multibase(codec, raw)},
        "Ed25519VerificationKey2018": {"publicKeyBase58": base58.b58encode(raw).decode()},
        "Ed25519VerificationKey2020": {"publicKeyMultibase": multibase(codec, raw)},
        "EcdsaSecp256k1VerificationKey2019": {"publicKeyJwk": issuer.key.jwk},
    }[kind]


@pytest.mark.parametrize(
    ("kind", "curve"),
    [(kind, curve) for kind in ("JsonWebKey", "JsonWebKey2020", "Multikey") for curve in TYPES]
    + [
        ("Ed25519VerificationKey2018", "Ed25519"),
        ("Ed25519VerificationKey2020", "Ed25519"),
        ("EcdsaSecp256k1VerificationKey2019", "secp256k1"),
    ],
)
async def test_every_spelling_of_a_key_in_a_document(kind: str, curve: str) -> None:
    issuer = web(curve)
    method = {"id": issuer.kid, "type": kind, "controller": WEB} | spelled(issuer, kind)
    for changes in (
        {"verificationMethod": [method]},
        {"verificationMethod": [method | {"id": "#key-1"}], "assertionMethod": ["#key-1"]},
        {"verificationMethod": [], "assertionMethod": [method]},
    ):
        known = bench(issuer, **changes)
        await known.valid(issuer.v20())
        assert await known.code(web(curve).v20()) == "CRYPTOGRAPHIC_SECURITY_ERROR"


async def test_a_verification_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("credentials.verify.TOTAL_S", 0.01)

    async def resolve(_did: str) -> Any:
        await asyncio.Event().wait()

    assert await Bench(resolve=resolve).unknown(web().v20()) == "SLOW_RETRIEVAL_ERROR"
