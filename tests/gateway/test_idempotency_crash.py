"""A gateway that dies between doing what a POST under an Idempotency-Key asks for and keeping its
answer: the repetition does nothing again, whatever has happened meanwhile, and says the same."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.settings import GatewaySettings
from schemas.job import State
from streams import Queue, Redis
from streams.errors import CredstreamError
from tests.gateway.callers import callers
from tests.gateway.conftest import Hands
from tests.gateway.samples import Serve

HOUR_MS = 3_600_000
AT = "/queue/vc-issuance"
Case = tuple[str, Any, "Step", "Step"]
"""Path, body, what is there before, and what happens until the request comes again."""
Step = Callable[["Scene"], Awaitable[Any]]


@dataclass
class Scene:
    """A queue, its worker, and how to add to it."""

    queue: Queue
    hands: Hands
    issuance: dict[str, Any]

    async def add(self, *ids: str, **options: Any) -> None:
        for job_id in ids:
            await self.queue.add("issue", self.issuance, job_id=job_id, **options)

    async def end(self, kind: str) -> None:
        text = b'[{"attempt":1,"reason":"failed"}]' if kind == "fail" else b"1"
        await self.hands.end(await self.hands.take(10), kind, text)

    async def snapshot(self) -> Any:
        found = [await self.queue.slice(state, "", end=50) for state in State]
        places = {job.id: job.state for page in found for job in page.jobs}
        return places, (await self.queue.counts()).paused


async def nothing(_: Scene) -> None:
    return None


async def dead(scene: Scene) -> None:
    await scene.add("a", "b")
    await scene.end("fail")


async def delayed(scene: Scene) -> None:
    await scene.add("a", "b", delay=HOUR_MS)


async def waiting(scene: Scene) -> None:
    await scene.add("a", "b")


async def done(scene: Scene) -> None:
    await scene.add("a", "b")
    await scene.end("complete")


async def fail_again(scene: Scene) -> None:
    await scene.add("c")
    await scene.end("fail")


async def complete(scene: Scene) -> None:
    await scene.add("c")
    await scene.end("complete")


async def back_again(scene: Scene) -> None:
    for job_id in ("a", "b"):
        if await scene.queue.get(job_id) is None:
            await scene.add(job_id)
        else:
            await scene.queue.revive(job_id)


async def paused(scene: Scene) -> None:
    await scene.queue.pause()


async def resumed(scene: Scene) -> None:
    await scene.queue.resume()


IDS = {"ids": ["a", "b"]}
FAILED = {"filter": {"status": "failed"}}
CASES: list[Case] = [
    ("/job/a/retry", None, dead, fail_again),
    ("/job/a/promote", None, delayed, complete),
    ("/job/a/cancel", None, waiting, lambda scene: scene.queue.revive("a")),
    ("/pause", None, nothing, resumed),
    ("/resume", None, paused, paused),
    ("/clean", {"grace": 0}, done, complete),
    ("/jobs/retry", FAILED, dead, fail_again),
    ("/jobs/retry", IDS, dead, complete),
    ("/jobs/remove", IDS, done, back_again),
    ("/jobs/cancel", {"filter": {"status": "waiting"}}, waiting, back_again),
    ("/jobs/promote", IDS, delayed, complete),
    ("/dead-letters/redrive", {"filter": {}}, dead, fail_again),
]


@pytest.fixture
def scene(queue: Queue, hands: Hands, issuance: dict[str, Any]) -> Scene:
    return Scene(queue, hands, issuance)


async def post(http: ClientSession, path: str, body: Any) -> tuple[int, Any]:
    async with http.post(path, json=body, headers={"Idempotency-Key": "k"}) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
async def test_what_was_done_is_not_done_again_and_told_as_it_was(
    http: ClientSession, scene: Scene, dying: Callable[[], None], raw: Any, case: Case
) -> None:
    path, body, before, meanwhile = case
    await before(scene)
    first = await post(http, AT + path, body)
    assert first[0] == 200, first
    dying()
    await meanwhile(scene)
    world, deeds = await scene.snapshot(), raw.xlen("cs:{vc-issuance}:audit")
    assert await post(http, AT + path, body) == first
    assert await scene.snapshot() == world
    assert raw.xlen("cs:{vc-issuance}:audit") == deeds
    assert await post(http, AT + path, body) == first  # now it is kept


async def test_what_was_begun_is_finished(
    http: ClientSession, scene: Scene, dying: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies in the middle: some jobs of the call have been retried, and one of them failed."""
    await scene.add(*"abcd")
    await scene.end("fail")
    whole = "streams.bulk.WRITE_JOBS"
    run = scene.queue.redis.__class__.run

    async def once_only(self: Any, prefix: Any, *commands: Any) -> Any:
        if any(":b" in command for command in commands):
            raise CredstreamError("the gateway is gone")
        return await run(self, prefix, *commands)

    with monkeypatch.context() as patch:
        patch.setattr(whole, 2)
        patch.setattr(scene.queue.redis.__class__, "run", once_only)
        assert (await post(http, AT + "/jobs/retry", FAILED))[0] == 500
    dying()
    await scene.end("fail")
    status, answer = await post(http, AT + "/jobs/retry", FAILED)
    assert (status, answer["data"]["done"], answer["data"]["matched"]) == (200, 4, 4)
    places, _ = await scene.snapshot()
    assert places == {"a": "waiting", "b": "waiting", "c": "failed", "d": "failed"}


async def test_a_new_key_is_made_once(
    serve: Serve, redis: Redis, dying: Callable[[], None], raw: Any
) -> None:
    made = {"name": "ci", "scopes": ["read"]}
    async with (
        serve(GatewaySettings(host="127.0.0.1", port=0)) as http,
        callers(redis, str(http._base_url), ("all", "admin")) as found,
    ):
        first = await post(found["all", None], "/keys", made)
        assert first[0] == 201
        (record,) = raw.scan_iter(match="cs:idem:*")
        assert first[1]["data"]["key"][-40:].encode() not in raw.hget(record, "plan")
        dying()
        status, answer = await post(found["admin", None], "/keys", made)
        assert (status, answer["code"]) == (409, "idempotency_answer_withheld")
        dying()
        keys = raw.zcard("cs:keys:{keys}:index")
        assert await post(found["all", None], "/keys", made) == first
        assert raw.zcard("cs:keys:{keys}:index") == keys


async def test_a_batch_is_submitted_once(
    http: ClientSession, scene: Scene, dying: Callable[[], None]
) -> None:
    batch = {"jobs": [{"data": scene.issuance}] * 3}
    status, first = await post(http, AT + "/batches", batch)
    assert status == 202
    dying()
    status, again = await post(http, AT + "/batches", batch)
    assert (status, again["data"]["id"]) == (200, first["data"]["id"])
    assert (await scene.queue.counts()).waiting == 3


async def test_a_refusal_leaves_no_plan(http: ClientSession, scene: Scene, raw: Any) -> None:
    body = {"filter": {"status": "failed"}, "before": "nonsense"}
    assert (await post(http, AT + "/jobs/retry", body))[0] == 422
    assert list(raw.scan_iter(match="cs:idem:*")) == []
    await dead(scene)
    status, answer = await post(http, AT + "/jobs/retry", FAILED)
    assert (status, answer["data"]["done"]) == (200, 2)
