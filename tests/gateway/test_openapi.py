"""The description of the API: valid, complete, and nothing from another origin on /docs."""

import re
from typing import Any

import pytest
from aiohttp import ClientSession
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.app import TABLE as WHOLE
from gateway.docs_page import FILES
from gateway.openapi import document
from gateway.principal import Scope

TABLE = [route for route in WHOLE if not route.path.startswith("/dashboard")]
"""What the description tells: pages of the dashboard are not for programs."""
DOCUMENT = document(TABLE)
OPERATIONS = {
    (method.upper(), path): operation
    for path, verbs in DOCUMENT["paths"].items()
    for method, operation in verbs.items()
}


def plain(path: str) -> str:
    return re.sub(r"\{(\w+):(?:[^{}]|\{[^{}]*\})*\}", r"{\1}", path)


def test_it_is_openapi() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()  # type: ignore[arg-type]


def test_every_route_is_there_and_no_other() -> None:
    assert {(route.method, plain(route.path)) for route in TABLE} == set(OPERATIONS)


def test_operations_have_names_of_their_own_and_say_what_they_do() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(names) == len(set(names))
    for operation in OPERATIONS.values():
        assert len(operation["summary"]) > 5, operation["operationId"]
        assert not re.match(r"[A-Z]+ /", operation["summary"]), operation["operationId"]


@pytest.mark.parametrize("route", TABLE, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_is_told_as_it_is(route: Any) -> None:
    operation = OPERATIONS[route.method, plain(route.path)]
    told = {int(s) for s in operation["responses"] if s.isdigit()}
    assert set(route.statuses) <= told
    for status, response in operation["responses"].items():
        if status == "default" or int(status) >= 400:
            schema = response["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}
    assert (route.body is not None) == ("requestBody" in operation)
    assert (route.needs is Scope.PUBLIC) == (operation["security"] == [])
    in_path = [p["name"] for p in operation["parameters"] if p["in"] == "path"]
    assert in_path == re.findall(r"\{(\w+)\}", plain(route.path))


def test_references_lead_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    text = str(DOCUMENT)
    for name in re.findall(r"#/components/schemas/([\w.-]+)", text):
        assert name in schemas
    names = {operation["operationId"] for operation in OPERATIONS.values()}
    for operation in OPERATIONS.values():
        for response in operation["responses"].values():
            for link in response.get("links", {}).values():
                assert link["operationId"] in names


async def test_it_is_served(http: ClientSession) -> None:
    async with http.get("/openapi.json") as response:
        assert response.content_type == "application/json"
        served = await response.json()
    assert served["paths"].keys() == DOCUMENT["paths"].keys()


async def test_the_page_takes_everything_from_here(http: ClientSession) -> None:
    async with http.get("/docs") as response:
        page, policy = await response.text(), response.headers["Content-Security-Policy"]
    linked = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert [one for one in linked if not one.startswith(("/docs/", "data:"))] == []
    assert re.findall(r"https?:", policy) == []
    assert "default-src 'none'" in policy
    assert "<script>" not in page
    for path in (one for one in linked if one.startswith("/docs/")):
        async with http.get(path) as response:
            assert response.status == 200
    async with http.get("/docs/start.js") as response:
        assert "validatorUrl: null" in await response.text()


@pytest.mark.parametrize("name", FILES)
async def test_its_files(http: ClientSession, name: str) -> None:
    async with http.get(f"/docs/{name}") as response:
        assert response.status == 200
        assert response.content_type == FILES[name]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        tag = response.headers["ETag"]
        assert len(await response.read()) > 20
    async with http.get(f"/docs/{name}", headers={"If-None-Match": tag}) as response:
        assert response.status == 304


@pytest.mark.parametrize("name", ["index.html", "..", "swagger-ui.js", "%2e%2e%2fshapes.py"])
async def test_no_other_files(http: ClientSession, name: str) -> None:
    async with http.get(f"/docs/{name}") as response:
        assert response.status in (404, 200)
        if response.status == 200:  # the client has shortened the path
            assert response.url.path != f"/docs/{name}"


def test_a_bare_answer_is_of_a_route() -> None:
    from gateway.bare import ANSWERS, PARAMETERS

    assert {*ANSWERS, *PARAMETERS} <= {route.path for route in TABLE}
