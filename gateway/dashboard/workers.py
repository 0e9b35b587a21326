"""Workers: who is alive, what each runs, how busy they are."""

import asyncio
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from gateway import workers as api
from gateway.dashboard.told import told
from gateway.dashboard.view import page
from gateway.keys import DIRECTORY
from gateway.principal import Scope
from gateway.routes import Route

HERE = "/dashboard/workers"
ROWS_MAX = 100
JOBS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Crew:
    """All workers, or those of one queue."""

    rows: list[dict[str, Any]]

    @property
    def alive(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["alive"]]

    @property
    def slots(self) -> int:
        """Jobs that those alive can run at once."""
        return sum(row["slots"] or 0 for row in self.alive)

    @property
    def running(self) -> int:
        return sum(len(row["running"]) for row in self.alive)

    @property
    def utilisation(self) -> float | None:
        return min(1.0, self.running / self.slots) if self.slots else None

    @property
    def shown(self) -> list[dict[str, Any]]:
        """Those that fell silent first, then the busiest."""
        order = sorted(self.rows, key=lambda r: (r["alive"], -(r["utilisation"] or 0), r["name"]))
        return order[:ROWS_MAX]


async def workers(request: web.Request) -> web.Response:
    """GET /dashboard/workers: who works, on what, how busy; `?queue=` for one queue."""
    chosen = request.query.get("queue") or None
    known = await request.app[DIRECTORY].all()
    if chosen is not None:
        await request.app[DIRECTORY].find(chosen)
    rows = told(await api.of_all(request))
    attended = {row["queue"] for row in rows if row["alive"]}
    bare = [name for name in known if name not in attended]
    waits = await _waiting(request, bare)
    return page(
        request,
        "workers.html",
        title="Workers",
        here=HERE,
        crew=Crew([row for row in rows if chosen in (None, row["queue"])]),
        queues=sorted({row["queue"] for row in rows} | ({chosen} if chosen else set())),
        chosen=chosen,
        unattended=waits,
        idle=[name for name in bare if name not in waits],
        jobs_shown=JOBS_SHOWN,
    )


async def _waiting(request: web.Request, names: list[str]) -> dict[str, int]:
    """How many jobs wait in those of these queues where any do."""
    known = await request.app[DIRECTORY].all()
    counts = await asyncio.gather(*(known[name].queue.counts() for name in names))
    waits = {name: c.waiting + c.due for name, c in zip(names, counts, strict=True)}
    return {name: count for name, count in waits.items() if count}


ROUTES = (Route("GET", HERE, workers, Scope.READ, platform_only=True),)
