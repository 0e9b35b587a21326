"""did-operations: create, update and deactivate DIDs."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from pydantic.alias_generators import to_camel

from schemas.fields import Did, JsonObject, OrganizationId, Payload, UserId, WebUrl, json_object
from schemas.plain_words import worded
from schemas.spec import CallbackEvents, QueueSpec

KeyTypeName = Literal["Ed25519", "P-256", "P-384", "secp256k1"]

_FRAGMENT = r"#[A-Za-z0-9._~-]{1,128}"
Name = Annotated[
    str,
    StringConstraints(
        max_length=2_200,
        strict=True,
        pattern=worded(
            rf"^(?:did:[^#\s]+)?{_FRAGMENT}\z", "must be a fragment of the DID, as #key-1"
        ),
    ),
]
"""A key or service of the DID: its fragment, as `#key-1`, or its absolute id."""

_SEGMENT = r"[A-Za-z0-9_-](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?"
Path = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=200,
        strict=True,
        pattern=worded(
            rf"^(?:/|{_SEGMENT}(?:/{_SEGMENT}){{0,7}})\z",
            "must be a path of at most 8 segments, as issuers/acme",
        ),
    ),
]
"""Where a did:web lies below its domain: `issuers/acme`, or `/` for the domain itself."""


def _uri(value: str) -> str:
    scheme, colon, rest = value.partition(":")
    plain = scheme.isascii() and scheme.replace("+", "").replace("-", "").replace(".", "").isalnum()
    if not (colon and rest and plain and scheme[0].isalpha()):
        raise ValueError("must be a URI, as https://example.org/files")
    return value


Uri = Annotated[
    str,
    StringConstraints(
        max_length=2_048,
        strict=True,
        pattern=worded(r"^[!-~]+\z", "must be printable ASCII without spaces"),
    ),
    AfterValidator(_uri),
]
Word = Annotated[str, StringConstraints(min_length=1, max_length=256, strict=True)]


class Service(BaseModel):
    """A service of a DID (DID Core 5.4); members beyond these three are kept as they are."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow", frozen=True)

    id: Name
    type: Word | Annotated[list[Word], Field(min_length=1, max_length=10)]
    service_endpoint: (
        Uri | JsonObject | Annotated[list[Uri | JsonObject], Field(min_length=1, max_length=20)]
    )


class NewKey(Payload):
    """A key to be made for a DID."""

    key_type: KeyTypeName = "Ed25519"


class Metadata(BaseModel):
    """What is to be done; members of other names are the submitter's own and mean nothing here."""

    model_config = ConfigDict(alias_generator=to_camel, extra="allow", frozen=True)

    did: Did | None = None
    key_type: KeyTypeName | None = None
    """The type of the key that `create` or `rotate` makes; Ed25519 when absent."""
    path: Path | None = None
    """create, did:web: where the DID lies; a name made from the job when absent."""
    services: Annotated[list[Service], Field(max_length=20)] | None = None
    """create, did:web."""
    rotate: Annotated[bool, Field(strict=True)] = False
    """update: make a key that signs from now on; the one before it stays published."""
    add_keys: Annotated[list[NewKey], Field(max_length=20)] | None = None
    remove_keys: Annotated[list[Name], Field(max_length=20)] | None = None
    sign_with: Name | None = None
    """update: let another of the DID's keys sign from now on."""
    add_services: Annotated[list[Service], Field(max_length=20)] | None = None
    remove_services: Annotated[list[Name], Field(max_length=20)] | None = None
    version: Annotated[int, Field(ge=1, strict=True)] | None = None
    """update, deactivate: only if this is the version of the DID."""

    @property
    def changes_something(self) -> bool:
        """Whether an update with this has anything to do."""
        lists = (self.add_keys, self.remove_keys, self.add_services, self.remove_services)
        return self.rotate or self.sign_with is not None or any(lists)


_OF_NEW_WEB_DIDS = frozenset({"path", "services"})
_OF_UPDATES = frozenset(
    {"rotate", "add_keys", "remove_keys", "sign_with", "add_services", "remove_services"}
)


def _elsewhere(operation: str, method: str) -> frozenset[str]:
    """The members that mean nothing in this operation: ignoring them would be a surprise."""
    match operation, method:
        case "create", "key":
            return _OF_NEW_WEB_DIDS | _OF_UPDATES | {"version"}
        case "create", _:
            return _OF_UPDATES | {"version"}
        case "deactivate", _:
            return _OF_NEW_WEB_DIDS | _OF_UPDATES
    return _OF_NEW_WEB_DIDS


class DidOperation(Payload):
    """What a did-operations job carries.

    `update` and `deactivate` say which DID: in `did`, or in `metadata.did`; both must agree.
    `create` makes a new did:key, or a did:web at `metadata.path` or named by `did`.
    """

    operation: Literal["create", "update", "deactivate"]
    did_method: Literal["key", "web", "jwk"]
    """A did:jwk is its key, as a did:key is: neither can be updated or deactivated (G5)."""
    organization_id: OrganizationId
    user_id: UserId
    metadata: Annotated[
        Annotated[Metadata, BeforeValidator(json_object)] | None, Field(validate_default=True)
    ] = None
    did: Annotated[Did | None, Field(validate_default=True)] = None
    callback_url: WebUrl | None = None

    @field_validator("metadata")
    @classmethod
    def _fits_the_operation(cls, value: Metadata | None, info: ValidationInfo) -> Metadata | None:
        if not {"operation", "did_method"} <= info.data.keys():
            return value
        operation, method = info.data["operation"], info.data["did_method"]
        said = (value or Metadata()).model_fields_set
        if misplaced := sorted(said & _elsewhere(operation, method)):
            name = to_camel(misplaced[0])
            raise ValueError(f"{name} does not belong to {operation} with did:{method}")
        if (operation, method) == ("update", "web") and not (value or Metadata()).changes_something:
            raise ValueError(
                "must say what to change: rotate, addKeys, removeKeys, signWith, addServices or "
                "removeServices"
            )
        if value and value.rotate and value.sign_with:
            raise ValueError("must not hold both rotate and signWith: each says which key signs")
        return value

    @field_validator("did")
    @classmethod
    def _says_which_did(cls, value: str | None, info: ValidationInfo) -> str | None:
        known = info.data
        if not {"operation", "did_method", "metadata"} <= known.keys():
            return value
        operation, method = known["operation"], known["did_method"]
        metadata: Metadata = known["metadata"] or Metadata()
        if value and metadata.did and value != metadata.did:
            raise ValueError("must be the same as metadata.did")
        target = value or metadata.did
        if target and operation == "create" and method == "key":
            raise ValueError("must be absent: create makes a new did:key from a new key")
        if target and operation == "create" and metadata.path:
            raise ValueError("must be absent when metadata.path says where the DID lies")
        if target and not target.startswith(f"did:{method}:"):
            raise ValueError(f"must be a did:{method}, as didMethod says")
        if target is None and operation != "create" and method == "web":
            raise ValueError(f"must say which DID to {operation} (or metadata.did)")
        return value

    @property
    def target(self) -> str | None:
        """The DID to update or deactivate, or to create under a name of the submitter's choice."""
        return self.did or self.details.did

    @property
    def details(self) -> Metadata:
        """The metadata, empty when there is none."""
        return self.metadata or Metadata()


class DidChanged(Payload):
    """The result: the DID, its document, and the id of the key that signs for it.

    The last two are null after a deactivation: a DID that is no more has neither.
    """

    did: str
    did_document: dict[str, Any] | None
    verification_method: str | None


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
