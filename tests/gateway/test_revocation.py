"""From a credential with a status to verifiers that refuse it, as it runs in production."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientSession
from processes import until
from yarl import URL

from consumers import Resources, Worker
from consumers.processors import did_operations, status_lists, vc_issuance, vc_verification
from schemas.job import State
from streams import Queue, Redis

SUBJECT = "did:key:z6MkpTHR8VNsBxYAAWHut2Geadd9jSwuBV8xRoAnwWsdvktH"
WHO = {"organizationId": "org-a", "userId": "user-1"}
Done = Callable[..., Any]


@pytest.fixture
async def done(redis: Redis, tmp_path: Path) -> AsyncIterator[Done]:
    """`await done(queue, data)`: the result of a job, with a worker for every queue concerned."""

    async def ended(queue: str, **data: Any) -> dict[str, Any]:
        there = Queue(queue, redis)
        added = await there.add(queue, {**data, **WHO})

        async def over() -> bool:
            job = await there.get(added.id)
            return job is not None and job.state in (State.COMPLETED, State.FAILED)

        await until(over, within_s=20, what=f"{queue} {added.id} has ended")
        job = await there.get(added.id)
        assert job is not None
        assert job.state == State.COMPLETED, job.errors
        result: dict[str, Any] = job.returnvalue
        return result

    async with AsyncExitStack() as stack:
        for module in (did_operations, vc_issuance, vc_verification, status_lists):
            assert module.PROCESSOR.open is not None
            opened = module.PROCESSOR.open(Resources(redis, data_dir=tmp_path))
            worker = Worker(module.PROCESSOR, redis=redis)
            worker.state = await stack.enter_async_context(opened)
            await stack.enter_async_context(worker)
        yield ended


@pytest.mark.parametrize("model", ["2.0", "1.1"])
@pytest.mark.parametrize("key_type", ["Ed25519", "P-256"])
async def test_what_was_suspended_or_revoked_verifies_no_more(
    done: Done, http: ClientSession, model: str, key_type: str
) -> None:
    made = await done(
        "did-operations", operation="create", didMethod="key", metadata={"keyType": key_type}
    )
    issued = await done(
        "vc-issuance",
        issuerDid=made["did"],
        subjectDid=SUBJECT,
        credentialType="UniversityDegreeCredential",
        claims={"degree": "Bachelor of Science"},
        status=["revocation", "suspension"],
        dataModel=model,
    )

    async def verdict() -> str:
        found = await done("vc-verification", vcJwt=issued["vcJwt"])
        assert found["valid"] == ("error" not in found)
        return str(found.get("error", "valid")).partition(":")[0]

    async def change(verb: str) -> int:
        path = f"/credentials/{quote(issued['credentialId'], safe='')}/{verb}"
        url = URL(str(http._base_url).rstrip("/") + path, encoded=True)
        async with http.post(url, headers={"Prefer": "wait=20"}) as answer:
            document = await answer.json(content_type=None)
            assert answer.status != 200 or document["data"]["published"]
            return answer.status

    assert await verdict() == "valid"
    assert await change("suspend") == 200
    assert await verdict() == "STATUS_SUSPENDED"
    assert await change("unsuspend") == 200
    assert await verdict() == "valid"
    assert await change("revoke") == 200
    assert await verdict() == "STATUS_REVOKED"
    assert await change("unsuspend") == 409
    assert await verdict() == "STATUS_REVOKED"
