"""What an organization has chosen about its webhooks (WH-16)."""

from typing import Any

from aiohttp import web

from gateway.answer_shapes import WebhookSettings
from gateway.body import read_model
from gateway.keys import REDIS
from gateway.principal import Scope
from gateway.routes import ORGANIZATION, Route
from gateway.shapes import envelope
from gateway.tenancy import deed, organization_in, organization_of
from schemas.fields import OrganizationId
from schemas.job import Wire
from schemas.schedules import Schedule
from streams import schedules
from streams.destinations import Destination


class Settings(Wire):
    """How webhooks of an organization are tried again that do not say it themselves."""

    organization_id: OrganizationId | None = None
    """Only for principals of the platform, who must name it."""
    schedule: Schedule


async def show(request: web.Request) -> web.Response:
    """GET /webhooks/settings?organizationId=: what holds for the organization's next webhooks."""
    organization_id = organization_of(request, organization_in(request))
    found = await schedules.chosen(request.app[REDIS], organization_id)
    return envelope(_answer(organization_id, found))


async def put(request: web.Request) -> web.Response:
    """PUT /webhooks/settings: for webhooks that are added from now on."""
    wanted = await read_model(request, Settings)
    organization_id = organization_of(request, wanted.organization_id)
    target = Destination(organization_id, "").id
    said = {"schedule": wanted.schedule}
    who = deed(request, "webhook.settings", target, organization_id, said)
    await schedules.choose(request.app[REDIS], organization_id, wanted.schedule, who=who)
    return envelope(_answer(organization_id, wanted.schedule))


def _answer(organization_id: str, schedule: Schedule) -> dict[str, Any]:
    return {"organizationId": organization_id, "schedule": schedule}


_AT = "/webhooks/settings"
ROUTES = (
    Route("GET", _AT, show, Scope.READ, answer=WebhookSettings, query=(ORGANIZATION,)),
    Route("PUT", _AT, put, Scope.OPERATE, body=Settings, answer=WebhookSettings),
)
