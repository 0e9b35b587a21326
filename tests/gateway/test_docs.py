"""docs/ names every route, docs/http.md every code and setting, and no others."""

import re
from pathlib import Path

from gateway.app import TABLE
from gateway.errors import KINDS, UNEXPECTED
from gateway.negotiation import NotAcceptable
from gateway.settings import GatewaySettings

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "http.md").read_text()


def test_routes() -> None:
    pages = "\n".join(page.read_text() for page in DOCS.glob("*.md"))
    listed = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", pages, re.MULTILINE))
    paths = ((route.method, re.sub(r":[^{}]+\}", "}", route.path)) for route in TABLE)
    assert listed == {f"{method} {path}" for method, path in paths}


def test_codes() -> None:
    listed = {
        (int(status), code)
        for status, codes in re.findall(r"^\| (\d{3}) \| (.*) \|$", PAGE, re.MULTILINE)
        for code in re.findall(r"`([a-z_]+)`", codes)
    }
    # What any address may answer.
    everywhere = (*KINDS.values(), UNEXPECTED, NotAcceptable.kind)
    assert listed == {(kind.status, kind.code) for kind in everywhere}


def test_settings() -> None:
    section = PAGE.partition("## Settings")[2]
    listed = set(re.findall(r"`([A-Z_]+)` \(", section))
    assert listed == {name.upper() for name in GatewaySettings.model_fields}
