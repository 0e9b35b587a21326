"""Destinations of webhooks, for operators: how they do, on and off, limits."""

from contextlib import suppress
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field

from gateway import faults, replay, webhook_keys, webhook_settings
from gateway.answer_shapes import WebhookDestination, WebhookDestinationDetails
from gateway.body import read_model
from gateway.errors import BadQuery, DestinationNotFound, Fault
from gateway.keys import REDIS
from gateway.parked import WEBHOOKS
from gateway.principal import Scope, principal_of
from gateway.routes import END, ORGANIZATION, START, Route
from gateway.shapes import envelope
from gateway.tenancy import deed, organization_in, organization_of
from schemas.job import Integer, Wire
from schemas.spec import Limiter
from streams import Redis
from streams import destinations as store
from streams.destinations import Destination, Known
from streams.errors import Unavailable
from streams.parking import Parking

PAGE = 50
PAGE_MAX = 200
START_MAX = 100_000


class DestinationRateRequest(Wire):
    """At most `max` deliveries started in any `duration` ms."""

    max: Annotated[Integer, Field(ge=1, le=10_000)]
    duration: Annotated[Integer, Field(ge=1, le=3_600_000)] = 60_000


class DestinationLimitsRequest(Wire):
    """A destination's own limits; null or absent: what holds for the whole installation."""

    concurrency: Annotated[Integer, Field(ge=1, le=1_000)] | None = None
    rate: DestinationRateRequest | None = None


async def listed(request: web.Request) -> web.Response:
    """GET /webhooks/destinations?organizationId=&start=&end=: last used first, both ends count."""
    known = ("organizationId", "start", "end")
    for name in request.query:
        if name not in known or len(request.query.getall(name)) > 1:
            raise _bad(name, f"The parameters are {', '.join(known)}, each at most once.")
    start = _index(request, "start", 0, START_MAX)
    end = _index(request, "end", start + PAGE - 1, start + PAGE_MAX - 1)
    if end < start:
        raise _bad("end", f"end must lie between start and start + {PAGE_MAX - 1}.")
    organization_id = organization_of(request, organization_in(request))
    rows = await store.listed(request.app[REDIS], organization_id, start, end - start + 1)
    return envelope([_shown(row) for row in rows])


async def show(request: web.Request) -> web.Response:
    """GET /webhooks/destinations/{id}: state, counters and limits, and what happened lately."""
    known = await _destination(request)
    happened = await store.history(request.app[REDIS], known.destination.id)
    return envelope({**_shown(known), "history": happened})


async def enable(request: web.Request) -> web.Response:
    """POST /webhooks/destinations/{id}/enable: deliver again; past failures are forgotten."""
    return await _switch(request, enabled=True)


async def disable(request: web.Request) -> web.Response:
    """POST /webhooks/destinations/{id}/disable: jobs for it fail until it is enabled again."""
    return await _switch(request, enabled=False)


async def limit(request: web.Request) -> web.Response:
    """PUT /webhooks/destinations/{id}/limits: concurrency and rate of its own."""
    known = await _destination(request)
    wanted = await read_model(request, DestinationLimitsRequest)
    rate = Limiter(wanted.rate.max, wanted.rate.duration) if wanted.rate else None
    to = known.destination
    parameters = {"origin": to.origin, **wanted.model_dump(by_alias=True)}
    who = deed(request, "destination.limit", to.id, to.organization_id, parameters)
    redis = request.app[REDIS]
    await store.limit(redis, to, wanted.concurrency, rate, who=who)
    await _look_soon(redis, to)
    return envelope(_shown(await store.find(redis, to.id) or known))


async def _switch(request: web.Request, *, enabled: bool) -> web.Response:
    known = await _destination(request)
    to, redis = known.destination, request.app[REDIS]
    action = f"destination.{'enable' if enabled else 'disable'}"
    who = deed(request, action, to.id, to.organization_id, {"origin": to.origin})
    await store.switch(redis, to, enabled=enabled, who=who)
    await _look_soon(redis, to)
    return envelope(_shown(await store.find(redis, to.id) or known))


async def _look_soon(redis: Redis, to: Destination) -> None:
    """Have workers look at the jobs that wait for it. They do so anyway, only later."""
    with suppress(Unavailable):
        await Parking(redis, WEBHOOKS).look_soon(to.id)


async def _destination(request: web.Request) -> Known:
    """The one the path names. Raises DestinationNotFound, also for another tenant's."""
    known = await store.find(request.app[REDIS], request.match_info["id"])
    if known is None or not principal_of(request).may_see(known.destination.organization_id):
        raise DestinationNotFound("No webhook was ever sent to a destination with this id.")
    return known


def _index(request: web.Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) <= most):
        raise _bad(name, f"{name} must be a number from 0 to {most}.")
    return int(text)


def _bad(name: str, detail: str) -> BadQuery:
    return BadQuery(detail, [Fault(faults.pointer([name]), detail)])


def _shown(known: Known) -> dict[str, Any]:
    to, numbers = known.destination, known.numbers
    rate = {"max": numbers.get("rate_max"), "duration": numbers.get("rate_ms")}
    failed_ms = [numbers[name] for name in ("last_failure", "last_gone") if name in numbers]
    return {
        "id": to.id,
        "organizationId": to.organization_id,
        "origin": to.origin,
        "state": known.state,
        "reason": known.reason,
        "running": known.running,
        "openings": numbers.get("openings", 0),
        "openUntil": numbers.get("until"),
        "notBefore": numbers.get("not_before"),
        "lastUsedAt": numbers.get("seen"),
        "lastSuccessAt": numbers.get("last_success"),
        "lastFailureAt": max(failed_ms) if failed_ms else None,
        "counts": {
            name: numbers.get(name, 0)
            for name in ("success", "failure", "neutral", "gone", "deferred")
        },
        "limits": {
            "concurrency": numbers.get("limit"),
            "rate": rate if "rate_max" in numbers else None,
        },
    }


_ONE = "/webhooks/destinations/{id:[0-9a-f]+}"
ROUTES = (
    Route(
        "GET",
        "/webhooks/destinations",
        listed,
        Scope.READ,
        answer=list[WebhookDestination],
        query=(ORGANIZATION, START, END),
    ),
    Route("GET", _ONE, show, Scope.READ, answer=WebhookDestinationDetails),
    Route("POST", _ONE + "/enable", enable, Scope.OPERATE, answer=WebhookDestination),
    Route("POST", _ONE + "/disable", disable, Scope.OPERATE, answer=WebhookDestination),
    Route(
        "PUT",
        _ONE + "/limits",
        limit,
        Scope.OPERATE,
        body=DestinationLimitsRequest,
        answer=WebhookDestination,
    ),
    *webhook_keys.ROUTES,
    *webhook_settings.ROUTES,
    *replay.ROUTES,
)
