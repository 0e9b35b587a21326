"""The doorway of the VC API, with the real workers behind it."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession
from minting import Issuer, Key, compact

from consumers import Worker
from consumers.processor import Processor, Resources
from consumers.processors import did_operations, vc_issuance, vc_verification
from gateway import vc_api
from gateway.settings import GatewaySettings
from gateway.vc_results import verification
from schemas import State
from streams import Queue, Redis
from tests.gateway.callers import tenants
from tests.gateway.samples import Serve

V1, V2 = "https://www.w3.org/2018/credentials/v1", "https://www.w3.org/ns/credentials/v2"
SETTINGS = GatewaySettings(host="127.0.0.1", port=0)
ORG = "org-123"


@asynccontextmanager
async def working(redis: Redis, data_dir: Path, *modules: Any) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        resources = Resources(redis, data_dir=data_dir)
        for module in modules:
            processor: Processor = module.PROCESSOR
            worker = Worker(processor, redis=redis)
            assert processor.open is not None
            worker.state = await stack.enter_async_context(processor.open(resources))
            await stack.enter_async_context(worker)
        yield


@pytest.fixture
async def workers(redis: Redis, tmp_path: Path) -> AsyncIterator[None]:
    async with working(redis, tmp_path, did_operations, vc_issuance, vc_verification):
        yield


@pytest.fixture
async def issuer(http: ClientSession, workers: None) -> str:
    """A DID of org-123 with a key in the vault."""
    return await new_did(http, ORG)


async def new_did(http: ClientSession, organization_id: str) -> str:
    data = {
        "operation": "create",
        "didMethod": "key",
        "organizationId": organization_id,
        "userId": "u",
    }
    async with http.post(
        "/queue/did-operations/jobs", json={"data": data}, headers={"Prefer": "wait=30"}
    ) as response:
        answer = await response.json()
    did: str = answer["data"]["returnvalue"]["did"]
    return did


def credential(issuer: str | None = None, **more: Any) -> dict[str, Any]:
    document: dict[str, Any] = {
        "@context": [V2],
        "type": ["VerifiableCredential"],
        "credentialSubject": {"id": "did:example:alice", "name": "Alice"},
    }
    if issuer is not None:
        document["issuer"] = issuer
    return document | more


async def post(http: ClientSession, path: str, body: Any) -> tuple[int, Any]:
    async with http.post(path, json=body) as response:
        return response.status, await response.json(content_type=None)


async def issued(http: ClientSession, document: dict[str, Any]) -> Any:
    status, answer = await post(http, "/credentials/issue", {"credential": document})
    assert status == 201, answer
    assert set(answer) == {"verifiableCredential"}
    return answer["verifiableCredential"]


async def test_what_is_issued_is_verified(http: ClientSession, issuer: str, redis: Redis) -> None:
    envelope = await issued(http, credential(issuer))
    assert envelope | {"id": ""} == {
        "@context": [V2],
        "id": "",
        "type": "EnvelopedVerifiableCredential",
    }
    assert envelope["id"].startswith("data:application/vc+jwt,eyJ")
    for given in (envelope, envelope["id"].partition(",")[2]):
        body = {"verifiableCredential": given, "options": {"checks": ["proof"]}}
        status, answer = await post(http, "/credentials/verify", body)
        assert status == 200
        assert answer == {
            "verified": True,
            "checks": ["proof", "validity", "credentialStatus", "credentialSchema"],
            "warnings": [],
            "errors": [],
            "problemDetails": [],
        }
    (job,) = await Queue("vc-issuance", redis).page(State.COMPLETED, 0, 0)
    assert (job.data["organizationId"], job.opts["priority"]) == (ORG, 1)


async def test_a_credential_of_the_older_model_is_a_plain_token(
    http: ClientSession, issuer: str
) -> None:
    document = credential(issuer) | {"@context": [V1]}
    token = await issued(http, document)
    assert token.count(".") == 2
    status, answer = await post(http, "/credentials/verify", {"verifiableCredential": token})
    assert (status, answer["verified"]) == (200, True)


async def test_a_credential_is_handed_back_on_request_only(
    http: ClientSession, issuer: str
) -> None:
    envelope = await issued(http, credential(issuer))
    for wanted in (False, True):
        body = {"verifiableCredential": envelope, "options": {"returnCredential": wanted}}
        _, answer = await post(http, "/credentials/verify", body)
        assert answer.get("verifiableCredential") == (envelope if wanted else None)


async def test_a_credential_may_get_a_status(http: ClientSession, issuer: str) -> None:
    body = {"credential": credential(issuer), "options": {"status": ["revocation"]}}
    status, answer = await post(http, "/credentials/issue", body)
    assert status == 201, answer


async def test_a_credential_is_issued_once_whatever_becomes_of_the_gateway(
    http: ClientSession, issuer: str, dying: Callable[[], None], redis: Redis
) -> None:
    async def asked() -> Any:
        body, key = {"credential": credential(issuer)}, {"Idempotency-Key": "k"}
        async with http.post("/credentials/issue", json=body, headers=key) as response:
            return response.status, await response.json()

    first = await asked()
    assert first[0] == 201
    dying()
    assert await asked() == first
    assert (await Queue("vc-issuance", redis).counts()).completed == 1


WIDE_STATUS = {
    "id": "https://a.example/1#5",
    "type": "BitstringStatusListEntry",
    "statusPurpose": "message",
    "statusListIndex": "5",
    "statusListCredential": "https://a.example/1",
    "statusSize": 2,
}


async def test_what_was_not_checked_is_told(http: ClientSession, issuer: str) -> None:
    old = WIDE_STATUS | {"type": "StatusList2021Entry"}
    envelope = await issued(http, credential(issuer) | {"credentialStatus": old})
    _, alone = await post(http, "/credentials/verify", {"verifiableCredential": envelope})
    presentation = {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "type": "VerifiablePresentation",
        "verifiableCredential": [envelope],
    }
    _, inside = await post(http, "/presentations/verify", {"presentation": presentation})
    for answer in (alone, inside):
        assert answer["verified"] is True
        assert "StatusList2021Entry was not checked" in answer["warnings"][-1]


def test_what_could_not_be_told_is_no_verdict() -> None:
    error = "DID_RETRIEVAL_ERROR: The server took too long."
    answer = verification({"valid": False, "error": error, "indeterminate": True})
    assert answer["verified"] is False
    assert answer["errors"] == [error]
    assert answer["warnings"] == ["It could not be told whether it is valid: try again later."]


async def test_a_broken_signature_is_told(http: ClientSession, issuer: str) -> None:
    envelope = await issued(http, credential(issuer))
    head, payload, signature = envelope["id"].split(".")
    broken = signature[:10] + ("A" if signature[10] != "A" else "B") + signature[11:]
    envelope["id"] = f"{head}.{payload}.{broken}"
    status, answer = await post(http, "/credentials/verify", {"verifiableCredential": envelope})
    assert (status, answer["verified"]) == (200, False)
    assert answer["errors"][0].startswith("CRYPTOGRAPHIC_SECURITY_ERROR: ")
    (detail,) = answer["problemDetails"]
    assert detail["title"] == "CRYPTOGRAPHIC_SECURITY_ERROR"
    assert detail["type"] == "https://www.w3.org/TR/vc-data-model#CRYPTOGRAPHIC_SECURITY_ERROR"


@pytest.mark.parametrize(
    "change",
    [
        {"@context": None},
        {"@context": 4},
        {"@context": []},
        {"@context": ["https://www.w3.org/ns/credentials/examples/v2"]},
        {"type": None},
        {"type": 4},
        {"type": ["Other"]},
        {"type": [2, None, {"foo": True}]},
        {"credentialSubject": None},
        {"credentialSubject": {}},
        {"credentialSubject": []},
        {"credentialSubject": [None, True, 4]},
        {"issuer": None},
        {"issuer": 7},
        {"issuer": {}},
        {"issuer": {"id": None}},
        {"issuer": "fake-issuer"},
        {"issuer": "did:example:nobody"},
        {"validFrom": "yesterday"},
        {"validFrom": "2030-01-01T00:00:00Z", "validUntil": "2029-01-01T00:00:00Z"},
        {"id": ["did:example:1", "did:example:2"]},
        {"id": "no url"},
        {"proof": {"type": "DataIntegrityProof"}},
        {"credentialStatus": {"id": "https://a.example/1"}},
        {"credentialStatus": WIDE_STATUS},
        {"credentialStatus": WIDE_STATUS | {"statusMessage": [{"status": "0x0", "message": "a"}]}},
    ],
)
async def test_what_is_no_credential_is_refused(
    http: ClientSession, issuer: str, change: dict[str, Any]
) -> None:
    document = credential(issuer) | change
    document = {name: value for name, value in document.items() if change.get(name, 1) is not None}
    if change.get("issuer", 1) is None:
        document["issuer"] = None
    status, answer = await post(http, "/credentials/issue", {"credential": document})
    assert status == 400, answer
    assert answer["type"].startswith("urn:credstream:problem:")
    assert answer["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], None),
        ({}, "/credential"),
        ({"verifiableCredential": {}}, "/credential"),
        ({"credential": "eyJ"}, "/credential"),
        ({"credential": credential(), "options": []}, "/options"),
        ({"credential": credential()}, "/credential/issuer"),
    ],
)
async def test_bodies_that_are_refused(http: ClientSession, body: Any, pointer: str | None) -> None:
    status, answer = await post(http, "/credentials/issue", body)
    assert (status, answer["code"]) == (400, "invalid_vc_request")
    assert pointer in [*(fault["pointer"] for fault in answer["errors"]), None]


async def test_faults_are_pointed_at_in_the_body_that_was_sent(
    http: ClientSession, issuer: str
) -> None:
    body = {"credential": credential(issuer), "options": {"organizationId": ORG, "userId": ""}}
    status, answer = await post(http, "/credentials/issue", body)
    assert status == 400
    assert [fault["pointer"] for fault in answer["errors"]] == ["/userId"]


async def test_an_issuer_of_the_house(serve: Serve, http: ClientSession, issuer: str) -> None:
    settings = SETTINGS.model_copy(update={"vc_api_issuer": issuer})
    async with serve(settings) as own:
        envelope = await issued(own, credential())
        payload = envelope["id"].split(".")[1]
        assert orjson.loads(_decoded(payload))["issuer"] == issuer
        status, _ = await post(
            own, "/credentials/issue", {"credential": credential() | {"issuer": None}}
        )
        assert status == 400, "null is not absent"


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.mark.parametrize(
    "change",
    [
        {"@context": []},
        {"@context": "https://www.w3.org/ns/credentials/examples/v2"},
        {"type": None},
        {"type": "VerifiableCredential"},
        {"id": "eyJ.eyJ.x"},
        {"id": "data:application/vc+jwt,"},
        {"id": None},
        {"proof": {"type": "DataIntegrityProof"}},
    ],
)
async def test_envelopes_that_are_none(http: ClientSession, change: dict[str, Any]) -> None:
    envelope = {
        "@context": V2,
        "id": "data:application/vc+jwt,eyJ.eyJ.x",
        "type": "EnvelopedVerifiableCredential",
    } | change
    envelope = {name: value for name, value in envelope.items() if value is not None}
    status, answer = await post(http, "/credentials/verify", {"verifiableCredential": envelope})
    assert (status, answer["code"]) == (400, "invalid_vc_request")
    assert answer["errors"]


@pytest.mark.parametrize("given", [None, "", 7, [], credential("did:example:x")])
async def test_what_is_not_secured_is_not_verified(http: ClientSession, given: Any) -> None:
    for path, name in (
        ("/credentials/verify", "verifiableCredential"),
        ("/presentations/verify", "verifiablePresentation"),
    ):
        status, answer = await post(http, path, {name: given})
        assert (status, answer["code"]) == (400, "invalid_vc_request")


async def test_a_token_that_is_none_is_verified_and_is_not_valid(
    http: ClientSession, workers: None
) -> None:
    status, answer = await post(http, "/credentials/verify", {"verifiableCredential": "eyJ"})
    assert (status, answer["verified"]) == (200, False)
    assert answer["problemDetails"][0]["type"].endswith("vc-data-model#PARSING_ERROR")


@pytest.mark.parametrize("media_type", ["jwt", "vp+jwt", "vc+cose", "dc+sd-jwt;base64"])
async def test_an_envelope_of_another_kind_gets_a_verdict(
    http: ClientSession, workers: None, media_type: str
) -> None:
    """It is an envelope as the data model has it; only what is inside is nothing for this place."""
    envelope = {
        "@context": [V2],
        "id": f"data:application/{media_type},eyJ.eyJ.x",
        "type": "EnvelopedVerifiableCredential",
    }
    status, answer = await post(http, "/credentials/verify", {"verifiableCredential": envelope})
    assert (status, answer["verified"]) == (200, False)
    assert answer["problemDetails"][0]["title"] == "TYPE_NOT_ACCEPTED"


async def test_a_presentation_that_is_not_secured_is_its_credentials(
    http: ClientSession, issuer: str
) -> None:
    one, two = [await issued(http, credential(issuer)) for _ in range(2)]
    presentation = {
        "@context": [V2],
        "type": ["VerifiablePresentation"],
        "verifiableCredential": [one, two],
    }
    status, answer = await post(http, "/presentations/verify", {"presentation": presentation})
    assert (status, answer["verified"]) == (200, True)
    assert answer["warnings"]
    assert [result["verified"] for result in answer["credentialResults"]] == [True, True]
    two["id"] = two["id"][:-10] + "A" * 10
    _, answer = await post(http, "/presentations/verify", {"presentation": presentation})
    assert answer["verified"] is False
    assert [result["verified"] for result in answer["credentialResults"]] == [True, False]
    assert len(answer["errors"]) == len(answer["problemDetails"]) == 1


HOLDER = Issuer(Key("P-256"))


def signed(*envelopes: Any, **changes: Any) -> str:
    """A presentation as a VP-JWT."""
    body = {
        "@context": [V2],
        "type": ["VerifiablePresentation"],
        "holder": HOLDER.did,
        "verifiableCredential": list(envelopes),
        "aud": "verifier.example",
        "nonce": "n-1",
    }
    head = {"alg": HOLDER.key.alg, "typ": "vp+jwt", "kid": HOLDER.kid}
    return compact(head, body | changes, HOLDER.key)


async def test_a_signed_presentation(http: ClientSession, issuer: str) -> None:
    token = signed(*[await issued(http, credential(issuer)) for _ in range(2)])
    envelope = {
        "@context": V2,
        "id": f"data:application/vp+jwt,{token}",
        "type": "EnvelopedVerifiablePresentation",
    }
    options = {"challenge": "n-1", "domain": "verifier.example"}
    for given in (token, envelope):
        body = {
            "verifiablePresentation": given,
            "options": options | {"returnPresentation": given is envelope},
        }
        status, answer = await post(http, "/presentations/verify", body)
        assert (status, answer["verified"]) == (200, True), answer
        assert answer["presentationResult"] == {"verified": True}
        assert [result["verified"] for result in answer["credentialResults"]] == [True, True]
        assert answer.get("verifiablePresentation") == (envelope if given is envelope else None)
    for wrong, code in (
        ({"challenge": "n-2"}, "NONCE_MISMATCH"),
        ({"domain": "other.example"}, "AUDIENCE_MISMATCH"),
        ({"domain": "did:web:other.example"}, "AUDIENCE_MISMATCH"),
    ):
        body = {"verifiablePresentation": token, "options": options | wrong}
        status, answer = await post(http, "/presentations/verify", body)
        assert (status, answer["verified"]) == (200, False)
        assert answer["problemDetails"][0]["title"] == code
        assert answer["credentialResults"] == []
        kind = "urn:credstream:problem:" + code.lower()
        assert answer["problemDetails"][0]["type"] == kind


async def test_a_credential_is_no_presentation(http: ClientSession, issuer: str) -> None:
    envelope = await issued(http, credential(issuer))
    status, _ = await post(http, "/presentations/verify", {"verifiablePresentation": envelope})
    assert status == 400
    token = envelope["id"].partition(",")[2]
    status, answer = await post(http, "/presentations/verify", {"verifiablePresentation": token})
    assert (status, answer["verified"]) == (200, False)


@pytest.mark.parametrize(
    ("change", "options"),
    [
        ({"@context": []}, {}),
        ({"@context": V2}, {}),
        ({"type": ["Presentation"]}, {}),
        ({"proof": {}}, {}),
        ({"verifiableCredential": [credential("did:example:x")]}, {}),
        ({"verifiableCredential": [{}] * 21}, {}),
        ({}, {"challenge": "123"}),
        ({}, {"domain": "a.example"}),
    ],
)
async def test_presentations_that_are_refused(
    http: ClientSession, change: dict[str, Any], options: dict[str, Any]
) -> None:
    presentation = {"@context": [V2], "type": ["VerifiablePresentation"]} | change
    body = {"presentation": presentation, "options": options}
    status, answer = await post(http, "/presentations/verify", body)
    assert (status, answer["code"]) == (400, "invalid_vc_request")


async def test_nobody_at_work_is_told_in_time(
    http: ClientSession, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vc_api, "WAIT_MAX_S", 0.05)
    status, answer = await post(http, "/credentials/verify", {"verifiableCredential": "eyJ"})
    assert (status, answer["code"]) == (504, "not_in_time")
    counts = await Queue("vc-verification", redis).counts()
    assert (counts.waiting, counts.failed) == (0, 1), "what nobody waits for is not done"


async def test_a_tenant_issues_as_itself(http: ClientSession, issuer: str, redis: Redis) -> None:
    async with tenants(redis, ORG, "org-b") as (own, other):
        await issued(own, credential(issuer))
        status, answer = await post(other, "/credentials/issue", {"credential": credential(issuer)})
        assert status == 400, "another organization's issuer"
        body = {"credential": credential(issuer), "options": {"organizationId": ORG}}
        status, answer = await post(other, "/credentials/issue", body)
        assert (status, answer["code"]) == (403, "other_organization")
        body = {"verifiableCredential": "eyJ", "options": {"organizationId": ORG}}
        status, _ = await post(other, "/credentials/verify", body)
        assert status == 403
        status, _ = await post(other, "/credentials/verify", {"verifiableCredential": "eyJ"})
        assert status == 200
    jobs = await Queue("vc-verification", redis).page(State.COMPLETED, 0, 9)
    assert [job.data["organizationId"] for job in jobs] == ["org-b"]


async def test_many_ask_at_once(http: ClientSession, issuer: str) -> None:
    envelopes = await asyncio.gather(*(issued(http, credential(issuer)) for _ in range(20)))
    assert len({envelope["id"] for envelope in envelopes}) == 20
