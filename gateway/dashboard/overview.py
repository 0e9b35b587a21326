"""The overview: every queue at a glance, and the state of Redis."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from gateway.addressed import known_queues
from gateway.dashboard.view import page
from gateway.directory import Listed
from gateway.keys import REDIS
from gateway.principal import Scope, principal_of
from gateway.routes import Route
from streams import Counts
from streams.errors import CredstreamError
from streams.health import Health, health
from streams.minutes import WAIT, Tally, of_queues

HERE = "/dashboard"
SPARK_MIN = 60
SPARK_STEP_MIN = 2
CARDS = 40
"""Queues shown as cards; the others, which have less to tell, are rows."""
ROWS = 260
"""With more queues than cards and rows together the rest is told as a number."""


@dataclass(frozen=True, slots=True)
class Card:
    """One queue."""

    name: str
    counts: Counts
    tallies: list[Tally]
    whole: Tally

    @property
    def unattended(self) -> bool:
        """Work is there and nobody does it: not the same as busy."""
        waits = self.counts.waiting + self.counts.due
        return waits > 0 and self.counts.workers == 0 and not self.counts.paused

    @property
    def throughput(self) -> list[float]:
        """Jobs ended, per minute."""
        return [one.ended / SPARK_STEP_MIN for one in self.tallies]

    @property
    def waits(self) -> list[float]:
        """p95 of the wait (ms) in each step."""
        return [one.percentile(WAIT, 0.95) or 0.0 for one in self.tallies]


async def cards(request: web.Request, listed: Mapping[str, Listed]) -> list[Card]:
    """What there is to see of these queues: those in trouble first, then those with work."""
    names = list(listed)
    counts, rings = await asyncio.gather(
        asyncio.gather(*(one.queue.counts() for one in listed.values())),
        of_queues(request.app[REDIS], names, SPARK_MIN, SPARK_STEP_MIN),
    )
    found = [
        Card(name, count, tallies, total(tallies))
        for name, count, (_, tallies) in zip(names, counts, rings, strict=True)
    ]
    return sorted(found, key=_rank)


def _rank(card: Card) -> tuple[bool, bool, str]:
    return not card.unattended, card.counts.total == 0, card.name


def total(tallies: list[Tally]) -> Tally:
    """All of them as one."""
    whole = Tally()
    for one in tallies:
        whole.counts.update(one.counts)
    return whole


async def overview(request: web.Request) -> web.Response:
    """Every queue with its counts, live; for an organization the names of the queues."""
    listed = await known_queues(request)
    if not principal_of(request).is_platform:
        return page(request, "queues.html", title="Queues", here=HERE, names=sorted(listed))
    found, redis = await asyncio.gather(cards(request, listed), _health(request))
    return page(
        request,
        "overview.html",
        title="Overview",
        here=HERE,
        cards=found[:CARDS],
        rows=found[CARDS : CARDS + ROWS],
        count=len(found),
        redis=redis,
        sums={
            state: sum(getattr(card.counts, state) for card in found)
            for state in ("waiting", "active", "delayed", "completed", "failed", "workers")
        },
        unattended=[card.name for card in found if card.unattended],
    )


async def _health(request: web.Request) -> Health | None:
    try:
        return await health(request.app[REDIS])
    except CredstreamError:
        return None


ROUTES = (Route("GET", HERE, overview, Scope.READ),)
