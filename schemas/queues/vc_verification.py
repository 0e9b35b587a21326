"""vc-verification: judge a Verifiable Credential. An invalid one is a completed job."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import StrictBool, StringConstraints

from schemas.fields import Did, OrganizationId, Payload, UserId, WebUrl
from schemas.spec import CallbackEvents, QueueSpec

MAX_TOKEN_CHARS = 256 * 1024


class VcVerification(Payload):
    """What a vc-verification job carries.

    `vcJwt` may be any non-empty string up to 256 KiB: a malformed token is not refused here but
    answered with `valid: false`.
    """

    vc_jwt: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TOKEN_CHARS)]
    verifier_did: Did | None = None
    """If the credential names an audience, it must contain this."""
    organization_id: OrganizationId
    user_id: UserId
    callback_url: WebUrl | None = None


class VcVerified(Payload):
    """The verdict. `claims`, `issuer` and `subject` are there only for a valid credential."""

    valid: StrictBool
    claims: dict[str, Any] | None = None
    issuer: str | None = None
    subject: str | None = None
    error: str | None = None


def events(_payload: Mapping[str, Any]) -> CallbackEvents:
    """The callback events of a verification job."""
    return CallbackEvents(completed="vc.verified", failed="vc.verification.failed")


SPEC = QueueSpec(
    name="vc-verification",
    payload=VcVerification,
    result=VcVerified,
    description="Verify Verifiable Credentials",
    events=events,
)
