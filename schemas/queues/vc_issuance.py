"""vc-issuance: turn claims into a signed Verifiable Credential."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from schemas.fields import (
    DateTimeStamp,
    Did,
    JsonObject,
    OrganizationId,
    Payload,
    UserId,
    WebUrl,
)
from schemas.spec import CallbackEvents, QueueSpec

_TERM = re.compile(r"[^\s\x00-\x20@:/?#\[\]\\<>\"{}|^`][^\s\x00-\x20:/?#\[\]\\<>\"{}|^`]*")
_ABSOLUTE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x20\\<>\"{}|^`]+")


def _term_or_absolute_url(value: str) -> str:
    if _TERM.fullmatch(value) is None and _ABSOLUTE_URL.fullmatch(value) is None:
        raise ValueError("must be a term, as UniversityDegreeCredential, or an absolute URL")
    return value


class VcIssuance(Payload):
    """What a vc-issuance job carries."""

    issuer_did: Did
    """A DID whose key this installation holds for `organizationId`."""
    subject_did: Did
    credential_type: Annotated[
        str,
        StringConstraints(min_length=1, max_length=512),
        AfterValidator(_term_or_absolute_url),
    ]
    """A term or an absolute URL; "VerifiableCredential" adds no second type."""
    claims: Annotated[JsonObject, Field(min_length=1)]
    """credentialSubject without `id`; an `id` of its own must equal `subjectDid`."""
    expiration_date: DateTimeStamp | None = None
    """Becomes validUntil, as written."""
    organization_id: OrganizationId
    user_id: UserId
    callback_url: WebUrl | None = None

    @field_validator("claims")
    @classmethod
    def _about_the_subject_only(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        keyword = next((name for name in value if name.startswith("@")), None)
        if keyword is not None:
            # `@id` is what the context calls `id`: it would name a second subject.
            raise ValueError(f"must not use the JSON-LD keyword {keyword[:40]}")
        subject = info.data.get("subject_did")
        if "id" in value and subject is not None and value["id"] != subject:
            raise ValueError("must not have an id other than subjectDid")
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
)
