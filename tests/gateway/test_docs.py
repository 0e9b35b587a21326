"""docs/http.md names every route, code and setting, and no others."""

import re
from pathlib import Path

from gateway.app import ROUTES
from gateway.errors import KINDS, UNEXPECTED
from gateway.settings import GatewaySettings

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text()


def test_routes() -> None:
    listed = set(re.findall(r"^\| `([A-Z]+ /[^`]*)` \|", PAGE, re.MULTILINE))
    assert listed == {f"{route.method} {route.path.replace(':[^/]+', '')}" for route in ROUTES}


def test_codes() -> None:
    listed = {
        (int(status), code)
        for status, codes in re.findall(r"^\| (\d{3}) \| (.*) \|$", PAGE, re.MULTILINE)
        for code in re.findall(r"`([a-z_]+)`", codes)
    }
    assert listed == {(kind.status, kind.code) for kind in (*KINDS.values(), UNEXPECTED)}


def test_settings() -> None:
    section = PAGE.partition("## Settings")[2]
    listed = set(re.findall(r"`([A-Z_]+)` \(", section))
    assert listed == {name.upper() for name in GatewaySettings.model_fields}
