"""Add a job: a form from the queue's JSON Schema, also beginning with an existing job."""

from typing import Any
from urllib.parse import quote

from aiohttp import web
from pydantic import Field as Rule

from gateway.addressed import known_queues, look_up, no_such_job, queue_of
from gateway.dashboard.add_form import (
    REST,
    Field,
    document_of,
    form_of,
    text_of,
    texts_of,
    value_of,
)
from gateway.dashboard.view import done, page, wanted
from gateway.directory import Listed
from gateway.errors import Fault, InvalidJob
from gateway.principal import Scope, principal_of
from gateway.queues import payload_schema
from gateway.redaction import shown
from gateway.routes import Route
from gateway.submit import Way, submit_one
from schemas.identity import JobRef
from schemas.job import Wire

HERE = "/dashboard/add"
ORGANIZATION = "organizationId"
PREFILL_MAX_CHARS = 60_000
"""Of each field of another job; the page stays below 200 KB."""
PREFILL_MOST_CHARS = 100_000
OPTIONS = (
    Field("priority", "integer", hint="0 (first) to 10 (last)."),
    Field("delay", "integer", hint="Milliseconds before it may start."),
    Field("attempts", "integer", hint="Tries in total."),
    Field("backoff", "json", hint='A JSON object, as {"type": "exponential", "delay": 2000}.'),
    Field("timeout", "integer", hint="Milliseconds one run may take."),
    Field("expires", "integer", hint="Milliseconds by which a worker must have started it."),
    Field("jobId", "text", hint="A job of this id that is there already is not added again."),
    Field("callbackUrl", "text", hint="Told how the job ended."),
)
COPIED = ("priority", "attempts", "backoff", "timeout", "callbackUrl")
"""Options that a copy of a job takes over; an id or a delay is its own."""


class Sent(Wire):
    """What the form sends: texts, by the name of the member."""

    name: str | None = None
    data: dict[str, str] | str | None = None
    """A text: all of `data` as JSON, of a queue without a usable schema."""
    rest: str | None = None
    options: dict[str, str] = Rule(default_factory=dict)


async def choose(request: web.Request) -> web.Response:
    """GET /dashboard/add: for which queue."""
    known = await known_queues(request)
    return page(request, "add_choose.html", title="Add a job", here=HERE, queues=known)


async def form(request: web.Request) -> web.Response:
    """GET /dashboard/add/{name}: the form of a queue; `?from=` begins with a job of it."""
    listed = await queue_of(request)
    fields = form_of(payload_schema(listed))
    texts: dict[str, str] = {}
    options: dict[str, str] = {}
    hidden: list[str] = []
    name, source = "", request.query.get("from") or None
    if source is not None:
        name, data, opts, hidden = await _copied(request, listed, source)
        texts, too_long = _bounded(texts_of(fields, data))
        hidden += too_long
        options = {o.name: text_of(o.kind, opts[o.name]) for o in OPTIONS if o.name in opts}
    own = principal_of(request).organization_id
    if own is not None:
        texts[ORGANIZATION] = own
    return page(
        request,
        "add.html",
        title=f"Add a job to {listed.name}",
        here=HERE,
        queue=listed,
        fields=fields,
        texts=texts,
        options=OPTIONS,
        given=options,
        name=name,
        source=source,
        hidden=hidden,
        own=own,
    )


async def _copied(
    request: web.Request, listed: Listed, job_id: str
) -> tuple[str, dict[str, Any], dict[str, Any], list[str]]:
    """Name, data and options of a job as this principal may see them, and the members that are
    hidden from it. Raises JobNotFound, also for another tenant's."""
    principal = principal_of(request)
    may_read = Scope.READ in principal.scopes
    job = await look_up(listed, principal.organization_id, job_id) if may_read else None
    if job is None:
        raise no_such_job()
    data = job.data if isinstance(job.data, dict) else {}
    seen = await shown(request, f"{listed.name}/{job.id}", data)
    hidden = [name for name in data if seen[name] != data[name]]
    kept = {name: value for name, value in data.items() if name not in hidden}
    opts = {name: job.opts[name] for name in COPIED if job.opts.get(name) is not None}
    return job.name, kept, opts, hidden


def _bounded(texts: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Those that a page can hold, and the names of the others."""
    kept: dict[str, str] = {}
    left: list[str] = []
    room = PREFILL_MOST_CHARS
    for name, text in sorted(texts.items(), key=lambda item: len(item[1])):
        if len(text) <= min(room, PREFILL_MAX_CHARS):
            kept[name] = text
            room -= len(text)
        else:
            left.append(name or "other members")
    return kept, left


async def add(request: web.Request) -> web.Response:
    """POST /dashboard/add/{name}: queue the job of the form."""
    listed = await queue_of(request)
    sent = await wanted(request, Sent)
    texts = dict(sent.data) if isinstance(sent.data, dict) else {}
    whole = sent.data if isinstance(sent.data, str) else sent.rest
    data, found = document_of(
        form_of(payload_schema(listed)), texts | ({} if whole is None else {REST: whole})
    )
    options, wrong = _options(sent.options)
    if found or wrong:
        raise InvalidJob("Nothing was queued; what is wrong stands at its field.", found + wrong)
    job: dict[str, Any] = {"data": data}
    job |= {"name": sent.name} if sent.name else {}
    job |= {"options": options} if options else {}
    own = principal_of(request).organization_id
    receipt, ref, _ = await submit_one(listed, job, Way(organization_id=own))
    word = "was there already" if receipt["deduplicated"] else "was added"
    return done(f"{receipt['id']} {word}: {receipt['state']}.", _next(request, listed, ref))


def _options(sent: dict[str, str]) -> tuple[dict[str, Any], list[Fault]]:
    """The options from their texts, and what cannot be read."""
    found: dict[str, Any] = {}
    wrong: list[Fault] = []
    for one in OPTIONS:
        text = sent.get(one.name)
        if text:
            try:
                found[one.name] = value_of(one.kind, text)
            except ValueError as error:
                wrong.append(Fault(f"/options/{one.name}", str(error)))
    return found, wrong


def _next(request: web.Request, listed: Listed, ref: JobRef) -> str:
    """The job's page, for those who may open it."""
    principal = principal_of(request)
    if Scope.READ not in principal.scopes:
        return "."
    name = ref if principal.is_platform else ref.shown
    return f"/dashboard/queue/{listed.name}/job/{quote(name, safe='')}"


_ONE = HERE + "/{name}"
ROUTES = (
    Route("GET", HERE, choose, Scope.SUBMIT),
    Route("GET", _ONE, form, Scope.SUBMIT),
    Route("POST", _ONE, add, Scope.SUBMIT, body=Sent, body_bytes=None),
)
