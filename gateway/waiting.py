"""Waiting for the end of a job inside a request (RFC 7240 `Prefer: wait`)."""

import asyncio
import contextlib
import re
from collections.abc import Iterator, Sequence

from aiohttp import web

from gateway.departures import until_lost
from gateway.tape import Ended, Reader, Tape
from schemas.identity import JobRef
from schemas.job import JobView, State
from streams import Queue
from streams.errors import CredstreamError
from streams.live import Position

WAIT_MAX_S = 30
READER = web.AppKey("reader", Reader)
ENDED = (State.COMPLETED, State.FAILED)
ENDINGS = {*ENDED, "removed"}
_SECONDS = re.compile(r"[0-9]{1,9}")


class Vanished(Exception):
    """The job is not there any more; the argument is the event that says why: `completed` or
    `failed` when it was not kept, else `removed`."""


def preferred_wait_s(headers: Sequence[str]) -> int:
    """How many seconds (at most 30) the client would wait; 0 when it would not.

    Of a preference that occurs twice the first counts; what is unknown or malformed is ignored.
    """
    for preference in _split(", ".join(headers)) if headers else ():
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "wait":
            seconds = value.strip().strip('"')
            return min(int(seconds), WAIT_MAX_S) if _SECONDS.fullmatch(seconds) else 0
    return 0


async def wait_for_outcome(
    request: web.Request, tape: Tape, queue: Queue, ref: JobRef, after: Position, wait_s: float
) -> JobView | None:
    """As `outcome`; None also when the connection of the request is lost."""
    with contextlib.suppress(TimeoutError):
        async with until_lost(request):
            return await outcome(tape, queue, ref, after, wait_s)
    return None


async def outcome(
    tape: Tape, queue: Queue, ref: JobRef, after: Position, wait_s: float
) -> JobView | None:
    """The job once it has ended; None when that took longer, or nobody can tell now.

    `after` is a place in the event stream from before the job was submitted. The state is read
    first, then only what happened behind that place is looked at: an ending comes before the
    read or behind the place, often both, and is never missed. Raises Vanished.
    """
    try:
        async with asyncio.timeout(wait_s):
            told: str | None = None
            while True:
                job = await queue.get(ref)
                if job is not None and job.state in ENDED:
                    return job
                if job is None and told is not None:
                    raise Vanished(told)
                told, after = await _news_of(tape, ref, after)
    except (TimeoutError, Ended, CredstreamError):
        return None


async def _news_of(tape: Tape, ref: JobRef, at: Position) -> tuple[str | None, Position]:
    """The next event that may be the end of this job; None after a gap, which may hide one."""
    while True:
        page = await tape.next(at)
        at = page.last
        if page.gap:
            return None, at
        for one in page.found:
            if one.event in ENDINGS and ref in one.jobs:
                return one.event, one.at


def _split(header: str) -> Iterator[str]:
    """The elements of a list, cut at commas outside of quotes."""
    begin, quoted, escaped = 0, False, False
    for at, char in enumerate(header):
        if char == '"' and not escaped:
            quoted = not quoted
        elif char == "," and not quoted:
            yield header[begin:at]
            begin = at + 1
        escaped = quoted and char == "\\" and not escaped
    yield header[begin:]
