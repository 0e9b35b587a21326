"""did-operations on did:key: making a DID, and what the method refuses."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import streams
from consumers.custody import Custody, KeyRefused, open_custody
from consumers.processor import Resources
from consumers.processors import did_operations
from credentials import did_jwk, did_key, keys
from credentials.keyring import KeyringError


async def test_create_answers_the_did_and_its_document(desk: Any, payload: Any) -> None:
    answer = await desk.run((await desk.take("did-operations", payload.create())).job)
    did = answer["did"]
    assert did.startswith("did:key:z6Mk")
    assert answer == {
        "did": did,
        "didDocument": did_key.document(did),
        "verificationMethod": did_key.verification_method(did),
    }


@pytest.mark.parametrize(
    ("key_type", "start", "algorithm"),
    [
        ("Ed25519", "z6Mk", "EdDSA"),
        ("P-256", "zDn", "ES256"),
        ("P-384", "z82", "ES384"),
        ("secp256k1", "zQ3s", "ES256K"),
    ],
)
async def test_every_type_of_key(
    desk: Any, payload: Any, custody: Custody, key_type: str, start: str, algorithm: str
) -> None:
    data = payload.create(metadata={"keyType": key_type})
    did = (await desk.run((await desk.take("did-operations", data)).job))["did"]
    assert did.startswith(f"did:key:{start}")
    key = await custody.signing_key(did, "org-a")
    assert key.algorithm == algorithm
    assert key.id == did_key.verification_method(did)
    assert keys.public_jwk(key.private) == did_key.decode(did)


async def test_the_key_signs_for_its_organization_only(
    desk: Any, payload: Any, custody: Custody
) -> None:
    claim = await desk.take("did-operations", payload.create("org-a"))
    did = (await desk.run(claim.job))["did"]
    key = await custody.signing_key(did, "org-a")
    assert key.id == did_key.verification_method(did)
    assert key.private.as_dict(private=False)["x"] == did_key.decode(did)["x"]
    assert (await custody.signing_key(did, "org-a", key.id)).id == key.id
    with pytest.raises(KeyRefused) as caught:
        await custody.signing_key(did, "org-b")
    assert caught.value.code == "issuer_unknown"
    with pytest.raises(KeyRefused) as caught:
        await custody.signing_key(did, "org-a", f"{did}#other")
    assert caught.value.code == "key_unknown"


async def test_a_job_that_runs_again_makes_no_second_did(desk: Any, payload: Any, raw: Any) -> None:
    job = (await desk.take("did-operations", payload.create())).job
    first = await desk.run(job)
    again = await asyncio.gather(*(desk.run(job) for _ in range(5)))
    assert all(answer == first for answer in again)
    assert len(list(raw.scan_iter("cs:vault:{did:*"))) == 1


async def test_jobs_make_dids_of_their_own(desk: Any) -> None:
    made = {await desk.create_issuer() for _ in range(5)}
    assert len(made) == 5


async def test_an_id_used_anew_makes_a_new_did(desk: Any, payload: Any, redis: Any) -> None:
    """A job that is gone lends its id to another, perhaps another tenant's; not its DID."""
    claim = await desk.take("did-operations", payload.create("org-a"), "create-1")
    first = (await desk.finish(claim))["did"]
    await streams.Queue("did-operations", redis).remove("create-1")
    claim = await desk.take("did-operations", payload.create("org-b"), "create-1")
    assert (await desk.finish(claim))["did"] != first


@pytest.mark.parametrize("metadata", [None, {}, {"keyType": "Ed25519"}, {"label": "main"}])
async def test_ed25519_is_the_default(desk: Any, payload: Any, metadata: Any) -> None:
    job = (await desk.take("did-operations", payload.create(metadata=metadata))).job
    assert (await desk.run(job))["did"].startswith("did:key:z6Mk")


@pytest.mark.parametrize("operation", ["update", "deactivate"])
async def test_a_did_key_never_changes(desk: Any, payload: Any, operation: str) -> None:
    did = await desk.create_issuer()
    data = payload.create(operation=operation, did=did)
    rejection = await desk.refused("did-operations", data)
    assert rejection.code == "operation_not_supported"
    assert "does not support" in str(rejection)


@pytest.mark.parametrize("operation", ["update", "deactivate"])
async def test_a_did_jwk_never_changes(desk: Any, payload: Any, operation: str) -> None:
    """G5: refused for good, as for did:key, whatever the attempts."""
    did = did_jwk.encode(keys.public_jwk(keys.generate("P-256")))
    data = payload.create(operation=operation, didMethod="jwk", did=did)
    rejection = await desk.refused("did-operations", data)
    assert rejection.code == "operation_not_supported"
    assert "did:jwk" in str(rejection)


async def test_a_did_jwk_is_not_made_here(desk: Any, payload: Any) -> None:
    rejection = await desk.refused("did-operations", payload.create(didMethod="jwk"))
    assert rejection.code == "operation_not_supported"


async def test_the_ring_outlives_a_process(redis: Any, tmp_path: Path) -> None:
    resources = Resources(redis, data_dir=tmp_path)
    assert did_operations.PROCESSOR.open is not None
    async with did_operations.PROCESSOR.open(resources) as custody:
        did = await custody.create_did_key(("test",), "org-a")
    async with open_custody(resources) as custody:
        assert (await custody.signing_key(did, "org-a")).id.startswith(did)


async def test_production_does_not_start_without_a_ring(redis: Any, tmp_path: Path) -> None:
    resources = Resources(redis, data_dir=tmp_path, production=True)
    assert did_operations.PROCESSOR.open is not None
    with pytest.raises(KeyringError):
        async with did_operations.PROCESSOR.open(resources):
            pytest.fail("it must not open")
