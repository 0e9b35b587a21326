"""The application: what it carries, its middleware, and every route in one table."""

from aiohttp import web

from gateway import health, jobs, queues
from gateway.directory import Directory
from gateway.errors import problems
from gateway.keys import DIRECTORY, LIFE, REDIS, SETTINGS, Life
from gateway.security import guard
from gateway.settings import GatewaySettings
from streams import Redis

JOB = "/queue/{name}/job/{id:[^/]+}"

ROUTES = (
    web.get("/", health.index),
    web.get("/livez", health.livez),
    web.get("/readyz", health.readyz),
    web.get("/queue/stats", queues.stats_of_all),
    web.get("/queue/{name}/stats", queues.stats_of_one),
    web.get("/queue/{name}/jobs", queues.page),
    web.post("/queue/{name}/jobs", jobs.add),
    web.post("/queue/{name}/pause", queues.pause),
    web.post("/queue/{name}/resume", queues.resume),
    web.post("/queue/{name}/clean", queues.clean),
    web.get(JOB, jobs.show),
    web.delete(JOB, jobs.remove),
    web.post(JOB + "/retry", jobs.retry),
    web.post(JOB + "/cancel", jobs.cancel),
    web.get(JOB + "/logs", jobs.logs),
)


def create_app(redis: Redis, settings: GatewaySettings) -> web.Application:
    """The gateway over `redis`, which stays the caller's to close."""
    app = web.Application(
        middlewares=[problems, guard(settings)], client_max_size=settings.bulk_limit_bytes
    )
    app[REDIS] = redis
    app[SETTINGS] = settings
    app[DIRECTORY] = Directory(redis)
    app[LIFE] = Life()
    app.add_routes(ROUTES)
    return app
