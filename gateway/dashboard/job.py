"""One job: what it carries, what happened to it, why it waits, and what can be done with it."""

import asyncio
import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from aiohttp import web
from pydantic import Field

from gateway import events, why
from gateway.addressed import find_job, job_of
from gateway.dashboard import overview
from gateway.dashboard.told import told
from gateway.dashboard.view import done, page, wanted
from gateway.directory import Listed
from gateway.errors import InvalidRequest
from gateway.keys import DIRECTORY
from gateway.principal import Scope, principal_of
from gateway.redaction import job_shown, redacted_text, shown
from gateway.routes import Route
from gateway.shapes import envelope
from gateway.submit import Way, submit_one
from gateway.tenancy import deed_on_job
from schemas.identity import JobRef
from schemas.job import Integer, State, Wire
from streams.search import owner_of

EMBED_BYTES = 16_384
"""Larger documents are fetched when somebody looks; the page stays small."""
WEBHOOKS = "webhooks"
VERIFICATION = "vc-verification"
ACTIONS = {
    State.WAITING: ("prioritize", "cancel", "remove"),
    State.ACTIVE: ("cancel",),
    State.DELAYED: ("promote", "prioritize", "cancel", "remove"),
    State.COMPLETED: ("remove",),
    State.FAILED: ("retry", "remove"),
}
"""What is legal in which state."""


class Priority(Wire):
    """Which priority a job is to have."""

    priority: Annotated[Integer, Field(ge=0, le=10)]


async def job_page(request: web.Request) -> web.Response:
    """One job with everything that is known of it."""
    listed, job = await find_job(request)
    ref = JobRef(job.ref or "")
    view = await job_shown(request, job)
    logs = [redacted_text(line) for line in await listed.queue.logs(ref)]
    here = f"/dashboard/queue/{listed.name}"
    return page(
        request,
        "job.html",
        title=job.id,
        here=overview.HERE,
        job=view,
        state=job.state,
        queue_path=here,
        actions=ACTIONS[job.state],
        embedded={name: embedded_text(view[name]) for name in ("data", "returnvalue")},
        attempts=timeline(view, await _attempts(request, listed, ref)),
        logs=logs,
        why=await _why(request, job.state),
        token=_decoded(view["returnvalue"]),
        callbacks=await _callbacks(request, listed, ref),
    )


async def document(request: web.Request) -> web.Response:
    """The `data` or the `returnvalue` of a job as JSON, redacted like its page."""
    _, job = await find_job(request)
    view = await job_shown(request, job)
    return envelope(view[request.match_info["part"]])


async def state_of(request: web.Request) -> web.Response:
    """Where a job is and how far: what an open page asks while it runs."""
    listed, ref = await job_of(request)
    job = await listed.queue.get(ref)
    if job is None:
        return envelope({"state": "gone", "progress": None})
    progress = await shown(request, f"{listed.name}/{ref.shown}", job.progress)
    return envelope({"state": job.state, "progress": progress})


async def act(request: web.Request) -> web.Response:
    """Retry, promote, cancel or remove one job."""
    listed, ref = await job_of(request)
    verb = request.match_info["verb"]
    who = await deed_on_job(request, f"job.{verb}", listed, ref)
    match verb:
        case "retry":
            await listed.queue.revive(ref, who=who)
        case "promote":
            await listed.queue.advance(ref, who=who)
        case "cancel":
            await listed.queue.cancel(ref, who=who)
        case _:
            await listed.queue.remove(ref, who=who)
            return done(f"{ref.shown} is gone.", f"/dashboard/queue/{listed.name}")
    return done(f"{verb}: done.")


async def prioritize(request: web.Request) -> web.Response:
    """A job that has not started gets another priority."""
    listed, ref = await job_of(request)
    body = await wanted(request, Priority)
    said = {"priority": body.priority}
    who = await deed_on_job(request, "job.prioritize", listed, ref, said)
    await listed.queue.prioritize(ref, body.priority, who=who)
    return done(f"The priority is {body.priority} now.")


async def verify(request: web.Request) -> web.Response:
    """The credential in a job's result is verified by a job of its own, to which the page leads."""
    _, job = await find_job(request)
    token = (await job_shown(request, job))["returnvalue"]
    token = token.get("vcJwt") if isinstance(token, dict) else None
    if _decoded({"vcJwt": token}) is None:
        raise InvalidRequest("There is no credential in the result that you may see.")
    data = job.data if isinstance(job.data, dict) else {}
    payload = {
        "vcJwt": token,
        "organizationId": data.get("organizationId", "platform"),
        "userId": data.get("userId", "dashboard"),
    }
    verification = await request.app[DIRECTORY].find(VERIFICATION)
    wanted_job = {"name": "verify-credential", "data": payload}
    _, added, _ = await submit_one(verification, wanted_job, Way())
    return done("It is being verified.", f"/dashboard/queue/{VERIFICATION}/job/{added.shown}")


async def _attempts(request: web.Request, listed: Listed, ref: JobRef) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = await shown(
        request, f"{listed.name}/{ref.shown}", await listed.queue.attempts(ref)
    )
    if principal_of(request).is_platform:
        return records
    return [{k: v for k, v in record.items() if k != "operator"} for record in records]


async def _why(request: web.Request, state: State) -> dict[str, Any] | None:
    if state not in (State.WAITING, State.DELAYED):
        return None
    found: dict[str, Any] = told(await why.why(request))
    return found


async def _callbacks(request: web.Request, listed: Listed, ref: JobRef) -> list[dict[str, Any]]:
    """The deliveries of its endings, newest last. Whether it owes any is nothing a job tells."""
    if listed.name == WEBHOOKS:
        return []
    queue = (await request.app[DIRECTORY].find(WEBHOOKS)).queue
    names = await listed.queue.callbacks(ref)
    found = await asyncio.gather(*(queue.get(name) for name in names))
    principal = principal_of(request)
    return [
        await job_shown(request, delivery)
        for delivery in found
        if delivery is not None and principal.may_see(owner_of(delivery))
    ]


def timeline(view: dict[str, Any], records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Failed attempts with their errors and how long they took, oldest first."""
    by_number = {_number_of(record): record for record in records}
    steps = []
    for error in view["errors"]:
        started, at = error.get("started"), error.get("at")
        took = at - started if isinstance(started, int) and isinstance(at, int) else None
        steps.append({**error, "took": took, "record": by_number.pop(error["attempt"], None)})
    steps += [
        {"attempt": number, "reason": "recorded", "message": "", "at": None, "took": None}
        | {"record": record}
        for number, record in by_number.items()
    ]
    return steps


def _number_of(record: dict[str, Any]) -> Any:
    """Which attempt a record is of; handlers may record anything under these names."""
    number = record.get("attempt", record.get("number"))
    return number if isinstance(number, int | str) else None


def embedded_text(value: Any) -> str | None:
    """The document as text when it is small enough for the page; None: the script fetches it."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2)
    return text.decode() if len(text) <= EMBED_BYTES else None


def _decoded(result: Any) -> dict[str, Any] | None:
    """Header and claims of a credential in a result, unverified; None: there is none to see."""
    token = result.get("vcJwt") if isinstance(result, dict) else None
    if not isinstance(token, str) or token.count(".") != 2:
        return None
    try:
        header, claims = (
            orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
            for part in token.split(".")[:2]
        )
    except (binascii.Error, ValueError):
        return None
    return {"header": header, "claims": claims}


_ONE = "/dashboard/queue/{name}/job/{id:[^/]+}"
ROUTES = (
    Route("GET", _ONE, job_page, Scope.READ),
    Route("GET", _ONE + "/part/{part:data|returnvalue}", document, Scope.READ),
    Route("GET", _ONE + "/state", state_of, Scope.READ),
    Route("GET", _ONE + "/events", events.of_job, Scope.READ, is_held=True),
    Route("POST", _ONE + "/{verb:retry|promote|cancel|remove}", act, Scope.OPERATE),
    Route("POST", _ONE + "/verify", verify, Scope.SUBMIT),
    Route("POST", _ONE + "/prioritize", prioritize, Scope.OPERATE, body=Priority),
)
