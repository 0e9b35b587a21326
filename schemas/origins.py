"""Where webhooks go, as far as limits and keys are concerned: the origin of a URL (RFC 6454)."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from schemas.fields import WebUrl

_DEFAULT_PORTS = {"https": 443, "http": 80}


def origin_of(url: str) -> str:
    """`scheme://host[:port]` of a WebUrl: lower case, no default port, no final dot."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    port = parts.port
    shown = "" if port is None or port == _DEFAULT_PORTS.get(parts.scheme) else f":{port}"
    return f"{parts.scheme}://{host}{shown}"


Origin = Annotated[WebUrl, AfterValidator(origin_of)]
"""The origin of whatever URL was given."""
