"""Hosted DIDs of an organization: their documents, and the public half of their keys."""

from typing import Any

import orjson
from aiohttp import web

from gateway.dashboard.told import asked, number_of, organization, query_of
from gateway.dashboard.view import page
from gateway.errors import BadQuery, Kind, Refusal
from gateway.keys import REDIS
from gateway.principal import Scope, principal_of
from gateway.routes import Route
from streams import dids
from streams.dids import HostedDid

HERE = "/dashboard/dids"
PAGE = 50
START_MAX = 1_000_000
DID_MAX_CHARS = 2_048
RELATIONSHIPS = (
    *("assertionMethod", "authentication", "keyAgreement"),
    *("capabilityInvocation", "capabilityDelegation"),
)


class DidNotFound(Refusal):
    """No such hosted DID, or another tenant's."""

    kind = Kind(404, "did_not_found", "There is no such DID")


async def hosted(request: web.Request) -> web.Response:
    """GET /dashboard/dids: the hosted DIDs of an organization, by name."""
    request, whose = asked(request), organization(request)
    start = _start(request)
    found: list[HostedDid] = []
    more = False
    if whose is not None:
        found, more = await dids.listed(request.app[REDIS], whose, start, PAGE)
    return page(
        request,
        "dids.html",
        title="DIDs and credentials",
        here=HERE,
        whose=whose,
        rows=[(one, len(keys_of(one))) for one in found],
        start=start,
        newer=query_of(request, start=max(0, start - PAGE) or None) if start else None,
        older=query_of(request, start=start + PAGE) if more else None,
    )


async def one(request: web.Request) -> web.Response:
    """GET /dashboard/dids/{did}: a hosted DID, its keys (public) and its document."""
    did = request.match_info["did"]
    known = await dids.find(request.app[REDIS], did) if len(did) <= DID_MAX_CHARS else None
    if known is None or not principal_of(request).may_see(known.organization_id):
        raise DidNotFound("No DID of this name is hosted here.")
    return page(request, "did.html", title=did, here=HERE, did=known, keys=keys_of(known))


def keys_of(did: HostedDid) -> list[dict[str, Any]]:
    """The public keys of a document, each with its names and with what it may be used for.

    A key can stand there more than once, under the name it signs with and under its thumbprint.
    """
    document = did.document or {}
    found: dict[bytes, dict[str, Any]] = {}
    for method in document.get("verificationMethod", ()):
        key = method.get("publicKeyJwk") or method
        one = found.setdefault(orjson.dumps(key), {"key": key, "names": [], "uses": []})
        one["names"].append(method["id"].partition("#")[2])
        one["uses"] += [
            name
            for name in RELATIONSHIPS
            if method["id"] in document.get(name, ()) and name not in one["uses"]
        ]
    return list(found.values())


def _start(request: web.Request) -> int:
    text = request.query.get("start", "0")
    if not (text.isascii() and text.isdecimal() and len(text) <= 7 and int(text) <= START_MAX):
        raise BadQuery(f"start must be a number from 0 to {START_MAX}.")
    return number_of(request, "start")


ROUTES = (
    Route("GET", HERE, hosted, Scope.READ),
    Route("GET", HERE + "/{did:[^/]+}", one, Scope.READ),
)
