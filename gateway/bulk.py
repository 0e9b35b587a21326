"""Many jobs at once: retry, remove, cancel, promote, by ids or by filter, with dry run.

A call is bounded in jobs (1000) and in what it looks at (5000); `next` says where the following one
goes on. Sent again, it does no harm: what is done is told by its state.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from gateway.addressed import OF_ORGANIZATION, QUEUE, queue_of
from gateway.body import read_model
from gateway.directory import Listed
from gateway.principal import Scope, principal_of
from gateway.remembered import mark_of
from gateway.routes import IDS_BODY_BYTES, Route
from gateway.selection import SAMPLE, BulkOutcome, Chosen, Selection, chosen_by
from gateway.shapes import envelope
from gateway.tenancy import deed
from schemas.identity import shown_id
from streams.bulk import DONE, Terms, Verb, act


async def retry(request: web.Request) -> web.Response:
    """Failed jobs run again, with all their attempts."""
    return await _all(request, Verb.RETRY)


async def remove(request: web.Request) -> web.Response:
    """Jobs that are not active are gone."""
    return await _all(request, Verb.REMOVE)


async def cancel(request: web.Request) -> web.Response:
    """Stop jobs that have not ended."""
    return await _all(request, Verb.CANCEL)


async def promote(request: web.Request) -> web.Response:
    """Delayed jobs wait for workers now."""
    return await _all(request, Verb.PROMOTE)


async def _all(request: web.Request, verb: Verb) -> web.Response:
    listed = await queue_of(request)
    selection = await read_model(request, Selection)
    chosen = await chosen_by(request, listed, selection)
    words: Sequence[str] = ()
    if not selection.dry_run:
        said = selection.model_dump(mode="json", by_alias=True, exclude_none=True)
        who = recorded(request, listed, f"jobs.{verb}", said, len(chosen.ids))
        words = await act(listed.queue.store, verb, chosen.ids, who=who, once=mark_of(request))
    whole = principal_of(request).is_platform
    told = outcome(verb, chosen, words, dry_run=selection.dry_run, whole=whole)
    return envelope(told.model_dump(by_alias=True))


def recorded(
    request: web.Request, listed: Listed, action: str, said: dict[str, Any], count: int
) -> bytes:
    """The deed of a call about many jobs: how many, not which. It is the platform's, unless it is
    about the jobs of one organization."""
    parameters = {name: value for name, value in said.items() if name != "ids"}
    whose = said.get("filter", {}).get("organizationId")
    organization_id = principal_of(request).organization_id or whose
    return deed(request, action, listed.name, organization_id, {**parameters, "jobs": count})


def outcome(
    verb: Verb, chosen: Chosen, words: Sequence[str], *, dry_run: bool, whole: bool
) -> BulkOutcome:
    """What is told of a call. Not `whole`: to a tenant, who is not told how many others' jobs were
    looked at."""
    counts = Counter(words)
    if chosen.foreign:
        counts["missing"] += chosen.foreign
    return BulkOutcome(
        action=verb.value,
        dry_run=dry_run,
        matched=len(chosen.ids),
        done=sum(counts[word] for word in DONE),
        skipped={word: count for word, count in sorted(counts.items()) if word not in DONE},
        scanned=chosen.scanned if whole else len(chosen.ids),
        sample=[shown_id(ref) for ref in chosen.ids[:SAMPLE]],
        next=chosen.cursor,
    )


__all__ = ["ROUTES", "Terms", "outcome", "recorded"]
ROUTES = tuple(
    Route(
        "POST",
        f"{QUEUE}/jobs/{verb}",
        handler,
        Scope.OPERATE,
        body=Selection,
        body_bytes=IDS_BODY_BYTES,
        answer=BulkOutcome,
        query=(OF_ORGANIZATION,),
    )
    for verb, handler in (
        (Verb.RETRY, retry),
        (Verb.REMOVE, remove),
        (Verb.CANCEL, cancel),
        (Verb.PROMOTE, promote),
    )
)
