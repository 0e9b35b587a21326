"""What is issued here verifies with implementations that share nothing with it."""

import base64
import json
from typing import Any

import didkit
import pytest

pytestmark = pytest.mark.timeout(300)

ALL = ("Ed25519", "P-256", "P-384", "secp256k1")
# did-jwt-vc and didkit know no P-384 and no data model 2.0 as JWT; jose dropped secp256k1.
READERS = {
    "jose": (("1.1", "2.0"), ALL[:3]),
    "did-jwt-vc": (("1.1",), ("Ed25519", "P-256", "secp256k1")),
    "credo": (("1.1", "2.0"), ALL),
    "didkit": (("1.1",), ("Ed25519", "P-256", "secp256k1")),
}
CASES = [
    (peer, version, kind)
    for peer, (versions, kinds) in READERS.items()
    for version in versions
    for kind in kinds
]


async def read(peer: str, peers: Any, token: str, version: str, identity: Any) -> dict[str, Any]:
    """What the peer answers; raises when it does not verify the token."""
    if peer == "didkit":
        answer = json.loads(await didkit.verify_credential(token, '{"proofFormat": "jwt"}'))
        if answer["errors"] or answer["checks"] != ["JWS"]:
            raise ValueError(answer)
        return {}
    request = {"token": token, "version": version}
    if peer == "jose":
        request |= {"jwk": identity.public, "algorithm": identity.algorithm}
    answered: dict[str, Any] = peers.ask(peer, "verify", **request)
    return answered


def forged(token: str) -> str:
    """The same token about a better degree, its signature left as it was."""
    head, body, signature = token.split(".")
    plain = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    assert b"Bachelor of Science" in plain
    other = plain.replace(b"Bachelor of Science", b"Doctor of Science!!")
    return f"{head}.{base64.urlsafe_b64encode(other).rstrip(b'=').decode()}.{signature}"


@pytest.mark.parametrize(("peer", "version", "kind"), CASES)
async def test_a_token_of_ours_verifies_there(
    ours: Any, peers: Any, peer: str, version: str, kind: str
) -> None:
    identity = ours.identity(kind)
    token = await ours.issue(identity, version)
    await read(peer, peers, token, version, identity)
    with pytest.raises((ours.Refused, ValueError)):
        await read(peer, peers, forged(token), version, identity)


async def test_what_jose_reads(ours: Any, peers: Any) -> None:
    identity = ours.identity("P-256")
    answer = await read("jose", peers, await ours.issue(identity, "2.0"), "2.0", identity)
    assert answer["header"] == {
        "alg": "ES256",
        "typ": "vc+jwt",
        "cty": "vc",
        "kid": f"{identity.did}#{identity.did.removeprefix('did:key:')}",
    }
    credential = answer["payload"]
    assert credential["id"] == ours.IDENTIFIER
    assert credential["issuer"] == credential["iss"] == identity.did
    assert credential["credentialSubject"] == {**ours.CLAIMS, "id": ours.SUBJECT}
    assert credential["validUntil"] == "2090-01-01T00:00:00Z"


async def test_what_did_jwt_vc_reads(ours: Any, peers: Any) -> None:
    identity = ours.identity("secp256k1")
    answer = await read("did-jwt-vc", peers, await ours.issue(identity, "1.1"), "1.1", identity)
    assert answer["issuer"] == identity.did
    credential = answer["credential"]
    assert credential["id"] == ours.IDENTIFIER
    assert credential["issuer"] == {"id": identity.did}
    assert credential["credentialSubject"] == {**ours.CLAIMS, "id": ours.SUBJECT}
    assert credential["expirationDate"].startswith("2090-01-01T00:00:00")
    assert credential["type"] == ["VerifiableCredential", "UniversityDegreeCredential"]


@pytest.mark.parametrize("peer", ["jose", "did-jwt-vc", "credo"])
async def test_the_newer_name_of_ed25519(ours: Any, peers: Any, peer: str) -> None:
    identity = ours.identity("Ed25519")
    token = await ours.issue(identity, "1.1", settings={"ed25519_algorithm": "Ed25519"})
    head = token.partition(".")[0]
    assert json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["alg"] == "Ed25519"
    request = {"token": token, "version": "1.1", "jwk": identity.public, "algorithm": "Ed25519"}
    peers.ask(peer, "verify", **request)
