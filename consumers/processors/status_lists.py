"""status-lists: sign a status list whose bits have changed, and publish it."""

from typing import Any

from consumers.processor import Context, Processor, Reject
from consumers.status_lists import StatusLists, open_status_lists
from credentials.errors import CredentialError
from schemas.queues.status_lists import SPEC, StatusListPublication
from streams import Job


async def handle(job: Job, context: Context) -> dict[str, Any]:
    """Answer `{listId, version}`; a job that runs again finds the version published.

    Rejects, for good: status_list_unknown, and what keeps its issuer from signing:
    issuer_unknown, issuer_deactivated, kek_unknown, key_unreadable.
    """
    lists: StatusLists = context.state
    request: StatusListPublication = job.payload
    try:
        version = await lists.publish(request.list_id, request.organization_id)
    except CredentialError as error:
        raise Reject(str(error), code=error.code) from None
    return {"listId": request.list_id, "version": version}


PROCESSOR = Processor(spec=SPEC, handle=handle, open=open_status_lists)
