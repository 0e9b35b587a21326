"""Hosted DID documents and DID resolution, over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from aiohttp import ClientSession
from yarl import URL

from consumers.hosting import RESERVED
from credentials import did_jwk, did_key, keys
from credentials.document import methods
from credentials.publication import Publication
from credentials.resolver import Resolver
from gateway import dids as gateway_dids
from gateway.app import TABLE, create_app
from gateway.dids import DOMAIN, RESOLVER
from gateway.server import listening
from gateway.settings import GatewaySettings
from outbound.errors import Blocked, TooLarge, Unreachable
from streams import Redis, dids
from streams.dids import Change, Version

HOST = "did:web:localhost%3A3000"
KEY = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
P256 = "did:key:zDnaeUyom2PAVCPzd7M5T23SXy8zsoj56mPaBWBMqmvBM8G8G"
JSON = {"Content-Type": "application/json"}


def version(publication: Publication, kid: str) -> Version:
    document = orjson.dumps(publication.document()).decode()
    return Version(publication.encode(), document, publication.key_id, [(kid, "sealed")])


async def host(redis: Redis, did: str) -> Publication:
    """Publish a DID."""
    jwk = keys.public_jwk(keys.generate("Ed25519"))
    publication, kid = Publication(did).with_key(jwk, signs=True)
    change = Change(did, "org-a", ("test", did), "{}")
    assert (await dids.create(redis, change, version(publication, kid))).word == "OK"
    return publication


async def rotate(redis: Redis, publication: Publication, expected: int) -> Publication:
    """The next version of a DID."""
    jwk = keys.public_jwk(keys.generate("Ed25519"))
    after, kid = publication.with_key(jwk, signs=True)
    change = Change(publication.did, "org-a", ("rotate", publication.did), "{}")
    reply = await dids.update(redis, change, version(after, kid), expected=expected)
    assert reply.word == "OK"
    return after


async def end(redis: Redis, did: str) -> None:
    """Deactivate a DID."""
    assert (await dids.deactivate(redis, Change(did, "org-a", ("end", did), "{}"))).word == "OK"


@dataclass
class World:
    """What a fetch finds, by URL; an exception is raised."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def __call__(self, url: str, max_bytes: int) -> Any:
        self.asked.append(url)
        assert max_bytes == 1_048_576
        answer = self.answers[url]
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Answer:
    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))


def exactly(http: ClientSession, path: str) -> URL:
    """A URL whose path is sent as it is written."""
    return URL(f"{http._base_url}{path}", encoded=True)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def http(
    redis: Redis, world: World, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ClientSession]:
    """A gateway whose resolver asks `world` instead of the network."""
    monkeypatch.setenv("PUBLIC_URL", "http://localhost:3000")
    monkeypatch.delenv("DID_WEB_DOMAIN", raising=False)
    app = create_app(redis, GatewaySettings(host="127.0.0.1", port=0))
    resolver = Resolver(
        world,
        hosted=lambda did: dids.find(redis, did),
        refusals=(Blocked, TooLarge),
        failures=(Unreachable,),
    )
    resolver.domain = app[DOMAIN]
    app[RESOLVER] = resolver
    async with (
        listening(app) as (_, port),
        ClientSession(f"http://localhost:{port}") as session,
    ):
        yield session


async def test_a_document_is_served_where_its_did_says(http: ClientSession, redis: Redis) -> None:
    for did, path in (
        (HOST, "/.well-known"),
        (f"{HOST}:a", "/a"),
        (f"{HOST}:a:b-1_c.d", "/a/b-1_c.d"),
    ):
        publication = await host(redis, did)
        async with http.get(f"{path}/did.json") as response:
            assert response.status == 200
            assert response.content_type == "application/did+ld+json"
            assert response.headers["Access-Control-Allow-Origin"] == "*"
            assert response.headers["Cache-Control"] == "public, max-age=60"
            assert response.headers["ETag"] == '"1"'
            assert await response.json(content_type=None) == publication.document()
        async with http.head(f"{path}/did.json") as response:
            assert response.status == 200


async def test_what_is_known_is_not_sent_again(http: ClientSession, redis: Redis) -> None:
    publication = await host(redis, f"{HOST}:a")
    for known in ('"1"', 'W/"1"', '"x", "1"', "*"):
        async with http.get("/a/did.json", headers={"If-None-Match": known}) as response:
            assert response.status == 304
            assert response.headers["ETag"] == '"1"'
            assert await response.read() == b""
    after = await rotate(redis, publication, 1)
    async with http.get("/a/did.json", headers={"If-None-Match": '"1"'}) as response:
        assert response.status == 200
        assert response.headers["ETag"] == '"2"'
        assert await response.json(content_type=None) == after.document()


@pytest.mark.parametrize(
    "path",
    ["/b/did.json", "/.well-known/did.json", "/a/b/did.json", "/a%2Fb/did.json", "/a:b/did.json",
     "/a%3Ab/did.json", "/c%20d/did.json", "/%C3%A4/did.json", "//did.json", "/did.json"],
)  # fmt: skip
async def test_what_is_not_hosted(http: ClientSession, redis: Redis, path: str) -> None:
    await host(redis, f"{HOST}:a")
    async with http.get(exactly(http, path)) as response:
        assert response.status == 404
        problem = await response.json(content_type="application/problem+json")
        assert problem["code"] in {"did_not_found", "path_not_found"}
        if problem["code"] == "did_not_found":
            assert response.headers["Access-Control-Allow-Origin"] == "*"


async def test_one_did_has_one_address(http: ClientSession, redis: Redis) -> None:
    await host(redis, f"{HOST}:a:b")
    for path, status in (("a/b", 200), ("a%2Fb", 404), ("a:b", 404), ("a%3Ab", 404)):
        url = exactly(http, f"/{path}/did.json")
        async with http.get(url) as response:
            assert response.status == status, path


async def test_a_deactivated_did_is_a_tombstone(http: ClientSession, redis: Redis) -> None:
    await host(redis, f"{HOST}:a")
    await end(redis, f"{HOST}:a")
    async with http.get("/a/did.json", headers={"If-None-Match": '"1"'}) as response:
        assert response.status == 410
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Cache-Control"] == "no-cache"
        assert (await response.json(content_type=None))["code"] == "did_deactivated"
    async with http.get(f"/1.0/identifiers/{quote(f'{HOST}:a', safe='')}") as response:
        assert response.status == 410
        body = await response.json(content_type=None)
        assert body["didDocument"] is None
        assert body["didDocumentMetadata"] == {"deactivated": True}
        assert "error" not in body["didResolutionMetadata"]


async def test_another_domain_is_not_served(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    await host(redis, f"{HOST}:a")
    await host(redis, "did:web:issuer.example:b")
    monkeypatch.setenv("DID_WEB_DOMAIN", "issuer.example")
    for path, status in (("/a/did.json", 404), ("/b/did.json", 200)):
        assert await status_of(redis, path) == status
    monkeypatch.delenv("DID_WEB_DOMAIN")
    monkeypatch.setenv("PUBLIC_URL", "http://127.0.0.1:3000")
    assert await status_of(redis, "/a/did.json") == 404


async def status_of(redis: Redis, path: str) -> int:
    app = create_app(redis, GatewaySettings(host="127.0.0.1", port=0))
    async with (
        listening(app) as (_, port),
        ClientSession() as session,
        session.get(f"http://localhost:{port}{path}") as response,
    ):
        return response.status


async def resolved(http: ClientSession, did: str, **headers: str) -> tuple[int, Any, str]:
    url = exactly(http, f"/1.0/identifiers/{did}")
    async with http.get(url, headers=headers) as response:
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        body = await response.json(content_type=None)
        return response.status, body, response.headers["Content-Type"]


async def test_every_method_resolves(http: ClientSession, redis: Redis, world: World) -> None:
    publication = await host(redis, f"{HOST}:a")
    jwk = did_jwk.encode(keys.public_jwk(keys.generate("P-384")))
    foreign = "did:web:issuer.example"
    document = {"id": foreign, "assertionMethod": []}
    world.answers["https://issuer.example/.well-known/did.json"] = Answer(orjson.dumps(document))
    for did, expected in (
        (KEY, did_key.document(KEY)),
        (jwk, did_jwk.document(jwk)),
        (f"{HOST}:a", publication.document()),
        (foreign, document),
    ):
        for spelling in (did, quote(did, safe=""), quote(did, safe=":")):
            status, body, kind = await resolved(http, spelling)
            assert status == 200, spelling
            assert kind == 'application/ld+json;profile="https://w3id.org/did-resolution"'
            assert body["@context"] == "https://w3id.org/did-resolution/v1"
            assert body["didDocument"] == expected
            assert body["didResolutionMetadata"] == {"contentType": "application/did+ld+json"}
    status, body, _ = await resolved(http, f"{HOST}:a")
    assert set(body["didDocumentMetadata"]) == {"created", "updated", "versionId"}
    assert body["didDocumentMetadata"]["versionId"] == "1"
    # Its own document is not asked for over the network, the foreign one only once.
    assert world.asked == ["https://issuer.example/.well-known/did.json"]


@pytest.mark.parametrize(
    ("did", "status", "word"),
    [
        ("x", 400, "invalidDid"),
        ("did:key", 400, "invalidDid"),
        ("did:key:z", 400, "invalidDid"),
        ("did:web:127.0.0.1", 400, "invalidDid"),
        ("did:web:a..b", 400, "invalidDid"),
        (f"{KEY}?publicKeyFormat=unknown", 400, "unsupportedPublicKeyType"),
        (f"{KEY}?publicKeyFormat=Ed25519VerificationKey2018", 400, "invalidPublicKeyType"),
        (f"{P256}?publicKeyFormat=Ed25519VerificationKey2020", 400, "unsupportedPublicKeyType"),
        (f"{KEY}?versionId=1", 400, "invalidDidUrl"),
        ("did:key:z?publicKeyFormat=Multikey", 400, "invalidDid"),
        ("did:key:zTjsVPtY", 400, "invalidPublicKeyLength"),
        ("did:example:1", 501, "methodNotSupported"),
        (f"{HOST}:none", 404, "notFound"),
        ("did:web:blocked.example", 404, "notFound"),
        ("did:web:gone.example", 404, "notFound"),
        ("did:web:huge.example", 404, "notFound"),
        ("did:web:html.example", 500, "invalidDidDocument"),
        ("did:web:liar.example", 500, "invalidDidDocument"),
        ("did:web:down.example", 502, "internalError"),
        ("did:web:busy.example", 502, "internalError"),
    ],
)
async def test_what_does_not_resolve(
    http: ClientSession, world: World, did: str, status: int, word: str
) -> None:
    answers = {
        "blocked": Blocked(),
        "gone": Answer(b"", 404),
        "huge": TooLarge(1),
        "html": Answer(b"<p>", headers={"Content-Type": "text/html"}),
        "liar": Answer(b'{"id": "did:web:other.example"}'),
        "down": Unreachable("no answer", code="connect_refused"),
        "busy": Answer(b"", 503),
    }
    for name, answer in answers.items():
        world.answers[f"https://{name}.example/.well-known/did.json"] = answer
    found, body, _ = await resolved(http, did)
    assert found == status
    assert body["didDocument"] is None
    assert body["didResolutionMetadata"]["error"] == word
    assert body["didResolutionMetadata"]["errorMessage"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json", "application/json"),
        ("application/did-resolution", "application/did-resolution"),
        ("text/html, application/did;q=0.5, application/json;q=0.2", "application/did"),
        ("application/did+json", "application/did+json"),
        ("application/did+ld+json", "application/did+ld+json"),
        ('application/ld+json;profile="https://w3id.org/did-resolution"', None),
        ("text/html, */*;q=0.1", None),
    ],
)
async def test_the_answer_has_the_type_that_was_asked_for(
    http: ClientSession, accept: str, kind: str | None
) -> None:
    status, body, found = await resolved(http, KEY, Accept=accept)
    assert status == 200
    assert found.split(";")[0] == (kind or "application/ld+json")
    is_document = "did" in found.split(";")[0] and kind != "application/did-resolution"
    assert (body == did_key.document(KEY)) is is_document
    assert ("didDocument" in body) is not is_document


@pytest.mark.parametrize(
    ("key_format", "types", "member"),
    [
        ("Multikey", ("Multikey", "Multikey"), "publicKeyMultibase"),
        ("JsonWebKey2020", ("JsonWebKey2020", "JsonWebKey2020"), "publicKeyJwk"),
        (
            "Ed25519VerificationKey2020",
            ("Ed25519VerificationKey2020", "X25519KeyAgreementKey2020"),
            "publicKeyMultibase",
        ),
    ],
)
async def test_a_did_key_in_another_format(
    http: ClientSession, key_format: str, types: tuple[str, ...], member: str
) -> None:
    status, body, _ = await resolved(http, f"{KEY}?publicKeyFormat={key_format}")
    assert status == 200
    found = body["didDocument"]["verificationMethod"]
    assert tuple(one["type"] for one in found) == types
    assert all(member in one for one in found)
    # Whatever the format, a verifier takes the same key from it.
    (ours,), (theirs,) = methods(body["didDocument"], KEY), methods(did_key.document(KEY), KEY)
    assert (ours.id, ours.jwk) == (theirs.id, theirs.jwk)


async def test_a_did_url_with_a_fragment_is_the_key_or_service_it_names(
    http: ClientSession, redis: Redis
) -> None:
    method = did_key.document(KEY)["verificationMethod"][1]
    status, body, _ = await resolved(http, quote(method["id"], safe=":"))
    assert (status, body["didDocument"]) == (200, method)
    assert body["didDereferencingMetadata"] == {"contentType": "application/did+ld+json"}
    assert "didResolutionMetadata" not in body
    await host(redis, f"{HOST}:a")
    _, body, _ = await resolved(http, f"{HOST}:a%23key-1")
    assert body["didDocument"]["id"] == f"{HOST}:a#key-1"


@pytest.mark.parametrize(
    ("url", "status", "word"),
    [
        (f"{KEY}%23x", 404, "notFound"),
        (quote(f"{KEY}/path#x", safe=""), 400, "invalidDidUrl"),
        (quote(f"{KEY}?query#x", safe=""), 400, "invalidDidUrl"),
        (f"{KEY}%23", 400, "invalidDidUrl"),
        (f"{KEY}%23a%23b", 400, "invalidDidUrl"),
        ("did:key:z%23x", 400, "invalidDid"),
        ("did:example:1%23x", 501, "methodNotSupported"),
        (f"{KEY}%23x?publicKeyFormat=Ed25519VerificationKey2018", 400, "invalidPublicKeyType"),
    ],
)
async def test_did_urls_that_lead_nowhere(
    http: ClientSession, url: str, status: int, word: str
) -> None:
    found, body, _ = await resolved(http, url)
    assert (found, body["didDocument"]) == (status, None)
    assert body["didDereferencingMetadata"]["error"] == word


async def test_options_that_nobody_knows_are_ignored(http: ClientSession) -> None:
    status, body, _ = await resolved(http, f"{KEY}?option=1")
    assert (status, body["didDocument"]) == (200, did_key.document(KEY))


@pytest.mark.parametrize("accept", ["text/html", "application/did;q=0", "x", "application/xml"])
async def test_a_type_nobody_has(http: ClientSession, accept: str) -> None:
    status, body, _ = await resolved(http, KEY, Accept=accept)
    assert status == 406
    assert body["didResolutionMetadata"]["error"] == "representationNotSupported"


async def test_errors_are_objects_for_those_who_know_them(http: ClientSession) -> None:
    _, body, _ = await resolved(http, "x", Accept="application/did-resolution")
    error = body["didResolutionMetadata"]["error"]
    assert error["type"] == "https://www.w3.org/ns/did#INVALID_DID"
    assert error["detail"]


async def test_drafts_have_types_and_members_of_their_own(http: ClientSession) -> None:
    resolution, dereferencing = "application/did-resolution", "application/did-url-dereferencing"
    _, body, kind = await resolved(http, KEY, Accept=resolution)
    assert (kind, body["didResolutionMetadata"]) == (resolution, {"contentType": resolution})
    method = did_key.document(KEY)["verificationMethod"][0]
    for did, found in ((KEY, did_key.document(KEY)), (quote(method["id"], safe=""), method)):
        status, body, kind = await resolved(http, did, Accept=dereferencing)
        assert (status, kind) == (200, dereferencing)
        assert body == {
            "dereferencingMetadata": {"contentType": dereferencing},
            "contentStream": found,
            "contentMetadata": {},
        }
    status, body, _ = await resolved(http, f"{KEY}%23x", Accept=dereferencing)
    assert (status, body["contentStream"]) == (404, None)
    error = body["dereferencingMetadata"]["error"]
    assert error["type"] == "https://www.w3.org/ns/did#NOT_FOUND"


class SlowWorld:
    """A client of which only healthy.example answers."""

    def __init__(self) -> None:
        self.hanging = 0

    async def get(self, url: str, **_: Any) -> Answer:
        if "healthy.example" in url:
            return Answer(orjson.dumps({"id": f"did:web:{URL(url).host}"}))
        self.hanging += 1
        await asyncio.Event().wait()
        raise AssertionError


async def test_one_client_does_not_fill_the_resolver(redis: Redis) -> None:
    app = create_app(redis, GatewaySettings(host="127.0.0.1", port=0, trusted_proxies=1))
    async with listening(app) as (_, port), ClientSession(f"http://localhost:{port}") as session:
        resolver: Any = app[RESOLVER]
        world = resolver._fetch.client = SlowWorld()

        async def ask(name: str, address: str) -> tuple[int, str | None, Any]:
            headers = {"X-Forwarded-For": address}
            path = f"/1.0/identifiers/did:web:{name}.example"
            async with session.get(path, headers=headers) as response:
                body = await response.json(content_type=None)
                return response.status, response.headers.get("Retry-After"), body

        tasks = []
        for number in range(20):
            # One client: an IPv6 network is one.
            address = f"2001:db8::{number + 1:x}"
            tasks.append(asyncio.create_task(ask(f"slow{number}", address)))
        while sum(task.done() for task in tasks) < 4:
            await asyncio.sleep(0.01)
        refused = [task.result() for task in tasks if task.done()]
        assert {(status, again) for status, again, _ in refused} == {(503, "10")}
        assert refused[0][2]["didResolutionMetadata"]["error"] == "internalError"
        assert "waiting" in refused[0][2]["didResolutionMetadata"]["errorMessage"]
        assert world.hanging == 16
        for address in ("2001:db8:0:1::1", "198.51.100.7"):
            status, again, _ = await ask("healthy", address)
            assert (status, again) == (200, None)
        # What needs no network is answered to everybody.
        async with session.get(
            f"/1.0/identifiers/{KEY}", headers={"X-Forwarded-For": "2001:db8::1"}
        ) as response:
            assert response.status == 200
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        while app[gateway_dids.LOOKUPS].free < gateway_dids.LOOKUPS_MAX:
            await asyncio.sleep(0.01)


def test_no_hosted_did_lies_where_the_gateway_answers_something_else() -> None:
    """`/batches/did.json` is a batch called did.json: did:web:...:batches would not resolve."""
    firsts = {route.path.split("/")[1] for route in TABLE}
    taken = {first for first in firsts if first and not first.startswith((".", "{"))}
    assert taken <= RESERVED
