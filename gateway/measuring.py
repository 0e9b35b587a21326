"""What a gateway measures of itself and of its queues, in plain numbers."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from gateway.directory import Directory, Listed
from gateway.routes import Route
from schemas.metrics import HTTP_BUCKETS_S, Row, Spread
from schemas.spec import catalog
from streams import Counts
from streams.errors import CredstreamError

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE = "(none)"
OTHER = "other"
FROM_ZERO = (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE)
"""Counted from 0 for every route: an alert on a counter that is born at 3 does not fire."""
BEAT_S = 0.5
LAG_BEATS = 30
FRESH_S = 2.0
COUNT_TIMEOUT_S = 2.0


class HttpNumbers:
    """Requests by method, route and status. A route is the template of its path."""

    def __init__(self, table: Iterable[Route]) -> None:
        self.running = 0
        self._counts: Counter[tuple[str, str, int]] = Counter()
        self._durations: dict[tuple[str, str], Spread] = {}
        for route in table:
            template = web.Application().router.add_resource(route.path).canonical
            self._counts.update({(route.method, template, status): 0 for status in FROM_ZERO})

    def middleware(self) -> Middleware:
        """The outermost one: it sees every answer as it leaves."""

        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            began_s, status = time.monotonic(), 499  # the client left before the answer
            self.running += 1
            try:
                response = await handler(request)
                status = response.status
                return response
            finally:
                self.running -= 1
                self._note(request, status, time.monotonic() - began_s)

        return count

    def _note(self, request: web.Request, status: int, took_s: float) -> None:
        resource = request.match_info.route.resource
        method = request.method if request.method in METHODS else OTHER
        route = resource.canonical if resource is not None else NO_ROUTE
        self._counts[method, route, status] += 1
        if (method, route) not in self._durations:
            self._durations[method, route] = Spread(HTTP_BUCKETS_S)
        self._durations[method, route].add(took_s)

    def rows(self) -> Iterator[Row]:
        """Under their names (schemas.metrics)."""
        yield Row("credstream_http_requests_running", (), self.running)
        for (method, route, status), count in self._counts.items():
            yield Row("credstream_http_requests_total", (method, route, str(status)), count)
        for labels, spread in self._durations.items():
            yield Row("credstream_http_request_duration_seconds", labels, spread)


class Lag:
    """How late the event loop runs what it was asked to run at a time."""

    def __init__(self) -> None:
        self._late_s: deque[float] = deque([0.0], maxlen=LAG_BEATS)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Beat from now on."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(BEAT_S, self._beat, loop.time() + BEAT_S)

    def stop(self) -> None:
        """Beat no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self, due_s: float) -> None:
        self._late_s.append(max(0.0, asyncio.get_running_loop().time() - due_s))
        self.start()

    @property
    def worst_s(self) -> float:
        """Of the last 15 seconds."""
        return max(self._late_s)


class Depths:
    """The counts of every queue, read from Redis at most every 2 s however many scrape."""

    def __init__(self, directory: Directory, queues_max: int) -> None:
        self._directory = directory
        self._queues_max = queues_max
        self._reading = asyncio.Lock()
        self._read_at_s = float("-inf")
        self._counts: Mapping[str, Counts] = {}
        self._hidden = 0

    async def read(self) -> None:
        """Have numbers of the last 2 s; while Redis does not answer there are none."""
        async with self._reading:
            if time.monotonic() - self._read_at_s < FRESH_S:
                return
            try:
                async with asyncio.timeout(COUNT_TIMEOUT_S):
                    shown = self._shown(await self._directory.all())
                    counts = await asyncio.gather(*(listed.queue.counts() for listed in shown))
                names = (listed.name for listed in shown)
                self._counts = dict(zip(names, counts, strict=True))
            except (CredstreamError, TimeoutError):
                self._counts = {}
            self._read_at_s = time.monotonic()

    def _shown(self, known: Mapping[str, Listed]) -> list[Listed]:
        custom = sorted(known.keys() - catalog().keys())
        self._hidden = max(0, len(custom) - self._queues_max)
        return [known[name] for name in (*catalog(), *custom[: self._queues_max])]

    @property
    def names(self) -> list[str]:
        """The queues whose numbers are there, or the product's while none are."""
        return [*(self._counts or catalog())]

    def rows(self) -> Iterator[Row]:
        """Under their names (schemas.metrics)."""
        yield Row("credstream_queues_hidden", (), self._hidden)
        for queue, counts in self._counts.items():
            states = {
                "waiting": counts.waiting,
                "active": counts.active,
                "completed": counts.completed,
                "failed": counts.failed,
                "delayed": counts.delayed,
            }
            for state, count in states.items():
                yield Row("credstream_queue_jobs", (queue, state), count)
            oldest_s = (counts.oldest_waiting_ms or 0) / 1000
            for name, value in {
                "bullmq_jobs_total": counts.ended_completed + counts.ended_failed,
                "bullmq_jobs_failed_total": counts.ended_failed,
                "bullmq_jobs_waiting": counts.waiting,
                "credstream_queue_due": counts.due,
                "credstream_queue_demand": demand(counts),
                "credstream_queue_oldest_waiting_seconds": oldest_s,
                "credstream_queue_workers": counts.workers,
                "credstream_queue_paused": counts.paused,
                "credstream_queue_outbox": counts.outbox,
            }.items():
                yield Row(name, (queue,), float(value))


def demand(counts: Counts) -> int:
    """How many jobs want a worker now (E2): waiting in any lane, due, or running."""
    return counts.waiting + counts.due + counts.active
