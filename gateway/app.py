"""The application: what it carries, its middleware, and every route in one table."""

from aiohttp import web

from gateway import (
    access,
    audit,
    authentication,
    batches,
    body,
    bulk,
    concurrency,
    credentials,
    cursors,
    dashboard,
    dead_letters,
    dids,
    docs_page,
    durable,
    events,
    forwarding,
    health,
    idempotency,
    jobs,
    listing,
    mail,
    metrics,
    openapi,
    own_counts,
    queues,
    refused_sign_ins,
    submissions,
    vc_api,
    webhook_keys,
    webhooks,
    why,
    workers,
)
from gateway.addressed import JOB, QUEUE
from gateway.authentication import gatekeeper
from gateway.concurrency import holding
from gateway.cors import preflight
from gateway.directory import Directory
from gateway.errors import problems
from gateway.keys import DIRECTORY, LIFE, REDIS, SETTINGS, Life
from gateway.packing import packing
from gateway.remembered import remembering
from gateway.routes import Route
from gateway.settings import GatewaySettings
from streams import Redis

TABLE: tuple[Route, ...] = (
    *health.ROUTES,
    *metrics.ROUTES,
    *openapi.ROUTES,
    *docs_page.ROUTES,
    *queues.ROUTES,
    *workers.ROUTES,
    *submissions.ROUTES,
    *listing.ROUTES,
    *bulk.ROUTES,
    *dead_letters.ROUTES,
    *jobs.ROUTES,
    *why.ROUTES,
    *mail.ROUTES,
    *credentials.ROUTES,
    *webhooks.ROUTES,
    *events.ROUTES,
    *dids.ROUTES,
    *batches.ROUTES,
    *vc_api.ROUTES,
    *access.ROUTES,
    *audit.ROUTES,
    *dashboard.ROUTES,
)


OFTEN = (f"{QUEUE}/jobs", JOB)
"""What most requests are about: the router looks at its patterns one after the other."""


def _rank(route: Route) -> int:
    return OFTEN.index(route.path) if route.path in OFTEN else len(OFTEN)


def create_app(redis: Redis, settings: GatewaySettings) -> web.Application:
    """The gateway over `redis`, which stays the caller's to close."""
    app = web.Application(
        middlewares=[problems, dashboard.faces, preflight, gatekeeper(TABLE)],
        client_max_size=settings.bulk_limit_bytes,
    )
    app[REDIS] = redis
    app[SETTINGS] = settings
    app[DIRECTORY] = Directory(redis)
    app[LIFE] = Life()
    body.install(app)
    durable.install(app)
    metrics.install(app, TABLE)
    idempotency.install(app)
    openapi.install(app, TABLE)
    concurrency.install(app)
    forwarding.install(app)
    authentication.install(app)
    refused_sign_ins.install(app)
    audit.install(app)
    own_counts.install(app)
    events.install(app)
    cursors.install(app)
    webhook_keys.install(app)
    dids.install(app)
    dashboard.install(app)
    app.add_routes(
        [remembering(packing(holding(route))).definition() for route in sorted(TABLE, key=_rank)]
    )
    return app
