"""The dashboard: pages rendered here, small scripts, nothing from another host.

A page is one view function, one template and one row in its module's `ROUTES`:

    # gateway/dashboard/workers.py
    async def workers(request: web.Request) -> web.Response:
        \"""GET /dashboard/workers: who works, and on what.\"""
        return page(request, "workers.html", title="Workers", here=HERE, workers=await ...)

    ROUTES = (Route("GET", "/dashboard/workers", workers, Scope.READ, platform_only=True),)

* Add `*workers.ROUTES` to ROUTES below, an `Item` to `navigation.ITEMS` (its icon is a symbol of
  static/icons.svg), and a row to the table of docs/dashboard.md.
* The template begins `{% extends "layout.html" %}`, fills `{% block content %}`, and takes what
  pages share from parts.html (icon, job_state, when, page_head, empty, sparkline, pager). Filters:
  number, short, duration, ago, iso, size, percent, pretty, segment (for paths). Everything is
  escaped; `|safe` does not occur. No `style=`, no inline script (AU-9): classes of content.css, a
  file in static/ with `<script src="{{ asset('x.js') }}" defer>`.
* Who may: the row's scope is checked for every request; a template asks `{% if may("operate") %}`
  before it shows a button.
* An action is a form that the script of the frame sends as JSON:

    <form data-act method="post" action="/dashboard/queue/emails/pause" data-confirm="No new job
      starts."><button class="button">Pause</button></form>

    async def pause(request: web.Request) -> web.Response:
        \"""POST /dashboard/queue/{name}/pause: ...\"""
        wanted = await view.wanted(request, Pause)          # a pydantic model (schemas.job.Wire)
        await queue.pause(who=deed(request, "queue.pause", queue.name, None))
        return view.done("Paused.")                         # {message, location}; "." = reload

  Named inputs become members (numbers by type=number, booleans by checkbox, a list by `data-list`,
  empty ones are left out). `data-confirm` asks first; `data-dry` on top sends `{"dryRun": true}`
  before, to which the action answers `view.matching(count)`, and asks with that count. `data-title`
  names it; all three may stand on a button instead. Errors are the gateway's own problems, shown as
  they are. Actions call the engine's verbs with a deed, like the HTTP API.
* Errors of pages become pages, and 401 the way to sign in (`faces`, a middleware).
"""

from aiohttp import web

from gateway.dashboard import (
    add,
    assets,
    audit,
    canaries,
    credentials,
    dead,
    dids,
    job,
    keys,
    live,
    login,
    mail,
    overview,
    queue,
    redrive,
    webhooks,
    workers,
)
from gateway.dashboard.causes import LIBRARY, Library
from gateway.dashboard.faces import faces
from gateway.dashboard.login_settings import LoginSettings
from gateway.dashboard.provider import PROVIDER, Provider
from gateway.dashboard.view import PLACE, PlaceSettings, compiling
from gateway.oidc import PROVIDER_KEYS, OidcSettings

__all__ = ["ROUTES", "faces", "install"]

ROUTES = (
    *assets.ROUTES,
    *overview.ROUTES,
    *live.ROUTES,
    *login.ROUTES,
    *dead.ROUTES,
    *canaries.ROUTES,
    *queue.ROUTES,
    *job.ROUTES,
    *add.ROUTES,
    *workers.ROUTES,
    *webhooks.ROUTES,
    *mail.ROUTES,
    *dids.ROUTES,
    *credentials.ROUTES,
    *audit.ROUTES,
    *keys.ROUTES,
)


def install(app: web.Application) -> None:
    """What pages need of an application, which has its gate."""
    app[PLACE] = PlaceSettings()
    app[LIBRARY] = Library()
    app.cleanup_ctx.append(compiling)
    app.cleanup_ctx.append(app[LIBRARY].living)
    app.cleanup_ctx.append(redrive.looking)
    settings = LoginSettings()
    if settings.client_id is not None:
        app[PROVIDER] = Provider(settings, OidcSettings(), app[PROVIDER_KEYS])
        app.cleanup_ctx.append(app[PROVIDER].living)
