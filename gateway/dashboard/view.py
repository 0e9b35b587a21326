"""The frame every page of the dashboard stands in, and the pattern every action follows.

Pages are rendered here from templates with autoescape; nothing is inline, because the content
security policy allows no inline script or style (AU-9). Actions are JSON requests that answer
`{message, location}`, so that the rules against cross-site requests need no exception (AU-10).
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.body import read_model
from gateway.dashboard import words
from gateway.dashboard.assets import FOLDER, address_of
from gateway.dashboard.navigation import navigation, role_of
from gateway.principal import Scope, principal_of
from gateway.sessions import SESSION_ID
from gateway.shapes import envelope

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
Model = TypeVar("Model", bound=BaseModel)


class PlaceSettings(BaseSettings):
    """What the badge at the top says: APP_ENV, as for workers."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    app_env: str = "development"


PLACE = web.AppKey("place", PlaceSettings)


def _environment() -> Environment:
    loader = FileSystemLoader(FOLDER / "templates")
    made = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters.update(words.FILTERS)
    made.globals["asset"] = address_of
    return made


TEMPLATES = _environment()


async def compiling(_: web.Application) -> AsyncIterator[None]:
    """Compiles the templates beside the start of a gateway: else whoever opens the first page of a
    kind waits for it, longer than for the page itself."""
    ends = threading.Event()

    def compile_all() -> None:
        for name in TEMPLATES.list_templates():
            if ends.is_set():
                return
            TEMPLATES.get_template(name)

    compiled = asyncio.create_task(asyncio.to_thread(compile_all))
    yield
    ends.set()
    await compiled


def page(
    request: web.Request, template: str, *, title: str, here: str = "", **shown: Any
) -> web.Response:
    """A whole page. `here` is the path of the entry in the navigation that it belongs to; `shown`
    is what its template needs. `may` in a template asks for a scope: `may("operate")`."""
    principal = principal_of(request)
    context = {
        "title": title,
        "here": here,
        "principal": principal,
        "role": role_of(principal),
        "navigation": navigation(principal),
        "environment": request.app[PLACE].app_env,
        "has_session": request.get(SESSION_ID) is not None,
        "now_ms": time.time_ns() // 1_000_000,
        "may": lambda scope: Scope(scope) in principal.scopes,
        **shown,
    }
    text = TEMPLATES.get_template(template).render(context)
    return web.Response(text=text, content_type="text/html", headers=HEADERS)


async def wanted(request: web.Request, model: type[Model]) -> Model:
    """What an action asks for. Raises as `read_model`."""
    return await read_model(request, model)


def done(message: str, location: str = ".", **more: Any) -> web.Response:
    """The answer to an action. The browser goes to `location` (".": it shows the page anew) and
    tells `message` there."""
    return envelope({"message": message, "location": location, **more})


def matching(count: int, *, more: bool = False) -> web.Response:
    """The answer to a dry run: how many jobs an action would touch; `more`: at least so many."""
    return envelope({"count": count, "more": more})
