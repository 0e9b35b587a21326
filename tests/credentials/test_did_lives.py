"""A hosted issuer's life as a verifier sees it: rotated, a key removed, deactivated (H6, H7)."""

import time
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

import pytest

import streams
from consumers.custody import Custody
from credentials.resolver import Resolver
from credentials.settings import CredentialSettings
from credentials.verdict import Verdict
from credentials.verify import Verifier
from streams import dids

DID = "did:web:localhost%3A3000:issuers:acme"


@pytest.fixture
def custody(custody: Custody) -> Custody:
    return replace(custody, settings=CredentialSettings(public_url="http://localhost:3000"))


async def never(*_: Any) -> NoReturn:
    raise AssertionError("nothing is to be fetched")


class Issuer:
    """Changes a DID and issues with it, all through jobs."""

    def __init__(self, desk: Any, payload: Any, redis: streams.Redis) -> None:
        self.desk = desk
        self.payload = payload
        self.redis = redis

    async def change(self, operation: str, **more: Any) -> None:
        data = {"didMethod": "web", "organizationId": "org-a", "userId": "u", **more}
        claim = await self.desk.take("did-operations", {**data, "operation": operation})
        assert "error" not in await self.desk.finish(claim)

    async def issue(self, organization: str = "org-a", **more: Any) -> dict[str, Any]:
        data = self.payload.degree(DID, organization, **more)
        answer: dict[str, Any] = await self.desk.finish(await self.desk.take("vc-issuance", data))
        return answer

    async def verdict(self, token: str) -> Verdict:
        resolver = Resolver(hosted=partial(dids.find, self.redis))
        return await Verifier(resolver.resolve, never, clock=lambda: time.time() + 5).verify(token)


@pytest.mark.parametrize("version", ["1.1", "2.0"])
@pytest.mark.parametrize("kind", ["Ed25519", "P-256", "P-384", "secp256k1"])
async def test_what_was_signed_before_a_rotation_verifies_until_the_key_is_removed(
    desk: Any, payload: Any, redis: streams.Redis, kind: str, version: str
) -> None:
    issuer = Issuer(desk, payload, redis)
    await issuer.change("create", metadata={"path": "issuers/acme", "keyType": kind})
    old = (await issuer.issue(dataModel=version))["vcJwt"]
    await issuer.change("update", did=DID, metadata={"rotate": True, "keyType": kind})
    new = (await issuer.issue(dataModel=version))["vcJwt"]
    for token in (old, new):
        verdict = await issuer.verdict(token)
        assert (verdict.valid, verdict.issuer) == (True, DID), verdict
    await issuer.change("update", did=DID, metadata={"removeKeys": ["#key-1"]})
    assert (await issuer.verdict(new)).valid
    assert not (await issuer.verdict(old)).valid
    await issuer.change("deactivate", did=DID)
    for token in (old, new):
        verdict = await issuer.verdict(token)
        assert not verdict.valid
        assert "claims" not in verdict.result()
    assert "error" in await issuer.issue(dataModel=version)


async def test_nobody_else_signs_as_it(desk: Any, payload: Any, redis: streams.Redis) -> None:
    """A9."""
    issuer = Issuer(desk, payload, redis)
    await issuer.change("create", metadata={"path": "issuers/acme"})
    assert "error" in await issuer.issue("org-b")
    assert "vcJwt" in await issuer.issue("org-a")
