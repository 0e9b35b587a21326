"""Nothing that may not be dialled is dialled: literals, names, second answers, our own servers."""

import asyncio
import json
import logging
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import ResolveResult
from receivers import Dials, Receiver, Told, open_settings, raw, receiver, reply
from yarl import URL

import outbound.client
from outbound.client import Call, Client, open_client
from outbound.errors import Blocked, OutboundError, Unreachable
from outbound.faults import meaning
from outbound.guard import RECEIVE_BYTES, Trail, plain_socket
from outbound.networks import parse_allowance
from outbound.settings import OutboundSettings

URLS = json.loads((Path(__file__).parents[1] / "vectors" / "ssrf-urls.json").read_text())
MORE = [
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://①②⑦.⓪.⓪.①/",
    "http://127.0.0.1./",
    "http://LOCALHOST/",
    "http://localhost./",
    "http://[0:0:0:0:0:ffff:7f00:1]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[::1%25lo]/",
    "http://127.0.0.1%2f@example.com/",
    "http://example.com@127.0.0.1/",
]
LITERALS = ["http://127.0.0.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://10.0.0.5/"]


class Lenient(Told):
    """A resolver that reads every spelling of an IPv4 address, as that of the C library does."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        with suppress(OSError):
            self._answers.setdefault(host, [[socket.inet_ntoa(socket.inet_aton(host))]])
        return await super().resolve(host, port, family)


def names() -> Lenient:
    here = ["127.0.0.1", "::1"]
    return Lenient(
        {
            **dict.fromkeys(("localhost", "LOCALHOST", "localhost.", "127.0.0.1."), here),
            "metadata.google.internal": ["169.254.169.254"],
        }
    )


def loopback_socket(info: tuple[Any, ...]) -> socket.socket:
    """What a leak in the guard would open, as long as it stays on this machine."""
    if info[4][0] not in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        raise AssertionError(f"would have dialled {info[4]}")
    return plain_socket(info)


@asynccontextmanager
async def both_families() -> AsyncIterator[tuple[Receiver, Receiver]]:
    async with receiver(reply(200)) as four, receiver(reply(200), host="::1") as six:
        yield four, six


def at_port(url: str, port: int) -> str:
    """`url` with `port`, unless it is too odd to have one put in."""
    scheme, sep, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    if not sep or not host or host.endswith(":22"):
        return url
    return f"{scheme}://{host}:{port}{slash}{path}"


@pytest.mark.parametrize("checked", [True, False], ids=["all checks", "the socket guard alone"])
@pytest.mark.parametrize("url", [*URLS["deny_urls"], *MORE], ids=lambda url: url[:60])
async def test_no_url_of_the_table_reaches_this_machine(
    monkeypatch: pytest.MonkeyPatch, url: str, checked: bool
) -> None:
    if not checked:
        monkeypatch.setattr(outbound.client, "admitted", lambda url, _settings: URL(url))
    # Unchecked, one of them runs into an assertion of aiohttp.
    refusals = OutboundError if checked else (OutboundError, AssertionError)
    settings = OutboundSettings(allow_http=True, own=())
    async with (
        both_families() as servers,
        open_client(settings, names=names(), open_socket=loopback_socket) as client,
    ):
        for server in servers:
            with pytest.raises(refusals):
                await client.get(at_port(url, server.port), max_bytes=10)
    assert [server.connections for server in servers] == [0, 0]


@pytest.mark.parametrize("url", URLS["deny_urls"], ids=lambda url: url[:60])
async def test_every_url_of_the_table_fails_for_good(url: str) -> None:
    dials = Dials()
    client = open_client(
        OutboundSettings(allow_http=True, own=()), names=names(), open_socket=dials
    )
    async with client as opened:
        with pytest.raises(Blocked):
            await opened.get(url, max_bytes=10)
    assert dials.made == []


async def dialled(client: Client, host: str) -> str:
    try:
        await client.get(f"https://{host}/", max_bytes=10)
    except OutboundError as error:
        return error.code
    raise AssertionError("nobody answers in this test")


@pytest.mark.parametrize("row", URLS["dns"], ids=lambda row: row["host"])
async def test_of_what_a_name_means_only_the_public_part_is_dialled(row: dict[str, Any]) -> None:
    dials = Dials()
    answers = row.get("answers_seq", row.get("answers"))
    told = Told({row["host"]: answers})
    async with open_client(OutboundSettings(own=()), names=told, open_socket=dials) as client:
        first = await dialled(client, row["host"])
        assert dials.made[:1] == row["dial"]
        second = await dialled(client, row["host"])
    if "answers_seq" in row:
        assert (first, second) == ("connect_refused", "blocked_address")
        assert dials.made == row["dial"]
    elif row["dial"]:
        assert first in ("connect_refused", "connect_failed")
        assert set(dials.made) == set(row["dial"])
    else:
        assert first == ("blocked_address" if answers else "dns_error")
    assert told.asked == [row["host"]] * 2


async def test_every_public_address_of_a_name_is_tried() -> None:
    dials = Dials()
    told = Told({"a.test": ["8.8.8.8", "10.0.0.1", "2606:4700:4700::1111", "8.8.4.4"]})
    async with open_client(OutboundSettings(own=()), names=told, open_socket=dials) as client:
        await dialled(client, "a.test")
    assert sorted(set(dials.made)) == ["2606:4700:4700::1111", "8.8.4.4", "8.8.8.8"]


async def test_an_allowed_network_is_dialled_on_its_port_only() -> None:
    async with both_families() as (four, six):
        allowed = (parse_allowance(f"127.0.0.1:{four.port}"),)
        async with open_client(OutboundSettings(
            allow_http=True, own=(), allow_nets=allowed
        )) as client:  # fmt: skip
            assert (await client.get(four.url, max_bytes=1)).status == 200
            with pytest.raises(Blocked):
                await client.get(six.url, max_bytes=1)
    assert (four.connections, six.connections) == (1, 0)


@pytest.mark.parametrize("listens_on", ["127.0.0.1", "localhost", "0.0.0.0", "::"])
async def test_our_own_servers_are_never_dialled(listens_on: str) -> None:
    async with receiver(reply(200)) as server, receiver(reply(200)) as other:
        settings = open_settings(own=((listens_on, server.port),))
        told = Told({"localhost": ["127.0.0.1"]})
        async with open_client(settings, names=told) as client:
            for url in (server.url, f"http://localhost:{server.port}/"):
                with pytest.raises(Blocked):
                    await client.get(url, max_bytes=1)
            assert (await client.get(other.url, max_bytes=1)).status == 200
    assert server.connections == 0


async def test_what_the_operator_names_is_never_dialled() -> None:
    async with receiver(reply(200)) as server:
        settings = open_settings(deny_hosts=(("gateway.test", server.port),))
        async with open_client(settings, names=Told({"gateway.test": ["127.0.0.1"]})) as client:
            with pytest.raises(Blocked):
                await client.get(server.url, max_bytes=1)
    assert server.connections == 0


async def test_an_own_server_whose_name_does_not_resolve_stops_nothing() -> None:
    async with receiver(reply(200)) as other:
        settings = open_settings(own=(("gone.test", other.port),))
        async with open_client(settings, names=Told({})) as client:
            assert (await client.get(other.url, max_bytes=1)).status == 200


async def test_our_own_names_are_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr("outbound.client.time.monotonic", lambda: now_s)
    told = Told({"redis.test": [["10.0.0.1"], ["10.0.0.2"]]})
    settings = OutboundSettings(
        own=(("redis.test", 6379),), allow_nets=(parse_allowance("10.0.0.0/8"),)
    )
    dials = Dials()
    async with open_client(settings, names=told, open_socket=dials) as client:
        for now_s in (0.0, 59.0, 61.0):  # noqa: B007 - the clock above reads it
            for host in ("10.0.0.1", "10.0.0.2"):
                await dialled(client, f"{host}:6379")
    assert dials.made == ["10.0.0.2", "10.0.0.2"]
    assert told.asked == ["redis.test", "redis.test"]


@pytest.mark.parametrize("url", LITERALS)
async def test_a_tenant_hears_one_text_and_the_log_says_which(
    caplog: pytest.LogCaptureFixture, url: str
) -> None:
    async with open_client(OutboundSettings(allow_http=True, own=())) as client:
        with pytest.raises(Blocked) as caught:
            await client.send(Call("POST", url), max_bytes=1)
    assert (str(caught.value), caught.value.code) == (
        "This URL may not be called.", "blocked_address",
    )  # fmt: skip
    assert f"not dialled: {url[7:-1].strip('[]')} port 80" in caplog.text


async def test_our_own_names_are_asked_once_by_requests_that_begin_together() -> None:
    class Slowly(Told):
        async def resolve(self, *args: Any, **more: Any) -> list[ResolveResult]:
            await asyncio.sleep(0)
            return await super().resolve(*args, **more)

    told = Slowly({"redis.test": ["10.0.0.1"], "mail.test": ["10.0.0.2"]})
    settings = OutboundSettings(
        own=(("redis.test", 6379), ("mail.test", 25)), allow_nets=(parse_allowance("10.0.0.0/8"),)
    )
    dials = Dials()
    async with open_client(settings, names=told, open_socket=dials) as client:
        await asyncio.gather(*(dialled(client, "10.0.0.1:6379") for _ in range(3)))
    assert sorted(told.asked) == ["mail.test", "redis.test"]
    assert dials.made == []


def test_the_kernel_buffers_little_of_what_is_not_read() -> None:
    """An answer without end is held back by the window, not piled up on this side (WH-20)."""
    with plain_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))) as made:
        held = made.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    # Linux doubles what is set, for its own notes, and leaves its default as it is.
    assert held == (2 * RECEIVE_BYTES if sys.platform == "linux" else RECEIVE_BYTES)
    assert RECEIVE_BYTES <= 256 * 1024


def test_what_goes_wrong_with_an_answer_is_not_the_urls_fault() -> None:
    steps = Trail(dialled=["192.0.2.1:443"], connected=True)
    assert meaning(ValueError("odd header"), steps).code == "invalid_http_response"
    assert meaning(ValueError("odd URL"), Trail()).code == "invalid_url"


async def test_blocked_and_unknown_names_take_the_same_way() -> None:
    """One question to the resolver and no socket: nothing there takes time for only one of them."""
    dials = Dials()
    told = Told({"blocked.test": ["10.0.0.1"]})
    async with open_client(OutboundSettings(own=()), names=told, open_socket=dials) as client:
        for host in ("blocked.test", "unknown.test"):
            with pytest.raises((Blocked, Unreachable)):
                await client.get(f"https://{host}/", max_bytes=1)
    assert told.asked == ["blocked.test", "unknown.test"]
    assert dials.made == []


async def test_how_long_it_takes_does_not_tell_a_blocked_name_from_an_unknown_one() -> None:
    """Counted in turns of the event loop, which passes a thousand in the time of any timer: neither
    waits for one, however many addresses are refused one after the other (SS-7)."""
    names = {
        "one.test": ["10.0.0.1"],
        "both.test": ["10.0.0.1", "fd00::1", "169.254.169.254", "::1"],
        "many.test": [f"10.0.{n // 256}.{n % 256}" for n in range(1_000)],
    }
    dials = Dials()
    turns: dict[str, int] = {}
    async with open_client(
        OutboundSettings(own=()), names=Told(names), open_socket=dials
    ) as client:
        for host in (*names, "unknown.test"):
            asking = asyncio.create_task(client.get(f"https://{host}/", max_bytes=1))
            turns[host] = 0
            while not asking.done():
                await asyncio.sleep(0)
                turns[host] += 1
            with pytest.raises((Blocked, Unreachable)):
                await asking
    assert dials.made == []
    assert max(turns.values()) - min(turns.values()) < 200, turns


async def test_a_request_dials_at_most_four_addresses_of_a_name_each_once() -> None:
    """However many addresses a name has, of whichever family, and however often it says them."""
    four = [f"93.184.216.{n}" for n in range(1, 33)]
    both = [f"2606:4700::{n:x}" for n in range(1, 17)] + four[:16]
    hidden = [f"10.0.0.{n}" for n in range(1, 31)] + ["93.184.216.1", "93.184.216.2"]
    names = {"four.test": four, "both.test": both, "twice.test": four[:2] * 8, "some.test": hidden}
    dialled = {"four.test": 4, "both.test": 4, "twice.test": 2, "some.test": 2}
    for host, expected in dialled.items():
        dials = Dials()
        async with open_client(
            OutboundSettings(own=()), names=Told(names), open_socket=dials
        ) as client:
            with pytest.raises(Unreachable) as caught:
                await client.get(f"https://{host}/", max_bytes=1)
        assert caught.value.code == "connect_refused"
        assert len(dials.made) == len(set(dials.made)) == expected, (host, dials.made)
        assert sum(":" in address for address in dials.made) == (2 if host == "both.test" else 0)


async def test_an_address_that_answers_is_found_behind_three_that_are_closed() -> None:
    names = Told({"hook.test": ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.1"]})
    async with (
        receiver(reply(200, b"here")) as server,
        open_client(open_settings(), names=names) as client,
    ):
        answer = await client.get(f"http://hook.test:{server.port}/", max_bytes=10)
    assert answer.body == b"here"


def test_openings_are_announced_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        outbound.client._warn(OutboundSettings(own=()))
        assert caplog.text == ""
        outbound.client._warn(open_settings())
    assert "WEBHOOK_ALLOW_NETS opens 127.0.0.0/8" in caplog.text
    assert "WEBHOOK_ALLOW_HTTP" in caplog.text


class TestProxy:
    """Everything goes through it, and it decides about names (SS-8)."""

    @staticmethod
    def settings(proxy: Receiver, **more: Any) -> OutboundSettings:
        return OutboundSettings(**({"allow_http": True, "own": (), "proxy_url": proxy.url} | more))

    async def test_it_gets_the_request_and_resolves_the_name(self) -> None:
        told = Told({})
        async with (
            receiver(reply(204)) as proxy,
            open_client(self.settings(proxy), names=told) as client,
        ):
            assert (await client.get("http://some.test/x", max_bytes=1)).status == 204
        assert proxy.requests[0].line == "GET http://some.test/x HTTP/1.1"
        assert told.asked == []

    async def test_it_is_asked_to_connect_for_https(self) -> None:
        async with receiver(reply(502)) as proxy, open_client(self.settings(proxy)) as client:
            with pytest.raises(Unreachable) as caught:
                await client.get("https://some.test/", max_bytes=1)
        assert caught.value.code == "proxy_error"
        assert proxy.requests[0].line == "CONNECT some.test:443 HTTP/1.1"

    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_its_policy_is_final(self, scheme: str) -> None:
        no = reply(407, b"", {"X-Smokescreen-Error": "denied"})
        async with receiver(no) as proxy, open_client(self.settings(proxy)) as client:
            with pytest.raises(Blocked):
                await client.get(f"{scheme}://some.test/", max_bytes=1)

    @pytest.mark.parametrize("url", [*LITERALS, "http://169.254.169.254/"])
    async def test_it_is_not_asked_for_addresses_that_may_not_be_dialled(self, url: str) -> None:
        async with receiver(reply(200)) as proxy, open_client(self.settings(proxy)) as client:
            with pytest.raises(Blocked):
                await client.get(url, max_bytes=1)
        assert proxy.connections == 0

    async def test_a_proxy_that_is_away_is_no_fault_of_the_receiver(
        self, unused_tcp_port: int
    ) -> None:
        settings = OutboundSettings(own=(), proxy_url=f"http://127.0.0.1:{unused_tcp_port}")
        async with open_client(settings) as client:
            with pytest.raises(Unreachable) as caught:
                await client.get("https://some.test/", max_bytes=1)
        assert caught.value.code == "proxy_error"


async def test_a_reply_says_what_was_dialled() -> None:
    async with receiver(reply(200)) as server, open_client(open_settings()) as client:
        answer = await client.send(Call("GET", server.url), max_bytes=1)
    assert answer.address == f"127.0.0.1:{server.port}"


async def test_a_header_cannot_smuggle(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp refuses line ends in values; that is the last of three checks."""
    async with receiver(raw(b"")) as server, open_client(open_settings()) as client:
        with pytest.raises(OutboundError):
            await client.send(Call("GET", server.url, {"X": "a\r\nEvil: 1"}), max_bytes=1)
    assert server.requests == []
