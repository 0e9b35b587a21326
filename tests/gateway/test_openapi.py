"""The description of the API: valid, complete, and nothing from another origin on /docs."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import ClientSession
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway import addressed, selection, tenancy
from gateway.app import TABLE as WHOLE
from gateway.bare import ANSWERS
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


WORDS = re.compile(r"\w+").findall
READS = (
    re.compile(r'query\.get\("(\w+)"'),
    re.compile(r'query\["(\w+)"\]'),
    re.compile(r'\b_(?:span|index)\(request((?:, "\w+")+)'),
    re.compile(r'\b_last_event_id\(request((?:, "\w+")+)'),
)
CONDITIONAL = re.compile(r"if_none_match|\btagged\(")


def reached(handler: Callable[..., Any]) -> str:
    """The source of a handler and of what it calls in its module and in those that read requests
    for several."""
    module = inspect.getmodule(handler)
    assert module is not None
    near = (module, tenancy, addressed, selection)
    known = {name: one for place in reversed(near) for name, one in vars(place).items()}
    places = {place.__name__ for place in near}
    found: dict[str, str] = {}
    todo = [handler.__name__]
    while todo:
        name = todo.pop()
        function = known.get(name)
        if name not in found and inspect.isfunction(function) and function.__module__ in places:
            found[name] = inspect.getsource(function)
            todo += re.findall(r"\b(\w+)\(", found[name])
    return "\n".join(found.values())


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


def test_bounds_are_said_in_the_words_of_json_schema() -> None:
    """The fuzzer believes the description, and so do generated clients."""
    grace = DOCUMENT["components"]["schemas"]["CleanRequest"]["properties"]["grace"]
    assert (grace["minimum"], grace["maximum"]) == (0, 315_360_000_000)
    assert re.findall(r"'(?:ge|le|gt|lt)': ", str(DOCUMENT)) == []


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
    assert set(ANSWERS) <= {route.path for route in TABLE}


@pytest.mark.parametrize("route", TABLE, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_says_what_it_answers_and_reads(route: Any) -> None:
    """What has JSON in it has a model; who reads the query or a header says which."""
    bare = ANSWERS.get(route.path)
    assert (route.answer is not None) == (bare is None or bare.is_json)
    code = reached(route.handler)
    names = {name for pattern in READS for found in pattern.findall(code) for name in WORDS(found)}
    told = {parameter.name for parameter in route.query}
    assert names <= told
    ignores = route.path.startswith("/1.0/identifiers/")  # refuses those that mean something
    assert ("request.query" in code) == bool(told) or ignores
    headers = set(re.findall(r'request\.headers\.get(?:all)?\("([\w-]+)"', code))
    headers |= {"If-None-Match"} & ({"If-None-Match"} if CONDITIONAL.search(code) else set())
    assert headers - {"Accept", "Accept-Encoding"} == {one.name for one in route.headers}
    assert (304 in route.statuses) == ("If-None-Match" in headers)
