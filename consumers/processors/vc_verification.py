"""vc-verification: judge a credential or a presentation.

Whatever is wrong with a token is a result, not an error: the job completes with `valid: false`.
Only what cannot be fetched now makes the job wait and try again (A3, A5).
"""

import random
from typing import Any

from consumers.processor import Context, Processor, Retry, RetryLater
from consumers.verification import WAITING, Verification, open_verification
from credentials.requester import CapacityError
from credentials.verdict import CouldNotTell, invalid
from credentials.verify import Expected
from schemas.queues.vc_verification import SPEC, VcVerification
from streams import Job

AGAIN_MS = 100
AGAIN_MAX_MS = 30_000


async def handle(job: Job, context: Context) -> dict[str, Any]:
    """Answer `{valid, claims?, issuer?, subject?, error?}`.

    Tried again: *_RETRIEVAL_ERROR, until the last attempt, which completes with `valid: false` and
    that code. Put off without a charge: a job whose organization has as many waiting here as it
    may. Rejects, for good: invalid_payload.
    """
    verification: Verification = context.state
    request: VcVerification = job.payload
    try:
        verdict = await verification.verify(
            request.vc_jwt, _expected(request), request.organization_id
        )
    except CapacityError as error:
        raise RetryLater(_again_ms(job), str(error)) from error
    except CouldNotTell as error:
        if job.attempts_made + 1 < job.attempts:
            after_ms = error.after_s * 1_000
            raise Retry(str(error), code=error.code, after_ms=after_ms) from error
        verdict = invalid(error)
    return verdict.result()


def _again_ms(job: Job) -> float:
    """How long a job is put off: twice as long each time, at random around it."""
    times = min(job.attempts_started - job.attempts_made, 10)
    return min(AGAIN_MS * 2.0**times, AGAIN_MAX_MS) * random.uniform(0.5, 1)


def _expected(request: VcVerification) -> Expected:
    names = (request.verifier_did, request.audience)
    return Expected(
        kind=request.expect,
        audience=frozenset(name for name in names if name is not None),
        nonce=request.nonce,
    )


PROCESSOR = Processor(spec=SPEC, handle=handle, open=open_verification, waiting=WAITING)
