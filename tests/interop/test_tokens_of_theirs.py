"""What independent implementations issue verifies here, and only as they issued it."""

import json
import time
from typing import Any, NoReturn

import didkit
import pytest

from credentials import did_key
from credentials.resolver import Resolver
from credentials.verify import Verifier

pytestmark = pytest.mark.timeout(300)

ISSUED_S = 1_735_689_600
WRITERS = {
    "jose": (("1.1", "2.0"), ("Ed25519", "P-256", "P-384")),
    "did-jwt-vc": (("1.1",), ("Ed25519", "P-256", "secp256k1")),
    "credo": (("1.1", "2.0"), ("Ed25519", "P-256", "P-384", "secp256k1")),
    "didkit": (("1.1",), ("Ed25519", "P-256", "secp256k1")),
}
CASES = [
    (peer, version, kind)
    for peer, (versions, kinds) in WRITERS.items()
    for version in versions
    for kind in kinds
]


async def _never(*_: Any) -> NoReturn:
    raise AssertionError("nothing is to be fetched")


@pytest.fixture
def verifier() -> Verifier:
    return Verifier(Resolver().resolve, _never, clock=time.time)


def credential(ours: Any, did: str, version: str) -> dict[str, Any]:
    old = version == "1.1"
    return {
        "@context": [
            "https://www.w3.org/2018/credentials/v1"
            if old
            else "https://www.w3.org/ns/credentials/v2"
        ],
        "id": ours.IDENTIFIER,
        "type": ["VerifiableCredential"],
        "issuer": did,
        "issuanceDate" if old else "validFrom": "2025-01-01T00:00:00Z",
        "expirationDate" if old else "validUntil": "2090-01-01T00:00:00Z",
        "credentialSubject": {"id": ours.SUBJECT, "degree": "BSc", "marks": [1.5, 2]},
    }


async def write(ours: Any, peers: Any, identity: Any, peer: str, version: str) -> str:
    """A token of the peer's."""
    document = credential(ours, identity.did, version)
    who = {"did": identity.did, "jwk": identity.private, "algorithm": identity.algorithm}
    match peer, version:
        case "didkit", _:
            # Without the context that its vocabulary would need.
            return str(
                await didkit.issue_credential(
                    json.dumps(document), '{"proofFormat": "jwt"}', json.dumps(identity.private)
                )
            )
        case "jose", "2.0":
            header = {"alg": identity.algorithm, "typ": "vc+jwt"}
            header["kid"] = did_key.verification_method(identity.did)
            request = {"payload": document, "header": header, "jwk": identity.private}
        case "jose", _:
            claims = {"iss": identity.did, "sub": ours.SUBJECT, "nbf": ISSUED_S, "vc": document}
            header = {"alg": identity.algorithm, "typ": "JWT"}
            request = {"payload": claims, "header": header, "jwk": identity.private}
        case "did-jwt-vc", _:
            claims = {"sub": ours.SUBJECT, "nbf": ISSUED_S, "vc": document}
            request = {"payload": claims, **who}
        case _:
            request = {"credential": document, "version": version, **who}
    return str(peers.ask(peer, "issue", **request)["token"])


@pytest.mark.parametrize(("peer", "version", "kind"), CASES)
async def test_a_token_of_theirs_verifies_here(
    ours: Any, peers: Any, verifier: Verifier, peer: str, version: str, kind: str
) -> None:
    identity = ours.identity(kind)
    token = await write(ours, peers, identity, peer, version)
    verdict = await verifier.verify(token)
    assert verdict.result() == {
        "valid": True,
        "issuer": identity.did,
        "subject": ours.SUBJECT,
        "claims": {"degree": "BSc", "marks": [1.5, 2]},
    }, token
    head, body, _ = token.split(".")
    other = await write(ours, peers, ours.identity(kind), peer, version)
    spliced = f"{head}.{body}.{other.rpartition('.')[2]}"
    refusal = await verifier.verify(spliced)
    assert not refusal.valid
    assert refusal.code == "CRYPTOGRAPHIC_SECURITY_ERROR", refusal
