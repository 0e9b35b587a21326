"""`/docs`: the description of the API to read and to try, from files of our own (API-12).

Swagger UI lies in static/swagger-ui with its licence. Nothing comes from another origin, and the
page may load nothing from one.
"""

import hashlib
from functools import cache
from importlib import resources
from types import MappingProxyType

from aiohttp import web

from gateway.principal import Scope
from gateway.routes import IF_NONE_MATCH, Route

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""Styles may be inline: Swagger UI writes them into its elements."""
PAGE = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Credstream API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
START = b"""SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  validatorUrl: null,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  docExpansion: "none",
});
"""
FILES = MappingProxyType(
    {
        "swagger-ui.css": "text/css",
        "swagger-ui-bundle.js": "text/javascript",
        "swagger-ui-bundle.js.LICENSE.txt": "text/plain",
        "LICENSE": "text/plain",
        "NOTICE": "text/plain",
        "start.js": "text/javascript",
    }
)
MAX_AGE_S = 3_600


async def page(_request: web.Request) -> web.Response:
    """The API to read and to try, in a browser."""
    response = web.Response(body=PAGE, content_type="text/html", charset="utf-8")
    response.headers["Content-Security-Policy"] = POLICY
    return response


async def file(request: web.Request) -> web.Response:
    """A file that the page needs, or the licence of one."""
    name = request.match_info["name"]
    if name not in FILES:
        raise web.HTTPNotFound
    body, tag = _read(name)
    headers = {"ETag": f'"{tag}"', "Cache-Control": f"public, max-age={MAX_AGE_S}"}
    if any(one.value in (tag, "*") for one in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    response = web.Response(body=body, content_type=FILES[name], charset="utf-8", headers=headers)
    if request.headers.get("Accept-Encoding"):
        response.enable_compression()
    return response


@cache
def _read(name: str) -> tuple[bytes, str]:
    folder = resources.files("gateway").joinpath("static", "swagger-ui")
    body = START if name == "start.js" else folder.joinpath(name).read_bytes()
    return body, hashlib.sha256(body).hexdigest()[:32]


ROUTES = (
    Route("GET", "/docs", page, Scope.PUBLIC),
    Route("GET", "/docs/{name}", file, Scope.PUBLIC, statuses=(200, 304), headers=(IF_NONE_MATCH,)),
)
