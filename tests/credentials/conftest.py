"""Jobs taken from a real queue and handed to the processors, as a worker hands them over."""

import base64
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

import streams
from consumers.custody import Custody
from consumers.execute import validate
from consumers.processor import Reject
from consumers.processors import did_operations, vc_issuance
from consumers.status_lists import StatusLists
from credentials import did_key
from credentials.keyring import Keyring
from schemas.spec import catalog
from streams.claims import Claim, Claims, Ending

SUBJECT = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
PROCESSORS = {
    "did-operations": did_operations.PROCESSOR,
    "vc-issuance": vc_issuance.PROCESSOR,
}


@pytest.fixture
def ring() -> Keyring:
    return Keyring.parse(f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}")


@pytest.fixture
def custody(redis: streams.Redis, ring: Keyring) -> Custody:
    return Custody(redis, ring)


@dataclass
class Desk:
    """Takes one job at a time from a queue and runs its processor."""

    redis: streams.Redis
    custody: Custody

    async def take(self, queue: str, data: dict[str, Any], job_id: str | None = None) -> Claim:
        """Submit a job and claim it."""
        await streams.Queue(queue, self.redis).add(queue, data, job_id=job_id)
        claims = Claims(catalog()[queue], self.redis, "desk")
        link = await claims.link()
        try:
            claimed, _ = await claims.claim(link, 1)
        finally:
            await self.redis.forget(link)
        (claim,) = claimed.claims
        claim.job = await claims.payload(claim.job)
        return claim

    def state(self, queue: str) -> Any:
        """What the queue's processor opens."""
        if queue != "vc-issuance":
            return self.custody
        return vc_issuance.Issuance(self.custody, StatusLists(self.redis, self.custody))

    async def run(self, job: streams.Job) -> dict[str, Any]:
        """What the processor answers; raises what it raises."""
        context: Any = SimpleNamespace(state=self.state(job.queue))
        validate(job, PROCESSORS[job.queue])
        answer: dict[str, Any] = await PROCESSORS[job.queue].handle(job, context)
        result = catalog()[job.queue].result
        assert result is not None
        assert result.model_validate(answer).model_dump(by_alias=True) == answer
        return answer

    async def finish(self, claim: Claim) -> dict[str, Any]:
        """Run a claimed job and store its ending, also when it is rejected."""
        claims = Claims(catalog()[claim.job.queue], self.redis, "desk")
        try:
            answer = await self.run(claim.job)
            ending = Ending(claim, "complete", json.dumps(answer).encode())
        except Reject as rejection:
            answer = {"error": str(rejection)}
            history = [{"attempt": 1, "reason": "rejected", "message": str(rejection)}]
            ending = Ending(claim, "fail", history=json.dumps(history).encode())
        await claims.send([command for command, _ in claims.settle([ending])])
        return answer

    async def create_issuer(self, organization: str = "org-a") -> str:
        """The DID that a did-operations job makes for this organization."""
        job = (await self.take("did-operations", create(organization))).job
        return str((await self.run(job))["did"])

    async def refused(self, queue: str, data: dict[str, Any]) -> Reject:
        """The rejection that this payload gets."""
        job = (await self.take(queue, data)).job
        with pytest.raises(Reject) as caught:
            await self.run(job)
        return caught.value


@pytest.fixture
def desk(redis: streams.Redis, custody: Custody) -> Desk:
    return Desk(redis, custody)


def create(organization: str = "org-a", **changes: Any) -> dict[str, Any]:
    return {
        "operation": "create",
        "didMethod": "key",
        "organizationId": organization,
        "userId": "user-1",
        **changes,
    }


def degree(issuer: str, organization: str = "org-a", **changes: Any) -> dict[str, Any]:
    return {
        "issuerDid": issuer,
        "subjectDid": SUBJECT,
        "credentialType": "UniversityDegreeCredential",
        "claims": {"degree": "Bachelor of Science", "graduationYear": 2024},
        "organizationId": organization,
        "userId": "user-1",
        **changes,
    }


@pytest.fixture
def payload() -> SimpleNamespace:
    """payload.create(...) and payload.degree(issuer, ...): what the two queues take."""
    return SimpleNamespace(create=create, degree=degree)


@pytest.fixture
def verified() -> Callable[[str], tuple[dict[str, Any], dict[str, Any]]]:
    """Header and payload of a JWT whose signature fits the DID it names as issuer.

    Shares nothing with the signing: base64, JSON and Ed25519 straight from cryptography.
    """

    def read(part: str) -> bytes:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    def verified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
        head, body, signature = token.split(".")
        credential = json.loads(read(body))
        public = read(did_key.decode(credential["issuer"])["x"])
        Ed25519PublicKey.from_public_bytes(public).verify(
            read(signature), f"{head}.{body}".encode()
        )
        return json.loads(read(head)), credential

    return verified
