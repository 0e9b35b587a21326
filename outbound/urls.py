"""Whether a URL may be called at all, before anything is resolved or dialled (SS-1)."""

from pydantic import TypeAdapter, ValidationError
from yarl import URL

from outbound.errors import Blocked
from outbound.settings import OutboundSettings
from schemas.fields import WebUrl

_SHAPE: TypeAdapter[str] = TypeAdapter(WebUrl)


def admitted(url: str, settings: OutboundSettings) -> URL:
    """The URL, ready to be requested byte for byte. Raises Blocked."""
    try:
        parsed = URL(_SHAPE.validate_python(url), encoded=True)
        port = parsed.port
    except ValidationError as error:
        said = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise Blocked(
            f"The URL {said.removeprefix('Value error, ')}.", code="invalid_url"
        ) from None
    except ValueError:
        raise Blocked("The URL cannot be read.", code="invalid_url") from None
    if parsed.scheme != "https" and not settings.allow_http:
        raise Blocked("Only https:// URLs are called.", code="scheme_not_allowed")
    if port is None or not settings.may_use_port(port):
        raise Blocked("URLs with this port are not called.", code="invalid_url")
    return parsed
