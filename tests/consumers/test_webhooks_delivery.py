"""One attempt against real servers on loopback."""

import asyncio
import gzip
import json
import time
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from deliveries import SECRET, Sender, a_job, sender
from receivers import (
    Answer,
    Dials,
    Told,
    endless,
    open_settings,
    raw,
    receiver,
    reply,
    reset,
    silent,
)
from standardwebhooks.webhooks import Webhook as Oracle

from consumers.delivery.send import READ_BYTES
from consumers.destinations import Deferred, Disabled
from consumers.processor import Reject, Retry, RetryLater
from outbound.settings import OutboundSettings
from streams.endings import Gate
from streams.errors import Unavailable

VECTORS = Path(__file__).parents[1] / "vectors"
HEADERS = json.loads((VECTORS / "outbound-headers.json").read_text())
URLS = json.loads((VECTORS / "ssrf-urls.json").read_text())
OUTCOMES = json.loads((VECTORS / "webhook-outcomes.json").read_text())
STATUSES = [row for row in OUTCOMES if "status" in row and "then" not in row]
MIB = 1024 * 1024
OK_HEAD = b"HTTP/1.1 200 OK\r\n"


async def failing(send: Sender, url: str, **changes: Any) -> Reject | Retry:
    """What the attempt raises."""
    with pytest.raises((Reject, Retry)) as caught:
        await send(url, **changes)
    assert isinstance(caught.value, Reject | Retry)
    return caught.value


async def test_a_delivery_is_one_signed_request() -> None:
    async with receiver(reply(201, b"thanks")) as server, sender() as send:
        result = await send(server.url, headers={"Authorization": "Bearer abc", "X-Empty": ""})
    (seen,) = server.requests
    assert seen.line == "POST / HTTP/1.1"
    assert seen.body == b'{"event":"vc.issued","n":1}'
    assert sorted(seen.names()) == [
        "authorization", "connection", "content-length", "content-type", "host", "user-agent",
        "webhook-id", "webhook-signature", "webhook-timestamp", "x-empty",
    ]  # fmt: skip
    assert seen.header("content-type") == "application/json"
    assert seen.header("user-agent") == "Credstream/1.0"
    assert (seen.header("webhook-id"), seen.header("webhook-timestamp")) == ("job-1", "1767225600")
    assert seen.header("authorization") == "Bearer abc"
    result.pop("durationMs")
    assert result == {"status": 201, "attempts": 1, "webhookId": "job-1"}
    assert send.desk.settled == [("success", 0)]
    assert send.desk.asked == [("org-1", server.url, "job-1")]


async def test_the_public_library_verifies_what_arrives() -> None:
    async with receiver(reply(200)) as server, sender(clock_s=time.time) as send:
        await send(server.url, payload={"name": "José 日本 😀", "list": [], "pi": 3.25})
    (seen,) = server.requests
    headers = {name: seen.header(name) for name in seen.names() if name.startswith("webhook-")}
    assert Oracle(SECRET).verify(seen.body, headers)["name"] == "José 日本 😀"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "GET"])
async def test_the_methods(method: str) -> None:
    async with receiver(reply(200)) as server, sender() as send:
        await send(server.url, method=method)
    (seen,) = server.requests
    assert seen.line.startswith(f"{method} /")
    assert (seen.body == b"") == ("content-type" not in seen.names()) == (method == "GET")
    moment = datetime.fromtimestamp(1_767_225_600, UTC)
    signed = Oracle(SECRET).sign(seen.header("webhook-id"), moment, seen.body.decode())
    assert seen.header("webhook-signature") == signed


async def test_another_attempt_has_the_same_id_and_bytes_and_another_time() -> None:
    now_s = [100.0]
    async with (
        receiver(reply(500), reply(200)) as server,
        sender(clock_s=lambda: now_s[0]) as send,
    ):
        await failing(send, server.url)
        now_s[0] = 200.0
        await send(server.url, job=a_job(server.url, made=1))
    first, second = server.requests
    assert first.body == second.body
    assert first.header("webhook-id") == second.header("webhook-id")
    assert (first.header("webhook-timestamp"), second.header("webhook-timestamp")) == ("100", "200")
    assert first.header("webhook-signature") != second.header("webhook-signature")


async def test_every_key_in_use_signs() -> None:
    async with receiver(reply(200)) as server, sender() as send:
        send.desk.secrets = [SECRET.replace("M", "N", 1), SECRET]
        await send(server.url)
    entries = server.requests[0].header("webhook-signature").split(" ")
    assert len(entries) == 2
    assert entries[0] != entries[1]


async def test_an_odd_job_id_is_hashed() -> None:
    async with receiver(reply(200)) as server, sender() as send:
        await send(server.url, job=a_job(server.url, job_id="a.b"))
    assert server.requests[0].header("webhook-id").startswith("msg_")


@pytest.mark.parametrize(
    "row",
    [r for r in OUTCOMES if "status" in r and "then" not in r],
    ids=lambda r: str(r["status"]),
)
async def test_every_status_of_the_table_over_the_wire(row: dict[str, Any]) -> None:
    location = {"Location": "http://169.254.169.254/"}
    async with receiver(reply(row["status"], b"", location)) as server, sender() as send:
        destiny, _, more = row["outcome"].partition("+")
        if destiny == "success":
            assert (await send(server.url))["status"] == row["status"]
        else:
            error = await failing(send, server.url)
            assert isinstance(error, Retry if destiny == "retry" else Reject)
            assert str(row["status"]) in str(error)
        ((about, defer_ms),) = send.desk.settled
    assert (about == "gone", defer_ms > 0) == (more == "disable", more == "throttle")
    assert server.connections == 1
    (record,) = send.records
    assert (record["outcome"], record["status"]) == (destiny, row["status"])


async def test_a_redirect_has_a_reason_of_its_own() -> None:
    for row in URLS["redirects"]:
        async with (
            receiver(reply(row["status"], b"", {"Location": row["location"]})) as server,
            sender() as send,
        ):
            assert (await failing(send, server.url)).code == "redirect_not_followed"
        assert server.connections == 1


async def test_retry_after_is_passed_on() -> None:
    asked = {"Retry-After": "Thu, 01 Jan 2026 00:01:00 GMT"}
    async with receiver(reply(503, b"", asked)) as server, sender() as send:
        error = await failing(send, server.url, opts={"attempts": 3})
    assert isinstance(error, Retry)
    assert (error.code, error.after_ms) == ("http_503", 59_750)
    assert send.desk.settled == [("failure", 59_750)]
    (record,) = send.records
    assert record["nextAttemptAt"] == 1_767_225_600_250 + record["durationMs"] + 59_750
    assert record["headers"]["retry-after"] == asked["Retry-After"]


async def test_the_next_attempt_of_a_record_follows_the_backoff_and_ends_with_the_last() -> None:
    opts = {"attempts": 2, "backoff": {"type": "fixed", "delay": 7_000}}
    async with receiver(reply(500)) as server, sender() as send:
        await failing(send, server.url, opts=opts)
        await failing(send, server.url, opts=opts, job=a_job(server.url, made=1, opts=opts))
        await failing(send, server.url, job=a_job(server.url, opts={"attempts": 1}))
    first, second, only = send.records
    assert first["nextAttemptAt"] == 1_767_225_600_250 + first["durationMs"] + 7_000
    assert (first["number"], second["number"]) == (1, 2)
    assert second["nextAttemptAt"] is only["nextAttemptAt"] is None


BODIES: dict[str, Answer] = {
    "endless": endless(OK_HEAD + b"\r\n", b"x" * 65_536),
    "endless chunks": endless(
        OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    ),
    "reset": reset(OK_HEAD + b"Content-Length: 9\r\n\r\nx"),
    "broken off": raw(OK_HEAD + b"Content-Length: 9\r\n\r\nx"),
    "a lie about gzip": reply(200, b"no gzip", {"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("name", BODIES)
async def test_the_status_line_decides_whatever_the_body_does(name: str) -> None:
    async with receiver(BODIES[name]) as server, sender() as send:
        assert (await send(server.url))["status"] == 200
    assert server.connections == 1


async def test_no_more_than_16_kib_are_read_and_the_connection_is_closed() -> None:
    written, closed = 0, asyncio.Event()

    async def answer(_seen: Any, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(OK_HEAD + b"\r\n")
        try:
            while True:
                writer.write(b"x" * 4_096)
                await writer.drain()
                written += 4_096
        except ConnectionError:
            closed.set()

    async with receiver(answer) as server, sender() as send:
        seen: list[int] = []
        original = send.delivery.client.send

        async def watched(*args: Any, **options: Any) -> Any:
            answered = await original(*args, **options)
            seen.append(len(answered.body))
            return answered

        send.delivery.client.send = watched  # type: ignore[method-assign]
        await send(server.url)
        await asyncio.wait_for(closed.wait(), 20)
    assert seen == [READ_BYTES] == [16_384]
    assert written < 16 * MIB  # what fits into the sockets of both sides, and no more


async def test_a_bomb_costs_less_than_a_mebibyte() -> None:
    bomb = gzip.compress(bytes(50 * MIB))
    headers = f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    async with receiver(raw(OK_HEAD + headers + bomb)) as server, sender() as send:
        await send(server.url)  # what is loaded once is loaded now
        tracemalloc.start()
        try:
            await send(server.url)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < MIB
    assert send.records[0]["bodyTruncated"]


SILENT = {
    "nothing": (silent(), "retry"),
    "half a status line": (silent(b"HTTP/1.1 20"), "retry"),
    "no end of the headers": (silent(OK_HEAD + b"A: b\r\n"), "retry"),
    "no body": (silent(OK_HEAD + b"Content-Length: 5\r\n\r\n"), "success"),
}


@pytest.mark.parametrize("name", SILENT)
async def test_silence_ends_with_the_time_of_the_attempt(name: str) -> None:
    answer, destiny = SILENT[name]
    async with receiver(answer) as server, sender() as send:
        object.__setattr__(send.delivery.settings, "timeout_s", 0.5)
        if destiny == "success":
            assert (await send(server.url))["status"] == 200
        else:
            error = await failing(send, server.url)
            assert (type(error), error.code) == (Retry, "read_timeout")


async def test_a_drip_does_not_prolong_the_attempt() -> None:
    """Every byte would restart a timeout between reads."""
    dripped = 0

    async def drip(_seen: Any, writer: asyncio.StreamWriter) -> None:
        nonlocal dripped
        for byte in OK_HEAD + b"X: " + b"y" * 10_000_000:
            writer.write(bytes([byte]))
            await writer.drain()
            dripped += 1
            await asyncio.sleep(0.001)

    async with receiver(drip) as server, sender() as send:
        object.__setattr__(send.delivery.settings, "timeout_s", 0.5)
        error = await failing(send, server.url)
    assert error.code == "read_timeout"
    assert 0 < dripped < 8_000


async def test_the_job_may_set_the_time() -> None:
    async with receiver(reply(200)) as server, sender() as send:
        times: list[float] = []
        original = send.delivery.client.send

        async def watched(call: Any, **options: Any) -> Any:
            times.append(call.total_s)
            return await original(call, **options)

        send.delivery.client.send = watched  # type: ignore[method-assign]
        await send(server.url)
        await send(server.url, timeoutMs=1_500)
    assert times == [15, 1.5]


TRANSPORT = {
    "connection_reset": reset(),
    "invalid_http_response": raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    "response_headers_too_large": raw(OK_HEAD + b"A: " + b"x" * 10_000 + b"\r\n\r\n"),
}


@pytest.mark.parametrize("code", TRANSPORT)
@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
async def test_a_broken_answer_is_tried_again_later_and_not_at_once(code: str, method: str) -> None:
    async with receiver(TRANSPORT[code]) as server, sender() as send:
        error = await failing(send, server.url, method=method)
    assert (type(error), error.code) == (Retry, code)
    assert server.connections == 1
    assert send.desk.settled == [("failure", 0)]
    (record,) = send.records
    assert (record["outcome"], record["code"], record["status"]) == ("retry", code, None)


async def test_nobody_listens(unused_tcp_port: int) -> None:
    async with sender() as send:
        error = await failing(send, f"http://127.0.0.1:{unused_tcp_port}/")
    assert (type(error), error.code) == (Retry, "connect_refused")


@pytest.mark.parametrize("answer", [[], TimeoutError()], ids=["unknown", "slow"])
async def test_a_name_that_does_not_resolve_is_tried_again(answer: Any) -> None:
    async with sender(names=Told({"x.test": answer})) as send:
        error = await failing(send, "https://x.test/")
    assert (type(error), error.code) == (Retry, "dns_error")


@pytest.mark.parametrize("allow_http", [True, False])
@pytest.mark.parametrize("url", URLS["deny_urls"], ids=lambda url: url[:60])
async def test_no_forbidden_url_opens_a_socket(url: str, allow_http: bool) -> None:
    dials = Dials()
    told = Told(
        {"localhost": ["127.0.0.1", "::1"], "metadata.google.internal": ["169.254.169.254"]}
    )
    settings = OutboundSettings(own=(), allow_http=allow_http)
    async with sender(settings, names=told, open_socket=dials) as send:
        error = await failing(send, url)
    assert isinstance(error, Reject)
    assert error.code in ("blocked", "invalid_payload")
    assert dials.made == []
    if error.code == "blocked":
        (record,) = send.records
        assert (record["outcome"], "operator" in record) == ("failed", False)
        assert send.desk.settled == [("neutral", 0)]
    else:
        assert send.desk.asked == []


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://10.0.0.1/", "http://[::1]/"])
async def test_a_tenant_hears_nothing_of_what_was_blocked(url: str) -> None:
    async with sender(OutboundSettings(own=(), allow_http=True)) as send:
        error = await failing(send, url)
    assert (error.code, str(error)) == ("blocked", "This URL may not be called.")
    assert send.records[0]["code"] == "blocked_address"


@pytest.mark.parametrize("name", HEADERS["reject_names"])
async def test_a_forbidden_header_is_never_sent(name: str) -> None:
    async with receiver(reply(200)) as server, sender() as send:
        error = await failing(send, server.url, headers={name: "v"})
    assert (type(error), error.code) == (Reject, "invalid_payload")
    assert server.connections == 0


@pytest.mark.parametrize("value", HEADERS["reject_values"], ids=lambda value: repr(value)[:20])
async def test_a_forbidden_header_value_is_never_sent(value: str) -> None:
    async with receiver(reply(200)) as server, sender() as send:
        assert (await failing(send, server.url, headers={"X": value})).code == "invalid_payload"
    assert server.connections == 0


@pytest.mark.parametrize(("name", "value"), HEADERS["accept"])
async def test_other_headers_arrive(name: str, value: str) -> None:
    async with receiver(reply(200)) as server, sender() as send:
        await send(server.url, headers={name: value})
    assert server.requests[0].header(name.lower()) == value


async def test_a_body_that_is_too_long_is_not_sent() -> None:
    async with receiver(reply(200)) as server, sender(max_body_bytes=100) as send:
        await send(server.url, payload={"x": "y" * 92})
        error = await failing(send, server.url, payload={"x": "y" * 93})
    assert (type(error), error.code) == (Reject, "payload_too_large")
    assert len(server.requests) == 1
    assert len(send.desk.asked) == 1


async def test_a_deferred_delivery_is_no_attempt() -> None:
    async with receiver(reply(200)) as server, sender() as send:
        gate = Gate("0" * 32, 500)
        send.desk.answer = Deferred(1_234, "circuit_open", gate)
        with pytest.raises(RetryLater) as caught:
            await send(server.url)
    assert (caught.value.after_ms, caught.value.gate) == (1_234, gate)
    assert (server.connections, send.records, send.desk.settled) == (0, [], [])


@pytest.mark.parametrize("reason", ["destination_disabled", "destination_unavailable"])
async def test_a_disabled_destination_ends_the_delivery(reason: str) -> None:
    async with receiver(reply(200)) as server, sender() as send:
        send.desk.answer = Disabled(reason, "It answered 410.")
        error = await failing(send, server.url)
    assert (type(error), error.code, str(error)) == (Reject, reason, "It answered 410.")
    assert server.connections == 0


async def test_a_cancelled_delivery_gives_its_lease_back() -> None:
    arrived = asyncio.Event()

    async def hang(_seen: Any, _writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.Event().wait()

    async with receiver(hang) as server, sender() as send:
        running = asyncio.create_task(send(server.url))
        await arrived.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert send.desk.settled == [("neutral", 0)]
    (record,) = send.records
    assert (record["outcome"], record["status"], record["nextAttemptAt"]) == (
        "interrupted", None, None,
    )  # fmt: skip


async def test_a_lease_that_is_being_given_back_is_given_back() -> None:
    """A worker that stops cancels a second time what does not end at once."""
    slow, done = asyncio.Event(), asyncio.Event()

    async def settle(*_args: Any) -> None:
        slow.set()
        await asyncio.sleep(0)
        done.set()

    async with receiver(reply(200)) as server, sender() as send:
        send.desk.settle = settle  # type: ignore[method-assign]
        running = asyncio.create_task(send(server.url))
        await slow.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await asyncio.wait_for(done.wait(), 20)


@pytest.mark.parametrize("error", [Unavailable("no Redis"), TypeError("not JSON")])
async def test_a_delivery_stays_delivered_when_its_lease_cannot_be_given_back(
    error: Exception,
) -> None:
    async with receiver(reply(200)) as server, sender() as send:
        send.desk.error = error
        assert (await send(server.url))["status"] == 200


async def test_a_key_that_signs_nothing_stops_the_attempt_before_the_request() -> None:
    async with receiver(reply(200)) as server, sender() as send:
        send.desk.secrets = ["whsec_x"]
        with pytest.raises(ValueError, match="base64"):
            await send(server.url)
    assert server.connections == 0
    assert send.desk.settled == [("neutral", 0)]


async def test_http_is_called_only_when_it_is_allowed() -> None:
    async with receiver(reply(200)) as server, sender(open_settings(allow_http=False)) as send:
        error = await failing(send, server.url)
    assert (error.code, str(error)) == ("blocked", "Only https:// URLs are called.")
    assert server.connections == 0
