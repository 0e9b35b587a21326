"""Every template renders whatever its data can be, for everybody who can see it."""

import re
from typing import Any

import back_office as office
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestPayloadError
from by_hand import Hand
from jinja2 import meta

from gateway.dashboard.faces import faces
from gateway.dashboard.view import PLACE, PlaceSettings, page
from gateway.dashboard.view import TEMPLATES as ENVIRONMENT
from gateway.errors import KINDS, Refusal, kind_of, problems
from gateway.keys import LIFE, Life
from gateway.principal import ANONYMOUS, LOCAL, PRINCIPAL, Principal, Scope
from schemas.spec import catalog
from streams import Queue, Redis
from streams import errors as engine
from tests.dashboard.shapes import ODD
from tests.dashboard.template_data import RECORDS, TEMPLATES

READER = Principal("<reader>", frozenset({Scope.READ}), "acme & sons")
PEOPLE = (ANONYMOUS, READER, LOCAL)
RUNS = re.compile(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|<b onclick")


def parts() -> set[str]:
    """Templates that others include, import or extend."""
    loader = ENVIRONMENT.loader
    assert loader is not None
    found: set[str] = set()
    for name in ENVIRONMENT.list_templates():
        source = loader.get_source(ENVIRONMENT, name)[0]
        found |= {one for one in meta.find_referenced_templates(ENVIRONMENT.parse(source)) if one}
    return found


def test_every_template_has_data() -> None:
    assert set(ENVIRONMENT.list_templates()) - parts() == set(TEMPLATES)


@pytest.mark.parametrize("template", sorted(TEMPLATES))
async def test_every_template_renders_every_shape_of_its_data(template: str, redis: Redis) -> None:
    app = web.Application()
    app[PLACE] = PlaceSettings()
    rendered = 0
    for number, data in enumerate(TEMPLATES[template](redis)):
        for principal in PEOPLE[number > 0 :]:
            request = make_mocked_request("GET", "/dashboard", app=app)
            request[PRINCIPAL] = principal
            text = page(request, template, **{"title": "Title", **data}).text
            assert text is not None
            assert not RUNS.search(text)
            assert "{{" not in text.replace("{{ 7 * 7 }}", "")
            rendered += 1
    assert rendered >= len(PEOPLE)


@web.middleware
async def as_reader(request: web.Request, handler: Handler) -> web.StreamResponse:
    request[PRINCIPAL] = READER
    return await handler(request)


async def test_every_error_is_a_page_and_a_problem() -> None:
    errors: list[BaseException] = [cls(ODD) for cls in KINDS if issubclass(cls, Refusal)]
    errors += [engine.NotFound(ODD), engine.Unavailable(ODD), RequestPayloadError(ODD)]
    errors += [RuntimeError(ODD), KeyError(ODD), web.HTTPNotFound(), web.HTTPForbidden()]
    errors += [web.HTTPMethodNotAllowed("PUT", ["GET"]), web.HTTPExpectationFailed()]

    async def fail(request: web.Request) -> web.Response:
        raise errors[int(request.match_info["number"])]

    app = web.Application(middlewares=[problems, faces, as_reader])
    app[PLACE], app[LIFE] = PlaceSettings(), Life()
    app.router.add_get("/dashboard/{number}", fail)
    async with TestClient(TestServer(app)) as http:
        for number, error in enumerate(errors):
            status = kind_of(error).status
            async with http.get(f"/dashboard/{number}") as answer:
                assert answer.status == status, repr(error)
                problem = await answer.json(content_type="application/problem+json")
                assert problem["status"] == status
            async with http.get(f"/dashboard/{number}", headers={"Accept": "text/html"}) as answer:
                text = await answer.text()
                assert answer.status == status, repr(error)
                assert f'<p class="code-big">{status}</p>' in text
                assert not RUNS.search(text)


@pytest.mark.usefixtures("ring")
async def test_pages_show_attempts_whatever_was_recorded_of_them(
    http: ClientSession, redis: Redis
) -> None:
    """Also those that got no reply, which is when somebody looks."""
    to = await office.deliver(redis, office.ORG, office.ORIGIN, "failure")
    spec = catalog()["webhooks"]
    queue, hand = Queue(spec, redis), Hand(redis, spec)
    data = {"url": office.URL, "method": "POST", "payload": {}, "event": "x.done"}
    odd: list[dict[str, Any]] = [*RECORDS, {"number": [1]}, {"attempt": {}}]
    for number, record in enumerate(odd):
        more = {"organizationId": office.ORG}
        await queue.add("webhooks", data | more, job_id=f"hook-{number}")
        await hand.claims.attempt(await hand.take_one(), record)
        paths = (f"/dashboard/webhooks/{to.id}", f"/dashboard/queue/webhooks/job/hook-{number}")
        for path in paths:
            async with http.get(path, headers={"Accept": "text/html"}) as answer:
                assert answer.status == 200, record
