"""A fetch from a server that may be anything."""

import asyncio
import gzip
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiohttp.abc import ResolveResult
from receivers import (
    LOOPBACK,
    Told,
    endless,
    open_settings,
    raw,
    receiver,
    reply,
    reset,
    silent,
)

import outbound.client
from outbound.client import Call, get, open_client
from outbound.errors import Blocked, TooLarge, Unreachable
from outbound.names import ADDRESSES_MAX, Bounded
from outbound.settings import OutboundSettings

URLS = json.loads((Path(__file__).parents[1] / "vectors" / "ssrf-urls.json").read_text())
KIB = 1024


async def fetch(url: str, settings: OutboundSettings | None = None, **options: Any) -> Any:
    async with open_client(settings or open_settings()) as client:
        return await client.get(url, **({"max_bytes": 16 * KIB} | options))


async def test_a_document() -> None:
    async with receiver(reply(200, b"{}", {"Content-Type": "application/json"})) as server:
        answer = await fetch(server.url, accept="application/did+json")
        alone = await get(open_settings(), server.url, max_bytes=10)
    assert (answer.status, answer.body) == (200, b"{}") == (alone.status, alone.body)
    assert answer.headers["content-type"] == "application/json"
    (first, _) = server.requests
    assert first.line == "GET / HTTP/1.1"
    assert sorted(first.names()) == ["accept", "connection", "host", "user-agent"]
    assert first.header("accept") == "application/did+json"


async def test_the_url_goes_out_byte_for_byte() -> None:
    async with receiver(reply(204)) as server:
        await fetch(server.url + "a%2Fb/../c;d?x=%7E~&y=+%20")
    assert server.requests[0].line == "GET /a%2Fb/../c;d?x=%7E~&y=+%20 HTTP/1.1"


async def test_a_document_that_is_too_long_is_refused_and_not_read_on() -> None:
    head = b"HTTP/1.1 200 X\r\n\r\n"
    async with receiver(endless(head, b"x" * KIB)) as server:
        with pytest.raises(TooLarge, match="1024 bytes"):
            await fetch(server.url, max_bytes=KIB)
    async with receiver(reply(200, b"x" * KIB)) as server:
        assert len((await fetch(server.url, max_bytes=KIB)).body) == KIB


async def test_compressed_bytes_stay_as_they_are() -> None:
    packed = gzip.compress(b"{}")
    async with receiver(reply(200, packed, {"Content-Encoding": "gzip"})) as server:
        assert (await fetch(server.url)).body == packed


@pytest.mark.parametrize("row", URLS["redirects"], ids=lambda row: str(row["status"]))
async def test_a_redirect_is_an_answer_and_not_followed(row: dict[str, Any]) -> None:
    async with receiver(reply(row["status"], b"", {"Location": row["location"]})) as server:
        assert (await fetch(server.url)).status == row["status"]
    assert len(server.requests) == 1


async def test_cookies_are_not_kept() -> None:
    names = Told({"hook.test": ["127.0.0.1"]})  # a jar would keep none of a bare address
    async with (
        receiver(reply(200, b"", {"Set-Cookie": "a=b"})) as server,
        open_client(open_settings(), names=names) as client,
    ):
        for _ in range(2):
            await client.get(f"http://hook.test:{server.port}/", max_bytes=10)
    assert "cookie" not in server.requests[1].names()
    assert server.connections == 2


async def test_the_environments_proxy_and_netrc_are_not_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("default login a password b\n")
    async with receiver(reply(200)) as server, receiver(reply(200)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        await fetch(server.url)
    assert proxy.connections == 0
    assert "authorization" not in server.requests[0].names()


BROKEN = {
    "connection_reset": reset(),
    "invalid_http_response": raw(b"220 mail.example.com ESMTP\r\n\r\n"),
    "response_headers_too_large": raw(b"HTTP/1.1 200 X\r\nA: " + b"x" * 9_000 + b"\r\n\r\n"),
}


@pytest.mark.parametrize("method", ["GET", "PUT", "POST"])
@pytest.mark.parametrize("code", BROKEN)
async def test_a_broken_answer_is_one_request_and_unreachable(code: str, method: str) -> None:
    async with receiver(BROKEN[code]) as server, open_client(open_settings()) as client:
        with pytest.raises(Unreachable) as caught:
            await client.send(Call(method, server.url), max_bytes=10)
    assert caught.value.code == code
    assert server.connections == 1


async def test_an_answer_that_closes_at_once_is_one_request() -> None:
    async with receiver(raw(b"")) as server, open_client(open_settings()) as client:
        with pytest.raises(Unreachable) as caught:
            await client.send(Call("GET", server.url), max_bytes=10)
    assert caught.value.code == "connection_reset"
    assert server.connections == 1


async def test_too_many_headers_are_not_read() -> None:
    lines = b"".join(b"X-%d: v\r\n" % n for n in range(5_000))
    async with receiver(raw(b"HTTP/1.1 200 X\r\n" + lines + b"\r\n")) as server:
        with pytest.raises(Unreachable):
            await fetch(server.url)


@pytest.mark.parametrize("status", [100, 101, 103, 600, 999])
async def test_what_is_no_final_status_is_no_answer(status: int) -> None:
    async with receiver(reply(status)) as server:
        with pytest.raises(Unreachable):
            await fetch(server.url, total_s=0.5)


@pytest.mark.parametrize(
    "answer",
    [silent(), silent(b"HTTP/1.1 200"), silent(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nx")],
)
async def test_a_silent_server_is_left_when_the_time_is_over(answer: Any) -> None:
    async with receiver(answer) as server:
        with pytest.raises(Unreachable) as caught:
            await fetch(server.url, total_s=0.5)
    assert caught.value.code == "read_timeout"


@pytest.mark.parametrize(("connect_s", "total_s"), [(0.5, 30), (30, 0.5)])
async def test_a_handshake_that_stands_still_is_no_connection(
    connect_s: float, total_s: float
) -> None:
    settings = open_settings(connect_timeout_s=connect_s)
    stalled = asyncio.Event()

    async def accept(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stalled.wait()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable) as caught:
            await fetch(f"https://127.0.0.1:{port}/", settings, total_s=total_s)
        stalled.set()
    assert caught.value.code == "connect_timeout"


async def test_a_body_that_breaks_off_is_no_document() -> None:
    async with receiver(reset(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nx")) as server:
        with pytest.raises(Unreachable):
            await fetch(server.url)


MALFORMED = {
    "chunk size": raw(
        b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n"
    ),
    "chunk end": raw(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcdef"),
    "no content": raw(b"HTTP/1.1 204 X\r\n\r\nHello"),
    "no content, of a length": raw(b"HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\nHello"),
    "more than its length": raw(b"HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\nHello"),
    "after a hint": raw(b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 204 X\r\n\r\nHello"),
    "bare line feeds": raw(b"HTTP/1.1 200 X\nTransfer-Encoding: chunked\n\nzz\n"),
}
"""Each in one packet: the end of the head and what does not fit it."""


@pytest.mark.parametrize("kind", MALFORMED)
async def test_the_status_line_decides_however_the_body_is_malformed(kind: str) -> None:
    async with receiver(MALFORMED[kind]) as server, open_client(open_settings()) as client:
        reply = await client.send(Call("POST", server.url, body=b"{}"), max_bytes=KIB)
    assert reply.status in (200, 204)
    assert server.connections == 1


async def test_a_malformed_body_is_no_document_and_is_not_waited_for() -> None:
    async with receiver(MALFORMED["chunk size"]) as server:
        with pytest.raises(Unreachable) as caught:
            await fetch(server.url)
    assert caught.value.code == "invalid_http_response"


async def test_nobody_listens(unused_tcp_port: int) -> None:
    with pytest.raises(Unreachable) as caught:
        await fetch(f"http://127.0.0.1:{unused_tcp_port}/")
    assert caught.value.code == "connect_refused"


async def test_a_name_that_does_not_exist_or_hangs_is_a_dns_error() -> None:
    for answer in ([], OSError("no server"), TimeoutError()):
        async with open_client(open_settings(), names=Told({"x.test": answer})) as client:
            with pytest.raises(Unreachable) as caught:
                await client.get("http://x.test/", max_bytes=10)
        assert caught.value.code == "dns_error"


async def test_a_lookup_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(*_args: object) -> list[Any]:
        asyncio.run_coroutine_threadsafe(ended.wait(), loop).result(30)
        return []

    monkeypatch.setattr("outbound.names._getaddrinfo", hang)
    with pytest.raises(Unreachable) as caught:
        await fetch("http://slow.test/", open_settings(dns_timeout_s=0.01))
    ended.set()
    assert caught.value.code == "dns_error"


async def test_a_resolver_that_hangs_is_given_up_and_many_addresses_are_cut_short() -> None:
    class Hanging(Told):
        async def resolve(self, *args: Any, **more: Any) -> list[ResolveResult]:
            await asyncio.wait({asyncio.ensure_future(asyncio.Event().wait())}, timeout=30)
            return await super().resolve(*args, **more)

    names = {"many.test": [f"192.0.2.{n}" for n in range(100)]}
    with pytest.raises(TimeoutError):
        await Bounded(Hanging(names), 0.01).resolve("many.test")
    found = await Bounded(Told(names), 5).resolve("many.test")
    assert [one["host"] for one in found] == names["many.test"][:ADDRESSES_MAX]


async def test_the_systems_resolver_finds_this_machine() -> None:
    async with receiver(reply(200)) as server:
        assert (await fetch(f"http://localhost:{server.port}/")).status == 200


class Certificates:
    """An authority of the test, the file that trusts it, and a server's context."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def server(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name).configure_cert(context)
        return context


async def test_a_certificate_of_a_trusted_authority(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    async with receiver(reply(200), tls=certificates.server("127.0.0.1")) as server:
        answer = await fetch(server.url, open_settings(ca_file=certificates.file, allow_http=False))
    assert answer.status == 200


async def test_certificates_that_do_not_hold_are_tls_errors(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # the server's side of a failed handshake
    async with (
        receiver(reply(200), tls=certificates.server("127.0.0.1")) as unknown_authority,
        receiver(reply(200), tls=certificates.server("other.test")) as other_name,
    ):
        for server, ca_file in ((unknown_authority, None), (other_name, certificates.file)):
            with pytest.raises(Unreachable) as caught:
                await fetch(server.url, open_settings(ca_file=ca_file))
            assert caught.value.code == "tls_error"
            assert server.requests == []


async def test_old_tls_and_plain_text_are_tls_errors(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    old = certificates.server("127.0.0.1")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with receiver(reply(200), tls=old) as server, receiver(reply(200)) as plain:
        for url in (server.url, plain.url.replace("http:", "https:")):
            with pytest.raises(Unreachable) as caught:
                await fetch(url, open_settings(ca_file=certificates.file, connect_timeout_s=0.5))
            assert caught.value.code in ("tls_error", "connect_timeout", "connection_reset")


def test_what_tls_is_asked_for() -> None:
    context = outbound.client._tls(None)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


async def test_a_bad_ca_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await fetch("https://a.test/", open_settings(ca_file=tmp_path / "none.pem"))


async def test_http_needs_a_setting() -> None:
    async with receiver(reply(200)) as server:
        with pytest.raises(Blocked) as caught:
            await fetch(server.url, OutboundSettings(allow_nets=LOOPBACK, own=()))
        assert caught.value.code == "scheme_not_allowed"
    assert server.connections == 0
