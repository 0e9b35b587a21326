"""Every route x role x {own organization, other, platform, none}, by the table (AU-3, AU-4)."""

import base64
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession, ClientTimeout
from by_hand import Hand

from consumers.custody import Custody
from consumers.status_lists import StatusLists
from credentials.keyring import Keyring
from gateway.app import TABLE
from gateway.dashboard.causes import Library
from gateway.principal import Scope
from gateway.routes import Route
from gateway.settings import GatewaySettings
from schemas.spec import catalog
from schemas.status import PURPOSES
from streams import Queue, Redis, access, dids
from streams import destinations as store
from streams.canaries import Canary, keep
from streams.destinations import Destination
from tests.gateway.callers import OTHER, OWN, ROLE_NAMES, Callers, callers, scopes_of_role
from tests.gateway.samples import Serve

QUEUE = "vc-verification"
CREDENTIAL = "urn:uuid:6f0f4f63-2c39-5d2b-9c0e-6c1f1d0a7c55"
DID = "did:web:issuer.example:own"
NO_SCOPE, NOT_PLATFORM = "insufficient_scope", "platform_only"
SETTINGS = GatewaySettings(host="127.0.0.1", port=0, require_auth="always")
WITH_IDS = (
    *("/queue/{name}/job/", "/dashboard/queue/{name}/job/"),
    *("/batches/", "/webhooks/destinations/", "/credentials/{", "/keys/{"),
    *("/dashboard/webhooks/{", "/dashboard/credentials/{", "/dashboard/keys/{"),
    *("/dashboard/dids/{", "/dashboard/dead/{name}/"),
)
IDS = [f"{route.method} {route.path}" for route in TABLE]
OF_ONE_TENANT = [
    route
    for route in TABLE
    if route.needs is not Scope.PUBLIC
    and not route.platform_only
    and route.path.startswith(WITH_IDS)
]


@dataclass(frozen=True)
class World:
    """A thing of OWN for every path with an id, and ids of nothing."""

    things: dict[str, str]
    nothing: dict[str, str]

    def path(self, route: Route, things: dict[str, str]) -> str:
        """The route's path to one of these things."""
        kind = next((kind for kind in things if route.path.startswith(kind)), None)
        path = route.path.replace("{name}", QUEUE)
        path = re.sub(r"\{\w+:([a-z]+)\|[^{}]*\}", r"\1", path)  # the first of some words
        return re.sub(r"\{\w+(?::[^{}]+)?\}", things[kind] if kind else "x", path)


@pytest.fixture
async def world(redis: Redis) -> World:
    queue = Queue(QUEUE, redis)
    data = {"vcJwt": "eyJh.eyJh.c2ln", "organizationId": OWN, "userId": "u"}
    await queue.add("verify", data, job_id="own-job", delay=3_600_000)
    to = Destination(OWN, "https://hooks.example")
    rules = store.Rules()
    await store.write_down(redis, to, rules.forget_ms)
    await store.admit(redis, to, "job", "lease", rules)
    ring = Keyring.parse(f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}")
    lists = StatusLists(redis, Custody(redis, ring), "http://localhost:3000", ttl_ms=90_000)
    issuer = await lists.custody.create_did_key(("made", "for", "tests"), OWN)
    await lists.assign(CREDENTIAL, issuer, OWN, PURPOSES, (CREDENTIAL,))
    made = dids.Version("{}", "{}", f"{DID}#k", [(f"{DID}#k", "sealed")])
    await dids.create(redis, dids.Change(DID, OWN, ("tests",), "{}"), made)
    text, key_id = access.mint("test")
    await access.create(redis, text, access.NewKey("own", ("read",), OWN), "tests", b"")
    await queue.add("verify", data, job_id="dead-job")
    hand = Hand(redis, catalog()[QUEUE])
    await hand.fail(await hand.take_one())
    (cause,) = (await Library().of(queue.store)).causes
    await keep(
        redis, Canary("c0ffee0123456789", QUEUE, cause.fingerprint, ("own-job",), "t", 1, OWN)
    )
    return World(
        {
            "/dashboard/dead/{name}/canary/": "c0ffee0123456789",
            "/dashboard/dead/{name}/": cause.fingerprint,
            "/queue/{name}/job/": "own-job",
            "/dashboard/queue/{name}/job/": "own-job",
            "/batches/": "",
            "/webhooks/destinations/": to.id,
            "/credentials/{": CREDENTIAL,
            "/keys/{": key_id,
            "/dashboard/webhooks/{": to.id,
            "/dashboard/credentials/{": CREDENTIAL,
            "/dashboard/keys/{": key_id,
            "/dashboard/dids/{": DID,
        },
        {
            "/dashboard/dead/{name}/canary/": "0123456789abcdef",
            "/dashboard/dead/{name}/": "0123456789ab",
            "/queue/{name}/job/": "no-job",
            "/dashboard/queue/{name}/job/": "no-job",
            "/batches/": "nothing",
            "/webhooks/destinations/": "0" * 32,
            "/credentials/{": "urn:uuid:nothing",
            "/keys/{": "000000000000",
            "/dashboard/webhooks/{": "0" * 32,
            "/dashboard/credentials/{": "urn:uuid:nothing",
            "/dashboard/keys/{": "000000000000",
            "/dashboard/dids/{": "did:web:nothing.example",
        },
    )


@pytest.fixture
async def who(redis: Redis, serve: Serve, world: World) -> AsyncIterator[Callers]:
    """One caller of every kind."""
    async with serve(SETTINGS) as http, callers(redis, str(http._base_url)) as found:
        batch = {"vcJwts": ["eyJh.eyJh.c2ln"], "organizationId": OWN, "userId": "u"}
        async with found["admin", OWN].post(f"/queue/{QUEUE}/batches", json=batch) as response:
            world.things["/batches/"] = (await response.json())["data"]["id"]
        yield found


@dataclass(frozen=True)
class Told:
    """What a caller was told, without what differs in every answer."""

    status: int
    code: str | None
    detail: str | None


async def ask(http: ClientSession, route: Route, path: str) -> Told:
    body = {"json": {}} if route.body is not None else {}
    timeout = ClientTimeout(total=20)
    async with http.request(route.method, path, timeout=timeout, **body) as response:
        return await _told(response)


async def _told(response: ClientResponse) -> Told:
    if response.content_type != "application/problem+json":
        return Told(response.status, None, None)  # an event stream has no end
    problem: dict[str, Any] = await response.json(content_type=None)
    return Told(response.status, problem["code"], problem["detail"])


@pytest.mark.parametrize("route", TABLE, ids=IDS)
async def test_who_may_call(who: Callers, world: World, route: Route) -> None:
    path = world.path(route, world.things)
    anonymous = await ask(who["none", None], route, path)
    if route.needs is Scope.PUBLIC:
        assert anonymous.status not in (401, 403)
    else:
        assert (anonymous.status, anonymous.code) == (401, "unauthorized")
    for organization_id in (OTHER, OWN, None):  # those who change something come last
        for role in ROLE_NAMES:
            told = await ask(who[role, organization_id], route, path)
            expected = _expected(route, role, organization_id)
            if expected is not None:
                assert (told.status, told.code) == (403, expected), (role, organization_id)
            else:
                assert told.status != 401, (role, organization_id)
                assert told.code not in (NO_SCOPE, NOT_PLATFORM), (role, organization_id)
                assert told.status < 500 or told.code in {"keys_unavailable", "not_in_time"}


def _expected(route: Route, role: str, organization_id: str | None) -> str | None:
    """The code of the refusal; None: there is none."""
    if route.needs is Scope.PUBLIC:
        return None
    if route.needs.value not in scopes_of_role(role):
        return NO_SCOPE
    return NOT_PLATFORM if route.platform_only and organization_id is not None else None


@pytest.mark.parametrize("route", OF_ONE_TENANT, ids=lambda r: f"{r.method} {r.path}")
async def test_another_tenants_thing_is_one_that_is_not_there(
    who: Callers, world: World, route: Route
) -> None:
    theirs = world.path(route, world.things)
    nothing = world.path(route, world.nothing)
    assert theirs != nothing
    told = await ask(who["all", OTHER], route, theirs)
    assert told.status in (404, 422)
    assert told == await ask(who["all", OTHER], route, nothing)
    if told.status == 404:
        assert (await ask(who["all", OWN], route, theirs)).status != 404
        assert (await ask(who["all", OWN], route, nothing)).status == 404


def test_what_there_is_to_be_kept_apart() -> None:
    """A new kind of thing with an id must come into the test above."""
    others = {
        route.path
        for route in TABLE
        if re.search(r"\{(?!name\}|verb:)", route.path)
        and route.needs is not Scope.PUBLIC
        and not route.platform_only
        and route not in OF_ONE_TENANT
    }
    assert others == {
        "/mail/suppressions/{id:(?!check$)[^/]+}",
        "/dashboard/mail/suppressions/{id}/allow",
    }, "its list is the caller's own"


def test_who_may_do_what_is_decided_in_the_table() -> None:
    for route in TABLE:
        if route.needs is Scope.PUBLIC:
            assert not route.platform_only
        if route.method not in ("GET", "HEAD"):
            reading = route.path.endswith("/mail/suppressions/check")
            assert route.needs is not Scope.READ or reading, route.path
