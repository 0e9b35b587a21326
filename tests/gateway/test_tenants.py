"""Two organizations in one installation: neither learns anything of the other (AU-4)."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import ClientSession
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_cluster import Cluster
from redis_servers import Server

from gateway import own_counts
from gateway.app import create_app
from gateway.principal import GRANTED
from gateway.server import listening
from gateway.settings import GatewaySettings
from schemas.job import State
from schemas.spec import QueueSpec
from streams import Queue, Redis, connect
from streams.claims import Claims, Ending
from tests.gateway.callers import bearer, key
from tests.gateway.samples import Serve

SPEC = QueueSpec("mixed")
ORGS = ("org-a", "org-b")
SHARED = ("shared-1", "shared-2")
"""Ids that both try to use."""
SETTINGS = GatewaySettings(host="127.0.0.1", port=0, require_auth="always")
ONE_JOB = ("get", "retry", "cancel", "remove", "promote", "priority", "logs", "attempts", "why")
MANY = ("bulk retry", "bulk remove", "bulk cancel", "bulk promote", "redrive")
ASIDE = ("suppress", "suppressions", "suppressed", "new key", "keys", "audit", "once")
LISTS = {"suppressions": "/mail/suppressions", "keys": "/keys", "audit": "/audit"}
OPERATIONS = (
    *("submit", "submit", "submit shared", "submit late", "submit many", "batch", "lines"),
    *ASIDE,
    *("work", "work badly"),
    *ONE_JOB,
    *MANY,
    *("list", "dead letters", "stats", "all stats", "batch results", "filter"),
)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts are compared at once."""
    monkeypatch.setattr(own_counts, "FRESH_S", 0.0)


class Town:
    """Two tenants, the platform, and what each has heard."""

    def __init__(self, redis: Redis, calls: dict[str | None, ClientSession]) -> None:
        self.redis = redis
        self.calls = calls
        self.queue = Queue(SPEC, redis)
        self.claims = Claims(SPEC, redis, "by-hand")
        self.mine: dict[str, list[str]] = {org: [] for org in ORGS}
        """Ids of jobs and batches that only this tenant may see."""
        self.batches: dict[str, list[str]] = {org: [] for org in ORGS}
        self.number = 0

    def job(self, org: str, **options: Any) -> dict[str, Any]:
        """A job full of words that only its tenant may see."""
        self.number += 1
        word = f"canary-{org}-{self.number}"
        data = {"organizationId": org, "word": word}
        return {"name": word, "data": data, "options": options}

    async def ask(
        self, org: str, method: str, path: str, body: Any = None, once: str | None = None
    ) -> Any:
        """A request of a tenant; nothing in the answer may be the other's. `once`: its
        Idempotency-Key. A body of bytes is lines, and so is the answer."""
        kwargs: dict[str, Any] = {} if body is None else {"json": body}
        headers = {"Idempotency-Key": once} if once else {}
        if isinstance(body, bytes):
            kwargs = {"data": body}
            headers["Content-Type"] = "application/x-ndjson"
        async with self.calls[org].request(method, path, **kwargs, headers=headers) as response:
            text = await response.text()
            assert response.status < 500, text
            self.check(org, text + str(response.headers), path)
            if isinstance(body, bytes):
                return [json.loads(line) for line in text.splitlines()]
            return await response.json(content_type=None)

    def check(self, org: str, text: str, path: str) -> None:
        """Nothing of the other tenant is in a text, but what this one has just named itself."""
        other = ORGS[1 - ORGS.index(org)]
        assert f"canary-{other}" not in text, text
        for part in path.split("/"):  # a problem says what was asked for
            if part in self.mine[other]:
                text = text.replace(part, "")
        for name in self.mine[other]:
            assert name not in text, f"{org} reads {name}: {text}"

    def of(self, org: str, pick: int) -> str:
        """An id: its own, the other's, or a shared one."""
        known = [*self.mine[org], *SHARED, *self.mine[ORGS[1 - ORGS.index(org)]], "nothing"]
        return known[pick % len(known)]

    async def submit(self, org: str, kind: str, pick: int) -> None:
        if kind == "batch":
            jobs = [{k: v for k, v in self.job(org).items() if k != "options"} for _ in range(2)]
            made = await self.ask(org, "POST", "/queue/mixed/batches", {"jobs": jobs})
            batch = made["data"]["id"]
            self.batches[org].append(batch)
            self.mine[org] += [batch, f"~b:{batch}.0", f"~b:{batch}.1"]
            return
        if kind == "lines":
            jobs = [self.job(org), self.job(org, jobId=SHARED[pick % 2])]
            lines = b"".join(json.dumps(one).encode() + b"\n" for one in jobs)
            for one in await self.ask(org, "POST", "/queue/mixed/jobs", lines, f"k{pick % 3}"):
                if one["success"] and one["data"]["id"] not in (*SHARED, *self.mine[org]):
                    self.mine[org].append(one["data"]["id"])
            return
        options = {
            "submit shared": {"jobId": SHARED[pick % 2]},
            "submit late": {"delay": 9_999_999},
        }
        job: Any = self.job(org, **options.get(kind, {}))
        body = [job, self.job(org)] if kind == "submit many" else job
        once = f"k{pick % 3}" if pick % 4 == 0 else None  # both use the same keys
        made = await self.ask(org, "POST", "/queue/mixed/jobs", body, once)
        receipts = made.get("data", [])
        for one in receipts if isinstance(receipts, list) else [receipts]:
            if one["id"] not in (*SHARED, *self.mine[org]):
                self.mine[org].append(one["id"])

    async def work(self, kind: str) -> None:
        claimed, _ = await self.claims.claim(await self.claims.link(), 3)
        endings = [
            Ending(claim, "complete", result=b'{"vcJwt":"x"}')
            if kind == "work"
            else Ending(claim, "fail", history=_history(claim.job.name))
            for claim in claimed.claims
        ]
        if endings:
            await self.claims.send([command for command, _ in self.claims.settle(endings)])

    async def do(self, org: str, operation: str, pick: int) -> None:
        if operation in ASIDE:
            await self.aside(org, operation, pick)
        elif operation.startswith("submit") or operation in ("batch", "lines"):
            await self.submit(org, operation, pick)
        elif operation.startswith("work"):
            await self.work(operation)
        elif operation in ONE_JOB:
            await self.one(org, operation, self.of(org, pick))
        elif operation in MANY:
            await self.many(org, operation, pick)
        else:
            await self.look(org, operation, pick)

    async def aside(self, org: str, operation: str, pick: int) -> None:
        """What is no job."""
        other, word = ORGS[1 - ORGS.index(org)], f"canary-{org}"
        if operation in LISTS:
            await self.ask(org, "GET", LISTS[operation])
        elif operation == "suppress":
            body = {"address": f"{word}@example.com", "reason": word}
            told = await self.ask(org, "POST", "/mail/suppressions", body, "k0")
            assert told["success"], "the other's key counts as its own"
        elif operation == "suppressed":
            body = {"address": f"canary-{other}@example.com"}
            told = await self.ask(org, "POST", "/mail/suppressions/check", body)
            assert told["data"]["suppressed"] is False
        elif operation == "new key":
            told = await self.ask(org, "POST", "/keys", {"name": word, "role": "viewer"}, "k0")
            assert told["success"], "the other's key counts as its own"
        else:
            body = {"ids": [self.of(org, pick)]}
            await self.ask(org, "POST", "/queue/mixed/jobs/retry", body, "k1")

    async def one(self, org: str, verb: str, job_id: str) -> None:
        path = f"/queue/mixed/job/{job_id}"
        method, tail = {"get": ("GET", ""), "remove": ("DELETE", "")}.get(
            verb, ("GET" if verb in ("logs", "attempts", "why") else "POST", f"/{verb}")
        )
        body = None
        if verb == "priority":
            method, body = "PUT", {"priority": 1}
        told = await self.ask(org, method, path + tail, body)
        if job_id in self.mine[ORGS[1 - ORGS.index(org)]] or job_id == "nothing":
            assert told["code"] == "job_not_found"
            assert told["detail"] == "The queue holds no job with this id."

    async def many(self, org: str, verb: str, pick: int) -> None:
        path = "dead-letters/redrive" if verb == "redrive" else f"jobs/{verb.removeprefix('bulk ')}"
        everybody = [*self.mine["org-a"], *self.mine["org-b"], *SHARED]
        body = {"ids": everybody[:900]}
        if pick % 2:
            described = {} if verb == "redrive" else {"status": list(State)[pick % 5]}
            body = {"filter": described}  # type: ignore[dict-item]
        before = await self.owned(ORGS[1 - ORGS.index(org)])
        await self.ask(org, "POST", f"/queue/mixed/{path}", body)
        assert await self.owned(ORGS[1 - ORGS.index(org)]) == before, "it touched another's job"

    async def look(self, org: str, what: str, pick: int) -> None:
        if what == "list":
            await self.ask(org, "GET", f"/queue/mixed/jobs?status={list(State)[pick % 5]}&end=-1")
        elif what == "dead letters":
            await self.ask(org, "GET", "/queue/mixed/dead-letters")
        elif what == "filter":
            body = {"filter": {"status": list(State)[pick % 5]}, "dryRun": True}
            told = await self.ask(org, "POST", "/queue/mixed/jobs/remove", body)
            assert told["data"]["scanned"] == told["data"]["matched"]
        elif what == "batch results":
            ids = [*self.batches["org-a"], *self.batches["org-b"], "none"]
            await self.ask(org, "GET", f"/batches/{ids[pick % len(ids)]}/results")
        else:
            await self.counts(org)

    async def counts(self, org: str) -> None:
        """What a tenant is told about numbers is about its own jobs."""
        told = (await self.ask(org, "GET", "/queue/mixed/stats"))["data"]
        owned = await self.owned(org)
        assert {state: told[state] for state in State} == {
            state: sum(where == state for where in owned.values()) for state in State
        }
        assert told["complete"] is True
        every = (await self.ask(org, "GET", "/queue/stats"))["data"]
        assert next(one for one in every if one["name"] == "mixed")["total"] == len(owned)

    async def owned(self, org: str) -> dict[str, State]:
        """Whose jobs lie where, as the engine knows it."""
        found: dict[str, State] = {}
        for state in State:
            for job in await self.queue.page(state, 0, 900):
                if job.data["organizationId"] == org:
                    found[job.id] = state
        return found


def _history(word: str) -> bytes:
    text = f'[{{"attempt":1,"reason":"failed","message":"{word} went wrong","at":1}}]'
    return text.encode()


@asynccontextmanager
async def town(redis: Redis) -> AsyncIterator[Town]:
    """A gateway with both tenants listening to all events all the time."""
    await Queue(SPEC, redis).register()
    scopes = [scope.value for scope in GRANTED]
    async with (
        listening(create_app(redis, SETTINGS)) as (_, port),
        contextlib.AsyncExitStack() as stack,
    ):
        calls: dict[str | None, ClientSession] = {}
        for org in (*ORGS, None):
            headers = bearer(await key(redis, scopes, org))
            session = ClientSession(f"http://localhost:{port}", headers=headers)
            calls[org] = await stack.enter_async_context(session)
        yield Town(redis, calls)


async def _play(url: str, operations: list[tuple[str, str, int]]) -> None:
    redis = connect(url)
    try:
        async with town(redis) as place:
            heard: dict[str, bytearray] = {org: bytearray() for org in ORGS}
            streams = [asyncio.create_task(_listen(place.calls[org], heard[org])) for org in ORGS]
            for org, operation, pick in operations:
                await place.do(org, operation, pick)
            for org in ORGS:
                await place.counts(org)
                # The last thing that happens is its own, so all that came before has been told.
                mark = place.job(org, jobId=f"mark-{org}")
                await place.ask(org, "POST", "/queue/mixed/jobs", mark)
                async with asyncio.timeout(20):
                    while f"mark-{org}".encode() not in heard[org]:
                        await asyncio.sleep(0.01)
                place.check(org, heard[org].decode(), "")
            for stream in streams:
                stream.cancel()
            await asyncio.gather(*streams, return_exceptions=True)
    finally:
        await redis.close()


async def _listen(http: ClientSession, heard: bytearray) -> None:
    async with http.get("/events?queue=mixed&lastEventId=0-0") as response:
        assert response.status == 200
        async for chunk in response.content.iter_any():
            heard += chunk


@pytest.fixture
def emptied(redis_backend: Server | Cluster) -> Server | Cluster:
    """The server of this run, to be emptied before each example."""
    return redis_backend


OPERATION = st.tuples(st.sampled_from(ORGS), st.sampled_from(OPERATIONS), st.integers(0, 50))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(OPERATION, min_size=5, max_size=40))
def test_neither_learns_anything_of_the_other(
    emptied: Any, operations: list[tuple[str, str, int]]
) -> None:
    emptied.flush()
    asyncio.run(_play(emptied.url, operations))


async def test_every_operation_at_least_once(redis_url: str) -> None:
    """What the random operations are made of, one after the other."""
    both = [(org, operation, pick) for operation in OPERATIONS for org in ORGS for pick in (0, 5)]
    await _play(redis_url, [*both, *both])


@pytest.fixture
async def place(redis: Redis) -> AsyncIterator[Town]:
    async with town(redis) as made:
        yield made


async def test_an_id_that_another_tenant_uses_is_free(place: Town) -> None:
    job = place.job("org-a", jobId="mine", delay=9_999)
    assert (await place.ask("org-a", "POST", "/queue/mixed/jobs", job))["success"]
    for deduplicated in (False, True):
        for body in (
            place.job("org-b", jobId="mine"),
            [place.job("org-b", jobId="mine-too"), place.job("org-b", jobId="mine")],
        ):
            told = await place.ask("org-b", "POST", "/queue/mixed/jobs", body)
            last = told["data"][-1] if isinstance(body, list) else told["data"]
            assert last["id"] == "mine"
            assert last["deduplicated"] is (deduplicated or isinstance(body, list))
    assert (await place.queue.counts()).total == 3
    assert (await place.ask("org-a", "POST", "/queue/mixed/jobs", job))["data"]["deduplicated"]


@pytest.mark.parametrize("named", ["org-b", "", None, 7, "ORG-A"])
async def test_a_tenant_submits_in_its_own_name(place: Town, named: Any) -> None:
    job = place.job("org-a")
    job["data"]["organizationId"] = named
    if named is None:
        del job["data"]["organizationId"]
    for body in (job, [place.job("org-a"), job]):
        async with place.calls["org-a"].post("/queue/mixed/jobs", json=body) as response:
            told = await response.json(content_type=None)
        assert (told["status"], told["code"]) == (403, "other_organization")
    async with place.calls["org-a"].post(
        "/queue/mixed/batches", json={"jobs": [{"data": job["data"]}]}
    ) as response:
        assert response.status == 403
    assert (await place.queue.counts()).total == 0


@pytest.mark.parametrize(
    "path",
    [
        *(f"/queue/mixed/jobs/{verb}" for verb in ("cancel", "retry", "remove", "promote")),
        "/queue/mixed/dead-letters/redrive",
        "/queue/mixed/dead-letters?organizationId=org-b",
        "/audit?organizationId=org-b",
    ],
)
async def test_a_filter_that_names_another_tenant_is_not_about_ones_own(
    place: Town, path: str
) -> None:
    await place.ask("org-a", "POST", "/queue/mixed/jobs", place.job("org-a"))
    method = "GET" if "?" in path else "POST"
    for named, status in (("org-b", 403), ("org-a", 200)):
        described = {"organizationId": named, "status": "waiting"}
        if "dead" in path:
            del described["status"]
        body = {"filter": described} if method == "POST" else None
        call = place.calls["org-a"].request
        async with call(method, path.replace("org-b", named), json=body) as response:
            told = await response.json(content_type=None)
            assert response.status == status, told
        if status == 403:
            assert told["code"] == "other_organization"
            assert (await place.queue.counts()).waiting == 1


@pytest.mark.parametrize("verb", ["pause", "resume", "clean"])
async def test_whole_queues_are_the_platforms(place: Town, verb: str) -> None:
    async with place.calls["org-a"].post(f"/queue/mixed/{verb}") as response:
        assert (await response.json(content_type=None))["code"] == "platform_only"
    async with place.calls[None].post(f"/queue/mixed/{verb}") as response:
        assert response.status == 200


async def test_the_platform_counts_everybody(place: Town) -> None:
    for org in ORGS:
        await place.ask(org, "POST", "/queue/mixed/jobs", place.job(org))
    async with place.calls[None].get("/queue/mixed/stats") as response:
        assert (await response.json())["data"]["waiting"] == 2


async def test_counting_ends_somewhere_and_says_so(
    place: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_counts, "SCAN_JOBS", 3)
    for _ in range(3):
        await place.ask("org-b", "POST", "/queue/mixed/jobs", place.job("org-b"))
    await place.ask("org-a", "POST", "/queue/mixed/jobs", place.job("org-a"))
    told = (await place.ask("org-a", "GET", "/queue/mixed/stats"))["data"]
    assert (told["waiting"], told["complete"]) == (0, False)


async def test_who_submits_again_and_waits_reads_no_others_job(place: Town, serve: Serve) -> None:
    await place.ask("org-a", "POST", "/queue/mixed/jobs", place.job("org-a", jobId="mine"))
    await place.work("work")
    headers = {"Prefer": "wait=1"}
    body = place.job("org-b", jobId="mine")
    async with place.calls["org-b"].post(
        "/queue/mixed/jobs", json=body, headers=headers
    ) as response:
        text = await response.text()
    assert response.status == 202
    assert not re.search("canary-org-a", text)
