"""vc-issuance: sign a credential with the issuer's key.

Idempotent without storing anything: id, time and signature all follow from the job, so however
often it runs it gives the same credential, byte for byte.
"""

from consumers.custody import Custody, open_custody
from consumers.processor import Context, Processor, Reject
from credentials import did_key, vc
from credentials.errors import CredentialError
from credentials.signer import sign
from schemas.queues.vc_issuance import SPEC, VcIssuance
from streams import Job


async def handle(job: Job, context: Context) -> dict[str, str]:
    """Answer `{vcJwt, credentialId, issuedAt}`.

    Rejects, for good: issuer_unknown, issuer_not_owned, subject_invalid, expiration_in_past,
    credential_too_large, kek_unknown, key_unreadable.
    """
    custody: Custody = context.state
    request = VcIssuance.model_validate(job.data)
    try:
        return await _issue(custody, request, job)
    except CredentialError as error:
        raise Reject(str(error), code=error.code) from None


async def _issue(custody: Custody, request: VcIssuance, job: Job) -> dict[str, str]:
    _check_subject(request.subject_did)
    key = await custody.signing_key(request.issuer_did, request.organization_id)
    identifier = vc.credential_id(request.issuer_did, job.queue, job.id)
    issued = vc.moment(job.timestamp)
    token = sign(vc.credential(request, identifier, issued), key.private, key.id)
    return {"vcJwt": token, "credentialId": identifier, "issuedAt": vc.rfc3339(issued)}


def _check_subject(subject_did: str) -> None:
    """A did:key says by itself whether it is one; other methods cannot be judged from here."""
    if not subject_did.startswith("did:key:"):
        return
    try:
        did_key.decode(subject_did)
    except did_key.DidError as error:
        raise CredentialError("subject_invalid", f"subjectDid is not a did:key. {error}") from None


PROCESSOR = Processor(spec=SPEC, handle=handle, open=open_custody)
