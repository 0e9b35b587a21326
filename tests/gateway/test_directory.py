"""Custom queues are known as soon as something registered them, and checked by their schema."""

from typing import Annotated, Any

import orjson
import pytest
from aiohttp import ClientSession
from pydantic import BaseModel, Field

from gateway.directory import Directory
from gateway.errors import QueueNotFound
from gateway.settings import GatewaySettings
from schemas import QueueSpec, catalog
from streams import Queue, Redis, mail
from streams.keys import CATALOGUE
from tests.gateway.samples import Serve


class Sms(BaseModel):
    """A payload only the queue's worker knows."""

    to: Annotated[str, Field(pattern=r"^\+[0-9]+$")]
    parts: list[str] = []


@pytest.fixture
async def sms(redis: Redis) -> Queue:
    queue = Queue(QueueSpec("sms", payload=Sms), redis)
    await queue.register()
    return queue


async def raw_schema(redis: Redis, name: str, schema: Any) -> None:
    about = orjson.dumps({"schema": schema, "description": ""})
    await redis.command("HSET", CATALOGUE, name, about, key=CATALOGUE)


async def test_a_queue_without_a_schema_takes_any_object(http: ClientSession, redis: Redis) -> None:
    async with http.get("/queue/custom-queue/stats") as response:
        assert response.status == 404
    await Queue("custom-queue", redis).register()
    async with http.post("/queue/custom-queue/jobs", json={"data": {"any": ["thing"]}}) as response:
        receipt = (await response.json())["data"]
    assert (response.status, receipt["name"]) == (202, "custom-queue")
    async with http.get("/queue/stats") as response:
        rows = (await response.json())["data"]
    assert "custom-queue" in {row["name"] for row in rows}


async def test_a_payload_is_checked_by_the_registered_schema(
    http: ClientSession, sms: Queue
) -> None:
    good, bad = {"data": {"to": "+4512"}}, {"data": {"to": "x", "parts": ["a", 7]}}
    async with http.post("/queue/sms/jobs", json=bad) as response:
        problem = await response.json(content_type="application/problem+json")
    assert response.status == 422
    assert {error["pointer"] for error in problem["errors"]} == {"/data/to", "/data/parts/1"}
    async with http.post("/queue/sms/jobs", json=[good, {"data": {}}, bad]) as response:
        problem = await response.json(content_type="application/problem+json")
    assert {error["pointer"] for error in problem["errors"]} == {
        "/1/data",
        "/2/data/to",
        "/2/data/parts/1",
    }
    assert (await sms.counts()).total == 0
    async with http.post("/queue/sms/jobs", json=[good, good]) as response:
        assert response.status == 202
    assert (await sms.counts()).total == 2


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"$schema": "https://example.com/unknown"},
    ],
)
async def test_a_useless_schema_does_not_close_the_queue_nor_fetch_anything(
    http: ClientSession, redis: Redis, schema: Any
) -> None:
    await raw_schema(redis, "odd", schema)
    async with http.post("/queue/odd/jobs", json={"data": {"a": 1}}) as response:
        assert response.status == 202


async def test_an_unknown_name_is_looked_up_once_more_and_a_known_one_is_not(
    redis: Redis, raw: Any
) -> None:
    directory = Directory(redis)
    assert "vc-issuance" in await directory.all()

    def reads() -> int:
        return int(raw.info("commandstats").get("cmdstat_hgetall", {}).get("calls", 0))

    before = reads()
    await directory.find("vc-issuance")
    assert reads() == before
    with pytest.raises(QueueNotFound):
        await directory.find("late")
    await Queue("late", redis).register()
    assert (await directory.find("late")).name == "late"
    after = reads()
    await directory.find("late")
    assert reads() == after
    with pytest.raises(QueueNotFound):
        await directory.find("Not A Name")
    assert reads() == after


async def test_what_a_product_queue_is_cannot_be_overridden(
    http: ClientSession, redis: Redis
) -> None:
    await raw_schema(redis, "vc-issuance", None)
    async with http.post("/queue/vc-issuance/jobs", json={"data": {}}) as response:
        assert response.status == 422


async def test_workers_say_what_they_can_do_beyond_a_payload_model(
    redis: Redis, serve: Serve
) -> None:
    templates = {
        "properties": {"template": {"enum": ["notice"]}},
        "allOf": [
            {
                "if": {"properties": {"template": {"const": "notice"}}},
                "then": {
                    "properties": {
                        "context": {
                            "$id": "urn:x:notice",
                            "$defs": {"text": {"type": "string"}},
                            "properties": {"message": {"$ref": "#/$defs/text"}},
                            "required": ["message"],
                        }
                    }
                },
            }
        ],
    }
    payload = {"to": "a@b.com", "subject": "x", "template": "other", "organizationId": "org"}
    settings = GatewaySettings(host="127.0.0.1", port=0)

    async def submit(http: ClientSession, **changes: object) -> tuple[int, list[str]]:
        job = {"data": payload | {"context": {}} | changes}
        async with http.post("/queue/emails/jobs", json=job) as response:
            answer = await response.json()
        return response.status, [fault["pointer"] for fault in answer.get("errors", ())]

    async with serve(settings) as http:
        assert await submit(http) == (202, [])
    await mail.announce(redis, "emails", templates)
    async with serve(settings) as http:
        assert await submit(http) == (422, ["/data/template"])
        assert await submit(http, template="notice") == (422, ["/data/context"])
        wrong = {"message": 1}
        assert await submit(http, template="notice", context=wrong) == (
            422,
            ["/data/context/message"],
        )
        assert await submit(http, to="evil", template="notice") == (422, ["/data/to"])
        assert await submit(http, template="notice", context={"message": "x"}) == (202, [])
        async with http.get("/queue/stats") as response:
            rows = (await response.json())["data"]
        assert [row["name"] for row in rows] == sorted(catalog())
