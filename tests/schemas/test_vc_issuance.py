"""What an issuance job may say."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from schemas.queues.vc_issuance import VcIssuance

Places = Callable[..., set[str]]
Good = Mapping[type[BaseModel], dict[str, Any]]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("value", ["", "a\nb", 7, None, "x" * 257])
def test_an_organization_has_a_name(places: Places, value: object) -> None:
    assert places(VcIssuance, organizationId=value) == {"organizationId"}


@pytest.mark.parametrize(
    "did",
    [
        "", "did", "did:key", "did:key:", "DID:key:z6Mk", "did:KEY:z6Mk", "did:key:z6Mk\n",
        " did:key:z6Mk", "did:key:z6Mk#z6Mk", "did:key:z6Mk/path", "did:key:z6Mk?x=1",
        "did:web:%zz", "did:web:a:", "did:exa mple:1", "did:key:@", "notDid:key:z6Mk",
        "did:key:" + "z" * 2_048, 1, None,
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["issuerDid", "subjectDid"])
def test_not_a_did(places: Places, field: str, did: object) -> None:
    assert places(VcIssuance, **{field: did}) == {field}


@pytest.mark.parametrize(
    "did", ["did:example:1", "did:web:a.example%3A3000:b", "did:web:a::b", "did:jwk:eyJ-_"]
)
def test_a_did(good: Good, did: str) -> None:
    VcIssuance.model_validate(good[VcIssuance] | {"subjectDid": did})


@pytest.mark.parametrize(
    "value",
    ["", " ", "A B", "A\n", "\tA", "@type", "a/b", "#A", "http:", "http://a b", 'A"B', "<A>", 3],
)
def test_not_a_credential_type(places: Places, value: object) -> None:
    assert places(VcIssuance, credentialType=value) == {"credentialType"}


@pytest.mark.parametrize(
    "value",
    [
        "VerifiableCredential",
        "DegreeCredential",
        "Führerschein",
        "https://a.example/v#T",
        "urn:x:y",
    ],
)
def test_a_credential_type(good: Good, value: str) -> None:
    VcIssuance.model_validate(good[VcIssuance] | {"credentialType": value})


@pytest.mark.parametrize(
    "value",
    [
        "2035-02-29", "2035-1-1", "2035-01-01Z", "20350101", "2035-01-01T00:00:00",
        "2035-01-01 00:00:00Z", "2035-01-01T00:00Z",
        "2035-13-01T00:00:00Z", "2035-02-29T00:00:00Z", "2035-01-01T24:00:00Z",
        "2035-01-01T00:00:60Z", "2035-01-01T00:00:00z", "2035-01-01T00:00:00+0100",
        "2035-01-01T00:00:00+15:00", "2035-01-01T00:00:00Z\n", "٢٠٣٥-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z", "tomorrow", "", 2_051_222_400,
    ],
)  # fmt: skip
def test_not_a_date_time_with_offset(places: Places, value: object) -> None:
    assert places(VcIssuance, expirationDate=value) == {"expirationDate"}


@pytest.mark.parametrize(
    "value",
    ["2036-02-29T23:59:59Z", "2035-01-01T00:00:00.123456789+05:30", "9999-12-31T23:59:59-14:00"],
)
def test_a_date_time_with_offset(good: Good, value: str) -> None:
    request = VcIssuance.model_validate(good[VcIssuance] | {"expirationDate": value})
    assert request.expiration_date == value


@pytest.mark.parametrize(
    "claims",
    [
        [], None, "x", [{"a": 1}], {1: 2}, {"a": math.nan}, {"a": [math.inf]}, {"a": "\ud800"},
        {"\udfff": 1}, {"a": object()}, {"a": b"x"}, {"a": (1, 2)}, {"a": 2**64},
        {"@id": "did:example:other"},
        {"@context": "https://evil.example"}, {"id": "did:example:other", "a": 1}, {"id": None},
        nested(66), {"a": [0] * 20_000}, {"a": [[[]] * 100] * 200},
    ],
)  # fmt: skip
def test_claims_that_are_refused(places: Places, claims: object) -> None:
    assert places(VcIssuance, claims=claims) == {"claims"}


def test_the_forms_of_other_systems(good: Good) -> None:
    given = good[VcIssuance] | {"claims": {}, "expirationDate": "2030-01-01"}
    request = VcIssuance.model_validate(given | {"validFrom": "2024-02-29"})
    assert request.claims == {}
    assert request.expiration_date == "2030-01-01T00:00:00Z"
    assert request.valid_from == "2024-02-29T00:00:00Z"
    again = VcIssuance.model_validate(request.model_dump(by_alias=True))
    assert again == request


@pytest.mark.parametrize("name", ["issuerDid", "subjectDid"])
@pytest.mark.parametrize(
    "did",
    [
        "did:key:z6Mk...", "did:key:z6Mk", "did:key:z", "did:key:x", "did:key:nonsense",
        "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2do",
        "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doKK",
        "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2d0K",
        "did:key:zDnaeUyom2PAVCPzd7M5T23SXy8zsoj56mPaBWBMqmvBM8G8",
        "did:key:z6MkYOUR-DID-HERE",
    ],
)  # fmt: skip
def test_placeholders_are_refused_at_the_door(good: Good, name: str, did: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        VcIssuance.model_validate(good[VcIssuance] | {name: did})
    (fault,) = refusal.value.errors()
    assert fault["loc"] == (name,)
    assert "did-operations" in fault["msg"]


@pytest.mark.parametrize(
    "did",
    [
        "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
        "did:key:zDnaeUyom2PAVCPzd7M5T23SXy8zsoj56mPaBWBMqmvBM8G8G",
        "did:web:issuer.example",
        "did:example:...",
    ],
)
def test_whole_dids(good: Good, did: str) -> None:
    assert VcIssuance.model_validate(good[VcIssuance] | {"subjectDid": did}).subject_did == did


def test_as_many_values_as_there_may_be(good: Good) -> None:
    claims = {"a": [*[[]] * 9_999, *["x"] * 10_000]}
    assert VcIssuance.model_validate(good[VcIssuance] | {"claims": claims}).claims == claims


def test_claims_may_name_their_subject(good: Good) -> None:
    payload = good[VcIssuance]
    claims = {"id": payload["subjectDid"], "deep": nested(60), "n": None, "t": True, "x": 2**64 - 1}
    assert VcIssuance.model_validate(payload | {"claims": claims}).claims == claims


def faults(good: Good, **changes: Any) -> dict[tuple[Any, ...], str]:
    """Where the good payload with these changes fails (a change to ... leaves the member out)."""
    changed = good[VcIssuance] | changes
    payload = {name: value for name, value in changed.items() if value is not ...}
    try:
        VcIssuance.model_validate(payload)
    except ValidationError as error:
        return {each["loc"]: each["msg"] for each in error.errors()}
    return {}


CLAIMED = ("issuerDid", "subjectDid", "credentialType", "claims")
SCHEMA = {"id": "https://a.example/schema.json", "type": "JsonSchema"}


@pytest.mark.parametrize("absent", [..., None])
@pytest.mark.parametrize("name", CLAIMED)
def test_claims_need_all_of_their_members(good: Good, name: str, absent: Any) -> None:
    assert faults(good, **{name: absent}) == {(name,): "Field required"}


def test_a_whole_credential_needs_none_of_them(good: Good) -> None:
    without = dict.fromkeys((*CLAIMED, "expirationDate"), ...)
    credential = {"credential": {"type": "VerifiableCredential"}}
    assert faults(good, **without, **credential) == {}
    agreeing = {"credentialType": ..., "claims": ..., "expirationDate": ...}
    assert faults(good, **agreeing, **credential, dataModel="2.0", status=["revocation"]) == {}


@pytest.mark.parametrize(
    "member",
    [
        {"credentialType": "Degree"}, {"claims": {"a": 1}}, {"validFrom": "2030-01-01T00:00:00Z"},
        {"expirationDate": "2030-01-01T00:00:00Z"}, {"contexts": ["https://a.example/c"]},
        {"name": "A"}, {"description": "A"}, {"credentialSchema": SCHEMA},
    ],
)  # fmt: skip
def test_a_whole_credential_says_it_itself(good: Good, member: dict[str, Any]) -> None:
    without = dict.fromkeys((*CLAIMED, "expirationDate"), ...)
    (name,) = member
    found = faults(good, **{**without, "credential": {"a": 1}, **member})
    assert found == {(name,): "Value error, must be absent: the credential itself says it"}


def test_a_whole_credential_has_one_status(good: Good) -> None:
    without = dict.fromkeys((*CLAIMED, "expirationDate"), ...)
    credential = {"credentialStatus": {"type": "T"}}
    assert set(faults(good, **without, credential=credential, status=["revocation"])) == {
        ("status",)
    }


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}])
def test_there_is_room_for_the_token_around_it(good: Good, wrap: Any) -> None:
    without = dict.fromkeys((*CLAIMED, "expirationDate"), ...)
    deep: Any = {}
    for _ in range(60):
        deep = wrap(deep)
    assert faults(good, claims={"a": deep}) == {}
    assert set(faults(good, claims={"a": wrap(deep)})) == {("claims",)}
    assert faults(good, **without, credential={"a": wrap(deep)}) == {}
    assert set(faults(good, **without, credential={"a": wrap(wrap(deep))})) == {("credential",)}


@pytest.mark.parametrize("value", [{}, [], "x", 7, {"a": math.nan}, nested(66)])
def test_not_a_whole_credential(good: Good, value: Any) -> None:
    without = dict.fromkeys((*CLAIMED, "expirationDate"), ...)
    assert {place[0] for place in faults(good, **without, credential=value)} == {"credential"}


@pytest.mark.parametrize(
    "members",
    [
        {"dataModel": "1.1"}, {"dataModel": "2.0"}, {"validFrom": "2030-01-01T00:00:00Z"},
        {"contexts": ["https://a.example/c", "urn:x:c"]}, {"name": "A", "description": "B"},
        {"credentialSchema": SCHEMA}, {"credentialSchema": [SCHEMA]},
        {"credentialSchema": SCHEMA | {"digestSRI": "sha256-" + "A" * 43 + "="}},
        {"status": ["revocation"]}, {"status": ["suspension", "revocation"]},
    ],
)  # fmt: skip
def test_further_members(good: Good, members: dict[str, Any]) -> None:
    assert faults(good, **members) == {}


@pytest.mark.parametrize(
    ("members", "place"),
    [
        ({"dataModel": "1.0"}, ("dataModel",)),
        ({"dataModel": 2.0}, ("dataModel",)),
        ({"validFrom": "2030-01-32"}, ("validFrom",)),
        ({"contexts": []}, ("contexts",)),
        ({"contexts": "https://a.example/c"}, ("contexts",)),
        ({"contexts": ["relative"]}, ("contexts", 0)),
        ({"contexts": [{"a": "urn:x:a"}]}, ("contexts", 0)),
        ({"contexts": ["urn:x:c", "urn:x:c"]}, ("contexts",)),
        ({"contexts": [f"urn:x:{n}" for n in range(17)]}, ("contexts",)),
        ({"name": ""}, ("name",)),
        ({"name": {"@value": "x"}}, ("name",)),
        ({"name": "A", "dataModel": "1.1"}, ("name",)),
        ({"description": "A", "dataModel": "1.1"}, ("description",)),
        ({"credentialSchema": []}, ("credentialSchema",)),
        ({"credentialSchema": "https://a.example"}, ("credentialSchema",)),
        ({"credentialSchema": {"id": "x", "type": "T"}}, ("credentialSchema", 0, "id")),
        ({"credentialSchema": [SCHEMA, {"id": "urn:x:y"}]}, ("credentialSchema", 1, "type")),
        ({"credentialSchema": SCHEMA | {"more": 1}}, ("credentialSchema", 0, "more")),
        ({"credentialSchema": [SCHEMA, SCHEMA]}, ("credentialSchema",)),
        (
            {"credentialSchema": [SCHEMA | {"id": f"urn:x:{n}"} for n in range(9)]},
            ("credentialSchema",),
        ),
        (
            {"credentialSchema": SCHEMA | {"digestSRI": "md5-AAAA"}},
            ("credentialSchema", 0, "digestSRI"),
        ),
        ({"status": []}, ("status",)),
        ({"status": "revocation"}, ("status",)),
        ({"status": ["refresh"]}, ("status", 0)),
        ({"status": ["revocation", "revocation"]}, ("status",)),
    ],
)
def test_further_members_that_are_refused(
    good: Good, members: dict[str, Any], place: tuple[Any, ...]
) -> None:
    assert set(faults(good, **members)) == {place}
