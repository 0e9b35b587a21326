"""Bad input gets a 4xx that points at the field, and nothing is queued."""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from io import BytesIO
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from aiohttp import ClientSession
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.app import create_app
from gateway.server import listening
from gateway.settings import GatewaySettings
from streams import Queue, Redis, connect
from tests.gateway.documents import BODIES, within
from tests.gateway.samples import ISSUANCE

JSON = {"Content-Type": "application/json"}
MIB = 1024 * 1024


def job(**options: Any) -> bytes:
    return orjson.dumps({"data": ISSUANCE, "options": options})


def payload(**changes: Any) -> bytes:
    return orjson.dumps({"data": {**ISSUANCE, **changes}})


def without(member: str) -> bytes:
    return orjson.dumps({"data": {k: v for k, v in ISSUANCE.items() if k != member}})


def with_claims(text: bytes) -> bytes:
    return payload(claims={"x": "HERE"}).replace(b'"HERE"', text)


UNFIT = {
    "priority 11": (job(priority=11), {"/options/priority"}),
    "priority -1": (job(priority=-1), {"/options/priority"}),
    "priority 1.5": (job(priority=1.5), {"/options/priority"}),
    "priority as text": (job(priority="5"), {"/options/priority"}),
    "priority true": (job(priority=True), {"/options/priority"}),
    "negative delay": (job(delay=-1), {"/options/delay"}),
    "endless delay": (job(delay=2**60), {"/options/delay"}),
    "no attempts": (job(attempts=0), {"/options/attempts"}),
    "unknown backoff": (job(backoff={"type": "never"}), {"/options/backoff/type"}),
    "negative backoff": (job(backoff={"delay": -5}), {"/options/backoff/delay"}),
    "negative timeout": (job(timeout=-1), {"/options/timeout"}),
    "empty job id": (job(jobId=""), {"/options/jobId"}),
    "job id with a space": (job(jobId="a b"), {"/options/jobId"}),
    "job id with a newline": (job(jobId="a\n"), {"/options/jobId"}),
    "job id as number": (job(jobId=7), {"/options/jobId"}),
    "unknown option": (job(prioriti=1), {"/options/prioriti"}),
    "two bad options": (job(priority=11, delay=-1), {"/options/priority", "/options/delay"}),
    "options as text": (orjson.dumps({"data": ISSUANCE, "options": "x"}), {"/options"}),
    "BullMQ's opts": (orjson.dumps({"data": ISSUANCE, "opts": {}}), {"/opts"}),
    "no data": (orjson.dumps({"name": "x"}), {"/data"}),
    "data as text": (orjson.dumps({"data": "x"}), {"/data"}),
    "data as array": (orjson.dumps({"data": []}), {"/data"}),
    "empty name": (orjson.dumps({"data": ISSUANCE, "name": ""}), {"/name"}),
    "name as number": (orjson.dumps({"data": ISSUANCE, "name": 7}), {"/name"}),
    "endless name": (orjson.dumps({"data": ISSUANCE, "name": "x" * 257}), {"/name"}),
    "no issuer": (without("issuerDid"), {"/data/issuerDid"}),
    "no organisation": (without("organizationId"), {"/data/organizationId"}),
    "issuer is no DID": (payload(issuerDid="x"), {"/data/issuerDid"}),
    "claims as text": (payload(claims="x"), {"/data/claims"}),
    "bad callback": (payload(callbackUrl="ftp://example.com/"), {"/data/callbackUrl"}),
    "bad date": (payload(expirationDate="tomorrow"), {"/data/expirationDate"}),
    "unknown member": (payload(isuerDid="x"), {"/data/isuerDid"}),
    "payload and option": (
        orjson.dumps({"data": {**ISSUANCE, "userId": 7}, "options": {"delay": -1}}),
        {"/data/userId", "/options/delay"},
    ),
    "a number": (b"3", {""}),
    "null": (b"null", {""}),
    "text": (b'"job"', {""}),
}

MALFORMED = {
    "empty": b"",
    "spaces": b"  ",
    "cut off": job()[:-3],
    "single quotes": b"{'data':{}}",
    "NaN": with_claims(b"NaN"),
    "Infinity": with_claims(b"-Infinity"),
    "beyond double": with_claims(b"1e999"),
    "beyond 64 bits": with_claims(b"123456789012345678901234567890"),
    "not UTF-8": with_claims(b'"\xff"'),
    "half a surrogate": with_claims(b'"\\ud800"'),
    "twice the same member": with_claims(b'{"a":1,"a":2}'),
    "depth bomb": with_claims(b"[" * 100_000 + b"]" * 100_000),
    "65 levels": with_claims(b"[" * 62 + b"]" * 62),
    "deep members": with_claims(b'{"a":' * 62 + b"1" + b"}" * 62),
}


async def nothing_queued(redis: Redis) -> bool:
    return (await Queue("vc-issuance", redis).counts()).total == 0


@pytest.mark.parametrize("case", UNFIT)
async def test_what_does_not_fit_is_pointed_at(
    http: ClientSession, redis: Redis, case: str
) -> None:
    body, pointers = UNFIT[case]
    async with http.post("/queue/vc-issuance/jobs", data=body, headers=JSON) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["code"]) == (422, "invalid_job")
    assert {error["pointer"] for error in problem["errors"]} == pointers
    assert all(error["detail"] for error in problem["errors"])
    assert await nothing_queued(redis)


@pytest.mark.parametrize("case", UNFIT)
async def test_one_bad_job_in_an_array_refuses_all(
    http: ClientSession, redis: Redis, case: str
) -> None:
    body, pointers = UNFIT[case]
    array = b"[" + job() + b"," + body + b"," + job() + b"]"
    async with http.post("/queue/vc-issuance/jobs", data=array, headers=JSON) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["code"]) == (422, "invalid_job")
    assert {error["pointer"] for error in problem["errors"]} == {"/1" + one for one in pointers}
    assert await nothing_queued(redis)


async def test_every_bad_index_of_an_array_is_listed(http: ClientSession, redis: Redis) -> None:
    bad = {3, 500, 999}
    array: list[Any] = [{"data": {} if i in bad else ISSUANCE} for i in range(1_000)]
    array[7] = {"data": ISSUANCE, "options": {"priority": 11}}
    async with http.post("/queue/vc-issuance/jobs", json=array) as response:
        problem = await response.json(content_type="application/problem+json")
    pointers = {error["pointer"] for error in problem["errors"]}
    assert response.status == 422
    assert {int(pointer.split("/")[1]) for pointer in pointers} == bad | {7}
    assert {"/3/data/issuerDid", "/7/options/priority", "/999/data/userId"} <= pointers
    assert await nothing_queued(redis)


async def test_an_array_of_1001_is_refused(http: ClientSession, redis: Redis) -> None:
    body = b"[" + b",".join([job()] * 1_001) + b"]"
    async with http.post("/queue/vc-issuance/jobs", data=body, headers=JSON) as response:
        problem = await response.json(content_type="application/problem+json")
    assert response.status == 422
    assert "1001" in problem["errors"][0]["detail"]
    assert await nothing_queued(redis)


@pytest.mark.parametrize("case", MALFORMED)
async def test_what_is_not_strict_json_is_refused(
    http: ClientSession, redis: Redis, case: str
) -> None:
    async with http.post("/queue/vc-issuance/jobs", data=MALFORMED[case], headers=JSON) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["code"]) == (400, "malformed_body")
    assert await nothing_queued(redis)


@pytest.mark.parametrize(
    "body",
    [payload(claims={"x": "y" * 2 * MIB}), b"[" + b" " * 6 * MIB + b"]"],
    ids=["one of 2 MiB", "array of 6 MiB"],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_big_body_is_refused(
    http: ClientSession, redis: Redis, body: bytes, chunked: bool
) -> None:
    async def pieces() -> Any:
        for at in range(0, len(body), 64 * 1024):
            yield body[at : at + 64 * 1024]

    data = pieces() if chunked else BytesIO(body)
    async with http.post("/queue/vc-issuance/jobs", data=data, headers=JSON) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["code"]) == (413, "body_too_large")
    assert await nothing_queued(redis)


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/jsonx"},
        {"Content-Type": "application/octet-stream"},
        {**JSON, "Content-Encoding": "gzip"},
        {**JSON, "Content-Encoding": "br"},
    ],
)
async def test_other_media_types_and_encodings_are_refused(
    http: ClientSession, redis: Redis, headers: dict[str, str]
) -> None:
    data = iter_of(job()) if "Content-Encoding" in headers else job()
    async with http.post("/queue/vc-issuance/jobs", data=data, headers=headers) as response:
        problem = await response.json(content_type="application/problem+json")
    assert response.status == 415
    assert problem["code"] in ("unsupported_media_type", "unsupported_encoding")
    assert await nothing_queued(redis)


async def iter_of(body: bytes) -> Any:
    """A body the client does not compress, whatever the header says."""
    yield body


@pytest.mark.parametrize("name", ["nope", "VC-ISSUANCE", "a b", "%00", "x" * 100, "..%2f", "ü"])
async def test_an_unknown_queue_is_404(http: ClientSession, name: str) -> None:
    for path, method in [("jobs", "POST"), ("stats", "GET"), ("pause", "POST"), ("jobs", "GET")]:
        async with http.request(method, f"/queue/{name}/{path}") as response:
            problem = await response.json(content_type="application/problem+json")
        assert (response.status, problem["code"]) == (404, "queue_not_found")


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("status=nope", "/status"),
        ("status=", "/status"),
        ("status=paused", "/status"),
        ("status=WAITING", "/status"),
        ("status=failed&status=active", "/status"),
        ("start=-1", "/start"),
        ("start=x", "/start"),
        ("start=1e3", "/start"),
        ("start=٣", "/start"),
        ("end=x", "/end"),
        ("end=-2", "/end"),
        ("start=0&end=1001", "/end"),
        ("start=5&end=4", "/end"),
        ("start=99999999999999999999", "/start"),
        ("state=failed", "/state"),
    ],
)
async def test_a_bad_page_is_refused(http: ClientSession, query: str, pointer: str) -> None:
    async with http.get(f"/queue/vc-issuance/jobs?{query}") as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["code"]) == (400, "invalid_query")
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


async def test_a_page_beyond_10000_is_refused_in_words(http: ClientSession) -> None:
    async with http.get("/queue/vc-issuance/jobs?start=20000&end=20010") as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["code"]) == (400, "page_too_deep")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"grace":-1}', "/grace"),
        (b'{"grace":"1h"}', "/grace"),
        (b'{"status":"waiting"}', "/status"),
        (b'{"status":"active"}', "/status"),
        (b'{"gracee":1}', "/gracee"),
        (b"[]", ""),
    ],
)
async def test_a_bad_clean_is_refused(http: ClientSession, body: bytes, pointer: str) -> None:
    async with http.post("/queue/vc-issuance/clean", data=body, headers=JSON) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["code"]) == (422, "invalid_request")
    assert [error["pointer"] for error in problem["errors"]] == [pointer]


async def test_retry_in_the_wrong_state_is_409(
    http: ClientSession, queue: Queue, issuance: dict[str, Any]
) -> None:
    added = await queue.add("issue", issuance)
    async with http.post(f"/queue/vc-issuance/job/{added.id}/retry") as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["code"]) == (409, "wrong_state")
    assert "waiting" in problem["detail"]
    assert (await queue.counts()).waiting == 1


PLACES = [
    *(payload(claims="HERE"), payload(issuerDid="HERE"), payload(callbackUrl="HERE")),
    *(job(jobId="HERE"), job(delay="HERE"), job(removeOnFail="HERE"), job(backoff="HERE")),
    *(b'{"data": "HERE"}', b'{"data": {}, "name": "HERE"}', b'["HERE", "HERE"]'),
]
ROUTES = [
    *("/queue/vc-issuance/jobs", "/queue/reports/jobs", "/queue/vc-issuance/batches"),
    *("/queue/emails/clean", "/queue/emails/jobs/remove", "/queue/emails/dead-letters/redrive"),
    *("/keys", "/webhooks/replay", "/mail/suppressions", "/credentials/issue"),
    *("/credentials/verify", "/presentations/verify", "/dashboard/login", "/dashboard/add/emails"),
    *("/dashboard/queue/emails/jobs/retry", "/dashboard/keys"),
]
INSIDE = re.compile(
    rb"Traceback|WRONGTYPE|\bERR |NOSCRIPT|redis|\.lua|pydantic|orjson|gateway\.|streams\.|0x\w{8}",
    re.IGNORECASE,
)
"""What only somebody inside should read."""


async def refused_or_done(http: ClientSession, method: str, path: str, body: bytes) -> None:
    """Whatever is sent: an answer that is no accident and tells nothing from inside."""
    headers = JSON | {"Accept": "*/*"}
    async with http.request(method, path, data=BytesIO(body), headers=headers) as response:
        text = await response.read()
        assert response.status < 500, (path, body[:200], text[:500])
        assert len(text) < 64 * 1024, (path, body[:200])
        if response.status >= 400:
            assert not INSIDE.search(text), (path, body[:200], text[:500])
            assert response.content_type == "application/problem+json"
            assert {"status", "code", "detail"} <= orjson.loads(text).keys()


@pytest.fixture(scope="module")
def one_gateway(redis_backend: Any) -> Iterator[Callable[[Any], None]]:
    """Runs a client's work against one gateway for all examples of a test."""
    redis_backend.flush()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def begin() -> ClientSession:
            redis = connect(redis_backend.url)
            stack.push_async_callback(redis.close)
            await Queue("reports", redis).register()
            app = create_app(redis, GatewaySettings(host="127.0.0.1", port=0))
            _, port = await stack.enter_async_context(listening(app))
            return await stack.enter_async_context(ClientSession(f"http://localhost:{port}"))

        http = runner.run(begin())
        yield lambda work: runner.run(work(http))
        runner.run(stack.aclose())


@pytest.mark.parametrize("path", ROUTES)
@settings(max_examples=60)
@given(body=BODIES)
def test_any_bytes_are_answered_and_tell_nothing_from_inside(
    one_gateway: Any, path: str, body: bytes
) -> None:
    one_gateway(lambda http: refused_or_done(http, "POST", path, body))


@pytest.mark.parametrize("place", range(len(PLACES)))
@settings(max_examples=60)
@given(data=st.data())
def test_any_value_in_a_job_is_answered_and_tells_nothing_from_inside(
    one_gateway: Any, place: int, data: st.DataObject
) -> None:
    body = data.draw(within(PLACES[place].decode()))
    for path in ("/queue/vc-issuance/jobs", "/queue/reports/jobs"):
        one_gateway(partial(refused_or_done, method="POST", path=path, body=body))


@pytest.mark.parametrize(
    "path", ["/queue/{}/jobs", "/queue/emails/job/{}", "/batches/{}", "/queue/emails/jobs?name={}"]
)
@settings(max_examples=60)
@given(text=st.text(min_size=1, max_size=60))
def test_any_text_in_an_address_is_answered(one_gateway: Any, path: str, text: str) -> None:
    url = path.format(quote(text, safe=""))
    one_gateway(lambda http: refused_or_done(http, "GET", url, b""))
