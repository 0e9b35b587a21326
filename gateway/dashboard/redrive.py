"""Dead letters run again, and canaries go on by themselves, whether a page is open or not.

Every gateway looks once a second for canaries that have passed; the one that gets the lease sends
the rest. It may stop in the middle: what it has sent is sent, and another one sends what is left.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Final

from aiohttp import web

from gateway.dashboard.causes import LIBRARY, Cause
from gateway.errors import QueueNotFound
from gateway.gate import GATE, Unauthorized
from gateway.keys import DIRECTORY, REDIS
from gateway.principal import Scope
from streams import Redis
from streams.audit import Deed
from streams.bulk import DONE, Verb, act
from streams.canaries import (
    Canary,
    LeaseLost,
    Outcome,
    Progress,
    begin,
    find,
    forget,
    lease,
    note,
    progress,
    release,
    unended,
)
from streams.errors import CredstreamError
from streams.store import Store

logger = logging.getLogger(__name__)

CALL_JOBS: Final = 1_000
LOOK_S: Final = 1.0


async def send(store: Store, ids: Sequence[str], who: bytes) -> AsyncIterator[list[str]]:
    """Revive them in parts; yields of each part those that run again. One deed for all."""
    recorded = False
    for at in range(0, len(ids), CALL_JOBS):
        part = ids[at : at + CALL_JOBS]
        words = await act(store, Verb.RETRY, part, who=b"" if recorded else who)
        sent = [job_id for job_id, word in zip(part, words, strict=True) if word in DONE]
        recorded = recorded or bool(sent)
        yield sent


async def look(app: web.Application) -> None:
    """One look at all canaries that go on by themselves. Raises Unavailable."""
    redis = app[REDIS]
    for queue, canary_id in await unended(redis):
        canary = await find(redis, queue, canary_id)
        if canary is None or canary.outcome:
            await forget(redis, queue, canary_id)
            continue
        now = await progress(redis, canary)
        if canary.until_ms is not None or now.verdict != "running":
            token = await lease(redis, canary)
            if token is not None:
                await _with_lease(app, canary, token, now)


async def _with_lease(app: web.Application, canary: Canary, token: str, now: Progress) -> None:
    try:
        await _decide(app, canary, token, now)
    except LeaseLost:
        logger.warning("another gateway went on with canary %s meanwhile", canary.id)
    finally:
        await release(app[REDIS], canary, token)


async def _decide(app: web.Application, seen: Canary, token: str, now: Progress) -> None:
    """What becomes of it, as it is under the lease. Raises LeaseLost."""
    redis = app[REDIS]
    canary = await find(redis, seen.queue, seen.id)
    if canary is None or canary.outcome:
        return
    outcome = Outcome.SENT
    if canary.until_ms is None and not now.is_sure:
        outcome = Outcome.FAILED if now.failed else Outcome.UNSURE
    elif not await _may(app, canary):
        outcome = Outcome.REFUSED
    if outcome is Outcome.SENT:
        canary = await _go_on(app, await begin(redis, canary, token), token)
    await note(redis, replace(canary, outcome=outcome), token)


async def _may(app: web.Application, canary: Canary) -> bool:
    """Whether the key that sent it would be allowed to even now."""
    if canary.key_id is None:
        return True
    try:
        return Scope.OPERATE in (await app[GATE].holder(canary.key_id)).scopes
    except Unauthorized:
        return False


async def _go_on(app: web.Application, canary: Canary, token: str) -> Canary:
    """The rest of its cause runs again; it is written down part by part. Raises LeaseLost."""
    try:
        listed = await app[DIRECTORY].find(canary.queue)
    except QueueNotFound:
        return canary
    store = listed.queue.store
    cause = await app[LIBRARY].cause(store, canary.fingerprint, canary.organization_id)
    ids = [] if cause is None else _died_by(cause, canary.until_ms or 0)
    async for part in send(store, ids, _deed(canary, len(ids))):
        canary = await note(app[REDIS], replace(canary, sent=canary.sent + len(part)), token)
    return canary


def _died_by(cause: Cause, until_ms: int) -> list[str]:
    pairs = zip(cause.jobs, cause.ends_ms, strict=True)
    return [job_id for job_id, died_ms in pairs if died_ms <= until_ms]


def _deed(canary: Canary, jobs: int) -> bytes:
    said = {"cause": canary.fingerprint, "canary": canary.id, "jobs": jobs, "byItself": True}
    return Deed(
        actor=canary.by,
        action="dead.redrive",
        target=canary.queue,
        organization_id=canary.organization_id,
        key_id=canary.key_id,
        parameters=said,
    ).encode()


async def hold(redis: Redis, canary: Canary) -> bool:
    """It does not go on by itself any more; False: it does so right now, or has ended.

    Raises Unavailable."""
    token = await lease(redis, canary)
    if token is None:
        return False
    try:
        known = await find(redis, canary.queue, canary.id)
        if known is None or known.outcome or known.until_ms is not None:
            return False
        await note(redis, replace(known, outcome=Outcome.HELD), token)
    except LeaseLost:
        return False
    finally:
        await release(redis, canary, token)
    return True


async def looking(app: web.Application) -> AsyncIterator[None]:
    """For `cleanup_ctx` of the application: looks as long as it runs."""
    task = asyncio.create_task(_look_on(app))
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _look_on(app: web.Application) -> None:
    while True:
        try:
            await look(app)
        except CredstreamError as error:
            logger.debug("canaries cannot be looked at: %s", error)
        except Exception:
            logger.exception("a canary cannot go on by itself")
        await asyncio.sleep(LOOK_S)
