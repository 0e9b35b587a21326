"""webhooks: deliver an event to an HTTP endpoint, with retries."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from schemas.fields import NO_CONTROLS, JsonObject, OrganizationId, Payload, WebUrl
from schemas.job import Backoff, Integer, JobOptions
from schemas.spec import PAYLOAD_TOO_LARGE, CallbackEvents, QueueSpec

MAX_HEADERS = 32
MAX_HEADER_VALUE_CHARS = 4_096
MAX_BODY_BYTES = 256 * 1024
DEFERRALS_MAX = 1_000_000
"""A destination that is down or busy puts its deliveries off, again and again, for up to a day."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VALUE = re.compile(r"[ -~]*")
_OURS = frozenset(
    {
        "host", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
        "expect", "content-length", "content-encoding", "content-type", "user-agent", "cookie",
        "set-cookie", "forwarded", "metadata-flavor",
    }
)  # fmt: skip
# proxy-: for a proxy, not the receiver. x-amz-, x-aws-: open metadata services to a forged request.
_OURS_PREFIXES = ("webhook-", "proxy-", "x-forwarded-", "x-amz-", "x-aws-")


def _headers(value: dict[str, str]) -> dict[str, str]:
    if len(value) > MAX_HEADERS:
        raise ValueError(f"must not hold more than {MAX_HEADERS} headers")
    seen: set[str] = set()
    for name, text in value.items():
        if _TOKEN.fullmatch(name) is None:
            raise ValueError(f"{name[:40]!r} is not a header name (RFC 9110 token)")
        if name.lower() in _OURS or name.lower().startswith(_OURS_PREFIXES):
            raise ValueError(f"{name} cannot be set by a job")
        if name.lower() in seen:
            raise ValueError(f"{name} is there twice, in different case")
        seen.add(name.lower())
        if len(text) > MAX_HEADER_VALUE_CHARS or _VALUE.fullmatch(text) is None:
            raise ValueError(f"{name} must be printable ASCII of at most 4096 characters")
    return value


def _sendable(value: dict[str, Any]) -> dict[str, Any]:
    size = len(orjson.dumps(value))
    if size > MAX_BODY_BYTES:
        raise PydanticCustomError(
            PAYLOAD_TOO_LARGE,
            "has {size} bytes as JSON; at most {most} are sent, and under 20000 is better",
            {"size": size, "most": MAX_BODY_BYTES},
        )
    return value


class Webhook(Payload):
    """What a webhooks job carries. The body of the request is `payload` as JSON; GET has none."""

    url: WebUrl
    method: Literal["GET", "POST", "PUT", "PATCH"]
    headers: Annotated[dict[str, str], AfterValidator(_headers)] | None = None
    """At most 32, names unique whatever their case, values printable ASCII; none that frame the
    request, name its sender or sign it."""
    payload: Annotated[JsonObject, AfterValidator(_sendable)]
    """At most 256 KiB as JSON."""
    event: Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=NO_CONTROLS)]
    organization_id: OrganizationId
    timeout_ms: Annotated[Integer, Field(ge=1_000, le=60_000)] | None = None
    """For one attempt, from DNS to the last byte that is read; None: the installation's."""
    retry_on_4xx: Annotated[bool, Field(alias="retryOn4xx", strict=True)] = False
    """Try again after every 4xx but 410, as other senders do."""


class Delivered(BaseModel):
    """The result of a delivery."""

    model_config = ConfigDict(alias_generator=to_camel)

    status: int
    """2xx."""
    attempts: int
    """Attempts it took, this one included."""
    duration_ms: int
    """Of the last attempt."""
    webhook_id: str
    """What the receiver saw as `webhook-id`."""


def events(_payload: Mapping[str, Any]) -> CallbackEvents:
    """The callback events of a delivery."""
    return CallbackEvents(completed="webhook.delivered", failed="webhook.failed")


SPEC = QueueSpec(
    name="webhooks",
    payload=Webhook,
    result=Delivered,
    description="Deliver webhooks",
    # Jitter keeps a receiver that comes back from being hit by all of its deliveries at once.
    defaults=JobOptions(attempts=3, backoff=Backoff(type="exponential", delay=2_000, jitter=0.2)),
    max_starts=DEFERRALS_MAX,
    events=events,
    scheduled=True,
)
