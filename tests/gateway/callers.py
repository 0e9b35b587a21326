"""Principals for the tests of who may do what."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientSession, web

from gateway.app import create_app
from gateway.principal import GRANTED, PRINCIPAL, ROLES, Principal, Scope
from gateway.server import listening
from gateway.settings import GatewaySettings
from streams import Redis, access

OWN, OTHER = "org-own", "org-other"


async def key(
    redis: Redis,
    scopes: Iterable[str],
    organization_id: str | None = None,
    expires_ms: int | None = None,
    name: str = "tester",
) -> str:
    """A new API key."""
    text, _ = access.mint("test")
    new = access.NewKey(name, tuple(scopes), organization_id, expires_ms)
    await access.create(redis, text, new, "tests", b"")
    return text


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


@dataclass
class Callers:
    """Clients of one gateway: `calls[role, organization]`, and one without a key."""

    calls: dict[tuple[str, str | None], ClientSession] = field(default_factory=dict)

    def __getitem__(self, who: tuple[str, str | None]) -> ClientSession:
        return self.calls[who]


ROLE_NAMES = (*ROLES, "all")


def scopes_of_role(role: str) -> list[str]:
    """`all` is an admin who may see secrets, too."""
    return [scope.value for scope in GRANTED if role == "all" or scope in ROLES[role]]


@asynccontextmanager
async def callers(
    redis: Redis, url: str, roles: Iterable[str] = ROLE_NAMES
) -> AsyncIterator[Callers]:
    """Of every role one in OWN, one in OTHER, one of the platform; `("none", None)` has no key."""
    found = Callers()
    try:
        for role in roles:
            for organization_id in (OWN, OTHER, None):
                text = await key(redis, scopes_of_role(role), organization_id, name=role)
                found.calls[role, organization_id] = ClientSession(url, headers=bearer(text))
        found.calls["none", None] = ClientSession(url)
        yield found
    finally:
        for session in found.calls.values():
            await session.close()


@asynccontextmanager
async def tenants(
    redis: Redis, *organizations: str | None
) -> AsyncIterator[tuple[ClientSession, ...]]:
    """A gateway that believes who one says to be, and a client of each organization (None: of the
    platform) that may do everything."""

    @web.middleware
    async def believed(request: web.Request, handler: Any) -> web.StreamResponse:
        organization_id = request.headers["X-Who"] or None
        request[PRINCIPAL] = Principal("someone", frozenset(Scope), organization_id, "key-1")
        response: web.StreamResponse = await handler(request)
        return response

    app = create_app(redis, GatewaySettings(host="127.0.0.1", port=0))
    app.middlewares.append(believed)
    async with listening(app) as (_, port), AsyncExitStack() as stack:
        clients = [
            ClientSession(f"http://localhost:{port}", headers={"X-Who": name or ""})
            for name in organizations
        ]
        yield tuple([await stack.enter_async_context(client) for client in clients])
