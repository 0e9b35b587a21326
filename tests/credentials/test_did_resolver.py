"""Resolving: what may pass, what stays, and how little is asked."""

import asyncio
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
import trustme
from receivers import open_settings, receiver, reply

from credentials import did_jwk, did_key, keys, resolver
from credentials.document import MAX_BYTES
from credentials.errors import Deactivated, DidError, RetrievalError
from credentials.resolver import Resolver
from outbound.client import open_client
from outbound.errors import Blocked, TooLarge, Unreachable
from outbound.settings import OutboundSettings

DID = "did:web:issuer.example:a"
URL = "https://issuer.example/a/did.json"
DOCUMENT = {"id": DID, "assertionMethod": []}
KEY = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"


@dataclass
class Answer:
    status: int = 200
    body: bytes = orjson.dumps(DOCUMENT)
    headers: dict[str, str] = field(
        default_factory=lambda: {"Content-Type": "application/did+json; charset=utf-8"}
    )


class Fetch:
    """Answers, or raises, what it was given, and writes down what it was asked."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer or Answer()
        self.asked: list[str] = []

    async def __call__(self, url: str, max_bytes: int) -> Any:
        assert max_bytes == MAX_BYTES
        self.asked.append(url)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@dataclass
class Hosted:
    document: dict[str, Any] | None
    metadata: dict[str, Any] = field(default_factory=dict)


def over(fetch: Any, **more: Any) -> Resolver:
    return Resolver(fetch, refusals=(Blocked, TooLarge), failures=(Unreachable,), **more)


async def test_a_did_web_is_fetched_from_where_it_says() -> None:
    fetch = Fetch()
    resolution = await over(fetch).resolve(DID)
    assert resolution.document == DOCUMENT
    assert fetch.asked == [URL]


async def test_keys_need_no_network() -> None:
    fetch = Fetch()
    jwk = did_jwk.encode(keys.public_jwk(keys.generate("P-256")))
    assert (await over(fetch).resolve(KEY)).document == did_key.document(KEY)
    assert (await over(fetch).resolve(jwk)).document == did_jwk.document(jwk)
    assert fetch.asked == []


@pytest.mark.parametrize(
    ("answer", "code", "transient"),
    [
        (Answer(404), "notFound", False),
        (Answer(403), "notFound", False),
        (Answer(410), "deactivated", False),
        (Answer(301, headers={"Location": "https://other.example/"}), "notFound", False),
        (Answer(307), "notFound", False),
        (Answer(500), "DID_RETRIEVAL_ERROR", True),
        (Answer(503), "DID_RETRIEVAL_ERROR", True),
        (Answer(429), "DID_RETRIEVAL_ERROR", True),
        (Answer(408), "DID_RETRIEVAL_ERROR", True),
        (Answer(206), "notFound", False),
        (Answer(headers={"Content-Type": "text/html"}), "invalidDidDocument", False),
        (Answer(headers={"Content-Type": "application/jsonx"}), "invalidDidDocument", False),
        (Answer(headers={}, body=b"<html>"), "invalidDidDocument", False),
        (Answer(body=b"{"), "invalidDidDocument", False),
        (Answer(body=b'{"id": "did:web:issuer.example"}'), "invalidDidDocument", False),
        (Blocked(), "blocked", False),
        (TooLarge(9), "blocked", False),
        (Unreachable("no route", code="connect_failed"), "DID_RETRIEVAL_ERROR", True),
    ],
)
async def test_what_comes_instead_of_a_document(answer: Any, code: str, transient: bool) -> None:
    fetch = Fetch(answer)
    resolving = over(fetch)
    for _ in range(2):
        with pytest.raises(DidError) as caught:
            await resolving.resolve(DID)
        assert caught.value.code == code
        assert caught.value.transient is transient
        assert isinstance(caught.value, RetrievalError) is transient
        assert isinstance(caught.value, Deactivated) is (code == "deactivated")
    # A failure is not remembered.
    assert fetch.asked == [URL, URL]
    fetch.answer = Answer()
    assert (await resolving.resolve(DID)).document == DOCUMENT


@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/did+ld+json", "application/did", "APPLICATION/LD+JSON;q=1"],
)
async def test_json_by_any_of_its_names(kind: str) -> None:
    fetch = Fetch(Answer(headers={"Content-Type": kind}))
    assert (await over(fetch).resolve(DID)).document == DOCUMENT


async def test_a_server_need_not_say_what_it_sends() -> None:
    assert (await over(Fetch(Answer(headers={}))).resolve(DID)).document == DOCUMENT


@pytest.mark.parametrize(
    ("did", "code"),
    [
        ("", "invalidDid"),
        ("did", "invalidDid"),
        ("did:web", "invalidDid"),
        ("did:web:", "invalidDid"),
        ("DID:web:a.example", "invalidDid"),
        ("did:Web:a.example", "invalidDid"),
        ("did:web:a.example\n", "invalidDid"),
        ("did:web:a.example#key", "invalidDid"),
        ("did:web:a.example?x=1", "invalidDid"),
        ("did:web:127.0.0.1", "invalidDid"),
        ("did:web:" + "a" * 5_000, "invalidDid"),
        ("did:key:zTjsVPtY", "invalidPublicKeyLength"),
        ("did:example:a", "methodNotSupported"),
    ],
)
async def test_what_is_no_did_of_ours(did: str, code: str) -> None:
    fetch = Fetch()
    with pytest.raises(DidError) as caught:
        await over(fetch).resolve(did)
    assert caught.value.code == code
    assert not caught.value.transient
    assert fetch.asked == []


async def test_what_is_hosted_is_not_fetched() -> None:
    fetch = Fetch()
    known = {DID: Hosted(DOCUMENT, {"versionId": "3"}), f"{DID}:gone": Hosted(None)}

    async def hosted(did: str) -> Any:
        return known.get(did)

    resolving = over(fetch, hosted=hosted)
    resolution = await resolving.resolve(DID)
    assert (resolution.document, resolution.metadata) == (DOCUMENT, {"versionId": "3"})
    with pytest.raises(Deactivated):
        await resolving.resolve(f"{DID}:gone")
    resolving.domain = "issuer.example"
    with pytest.raises(DidError) as caught:
        await resolving.resolve(f"{DID}:none")
    assert caught.value.code == "notFound"
    assert fetch.asked == []


async def test_given_documents_come_first_and_are_checked() -> None:
    other = "did:web:other.example"
    resolving = Resolver(documents={DID: DOCUMENT, other: DOCUMENT})
    assert (await resolving.resolve(DID)).document == DOCUMENT
    with pytest.raises(DidError) as caught:
        await resolving.resolve(other)
    assert caught.value.code == "invalidDidDocument"
    with pytest.raises(DidError) as caught:
        await resolving.resolve("did:web:third.example")
    assert caught.value.code == "notFound"


async def test_a_document_is_believed_for_a_while() -> None:
    fetch = Fetch()
    resolving = over(fetch)
    now = 1000.0
    resolving.clock = lambda: now
    await resolving.resolve(DID)
    fetch.answer = Answer(body=orjson.dumps({**DOCUMENT, "more": 1}))
    now += resolver.CACHE_S - 1
    assert (await resolving.resolve(DID)).document == DOCUMENT
    now += 2
    assert (await resolving.resolve(DID)).document == {**DOCUMENT, "more": 1}
    assert len(fetch.asked) == 2


async def test_only_so_many_documents_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "CACHE_DOCUMENTS", 2)

    class Any3:
        def __init__(self) -> None:
            self.asked: list[str] = []

        async def __call__(self, url: str, _: int) -> Answer:
            self.asked.append(url)
            host = url.split("/")[2]
            return Answer(body=orjson.dumps({"id": f"did:web:{host}"}))

    fetch = Any3()
    resolving = over(fetch)
    for name in ("a", "b", "c", "b", "c", "a"):
        await resolving.resolve(f"did:web:{name}.example")
    assert len(fetch.asked) == 4


async def test_who_asks_at_the_same_time_shares_one_fetch() -> None:
    started, release = asyncio.Event(), asyncio.Event()
    asked = 0

    async def fetch(_url: str, _max_bytes: int) -> Answer:
        nonlocal asked
        asked += 1
        started.set()
        await release.wait()
        return Answer()

    resolving = over(fetch)
    tasks = [asyncio.create_task(resolving.resolve(DID)) for _ in range(5)]
    await started.wait()
    tasks[0].cancel()
    release.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(getattr(result, "document", None) == DOCUMENT for result in results[1:])
    assert asked == 1


async def test_a_server_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "TOTAL_S", 0.01)

    async def fetch(_url: str, _max_bytes: int) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(RetrievalError):
        await over(fetch).resolve(DID)


async def test_a_defect_is_not_taken_for_an_answer() -> None:
    with pytest.raises(ZeroDivisionError):
        await over(Fetch(ZeroDivisionError())).resolve(DID)


async def through(settings: OutboundSettings, port: int, path: str = "") -> Any:
    """Resolve a did:web of this machine over the real, guarded client."""
    async with open_client(settings) as client:

        async def fetch(url: str, max_bytes: int) -> Any:
            return await client.get(url, max_bytes=max_bytes)

        return await over(fetch).resolve(f"did:web:localhost%3A{port}{path}")


async def test_over_tls_and_only_over_tls(tmp_path: Path) -> None:
    """The network rows of the did:web vectors, over sockets."""
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(tls)
    trusting = open_settings(ca_file=ca_file, allow_http=False)
    json_type = {"Content-Type": "application/json"}

    async def good(seen: Any, writer: asyncio.StreamWriter) -> None:
        port = writer.get_extra_info("sockname")[1]
        body = orjson.dumps({"id": f"did:web:localhost%3A{port}:a"})
        await reply(200, body, json_type)(seen, writer)

    async with receiver(good, tls=tls) as server:
        resolution = await through(trusting, server.port, ":a")
        assert resolution.document == {"id": f"did:web:localhost%3A{server.port}:a"}
        assert server.requests[0].line == "GET /a/did.json HTTP/1.1"
    async with receiver(reply(200, b"{}", json_type), tls=tls) as server:
        with pytest.raises(DidError) as caught:
            await through(trusting, server.port)
        assert caught.value.code == "invalidDidDocument"
        assert server.requests[0].line == "GET /.well-known/did.json HTTP/1.1"
    long = reply(200, b" " * (MAX_BYTES + 1), json_type)
    async with receiver(long, tls=tls) as server:
        with pytest.raises(DidError) as caught:
            await through(trusting, server.port)
        assert (caught.value.code, caught.value.transient) == ("blocked", False)
    async with receiver(reply(302, b"", {"Location": "http://localhost/"}), tls=tls) as server:
        with pytest.raises(DidError) as caught:
            await through(trusting, server.port)
        assert caught.value.code == "notFound"
        assert len(server.requests) == 1


async def test_plain_http_and_addresses_that_are_not_public() -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # a handshake that fails
    async with receiver(reply(200, b"{}")) as server:
        with pytest.raises(RetrievalError):
            await through(open_settings(allow_http=False, connect_timeout_s=0.3), server.port)
        assert server.requests == []
    async with receiver(reply(200, b"{}")) as server:
        with pytest.raises(DidError) as caught:
            await through(OutboundSettings(allow_nets=(), own=()), server.port)
        assert caught.value.code == "blocked"
        assert server.connections == 0
