"""What RFC 9110 and RFC 9112 ask of a server, byte by byte."""

import asyncio
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession

from gateway.app import TABLE
from gateway.openapi import document
from schemas.spec import catalog
from streams import Queue, Redis
from tests.gateway.callers import bearer, key
from tests.gateway.samples import ISSUANCE

HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JOBS = b"POST /queue/vc-issuance/jobs HTTP/1.1\r\n"


async def dial(http: ClientSession) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = http._base_url
    assert url is not None
    assert url.host is not None
    return await asyncio.open_connection(url.host, url.port)


async def said(http: ClientSession, *sent: bytes) -> bytes:
    """All that is answered to these bytes until the connection is closed."""
    reader, writer = await dial(http)
    async with asyncio.timeout(20):
        writer.write(b"".join(sent))
        answer = await reader.read()
    writer.close()
    return answer


async def told(http: ClientSession, *sent: bytes) -> tuple[int, Any]:
    """Status and document of the only answer."""
    head, _, body = (await said(http, *sent)).partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), orjson.loads(body) if body else None


CLOSE = b"Connection: close\r\n"


@pytest.mark.parametrize(
    ("line", "headers", "status"),
    [
        (JOBS, JSON + b"Content-Length: 20000000\r\n", 413),
        (JOBS, b"Content-Type: text/plain\r\nContent-Length: 20\r\n", 415),
        (JOBS, JSON + b"Content-Encoding: gzip\r\nContent-Length: 20\r\n", 415),
        (b"POST /queue/emails/clean HTTP/1.1\r\n", JSON + b"Content-Length: 16385\r\n", 413),
        (b"POST /queue/nope/jobs HTTP/1.1\r\n", JSON + b"Content-Length: 20\r\n", 404),
        (b"POST /nope HTTP/1.1\r\n", JSON + b"Content-Length: 20\r\n", 404),
        (b"PATCH /queue HTTP/1.1\r\n", JSON + b"Content-Length: 20\r\n", 405),
        (JOBS, JSON + b"X-API-Key: cs_x\r\nContent-Length: 20\r\n", 401),
    ],
)
async def test_nobody_is_asked_for_a_body_that_is_refused(
    http: ClientSession, line: bytes, headers: bytes, status: int
) -> None:
    """And the connection ends, for nobody can tell whether the body still comes (9110, 10.1.1)."""
    reader, writer = await dial(http)
    writer.write(line + HOST + headers + b"Expect: 100-continue\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in head
    writer.close()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("lines", [False, True])
async def test_who_waits_is_asked_for_the_body_once(
    http: ClientSession, redis: Redis, chunked: bool, lines: bool
) -> None:
    body = orjson.dumps({"data": ISSUANCE})
    kind = b"Content-Type: application/x-ndjson\r\n" if lines else JSON
    size = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n" % len(body)
    reader, writer = await dial(http)
    writer.write(JOBS + HOST + kind + size + b"Expect: 100-Continue\r\n\r\n")
    async with asyncio.timeout(20):
        assert await reader.readuntil(b"\r\n\r\n") == CONTINUE
        writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 " if lines else b"HTTP/1.1 202 ")
    assert b"Connection: close" not in head
    writer.close()
    assert (await Queue("vc-issuance", redis).counts()).waiting == 1


async def test_an_unsubscription_is_asked_for_too(http: ClientSession) -> None:
    line = b"POST /mail/unsubscribe/x HTTP/1.1\r\n"
    rest = b"Content-Length: 26\r\nExpect: 100-continue\r\n\r\n"
    assert (await told(http, line, HOST, CLOSE, rest))[0] == 404, "its link is looked at before"


async def test_http_1_0_knows_no_100(http: ClientSession) -> None:
    line, body = JOBS.replace(b"1.1", b"1.0"), orjson.dumps({"data": ISSUANCE})
    rest = b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(body)
    assert (await told(http, line, HOST, JSON, rest, body))[0] == 202


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST, 414, "target_too_long"),
        (b"GET /livez?" + b"a" * 9_000 + b" HTTP/1.1\r\n" + HOST, 414, "target_too_long"),
        (b"GET /livez HTTP/1.1\r\nX: " + b"a" * 9_000 + b"\r\n" + HOST, 431, "headers_too_large"),
        (b"GET /livez HTTP/1.1\r\n" + b"X" * 9_000 + b": a\r\n" + HOST, 431, "headers_too_large"),
        (b"GET /livez HTTP/1.1\r\n" + b"X: a\r\n" * 200 + HOST, 431, "headers_too_large"),
        (b"GET /livez HTTP/1.1\r\n", 400, "bad_request"),
        (b"GET /livez HTTP/1.1\r\n" + HOST + HOST, 400, "bad_request"),
        (b"GET /livez HTTP/1.1\r\nHost: a b\r\n", 400, "bad_request"),
        (b"GET /livez HTTP/1.1\r\nHost: a/b\r\n", 400, "bad_request"),
        (b"GET /livez HTTP/1.1\r\nHost: localhost@a.example\r\n", 400, "bad_request"),
        (b"GET /livez HTTP/1.1\r\nHost: localhost:x\r\n", 400, "bad_request"),
        (b"GET * HTTP/1.1\r\n" + HOST, 400, "bad_request"),
    ],
)
async def test_what_cannot_be_read_is_told_by_its_reason(
    http: ClientSession, sent: bytes, status: int, code: str
) -> None:
    found, problem = await told(http, sent, CLOSE, b"\r\n")
    assert (found, problem["code"]) == (status, code)


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (b"http://localhost/queue", b"evil.example", 200),
        (b"HTTP://LOCALHOST:80/queue", b"evil.example", 200),
        (b"http://evil.example/queue", b"localhost", 403),
        (b"http://evil.example?x=http://localhost/queue", b"localhost", 403),
        (b"http://localhost@evil.example/queue", b"localhost", 400),
        (b"/queue?x=http://evil.example/", b"localhost", 200),
    ],
)
async def test_a_target_in_absolute_form_takes_the_place_of_host(
    http: ClientSession, target: bytes, host: bytes, status: int
) -> None:
    """RFC 9112, 3.2.2: so a name that was made to resolve to this machine does not get through."""
    line = b"GET %b HTTP/1.1\r\nHost: %b\r\n" % (target, host)
    assert (await told(http, line, CLOSE, b"\r\n"))[0] == status


async def test_an_origin_is_compared_with_the_target_too(http: ClientSession) -> None:
    for target, status in ((b"http://localhost", 403), (b"http://127.0.0.1", 200)):
        line = b"POST %b/queue/emails/pause HTTP/1.1\r\nHost: localhost\r\n" % target
        origin = b"Origin: http://127.0.0.1\r\nContent-Length: 0\r\n"
        assert (await told(http, line, origin, CLOSE, b"\r\n"))[0] == status


async def test_options_of_the_server(http: ClientSession) -> None:
    answer = await said(http, b"OPTIONS * HTTP/1.1\r\n", HOST, CLOSE, b"\r\n")
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"\r\nAllow: GET, HEAD, POST, PUT, DELETE, OPTIONS\r\n" in answer
    evil = b"OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n"
    assert (await told(http, evil, CLOSE, b"\r\n"))[0] == 403


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json", 200),
        ("application/*", 200),
        ("*/*", 200),
        ("APPLICATION/JSON; charset=utf-8", 200),
        ("text/html, application/xml;q=0.9, */*;q=0.1", 200),
        ("application/json;q=0.001", 200),
        ("nonsense", 200),
        ("application/json;q=x", 200),
        ("application/xml", 406),
        ("text/*", 406),
        ("application/json;q=0", 406),
        ("application/json;q=0, */*;q=0.0", 406),
        ("application/json;q=0.0, */*", 406),
        ("application/xml," * 400, 406),
    ],
)
async def test_what_is_not_accepted_is_not_done(
    http: ClientSession, redis: Redis, accept: str, status: int
) -> None:
    async with http.post("/queue/emails/pause", headers={"Accept": accept}) as response:
        assert response.status == status
        if status == 406:
            problem = await response.json(content_type="application/problem+json")
            assert (problem["code"], problem["detail"]) == (
                "not_acceptable",
                "Accept application/json.",
            )
    assert (await Queue("emails", redis).counts()).paused is (status == 200)
    async with http.get("/livez", headers={"Accept": accept}) as response:
        assert response.status == 200, "a probe is always answered"


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        ("/metrics", "text/plain;version=0.0.4"),
        ("/metrics", "application/openmetrics-text"),
        ("/openapi.json", "application/json"),
        ("/docs", "text/html"),
        ("/events", "text/event-stream"),
        ("/queue/vc-issuance/jobs", "application/json"),
        ("/1.0/identifiers/did:key:x", "application/did-resolution"),
    ],
)
async def test_every_media_type_that_is_there_is_accepted(
    http: ClientSession, path: str, accept: str
) -> None:
    async with http.get(path, headers={"Accept": accept}) as response:
        assert response.status not in (405, 406) or path.startswith("/1.0")


@pytest.mark.parametrize("name", ["a\0b", "\0", "a\nb", "\x1b[2J", "\x7f", "\x85"])
async def test_names_hold_no_control_characters(http: ClientSession, name: str) -> None:
    async with http.post(
        "/queue/vc-issuance/jobs", json={"name": name, "data": ISSUANCE}
    ) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["errors"][0]["pointer"]) == (422, "/name")
    assert "control characters" in problem["errors"][0]["detail"]


@pytest.mark.parametrize("organization", [None, "org-1"])
async def test_a_queue_without_jobs_has_a_stream(
    http: ClientSession, redis: Redis, organization: str | None
) -> None:
    await Queue("custom", redis).register()
    headers = bearer(await key(redis, ["read"], organization))
    names = [spec.name for spec in catalog().values() if not (organization and spec.internal)]
    for name in [*names, "custom"]:
        async with http.get(f"/events?queue={name}", headers=headers) as response:
            assert response.status == 200, name
    async with http.get("/events?queue=nobody", headers=headers) as response:
        assert response.status == 404


async def test_limits_that_are_left_out_are_none(http: ClientSession, redis: Redis) -> None:
    queue, at = Queue("emails", redis), "/queue/emails/limits"
    for body, limit, concurrency in (
        ({"limiter": {"max": 5, "duration": 1_000}, "concurrency": 2}, 5, 2),
        ({"limiter": {"max": 6, "duration": 1_000}}, 6, None),
        ({"concurrency": 3}, None, 3),
        ({"limiter": None}, None, None),
    ):
        async with http.put(at, json=body) as response:
            assert response.status == 200
            shown = (await response.json())["data"]
        counts = await queue.counts()
        assert (counts.limiter.max if counts.limiter else None) == limit
        assert counts.concurrency == shown["concurrency"] == concurrency


def test_every_component_has_a_name_of_its_own() -> None:
    components = document(TABLE)["components"]["schemas"]
    titles = [one.get("title", name) for name, one in components.items()]
    assert sorted(titles) == sorted(set(titles))
    assert not [name for name in components if "__" in name]
