"""The entries at the side of every page."""

from dataclasses import dataclass

from gateway.principal import Principal, Scope


@dataclass(frozen=True, slots=True)
class Item:
    """One entry. `icon` is a symbol of static/icons.svg."""

    title: str
    path: str
    icon: str
    needs: Scope = Scope.READ
    platform_only: bool = False
    tenants_only: bool = False


ITEMS = (
    Item("Overview", "/dashboard", "overview", platform_only=True),
    Item("Queues", "/dashboard", "overview", tenants_only=True),
    Item("Dead letters", "/dashboard/dead", "dead"),
    Item("Add a job", "/dashboard/add", "add", Scope.SUBMIT),
    Item("Workers", "/dashboard/workers", "workers", platform_only=True),
    Item("Webhooks", "/dashboard/webhooks", "webhooks"),
    Item("Mail", "/dashboard/mail", "mail"),
    Item("Credentials", "/dashboard/dids", "credentials"),
    Item("Audit", "/dashboard/audit", "audit", Scope.ADMIN),
    Item("API keys", "/dashboard/keys", "keys", Scope.ADMIN),
)


def navigation(principal: Principal) -> list[Item]:
    """What this principal can open."""
    other = "tenants_only" if principal.is_platform else "platform_only"
    return [item for item in ITEMS if item.needs in principal.scopes and not getattr(item, other)]


def home_of(principal: Principal) -> str:
    """The path of the first page this principal can open."""
    return next((item.path for item in navigation(principal)), ITEMS[0].path)


def role_of(principal: Principal) -> str:
    """The strongest of its scopes, as a word."""
    for scope in (Scope.ADMIN, Scope.OPERATE, Scope.READ, Scope.SUBMIT):
        if scope in principal.scopes:
            return str(scope)
    return "nobody"
