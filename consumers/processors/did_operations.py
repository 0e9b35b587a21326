"""did-operations: create, change and deactivate DIDs, whose private keys never leave the vault
unsealed."""

from typing import Any, Final

from consumers.custody import Custody, open_custody
from consumers.hosting import Hosting
from consumers.processor import Context, Processor, Reject
from consumers.status_lists import sign_again
from credentials import did_key
from credentials.errors import CredentialError
from credentials.keys import DEFAULT_KEY_TYPE
from schemas.queues.did_operations import SPEC, DidOperation
from streams import Job

_DOING: Final = {"update": "updating", "deactivate": "deactivating"}


async def handle(job: Job, context: Context) -> dict[str, Any]:
    """Answer `{did, didDocument, verificationMethod}`; a job that runs again gets the same answer
    and changes nothing.

    Rejects, for good: operation_not_supported (a did:key changes never), and what
    `hosting.HostingRefused` and `publication.UpdateRefused` list.
    """
    custody: Custody = context.state
    request: DidOperation = job.payload
    # The time and the tenant belong to the origin: an id that is used anew, or by another
    # organization, once the first job is gone must not bring back the first job's DID.
    origin = (job.queue, job.ref, str(job.timestamp), request.organization_id)
    try:
        if request.did_method == "web":
            return await _did_web(Hosting(custody), request, origin)
        return await _did_key(custody, request, origin)
    except CredentialError as error:
        raise Reject(str(error), code=error.code) from None


async def _did_key(
    custody: Custody, request: DidOperation, origin: tuple[str, ...]
) -> dict[str, Any]:
    """G5: neither did:key nor did:jwk ever changes. Of the two only did:key is made here."""
    method = request.did_method
    if request.operation != "create":
        raise Reject(
            f"The did:{method} method does not support {_DOING[request.operation]}: the DID is its "
            "key and nothing else. Create a new DID instead.",
            code="operation_not_supported",
        )
    if method == "jwk":
        raise Reject("A did:jwk is not made here: take did:key.", code="operation_not_supported")
    kind = request.details.key_type or DEFAULT_KEY_TYPE
    did = await custody.create_did_key(origin, request.organization_id, kind)
    return {
        "did": did,
        "didDocument": did_key.document(did),
        "verificationMethod": did_key.verification_method(did),
    }


async def _did_web(
    hosting: Hosting, request: DidOperation, origin: tuple[str, ...]
) -> dict[str, Any]:
    """Also has the issuer's status lists signed anew when a key went that may have signed them;
    a run that finds its change made already does so again, as the one before may have died."""
    match request.operation:
        case "create":
            return await hosting.create(request, origin)
        case "update":
            answer = await hosting.update(request, origin)
            if request.details.remove_keys:
                await sign_again(hosting.custody.redis, answer["did"], request.organization_id)
            return answer
        case "deactivate":
            return await hosting.deactivate(request, origin)


PROCESSOR = Processor(spec=SPEC, handle=handle, open=open_custody)
