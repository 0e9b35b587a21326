"""Routes whose answer is not the envelope, for the description of the API."""

from dataclasses import dataclass
from typing import Final

JSON: Final = "application/json"
HTML: Final = "text/html"


@dataclass(frozen=True, slots=True)
class Bare:
    """Some other document, and in which media types."""

    media_types: tuple[str, ...]
    errors: tuple[str, ...] = ()
    """Media types of errors beside problems."""

    @property
    def is_json(self) -> bool:
        """Whether a model can say what it is."""
        return any(one == JSON or one.endswith("+json") for one in self.media_types)


_JSON = Bare((JSON,))
_PAGE = Bare((HTML,))
_EVENTS = Bare(("text/event-stream",))
_RESOLUTION = "application/ld+json"
_DID = Bare(("application/did+ld+json", "application/did+json", "application/did", JSON))
ANSWERS = {
    "/openapi.json": _JSON,
    "/docs": _PAGE,
    "/docs/{name}": Bare(("text/javascript", "text/css", "text/plain", "application/javascript")),
    "/metrics": Bare(("text/plain", "application/openmetrics-text")),
    "/internal/scaling/{name}": _JSON,
    "/mail/unsubscribe/{token}": _PAGE,
    "/status-lists/{id}": Bare(("application/vc+jwt",)),
    "/.well-known/did.json": _DID,
    "/{path:.+}/did.json": _DID,
    "/1.0/identifiers/{did:.+}": Bare((*_DID.media_types, _RESOLUTION), (_RESOLUTION,)),
    "/credentials/issue": _JSON,
    "/credentials/verify": _JSON,
    "/presentations/verify": _JSON,
    "/events": _EVENTS,
    "/queue/{name}/job/{id:[^/]+}/events": _EVENTS,
}
"""By path."""
