"""Both processors as they run in production: submitted, worked on, fetched, verified."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import streams
from consumers import Worker
from consumers.processor import Processor, Resources
from consumers.processors import did_operations, vc_issuance


class Office:
    """A worker per queue; `done` waits for the end of a job."""

    def __init__(self, redis: streams.Redis) -> None:
        self.redis = redis
        self.ends: dict[str, asyncio.Event] = {}

    def listen(self, event: Any) -> None:
        self.ends.setdefault(event.id, asyncio.Event()).set()

    async def done(self, queue: str, data: dict[str, Any]) -> streams.JobView:
        added = await streams.Queue(queue, self.redis).add(queue, data)
        await self.ends.setdefault(added.id, asyncio.Event()).wait()
        job = await streams.Queue(queue, self.redis).get(added.id)
        assert job is not None
        return job


@pytest.fixture
async def office(redis: streams.Redis, tmp_path: Path) -> AsyncIterator[Office]:
    office = Office(redis)
    async with AsyncExitStack() as stack:
        resources = Resources(redis, data_dir=tmp_path)
        for module in (did_operations, vc_issuance):
            processor: Processor = module.PROCESSOR
            worker = Worker(processor, redis=redis)
            assert processor.open is not None
            worker.state = await stack.enter_async_context(processor.open(resources))
            worker.on("completed", office.listen).on("failed", office.listen)
            await stack.enter_async_context(worker)
        yield office


async def test_from_a_new_did_to_a_verified_credential(
    office: Office, payload: Any, verified: Any
) -> None:
    created = await office.done("did-operations", payload.create())
    assert created.state == "completed", created
    issuer = created.returnvalue["did"]
    issued = await office.done("vc-issuance", payload.degree(issuer))
    assert issued.state == "completed", issued
    _, credential = verified(issued.returnvalue["vcJwt"])
    assert credential["issuer"] == issuer
    assert credential["id"] == issued.returnvalue["credentialId"]


async def test_a_refusal_is_final_and_says_why(office: Office, payload: Any) -> None:
    unknown = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    job = await office.done("vc-issuance", payload.degree(unknown))
    assert job.state == "failed"
    assert job.attempts_made == 1
    assert [(error.reason, error.code) for error in job.errors] == [("rejected", "issuer_unknown")]
    assert job.failed_reason == "No key of this issuer is held for this organization."
