"""vc-verification: judge a credential or a presentation.

Whatever is wrong with a token is a result, not an error: the job completes with `valid: false`.
Only what cannot be fetched now makes the job wait and try again (A3, A5).
"""

from typing import Any

from consumers.processor import Context, Processor, Retry
from consumers.verification import open_verifier
from credentials.verdict import CouldNotTell, invalid
from credentials.verify import Expected, Verifier
from schemas.queues.vc_verification import SPEC, VcVerification
from streams import Job


async def handle(job: Job, context: Context) -> dict[str, Any]:
    """Answer `{valid, claims?, issuer?, subject?, error?}`.

    Tried again: *_RETRIEVAL_ERROR, until the last attempt, which completes with `valid: false` and
    that code. Rejects, for good: invalid_payload.
    """
    verifier: Verifier = context.state
    request: VcVerification = job.payload
    try:
        verdict = await verifier.verify(request.vc_jwt, _expected(request))
    except CouldNotTell as error:
        if job.attempts_made + 1 < job.attempts:
            raise Retry(str(error), code=error.code) from error
        verdict = invalid(error)
    return verdict.result()


def _expected(request: VcVerification) -> Expected:
    names = (request.verifier_did, request.audience)
    return Expected(
        kind=request.expect,
        audience=frozenset(name for name in names if name is not None),
        nonce=request.nonce,
    )


PROCESSOR = Processor(spec=SPEC, handle=handle, open=open_verifier)
