"""Streams of events: what they say, where they resume, whom they leave out, how they end."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse, ClientSession

from gateway.app import create_app
from gateway.server import listening
from gateway.settings import GatewaySettings
from gateway.waiting import READER
from schemas.job import JobOptions
from streams import NewJob, Queue, Redis
from streams.live import Position
from tests.gateway.callers import tenants
from tests.gateway.samples import ISSUANCE, Serve

EVENTS = "cs:{vc-issuance}:events"
ALL = "cs:{*}:events"
JOB = "/queue/vc-issuance/job/a"
SETTINGS = GatewaySettings(host="127.0.0.1", port=0)
VECTORS = orjson.loads(
    (Path(__file__).parents[1] / "vectors" / "sse-last-event-id.json").read_bytes()
)


class Heard(dict[str, str]):
    """One message: its fields as they were sent; `comment` for a comment."""

    @property
    def data_object(self) -> Any:
        return orjson.loads(self["data"])


async def messages(response: ClientResponse) -> AsyncIterator[Heard]:
    """Everything the stream sends, message by message."""
    heard = Heard()
    async for line in response.content:
        text = line.decode().rstrip("\n")
        if not text:
            if heard:
                yield heard
            heard = Heard()
        elif text.startswith(":"):
            heard["comment"] = text[1:]
        else:
            name, _, value = text.partition(": ")
            heard[name] = value


class Ear:
    """A client of one stream."""

    def __init__(self, response: ClientResponse) -> None:
        self.response = response
        self._messages = messages(response)

    async def next(self) -> Heard:
        return await anext(self._messages)

    async def events(self, count: int) -> list[Heard]:
        """The next messages that carry data."""
        found: list[Heard] = []
        while len(found) < count:
            message = await self.next()
            if "data" in message:
                found.append(message)
        return found

    async def rest(self) -> list[Heard]:
        return [message async for message in self._messages]


@asynccontextmanager
async def listen(http: ClientSession, path: str, last: str | None = None) -> AsyncIterator[Ear]:
    headers = {} if last is None else {"Last-Event-ID": last}
    async with http.get(path, headers=headers) as response:
        assert response.status == 200, await response.text()
        ear = Ear(response)
        assert await ear.next() == {"retry": "3000"}
        yield ear


async def test_a_queue_tells_what_happens(
    http: ClientSession, queue: Queue, hands: Any, issuance: dict[str, Any], raw: Any
) -> None:
    async with listen(http, "/events?queue=vc-issuance") as ear:
        added = await queue.add("issue", issuance)
        await hands.end(await hands.take(1), "complete", b"{}")
        await queue.pause()
        heard = await ear.events(4)
    assert [one["event"] for one in heard] == ["added", "active", "completed", "paused"]
    assert [one["id"] for one in heard] == [entry.decode() for entry, _ in raw.xrange(EVENTS)]
    assert heard[0].data_object == {
        "queue": "vc-issuance",
        "event": "added",
        "jobs": [added.id],
        "refs": [added.ref],
        "at": int(heard[0]["id"].partition("-")[0]),
    }
    assert heard[3].data_object["jobs"] == []
    headers = ear.response.headers
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert re.fullmatch("[0-9a-f]{16}", headers["X-Request-Id"])
    assert headers["X-Content-Type-Options"] == "nosniff"


async def test_all_queues_are_one_stream(http: ClientSession, redis: Redis) -> None:
    queues = [Queue(name, redis) for name in ("vc-issuance", "webhooks", "emails")]
    async with listen(http, "/events") as ear:
        for _ in range(3):
            for queue in queues:
                await queue.pause()
                await queue.resume()
        heard = await ear.events(18)
    for queue in queues:
        told = [one["event"] for one in heard if one.data_object["queue"] == queue.name]
        assert told == ["paused", "resumed"] * 3
    ids = [Position.parse(one["id"]) for one in heard]
    assert ids == sorted(set(ids))


async def test_a_queue_that_is_new_joins_the_stream_of_all(
    http: ClientSession, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.merging.LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr("gateway.directory.FRESH_S", 0.0)
    async with listen(http, "/events") as ear:
        queue = Queue("custom", redis)
        added = await queue.add("work")
        await queue.register()
        (heard,) = await ear.events(1)
    assert heard.data_object["jobs"] == [added.id]


@pytest.mark.parametrize("path", ["/events?queue=vc-issuance", "/events"])
async def test_a_client_resumes_without_gap_or_duplicate_also_at_another_gateway(
    serve: Serve, queue: Queue, path: str
) -> None:
    sent: list[str] = []
    heard: list[str] = []
    last: str | None = None
    for _ in range(4):
        async with serve(SETTINGS) as http, listen(http, path, last) as ear:
            if last is None:
                sent.append((await queue.add("issue", ISSUANCE)).id)
            for one in await ear.events(len(sent) - len(heard)):
                heard += one.data_object["jobs"]
                last = one["id"]
            sent.append((await queue.add("issue", ISSUANCE)).id)
            (one,) = await ear.events(1)
            heard += one.data_object["jobs"]
            last = one["id"]
        sent += [(await queue.add("issue", ISSUANCE)).id for _ in range(3)]
    assert heard == sent[: len(heard)]
    assert len(heard) == len(sent) - 3


@pytest.mark.parametrize("path", ["/events?queue=vc-issuance", "/events"])
async def test_what_was_trimmed_is_said_to_be_missing(
    serve: Serve, queue: Queue, raw: Any, path: str
) -> None:
    async with serve(SETTINGS) as http, listen(http, path) as ear:
        await queue.pause()
        (first,) = await ear.events(1)
        for _ in range(5):
            await queue.resume()
        await ear.events(5)
        raw.xtrim(EVENTS if "queue" in path else ALL, maxlen=2, approximate=False)
        async with listen(http, path, first["id"]) as again:
            heard = await again.events(5)
        assert {one["event"] for one in heard} == {"resumed"}, "this gateway still knows them"
    async with serve(SETTINGS) as http:
        async with listen(http, path, first["id"]) as ear:
            heard = await ear.events(3)
        assert [one["event"] for one in heard] == ["gap", "resumed", "resumed"]
        assert "id" not in heard[0]
        async with listen(http, path, heard[1]["id"]) as ear:
            (one,) = await ear.events(1)
        assert one["event"] == "resumed", "what is still there is no gap"


async def test_a_queue_trimmed_while_nobody_listened_to_all_leaves_a_gap_in_all(
    serve: Serve, queue: Queue, raw: Any
) -> None:
    async with serve(SETTINGS) as http, listen(http, "/events") as ear:
        await queue.pause()
        (first,) = await ear.events(1)
    for _ in range(5):
        await queue.resume()
    raw.xtrim(EVENTS, maxlen=2, approximate=False)
    async with serve(SETTINGS) as http, listen(http, "/events", first["id"]) as ear:
        heard = await ear.events(3)
    assert [one["event"] for one in heard] == ["gap", "resumed", "resumed"]
    assert heard[0].data_object["queue"] == "vc-issuance"
    assert "id" in heard[0], "this gap has its place in the stream"


async def test_a_stream_that_ends_before_the_clients_place_is_another_one(
    http: ClientSession, queue: Queue
) -> None:
    async with listen(http, "/events?queue=vc-issuance", "9795485650090-0") as ear:
        (heard,) = await ear.events(1)
        assert heard["event"] == "gap"
        await queue.pause()
        (heard,) = await ear.events(1)
    assert heard["event"] == "paused"


@pytest.mark.parametrize("given", VECTORS["reject_400"] + ["1", "", "0-1 ", "\u0661-1"])
@pytest.mark.parametrize("path", ["/events", JOB + "/events"])
async def test_only_ids_are_resumed_from(http: ClientSession, path: str, given: str) -> None:
    async with http.get(path, params={"lastEventId": given}) as response:
        problem = await response.json(content_type="application/problem+json")
    assert (response.status, problem["code"]) == (400, "invalid_query")
    assert problem["errors"][0]["pointer"] == "/lastEventId"
    if given.isascii() and given == given.strip() and "\r" not in given:
        async with http.get(path, headers={"Last-Event-ID": given}) as response:
            assert response.status == 400


@pytest.mark.parametrize("given", VECTORS["valid"])
async def test_ids_are_resumed_from(http: ClientSession, given: str) -> None:
    async with listen(http, f"/events?lastEventId={given}"):
        pass
    async with listen(http, "/events?lastEventId=1", given):
        pass  # a browser that comes back says where it was in the header


@pytest.mark.parametrize("query", ["x=1", "queue=emails&queue=emails"])
async def test_unknown_parameters_are_refused(http: ClientSession, query: str) -> None:
    async with http.get(f"/events?{query}") as response:
        assert response.status == 400


async def test_there_are_no_events_of_what_is_not_there(http: ClientSession) -> None:
    for path in ("/events?queue=nothing", "/queue/nothing/job/x/events", JOB + "/events"):
        async with http.get(path) as response:
            assert response.status == 404


async def test_a_jobs_stream_begins_with_its_state_and_tells_of_nothing_else(
    http: ClientSession, queue: Queue, hands: Any, issuance: dict[str, Any]
) -> None:
    await queue.add("issue", issuance, job_id="a")
    async with listen(http, JOB + "/events") as ear:
        (state,) = await ear.events(1)
        await queue.add("issue", issuance, job_id="b")
        claims = await hands.take(2)
        await hands.end(claims, "complete", b"{}")
        heard = await ear.events(2)
    assert state["event"] == "state"
    assert state.data_object | {"at": 0} == {
        "queue": "vc-issuance",
        "event": "state",
        "jobs": ["a"],
        "refs": [":a"],
        "at": 0,
        "state": "waiting",
    }
    assert [one["event"] for one in heard] == ["active", "completed"]
    assert [one.data_object["jobs"] for one in heard] == [["a"], ["a"]]
    await queue.remove("a")
    async with listen(http, JOB + "/events", state["id"]) as ear:
        heard = await ear.events(3)
    assert [one["event"] for one in heard] == ["active", "completed", "removed"]


async def test_a_silent_stream_shows_signs_of_life_and_how_far_it_has_come(
    serve: Serve, queue: Queue, issuance: dict[str, Any]
) -> None:
    await queue.add("issue", issuance, job_id="a")
    async with (
        serve(SETTINGS.model_copy(update={"events_heartbeat_s": 0.02})) as http,
        listen(http, JOB + "/events") as ear,
    ):
        (state,) = await ear.events(1)
        assert (await ear.next())["comment"] == ""
        await queue.add("issue", issuance, job_id="other")
        while "id" not in (heard := await ear.next()):
            assert heard == {"comment": ""}
        assert "data" not in heard
        assert heard["id"] != state["id"]


async def test_head_answers_at_once(http: ClientSession) -> None:
    async with http.head("/events") as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")


async def test_at_the_end_of_the_gateway_streams_end_whole(redis: Redis, queue: Queue) -> None:
    gateway = AsyncExitStack()
    _, port = await gateway.enter_async_context(listening(create_app(redis, SETTINGS)))
    async with (
        ClientSession(f"http://localhost:{port}") as http,
        listen(http, "/events?queue=vc-issuance") as one,
        listen(http, "/events") as two,
        listen(http, "/events?queue=emails") as idle,
    ):
        await queue.pause()
        for ear in (one, two):
            await ear.events(1)
        ending = asyncio.create_task(gateway.aclose())
        for ear in (one, two, idle):
            assert await ear.rest() == [{"retry": "3000"}]
        await ending


async def test_who_does_not_read_is_disconnected_and_others_notice_nothing(
    redis: Redis, raw: Any
) -> None:
    app = create_app(redis, SETTINGS.model_copy(update={"events_send_timeout_s": 0.2}))
    path = "/events?queue=vc-issuance"
    loop = asyncio.get_running_loop()
    async with listening(app) as (_, port):
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            slow.setblocking(False)
            await loop.sock_connect(slow, ("127.0.0.1", port))
            request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
            await loop.sock_sendall(slow, request.encode())
            head = await loop.sock_recv(slow, 100)
            async with (
                ClientSession(f"http://localhost:{port}") as http,
                listen(http, path) as ear,
            ):
                with app[READER].follow("vc-issuance") as tape:
                    assert tape.followers == 3
                    while tape.followers == 3:
                        for _ in range(100):
                            raw.xadd(EVENTS, {"e": "added", "i": " ".join(["x" * 100] * 50)})
                        assert len(await ear.events(100)) == 100
                raw.xadd(EVENTS, {"e": "paused", "i": ""})
                (last,) = await ear.events(1)
            assert head.startswith(b"HTTP/1.1 200")
            assert last["event"] == "paused"
            while got := await loop.sock_recv(slow, 2**20):
                ending = got[-5:]
            assert ending != b"0\r\n\r\n", "cut off, not ended"


async def test_any_number_of_clients_share_one_blocked_connection(
    http: ClientSession, queue: Queue, raw: Any, redis_kind: str
) -> None:
    if redis_kind == "cluster":
        pytest.skip("on a cluster every queue has a connection of its own")
    async with AsyncExitStack() as stack:
        paths = ["/events", "/events?queue=vc-issuance", "/events?queue=emails"] * 10
        ears = [await stack.enter_async_context(listen(http, path)) for path in paths]
        await queue.pause()
        for ear, path in zip(ears, paths, strict=True):
            if "emails" not in path:
                await ear.events(1)
        blocked = [one for one in raw.client_list() if one["cmd"] == "xread"]
    assert len(blocked) == 1


async def test_streams_go_on_when_redis_drops_the_connection(
    http: ClientSession, queue: Queue, raw: Any, redis_kind: str
) -> None:
    if redis_kind == "cluster":
        pytest.skip("the connections are on several nodes")
    sent: list[str] = []
    heard: list[str] = []
    async with listen(http, "/events?queue=vc-issuance") as ear:
        for _ in range(3):
            sent += [(await queue.add("issue", ISSUANCE)).id for _ in range(3)]
            for client in raw.client_list():
                if client["cmd"] == "xread":
                    raw.client_kill_filter(_id=client["id"])
            sent.append((await queue.add("issue", ISSUANCE)).id)
            for one in await ear.events(4):
                assert one["event"] == "added"
                heard += one.data_object["jobs"]
    assert heard == sent


@pytest.mark.parametrize("path", ["/events", "/events?queue=vc-issuance"])
async def test_a_tenant_hears_of_its_own_jobs_only(
    redis: Redis, queue: Queue, hands: Any, path: str
) -> None:
    async with (
        tenants(redis, "org-a", "org-b", None) as (a, b, platform),
        listen(a, path) as ear_a,
        listen(b, path) as ear_b,
        listen(platform, path) as all_,
    ):
        mine = {name: ISSUANCE | {"organizationId": name} for name in ("org-a", "org-b")}
        big = mine["org-a"] | {"claims": {"text": "x" * 40_000}}
        await queue.add_many(
            [
                NewJob("issue", mine["org-a"], JobOptions(job_id="a1")),
                NewJob("issue", mine["org-b"], JobOptions(job_id="b1")),
                NewJob("issue", big, JobOptions(job_id="a2")),
                NewJob("issue", mine["org-b"], JobOptions(job_id="b2", remove_on_complete=True)),
            ]
        )
        await queue.pause()
        await queue.resume()
        claims = await hands.take(4)
        heard_a, heard_b = await ear_a.events(2), await ear_b.events(2)
        await hands.end(claims, "complete", b"{}")
        heard_a += await ear_a.events(1)
        heard_b += await ear_b.events(1)
        for job_id in ("a1", "b1"):
            await queue.remove(job_id)
        heard_a += await ear_a.events(1)
        heard_b += await ear_b.events(1)
        assert len(await all_.events(7)) == 7
    for heard, one, two in ((heard_a, "a1", "a2"), (heard_b, "b1", "b2")):
        assert [(m["event"], m.data_object["jobs"]) for m in heard] == [
            ("added", [one, two]),
            ("active", [one, two]),
            ("completed", [one, two]),
            ("removed", [one]),
        ]


async def test_an_id_that_changes_hands_is_told_to_its_new_owner(
    redis: Redis, queue: Queue
) -> None:
    path = "/events?queue=vc-issuance"
    mine, yours = (ISSUANCE | {"organizationId": name} for name in ("org-a", "org-b"))
    async with (
        tenants(redis, "org-a", "org-b") as (a, b),
        listen(a, path) as ear_a,
        listen(b, path) as ear_b,
    ):
        await queue.add("issue", mine, job_id="x")
        await ear_a.events(1)
        await queue.remove("x")
        await ear_a.events(1)
        await queue.add("issue", yours, job_id="x")
        (heard,) = await ear_b.events(1)
        await queue.add("issue", mine, job_id="y")
        (other,) = await ear_a.events(1)
    assert heard.data_object["jobs"] == ["x"]
    assert other.data_object["jobs"] == ["y"]


async def test_a_foreign_job_has_no_events(redis: Redis, queue: Queue) -> None:
    await queue.add("issue", ISSUANCE | {"organizationId": "org-a"}, job_id="a")
    async with tenants(redis, "org-a", "org-b") as (a, b):
        async with listen(a, JOB + "/events") as ear:
            (state,) = await ear.events(1)
        for headers in ({}, {"Last-Event-ID": state["id"]}):
            async with b.get(JOB + "/events", headers=headers) as response:
                problem = await response.json(content_type="application/problem+json")
            assert (response.status, problem["code"]) == (404, "job_not_found")
        async with listen(a, JOB + "/events", "0-0") as ear:
            assert (await ear.events(1))[0]["event"] == "added"
