"""status-lists: sign a status list whose bits have changed, and publish it.

Credstream adds these jobs itself. They may come twice or too late: the newest state of the list is
what is published, and an older version never takes the place of a newer one.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StrictInt

from schemas.fields import OrganizationId, Payload
from schemas.job import Backoff, JobOptions
from schemas.spec import HOUR_MS, CallbackEvents, QueueSpec, Retention
from schemas.status import ListId

NAME = "status-lists"


class StatusListPublication(Payload):
    """What a status-lists job carries."""

    list_id: ListId
    organization_id: OrganizationId
    """The tenant whose list it is."""
    version: Annotated[StrictInt, Field(ge=1)]
    """The least version that must be published when the job is done."""


class StatusListPublished(Payload):
    """The result: which version is published now."""

    list_id: str
    version: int


def publication(list_id: str, organization_id: str, version: int) -> dict[str, Any]:
    """The data of a job."""
    return {"listId": list_id, "organizationId": organization_id, "version": version}


def events(_payload: Mapping[str, Any]) -> CallbackEvents:
    """The callback events of a publication."""
    return CallbackEvents(completed="statuslist.published", failed="statuslist.failed")


SPEC = QueueSpec(
    name=NAME,
    payload=StatusListPublication,
    result=StatusListPublished,
    description="Sign and publish status lists",
    defaults=JobOptions(
        attempts=10, backoff=Backoff(type="exponential", delay=1_000, jitter=0.2, max=60_000)
    ),
    # Thousands of revocations make thousands of them; what they did shows in the list.
    retention=Retention(completed_ms=HOUR_MS, completed_count=1_000),
    events=events,
    internal=True,
)
