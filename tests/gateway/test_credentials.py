"""Revoking and suspending for operators, and the signed lists for everybody."""

import asyncio
import base64
import json
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from aiohttp import ClientSession
from cutting import CutOff
from processes import until
from yarl import URL

from consumers import Worker
from consumers.custody import Custody
from consumers.processors import status_lists as processor
from consumers.status_lists import StatusLists
from credentials import bitstring
from credentials.keyring import Keyring
from gateway import credentials as routes
from gateway.principal import Scope
from schemas.job import State
from schemas.queues.status_lists import SPEC
from schemas.status import PURPOSES
from streams import Queue, Redis, errors, keys, status
from tests.gateway.callers import tenants

ORG, OTHER = "org-a", "org-b"
ID = "urn:uuid:6f0f4f63-2c39-5d2b-9c0e-6c1f1d0a7c55"
VERBS = ("revoke", "unrevoke", "suspend", "unsuspend")
Issue = Callable[..., Any]


@pytest.fixture
async def lists(redis: Redis) -> StatusLists:
    ring = Keyring.parse(f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}")
    return StatusLists(redis, Custody(redis, ring), "http://localhost:3000", ttl_ms=90_000)


@pytest.fixture
async def issuer(lists: StatusLists) -> str:
    return await lists.custody.create_did_key(("made", "for", "tests"), ORG)


@pytest.fixture
def issue(lists: StatusLists, issuer: str) -> Issue:
    """`await issue(id, purposes)`: entries of a credential, as an issuance job gets them."""

    async def issued(credential_id: str = ID, purposes: Any = PURPOSES) -> list[dict[str, Any]]:
        return await lists.assign(credential_id, issuer, ORG, purposes, (credential_id,))

    return issued


@pytest.fixture
async def worker(redis: Redis, lists: StatusLists) -> AsyncIterator[None]:
    """Somebody who signs and publishes."""
    working = Worker(processor.PROCESSOR, redis=redis)
    working.state = lists
    async with working:
        yield


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests have no worker, so nothing is worth waiting for."""
    monkeypatch.setattr(routes, "PATIENCE_S", 0.01)


async def ask(
    http: ClientSession, verb: str, credential_id: str = ID, **kwargs: Any
) -> tuple[int, dict[str, Any]]:
    path = f"/credentials/{quote(credential_id, safe='')}/{verb}"
    method = "GET" if verb == "status" else "POST"
    base = str(http._base_url).rstrip("/")
    async with http.request(method, URL(base + path, encoded=True), **kwargs) as answer:
        document: dict[str, Any] = await answer.json(content_type=None)
        assert (answer.status == 200) == document["success"]
        return answer.status, document["data"] if answer.status == 200 else document


async def published(redis: Redis, credential_id: str = ID) -> None:
    """Wait until the served lists say what is decided."""
    record = await status.find(redis, credential_id)
    assert record is not None

    async def there() -> bool:
        states = await status.states(redis, record.places)
        return all(state.published == state.version for state in states.values())

    await until(there, within_s=20, what="the lists are published")


async def states_of(redis: Redis, credential_id: str = ID) -> dict[Any, status.State]:
    """What is decided about a credential."""
    record = await status.find(redis, credential_id)
    assert record is not None
    return await status.states(redis, record.places)


async def fetched(http: ClientSession, entry: dict[str, Any]) -> tuple[Any, Any]:
    """Headers and bitstring of the list that an entry names."""
    path = URL(entry["statusListCredential"]).path
    async with http.get(path) as answer:
        assert answer.status == 200
        body = (await answer.text()).split(".")[1]
        credential = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        assert credential["id"] == entry["statusListCredential"]
        return answer.headers, bitstring.decode(credential["credentialSubject"]["encodedList"])


async def test_the_status_of_a_credential(http: ClientSession, issue: Issue, issuer: str) -> None:
    entries = await issue()
    assert await ask(http, "status") == (
        200,
        {
            "credentialId": ID,
            "issuer": issuer,
            "organizationId": ORG,
            "revoked": False,
            "suspended": False,
            "published": True,
            "entries": [
                {
                    name: entry[name]
                    for name in ("statusPurpose", "statusListCredential", "statusListIndex")
                }
                for entry in entries
            ],
        },
    )


@pytest.mark.usefixtures("worker")
async def test_a_revocation_is_in_the_list_that_the_world_reads(
    http: ClientSession, redis: Redis, issue: Issue
) -> None:
    (entry,) = await issue(ID, ["revocation"])
    index = bitstring.index(entry["statusListIndex"])
    before, bits = await fetched(http, entry)
    assert not bitstring.bit(bits, index)
    code, now = await ask(http, "revoke")
    assert (code, now["revoked"], now["suspended"]) == (200, True, False)
    await published(redis)
    after, bits = await fetched(http, entry)
    assert bitstring.bit(bits, index)
    assert sum(byte.bit_count() for byte in bits) == 1
    assert before["ETag"] != after["ETag"]
    assert (await ask(http, "status"))[1]["published"]


@pytest.mark.usefixtures("worker")
async def test_a_suspension_comes_and_goes(http: ClientSession, redis: Redis, issue: Issue) -> None:
    _, entry = await issue()
    index = bitstring.index(entry["statusListIndex"])
    for verb, expected in (("suspend", True), ("unsuspend", False), ("suspend", True)):
        code, now = await ask(http, verb)
        assert (code, now["revoked"], now["suspended"]) == (200, False, expected)
        await published(redis)
        assert bitstring.bit((await fetched(http, entry))[1], index) == expected


@pytest.mark.usefixtures("worker")
async def test_an_answer_may_wait_until_the_world_can_see_it(
    http: ClientSession, issue: Issue
) -> None:
    (entry,) = await issue(ID, ["revocation"])
    code, now = await ask(http, "revoke", headers={"Prefer": "wait=20"})
    assert (code, now["published"]) == (200, True)
    _, bits = await fetched(http, entry)
    assert bitstring.bit(bits, bitstring.index(entry["statusListIndex"]))


async def test_the_same_change_twice_is_one_change(
    http: ClientSession, redis: Redis, raw: Any, issue: Issue
) -> None:
    await issue()
    answers = [await ask(http, "revoke") for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    record = await status.find(redis, ID)
    assert record is not None
    assert (await status.states(redis, record.places))["revocation"].version == 2
    assert raw.xlen(keys.status_list(record.pool)["audit"]) == 1
    assert (await Queue(SPEC, redis).counts()).waiting == 1


async def test_a_revocation_is_final(http: ClientSession, issue: Issue) -> None:
    await issue()
    assert (await ask(http, "unrevoke"))[1]["code"] == "credential_revoked"
    await ask(http, "suspend")
    await ask(http, "revoke")
    for verb in ("unrevoke", "unsuspend", "suspend"):
        code, problem = await ask(http, verb)
        assert (code, problem["code"]) == (409, "credential_revoked")
    _, now = await ask(http, "status")
    assert (now["revoked"], now["suspended"]) == (True, True)


async def test_what_it_was_not_issued_with_cannot_change(http: ClientSession, issue: Issue) -> None:
    await issue(ID, ["revocation"])
    await issue("urn:uuid:2", ["suspension"])
    for credential_id, verb in ((ID, "suspend"), (ID, "unsuspend"), ("urn:uuid:2", "revoke")):
        code, problem = await ask(http, verb, credential_id)
        assert (code, problem["code"]) == (409, "no_such_status")
    assert (await ask(http, "suspend", "urn:uuid:2"))[0] == 200


@pytest.mark.parametrize(
    "credential_id",
    [
        "https://issuer.example/credentials/3732?a=b&c=d#e",
        "https://issuer.example/100%25",
        "urn:x:%2F..%2F",
        "urn:x:" + "a" * 2_042,
    ],
    ids=["url", "percent", "dots", "long"],
)
async def test_the_id_is_percent_encoded_in_the_path(
    http: ClientSession, issue: Issue, credential_id: str
) -> None:
    await issue(credential_id)
    code, now = await ask(http, "revoke", credential_id)
    assert (code, now["credentialId"], now["revoked"]) == (200, credential_id, True)


@pytest.mark.parametrize("verb", ["status", *VERBS])
async def test_an_unknown_credential_is_not_found(
    http: ClientSession, issue: Issue, verb: str
) -> None:
    await issue()
    for unknown in ("urn:uuid:unknown", ID + "x", "x" * 3_000):
        code, problem = await ask(http, verb, unknown)
        assert (code, problem["code"]) == (404, "credential_not_found")


@pytest.mark.parametrize("verb", ["status", *VERBS])
async def test_anothers_credential_does_not_exist(redis: Redis, issue: Issue, verb: str) -> None:
    await issue()
    async with tenants(redis, OTHER) as (stranger,):
        code, foreign = await ask(stranger, verb)
        _, missing = await ask(stranger, verb, "urn:uuid:unknown")
    assert code == 404
    told = ("type", "title", "status", "detail", "code", "errors")
    assert {name: foreign[name] for name in told} == {name: missing[name] for name in told}
    record = await status.find(redis, ID)
    assert record is not None
    states = await status.states(redis, record.places)
    assert not any(state.is_set for state in states.values())
    assert (await Queue(SPEC, redis).counts()).total == 0


async def test_a_tenant_acts_on_its_own_and_the_deed_is_recorded(
    raw: Any, redis: Redis, issue: Issue
) -> None:
    await issue()
    async with tenants(redis, ORG) as (tenant,):
        for verb, reason in (("suspend", "under review"), ("unsuspend", None), ("revoke", "fraud")):
            code, _ = await ask(
                tenant, verb, json={"reason": reason}, headers={"X-Request-Id": f"r-{verb}"}
            )
            assert code == 200
        assert (await ask(tenant, "unsuspend"))[0] == 409
    (stream,) = raw.scan_iter("cs:status:*:audit")
    deeds = [orjson.loads(fields[b"a"]) for _, fields in raw.xrange(stream)]
    assert [(deed["action"], deed["parameters"], deed["requestId"]) for deed in deeds] == [
        ("credential.suspend", {"reason": "under review"}, "r-suspend"),
        ("credential.unsuspend", {}, "r-unsuspend"),
        ("credential.revoke", {"reason": "fraud"}, "r-revoke"),
    ]
    for deed in deeds:
        assert (deed["actor"], deed["keyId"], deed["target"]) == ("someone", "key-1", ID)
        assert (deed["organizationId"], deed["address"]) == (ORG, "127.0.0.1")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"reason": 5}', "invalid_request"),
        (b'{"reason": "' + b"x" * 257 + b'"}', "invalid_request"),
        (b'{"why": "x"}', "invalid_request"),
        (b"[]", "invalid_request"),
        (b"{", "malformed_body"),
    ],
)
async def test_a_body_that_does_not_fit_changes_nothing(
    http: ClientSession, issue: Issue, body: bytes, code: str
) -> None:
    await issue()
    headers = {"Content-Type": "application/json"}
    answer, problem = await ask(http, "revoke", data=body, headers=headers)
    assert (answer, problem["code"]) == (400 if code == "malformed_body" else 422, code)
    assert not (await ask(http, "status"))[1]["revoked"]


async def test_a_list_is_served_for_caches(http: ClientSession, issue: Issue) -> None:
    (entry,) = await issue(ID, ["revocation"])
    headers, _ = await fetched(http, entry)
    assert headers["Content-Type"] == "application/vc+jwt"
    assert headers["Cache-Control"] == "public, max-age=90"
    assert headers["Access-Control-Allow-Origin"] == "*"
    etag, path = headers["ETag"], URL(entry["statusListCredential"]).path
    async with http.head(path) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Length"] == headers["Content-Length"]
        assert answer.headers["ETag"] == etag
        assert await answer.read() == b""
    for known, code in (
        (etag, 304),
        (f"W/{etag}", 304),
        (f'"other", {etag}', 304),
        ("*", 304),
        ('"other"', 200),
        ("garbage", 200),
    ):
        for method in ("GET", "HEAD"):
            async with http.request(method, path, headers={"If-None-Match": known}) as answer:
                assert answer.status == code, known
                assert answer.headers["ETag"] == etag
                assert answer.headers["Cache-Control"] == "public, max-age=90"
                if code == 304:
                    assert await answer.read() == b""


@pytest.mark.parametrize(
    "name", ["x", "a" * 26 + "-" + "b" * 13, "A" * 26 + "-" + "B" * 13, "%2e%2e%2fpool"]
)
async def test_a_list_that_is_not_there(http: ClientSession, name: str) -> None:
    async with http.get(
        URL(f"{str(http._base_url).rstrip('/')}/status-lists/{name}", encoded=True)
    ) as answer:
        assert answer.status == 404
        assert (await answer.json(content_type=None))["code"] == "status_list_not_found"


def test_who_may_call() -> None:
    needs = {(route.method, route.path): route.needs for route in routes.ROUTES}
    assert needs == {
        **{("POST", f"/credentials/{{id}}/{verb}"): Scope.OPERATE for verb in VERBS},
        ("GET", "/credentials/{id}/status"): Scope.READ,
        ("GET", "/status-lists/{id}"): Scope.PUBLIC,
    }
    assert not any(route.platform_only for route in routes.ROUTES)


@pytest.mark.usefixtures("worker")
async def test_many_revocations_at_once_are_all_in_the_list(
    http: ClientSession, redis: Redis, issue: Issue
) -> None:
    names = [f"urn:uuid:{n}" for n in range(40)]
    entries = [(await issue(name, ["revocation"]))[0] for name in names]
    answers = await asyncio.gather(*(ask(http, "revoke", name) for name in names[:30]))
    assert {code for code, _ in answers} == {200}
    await published(redis, names[0])
    _, bits = await fetched(http, entries[0])
    assert (await states_of(redis, names[0]))["revocation"].published == 31
    revoked = [bitstring.bit(bits, bitstring.index(e["statusListIndex"])) for e in entries]
    assert revoked == [True] * 30 + [False] * 10


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_cut_off_at_any_call_what_was_flipped_is_published(
    redis: Redis, lists: StatusLists, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """The gateway dies between flip and job, or anywhere else; nobody asks again."""
    monkeypatch.setattr(routes, "SLOT_MS", 500)
    monkeypatch.setattr(routes, "MARGIN_MS", 500)
    wanted: Any = ("revocation", True)

    async def revoke(name: str, line: Redis) -> status.Record:
        # A list of its own for each, so that no other change publishes it.
        did = await lists.custody.create_did_key((name,), ORG)
        await lists.assign(name, did, ORG, PURPOSES, ("job",))
        record = await status.find(redis, name)
        assert record is not None
        await routes.change(Queue(SPEC, line), record, wanted, ORG, b"")
        return record

    whole = CutOff(redis)
    await revoke("urn:cut:0", whole)
    calls = whole.calls
    assert calls >= 4
    for at in range(1, calls + 1):
        line = CutOff(redis, at - 1, after=after, once=True)
        with pytest.raises(errors.Unavailable):
            await revoke(f"urn:cut:{at}", line)
    flipped = []
    working = Worker(processor.PROCESSOR, redis=redis)
    working.state = lists
    async with working:
        for at in range(calls + 1):
            await published(redis, f"urn:cut:{at}")
            record = await status.find(redis, f"urn:cut:{at}")
            assert record is not None
            state = (await status.states(redis, record.places))["revocation"]
            assert (state.version, state.published) == ((2, 2) if state.is_set else (1, 1))
            flipped.append(state.is_set)
    # The last call adds the job that publishes at once, the one before it flips.
    assert flipped == [True] + [False] * (calls - 1 - after) + [True] * (1 + after)


async def test_a_flip_that_came_too_late_begins_again(
    redis: Redis, issue: Issue, monkeypatch: pytest.MonkeyPatch
) -> None:
    await issue()
    record = await status.find(redis, ID)
    assert record is not None
    now_ms, stood_still = status.now_ms, [60_000, 60_000]

    async def slow(*args: Any) -> int:
        return await now_ms(*args) - (stood_still.pop() if stood_still else 0)

    monkeypatch.setattr(status, "now_ms", slow)
    queue = Queue(SPEC, redis)
    flipped = await routes.change(queue, record, ("suspension", True), ORG, b"")
    assert (flipped.word, stood_still) == ("OK", [])
    stood_still += [60_000] * routes.ATTEMPTS
    with pytest.raises(errors.Unavailable):
        await routes.change(queue, record, ("revocation", True), ORG, b"")
    assert not (await status.states(redis, record.places))["revocation"].is_set


async def test_the_job_that_looks_comes_after_the_last_moment_of_a_flip(
    redis: Redis, issue: Issue
) -> None:
    await issue()
    record = await status.find(redis, ID)
    assert record is not None
    queue = Queue(SPEC, redis)
    before_ms = await status.now_ms(redis, record)
    until_ms = await routes._look_later(queue, record, record.places["revocation"].list_id, ORG)
    again_ms = await routes._look_later(queue, record, record.places["revocation"].list_id, ORG)
    jobs = await queue.page(State.DELAYED)
    assert len(jobs) == (1 if until_ms == again_ms else 2)
    assert until_ms > before_ms
    for job in jobs:
        assert job.delay_until is not None
        assert job.delay_until >= until_ms
