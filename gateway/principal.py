"""Who asks, and what they may do."""

from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web


class Scope(StrEnum):
    """What a route needs (AU-3). `PUBLIC` needs nobody."""

    PUBLIC = "public"
    SUBMIT = "submit"
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """The one a request comes from."""

    name: str
    scopes: frozenset[Scope]
    organization_id: str | None = None
    """The tenant it belongs to; None: the platform, which sees every tenant."""
    key_id: str | None = None

    @property
    def is_platform(self) -> bool:
        return self.organization_id is None

    def may_see(self, organization_id: str | None) -> bool:
        """Whether something of this tenant (None: of no tenant) exists for this principal."""
        return self.is_platform or organization_id == self.organization_id


LOCAL = Principal("local", frozenset(Scope))
"""Whoever reaches a gateway without credentials, which listens on loopback only."""

PRINCIPAL = web.RequestKey("principal", Principal)


def principal_of(request: web.Request) -> Principal:
    """The principal that the middleware found."""
    principal: Principal = request.get(PRINCIPAL, LOCAL)
    return principal
