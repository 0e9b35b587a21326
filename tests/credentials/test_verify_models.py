"""What a credential must say in data model 1.1 (B) and 2.0 (C, E), and when it is in force (F8)."""

from typing import Any

import pytest
from judging import Bench
from minting import NOW, SUBJECT, V1, V2, Issuer, changed, compact

ISSUER = Issuer()
MALFORMED = "MALFORMED_VALUE_ERROR"
CONFLICT = "CLAIM_CONFLICT"


async def code20(header: dict[str, Any] | None = None, **changes: Any) -> str:
    return await Bench().code(ISSUER.v20(header, **changes))


async def valid20(header: dict[str, Any] | None = None, **changes: Any) -> Any:
    return await Bench().valid(ISSUER.v20(header, **changes))


async def code11(
    header: dict[str, Any] | None = None, vc: dict[str, Any] | None = None, **changes: Any
) -> str:
    return await Bench().code(ISSUER.v11(header, vc, **changes))


async def valid11(
    header: dict[str, Any] | None = None, vc: dict[str, Any] | None = None, **changes: Any
) -> Any:
    return await Bench().valid(ISSUER.v11(header, vc, **changes))


@pytest.mark.parametrize(
    "typ", ["vc+jwt", "VC+JWT", "application/vc+jwt", "Application/VC+JWT", ...]
)
async def test_types_of_a_20_token(typ: object) -> None:
    await valid20({"typ": typ})


@pytest.mark.parametrize(
    "typ",
    ["at+jwt", "kb+jwt", "vp+jwt", "dc+sd-jwt", "vc+sd-jwt", "vc+cose", "vc", "vc-ld+jwt", "JOSE",
     "secevent+jwt", "", "application/application/vc+jwt", " vc+jwt", "text/vc+jwt"],
)  # fmt: skip
async def test_types_of_other_tokens(typ: str) -> None:
    assert await code20({"typ": typ}) == "TYPE_NOT_ACCEPTED"
    assert await code11({"typ": typ}) == "TYPE_NOT_ACCEPTED"


async def test_a_20_payload_is_no_11_token_and_the_other_way_round() -> None:
    assert await code20({"typ": "JWT"}) == MALFORMED
    assert await code11({"typ": "vc+jwt", "kid": ISSUER.kid}) == MALFORMED


@pytest.mark.parametrize("member", ["vc", "vp"])
async def test_a_20_token_has_no_vc_and_no_vp(member: str) -> None:
    for value in ({}, None, ISSUER.vc()):
        assert await code20(**{member: value}) == MALFORMED
    assert await code20({"typ": ...}, **{member: {}}) == "TYPE_NOT_ACCEPTED"


@pytest.mark.parametrize(
    "changes",
    [
        {"@context": ...},
        {"@context": V2},
        {"@context": []},
        {"@context": [V1, V2]},
        {"@context": [V1]},
        {"@context": ["https://www.w3.org/ns/credentials/v2/"]},
        {"@context": [V2, 5]},
        {"@context": [V2, "not a url"]},
        {"@context": {"@vocab": "x"}},
        {"type": ...},
        {"type": []},
        {"type": ["Other"]},
        {"type": "Other"},
        {"type": ["VerifiableCredential", 5]},
        {"type": ["VerifiableCredential", ""]},
        {"type": ["VerifiableCredential", "two words"]},
        {"type": None},
        {"id": 5},
        {"id": None},
        {"id": "not a url"},
        {"id": ["urn:a:b"]},
        {"issuer": ...},
        {"issuer": None},
        {"issuer": 5},
        {"issuer": {}},
        {"issuer": {"name": "x"}},
        {"issuer": {"id": None}},
        {"issuer": "name"},
        {"issuer": [ISSUER.did]},
        {"credentialSubject": ...},
        {"credentialSubject": None},
        {"credentialSubject": {}},
        {"credentialSubject": []},
        {"credentialSubject": [{}]},
        {"credentialSubject": [{"id": SUBJECT}, {}]},
        {"credentialSubject": "did:example:subject"},
        {"credentialSubject": [SUBJECT]},
        {"credentialSubject": {"id": "not a url"}},
        {"credentialSubject": {"id": 5}},
        {"validFrom": "yesterday"},
        {"validFrom": 5},
        {"validFrom": None},
        {"validFrom": "2027-01-01"},
        {"validFrom": "2027-02-30T00:00:00Z"},
        {"validFrom": "2027-01-01T00:00:00+25:00"},
        {"validFrom": "2027-01-01T00:00:00z"},
        {"validFrom": "2027-01-01 00:00:00Z"},
        {"validFrom": "2027-01-01T00:00:00Z\n"},
        {"validFrom": "٢٠٢٧-01-01T00:00:00Z"},
        {"validFrom": "2027-01-01T24:00:01Z"},
        {"validUntil": ""},
        {"validFrom": "2027-01-02T00:00:00Z", "validUntil": "2027-01-01T00:00:00Z"},
        {"credentialStatus": "revoked"},
        {"credentialStatus": {"id": "urn:a:b"}},
        {"credentialStatus": {"id": "not a url", "type": "X"}},
        {"credentialSchema": {"type": "JsonSchema"}},
        {"credentialSchema": {"id": "not a url", "type": "JsonSchema"}},
        {"credentialSchema": {"id": "https://schema.example"}},
        {"evidence": [{"id": "urn:a:b"}]},
        {"termsOfUse": {"id": "urn:a:b"}},
        {"refreshService": [5]},
        {"name": 5},
        {"name": {"@language": "en"}},
        {"name": {"@value": "x", "other": "y"}},
        {"description": [{"@value": 5}]},
        {"name": {"@value": "x", "@language": "no language"}},
        {"name": {"@value": "x", "@direction": "up"}},
        {"issuer": {"id": ISSUER.did, "name": 5}},
        {"issuer": {"id": ISSUER.did, "name": {"@value": "x", "url": "https://a.example"}}},
        {"issuer": {"id": ISSUER.did, "description": [{"@language": "en"}]}},
        {"relatedResource": {"id": "https://a.example"}},
        {"relatedResource": [{"id": "https://a.example", "digestSRI": "sha256-x"}] * 2},
        {"relatedResource": {"digestSRI": "sha256-x"}},
        {"exp": "1900000000"},
        {"exp": True},
        {"exp": None},
        {"iat": [1]},
        {"nbf": "0"},
        {"aud": 5},
        {"aud": [5]},
        {"sub": 5},
        {"jti": None},
        {"iss": {"id": ISSUER.did}},
        {"nonce": 5},
    ],
)
async def test_malformed_20(changes: dict[str, Any]) -> None:
    assert await code20(**changes) == MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"@context": [V2, "https://www.w3.org/ns/credentials/examples/v2", {"@vocab": "urn:x:"}]},
        {"type": "VerifiableCredential"},
        {"type": ["Degree", "VerifiableCredential", "https://example.org/Type"]},
        {"id": ...},
        {"issuer": {"id": ISSUER.did, "name": "University"}},
        {"issuer": {"id": ISSUER.did, "name": [{"@value": "U", "@language": "de-CH-1996"}, "V"]}},
        {"validFrom": ...},
        {"validFrom": "2027-01-01T00:00:00.123456789+14:00"},
        {"validFrom": "2026-12-31T24:00:00Z"},
        {"validFrom": "2027-01-01T00:00:00"},  # no offset: UTC
        {"validUntil": "2027-01-15T08:00:01Z"},
        {"credentialStatus": {"type": "StatusList2021Entry"}},
        {"credentialStatus": [{"id": "urn:a:b", "type": ["Unknown"]}]},
        {"credentialSchema": {"id": "https://schema.example", "type": "Unknown"}},
        {"evidence": [{"type": "X"}, {"id": "urn:a:b", "type": ["Y"]}]},
        {"name": "Degree", "description": [{"@value": "Titre", "@language": "fr"}]},
        {"name": {"@value": "x", "@direction": "rtl"}},
        {"relatedResource": {"id": "https://a.example", "digestMultibase": "uAA"}},
        {"iss": ISSUER.did, "sub": SUBJECT, "iat": NOW, "nbf": NOW, "exp": NOW + 1},
        {"jti": "urn:uuid:6f0f4f63-2c39-4d2b-9c0e-6c1f1d0a7c55"},
        {"exp": 1_900_000_000.5},
        {"somethingElse": [1, {"a": None}]},
    ],
)
async def test_well_formed_20(changes: dict[str, Any]) -> None:
    verdict = await valid20(**changes)
    assert verdict.issuer == ISSUER.did
    assert (verdict.subject, verdict.claims) == (SUBJECT, {"degree": "Bachelor"})


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "did:web:other.example"},
        {"sub": "did:web:other.example"},
        {"jti": "urn:uuid:other"},
        {"sub": SUBJECT, "credentialSubject": [{"id": "urn:a:b"}, {"id": "urn:a:c"}]},
    ],
)
async def test_contradictions_20(changes: dict[str, Any]) -> None:
    assert await code20(**changes) == CONFLICT


async def test_several_subjects_are_listed() -> None:
    subjects = [{"id": "urn:a:b", "x": 1}, {"y": 2}]
    verdict = await valid20(credentialSubject=subjects)
    assert verdict.subject is None
    assert verdict.claims == {"credentialSubject": subjects}
    assert (await valid20(credentialSubject=[{"x": 1}])).claims == {"x": 1}


@pytest.mark.parametrize("skew", [0, 30])
async def test_one_skew_for_every_time(skew: int) -> None:
    for changes, outside in (
        ({"nbf": NOW}, -1),
        ({"iat": NOW}, -1),
        ({"validFrom": "2027-01-15T08:00:00Z"}, -1),
        ({"exp": NOW}, 0),
        ({"validUntil": "2027-01-15T08:00:00Z"}, 0),
    ):
        starts = outside < 0
        token = ISSUER.v20(**changes)
        bench = Bench(skew_s=skew)
        edge = NOW - skew if starts else NOW + skew
        bench.now = edge if starts else edge - 1
        await bench.valid(token)
        bench.now = edge - 1 if starts else edge
        assert await bench.code(token) == ("NOT_YET_VALID" if starts else "EXPIRED")


async def test_both_ends_count() -> None:
    late = {"exp": NOW + 100, "validUntil": "2026-12-31T00:00:00Z", "validFrom": ...}
    assert await code20(**late) == "EXPIRED"
    assert await code20(exp=NOW - 100, validUntil="2030-01-01T00:00:00Z") == "EXPIRED"


async def test_11_registered_claims_instead_of_members() -> None:
    verdict = await valid11(jti="urn:a:b", exp=NOW + 100)
    assert (verdict.subject, verdict.claims) == (SUBJECT, {"degree": "Bachelor"})
    assert verdict.document["issuer"] == ISSUER.did
    assert verdict.document["id"] == "urn:a:b"
    assert verdict.document["issuanceDate"] == "2027-01-15T07:43:20Z"
    assert verdict.document["expirationDate"] == "2027-01-15T08:01:40Z"
    assert verdict.document["credentialSubject"]["id"] == SUBJECT


async def test_11_registered_claims_in_addition_to_members() -> None:
    both = {
        "id": "urn:a:b",
        "issuer": {"id": ISSUER.did, "name": "University"},
        "issuanceDate": "2027-01-15T07:43:20.9Z",
        "expirationDate": "2027-01-15T09:01:40+01:00",
        "credentialSubject": {"id": SUBJECT, "degree": "Bachelor"},
    }
    verdict = await valid11(vc=both, jti="urn:a:b", exp=NOW + 100)
    assert verdict.document["issuer"] == both["issuer"]
    assert verdict.issuer == ISSUER.did
    for a_second_off in ("2027-01-15T07:43:19Z", "2027-01-15T07:43:21Z"):
        await valid11(vc={"issuanceDate": a_second_off})
    named = {"issuer": {"name": "University"}}
    verdict = await valid11(vc=named)
    assert verdict.document["issuer"] == {"name": "University", "id": ISSUER.did}


@pytest.mark.parametrize(
    ("vc", "changes"),
    [
        ({"issuer": "did:web:other.example"}, {}),
        ({"issuer": {"id": "did:web:other.example"}}, {}),
        ({"credentialSubject": {"id": "did:web:other.example"}}, {}),
        ({"issuanceDate": "2027-01-15T07:43:22Z"}, {}),
        ({"issuanceDate": "2027-01-15T07:43:21.1Z"}, {}),
        ({"expirationDate": "2030-01-01T00:00:00Z"}, {"exp": NOW + 100}),
        ({"id": "urn:a:b"}, {"jti": "urn:a:c"}),
    ],
)
async def test_contradictions_11(vc: dict[str, Any], changes: dict[str, Any]) -> None:
    assert await code11(vc=vc, **changes) == CONFLICT


@pytest.mark.parametrize(
    ("vc", "changes"),
    [
        ({}, {"vc": ...}),
        ({}, {"vc": None}),
        ({}, {"vc": []}),
        ({}, {"vc": {}}),
        ({}, {"vp": {}}),
        ({"@context": ...}, {}),
        ({"@context": [V2]}, {}),
        ({"@context": V1}, {}),
        ({"type": ["Other"]}, {}),
        ({"type": ...}, {}),
        ({"credentialSubject": ...}, {"sub": ...}),
        ({"credentialSubject": {}}, {"sub": ...}),
        ({"credentialSubject": [{"a": 1}, {"b": 2}]}, {}),
        ({}, {"iss": ...}),
        ({"issuer": ISSUER.did}, {"iss": ...}),
        ({}, {"iss": 5}),
        ({}, {"nbf": ...}),
        ({}, {"nbf": str(NOW)}),
        ({}, {"nbf": True}),
        ({}, {"nbf": None}),
        ({}, {"exp": "never"}),
        ({}, {"exp": False}),
        ({"issuanceDate": "yesterday"}, {"nbf": ...}),
        ({"expirationDate": 5}, {}),
        ({"credentialStatus": {"id": "urn:a:b"}}, {}),
        ({"credentialSchema": {"type": "JsonSchema"}}, {}),
        ({}, {"jti": "not a url"}),
        ({}, {"sub": "not a url"}),
        ({"issuanceDate": "2027-01-15T07:43:20Z", "expirationDate": "2026-01-15T08:00:00Z"}, {}),
    ],
)
async def test_malformed_11(vc: dict[str, Any], changes: dict[str, Any]) -> None:
    payload = {"iss": ISSUER.did, "sub": SUBJECT, "nbf": NOW - 1000, "vc": ISSUER.vc(**vc)}
    token = compact({"alg": "EdDSA", "typ": "JWT"}, changed(payload, changes), ISSUER.key)
    assert await Bench().code(token) == MALFORMED


@pytest.mark.parametrize("nbf", [b"NaN", b"Infinity", b"1e400"])
async def test_a_date_that_is_no_number(nbf: bytes) -> None:
    header = {"alg": "EdDSA", "typ": "JWT"}
    payload = (
        b'{"iss":"' + ISSUER.did.encode() + b'","nbf":' + nbf + b',"vc":{}}'
    )  # fmt: skip
    assert await Bench().code(compact(header, payload, ISSUER.key)) == "PARSING_ERROR"


@pytest.mark.parametrize("typ", ["JWT", "jwt", "application/jwt", ...])
async def test_types_of_an_11_token(typ: object) -> None:
    await valid11({"typ": typ})


@pytest.mark.parametrize(
    ("vc", "changes"),
    [
        ({}, {"nbf": float(NOW)}),
        ({}, {"nbf": -62_135_596_800}),  # the first moment of the year 1
        ({}, {"nbf": NOW - 0.5, "exp": NOW + 0.5}),
        ({}, {"exp": 10**15}),
        ({"issuanceDate": "2027-01-01T00:00:00Z"}, {"nbf": ...}),
        ({"validFrom": "2027-01-01T00:00:00Z", "validUntil": "2090-01-01T00:00:00Z"}, {}),
        ({"credentialSubject": [{"degree": "Bachelor"}]}, {}),
        ({"type": "VerifiableCredential"}, {}),
        ({}, {"iat": NOW, "other": 1}),
    ],
)
async def test_well_formed_11(vc: dict[str, Any], changes: dict[str, Any]) -> None:
    assert (await valid11(vc=vc, **changes)).subject == SUBJECT


@pytest.mark.parametrize(
    ("vc", "changes", "code"),
    [
        ({}, {"nbf": NOW + 31}, "NOT_YET_VALID"),
        ({}, {"iat": NOW + 31}, "NOT_YET_VALID"),
        ({"issuanceDate": "2027-01-15T08:00:31Z"}, {"nbf": ...}, "NOT_YET_VALID"),
        ({}, {"exp": NOW - 30}, "EXPIRED"),
        ({"expirationDate": "2027-01-15T07:59:30Z"}, {}, "EXPIRED"),
        ({"validUntil": "2027-01-15T07:59:30Z"}, {}, "EXPIRED"),
        ({"validUntil": "2027-01-15T07:59:30Z"}, {"exp": NOW + 100}, "EXPIRED"),
        ({"validFrom": "2027-01-15T08:00:31Z"}, {}, "NOT_YET_VALID"),
        ({"validUntil": "soon"}, {}, "MALFORMED_VALUE_ERROR"),
    ],
)
async def test_times_of_11(vc: dict[str, Any], changes: dict[str, Any], code: str) -> None:
    assert await code11(vc=vc, **changes) == code


async def test_the_audience() -> None:
    verifier, url = "did:web:verifier.example", "https://verifier.example"
    bench, names = Bench(), frozenset({"did:web:verifier.example"})
    for make in (ISSUER.v20, ISSUER.v11):
        await bench.valid(make(), audience=names)
        await bench.valid(make(aud=verifier), audience=names)
        await bench.valid(make(aud=["did:web:other.example", verifier]), audience=names)
        await bench.valid(make(aud=url), audience=frozenset({verifier, url}))
        for aud in ("did:web:other.example", [], [verifier + "x"], ""):
            assert await bench.code(make(aud=aud), audience=names) == "AUDIENCE_MISMATCH"
        assert await bench.code(make(aud=verifier)) == "AUDIENCE_MISMATCH"


async def test_the_nonce() -> None:
    bench = Bench()
    for make in (ISSUER.v20, ISSUER.v11):
        await bench.valid(make(nonce="abc"))
        await bench.valid(make(nonce="abc"), nonce="abc")
        assert await bench.code(make(nonce="abcd"), nonce="abc") == "NONCE_MISMATCH"
        assert await bench.code(make(), nonce="abc") == "NONCE_MISMATCH"


TAKEN = {"@id": "https://evil.example/x"}


@pytest.mark.parametrize(
    "changes",
    [
        {"@context": [V2, {"VerifiableCredential": "https://evil.example/x"}]},
        {"@context": [V2, {"type": "https://evil.example/x"}]},
        {"@context": [V2, {"id": None}]},
        {"@context": [V2, {"@vocab": "urn:x:"}, {"name": TAKEN}]},
        {"credentialSubject": {"@context": {"id": TAKEN}, "degree": "x"}},
        {"credentialSubject": {"degree": [{"@context": [{"type": TAKEN}], "a": 1}]}},
        {"credentialSubject": {"@context": None, "degree": "x"}},
        {"evidence": {"type": "X", "@context": ["https://a.example/context", None]}},
    ],
)
async def test_protected_terms_keep_their_meaning(changes: dict[str, Any]) -> None:
    assert await code20(**changes) == MALFORMED
    if "@context" not in changes:
        assert await code11(vc=changes) == MALFORMED
    else:
        old = [V1, {"proof": "https://evil.example/x"}]
        assert await code11(vc={"@context": old}) == MALFORMED


@pytest.mark.parametrize(
    "changes",
    [
        {"@context": [V2, {"degree": "https://example.org/degree"}]},
        {"@context": [V2, {"name": "https://schema.org/name"}]},
        {"@context": [V2, {"id": {"@id": "@id", "@protected": True}}]},
        {"@context": [V2, {"degree": {"@id": "urn:a:b", "@context": {"name": "urn:a:c"}}}]},
        {"termsOfUse": {"type": "X", "jsonSchema": {"properties": {"@context": {"type": "a"}}}}},
    ],
)
async def test_new_terms_are_welcome(changes: dict[str, Any]) -> None:
    await valid20(**changes)


async def test_short_computations_are_done_when_it_is_their_turn() -> None:
    bench, done = Bench(), list[str]()

    async def compute(function: Any, *args: Any) -> Any:
        done.append(function.__name__)
        return function(*args)

    bench.verifier.take_turns(compute)
    await bench.valid(ISSUER.v20())
    assert done == ["_read", "_fit"]
