"""An organization whose verifications wait or compute for long is not noticed by the others.

Nothing is timed: what is counted is how many jobs of one organization have ended or failed an
attempt when a job of another one ends.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from minting import Issuer, compact, encoded_list, entry, envelope
from receivers import Answer, raw, receiver, reply, silent

import streams
from consumers import Worker
from consumers import verification as verification_module
from consumers.processor import Resources
from consumers.processors import vc_verification
from consumers.verification import open_verification
from credentials import verify as verify_module
from outbound import bodies

DRAFT = "https://json-schema.org/draft/2020-12/schema"
ISSUER = Issuer()
LATER = {"attempts": 3, "backoff": {"type": "fixed", "delay": 3_600_000}}


class Endings:
    """Submits jobs and counts their ends and failed attempts by organization."""

    def __init__(self, redis: streams.Redis) -> None:
        self.queue = streams.Queue("vc-verification", redis)
        self.verification: Any = None
        self.by_organization: Counter[str] = Counter()
        self._ended: dict[str, asyncio.Event] = {}

    def listen(self, event: Any) -> None:
        self.by_organization[event.data["organizationId"]] += 1
        self._ended.setdefault(event.id, asyncio.Event()).set()

    def count_attempt(self, job: Any, error: dict[str, Any]) -> None:
        if error["reason"] != "later":  # put off, and nothing was charged
            self.by_organization[job.data["organizationId"]] += 1

    async def submit(
        self, organization: str, token: str, expect: str = "credential", **options: Any
    ) -> str:
        data = {"vcJwt": token, "organizationId": organization, "userId": "u-1", "expect": expect}
        return (await self.queue.add("verify", data, **options)).id

    async def result(self, organization: str, token: str, **options: Any) -> dict[str, Any]:
        """The result of a job, submitted now."""
        return await self.result_of(await self.submit(organization, token, **options))

    async def result_of(self, job_id: str) -> dict[str, Any]:
        await self._ended.setdefault(job_id, asyncio.Event()).wait()
        job = await self.queue.get(job_id)
        assert job is not None
        assert job.state == "completed", job
        result: dict[str, Any] = job.returnvalue
        return result


@pytest.fixture
async def endings(redis: streams.Redis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Endings]:
    for name, value in {
        "WEBHOOK_ALLOW_HTTP": "true",
        "WEBHOOK_ALLOW_NETS": "127.0.0.0/8",
        "PUBLIC_URL": "http://localhost:3000",
    }.items():
        monkeypatch.setenv(name, value)
    # On a slow machine, too, what hangs hangs until the end of the test.
    monkeypatch.setattr(verification_module, "FETCH_S", 3_600.0)
    monkeypatch.setattr(verify_module, "TOTAL_S", 3_600.0)
    endings = Endings(redis)
    async with open_verification(Resources(redis)) as verification:
        worker = Worker(vc_verification.PROCESSOR, redis=redis, drain_timeout_s=0)
        worker.state = endings.verification = verification
        worker.on("completed", endings.listen).on("failed", endings.listen)
        worker.on("retrying", endings.count_attempt)
        async with worker:
            yield endings


def with_status(url: str, index: int = 0) -> str:
    return ISSUER.v20(validFrom=..., credentialStatus=entry(url, str(index)))


def with_schema(url: str) -> str:
    schema = {"id": url, "type": "JsonSchema"}
    return ISSUER.v20(validFrom=..., credentialSchema=schema)


def status_list(url: str) -> bytes:
    subject = {"type": "BitstringStatusList", "statusPurpose": "revocation"}
    return ISSUER.v20(
        type=["VerifiableCredential", "BitstringStatusListCredential"],
        validFrom=...,
        id=url,
        credentialSubject=subject | {"encodedList": encoded_list()},
    ).encode()


def dripping() -> Answer:
    """A byte now and then, for ever."""

    async def answer(_seen: Any, writer: asyncio.StreamWriter) -> None:
        await raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")(_seen, writer)
        while True:
            await raw(b" ")(_seen, writer)
            await asyncio.sleep(0.2)

    return answer


@pytest.mark.parametrize("hosts", [1, 40])
async def test_servers_that_do_not_answer(endings: Endings, hosts: int) -> None:
    async with AsyncExitStack() as stack:
        slow = [
            await stack.enter_async_context(receiver(silent(), host=f"127.0.0.{number + 2}"))
            for number in range(hosts)
        ]
        for number in range(120):
            url = f"{slow[number % hosts].url}{number}"
            await endings.submit("org-a", with_status(url), **LATER)
        # Without the network, with it, and from a host that somebody else has overtaxed.
        assert (await endings.result("org-b", ISSUER.v20(validFrom=...)))["valid"] is True
        server = await stack.enter_async_context(receiver(reply(200, status_list("urn:x:y"))))
        assert (await endings.result("org-b", with_status(server.url)))["valid"] is True
        assert endings.by_organization == {"org-b": 2}
        assert 1 < sum(one.connections for one in slow) <= 32


async def test_several_organizations_at_once(endings: Endings) -> None:
    async with AsyncExitStack() as stack:
        slow = [
            await stack.enter_async_context(receiver(silent(), host=f"127.0.0.{number + 2}"))
            for number in range(40)
        ]
        for number in range(120):
            for organization in ("org-a", "org-c", "org-d"):
                url = f"{slow[number % 40].url}{organization}/{number}"
                await endings.submit(organization, with_status(url), **LATER)
        server = await stack.enter_async_context(receiver(reply(200, status_list("urn:x:y"))))
        assert (await endings.result("org-b", with_status(server.url)))["valid"] is True
        assert endings.by_organization == {"org-b": 1}


async def test_the_same_url_and_the_same_host(endings: Endings) -> None:
    """What others make of a server is nothing that an organization notices."""
    answers = [silent()] * 8
    async with receiver(*answers, reply(200, status_list("urn:x:y"))) as server:
        for number in range(60):
            await endings.submit("org-a", with_status(f"{server.url}{number % 8}"), **LATER)
        while server.connections < 8:
            await asyncio.sleep(0.01)
        for number in range(9):
            result = await endings.result("org-b", with_status(f"{server.url}{number}"))
            assert result["valid"] is True
        # What was fetched for one is there for all: of org-a only those that asked first wait on.
        assert len(server.requests) == 8 + 9


async def test_bodies_that_drip(endings: Endings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_GRACE_S", 0.3)
    async with receiver(dripping()) as server:
        result = await endings.result("org-a", with_status(server.url), attempts=1)
        assert result["error"].startswith("STATUS_RETRIEVAL_ERROR: ")
        assert "did not arrive in time" in result["error"]


async def test_a_host_that_keeps_failing_is_not_asked_for_a_while(endings: Endings) -> None:
    once = {"attempts": 1}
    async with receiver(raw(b"no HTTP at all\r\n\r\n")) as server:
        for number in range(8):
            result = await endings.result("org-a", with_status(f"{server.url}{number}"), **once)
            assert result["error"].startswith("STATUS_RETRIEVAL_ERROR: ")
        assert "did not answer lately" in result["error"]
        assert server.connections == 5
        # The others find out for themselves.
        await endings.result("org-b", with_status(server.url), **once)
        assert server.connections == 6


async def test_what_is_put_off_is_not_charged_and_done_in_the_end(endings: Endings) -> None:
    release = asyncio.Event()

    async def answer(seen: Any, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        await reply(200, status_list("urn:x:y"))(seen, writer)

    async with receiver(answer) as server:
        ids = [
            await endings.submit("org-a", with_status(f"{server.url}{number}"), attempts=1)
            for number in range(30)
        ]
        while (await endings.queue.counts()).delayed < 11:
            await asyncio.sleep(0.01)
        assert server.connections == 8
        release.set()
        results = [await endings.result_of(job_id) for job_id in ids]
        assert all(result["valid"] for result in results), results
        assert len(server.requests) == 30


async def test_many_long_computations(
    endings: Endings, redis: streams.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Presentations full of lists that are served from here: nothing is fetched."""
    reads: Counter[str] = Counter()
    list_url = "http://localhost:3000/status-lists/x"
    token = status_list(list_url).decode()

    async def hosted(url: str) -> str | None:
        reads[url.rpartition("?")[2]] += 1
        return token

    monkeypatch.setattr(endings.verification.verifier._status, "hosted", hosted)
    holder = Issuer()
    inner = ISSUER.v20(
        validFrom=..., credentialStatus=[entry(f"{list_url}?{n}") for n in range(16)]
    )
    body = {
        "@context": ["https://www.w3.org/ns/credentials/v2"],
        "type": ["VerifiablePresentation"],
        "holder": holder.did,
        "verifiableCredential": [envelope(inner)] * 32,
    }
    made = compact({"alg": "EdDSA", "typ": "vp+jwt", "kid": holder.kid}, body, holder.key)
    for _ in range(100):
        await endings.submit("org-a", made, expect="presentation")
    assert (await endings.result("org-b", ISSUER.v20(validFrom=...)))["valid"] is True
    assert sum(reads.values()) < 5_000


def bomb(number: int) -> bytes:
    """A schema that takes as many steps as one may."""
    parts: dict[str, Any] = {
        f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)
    }
    last = {"d40": {"const": number}}
    body = {"$schema": DRAFT, "$id": f"urn:bomb:{number}", "$ref": "#/$defs/d0"}
    return json.dumps(body | {"$defs": parts | last}).encode()


async def test_schemas_that_take_long(endings: Endings) -> None:
    asked = 0

    async def answer(seen: Any, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reply(200, bomb(asked))(seen, writer)

    easy = json.dumps({"$schema": DRAFT, "$id": "urn:easy:1", "required": ["issuer"]}).encode()
    async with receiver(answer) as server, receiver(reply(200, easy)) as other:
        ids = [
            await endings.submit("org-a", with_schema(f"{server.url}{number}"))
            for number in range(40)
        ]
        result = await endings.result("org-b", with_schema(other.url))
        assert result["valid"] is True
        assert endings.by_organization["org-a"] < 15
        for job_id in ids[:2]:
            assert (await endings.result_of(job_id))["error"].startswith("SCHEMA_INDETERMINATE")
