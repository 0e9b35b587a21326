"""Two organizations of one installation: what the first does, and what the second tries against it.

A script of requests by A is run alone, and again with requests of B in between. What A observes is
written down without what differs from run to run (times, random digits), so that two runs can be
compared.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from aiohttp import ClientSession
from by_hand import Hand
from yarl import URL

from consumers.relay import Relay
from schemas.identity import batch_job_ref, candidates, chosen_ref
from schemas.job import State
from schemas.spec import QueueSpec, catalog
from streams import Queue, Redis
from tests.gateway.callers import tenants

A, B = "org-a", "org-b"
MIXED = QueueSpec("mixed")
HOOK = "https://hooks.example.com/in"
CHOSEN = ("invoice-1", "a/b:c", ":x", "0" * 26, "0" * 16 + ":y")
"""Ids that A chooses; some look like other kinds."""
BATCH = "tuesday"
LIST = {"listId": "a" * 26 + "-" + "b" * 13, "version": 1}
EVENTS_S = 20
"""Events that do not come in this time do not come at all."""
_VARYING = re.compile(
    r"(?P<callback>~cb:[a-z-]+:\d+-\d+:[0-9a-v]{16})|(?P<id>\b(?!0{26})[0-9a-v]{26}\b)"
    r"|(?P<moment>\b1[0-9]{12}\b)|(?P<iso>\b20\d\d-\d\d-\d\dT[0-9:.]+Z)"
)


class Normalizer:
    """Gives what varies from run to run the names it has in every run: by first appearance."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def __call__(self, value: Any) -> Any:
        text = json.dumps(value, sort_keys=True)
        return json.loads(_VARYING.sub(self._name, text))

    def _name(self, match: re.Match[str]) -> str:
        if match["moment"]:
            return "0"
        if match["iso"]:
            return "a moment"
        kind = "callback" if match["callback"] else "id"
        return self._names.setdefault(match[0], f"{kind} {len(self._names)}")


@dataclass
class World:
    """One run."""

    redis: Redis
    a: ClientSession
    b: ClientSession
    seen: list[Any] = field(default_factory=list)
    """What A has observed."""
    known: list[str] = field(default_factory=list)
    """Every id of A that somebody may come to know, in every spelling."""
    normalize: Normalizer = field(default_factory=Normalizer)

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """A request of A, written down."""
        status, answer = await send(self.a, method, path, body, **headers)
        self.learn(answer)
        said = {k: v for k, v in answer.items() if k not in ("requestId", "next")}
        self.seen.append(self.normalize([method, unquote(path), status, said]))
        return answer.get("data")

    def learn(self, answer: Any) -> None:
        """Remember the ids in an answer, and what they may be called inside."""
        found = answer if isinstance(answer, list) else [answer]
        for one in found:
            if isinstance(one, dict):
                if isinstance(name := one.get("id"), str):
                    self.know(name)
                for value in one.values():
                    if isinstance(value, dict | list):
                        self.learn(value)

    def know(self, name: str) -> None:
        for spelled in (name, *candidates(A, name), *candidates(None, name)):
            if spelled not in self.known:
                self.known.append(str(spelled))

    async def work(self) -> None:
        """Workers of all organizations run what there is, as its data says, and the callbacks."""
        for spec in (MIXED, catalog()["webhooks"]):
            hand = Hand(self.redis, spec)
            while claims := await hand.take():
                failing = [c for c in claims if c.job.data.get("end") == "fail"]
                await hand.fail(*failing)
                await hand.complete(*(c for c in claims if c not in failing), result={"done": 1})
            await Relay(spec, self.redis).pass_on()
        hooks = Hand(self.redis, catalog()["webhooks"])
        while claims := await hooks.take():
            await hooks.complete(*claims, result={"status": 200})


def job(organization: str = A, **parts: Any) -> dict[str, Any]:
    options = {k: v for k, v in parts.items() if k in ("jobId", "delay", "callbackUrl")}
    data = {k: v for k, v in parts.items() if k not in options}
    return {"name": "work", "data": {"organizationId": organization, **data}, "options": options}


async def send(
    http: ClientSession, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    """Status and answer; a path is sent as it is."""
    url = URL(str(http._base_url).rstrip("/") + path, encoded=True)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with http.request(method, url, json=body, headers=named) as response:
        assert response.status < 500, await response.text()
        return response.status, await response.json(content_type=None)


def at(name: str, tail: str = "", queue: str = "mixed") -> str:
    return f"/queue/{queue}/job/{quote(name, safe='')}{tail}"


Step = Callable[[World], Awaitable[Any]]


async def _submissions(world: World) -> None:
    await world.ask("POST", "/queue/mixed/jobs", job(n=1))
    for name in CHOSEN:
        await world.ask("POST", "/queue/mixed/jobs", job(jobId=name, n=2, callbackUrl=HOOK))
    many = [job(n=3, end="fail"), job(jobId="array-1", n=4, end="fail", callbackUrl=HOOK)]
    await world.ask("POST", "/queue/mixed/jobs", many)
    await world.ask("POST", "/queue/mixed/jobs", job(jobId="later", delay=9_999_999))
    await world.ask("POST", "/queue/mixed/jobs", job(n=5), Idempotency_Key="key-1")


async def _repetitions(world: World) -> None:
    for name in CHOSEN:
        await world.ask("POST", "/queue/mixed/jobs", job(jobId=name, n=2, callbackUrl=HOOK))
    await world.ask("POST", "/queue/mixed/jobs", job(n=5), Idempotency_Key="key-1")


async def _batches(world: World) -> None:
    jobs = [{"data": {"organizationId": A, "n": n}} for n in range(3)]
    await world.ask("POST", "/queue/mixed/batches", {"jobs": jobs, "batchId": BATCH})
    await world.ask("POST", "/queue/mixed/batches", {"jobs": jobs, "batchId": BATCH})
    made = await world.ask("POST", "/queue/mixed/batches", {"jobs": jobs})
    for name in (BATCH, made["id"]):
        for number in range(3):
            world.know(f"~b:{name}.{number}")
            world.know(batch_job_ref(chosen_ref(A, name), number))
        await world.ask("GET", f"/batches/{name}")
        await world.ask("GET", f"/batches/{name}/results")


async def _work(world: World) -> None:
    await world.work()


async def _looks(world: World) -> None:
    for name in (*CHOSEN, "array-1", "later", f"~b:{BATCH}.0", "nothing"):
        for tail in ("", "/logs", "/attempts"):
            await world.ask("GET", at(name, tail))
    for queue in ("mixed", "webhooks"):
        for state in State:
            rows = await world.ask("GET", f"/queue/{queue}/jobs?status={state}&end=-1")
            for row in rows:
                await world.ask("GET", at(row["id"], queue=queue))
        await world.ask("GET", f"/queue/{queue}/dead-letters")
    await world.ask("GET", f"/batches/{BATCH}")
    await world.ask("GET", f"/batches/{BATCH}/results")
    await world.ask("GET", "/queue")


async def _changes(world: World) -> None:
    await world.ask("POST", at("array-1", "/retry"))
    await world.ask("PUT", at("later", "/priority"), {"priority": 1})
    await world.ask("POST", at("later", "/cancel"))
    await world.ask("DELETE", at(CHOSEN[0]))
    await world.ask("POST", "/queue/mixed/jobs", job(jobId=CHOSEN[0], n=6, callbackUrl=HOOK))
    ids = [*CHOSEN[1:3], f"~b:{BATCH}.1", "nothing"]
    await world.ask("POST", "/queue/mixed/jobs/remove", {"ids": ids})
    await world.ask("POST", "/queue/mixed/jobs/retry", {"filter": {"status": "failed"}})


async def _events(world: World) -> None:
    """Everything that A hears, up to a job that ends what is compared."""
    await world.ask("POST", "/queue/mixed/jobs", job(jobId="the-end"))
    for path in ("/events?queue=mixed&lastEventId=0-0", at("array-1", "/events?lastEventId=0-0")):
        heard: list[Any] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(EVENTS_S):
                await _hear(world, path, heard)
        told = [[one["event"], name] for one in heard for name in one["jobs"]]
        world.seen.append(world.normalize([path, sorted(told)]))


async def _hear(world: World, path: str, heard: list[Any]) -> None:
    url = URL(str(world.a._base_url).rstrip("/") + path, encoded=True)
    async with world.a.get(url) as response:
        async for line in response.content:
            if line.startswith(b"data:"):
                heard.append(json.loads(line[5:]))
                if heard[-1]["jobs"][-1] == "the-end" or ("array-1" in path and len(heard) == 4):
                    return


STEPS: tuple[Step, ...] = (
    *(_submissions, _repetitions, _batches, _work, _looks, _changes, _repetitions, _batches),
    *(_work, _looks, _events),
)


def attacks(target: str) -> list[tuple[str, str, Any, dict[str, str]]]:
    """What B may try with something that it knows: method, path, body, headers."""
    hook = {"url": HOOK, "method": "POST", "payload": {}, "event": "e", "organizationId": B}
    found: list[tuple[str, str, Any, dict[str, str]]] = []

    def add(method: str, path: str, body: Any = None, **headers: str) -> None:
        found.append((method, path, body, headers))

    for tail in ("retry", "cancel", "promote"):
        add("POST", at(target, f"/{tail}"))
        add("POST", f"/queue/mixed/jobs/{tail}", {"ids": [target]})
    add("PUT", at(target, "/priority"), {"priority": 9})
    add("POST", "/queue/mixed/jobs/remove", {"ids": [target]})
    add("POST", "/queue/mixed/dead-letters/redrive", {"ids": [target]})
    for queue in ("mixed", "webhooks"):
        add("DELETE", at(target, queue=queue))
        add("DELETE", at(target, f"?organizationId={A}", queue=queue))
        for tail in ("", "/why", "/logs", "/attempts"):
            add("GET", at(target, tail, queue=queue))
    segment = quote(target, safe="")
    for tail in ("", "/results", f"?organizationId={A}"):
        add("GET", f"/batches/{segment}{tail}")
    for tail in ("revoke", "suspend"):
        add("POST", f"/credentials/{segment}/{tail}")
    # At the end, so that what B has taken is still B's when A comes.
    for queue, data in (("mixed", {}), ("webhooks", hook), ("status-lists", LIST)):
        one = {"data": {"organizationId": B, **data}, "options": {"jobId": target}}
        add("POST", f"/queue/{queue}/jobs", one)
        add("POST", f"/queue/{queue}/jobs", [{"data": one["data"]}, one])
    add("POST", "/queue/mixed/jobs", job(A, jobId=target))
    add("POST", "/queue/mixed/jobs", job(B, jobId=target, end="fail", callbackUrl=HOOK))
    add("POST", "/queue/mixed/jobs", job(B, n=5), Idempotency_Key="key-1")
    few = {"jobs": [{"data": {"organizationId": B}}] * 3}
    add("POST", "/queue/mixed/batches", {**few, "batchId": target})
    return found


Interloper = Callable[[World, int], Awaitable[None]]
"""What B does before a step of A."""


@asynccontextmanager
async def world(redis: Redis) -> AsyncIterator[World]:
    await Queue(MIXED, redis).register()
    async with tenants(redis, A, B) as (a, b):
        made = World(redis, a, b)
        for name in (*CHOSEN, BATCH, "array-1", "later", "the-end"):
            made.know(name)
        yield made


async def play(redis: Redis, interloper: Interloper | None = None) -> list[Any]:
    """The script of A; answers what A has observed."""
    async with world(redis) as made:
        for number, step in enumerate(STEPS):
            if interloper is not None:
                await interloper(made, number)
            await step(made)
        return made.seen
