"""vc-verification as it runs in production: a real queue, a worker, guarded HTTP (A3-A6, H5-H7)."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from minting import Issuer, Key, encoded_list, entry, envelope
from pydantic import ValidationError
from receivers import receiver, reply

import streams
from consumers import Worker
from consumers.processor import Resources
from consumers.processors import vc_verification
from consumers.status_lists import StatusLists
from consumers.verification import open_verification
from credentials.verdict import CouldNotTell
from schemas.queues.vc_verification import VcVerified
from streams import status

FAST = {"backoff": {"type": "fixed", "delay": 0}}


class Counter:
    """Hands tokens in and waits for the end of their jobs."""

    def __init__(self, redis: streams.Redis) -> None:
        self.queue = streams.Queue("vc-verification", redis)
        self.ends: dict[str, asyncio.Event] = {}

    def listen(self, event: Any) -> None:
        self.ends.setdefault(event.id, asyncio.Event()).set()

    async def job(self, token: str, **more: Any) -> streams.JobView:
        options = {"attempts": more.pop("attempts", 3)} | FAST
        data = {"vcJwt": token, "organizationId": "org-v", "userId": "u-1", **more}
        added = await self.queue.add("verify", data, **options)
        await self.ends.setdefault(added.id, asyncio.Event()).wait()
        job = await self.queue.get(added.id)
        assert job is not None
        return job

    async def result(self, token: str, **more: Any) -> dict[str, Any]:
        """The result of a job that completed at its first attempt."""
        job = await self.job(token, **more)
        assert (job.state, job.attempts_made) == ("completed", 1), job
        verified = VcVerified.model_validate(job.returnvalue)
        assert verified.model_dump(by_alias=True, exclude_none=True) == job.returnvalue
        answer: dict[str, Any] = job.returnvalue
        return answer

    async def error(self, token: str, **more: Any) -> str:
        result = await self.result(token, **more)
        assert set(result) == {"valid", "error"}
        assert result["valid"] is False
        return str(result["error"]).partition(":")[0]


@pytest.fixture
async def counter(redis: streams.Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Counter]:
    for name, value in {
        "WEBHOOK_ALLOW_HTTP": "true",
        "WEBHOOK_ALLOW_NETS": "127.0.0.0/8",
        "PUBLIC_URL": "http://localhost:3000",
    }.items():
        monkeypatch.setenv(name, value)
    counter = Counter(redis)
    async with open_verification(Resources(redis)) as verification:
        worker = Worker(vc_verification.PROCESSOR, redis=redis)
        worker.state = verification
        worker.on("completed", counter.listen).on("failed", counter.listen)
        async with worker:
            yield counter


async def test_an_invalid_credential_is_a_completed_job(counter: Counter) -> None:
    issuer = Issuer()
    assert await counter.error("not a token") == "PARSING_ERROR"
    assert await counter.error(Issuer(Key(), issuer.did, issuer.kid).v20(validFrom=...)) == (
        "CRYPTOGRAPHIC_SECURITY_ERROR"
    )
    assert await counter.error(issuer.v20(validFrom="2999-01-01T00:00:00Z")) == "NOT_YET_VALID"
    nothing = {"issuer": issuer.did, "validFrom": ...}
    assert await counter.error(issuer.v20(**nothing, credentialSubject={})) == (
        "MALFORMED_VALUE_ERROR"
    )


async def test_what_the_members_of_a_job_mean(counter: Counter) -> None:
    me, other = "did:web:verifier.example", "did:web:other.example"
    made = Issuer().v20(validFrom=..., aud=[me, "https://verifier.example"], nonce="n-1")
    expected = {"valid", "claims", "issuer", "subject"}
    assert set(await counter.result(made, verifierDid=me)) == expected
    assert set(await counter.result(made, verifierDid=other, audience="https://verifier.example"))
    assert set(await counter.result(made, verifierDid=me, nonce="n-1")) == expected
    assert await counter.error(made, verifierDid=other) == "AUDIENCE_MISMATCH"
    assert await counter.error(made) == "AUDIENCE_MISMATCH"
    assert await counter.error(made, verifierDid=me, nonce="n-2") == "NONCE_MISMATCH"
    assert await counter.error(made, verifierDid=me, expect="presentation") == "TYPE_NOT_ACCEPTED"
    for wrong in ({"nonce": ""}, {"expect": "anything"}, {"audience": 5}, {"other": 1}):
        with pytest.raises(ValidationError):
            await counter.queue.add(
                "verify", {"vcJwt": made, "organizationId": "o", "userId": "u", **wrong}
            )


async def test_an_enveloped_credential(counter: Counter) -> None:
    text = json.dumps(envelope(Issuer().v20(validFrom=...)))
    assert (await counter.result(text))["claims"] == {"degree": "Bachelor"}
    old = json.dumps(envelope(Issuer().v11()))
    assert await counter.error(old) == "TYPE_NOT_ACCEPTED"


@pytest.mark.parametrize("model", ["1.1", "2.0"])
@pytest.mark.parametrize("curve", ["Ed25519", "P-256", "P-384", "secp256k1"])
async def test_what_is_issued_here_verifies_here(
    counter: Counter, desk: Any, payload: Any, curve: str, model: str
) -> None:
    made = payload.create(metadata={"keyType": curve})
    issuer = (await desk.run((await desk.take("did-operations", made)).job))["did"]
    data = payload.degree(issuer, dataModel=model)
    issued = await desk.run((await desk.take("vc-issuance", data)).job)
    assert await counter.result(issued["vcJwt"]) == {
        "valid": True,
        "claims": data["claims"],
        "issuer": issuer,
        "subject": data["subjectDid"],
    }


async def test_a_hosted_did_is_read_from_here_until_it_is_deactivated(
    counter: Counter, desk: Any, payload: Any
) -> None:
    async def operate(**changes: Any) -> Any:
        data = {"didMethod": "web", "organizationId": "org-a", "userId": "u-1", **changes}
        return await desk.run((await desk.take("did-operations", data)).job)

    did = (await operate(operation="create"))["did"]
    issued = await desk.run((await desk.take("vc-issuance", payload.degree(did))).job)
    assert (await counter.result(issued["vcJwt"]))["issuer"] == did
    await operate(operation="deactivate", did=did)
    assert await counter.error(issued["vcJwt"]) == "DID_DEACTIVATED"


async def test_a_hosted_status_list_is_read_from_here(
    counter: Counter, desk: Any, payload: Any, redis: streams.Redis
) -> None:
    issuer = await desk.create_issuer()
    data = payload.degree(issuer, status=["revocation", "suspension"])
    issued = await desk.run((await desk.take("vc-issuance", data)).job)
    assert (await counter.result(issued["vcJwt"]))["valid"] is True
    record = await status.find(redis, issued["credentialId"])
    assert record is not None
    until_ms = await status.now_ms(redis, record) + 60_000
    lists = StatusLists(redis, desk.custody)

    async def turn(purpose: Any, value: bool) -> None:
        await status.flip(redis, record, (purpose, value), until_ms=until_ms)
        await lists.publish(record.places[purpose].list_id, "org-a")

    await turn("suspension", True)
    assert await counter.error(issued["vcJwt"]) == "STATUS_SUSPENDED"
    await turn("suspension", False)
    assert (await counter.result(issued["vcJwt"]))["valid"] is True
    await turn("revocation", True)
    assert await counter.error(issued["vcJwt"]) == "STATUS_REVOKED"


async def test_unreachable_is_tried_again(counter: Counter) -> None:
    issuer = Issuer()
    async with receiver(reply(503), reply(200, b"")) as server:
        made = issuer.v20(validFrom=..., credentialStatus=entry(server.url))
        job = await counter.job(made)
        assert (job.state, job.attempts_made) == ("completed", 2)
        assert job.returnvalue["error"].startswith("STATUS_VERIFICATION_ERROR: ")
        assert len(server.requests) == 2
        accepted = server.requests[0].header("accept")
        assert accepted.startswith("application/vc+jwt")


async def test_a_list_that_comes_back_makes_it_valid(counter: Counter) -> None:
    issuer = Issuer()
    subject = {"type": "BitstringStatusList", "statusPurpose": "revocation"}
    body = issuer.v20(
        type=["VerifiableCredential", "BitstringStatusListCredential"],
        validFrom=...,
        credentialSubject=subject | {"encodedList": encoded_list(6)},
    )
    async with receiver(reply(503), reply(429), reply(200, body.encode())) as server:
        job = await counter.job(issuer.v20(validFrom=..., credentialStatus=entry(server.url)))
        assert (job.state, job.attempts_made) == ("completed", 3)
        assert job.returnvalue["valid"] is True
        revoked = issuer.v20(validFrom=..., credentialStatus=entry(server.url, "6"))
        assert await counter.error(revoked) == "STATUS_REVOKED"
        assert len(server.requests) == 3


async def test_the_last_attempt_says_no(counter: Counter) -> None:
    async with receiver(reply(500)) as server:
        made = Issuer().v20(validFrom=..., credentialStatus=entry(server.url))
        job = await counter.job(made, attempts=2)
        assert (job.state, job.attempts_made) == ("completed", 2)
        assert set(job.returnvalue) == {"valid", "error", "indeterminate"}
        assert job.returnvalue["valid"] is False
        assert job.returnvalue["indeterminate"] is True
        assert job.returnvalue["error"].startswith("STATUS_RETRIEVAL_ERROR: ")
        assert len(server.requests) == 2


@pytest.mark.parametrize("status", [302, 404, 410])
async def test_gone_for_good_is_no_reason_to_wait(counter: Counter, status: int) -> None:
    async with receiver(reply(status, headers={"Location": "http://127.0.0.1/x"})) as server:
        made = Issuer().v20(validFrom=..., credentialStatus=entry(server.url))
        assert await counter.error(made) == "STATUS_RETRIEVAL_ERROR"
        schema = {"id": server.url, "type": "JsonSchema"}
        made = Issuer().v20(validFrom=..., credentialSchema=schema)
        assert await counter.error(made) == "SCHEMA_RETRIEVAL_ERROR"
        assert len(server.requests) == 2


async def test_addresses_inside_are_never_dialled(
    counter: Counter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("http://10.0.0.1/list", "http://169.254.169.254/latest", "ftp://a.example/list"):
        made = Issuer().v20(validFrom=..., credentialStatus=entry(url))
        assert await counter.error(made) == "STATUS_RETRIEVAL_ERROR"


async def test_a_schema_over_http(counter: Counter) -> None:
    body = b'{"$schema":"https://json-schema.org/draft/2020-12/schema","$id":"urn:a:b",'
    async with receiver(reply(200, body + b'"required":["issuer"]}')) as server:
        schema = {"id": server.url, "type": "JsonSchema"}
        assert (await counter.result(Issuer().v20(validFrom=..., credentialSchema=schema)))["valid"]
    async with receiver(reply(200, body + b'"title":"' + b"x" * 200_000 + b'"}')) as server:
        schema = {"id": server.url, "type": "JsonSchema"}
        made = Issuer().v20(validFrom=..., credentialSchema=schema)
        assert await counter.error(made) == "SCHEMA_RETRIEVAL_ERROR"


async def test_a_did_web_over_https(
    redis: streams.Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    answers: list[Any] = [reply(503)]
    async with receiver(*answers, tls=tls) as server:
        did = f"did:web:localhost%3A{server.port}"
        issuer = Issuer(Key("P-384"), did, f"{did}#key-1")
        token = issuer.v20(validFrom=...)
        async with open_verification(Resources(redis)) as verification:
            assert (await verification.verify(token)).code == "DID_BLOCKED"
        assert server.connections == 0
        monkeypatch.setenv("WEBHOOK_ALLOW_NETS", "127.0.0.0/8,[::1]")
        async with open_verification(Resources(redis)) as verification:
            with pytest.raises(CouldNotTell, match=r"\."):  # a certificate nobody vouches for
                await verification.verify(token)
        monkeypatch.setenv("WEBHOOK_CA_FILE", str(tmp_path / "ca.pem"))
        async with open_verification(Resources(redis)) as verification:
            with pytest.raises(CouldNotTell, match="503"):
                await verification.verify(token)
    document = json.dumps(issuer.document()).encode()
    kind = {"Content-Type": "application/did+ld+json"}
    for answer, code in (
        (reply(200, document, kind), "INVALID_DID_DOCUMENT"),
        (reply(404), "DID_NOT_FOUND"),
        (reply(410), "DID_DEACTIVATED"),
        (reply(302, headers={"Location": f"https://localhost:{server.port}/"}), "DID_NOT_FOUND"),
    ):
        async with (
            receiver(answer, tls=tls) as server,
            open_verification(Resources(redis)) as verification,
        ):
            did = f"did:web:localhost%3A{server.port}"
            made = Issuer(issuer.key, did, f"{did}#key-1").v20(validFrom=...)
            assert (await verification.verify(made)).code == code
            assert [seen.line for seen in server.requests] == ["GET /.well-known/did.json HTTP/1.1"]


async def test_a_did_web_of_somebody_else_in_full(
    redis: streams.Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("WEBHOOK_CA_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("WEBHOOK_ALLOW_NETS", "127.0.0.0/8,[::1]")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    made: dict[str, bytes] = {}

    async def answer(_seen: Any, writer: asyncio.StreamWriter) -> None:
        await reply(200, made["document"], {"Content-Type": "application/json"})(_seen, writer)

    async with (
        receiver(answer, tls=tls) as server,
        open_verification(Resources(redis)) as verification,
    ):
        did = f"did:web:localhost%3A{server.port}:issuers:1"
        issuer = Issuer(Key("secp256k1"), did, f"{did}#key-1")
        made["document"] = json.dumps(issuer.document()).encode()
        for token in (issuer.v20(validFrom=...), issuer.v11(nbf=1)):
            assert (await verification.verify(token)).issuer == did
        assert [seen.line for seen in server.requests] == ["GET /issuers/1/did.json HTTP/1.1"]
