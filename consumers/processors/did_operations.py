"""did-operations: create DIDs, whose private keys never leave the vault unsealed."""

from typing import Any

from consumers.custody import Custody, open_custody
from consumers.processor import Context, Processor, Reject
from credentials import did_key
from schemas.queues.did_operations import SPEC, DidOperation
from streams import Job


async def handle(job: Job, context: Context) -> dict[str, Any]:
    """Answer `{did, didDocument, verificationMethod}`; a job that runs again gets the same DID.

    Rejects, for good: did_method_not_supported, operation_not_supported, key_type_not_supported.
    """
    custody: Custody = context.state
    request = DidOperation.model_validate(job.data)
    _refuse_what_cannot_be(request)
    # The time and the tenant belong to the origin: an id that is used anew, or by another
    # organization, once the first job is gone must not bring back the first job's DID.
    origin = (job.queue, job.id, str(job.timestamp), request.organization_id)
    did = await custody.create_did_key(origin, request.organization_id)
    return {
        "did": did,
        "didDocument": did_key.document(did),
        "verificationMethod": did_key.verification_method(did),
    }


def _refuse_what_cannot_be(request: DidOperation) -> None:
    if request.did_method != "key":
        raise Reject(
            "This version makes did:key only; did:web is not supported yet.",
            code="did_method_not_supported",
        )
    if request.operation != "create":
        verb = {"update": "updating", "deactivate": "deactivating"}[request.operation]
        raise Reject(
            f"The did:key method does not support {verb}: the DID is its key and nothing else. "
            "Create a new DID instead.",
            code="operation_not_supported",
        )
    key_type = (request.metadata or {}).get("keyType", "Ed25519")
    if key_type != "Ed25519":
        raise Reject(
            f"Keys of type {key_type} are not supported; use Ed25519.",
            code="key_type_not_supported",
        )


PROCESSOR = Processor(spec=SPEC, handle=handle, open=open_custody)
