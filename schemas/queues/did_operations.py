"""did-operations: create, update and deactivate DIDs."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from schemas.fields import Did, JsonObject, OrganizationId, Payload, UserId, WebUrl
from schemas.spec import CallbackEvents, QueueSpec

_DID: TypeAdapter[str] = TypeAdapter(Did)
_KEY_TYPE: TypeAdapter[str] = TypeAdapter(
    Annotated[str, StringConstraints(min_length=1, max_length=64, strict=True)]
)


class DidOperation(Payload):
    """What a did-operations job carries.

    `update` and `deactivate` say which DID: in `did`, or in `metadata.did`; both must agree.
    `metadata.keyType` chooses the key of a new DID (Ed25519 when absent).
    """

    operation: Literal["create", "update", "deactivate"]
    did_method: Literal["key", "web"]
    organization_id: OrganizationId
    user_id: UserId
    metadata: JsonObject | None = None
    did: Annotated[Did | None, Field(validate_default=True)] = None
    callback_url: WebUrl | None = None

    @field_validator("metadata")
    @classmethod
    def _known_members_fit(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value and "keyType" in value and not _fits(_KEY_TYPE, value["keyType"]):
            raise ValueError("keyType must be a name, as Ed25519")
        if value and "did" in value and not _fits(_DID, value["did"]):
            raise ValueError("did must be a DID")
        return value

    @field_validator("did")
    @classmethod
    def _says_which_did(cls, value: str | None, info: ValidationInfo) -> str | None:
        known = info.data
        if not {"operation", "did_method", "metadata"} <= known.keys():
            return value
        operation, method = known["operation"], known["did_method"]
        elsewhere = (known["metadata"] or {}).get("did")
        if value and elsewhere and value != elsewhere:
            raise ValueError("must be the same as metadata.did")
        target = value or elsewhere
        if target and operation == "create" and method == "key":
            raise ValueError("must be absent: create makes a new did:key from a new key")
        if target and not target.startswith(f"did:{method}:"):
            raise ValueError(f"must be a did:{method}, as didMethod says")
        if target is None and operation != "create" and method == "web":
            raise ValueError(f"must say which DID to {operation} (or metadata.did)")
        return value

    @property
    def target(self) -> str | None:
        """The DID to update or deactivate."""
        return self.did or (self.metadata or {}).get("did")


def _fits(kind: TypeAdapter[str], value: Any) -> bool:
    try:
        kind.validate_python(value)
    except ValidationError:
        return False
    return True


class DidChanged(Payload):
    """The result: the DID, its document, and the id of the key that signs for it."""

    did: str
    did_document: dict[str, Any]
    verification_method: str


_EVENTS = {
    "create": CallbackEvents(completed="did.created", failed="did.creation.failed"),
    "update": CallbackEvents(completed="did.updated", failed="did.update.failed"),
    "deactivate": CallbackEvents(completed="did.deactivated", failed="did.deactivation.failed"),
}


def events(payload: Mapping[str, Any]) -> CallbackEvents:
    """The callback events of a DID operation."""
    return _EVENTS[payload["operation"]]


SPEC = QueueSpec(
    name="did-operations",
    payload=DidOperation,
    result=DidChanged,
    description="Create, update and deactivate DIDs",
    events=events,
)
