"""The description of the API (OpenAPI 3.1), made from the route table and the models (API-11).

Nothing is written twice: paths, scopes, bodies and answers are those of the routes, texts are the
docstrings of their handlers and models.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Literal

import orjson
from aiohttp import web
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from gateway.bare import ANSWERS, Bare
from gateway.dialect import speak
from gateway.ndjson import MEDIA_TYPE as LINES
from gateway.principal import Scope
from gateway.routes import IF_NONE_MATCH, PREFER, Parameter, Route
from schemas.job import KnownJobId, QueueName
from schemas.release import version

DOCUMENT: web.AppKey[bytes] = web.AppKey("openapi", bytes)
PROBLEM_JSON: Final = "application/problem+json"
_BRACES = re.compile(r"\{(\w+)(?::([^{}]*(?:\{[^{}]*\}[^{}]*)*))?\}")
_FIRST_LINE = re.compile(r"^[A-Z]+ /\S*: ")
_ONCE = Parameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!#-~][!-~]*$"},
    "What makes a second request the first one, for 24 hours.",
)
_REF = "#/components/schemas/{model}"
Json = dict[str, Any]
Key = tuple[str, str, Literal["body", "answer"]]


class Fault(BaseModel):
    """One thing that is wrong, and where."""

    pointer: str
    """RFC 6901 pointer into the body; for query parameters `/<name>`."""
    detail: str


class Problem(BaseModel):
    """What every 4xx and 5xx is (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    success: Literal[False]
    code: str
    """Stable: what programs decide by."""
    errors: list[Fault]
    requestId: str  # noqa: N815 - its name on the wire


def document(table: Sequence[Route]) -> Json:
    """The whole of it. What only the pages of the dashboard ask for is theirs."""
    table = [route for route in table if not route.is_page]
    schemas, definitions = _schemas(table)
    paths: dict[str, Json] = {}
    known: Counter[str] = Counter()
    for route in table:
        operation = _operation(route, schemas)
        name = operation["operationId"]
        known[name] += 1
        if known[name] > 1:  # one handler on two paths
            operation["operationId"] = f"{name}_{known[name]}"
        path = _BRACES.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = operation
    whole = {
        "openapi": "3.1.0",
        "info": {
            "title": "Credstream",
            "version": version(),
            "description": "Job queues for credential platforms.",
            "license": {"name": "see LICENSE"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, or a token of the configured OpenID provider.",
                },
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }
    speak(whole)
    return whole


def _schemas(table: Sequence[Route]) -> tuple[dict[Key, Json], Json]:
    """Per route and side its schema, and the definitions that all of them refer to."""
    inputs: list[tuple[Key, JsonSchemaMode, TypeAdapter[Any]]] = []
    for route in table:
        if route.body is not None:
            inputs.append((_key(route, "body"), "validation", TypeAdapter(route.body)))
        if route.answer is not None:
            inputs.append((_key(route, "answer"), "serialization", TypeAdapter(route.answer)))
    problem: Key = ("", "", "answer")
    inputs.append((problem, "serialization", TypeAdapter(Problem)))
    found, rest = TypeAdapter.json_schemas(inputs, ref_template=_REF)
    schemas = {key: schema for (key, _), schema in found.items()}
    return schemas, dict(rest.get("$defs", {}))


def _key(route: Route, side: Literal["body", "answer"]) -> Key:
    return route.method, route.path, side


def _operation(route: Route, schemas: Mapping[Key, Json]) -> Json:
    summary, _, more = (route.handler.__doc__ or "").strip().partition("\n")
    summary = _FIRST_LINE.sub("", summary).strip()
    described = " ".join(more.split()).replace("Raises", "\n\nRaises").partition("\n\nRaises")[0]
    module = route.handler.__module__.removeprefix("gateway.").replace(".", "_")
    operation: Json = {
        "operationId": f"{module}_{route.handler.__name__}",
        "summary": summary[:1].upper() + summary[1:],
        "tags": [module],
        "parameters": list(_parameters(route)),
        "responses": _responses(route, schemas),
        "security": _security(route.needs),
        "x-scope": route.needs.value,
    }
    if described:
        operation["description"] = described
    if route.platform_only:
        operation["x-platform-only"] = True
    body = schemas.get(_key(route, "body"))
    if body is not None:
        content: Json = {"application/json": {"schema": body}}
        if route.lines:
            content[LINES] = {"schema": {"type": "string"}}
        operation["requestBody"] = {"required": _is_required(route), "content": content}
    return operation


def _is_required(route: Route) -> bool:
    """Whether an empty body is less than an object without members."""
    if not (isinstance(route.body, type) and issubclass(route.body, BaseModel)):
        return True
    return any(field.is_required() for field in route.body.model_fields.values())


def _security(scope: Scope) -> list[Json]:
    """`{}`: a gateway on loopback without credentials asks nobody."""
    return [] if scope is Scope.PUBLIC else [{"bearer": []}, {"apiKey": []}, {}]


def _parameters(route: Route) -> Iterable[Json]:
    for name, pattern in _BRACES.findall(route.path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": _path_schema(route.path, name, pattern),
        }
    for parameter in route.query:
        yield _parameter("query", parameter)
    once = (_ONCE,) if route.method == "POST" else ()
    for parameter in (*once, *route.headers):
        yield _parameter("header", parameter)


def _path_schema(path: str, name: str, pattern: str) -> Json:
    if path.startswith("/queue/{name}") and name in ("name", "id"):
        return TypeAdapter(QueueName if name == "name" else KnownJobId).json_schema()
    return {"type": "string", "minLength": 1, **({"pattern": f"^{pattern}$"} if pattern else {})}


def _parameter(place: str, parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": place,
        "required": False,
        "schema": dict(parameter.schema),
        "description": parameter.description,
    }


def _responses(route: Route, schemas: Mapping[Key, Json]) -> Json:
    bare = ANSWERS.get(route.path)
    answer = schemas.get(_key(route, "answer"), {})
    responses: Json = {}
    for status in route.statuses:
        if status < HTTPStatus.BAD_REQUEST:
            responses[str(status)] = _success(route, status, answer, bare)
    errors = bare.errors if bare else ()
    for status in _problems(route):
        responses[str(status)] = _problem(HTTPStatus(status).phrase, errors)
    responses["default"] = _problem("Any other problem.", errors)
    return responses


def _success(route: Route, status: int, answer: Json, bare: Bare | None) -> Json:
    response: Json = {"description": HTTPStatus(status).phrase}
    if status == HTTPStatus.NOT_MODIFIED:
        return response
    response["headers"] = dict(_told_in_headers(route))
    if bare is not None:
        schema = answer if bare.is_json else {"type": "string"}
        response["content"] = {media: {"schema": schema} for media in bare.media_types}
        return response
    response["content"] = {"application/json": {"schema": _envelope(answer, paged=route.paged)}}
    if route.lines and status == HTTPStatus.OK:
        response["content"][LINES] = {"schema": {"type": "string"}}
    if route.lines:
        response["links"] = _links()
    return response


def _told_in_headers(route: Route) -> Iterable[tuple[str, Json]]:
    """Headers that an answer may have, beside those every answer has."""
    names = []
    if route.method == "POST":
        names.append("Idempotency-Replayed")
    if IF_NONE_MATCH in route.headers:
        names.append("ETag")
    if PREFER in route.headers and route.lines:
        names += ["Location", "Preference-Applied"]
    return ((name, {"schema": {"type": "string"}}) for name in names)


def _envelope(answer: Json, *, paged: bool) -> Json:
    properties: Json = {"success": {"const": True}, "data": answer}
    required = ["success", "data"]
    if paged:
        properties["next"] = {"type": ["string", "null"]}
        required.append("next")
    return {"type": "object", "required": required, "properties": properties}


def _links() -> Json:
    """From a submission to the job."""
    where = {"name": "$request.path.name", "id": "$response.body#/data/id"}
    verbs = ("show", "why", "retry", "cancel", "promote", "remove", "logs")
    return {
        verb: {"operationId": f"{'why' if verb == 'why' else 'jobs'}_{verb}", "parameters": where}
        for verb in verbs
    }


def _problem(description: str, others: Iterable[str] = ()) -> Json:
    content: Json = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    content |= {media_type: {"schema": {}} for media_type in others}
    return {"description": description, "content": content}


def _problems(route: Route) -> list[int]:
    """Which problems a route has in particular."""
    found = {400, *(status for status in route.statuses if status >= HTTPStatus.BAD_REQUEST)}
    if route.needs is not Scope.PUBLIC:
        found |= {401, 403, 429, 503}
    if "{" in route.path:
        found.add(404)
    if route.body is not None or route.method == "POST":
        found |= {408, 413, 415, 422}
    if (route.method != "GET" and "/job/" in route.path) or route.method == "POST":
        found.add(409)
    return sorted(found)


async def show(request: web.Request) -> web.Response:
    """This description."""
    return web.Response(body=request.app[DOCUMENT], content_type="application/json")


def install(app: web.Application, table: Sequence[Route]) -> None:
    """Make it once: nothing in it changes while a gateway runs."""
    app[DOCUMENT] = orjson.dumps(document(table))


ROUTES = (Route("GET", "/openapi.json", show, Scope.PUBLIC, answer=dict[str, Any]),)
