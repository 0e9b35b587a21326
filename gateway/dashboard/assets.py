"""Style sheets, scripts and pictures, from this package and from nowhere else."""

import hashlib
from functools import cache
from pathlib import Path

from aiohttp import web

from gateway.principal import Scope
from gateway.routes import Route

FOLDER = Path(__file__).parent
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
YEAR = "public, max-age=31536000, immutable"


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    """Every asset: its bytes and the beginning of their hash."""
    found = {}
    for file in (FOLDER / "static").iterdir():
        if file.suffix in _TYPES:
            content = file.read_bytes()
            found[file.name] = (content, hashlib.sha256(content).hexdigest()[:12])
    return found


def address_of(name: str) -> str:
    """Where a page finds an asset. What changes gets another address. KeyError: no such file."""
    return f"/dashboard/static/{name}?v={_files()[name][1]}"


async def asset(request: web.Request) -> web.Response:
    """GET /dashboard/static/{name}: a style sheet, a script, an icon."""
    name = request.match_info["name"]
    if name not in _files():
        raise web.HTTPNotFound
    content, version = _files()[name]
    fresh = request.query.get("v") == version
    return web.Response(
        body=content,
        content_type=_TYPES[Path(name).suffix],
        charset="utf-8",
        headers={"Cache-Control": YEAR if fresh else "no-cache"},
    )


ROUTES = (Route("GET", "/dashboard/static/{name}", asset, Scope.PUBLIC),)
