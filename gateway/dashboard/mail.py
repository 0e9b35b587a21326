"""Mail: whom an organization may not write to, and what development captured."""

from typing import Any

from aiohttp import web

from gateway import mail as api
from gateway.captured import CaptureSettings
from gateway.dashboard.told import asked, number_of, organization, query_of, told
from gateway.dashboard.view import done, page
from gateway.principal import Scope, principal_of
from gateway.routes import Route

HERE = "/dashboard/mail"
PAGE = 100
TEXT_MAX_CHARS = 40_000
"""Of each text of a captured message; the rest is in the file."""
HEADERS_SHOWN, VALUE_MAX_CHARS = 60, 500


async def suppressions(request: web.Request) -> web.Response:
    """GET /dashboard/mail: the suppression list of an organization."""
    request, whose = asked(request), organization(request)
    rows = told(await api.listed(request)) if whose is not None else []
    return page(
        request,
        "mail.html",
        title="Mail",
        here=HERE,
        whose=whose,
        rows=rows,
        captures=_captures(request),
        **_turning(request, rows),
    )


async def captured(request: web.Request) -> web.Response:
    """GET /dashboard/mail/captured: mail that development workers captured, newest first."""
    request = asked(request)
    rows = told(await api.captured(request))
    turning = _turning(request, rows)
    return page(
        request,
        "captured.html",
        title="Captured mail",
        here=HERE,
        rows=rows,
        captures=True,
        **turning,
    )


async def message(request: web.Request) -> web.Response:
    """GET /dashboard/mail/captured/{id}: one captured message; its HTML as source."""
    mail = told(await api.captured_one(request))
    return page(
        request,
        "message.html",
        title=mail["subject"] or "(no subject)",
        here=HERE,
        mail=mail,
        texts=[(n, mail[n][:TEXT_MAX_CHARS], len(mail[n])) for n in ("text", "html") if mail[n]],
        headers=[
            (one["name"], one["value"][:VALUE_MAX_CHARS]) for one in mail["headers"][:HEADERS_SHOWN]
        ],
    )


async def suppress(request: web.Request) -> web.Response:
    """POST /dashboard/mail/suppressions: put an address on the list, or renew its entry."""
    await api.suppress(request)
    return done("Nothing is sent to this address any more.")


async def check(request: web.Request) -> web.Response:
    """POST /dashboard/mail/suppressions/check: whether an address is on the list."""
    found = told(await api.look(request))
    if found["suppressed"]:
        return done(f"On the list: {found['reason']}.", location="")
    return done("Not on the list: mail goes out to this address.", location="")


async def allow(request: web.Request) -> web.Response:
    """POST /dashboard/mail/suppressions/{id}/allow: take an address off the list."""
    await api.allow(request)
    return done("Mail goes out to this address again.")


def _captures(request: web.Request) -> bool:
    return principal_of(request).is_platform and CaptureSettings().folder is not None


def _turning(request: web.Request, rows: list[Any]) -> dict[str, Any]:
    """Where the pages before and after are."""
    start = number_of(request, "start")
    return {
        "start": start,
        "newer": query_of(request, start=max(0, start - PAGE) or None, end=None) if start else None,
        "older": query_of(request, start=start + PAGE, end=None) if len(rows) == PAGE else None,
    }


_CAPTURED = HERE + "/captured"
_LIST = HERE + "/suppressions"
ROUTES = (
    Route("GET", HERE, suppressions, Scope.READ),
    Route("GET", _CAPTURED, captured, Scope.READ, platform_only=True),
    Route("GET", _CAPTURED + "/{id}", message, Scope.READ, platform_only=True),
    Route("POST", _LIST, suppress, Scope.OPERATE, body=api.Suppression),
    Route("POST", _LIST + "/check", check, Scope.READ, body=api.Address),
    Route("POST", _LIST + "/{id}/allow", allow, Scope.OPERATE),
)
