"""Who asks, and what they may do."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from aiohttp import web


class Scope(StrEnum):
    """What a route needs (AU-3). `PUBLIC` needs nobody."""

    PUBLIC = "public"
    SUBMIT = "submit"
    READ = "read"
    SENSITIVE = "read:sensitive"
    """Secrets and credentials inside what `read` shows, which are `***` without it (AU-12)."""
    OPERATE = "operate"
    ADMIN = "admin"


GRANTED = tuple(scope for scope in Scope if scope is not Scope.PUBLIC)
"""What a principal can be given."""
ROLES: Mapping[str, frozenset[Scope]] = MappingProxyType(
    {
        "viewer": frozenset({Scope.READ}),
        "submitter": frozenset({Scope.SUBMIT, Scope.READ}),
        "operator": frozenset({Scope.SUBMIT, Scope.READ, Scope.OPERATE}),
        "admin": frozenset({Scope.SUBMIT, Scope.READ, Scope.OPERATE, Scope.ADMIN}),
    }
)
"""Names for usual sets of scopes. `read:sensitive` is in none: it is given by name."""


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

    def may_name(self, organization_id: str | None) -> bool:
        """Whether a request may say that it is about this organization; None: it says nothing."""
        return self.is_platform or organization_id in (None, self.organization_id)

    def may_see(self, organization_id: str | None) -> bool:
        """Whether something of this tenant (None: of no tenant) exists for this principal."""
        return self.is_platform or organization_id == self.organization_id


LOCAL = Principal("local", frozenset(Scope))
"""Whoever reaches a gateway without credentials, which listens on loopback only."""

ANONYMOUS = Principal("anonymous", frozenset(), organization_id="")
"""Whoever asks for what is public. No tenant is called that."""

PRINCIPAL = web.RequestKey("principal", Principal)


@dataclass(frozen=True, slots=True)
class Standing:
    """Tells whether the credential of a request that takes long is good even now."""

    check: Callable[[], Awaitable[bool]]


STANDING = web.RequestKey("standing", Standing)


def principal_of(request: web.Request) -> Principal:
    """The principal that the middleware found."""
    principal: Principal = request.get(PRINCIPAL, ANONYMOUS)
    return principal


async def is_still_valid(request: web.Request) -> bool:
    """Whether whoever began this request may go on: keys are revoked, tokens expire."""
    standing = request.get(STANDING)
    return standing is None or await standing.check()


def scopes_of(words: Iterable[str]) -> frozenset[Scope]:
    """The scopes that were written down; words nobody knows any more give nothing."""
    known = {scope.value: scope for scope in GRANTED}
    return frozenset(known[word] for word in words if word in known)
