"""The body of a credential and its signature, read by someone who knows only the DID."""

import base64
import json
import uuid
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from joserfc.jwk import OKPKey

from credentials import did_key, vc
from credentials.errors import CredentialError
from credentials.signer import sign
from schemas.queues.vc_issuance import VcIssuance

SCHEMA = json.loads((Path(__file__).parents[1] / "vectors" / "w3c-vc-v2-schema.json").read_text())
SUBJECT = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
ISSUED = vc.moment(1_735_689_600_999)
IDENTIFIER = "urn:uuid:6c3a7a4e-2f4d-5d53-8a6f-0a6e6c1f7d11"


@pytest.fixture
def key() -> OKPKey:
    return OKPKey.generate_key("Ed25519")


@pytest.fixture
def issuer(key: OKPKey) -> str:
    return did_key.encode(
        {name: str(key.as_dict(private=False)[name]) for name in ("kty", "crv", "x")}
    )


def request(issuer: str, **changes: Any) -> VcIssuance:
    data = {
        "issuerDid": issuer,
        "subjectDid": SUBJECT,
        "credentialType": "UniversityDegreeCredential",
        "claims": {"degree": "Bachelor of Science", "graduationYear": 2024},
        "organizationId": "org-123",
        "userId": "user-456",
    }
    return VcIssuance.model_validate(data | changes)


def segment(token: str, index: int) -> bytes:
    part = token.split(".")[index]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_the_body_is_the_credential(issuer: str) -> None:
    body = vc.credential(request(issuer), IDENTIFIER, ISSUED)
    assert body == {
        "@context": [
            "https://www.w3.org/ns/credentials/v2",
            "https://www.w3.org/ns/credentials/undefined-terms/v2",
        ],
        "id": IDENTIFIER,
        "type": ["VerifiableCredential", "UniversityDegreeCredential"],
        "issuer": issuer,
        "validFrom": "2025-01-01T00:00:00Z",
        "credentialSubject": {
            "id": SUBJECT,
            "degree": "Bachelor of Science",
            "graduationYear": 2024,
        },
        "iss": issuer,
        "iat": 1_735_689_600,
    }
    jsonschema.validate(body, SCHEMA)


def test_an_expiration_becomes_valid_until(issuer: str) -> None:
    until = "2025-01-01T01:00:01.5+01:00"
    body = vc.credential(request(issuer, expirationDate=until), IDENTIFIER, ISSUED)
    assert body["validUntil"] == until
    assert not {"exp", "nbf", "vc", "vp"} & set(body)
    jsonschema.validate(body, SCHEMA)


@pytest.mark.parametrize(
    "date", ["2025-01-01T00:00:00Z", "2025-01-01T00:30:00+01:00", "0001-01-01T00:00:00+14:00"]
)
def test_an_expiration_before_issuance_is_refused(issuer: str, date: str) -> None:
    with pytest.raises(CredentialError, match="not after") as caught:
        vc.credential(request(issuer, expirationDate=date), IDENTIFIER, ISSUED)
    assert caught.value.code == "expiration_in_past"


def test_the_plain_type_is_there_once(issuer: str) -> None:
    body = vc.credential(request(issuer, credentialType="VerifiableCredential"), IDENTIFIER, ISSUED)
    assert body["type"] == ["VerifiableCredential"]


def test_the_token_says_what_it_is_and_verifies(key: OKPKey, issuer: str) -> None:
    body = vc.credential(request(issuer, claims={"name": "Zoë 日本"}), IDENTIFIER, ISSUED)
    token = sign(body, key, did_key.verification_method(issuer))
    assert json.loads(segment(token, 0)) == {
        "alg": "EdDSA",
        "typ": "vc+jwt",
        "cty": "vc",
        "kid": did_key.verification_method(issuer),
    }
    assert json.loads(segment(token, 1)) == body
    public = base64.urlsafe_b64decode(did_key.decode(issuer)["x"] + "=")
    signed = token.rpartition(".")[0].encode()
    Ed25519PublicKey.from_public_bytes(public).verify(segment(token, 2), signed)


def test_the_same_credential_is_signed_the_same(key: OKPKey, issuer: str) -> None:
    body = vc.credential(request(issuer), IDENTIFIER, ISSUED)
    assert sign(body, key, "did:x:y#z") == sign(dict(body), key, "did:x:y#z")


def test_a_credential_has_a_size(key: OKPKey, issuer: str) -> None:
    fits = vc.credential(request(issuer, claims={"a": "x" * 190_000}), IDENTIFIER, ISSUED)
    assert len(sign(fits, key, "did:x:y#z")) < 256 * 1024
    large = vc.credential(request(issuer, claims={"a": "x" * 200_000}), IDENTIFIER, ISSUED)
    with pytest.raises(CredentialError) as caught:
        sign(large, key, "did:x:y#z")
    assert caught.value.code == "credential_too_large"


def test_ids_follow_from_the_job_and_the_issuer() -> None:
    one = vc.credential_id("did:key:z6MkA", "vc-issuance", "1")
    assert one == vc.credential_id("did:key:z6MkA", "vc-issuance", "1")
    parsed = uuid.UUID(one.removeprefix("urn:uuid:"))
    assert (one[:9], parsed.version) == ("urn:uuid:", 5)
    others = {
        vc.credential_id("did:key:z6MkB", "vc-issuance", "1"),
        vc.credential_id("did:key:z6MkA", "other", "1"),
        vc.credential_id("did:key:z6MkA", "vc-issuance", "2"),
    }
    assert one not in others
    assert len(others) == 3
