"""The record of what operators did."""

from aiohttp import web

from gateway import audit as api
from gateway.dashboard.told import answer, asked, query_of
from gateway.dashboard.view import page
from gateway.principal import Scope
from gateway.routes import Route

HERE = "/dashboard/audit"
FILTERS = ("action", "actor", "target", "organizationId")


async def audit(request: web.Request) -> web.Response:
    """GET /dashboard/audit: deeds, newest first; `?action=&actor=&target=&organizationId=`."""
    request = asked(request)
    found = answer(await api.page(request))
    query = request.query
    return page(
        request,
        "audit.html",
        title="Audit",
        here=HERE,
        rows=found["data"],
        wanted={name: query.get(name, "") for name in FILTERS},
        first=query_of(request, before=None) if "before" in query else None,
        older=query_of(request, before=found["next"]) if found["next"] else None,
    )


ROUTES = (Route("GET", HERE, audit, Scope.ADMIN),)
