"""An event stream on its way to one client (WHATWG HTML, server-sent events)."""

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import Any

import orjson
from aiohttp import web

from gateway.departures import until_lost
from gateway.headers import stamp
from gateway.keys import REQUEST_ID, SETTINGS
from gateway.owners import Owners
from gateway.principal import Principal, is_still_valid
from gateway.tape import PAUSE_S, Ended, Tape
from schemas.identity import JobRef, shown_id
from streams.errors import CredstreamError
from streams.live import Happening, Page, Position

RETRY = b"retry: 3000\n\n"
"""What a browser waits before it comes back (ms)."""
CHECK_EVERY_S = 2.0
"""How often it is looked whether who listens still may: a revoked key ends the stream in 4 s."""
MARGIN_S = 0.005
_NAMES = {"n": "count", "s": "state"}


@dataclass(frozen=True, slots=True)
class Listener:
    """What one stream shows."""

    principal: Principal
    owners: Owners
    ref: JobRef | None = None
    """Only what happens to this job."""
    hidden: frozenset[str] = frozenset()
    """Queues that do not exist for this principal."""

    async def sees(self, one: Happening) -> Happening | None:
        """The part of a happening that this listener may and wants to see; None: nothing of it.

        A tenant sees its own jobs. Of a job that is gone, nobody knows any more whose it was."""
        if one.queue in self.hidden:
            return None
        if self.ref is not None:
            if self.ref not in one.jobs:
                return None
            one = replace(one, jobs=(self.ref,))
        if self.principal.is_platform or one.event == "gap":
            return one
        owned = zip(one.jobs, await self.owners.of(one), strict=True)
        jobs = tuple(job for job, owner in owned if self.principal.may_see(owner))
        return replace(one, jobs=jobs) if jobs else None


class Stream:
    """Sends what a tape brings until the client leaves, does not read, or the gateway ends."""

    def __init__(self, request: web.Request, tape: Tape, at: Position, listener: Listener) -> None:
        self._request = request
        self._settings = request.app[SETTINGS]
        self._tape = tape
        self._at = at
        self._told = at
        """The last position the client knows."""
        self._listener = listener
        self._checked_s = self._wrote_s = asyncio.get_running_loop().time()
        self._response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",  # a proxy that buffers would hold events back
            }
        )

    async def run(self, first: Happening | None = None) -> web.StreamResponse:
        """The response, when it is over; `first` is sent before anything else."""
        stamp(self._response, self._request[REQUEST_ID])
        await self._response.prepare(self._request)
        if self._request.method == "HEAD":
            return self._response
        with contextlib.suppress(ConnectionError, TimeoutError):  # the client has left
            async with until_lost(self._request):
                await self._tell(first)
        return self._response

    async def _tell(self, first: Happening | None) -> None:
        await self._write(RETRY + (self._message(first) if first else b""))
        try:
            while await self._may_go_on():
                await self._write(await self._more())
        except Ended:
            await self._write(RETRY)

    async def _may_go_on(self) -> bool:
        """False once the credential that opened this stream is not valid any more."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._checked_s < CHECK_EVERY_S:
            return True
        self._checked_s = now_s
        return await is_still_valid(self._request)

    async def _more(self) -> bytes:
        """What to send next, perhaps nothing; a sign of life when it is time for one, also while
        Redis is away. Raises Ended."""
        loop = asyncio.get_running_loop()
        silent_until_s = self._wrote_s + self._settings.events_heartbeat_s
        try:
            async with asyncio.timeout(min(silent_until_s - loop.time(), CHECK_EVERY_S)):
                page = await self._tape.next(self._at)
            return await self._shown(page)
        except TimeoutError:
            if loop.time() < silent_until_s - MARGIN_S:
                return b""
            return self._sign_of_life()
        except CredstreamError:
            await asyncio.sleep(PAUSE_S)
            return self._sign_of_life()

    async def _shown(self, page: Page) -> bytes:
        parts = [gap(self._tape.events.queue)] if page.gap else []
        told = self._told
        for one in page.found:
            seen = await self._listener.sees(one)
            if seen is not None:
                parts.append(self._message(seen))
                told = seen.at
        self._at, self._told = page.last, told
        return b"".join(parts)

    def _message(self, one: Happening) -> bytes:
        return message(one, with_refs=self._listener.principal.is_platform)

    def _sign_of_life(self) -> bytes:
        """A comment; with it how far the client has got when nothing there was for its eyes: when
        it comes back it need not begin so far behind. Tenants are not told when others are busy."""
        if self._at == self._told or not self._listener.principal.is_platform:
            return b":\n\n"
        self._told = self._at
        return b":\nid: %b\n\n" % str(self._at).encode()

    async def _write(self, data: bytes) -> None:
        """Raises ConnectionError: the client is gone, or made to go because it does not read."""
        if not data:
            return
        self._wrote_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._settings.events_send_timeout_s):
                await self._response.write(data)
        except TimeoutError:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the client does not read its events") from None


def message(one: Happening, *, with_refs: bool = False) -> bytes:
    """One event. The id is the position behind which a client goes on; `refs`, for the platform
    only, are the ids of the jobs inside Redis."""
    more = dict(one.more)
    data: dict[str, Any] = {
        "queue": one.queue,
        "event": one.event,
        "jobs": [shown_id(ref) for ref in one.jobs],
        **({"refs": one.jobs} if with_refs else {}),
        "at": int(more.pop("t", one.at.ms)),
        **{_NAMES.get(name, name): value for name, value in more.items()},
    }
    names = str(one.at).encode(), one.event.encode()
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (*names, orjson.dumps(data))


def gap(queue: str | None) -> bytes:
    """Some events are gone: whoever keeps a picture must draw it anew."""
    return b"event: gap\ndata: %b\n\n" % orjson.dumps({"queue": queue, "event": "gap"})
