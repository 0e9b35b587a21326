"""vc-issuance: turn claims, or a whole credential, into a signed Verifiable Credential."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import base58
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from schemas.fields import (
    MAX_JSON_DEPTH,
    DateTimeStamp,
    Did,
    JsonObject,
    OrganizationId,
    Payload,
    UserId,
    WebUrl,
)
from schemas.plain_words import worded
from schemas.spec import CallbackEvents, QueueSpec

DataModel = Literal["1.1", "2.0"]
StatusPurpose = Literal["revocation", "suspension"]
SAID_BY_CREDENTIAL = ("issuerDid", "subjectDid", "credentialType", "claims")
"""Required, unless there is a `credential`."""
MAX_CONTEXTS = 16
CONTAINERS = (dict, list)
MAX_SCHEMAS = 8
MAX_CLAIM_LEVELS = MAX_JSON_DEPTH - 2
"""The token around the claims has two more, and verifiers take no more than 64 in all (F7)."""

MAX_EC_KEY_CHARS = 128
"""Longer ones are RSA keys."""
_KEY_BYTES = {
    b"\xed\x01": 32,
    b"\xec\x01": 32,
    b"\xe7\x01": 33,
    b"\x80\x24": 33,
    b"\x81\x24": 49,
    b"\x82\x24": 67,
}
"""Multicodec of Ed25519, X25519, secp256k1, P-256, P-384 and P-521 -> length of the key."""
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TERM = re.compile(r"[^\s\x00-\x20@:/?#\[\]\\<>\"{}|^`][^\s\x00-\x20:/?#\[\]\\<>\"{}|^`]*")
_ABSOLUTE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x20\\<>\"{}|^`]+")


def _term_or_absolute_url(value: str) -> str:
    if _TERM.fullmatch(value) is None and _ABSOLUTE_URL.fullmatch(value) is None:
        raise ValueError("must be a term, as UniversityDegreeCredential, or an absolute URL")
    return value


def _absolute_url(value: str) -> str:
    if _ABSOLUTE_URL.fullmatch(value) is None:
        raise ValueError("must be an absolute URL")
    return value


def _without_repeats(value: list[Any]) -> list[Any]:
    if len({str(item) for item in value}) < len(value):
        raise ValueError("must not name the same thing twice")
    return value


def _levels(value: Any) -> int:
    """How deep objects and arrays are nested in each other."""
    if not isinstance(value, CONTAINERS):
        return 0
    deepest = 0
    for child in value.values() if isinstance(value, dict) else value:
        if isinstance(child, CONTAINERS):
            deepest = max(deepest, _levels(child))
    return 1 + deepest


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


def _beginning_of_day(value: Any) -> Any:
    """A date alone, as 2030-01-01, is the beginning of that day in UTC, as in JavaScript."""
    return f"{value}T00:00:00Z" if isinstance(value, str) and _DAY.fullmatch(value) else value


def _whole_did_key(value: str) -> str:
    """A did:key must hold a whole key; whether it is a point of its curve is found out later."""
    text = value.removeprefix("did:key:")
    if text == value or len(text) > MAX_EC_KEY_CHARS:
        return value
    try:
        raw = base58.b58decode(text[1:]) if text.startswith("z") else b""
    except ValueError:
        raw = b""
    if _KEY_BYTES.get(raw[:2]) != len(raw) - 2:
        raise ValueError(
            "is not a whole did:key, but a placeholder or a part of one: put in the DID that a "
            "job of did-operations made"
        )
    return value


Url = Annotated[
    str, StringConstraints(min_length=1, max_length=2_048), AfterValidator(_absolute_url)
]
TypeName = Annotated[
    str, StringConstraints(min_length=1, max_length=512), AfterValidator(_term_or_absolute_url)
]
Words = Annotated[str, StringConstraints(min_length=1, max_length=4_096, strict=True)]


DayOrDateTime = Annotated[DateTimeStamp, BeforeValidator(_beginning_of_day)]
WholeDid = Annotated[Did, AfterValidator(_whole_did_key)]


class CredentialSchema(Payload):
    """A schema that verifiers hold the credential against: `JsonSchema` or
    `JsonSchemaCredential`, or another type that they know."""

    id: Url
    type: TypeName
    digest_sri: Annotated[
        str | None,
        Field(
            alias="digestSRI",
            pattern=worded(
                r"^sha(256|384|512)-[A-Za-z0-9+/]{43,86}={0,2}\z",
                "must be a digest of Subresource Integrity, as sha384-...",
            ),
        ),
    ] = None
    """Subresource Integrity: verifiers take only a schema with this digest."""


class VcIssuance(Payload):
    """What a vc-issuance job carries: the claims, or in `credential` a whole document.

    Without `credential`, issuerDid, subjectDid, credentialType and claims are required.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "anyOf": [
                {"required": list(SAID_BY_CREDENTIAL)},
                {"required": ["credential"]},
            ]
        },
    )

    # First: the others are judged by whether it is there.
    credential: Annotated[JsonObject, Field(min_length=1)] | None = None
    """A credential document of the data model; issuerDid and subjectDid, if given, must agree."""
    data_model: DataModel | None = None
    """None: the one of `credential`, else the installation's (VC_DATA_MODEL)."""
    issuer_did: WholeDid | None = None
    """A DID whose key this installation holds for `organizationId`."""
    subject_did: WholeDid | None = None
    credential_type: TypeName | None = None
    """A term or an absolute URL; "VerifiableCredential" adds no second type."""
    claims: JsonObject | None = None
    """credentialSubject without `id`; an `id` of its own must equal `subjectDid`."""
    expiration_date: DayOrDateTime | None = None
    """validUntil in data model 2.0, as written; expirationDate and exp in 1.1."""
    valid_from: DayOrDateTime | None = None
    """None: from the time of issuance."""
    contexts: (
        Annotated[
            list[Url],
            Field(min_length=1, max_length=MAX_CONTEXTS),
            AfterValidator(_without_repeats),
        ]
        | None
    ) = None
    """JSON-LD contexts after the first one. They must be in the installation's store."""
    name: Words | None = None
    """Of the credential, for people; data model 2.0 only."""
    description: Words | None = None
    credential_schema: (
        Annotated[
            list[CredentialSchema],
            BeforeValidator(_one_or_more),
            Field(min_length=1, max_length=MAX_SCHEMAS),
            AfterValidator(_without_repeats),
        ]
        | None
    ) = None
    """One schema or several."""
    status: (
        Annotated[list[StatusPurpose], Field(min_length=1), AfterValidator(_without_repeats)] | None
    ) = None
    """What shall be possible later; an entry of a status list is made for each."""
    organization_id: OrganizationId
    user_id: UserId
    callback_url: WebUrl | None = None

    @model_validator(mode="before")
    @classmethod
    def _miss_what_nobody_says(cls, data: Any) -> Any:
        """Absent and null are one, so that `_said_somewhere` sees both under the wire name."""
        if isinstance(data, dict) and data.get("credential") is None:
            return dict.fromkeys(SAID_BY_CREDENTIAL) | data
        return data

    @field_validator("claims")
    @classmethod
    def _about_the_subject_only(
        cls, value: dict[str, Any] | None, info: ValidationInfo
    ) -> dict[str, Any] | None:
        keyword = next((name for name in value or () if name.startswith("@")), None)
        if keyword is not None:
            # `@id` is what the context calls `id`: it would name a second subject.
            raise ValueError(f"must not use the JSON-LD keyword {keyword[:40]}")
        subject = info.data.get("subject_did")
        if value and "id" in value and subject is not None and value["id"] != subject:
            raise ValueError("must not have an id other than subjectDid")
        return value

    @field_validator("credential", "claims")
    @classmethod
    def _fits_into_a_token(cls, value: Any, info: ValidationInfo) -> Any:
        levels = MAX_CLAIM_LEVELS + (info.field_name == "credential")
        if _levels(value) > levels:
            raise ValueError(f"must not nest deeper than {levels} levels")
        return value

    @field_validator("issuer_did", "subject_did", "credential_type", "claims")
    @classmethod
    def _said_somewhere(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and "credential" in info.data and info.data["credential"] is None:
            raise PydanticCustomError("missing", "Field required")
        return value

    @field_validator(
        "credential_type",
        "claims",
        "expiration_date",
        "valid_from",
        "contexts",
        "name",
        "description",
        "credential_schema",
    )
    @classmethod
    def _said_once(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("credential") is not None:
            raise ValueError("must be absent: the credential itself says it")
        return value

    @field_validator("status")
    @classmethod
    def _of_its_own(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and "credentialStatus" in (info.data.get("credential") or {}):
            raise ValueError("must be absent: the credential has a credentialStatus already")
        return value

    @field_validator("name", "description")
    @classmethod
    def _known_there(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("data_model") == "1.1":
            raise ValueError("must be absent: data model 1.1 has no such member")
        return value


class VcIssued(Payload):
    """The result: the credential as a compact JWS, its id (a URL), and when it was issued (UTC)."""

    vc_jwt: str
    credential_id: str
    issued_at: str


def events(_payload: Mapping[str, Any]) -> CallbackEvents:
    """The callback events of an issuance job."""
    return CallbackEvents(completed="vc.issued", failed="vc.issuance.failed")


SPEC = QueueSpec(
    name="vc-issuance",
    payload=VcIssuance,
    result=VcIssued,
    description="Issue Verifiable Credentials as signed JWTs",
    events=events,
    callback_members=("credentialId", "vcJwt", "issuedAt"),
    sealed="available",
)
