"""vc-verification: judge a Verifiable Credential. An invalid one is a completed job."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import StrictBool, StringConstraints

from schemas.fields import Did, OrganizationId, Payload, UserId, WebUrl
from schemas.spec import CallbackEvents, QueueSpec

MAX_TOKEN_CHARS = 256 * 1024
DEFERRALS_MAX = 10_000
"""How often a job may be put off because its organization has too much under way: days."""

ShortText = Annotated[str, StringConstraints(min_length=1, max_length=2_048)]


class VcVerification(Payload):
    """What a vc-verification job carries.

    `vcJwt` may be any non-empty string up to 256 KiB: a malformed token is not refused here but
    answered with `valid: false`. It is a VC-JWT, or the JSON of an EnvelopedVerifiableCredential.
    """

    vc_jwt: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TOKEN_CHARS)]
    expect: Literal["credential", "presentation"] = "credential"
    """What `vcJwt` must be. A presentation is a VP-JWT or an EnvelopedVerifiablePresentation."""
    verifier_did: Did | None = None
    """If the credential names an audience, it must contain this; a presentation must name it."""
    audience: ShortText | None = None
    """Another name of the verifier, not a DID: either may be in the token's `aud`."""
    nonce: ShortText | None = None
    """The challenge that the token must repeat in its `nonce`."""
    organization_id: OrganizationId
    user_id: UserId
    callback_url: WebUrl | None = None


class StatusValue(Payload):
    """What a status list says that leaves a credential valid (Bitstring Status List 1.0, 2.1)."""

    purpose: str
    """`refresh` or `message`."""
    value: int
    message: str | None = None
    """The statusMessage of this value, if the credential has them."""


class VcVerified(Payload):
    """The verdict. `claims`, `issuer` and `subject` are there only for a valid credential.

    Of a presentation `issuer` is the holder, and `claims.verifiableCredential` lists the verdicts.
    """

    valid: StrictBool
    claims: dict[str, Any] | None = None
    issuer: str | None = None
    subject: str | None = None
    statuses: list[StatusValue] | None = None
    """Of status entries for `refresh` and `message`, in their order."""
    warnings: list[str] | None = None
    """What was not checked: entries of types that are not supported."""
    error: str | None = None
    """`CODE: sentence`; docs/verification.md lists the codes."""
    indeterminate: bool | None = None
    """true: it could not be told, for the reason in `error`; another job may find out."""


def events(_payload: Mapping[str, Any]) -> CallbackEvents:
    """The callback events of a verification job."""
    return CallbackEvents(completed="vc.verified", failed="vc.verification.failed")


SPEC = QueueSpec(
    name="vc-verification",
    payload=VcVerification,
    result=VcVerified,
    description="Verify Verifiable Credentials",
    max_starts=DEFERRALS_MAX,
    events=events,
)
