"""What is forbidden, by the number of its requirement: each is refused under the code it has here.

One example for each; the neighbouring files have the many. What needs more than a verifier on a
bench is in ELSEWHERE, by its test.
"""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from judging import Bench
from minting import NOW, Issuer, Key, b64, compact, dumps, encoded_list, entry

from credentials.errors import Deactivated, DidError, RetrievalError
from credentials.resolver import Resolver

URL = "https://issuer.example/status/1"
ISSUER, OTHER, P256 = Issuer(), Issuer(), Issuer(Key("P-256"))
WEB = Issuer(did="did:web:issuer.example", kid="did:web:issuer.example#key-1")
MALFORMED = "MALFORMED_VALUE_ERROR"


def signed(payload: bytes) -> str:
    """A token with a payload that a JSON encoder would not write."""
    return compact({"alg": "EdDSA", "typ": "vc+jwt", "kid": ISSUER.kid}, payload, ISSUER.key)


def with_signature(token: str, signature: bytes) -> str:
    return f"{token.rpartition('.')[0]}.{b64(signature)}"


def der() -> str:
    head = {"alg": "ES256", "typ": "vc+jwt", "kid": P256.kid}
    made = compact(head, P256.credential(), P256.key)
    message = made.rpartition(".")[0].encode()
    return with_signature(made, P256.key.sign(message, der=True))


TOKENS: dict[str, tuple[str, str]] = {
    "F1 none": (ISSUER.v20({"alg": "nOnE"}), "ALGORITHM_NOT_ALLOWED"),
    "F1 HMAC with the public key": (ISSUER.v20({"alg": "HS256"}), "ALGORITHM_NOT_ALLOWED"),
    "F1 RSA": (ISSUER.v20({"alg": "RS256"}), "ALGORITHM_NOT_ALLOWED"),
    "F1 not the key's": (P256.v20({"alg": "EdDSA"}), "ALGORITHM_NOT_ALLOWED"),
    "F2 an Ed25519 name for P-256": (P256.v20({"alg": "Ed25519"}), "ALGORITHM_NOT_ALLOWED"),
    "F3 kid of another DID": (
        compact(
            {"alg": "EdDSA", "typ": "vc+jwt", "kid": OTHER.kid}, ISSUER.credential(), OTHER.key
        ),
        "ISSUER_KEY_MISMATCH",
    ),
    "F3 kid nobody lists": (ISSUER.v20({"kid": f"{ISSUER.did}#1"}), "KEY_NOT_AUTHORIZED"),
    "F4 jwk in the header": (
        compact(
            {"alg": "EdDSA", "typ": "vc+jwt", "kid": ISSUER.kid, "jwk": OTHER.key.jwk},
            ISSUER.credential(),
            OTHER.key,
        ),
        "CRYPTOGRAPHIC_SECURITY_ERROR",
    ),
    "F5 DER": (der(), "CRYPTOGRAPHIC_SECURITY_ERROR"),
    "F5 zeros": (with_signature(P256.v20(), bytes(64)), "CRYPTOGRAPHIC_SECURITY_ERROR"),
    "F5 short": (with_signature(P256.v20(), bytes(63)), "CRYPTOGRAPHIC_SECURITY_ERROR"),
    "F6 a member twice": (
        signed(b'{"issuer":"did:example:a",' + dumps(ISSUER.credential())[1:]),
        "PARSING_ERROR",
    ),
    "F7 too long": ("x" * (256 * 1024 + 1), "TOKEN_TOO_LARGE"),
    "F7 too deep": (signed(b'{"a":' * 65 + b"1" + b"}" * 65), "PARSING_ERROR"),
    "F7 1e400": (signed(b'{"exp":1e400}'), "PARSING_ERROR"),
    "F7 5,000 digits": (signed(b'{"exp":' + b"9" * 5_000 + b"}"), "PARSING_ERROR"),
    "F8 exp": (ISSUER.v20(exp=NOW - 31), "EXPIRED"),
    "F8 nbf": (ISSUER.v20(nbf=NOW + 31), "NOT_YET_VALID"),
    "F8 iat": (ISSUER.v20(iat=NOW + 31), "NOT_YET_VALID"),
    "F8 validFrom": (ISSUER.v20(validFrom="2027-01-15T08:00:31Z"), "NOT_YET_VALID"),
    "F8 validUntil": (ISSUER.v20(validUntil="2027-01-15T07:59:29Z"), "EXPIRED"),
    "G6 a private key in a did:jwk": (
        Issuer(did=f"did:jwk:{b64(dumps({**ISSUER.key.jwk, 'd': b64(bytes(32))}))}").v20(),
        "INVALID_DID",
    ),
    "H1 an address": (Issuer(did="did:web:127.0.0.1").v20(), "INVALID_DID"),
    "H1 an address as a number": (Issuer(did="did:web:2130706433").v20(), "INVALID_DID"),
    "H2 %2F": (Issuer(did="did:web:issuer.example%2Fa").v20(), "INVALID_DID"),
    "H2 %40": (Issuer(did="did:web:a%40issuer.example").v20(), "INVALID_DID"),
    "H2 ..": (Issuer(did="did:web:issuer.example:..:a").v20(), "INVALID_DID"),
}


@pytest.mark.parametrize("name", TOKENS)
async def test_a_token(name: str) -> None:
    token, code = TOKENS[name]
    assert await Bench().code(token) == code


def raising(error: Exception) -> Callable[[str], Awaitable[Any]]:
    async def resolve(_did: str) -> Any:
        raise error

    return resolve


DOCUMENTS: dict[str, tuple[Any, str]] = {
    "F3 only for authentication": (WEB.document(assertionMethod=[]), "KEY_NOT_AUTHORIZED"),
    "F3 controlled by another": (
        WEB.document(verificationMethod=[{**WEB.document()["verificationMethod"][0],
                                          "controller": OTHER.did}]),
        "KEY_NOT_AUTHORIZED",
    ),
    "H1 a document of another DID": (OTHER.document(), "INVALID_DID_DOCUMENT"),
    "H3 an address inside": (DidError("blocked", "Not called from here."), "DID_BLOCKED"),
    "H4 a type of key nobody knows": (
        WEB.document(verificationMethod=[{**WEB.document()["verificationMethod"][0],
                                          "type": "RsaVerificationKey2018"}]),
        "KEY_NOT_AUTHORIZED",
    ),
    "H6 a key that was taken out": (
        WEB.document(verificationMethod=[], assertionMethod=[]),
        "KEY_NOT_AUTHORIZED",
    ),
    "H7 deactivated": (Deactivated(), "DID_DEACTIVATED"),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_an_issuer_on_the_web(name: str) -> None:
    found, code = DOCUMENTS[name]
    resolve = (
        raising(found)
        if isinstance(found, Exception)
        else Resolver(documents={WEB.did: found}).resolve
    )
    assert await Bench(resolve=resolve).code(WEB.v20()) == code


async def test_what_cannot_be_had_now_is_no_yes() -> None:
    """A5, H3: the one thing here that may pass."""
    bench = Bench(resolve=raising(RetrievalError("No answer.")))
    assert await bench.unknown(WEB.v20()) == "DID_RETRIEVAL_ERROR"


GOOD = ISSUER.status_list(URL)
LISTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "I1 a number as index": (entry(URL, 5), GOOD, MALFORMED),
    "I1 id is the list": (entry(URL, id=URL), GOOD, MALFORMED),
    "I1 no purpose": (entry(URL, statusPurpose=...), GOOD, MALFORMED),
    "I2 without u": (
        entry(URL),
        ISSUER.status_list(URL, encodedList=encoded_list()[1:]),
        MALFORMED,
    ),
    "I2 another type": (
        entry(URL),
        ISSUER.status_list(URL, type="StatusList2021"),
        "STATUS_VERIFICATION_ERROR",
    ),
    "I2 too few entries": (
        entry(URL),
        ISSUER.status_list(URL, encodedList=encoded_list(bits=131_064)),
        "STATUS_LIST_LENGTH_ERROR",
    ),
    "I3 revoked": (entry(URL), ISSUER.status_list(URL, 5), "STATUS_REVOKED"),
    "I3 forged": (entry(URL), GOOD[:-8] + "AAAAAAAA", "STATUS_VERIFICATION_ERROR"),
    "I3 of another purpose": (
        entry(URL, statusPurpose="suspension"),
        GOOD,
        "STATUS_VERIFICATION_ERROR",
    ),
    "I3 beyond the end": (entry(URL, "131072"), GOOD, "RANGE_ERROR"),
    "I4 by another issuer": (entry(URL), OTHER.status_list(URL), "STATUS_VERIFICATION_ERROR"),
    "I6 a bomb": (
        entry(URL),
        ISSUER.status_list(URL, encodedList=encoded_list(bits=2**27)),
        "STATUS_LIST_LENGTH_ERROR",
    ),
}


@pytest.mark.parametrize("name", LISTS)
async def test_a_status_list(name: str) -> None:
    status, body, code = LISTS[name]
    bench = Bench(bodies={URL: body})
    assert await bench.code(ISSUER.v20(credentialStatus=status)) == code


async def test_a_status_list_that_is_not_there() -> None:
    """I3."""
    made = ISSUER.v20(credentialStatus=entry(URL))
    assert await Bench().code(made) == "STATUS_RETRIEVAL_ERROR"


ELSEWHERE = {
    "G5 did:key": "test_did_operations.py::test_a_did_key_never_changes",
    "G5 did:jwk": "test_did_operations.py::test_a_did_jwk_never_changes",
    "H3 sockets": "test_verify_jobs.py::test_addresses_inside_are_never_dialled",
    "H3 redirects": "test_did_resolver.py::test_what_comes_instead_of_a_document",
    "H5 a name twice": "test_did_hosting.py::test_a_name_is_taken_once_whoever_asks",
    "H6 two at once": "test_did_hosting.py::test_of_two_updates_of_one_version_the_second_is_told",
    "H6 a key that signs": "test_did_hosting.py::test_a_refused_update_changes_nothing",
    "H7 created again": "test_did_hosting.py::test_a_deactivated_did_is_gone_for_good",
    "H7 signing": "test_vc_issuance.py::test_a_deactivated_did_signs_no_more",
    "H7 served": "../gateway/test_dids.py::test_a_deactivated_did_is_a_tombstone",
    "I5 revoked for good": "../gateway/test_credentials.py::test_a_revocation_is_final",
    "I7 believed too long": "test_verify_status.py::test_a_list_is_kept_as_long_as_it_says",
}


def test_every_forbidden_thing_has_its_test() -> None:
    named = {name.split()[0] for name in (*TOKENS, *DOCUMENTS, *LISTS, *ELSEWHERE)}
    wanted = {f"{letter}{n}" for letter, last in (("F", 8), ("H", 7), ("I", 7))
              for n in range(1, last + 1)}  # fmt: skip
    assert wanted | {"G5", "G6"} == named
    for where in ELSEWHERE.values():
        file, _, test = where.partition("::")
        text = (Path(__file__).parent / file).read_text()
        assert re.search(rf"^async def {test}\(", text, re.MULTILINE), where
