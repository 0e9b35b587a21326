"""The body of a credential in both data models, and its signature, read by someone who knows only
the DID."""

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
from credentials.contexts import V1, V2
from credentials.errors import CredentialError
from credentials.signer import sign
from schemas.queues.vc_issuance import VcIssuance

SCHEMA = json.loads((Path(__file__).parents[1] / "vectors" / "w3c-vc-v2-schema.json").read_text())
SUBJECT = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
ISSUER = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
ISSUED = vc.moment(1_735_689_600_999)
ISSUED_S = 1_735_689_600
IDENTIFIER = "urn:uuid:6c3a7a4e-2f4d-5d53-8a6f-0a6e6c1f7d11"
STATUS = {
    "type": "BitstringStatusListEntry",
    "statusPurpose": "revocation",
    "statusListIndex": "94567",
    "statusListCredential": "https://issuer.example/status/3",
}
TENANT = {"organizationId": "org-123", "userId": "user-456"}


@pytest.fixture
def key() -> OKPKey:
    return OKPKey.generate_key("Ed25519")


def request(**changes: Any) -> VcIssuance:
    data = {
        "issuerDid": ISSUER,
        "subjectDid": SUBJECT,
        "credentialType": "UniversityDegreeCredential",
        "claims": {"degree": "Bachelor of Science", "graduationYear": 2024},
        **TENANT,
    }
    return VcIssuance.model_validate(data | changes)


def document(version: Any = "2.0", **changes: Any) -> dict[str, Any]:
    made = vc.compose(request(**changes), version, IDENTIFIER, ISSUED)
    if version == "2.0":
        jsonschema.validate(made, SCHEMA)
    return made


def whole(**changes: Any) -> dict[str, Any]:
    """A complete credential of data model 2.0; a member that is None is left out."""
    credential = {
        "@context": [V2],
        "type": ["VerifiableCredential"],
        "issuer": ISSUER,
        "credentialSubject": {"id": SUBJECT, "degree": "BSc"},
        **changes,
    }
    return {name: value for name, value in credential.items() if value is not None}


def of_whole(version: Any = "2.0", given: Any = None, **changes: Any) -> dict[str, Any]:
    wanted = {"credential": whole(**changes), **TENANT, **(given or {})}
    return vc.compose(VcIssuance.model_validate(wanted), version, IDENTIFIER, ISSUED)


def refused(make: Any) -> str:
    with pytest.raises(CredentialError) as caught:
        make()
    return caught.value.code


def segment(token: str, index: int) -> bytes:
    part = token.split(".")[index]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_the_body_is_the_credential() -> None:
    body = vc.payload(document(), "2.0", ISSUED)
    assert body == {
        "@context": [V2],
        "id": IDENTIFIER,
        "type": ["VerifiableCredential", "UniversityDegreeCredential"],
        "issuer": ISSUER,
        "validFrom": "2025-01-01T00:00:00Z",
        "credentialSubject": {
            "id": SUBJECT,
            "degree": "Bachelor of Science",
            "graduationYear": 2024,
        },
        "iss": ISSUER,
        "iat": ISSUED_S,
    }


def test_the_body_of_data_model_1_1() -> None:
    until = "2025-06-01T02:00:00.9+02:00"
    made = document("1.1", expirationDate=until)
    assert made["expirationDate"] == until
    assert vc.payload(made, "1.1", ISSUED) == {
        "iss": ISSUER,
        "sub": SUBJECT,
        "jti": IDENTIFIER,
        "nbf": ISSUED_S,
        "iat": ISSUED_S,
        "exp": 1_748_736_000,
        "vc": {
            "@context": [V1],
            "id": IDENTIFIER,
            "type": ["VerifiableCredential", "UniversityDegreeCredential"],
            "issuer": ISSUER,
            "issuanceDate": "2025-01-01T00:00:00Z",
            "expirationDate": "2025-06-01T00:00:00Z",
            "credentialSubject": {
                "id": SUBJECT,
                "degree": "Bachelor of Science",
                "graduationYear": 2024,
            },
        },
    }


def test_an_expiration_becomes_valid_until() -> None:
    until = "2025-01-01T01:00:01.5+01:00"
    made = document(expirationDate=until)
    assert made["validUntil"] == until
    assert not {"exp", "nbf", "sub", "jti", "vc", "vp"} & set(vc.payload(made, "2.0", ISSUED))


@pytest.mark.parametrize("version", ["1.1", "2.0"])
@pytest.mark.parametrize(
    "date", ["2025-01-01T00:00:00Z", "2025-01-01T00:30:00+01:00", "0001-01-01T00:00:00+14:00"]
)
def test_an_expiration_before_issuance_is_refused(version: Any, date: str) -> None:
    assert refused(lambda: document(version, expirationDate=date)) == "expiration_in_past"


def test_a_start_of_its_own() -> None:
    start = "2026-01-01T00:00:00.5+01:00"
    assert document(validFrom=start)["validFrom"] == start
    body = vc.payload(document("1.1", validFrom=start), "1.1", ISSUED)
    assert (body["nbf"], body["iat"]) == (1_767_222_000, ISSUED_S)
    assert body["vc"]["issuanceDate"] == "2025-12-31T23:00:00Z"
    late = {"validFrom": start, "expirationDate": "2025-06-01T00:00:00Z"}
    for version in ("1.1", "2.0"):
        assert refused(lambda version=version: document(version, **late)) == "credential_invalid"


@pytest.mark.parametrize("date", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_dates_at_the_end_of_time(date: str) -> None:
    if date.startswith("0001"):
        assert vc.payload(document("1.1", validFrom=date), "1.1", ISSUED)["nbf"] < 0
    else:
        assert vc.payload(document("1.1", expirationDate=date), "1.1", ISSUED)["exp"] > 0


def test_the_plain_type_is_there_once() -> None:
    assert document(credentialType="VerifiableCredential")["type"] == ["VerifiableCredential"]


def test_names_schemas_and_contexts() -> None:
    schema = {"id": "https://a.example/schema", "type": "JsonSchema"}
    pinned = schema | {"digestSRI": "sha256-" + "A" * 43 + "="}
    assert document(credentialSchema=pinned)["credentialSchema"] == pinned
    made = document(name="Degree", description="A degree", credentialSchema=schema)
    assert (made["name"], made["description"]) == ("Degree", "A degree")
    assert made["credentialSchema"] == schema
    other = {"id": "https://a.example/other", "type": "JsonSchemaCredential"}
    assert document(credentialSchema=[schema, other])["credentialSchema"] == [schema, other]
    assert document("1.1", credentialSchema=[schema])["credentialSchema"] == schema
    asked = request(contexts=["https://a.example/c"])
    made = vc.compose(asked, "2.0", IDENTIFIER, ISSUED, ["https://a.example/c"])
    assert made["@context"] == [V2, "https://a.example/c"]


def test_data_model_1_1_has_no_name() -> None:
    for member in ("name", "description"):
        code = refused(lambda member=member: document("1.1", **{member: "x"}))
        assert code == "member_not_in_data_model"


@pytest.mark.parametrize(
    ("asked", "default", "version"),
    [
        (request(), "2.0", "2.0"),
        (request(), "1.1", "1.1"),
        (request(dataModel="1.1"), "2.0", "1.1"),
        (request(dataModel="2.0"), "1.1", "2.0"),
        (VcIssuance.model_validate({"credential": whole(), **TENANT}), "1.1", "2.0"),
        (
            VcIssuance.model_validate({"credential": whole(**{"@context": [V1]}), **TENANT}),
            "2.0",
            "1.1",
        ),
        (
            VcIssuance.model_validate({"credential": whole(**{"@context": "x"}), **TENANT}),
            "2.0",
            "2.0",
        ),
    ],
)
def test_which_data_model(asked: VcIssuance, default: Any, version: str) -> None:
    assert vc.data_model(asked, default) == version


def test_a_whole_credential_is_issued_as_it_is() -> None:
    credential = whole(
        id="https://issuer.example/credentials/7",
        issuer={"id": ISSUER, "name": "A university"},
        validFrom="2024-01-01T00:00:00Z",
        validUntil="2030-01-01T00:00:00Z",
        name={"@value": "Grad", "@language": "de"},
        credentialSubject=[{"id": SUBJECT, "a": 1}, {"b": 2}],
        credentialStatus={"id": "https://a.example/s#1", "type": "SomeStatus"},
        evidence=[{"type": "Interview"}],
    )
    asked = VcIssuance.model_validate({"credential": credential, **TENANT})
    made = vc.compose(asked, "2.0", IDENTIFIER, ISSUED)
    assert made == credential
    assert asked.credential == credential
    jsonschema.validate(made, SCHEMA)
    body = vc.payload(made, "2.0", ISSUED)
    assert body == credential | {"iss": ISSUER, "iat": ISSUED_S}


def test_what_a_whole_credential_leaves_out_is_added() -> None:
    made = of_whole()
    assert made == whole() | {"id": IDENTIFIER, "validFrom": "2025-01-01T00:00:00Z"}
    made = of_whole("1.1", **{"@context": [V1], "credentialSubject": {"degree": "BSc"}})
    body = vc.payload(made, "1.1", ISSUED)
    assert "sub" not in body
    assert body["vc"]["issuanceDate"] == "2025-01-01T00:00:00Z"


@pytest.mark.parametrize(
    "changes",
    [
        {"@context": None}, {"@context": V2}, {"@context": []}, {"@context": ["https://a.example"]},
        {"@context": [V1]}, {"@context": [{"@vocab": "urn:x:"}, V2]}, {"@context": [V2, 7]},
        {"type": None}, {"type": []}, {"type": ["Degree"]}, {"type": "verifiablecredential"},
        {"id": "no url"}, {"id": ["urn:x:y"]}, {"id": 7},
        {"issuer": None}, {"issuer": {}}, {"issuer": {"name": "x"}}, {"issuer": "a"},
        {"issuer": 7}, {"issuer": [ISSUER]},
        {"credentialSubject": None}, {"credentialSubject": {}}, {"credentialSubject": []},
        {"credentialSubject": [{}]}, {"credentialSubject": SUBJECT},
        {"credentialSubject": {"id": "x", "a": 1}},
        {"validFrom": "2025-01-01"}, {"validFrom": "2025-01-01T00:00:00"}, {"validFrom": 7},
        {"validUntil": "2035-01-01T00:00:00"}, {"validUntil": "soon"},
        {"validFrom": "2031-01-01T00:00:00Z", "validUntil": "2030-01-01T00:00:00Z"},
        {"credentialStatus": {"id": "urn:x:y"}}, {"credentialStatus": "urn:x:y"},
        {"credentialStatus": {"type": "T", "id": "not a url"}},
        {"credentialStatus": STATUS | {"statusListIndex": True}},
        {"credentialStatus": STATUS | {"statusListIndex": "-1"}},
        {"credentialStatus": STATUS | {"statusPurpose": 7}},
        {"credentialStatus": STATUS | {"statusListCredential": "list"}},
        {"credentialStatus": STATUS | {"id": STATUS["statusListCredential"]}},
        {"credentialStatus": [STATUS] * 17},
        {"credentialSchema": {"type": "JsonSchema"}}, {"credentialSchema": {"id": "urn:x:y"}},
        {"credentialSchema": {"type": "JsonSchema", "id": "urn:x:y", "digestSRI": "md5-AA=="}},
        {"credentialSchema": [{"type": "JsonSchema", "id": "urn:x:y"}] * 9},
        {"evidence": {"a": 1}}, {"termsOfUse": [{"a": 1}]}, {"refreshService": {"id": "urn:x:y"}},
        {"name": 7}, {"name": {"@value": "x", "other": 1}}, {"description": {"@language": "en"}},
        {"relatedResource": [{"id": "urn:x:y"}]},
        {"proof": {"type": "DataIntegrityProof"}}, {"vc": {}}, {"vp": {}}, {"iss": ISSUER},
        {"exp": 1}, {"nbf": 1}, {"iat": 1}, {"jti": "urn:x:y"}, {"sub": SUBJECT}, {"aud": "x"},
        {"cnf": {}},
    ],
)  # fmt: skip
def test_a_whole_credential_that_is_none(changes: dict[str, Any]) -> None:
    def make() -> Any:
        vc.issuer(VcIssuance.model_validate({"credential": whole(**changes), **TENANT}))
        return of_whole(**changes)

    assert refused(make) == "credential_invalid"


def test_a_whole_credential_may_be_one_of_the_past() -> None:
    """W3C's suite for the data model issues credentials that ended in 2023."""
    past = {"validFrom": "2020-01-01T00:00:00Z", "validUntil": "2024-01-01T00:00:00Z"}
    assert of_whole(**past)["validUntil"] == past["validUntil"]


def test_both_ways_of_naming_issuer_and_subject_agree() -> None:
    other = "did:key:z6Mkep5fVM4bYDJkjDaVxhKPq6n9Ud9MYcCQjLQjWXqQN7uo"
    assert of_whole(given={"issuerDid": ISSUER, "subjectDid": SUBJECT})["issuer"] == ISSUER
    assert refused(lambda: of_whole(given={"issuerDid": other})) == "issuer_mismatch"
    assert refused(lambda: of_whole(given={"subjectDid": other})) == "subject_mismatch"
    nameless = {"credentialSubject": {"a": 1}}
    code = refused(lambda: of_whole(given={"subjectDid": SUBJECT}, **nameless))
    assert code == "subject_mismatch"


def test_several_subjects_need_data_model_2_0() -> None:
    several = {"credentialSubject": [{"id": SUBJECT}, {"a": 1}]}
    assert of_whole(**several)["credentialSubject"] == several["credentialSubject"]
    old = several | {"@context": [V1]}
    assert refused(lambda: of_whole("1.1", **old)) == "subject_not_single"


@pytest.mark.parametrize("version", ["1.1", "2.0"])
def test_the_token_says_what_it_is_and_verifies(key: OKPKey, version: Any) -> None:
    issuer = did_key.encode(
        {name: str(key.as_dict(private=False)[name]) for name in ("kty", "crv", "x")}
    )
    made = document(version, issuerDid=issuer, claims={"name": "Zoë 日本"})
    body = vc.payload(made, version, ISSUED)
    key_id = did_key.verification_method(issuer)
    token = sign(body, key, key_id, typ=vc.TYP[version], cty=vc.CTY[version])
    media = {"1.1": {"typ": "JWT"}, "2.0": {"typ": "vc+jwt", "cty": "vc"}}[version]
    assert json.loads(segment(token, 0)) == {"alg": "EdDSA", "kid": key_id, **media}
    assert json.loads(segment(token, 1)) == body
    public = base64.urlsafe_b64decode(did_key.decode(issuer)["x"] + "=")
    signed = token.rpartition(".")[0].encode()
    Ed25519PublicKey.from_public_bytes(public).verify(segment(token, 2), signed)


def test_a_credential_has_a_size(key: OKPKey) -> None:
    fits = document(claims={"a": "x" * 190_000})
    assert len(sign(fits, key, "did:x:y#z")) < 256 * 1024
    large = document(claims={"a": "x" * 200_000})
    assert refused(lambda: sign(large, key, "did:x:y#z")) == "credential_too_large"


def test_ids_follow_from_the_job_and_the_issuer() -> None:
    one = vc.credential_id("did:key:z6MkA", "vc-issuance", "1", 7)
    assert one == vc.credential_id("did:key:z6MkA", "vc-issuance", "1", 7)
    parsed = uuid.UUID(one.removeprefix("urn:uuid:"))
    assert (one[:9], parsed.version) == ("urn:uuid:", 5)
    others = {
        vc.credential_id("did:key:z6MkB", "vc-issuance", "1", 7),
        vc.credential_id("did:key:z6MkA", "other", "1", 7),
        vc.credential_id("did:key:z6MkA", "vc-issuance", "2", 7),
        vc.credential_id("did:key:z6MkA", "vc-issuance", "1", 8),
    }
    assert one not in others
    assert len(others) == 4
