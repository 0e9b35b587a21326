"""Every 4xx and 5xx is a problem document, wherever it arises, and gives nothing away."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web

from gateway.app import create_app
from gateway.errors import KINDS, TYPE_PREFIX, kind_of
from gateway.server import listening
from gateway.settings import GatewaySettings
from streams import Queue, Redis, connect
from streams import errors as engine
from tests.gateway.samples import ISSUANCE

MEMBERS = {
    "type",
    "title",
    "status",
    "detail",
    "instance",
    "success",
    "code",
    "errors",
    "requestId",
}


async def problem_of(response: Any) -> dict[str, Any]:
    """The problem in `response`, whose common members are checked."""
    problem: dict[str, Any] = await response.json(content_type="application/problem+json")
    assert set(problem) == MEMBERS
    assert problem["success"] is False
    assert problem["status"] == response.status
    assert problem["type"] == TYPE_PREFIX + problem["code"]
    assert problem["requestId"] == response.headers["X-Request-Id"]
    assert problem["title"]
    assert problem["detail"]
    return problem


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "path_not_found"),
        ("GET", "/queues", 404, "path_not_found"),
        ("GET", "/queue/vc-issuance/stats/", 404, "path_not_found"),
        ("GET", "/queue/vc-issuance/job/", 404, "path_not_found"),
        ("GET", "/%ff%fe", 404, "path_not_found"),
        ("GET", "/queue/%ff/stats", 404, "queue_not_found"),
        ("PUT", "/queue/vc-issuance/jobs", 405, "method_not_allowed"),
        ("POST", "/queue/stats", 405, "method_not_allowed"),
        ("OPTIONS", "/queue/stats", 405, "method_not_allowed"),
        ("PATCH", "/queue/vc-issuance/job/1", 405, "method_not_allowed"),
        ("GET", "/queue/vc-issuance/job/1", 404, "job_not_found"),
        ("GET", "/queue/vc-issuance/job/1/logs", 404, "job_not_found"),
        ("DELETE", "/queue/vc-issuance/job/1", 404, "job_not_found"),
        ("POST", "/queue/vc-issuance/job/1/retry", 404, "job_not_found"),
        ("POST", "/queue/vc-issuance/job/1/cancel", 404, "job_not_found"),
    ],
)
async def test_problems(
    http: ClientSession, method: str, path: str, status: int, code: str
) -> None:
    async with http.request(method, path) as response:
        problem = await problem_of(response)
    assert (response.status, problem["code"]) == (status, code)
    assert problem["instance"].startswith("/")


async def test_405_names_the_methods_that_are_allowed(http: ClientSession) -> None:
    async with http.put("/queue/vc-issuance/jobs") as response:
        assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD", "POST"}


@pytest.mark.parametrize(
    ("offered", "kept"),
    [
        ("abc-1.2_X", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("a b", False),
        ('"><script>', False),
        ("", False),
    ],
)
async def test_a_request_id_is_echoed_if_it_is_a_plain_word(
    http: ClientSession, offered: str, kept: bool
) -> None:
    for path in ("/livez", "/nope"):
        async with http.get(path, headers={"X-Request-Id": offered}) as response:
            given = response.headers["X-Request-Id"]
        assert (given == offered) is kept
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", given)


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    ],
)
async def test_what_is_not_http_gets_a_problem_too(
    http: ClientSession, caplog: pytest.LogCaptureFixture, bytes_sent: bytes
) -> None:
    answer = await exchange(http, bytes_sent)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert b"application/problem+json" in answer
    assert b'"success":false' in answer
    assert b"Traceback" not in answer
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_broken_chunked_body_is_400(http: ClientSession) -> None:
    answer = await exchange(
        http,
        b"POST /queue/vc-issuance/jobs HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    )
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert b"application/problem+json" in answer


async def test_an_unknown_expectation_is_417(http: ClientSession) -> None:
    for path in ("/livez", "/nope"):
        async with http.get(path, headers={"Expect": "wonders"}) as response:
            problem = await problem_of(response)
        assert problem["status"] == 417


async def exchange(http: ClientSession, bytes_sent: bytes) -> bytes:
    """Everything the gateway answers to raw bytes until it closes the connection."""
    async with http.get("/livez") as response:
        port = response.url.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(bytes_sent)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.fixture
async def failing(redis: Redis) -> AsyncIterator[ClientSession]:
    """A gateway with one more route, which fails with words nobody may see."""

    async def fail(_request: web.Request) -> web.Response:
        raise RuntimeError("WRONGTYPE secret words from below")

    app = create_app(redis, GatewaySettings(host="127.0.0.1", port=0))
    app.router.add_get("/fail", fail)
    async with (
        listening(app) as (_, port),
        ClientSession(f"http://localhost:{port}") as session,
    ):
        yield session


async def test_500_tells_the_client_nothing_and_the_log_everything(
    failing: ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    async with failing.get("/fail", headers={"X-Request-Id": "find-me"}) as response:
        problem = await problem_of(response)
        text = await response.text()
    assert (problem["status"], problem["code"]) == (500, "internal_error")
    assert "secret" not in text
    assert "Traceback" not in text
    assert "find-me" in caplog.text
    assert "secret words from below" in caplog.text


async def test_a_storage_that_is_gone_is_503_and_says_when_to_try_again(own_server: Any) -> None:
    redis = connect(own_server.url)
    app = create_app(redis, GatewaySettings(host="127.0.0.1", port=0))
    async with (
        listening(app) as (_, port),
        ClientSession(f"http://localhost:{port}") as http,
    ):
        async with http.get("/readyz") as response:
            assert response.status == 200
        own_server.stop()
        for method, path in [
            ("POST", "/queue/vc-issuance/jobs"),
            ("GET", "/queue/vc-issuance/stats"),
            ("GET", "/queue/stats"),
            ("GET", "/queue/vc-issuance/job/1"),
            ("GET", "/queue/unheard-of/stats"),
        ]:
            body = {"data": ISSUANCE} if path.endswith("/jobs") else None
            async with http.request(method, path, json=body) as response:
                problem = await problem_of(response)
            assert (problem["status"], problem["code"]) == (503, "storage_unavailable")
            assert int(response.headers["Retry-After"]) >= 1
            assert str(own_server.socket) not in str(problem)
        async with http.get("/readyz") as response:
            assert (await problem_of(response))["code"] == "not_ready"
        async with http.get("/livez") as response:
            assert response.status == 200
    await redis.close()


async def test_a_full_storage_is_503_for_submissions_only(own_server: Any) -> None:
    redis = connect(own_server.url)
    app = create_app(redis, GatewaySettings(host="127.0.0.1", port=0))
    with own_server.client() as raw:
        raw.config_set("maxmemory", 1)
    async with (
        listening(app) as (_, port),
        ClientSession(f"http://localhost:{port}") as http,
    ):
        async with http.post("/queue/vc-issuance/jobs", json={"data": ISSUANCE}) as response:
            problem = await problem_of(response)
        assert (problem["status"], problem["code"]) == (503, "storage_full")
        assert int(response.headers["Retry-After"]) >= 1
        assert (await Queue("vc-issuance", redis).counts()).total == 0
        async with http.get("/queue/vc-issuance/stats") as response:
            assert response.status == 200
        async with http.post("/queue/vc-issuance/pause") as response:
            assert response.status == 200
    await redis.close()


def test_every_error_of_the_engine_has_a_kind() -> None:
    raised_to_clients = {
        cls
        for cls in vars(engine).values()
        if isinstance(cls, type)
        and issubclass(cls, engine.CredstreamError)
        # A worker's, and two that routes answer in words of their own.
        and cls not in (engine.LostClaim, engine.KeyReused, engine.Looping)
        and cls is not engine.CredstreamError
    }
    assert raised_to_clients <= set(KINDS)
    assert kind_of(engine.Full()).code == "storage_full"
    assert kind_of(engine.LostClaim()).status == 500
