"""The status of issued credentials, for operators, and the signed status lists, for the world.

A change is certain to be published. Before the bit is flipped a job is queued that will look at
the list when no flip of this request is accepted any more; after it, a second job publishes the
list at once. Whoever dies in between leaves the first one behind.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from typing import Annotated, Any

from aiohttp import web
from pydantic import Field, StringConstraints

from gateway.addressed import OF_ORGANIZATION
from gateway.answer_shapes import CredentialStatus
from gateway.body import read_model
from gateway.concurrency import TooManyAtOnce, held
from gateway.errors import Kind, Refusal
from gateway.keys import DIRECTORY, REDIS
from gateway.principal import Scope
from gateway.routes import IF_NONE_MATCH, PREFER, Handler, Route
from gateway.shapes import envelope
from gateway.tenancy import deed, organization_asked
from gateway.waiting import READER, Vanished, preferred_wait_s, wait_for_outcome
from schemas.identity import inspection_id, publication_id
from schemas.job import JobOptions, Wire
from schemas.queues.status_lists import NAME, publication
from schemas.status import Purpose, list_url
from streams import NewJob, Queue, status
from streams.errors import Unavailable

SLOT_MS = 10_000
"""Changes of one list within this time share the job that looks after them."""
MARGIN_MS = 10_000
"""How long after its slot a flip is still accepted, and how long after that the job looks."""
ATTEMPTS = 3
PATIENCE_S = 1.0
"""How long an answer waits for the changed list to be published, unless `Prefer: wait` asks for
more."""
MAX_ID_CHARS = 2_048

_REVOKE: tuple[Purpose, bool] = ("revocation", True)
_UNREVOKE: tuple[Purpose, bool] = ("revocation", False)
_SUSPEND: tuple[Purpose, bool] = ("suspension", True)
_UNSUSPEND: tuple[Purpose, bool] = ("suspension", False)


States = Mapping[Purpose, status.State]


class CredentialNotFound(Refusal):
    """No credential of this id has a status here, or it is another tenant's."""

    kind = Kind(404, "credential_not_found", "There is no such credential")


class SeveralCredentials(Refusal):
    """The platform names a credential of which several organizations have one."""

    kind = Kind(409, "credential_ambiguous", "Several credentials have this id")


class StatusListNotFound(Refusal):
    """No such status list."""

    kind = Kind(404, "status_list_not_found", "There is no such status list")


class Irreversible(Refusal):
    """The credential is revoked, for good."""

    kind = Kind(409, "credential_revoked", "A revocation is final")


class NoSuchEntry(Refusal):
    """The credential was issued without a status of this purpose."""

    kind = Kind(409, "no_such_status", "The credential has no such status")


class StatusChange(Wire):
    """The optional body of a change."""

    reason: Annotated[str, StringConstraints(strict=True), Field(max_length=256)] | None = None
    """For the audit record; nobody else sees it."""


async def revoke(request: web.Request) -> web.Response:
    """POST /credentials/{id}/revoke: invalid from now on, for good."""
    return await _change(request, "revoke", _REVOKE)


async def unrevoke(request: web.Request) -> web.Response:
    """POST /credentials/{id}/unrevoke: always refused, a revocation is final (409)."""
    return await _change(request, "unrevoke", _UNREVOKE)


async def suspend(request: web.Request) -> web.Response:
    """POST /credentials/{id}/suspend: invalid until it is unsuspended."""
    return await _change(request, "suspend", _SUSPEND)


async def unsuspend(request: web.Request) -> web.Response:
    """POST /credentials/{id}/unsuspend: valid again, unless it was revoked (409)."""
    return await _change(request, "unsuspend", _UNSUSPEND)


async def show(request: web.Request) -> web.Response:
    """GET /credentials/{id}/status: revoked, suspended, and where verifiers read it."""
    return envelope(await status_of(request, request.match_info["id"]))


async def status_of(request: web.Request, credential_id: str) -> dict[str, Any]:
    """What `show` tells of a credential. Raises CredentialNotFound."""
    _, states = await _credential(request, credential_id)
    return _shown(credential_id, states)


async def status_list(request: web.Request) -> web.Response:
    """GET /status-lists/{id}: the signed list, a BitstringStatusListCredential as vc+jwt."""
    signed = await status.served(request.app[REDIS], request.match_info["id"])
    if signed is None:
        raise StatusListNotFound("No status list has this id.")
    body = signed.token.encode()
    # Not the version: after a failover the same number may come again with other bits.
    etag = hashlib.sha256(body).hexdigest()[:32]
    if any(tag.value in (etag, "*") for tag in request.if_none_match or ()):
        response = web.Response(status=304)
    else:
        response = web.Response(body=body, content_type="application/vc+jwt")
    response.etag = etag
    response.headers["Cache-Control"] = f"public, max-age={signed.ttl_ms // 1_000}"
    response.headers["Access-Control-Allow-Origin"] = "*"
    return response


async def change(
    queue: Queue,
    record: status.Record,
    wanted: tuple[Purpose, bool],
    organization_id: str,
    who: bytes,
) -> status.Flipped:
    """Flip a bit of an organization's list and see to it that it is published. Safe to call again.

    `queue` is that of status lists. Raises Unavailable; then the bit may have been flipped, and if
    so its list will be published.
    """
    list_id = record.places[wanted[0]].list_id
    for _ in range(ATTEMPTS):
        until_ms = await _look_later(queue, record, list_id, organization_id)
        flipped = await status.flip(queue.redis, record, wanted, until_ms=until_ms, who=who)
        if flipped.word != "LATE":
            break
    else:
        raise Unavailable("the storage answers too slowly to change a status")
    if flipped.published < flipped.version:
        data = publication(list_id, organization_id, flipped.version)
        job = NewJob("publish", data, ref=publication_id(list_id, flipped.version))
        await queue.add_many([job])
    return flipped


async def _look_later(
    queue: Queue, record: status.Record, list_id: str, organization_id: str
) -> int:
    """Queue the job that looks at the list; answers until when a flip may count on it.

    Only spans of the list's own clock are used, so the clock of the queue, which may lie on
    another node, can say what it likes.
    """
    now_ms = await status.now_ms(queue.redis, record)
    slot_end_ms = now_ms - now_ms % SLOT_MS + SLOT_MS
    until_ms = slot_end_ms + MARGIN_MS
    data = publication(list_id, organization_id, 1)
    options = JobOptions(delay=until_ms + MARGIN_MS - now_ms, remove_on_complete=True)
    job = NewJob("look", data, options, ref=inspection_id(list_id, slot_end_ms))
    await queue.add_many([job])
    return until_ms


async def _change(request: web.Request, verb: str, wanted: tuple[Purpose, bool]) -> web.Response:
    credential_id = request.match_info["id"]
    record, states = await _credential(request, credential_id)
    asked = await read_model(request, StatusChange)
    purpose, _ = wanted
    if purpose not in states:
        raise NoSuchEntry(f"It was issued without a status for {purpose}, so nobody would see it.")
    state = states[purpose]
    parameters = asked.model_dump(exclude_none=True)
    owner = state.owner.organization_id
    who = deed(request, f"credential.{verb}", credential_id, owner, parameters)
    queue = (await request.app[DIRECTORY].find(NAME)).queue
    wait_s = max(PATIENCE_S, preferred_wait_s(request.headers.getall("Prefer", ())))
    with request.app[READER].follow(NAME) as tape:
        before = await tape.now()
        flipped = await change(queue, record, wanted, owner, who)
        if flipped.published < flipped.version:
            job = publication_id(state.place.list_id, flipped.version)
            # It is done: beyond the limit of requests that wait, this one does not.
            with contextlib.suppress(Vanished, TooManyAtOnce), held(request):
                await wait_for_outcome(request, tape, queue, job, before, wait_s)
    if flipped.word == "FINAL":
        raise Irreversible("A revoked credential stays revoked; issue a new one instead.")
    return envelope(_shown(credential_id, await status.states(queue.redis, record.places)))


async def _credential(request: web.Request, credential_id: str) -> tuple[status.Record, States]:
    """The one of this id. Raises CredentialNotFound, also for another tenant's."""
    redis, own = request.app[REDIS], organization_asked(request)
    found = None
    if len(credential_id) <= MAX_ID_CHARS:
        try:
            found = await status.find(redis, credential_id, own)
        except status.AmbiguousCredential:
            raise SeveralCredentials(
                "Several organizations have a credential of this id: name one (organizationId)."
            ) from None
    if found is not None:
        states = await status.states(redis, found.places)
        owner = next((state.owner for state in states.values()), None)
        if owner is not None and own in (None, owner.organization_id):
            return found, states
    raise CredentialNotFound("No credential of this id was issued here with a status.")


def _shown(credential_id: str, states: States) -> dict[str, Any]:
    owner = next(iter(states.values())).owner
    return {
        "credentialId": credential_id,
        "issuer": owner.issuer_did,
        "organizationId": owner.organization_id,
        "revoked": "revocation" in states and states["revocation"].is_set,
        "suspended": "suspension" in states and states["suspension"].is_set,
        "published": all(state.published >= state.version for state in states.values()),
        "entries": [
            {
                "statusPurpose": purpose,
                "statusListCredential": list_url(state.base_url, state.place.list_id),
                "statusListIndex": str(state.place.index),
            }
            for purpose, state in states.items()
        ],
    }


def _verb(name: str, handler: Handler) -> Route:
    path = f"/credentials/{{id}}/{name}"
    return Route(
        "POST",
        path,
        handler,
        Scope.OPERATE,
        body=StatusChange,
        answer=CredentialStatus,
        query=(OF_ORGANIZATION,),
        headers=(PREFER,),
    )


ROUTES = (
    _verb("revoke", revoke),
    _verb("unrevoke", unrevoke),
    _verb("suspend", suspend),
    _verb("unsuspend", unsuspend),
    Route(
        "GET",
        "/credentials/{id}/status",
        show,
        Scope.READ,
        answer=CredentialStatus,
        query=(OF_ORGANIZATION,),
    ),
    Route(
        "GET",
        "/status-lists/{id}",
        status_list,
        Scope.PUBLIC,
        statuses=(200, 304),
        headers=(IF_NONE_MATCH,),
    ),
)
