"""vc-issuance: a credential that others can verify, once and always the same."""

import asyncio
import base64
import hashlib
import json
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from joserfc import jws
from joserfc.errors import BadSignatureError
from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry

from consumers.custody import Custody
from consumers.processors import vc_issuance
from consumers.status_lists import StatusLists
from credentials import did_jwk, did_key, keys
from credentials.contexts import UNDEFINED_TERMS, V1, V2, Contexts
from credentials.keyring import Keyring
from credentials.settings import CredentialSettings


class Eddsa(JWSRegistry):
    """joserfc's own verifier without its warning about the name EdDSA."""

    def get_alg(self, name: str) -> Any:
        assert name == "EdDSA"
        return self.algorithms[name]


async def test_the_credential_verifies(desk: Any, payload: Any, verified: Any) -> None:
    issuer = await desk.create_issuer()
    job = (await desk.take("vc-issuance", payload.degree(issuer))).job
    result = await desk.run(job)
    assert set(result) == {"vcJwt", "credentialId", "issuedAt"}
    head, credential = verified(result["vcJwt"])
    assert head == {
        "alg": "EdDSA",
        "typ": "vc+jwt",
        "cty": "vc",
        "kid": did_key.verification_method(issuer),
    }
    assert credential["issuer"] == credential["iss"] == issuer
    assert credential["id"] == result["credentialId"]
    assert credential["type"] == ["VerifiableCredential", "UniversityDegreeCredential"]
    assert credential["validFrom"] == result["issuedAt"]
    subject = credential["credentialSubject"]
    assert subject.pop("id") == job.data["subjectDid"]
    assert subject == job.data["claims"]
    issued = datetime.fromisoformat(result["issuedAt"])
    assert issued.timestamp() == credential["iat"] == job.timestamp // 1000


async def test_joserfc_verifies_it_too(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    result = await desk.run((await desk.take("vc-issuance", payload.degree(issuer))).job)
    key = OKPKey.import_key({**did_key.decode(issuer)})
    registry = Eddsa(algorithms=["EdDSA"])
    assert jws.deserialize_compact(result["vcJwt"], key, registry=registry).payload
    other = OKPKey.generate_key("Ed25519")
    with pytest.raises(BadSignatureError):
        jws.deserialize_compact(result["vcJwt"], other, registry=registry)


async def test_a_job_that_runs_again_gives_the_same_bytes(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    job = (await desk.take("vc-issuance", payload.degree(issuer))).job
    first = await desk.run(job)
    assert await asyncio.gather(*(desk.run(job) for _ in range(3))) == [first] * 3


async def test_every_job_issues_a_credential_of_its_own(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    ids = set()
    for _ in range(3):
        job = (await desk.take("vc-issuance", payload.degree(issuer))).job
        ids.add((await desk.run(job))["credentialId"])
    assert len(ids) == 3


async def test_an_unknown_issuer_is_refused(desk: Any, payload: Any) -> None:
    unknown = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    for issuer in (unknown, "did:web:issuer.example"):
        rejection = await desk.refused("vc-issuance", payload.degree(issuer))
        assert rejection.code == "issuer_unknown"


async def test_an_organization_signs_only_with_its_own(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer("org-a")
    foreign = await desk.refused("vc-issuance", payload.degree(issuer, "org-b"))
    assert foreign.code == "issuer_unknown"
    unknown = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    missing = await desk.refused("vc-issuance", payload.degree(unknown, "org-b"))
    assert str(foreign) == str(missing)


async def test_an_expiration_in_the_past_is_refused(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    data = payload.degree(issuer, expirationDate="2020-01-01T00:00:00Z")
    assert (await desk.refused("vc-issuance", data)).code == "expiration_in_past"


async def test_an_expiration_is_carried(desk: Any, payload: Any, verified: Any) -> None:
    issuer = await desk.create_issuer()
    data = payload.degree(issuer, expirationDate="2099-01-01T00:00:00+02:00")
    result = await desk.run((await desk.take("vc-issuance", data)).job)
    _, credential = verified(result["vcJwt"])
    assert credential["validUntil"] == "2099-01-01T00:00:00+02:00"


async def test_claims_may_be_empty_and_an_end_a_day(desk: Any, payload: Any, verified: Any) -> None:
    issuer = await desk.create_issuer()
    for model, member in (("2.0", "validUntil"), ("1.1", "expirationDate")):
        data = payload.degree(issuer, claims={}, expirationDate="2099-01-01", dataModel=model)
        result = await desk.run((await desk.take("vc-issuance", data)).job)
        body = json.loads(base64.urlsafe_b64decode(result["vcJwt"].split(".")[1] + "==="))
        document = body.get("vc", body)
        assert document[member] == "2099-01-01T00:00:00Z"
        assert document["credentialSubject"] == {"id": data["subjectDid"]}


async def test_a_subject_that_is_no_did_is_refused(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    # A point of small order, which only the curve's equation shows.
    data = payload.degree(
        issuer, subjectDid="did:key:z6MkeTG3bFFSLYVU7VqhgZxqr6YzpaGrQtFMh1uvqGy1vDnP"
    )
    assert (await desk.refused("vc-issuance", data)).code == "subject_invalid"
    private = keys.generate("P-256").as_dict(private=True)
    secret = base64.urlsafe_b64encode(json.dumps(private).encode()).rstrip(b"=").decode()
    rejection = await desk.refused(
        "vc-issuance", payload.degree(issuer, subjectDid=f"did:jwk:{secret}")
    )
    assert rejection.code == "subject_invalid"
    assert private["d"] not in str(rejection)
    public = did_jwk.encode(dict(keys.public_jwk(keys.generate("P-256"))))
    for subject in ("did:web:subject.example", "did:example:1", public):
        job = (await desk.take("vc-issuance", payload.degree(issuer, subjectDid=subject))).job
        assert (await desk.run(job))["vcJwt"]


async def test_too_large_a_credential_is_refused(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    data = payload.degree(issuer, claims={"text": "x" * 250_000})
    assert (await desk.refused("vc-issuance", data)).code == "credential_too_large"


async def test_swapped_keys_do_not_sign(desk: Any, payload: Any, raw: Any) -> None:
    one, two = await desk.create_issuer("org-a"), await desk.create_issuer("org-a")
    keys = [f"cs:vault:{{{did}}}" for did in (one, two)]
    records = [raw.hgetall(key) for key in keys]
    for key, record in zip(keys, reversed(records), strict=True):
        raw.hset(key, mapping=record)
    for issuer in (one, two):
        rejection = await desk.refused("vc-issuance", payload.degree(issuer))
        assert rejection.code == "key_unreadable"


@pytest.mark.parametrize("part", range(5))
async def test_a_key_that_was_tampered_with_does_not_sign(
    desk: Any, payload: Any, raw: Any, part: int
) -> None:
    issuer = await desk.create_issuer()
    key = f"cs:vault:{{{issuer}}}"
    parts = raw.hget(key, "jwe").decode().split(".")
    middle = len(parts[part]) // 2
    other = "A" if parts[part][middle] != "A" else "B"
    parts[part] = parts[part][:middle] + other + parts[part][middle + 1 :]
    raw.hset(key, "jwe", ".".join(parts))
    rejection = await desk.refused("vc-issuance", payload.degree(issuer))
    assert rejection.code in {"key_unreadable", "kek_unknown"}


async def test_a_retired_kek_is_named(desk: Any, payload: Any, redis: Any) -> None:
    issuer = await desk.create_issuer()
    other = Keyring({"k2": b"2" * 32}, "k2", "issuer")
    desk.custody = Custody(redis, other)
    rejection = await desk.refused("vc-issuance", payload.degree(issuer))
    assert rejection.code == "kek_unknown"
    assert "'issuer/k1'" in str(rejection)


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and payload, unverified."""
    head, body, _ = token.split(".")
    read = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in (head, body)]
    return json.loads(read[0]), json.loads(read[1])


async def issued(desk: Any, data: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The result of a job with this data, and the payload of its token."""
    result = await desk.run((await desk.take("vc-issuance", data)).job)
    return result, parts(result["vcJwt"])[1]


def with_settings(desk: Any, **settings: Any) -> None:
    """Issue under other settings from here on."""
    chosen = CredentialSettings(**settings)
    desk.custody = Custody(desk.redis, desk.custody.keyring, chosen)
    opened = vc_issuance.Issuance(
        desk.custody,
        StatusLists(desk.redis, desk.custody),
        Contexts.load(chosen.contexts_dir),
        chosen,
    )
    desk.state = lambda queue: opened if queue == "vc-issuance" else desk.custody


async def test_data_model_1_1_for_one_job(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    until = "2090-01-01T00:00:00+01:00"
    job = payload.degree(issuer, dataModel="1.1", expirationDate=until)
    result, body = await issued(desk, job)
    head, _ = parts(result["vcJwt"])
    assert head == {"alg": "EdDSA", "typ": "JWT", "kid": did_key.verification_method(issuer)}
    seconds = int(datetime.fromisoformat(result["issuedAt"]).timestamp())
    credential = body.pop("vc")
    assert body == {
        "iss": issuer,
        "sub": job["subjectDid"],
        "jti": result["credentialId"],
        "nbf": seconds,
        "iat": seconds,
        "exp": int(datetime.fromisoformat(until).timestamp()),
    }
    assert credential["@context"] == [V1]
    assert credential["id"] == result["credentialId"]
    assert credential["issuanceDate"] == result["issuedAt"]
    assert credential["expirationDate"] == "2089-12-31T23:00:00Z"
    assert credential["credentialSubject"] == {**job["claims"], "id": job["subjectDid"]}


async def test_the_data_model_of_the_installation(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    with_settings(desk, vc_data_model="1.1")
    assert "vc" in (await issued(desk, payload.degree(issuer)))[1]
    assert "vc" not in (await issued(desk, payload.degree(issuer, dataModel="2.0")))[1]
    named = payload.degree(issuer, name="Degree")
    assert (await desk.refused("vc-issuance", named)).code == "member_not_in_data_model"


async def test_the_newer_name_of_ed25519(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    with_settings(desk, ed25519_algorithm="Ed25519")
    result, _ = await issued(desk, payload.degree(issuer))
    assert parts(result["vcJwt"])[0]["alg"] == "Ed25519"


async def test_undefined_terms_get_their_context_as_the_last(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    _, body = await issued(desk, payload.degree(issuer))
    assert body["@context"] == [V2, UNDEFINED_TERMS]
    defined = {"credentialType": "VerifiableCredential", "claims": {"name": "A graduate"}}
    _, body = await issued(desk, payload.degree(issuer, **defined))
    assert body["@context"] == [V2]
    _, body = await issued(desk, payload.degree(issuer, dataModel="1.1"))
    assert body["vc"]["@context"] == [V1]


async def test_contexts_of_the_operator(desk: Any, payload: Any, tmp_path: Path) -> None:
    url = "https://issuer.example/degree/v1"
    terms = {"UniversityDegreeCredential": "urn:x:UDC", "degree": "urn:x:d"}
    raw = json.dumps({"@context": {**terms, "graduationYear": "urn:x:y"}}).encode()
    line = {"url": url, "file": "d.jsonld", "sha256": hashlib.sha256(raw).hexdigest()}
    (tmp_path / "d.jsonld").write_bytes(raw)
    (tmp_path / "contexts.json").write_text(
        json.dumps([line | {"types": ["UniversityDegreeCredential"]}])
    )
    issuer = await desk.create_issuer()
    with_settings(desk, contexts_dir=tmp_path)
    _, body = await issued(desk, payload.degree(issuer))
    assert body["@context"] == [V2, url]
    more = {"claims": {"degree": "BSc", "honours": True}}
    _, body = await issued(desk, payload.degree(issuer, **more))
    assert body["@context"] == [V2, url, UNDEFINED_TERMS]
    other = payload.degree(issuer, credentialType="Other", contexts=[url])
    _, body = await issued(desk, other)
    assert body["@context"] == [V2, url, UNDEFINED_TERMS]
    unknown = payload.degree(issuer, contexts=["https://evil.example/context"])
    rejection = await desk.refused("vc-issuance", unknown)
    assert rejection.code == "context_unknown"
    assert "https://evil.example/context" in str(rejection)


async def test_status_entries_are_the_jobs_own(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    data = payload.degree(issuer, status=["revocation", "suspension"])
    job = (await desk.take("vc-issuance", data)).job
    first = await desk.run(job)
    assert await asyncio.gather(*(desk.run(job) for _ in range(3))) == [first] * 3
    entries = parts(first["vcJwt"])[1]["credentialStatus"]
    assert [entry["statusPurpose"] for entry in entries] == ["revocation", "suspension"]
    assert {entry["type"] for entry in entries} == {"BitstringStatusListEntry"}
    assert all(entry["statusListIndex"].isdigit() for entry in entries)
    _, body = await issued(desk, payload.degree(issuer, status=["revocation"]))
    assert body["@context"] == [V2, UNDEFINED_TERMS]
    single = body["credentialStatus"]
    assert single["statusPurpose"] == "revocation"
    assert single["statusListIndex"] != entries[0]["statusListIndex"]
    _, body = await issued(desk, payload.degree(issuer, status=["revocation"], dataModel="1.1"))
    assert body["vc"]["credentialStatus"]["type"] == "BitstringStatusListEntry"


async def test_what_is_refused_takes_no_place_in_a_list(desk: Any, payload: Any, raw: Any) -> None:
    issuer = await desk.create_issuer()
    status = {"status": ["revocation"]}
    for changes in (
        {"expirationDate": "2020-01-01T00:00:00Z"},
        {"contexts": ["https://evil.example/context"]},
        {"claims": {"a": {"id": 7}}},
        {"organizationId": "org-b"},
    ):
        before = set(raw.scan_iter("*"))
        await desk.refused("vc-issuance", payload.degree(issuer, **{**status, **changes}))
        assert {key for key in set(raw.scan_iter("*")) - before if b"status" in key} == set()


async def test_a_whole_credential(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    credential = {
        "@context": [V2, "https://www.w3.org/ns/credentials/examples/v2"],
        "id": "https://issuer.example/credentials/7",
        "type": ["VerifiableCredential", "ExampleDegreeCredential"],
        "issuer": {"id": issuer, "name": "A university"},
        "credentialSubject": [{"id": "did:example:1", "degree": "BSc"}, {"alumniOf": "U"}],
    }
    tenant = {"organizationId": "org-a", "userId": "user-1"}
    data = {"credential": credential, **tenant}
    result, body = await issued(desk, data)
    assert result["credentialId"] == credential["id"]
    rest = {"validFrom": result["issuedAt"], "iss": issuer}
    assert body == credential | rest | {"iat": body["iat"]}
    refusals = {
        "credential_invalid": {"credential": credential | {"issuer": None}},
        "issuer_mismatch": {"issuerDid": "did:example:other"},
        "subject_mismatch": {"subjectDid": "did:example:other"},
        "issuer_unknown": {"credential": credential | {"issuer": "https://issuer.example"}},
        "context_conflict": {
            "credential": credential | {"@context": [V2, {"a": "urn:x:a", "@protected": True}, V1]}
        },
        "credential_not_json_ld": {
            "credential": credential | {"credentialSubject": {"a": {"type": 7}}}
        },
    }
    for code, changes in refusals.items():
        assert (await desk.refused("vc-issuance", data | changes)).code == code
    redefined = credential | {"@context": [V2, {"VerifiableCredential": "urn:x:y"}]}
    rejection = await desk.refused("vc-issuance", data | {"credential": redefined})
    assert rejection.code == "credential_invalid"
    assert "protected term" in str(rejection)


async def test_a_large_job_is_issued_all_the_same(desk: Any, payload: Any, verified: Any) -> None:
    issuer = await desk.create_issuer()
    claims = {f"claim{number}": "x" * 20 for number in range(2_000)}
    data = payload.degree(issuer, claims=claims)
    job = (await desk.take("vc-issuance", data)).job
    assert "B" in job.header.flags
    first = await desk.run(job)
    assert await desk.run(job) == first
    _, credential = verified(first["vcJwt"])
    assert credential["credentialSubject"] == {**claims, "id": data["subjectDid"]}


async def test_a_delayed_job_issues_when_it_first_runs(desk: Any, payload: Any) -> None:
    issuer = await desk.create_issuer()
    job = (await desk.take("vc-issuance", payload.degree(issuer))).job
    memory: dict[str, Any] = {}

    async def remember(value: Any) -> None:
        memory["issued"] = value

    async def recall() -> Any:
        return memory.get("issued")

    delayed = SimpleNamespace(
        id=job.id,
        ref=job.ref,
        queue=job.queue,
        payload=job.data,
        body=job.body,
        header=job.header,
        timestamp=job.timestamp,
        opts={"delay": 3_600_000},
        claimed_ms=job.timestamp + 60_000,
    )
    context: Any = SimpleNamespace(
        state=desk.state("vc-issuance"), remember=remember, recall=recall
    )
    first = await vc_issuance.handle(delayed, context)
    assert datetime.fromisoformat(first["issuedAt"]).timestamp() == delayed.claimed_ms // 1000
    delayed.claimed_ms += 60_000
    assert await vc_issuance.handle(delayed, context) == first


async def did_web(desk: Any, payload: Any, operation: str, **metadata: Any) -> dict[str, Any]:
    data = payload.create(operation=operation, didMethod="web", metadata=metadata)
    answer: dict[str, Any] = await desk.run((await desk.take("did-operations", data)).job)
    return answer


async def test_a_did_web_signs_with_its_current_key(desk: Any, payload: Any) -> None:
    made = await did_web(desk, payload, "create", path="issuers/acme", keyType="P-256")
    issuer = made["did"]
    result, body = await issued(desk, payload.degree(issuer))
    head, _ = parts(result["vcJwt"])
    assert (head["kid"], head["alg"]) == (made["verificationMethod"], "ES256")
    assert head["kid"].startswith(f"{issuer}#")
    assert body["issuer"] == issuer
    rotated = await did_web(desk, payload, "update", did=issuer, rotate=True, keyType="P-384")
    head, _ = parts((await issued(desk, payload.degree(issuer)))[0]["vcJwt"])
    assert (head["kid"], head["alg"]) == (rotated["verificationMethod"], "ES384")
    assert rotated["verificationMethod"] != made["verificationMethod"]


async def test_a_deactivated_did_signs_no_more(desk: Any, payload: Any) -> None:
    issuer = (await did_web(desk, payload, "create", path="issuers/acme"))["did"]
    await did_web(desk, payload, "deactivate", did=issuer)
    rejection = await desk.refused("vc-issuance", payload.degree(issuer))
    assert rejection.code == "issuer_deactivated"
    foreign = await desk.refused("vc-issuance", payload.degree(issuer, "org-b"))
    assert foreign.code == "issuer_unknown"
