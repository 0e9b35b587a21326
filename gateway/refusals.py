"""Requests that the gateway itself turns down: what is raised, and how it is told.

`gateway.errors` says so of those without a kind of their own, and of what the engine raises.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong at one place of the submitted document."""

    pointer: str
    """RFC 6901 pointer into the body; for query parameters `/<name>`."""
    detail: str


@dataclass(frozen=True, slots=True)
class Kind:
    """How one class of exceptions is told to clients."""

    status: int
    code: str
    title: str
    detail: str | None = None
    """Fixed words; None lets the exception speak, which must then be written for clients."""
    type: str | None = None
    """A type that somebody else has defined; None: our own, by the code."""


class Refusal(Exception):
    """A request the gateway itself turns down; its text is for the client."""

    kind: Kind | None = None
    """How it is told. None: as KINDS says."""
    headers: Mapping[str, str] = MappingProxyType({})
    """What the answer says beside the problem, such as Retry-After."""

    def __init__(self, detail: str, faults: Sequence[Fault] = ()) -> None:
        super().__init__(detail)
        self.faults = faults


class NotHttp(Refusal):
    """Bytes that are no HTTP request."""


class TargetTooLong(NotHttp):
    """A target (path and query) that is longer than the limit."""

    kind = Kind(414, "target_too_long", "The address is too long")


class HeadersTooLarge(NotHttp):
    """A header line that is longer than the limit, or more lines than are taken."""

    kind = Kind(431, "headers_too_large", "The headers are too large")


class MalformedBody(Refusal):
    """Not the JSON we accept (bounded, no duplicate members, numbers that can be kept)."""


class BadQuery(Refusal):
    """A query parameter that is unknown or out of range."""


class ForeignHost(Refusal):
    """A Host that does not name this machine: DNS rebinding looks like this."""


class CrossSite(Refusal):
    """A browser acting for another site."""


class QueueNotFound(Refusal):
    """No product queue and no registered custom queue has this name."""


class JobNotFound(Refusal):
    """No such job in this queue."""


class OtherOrganization(Refusal):
    """A tenant that names another one."""


class DestinationNotFound(Refusal):
    """No such destination of webhooks, or another tenant's."""


class KeysUnavailable(Refusal):
    """Signing keys of webhooks cannot be opened here."""


class SlowBody(Refusal):
    """The body did not arrive in time."""


class BodyTooBig(Refusal):
    """The body is above the limit."""


class NotJson(Refusal):
    """A body with another media type."""


class EncodedBody(Refusal):
    """A compressed body."""


class InvalidJob(Refusal):
    """The document is JSON, but not a job (or jobs) this queue takes."""


class InvalidRequest(Refusal):
    """The document is JSON, but not what this endpoint takes."""


class NotReady(Refusal):
    """This gateway should get no traffic now."""
