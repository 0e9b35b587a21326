"""DIDs for the world to see: the documents of hosted ones, and resolution (H5, H7, H8).

A document is served at the address its DID names, `/.well-known/did.json` or `/<path>/did.json`,
for the one domain that is configured; what a deactivated DID leaves is a 410.
"""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

import orjson
from aiohttp import ETag, web

from credentials import did_web
from credentials.errors import Deactivated, DidError, RetrievalError
from credentials.requester import CapacityError, FairShare, Requester, acting_for
from credentials.resolver import Answer, Resolver
from credentials.settings import CredentialSettings
from gateway import did_urls
from gateway.errors import Kind, problem
from gateway.keys import REDIS, REQUEST_ID
from gateway.principal import Scope
from gateway.routes import IF_NONE_MATCH, Route
from gateway.security import client_network
from outbound.client import Client, open_client
from outbound.errors import Blocked, TooLarge, Unreachable
from outbound.settings import OutboundSettings
from streams import dids

LOOKUPS_MAX: Final = 32
"""Anybody may ask for any did:web: so many requests may wait for the servers of these at once, of
one client at most as many as are free."""
AGAIN_S: Final = 10
"""When a client that has too many waiting shall ask again: no fetch takes longer."""
FETCH_S: Final = 10.0
MAX_AGE_S: Final = 60
"""How long the world may hold a document: a key that is taken out counts that long at most."""
DOCUMENT_TYPE: Final = "application/did+ld+json"
_ACCEPTED: Final = (
    "application/did+ld+json, application/did+json, application/did, application/json"
)
_CORS: Final = {"Access-Control-Allow-Origin": "*"}
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")

NOT_HOSTED: Final = Kind(404, "did_not_found", "There is no such DID", "No DID is hosted here.")
GONE: Final = Kind(
    410, "did_deactivated", "The DID is no more", "This DID was deactivated, which is for good."
)

RESULT_TYPE: Final = 'application/ld+json;profile="https://w3id.org/did-resolution"'
DRAFT_TYPE: Final = "application/did-resolution"
DEREFERENCING_TYPE: Final = "application/did-url-dereferencing"
_DRAFTS: Final = frozenset({DRAFT_TYPE, DEREFERENCING_TYPE})
"""Who asks for these types knows errors as objects; to everybody else they are words."""
_RESULTS: Final[Mapping[str, str]] = {
    "*/*": RESULT_TYPE,
    "application/*": RESULT_TYPE,
    "application/ld+json": RESULT_TYPE,
    "application/json": "application/json",
    DRAFT_TYPE: DRAFT_TYPE,
    DEREFERENCING_TYPE: DEREFERENCING_TYPE,
}
_DOCUMENTS: Final = frozenset({DOCUMENT_TYPE, "application/did+json", "application/did"})
_STATUSES: Final[Mapping[str, int]] = {
    "notFound": 404,
    "representationNotSupported": 406,
    "invalidDidDocument": 500,
    "methodNotSupported": 501,
    "internalError": 502,
}
"""By error; all others are about the DID itself: 400."""

RESOLVER = web.AppKey("resolver", Resolver)
LOOKUPS = web.AppKey("lookups", FairShare)
DOMAIN: "web.AppKey[str | None]" = web.AppKey("did_web_domain")


class _Fetcher:
    """GET over the guarded client, which lives as long as the application runs."""

    def __init__(self) -> None:
        self.client: Client | None = None

    async def __call__(self, url: str, max_bytes: int) -> Answer:
        if self.client is None:
            raise CapacityError("the gateway is starting or stopping")
        return await self.client.get(url, max_bytes=max_bytes, total_s=FETCH_S, accept=_ACCEPTED)

    async def living(self, _app: web.Application) -> AsyncIterator[None]:
        async with open_client(OutboundSettings()) as self.client:
            yield
        self.client = None


def install(app: web.Application) -> None:
    """Give `app` its resolver, the places in it, and the domain whose DIDs it serves."""
    fetcher = _Fetcher()
    resolver = Resolver(
        fetcher,
        hosted=partial(dids.find, app[REDIS]),
        refusals=(Blocked, TooLarge),
        failures=(Unreachable,),
    )
    app[DOMAIN] = resolver.domain = CredentialSettings().hosting_domain
    app[RESOLVER] = resolver
    app[LOOKUPS] = FairShare(LOOKUPS_MAX)
    app.cleanup_ctx.append(fetcher.living)


async def document(request: web.Request) -> web.Response:
    """GET /{path}/did.json: the document of a hosted did:web; 410 when it was deactivated."""
    domain = request.app[DOMAIN]
    # As it was sent: decoded, `a%2Fb` and `a/b` would be one place.
    segments = request.rel_url.raw_path.split("/")[1:-1]
    path = () if segments == [".well-known"] else segments
    if domain is None or not all(_SEGMENT.fullmatch(segment) for segment in path):
        return _refusal(request, NOT_HOSTED)
    record = await dids.find(request.app[REDIS], did_web.join(domain, *path))
    if record is None or record.document is None:
        return _refusal(request, GONE if record else NOT_HOSTED)
    headers = {**_CORS, "Cache-Control": f"public, max-age={MAX_AGE_S}"}
    tag = ETag(str(record.version))
    known = request.if_none_match or ()
    if any(one.value in (tag.value, "*") for one in known):
        response = web.Response(status=304, headers=headers)
    else:
        body = orjson.dumps(record.document)
        response = web.Response(body=body, headers=headers, content_type=DOCUMENT_TYPE)
    response.etag = tag
    return response


def _refusal(request: web.Request, kind: Kind) -> web.Response:
    response = problem(kind, instance=request.rel_url.raw_path, request_id=request[REQUEST_ID])
    response.headers.update(_CORS | {"Cache-Control": "no-cache"})
    return response


async def resolve(request: web.Request) -> web.Response:
    """GET /1.0/identifiers/{did}: resolves did:key, did:jwk and did:web (DID Resolution); of a DID
    URL with a fragment it answers the key or service that is named."""
    wanted = _wanted(",".join(request.headers.getall("Accept", ())) or "*/*")
    if wanted is None:
        error = DidError("representationNotSupported", f"Accept {DOCUMENT_TYPE} or {RESULT_TYPE}.")
        return _result(RESULT_TYPE, None, {}, error)
    result_type = RESULT_TYPE if wanted in _DOCUMENTS else wanted
    did, rest = did_urls.split(_target(request))
    tell = partial(_result, result_type, about_url=bool(rest))
    try:
        did_urls.check(rest, request.query)
        with acting_for(Requester(client_network(request), request.app[LOOKUPS])):
            resolution = await request.app[RESOLVER].resolve(did)
        found = did_urls.written(resolution.document, did, request.query)
        if rest:
            found = did_urls.part(found, did, rest)
    except Deactivated:
        return tell(None, {"deactivated": True}, None)
    except CapacityError as error:
        return _busy(tell, error)
    except DidError as error:
        return tell(None, {}, error)
    if wanted in _DOCUMENTS:
        return web.Response(body=orjson.dumps(found), headers=_CORS, content_type=wanted)
    return tell(found, resolution.metadata, None)


def _busy(tell: Callable[..., web.Response], error: CapacityError) -> web.Response:
    detail = f"{str(error).capitalize()}. Wait for their answers, then ask again."
    response = tell(None, {}, DidError("internalError", detail))
    response.set_status(503)
    response.headers["Retry-After"] = str(AGAIN_S)
    return response


def _target(request: web.Request) -> str:
    """The DID or DID URL in the path, encoded as a path segment or as it is. What stands in the
    query are DID parameters, which would choose something else, or resolution options."""
    tail = request.rel_url.raw_path.removeprefix("/1.0/identifiers/")
    if not tail.startswith("did:") or "%25" in tail:
        return unquote(tail)
    # As it is: what is encoded in it belongs to the DID, but for the mark of the fragment.
    did, mark, fragment = tail.partition("%23")
    return did + unquote(mark + fragment)


def _wanted(accept: str) -> str | None:
    """The media type to answer with, by the client's order of preference; None: none of ours."""
    found: list[tuple[float, str]] = []
    for item in accept.split(","):
        kind, *parameters = (part.strip() for part in item.lower().split(";"))
        weight = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
        known = kind if kind in _DOCUMENTS else _RESULTS.get(kind)
        if known is not None and re.fullmatch(r"1(\.0*)?|0?\.[0-9]*[1-9][0-9]*", weight):
            found.append((-float(weight), known))
    return min(found, key=lambda one: one[0])[1] if found else None


def _result(
    media_type: str,
    did_document: Any,
    about: dict[str, Any],
    error: DidError | None,
    *,
    about_url: bool = False,
) -> web.Response:
    """A DID resolution result; without a document and without an error the DID is no more.

    Of a DID URL the metadata has another name, and the document is a part of one.
    """
    drafted = media_type in _DRAFTS
    status, metadata = 200, {"contentType": media_type if drafted else DOCUMENT_TYPE}
    if did_document is None:
        status, metadata = 410, {}
    if error is not None:
        word, status = _word(error)
        metadata = _told(word, str(error), as_object=drafted)
    body = {
        "@context": "https://w3id.org/did-resolution/v1",
        "didDocument": did_document,
        "didDocumentMetadata": about,
        "didDereferencingMetadata" if about_url else "didResolutionMetadata": metadata,
    }
    if media_type == DEREFERENCING_TYPE:
        body = {
            "dereferencingMetadata": metadata,
            "contentStream": did_document,
            "contentMetadata": about,
        }
    headers = {**_CORS, "Content-Type": media_type, "Cache-Control": "no-cache"}
    return web.Response(status=status, body=orjson.dumps(body), headers=headers)


def _word(error: DidError) -> tuple[str, int]:
    """What DID Resolution calls this error, and its status."""
    if isinstance(error, RetrievalError):
        return "internalError", _STATUSES["internalError"]
    # Whether an address is one of those not called from here is nobody's business.
    word = "notFound" if error.code == "blocked" else error.code
    return word, _STATUSES.get(word, 400)


def _told(word: str, message: str, *, as_object: bool) -> dict[str, Any]:
    if not as_object:
        return {"error": word, "errorMessage": message}
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word).upper()
    kind = f"https://www.w3.org/ns/did#{name}"
    return {"error": {"type": kind, "title": word, "detail": message}}


def _document(path: str) -> Route:
    statuses, answer = (200, 304), dict[str, Any]
    return Route(
        "GET",
        path,
        document,
        Scope.PUBLIC,
        answer=answer,
        statuses=statuses,
        headers=(IF_NONE_MATCH,),
    )


ROUTES = (
    _document("/.well-known/did.json"),
    Route("GET", "/1.0/identifiers/{did:.+}", resolve, Scope.PUBLIC, answer=dict[str, Any]),
    _document("/{path:.+}/did.json"),
)
