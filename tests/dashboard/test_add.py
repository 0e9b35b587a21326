"""Adding a job: the form follows from the schema, the server reads and checks it."""

from typing import Any

import orjson
import pytest
from aiohttp import ClientSession

from gateway.dashboard.add_form import REST, document_of, form_of, texts_of, value_of
from schemas.identity import chosen_ref
from schemas.spec import catalog
from streams import Queue, Redis
from streams.keys import CATALOGUE
from streams.search import owner_of
from tests.dashboard.conftest import make_key, signed_in
from tests.dashboard.test_office import EVIL, ORG, act, faults, seen

MAIL = {"to": "a@example.com", "template": "welcome", "context": "{}", "organizationId": ORG}
SCHEMA = {
    "type": "object",
    "required": ["who"],
    "properties": {
        "count": {"type": "integer", "minimum": 1, "maximum": 9, "default": 3},
        "share": {"type": ["number", "null"]},
        "ratio": {"type": "number"},
        "who": {"$ref": "#/$defs/name"},
        "loud": {"type": "boolean"},
        "mood": {"enum": ["good", "bad"], "description": "How it is.\n\nAnd more."},
        "list": {"type": "array"},
        "either": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
        "perhaps": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "endless": {"$ref": "#/properties/endless"},
        "story": {"type": "string", "maxLength": 100_000},
        "a/b~c": {"type": "string"},
    },
    "$defs": {"name": {"type": "string"}},
}


def test_a_form_follows_from_the_schema() -> None:
    fields = {one.name: one for one in form_of(SCHEMA)}
    assert {name: one.kind for name, one in fields.items()} == {
        "who": "text",
        "count": "integer",
        "share": "json",
        "ratio": "number",
        "loud": "boolean",
        "mood": "choice",
        "list": "json",
        "either": "json",
        "perhaps": "text",
        "endless": "json",
        "story": "long",
        "a/b~c": "text",
        REST: "json",
    }
    assert next(iter(fields)) == "who", "required ones come first"
    assert fields["who"].required
    assert (fields["count"].hint, fields["count"].default) == ("1 to 9.", "3")
    assert (fields["mood"].hint, fields["mood"].choices) == ("How it is.", ("good", "bad"))
    assert fields["a/b~c"].pointer == "/data/a~1b~0c"


@pytest.mark.parametrize(
    "schema", [None, {}, {"properties": []}, {"$ref": "#"}, {"$ref": "https://x.example/y"}]
)
def test_without_a_usable_schema_there_is_one_field(schema: Any) -> None:
    (only,) = form_of(schema)
    assert (only.name, only.kind, only.pointer) == (REST, "json", "/data")


def test_what_is_sent_becomes_the_document() -> None:
    form = form_of(SCHEMA)
    sent = {
        "who": "ann",
        "count": " 4 ",
        "ratio": "1.5",
        "loud": "false",
        "list": "[1]",
        "story": "a\r\nb",
        "perhaps": "",
        REST: '{"more": {"deep": true}, "who": "no"}',
    }
    data, found = document_of(form, sent)
    assert found == []
    assert data == {
        "who": "ann",
        "count": 4,
        "ratio": 1.5,
        "loud": False,
        "list": [1],
        "story": "a\nb",
        "more": {"deep": True},
    }
    assert document_of(form, texts_of(form, data))[0] == data, "there and back"


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("integer", "1.5", "must be an integer"),
        ("integer", "true", "must be a number"),
        ("integer", "x", "must be a number"),
        ("number", "NaN", "must be a number"),
        ("boolean", "yes", "must be true or false"),
        ("json", "{", "is not JSON"),
        ("json", '{"a": 1, "a": 2}', "occurs twice"),
        ("json", "[" * 70 + "]" * 70, "nested deeper"),
        ("json", '"\ud800"', "half a character"),
    ],
)
def test_what_cannot_be_read_is_said(kind: str, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        value_of(kind, text)


def test_unknown_fields_and_other_shapes_are_refused() -> None:
    form = form_of(SCHEMA)
    _, found = document_of(form, {"nobody": "x", REST: "[1]"})
    assert [(one.pointer, one.detail) for one in found] == [
        ("/data/nobody", "is no field of this form"),
        ("/data", "must be a JSON object"),
    ]


@pytest.mark.parametrize("name", catalog())
async def test_every_queue_of_the_product_has_a_form(http: ClientSession, name: str) -> None:
    text = await seen(http, f"/dashboard/add/{name}")
    assert 'name="/data/organizationId"' in text
    assert f"/dashboard/add/{name}" in await seen(http, "/dashboard/add")


async def test_a_job_is_added(http: ClientSession, redis: Redis) -> None:
    options = {"priority": "1", "jobId": "mine", "backoff": '{"type": "fixed", "delay": 5}'}
    told = await act(http, "/dashboard/add/emails", data=MAIL, name="mail", options=options)
    assert told["location"] == "/dashboard/queue/emails/job/%3Amine"
    job = await Queue("emails", redis).get("mine")
    assert job is not None
    assert (job.name, job.data["context"], job.opts["priority"]) == ("mail", {}, 1)
    told = await act(http, "/dashboard/add/emails", data=MAIL, options={"jobId": "mine"})
    assert "was there already" in told["message"]


async def test_what_does_not_fit_is_said_by_field(http: ClientSession, redis: Redis) -> None:
    wrong = MAIL | {"to": "nobody", "context": "{", "unsubscribe": "perhaps"}
    found = await faults(http, "/dashboard/add/emails", data=wrong, options={"delay": "soon"})
    assert set(found) == {"/data/context", "/data/unsubscribe", "/options/delay"}
    found = await faults(http, "/dashboard/add/emails", data=MAIL | {"to": "nobody", "cc": "[1]"})
    assert set(found) == {"/data/to", "/data/cc/0"}
    found = await faults(http, "/dashboard/add/emails", data={}, options={"priority": "99"})
    assert {"/data/to", "/options/priority"} <= set(found)
    assert (await Queue("emails", redis).counts()).total == 0


async def test_a_queue_of_ones_own(http: ClientSession, redis: Redis) -> None:
    about = orjson.dumps({"schema": SCHEMA})
    await redis.command(b"HSET", CATALOGUE, "reports", about, key=CATALOGUE)
    await Queue("free", redis).register()
    assert 'name="/rest"' in await seen(http, "/dashboard/add/reports")
    data = {"who": EVIL, "a/b~c": "x"}
    await act(http, "/dashboard/add/reports", data=data, rest='{"z": 1}', options={"jobId": "r"})
    job = await Queue("reports", redis).get("r")
    assert job is not None
    assert job.data == {**data, "z": 1}
    assert "&lt;img src=x" in await seen(http, "/dashboard/add/reports?from=r")
    assert set(await faults(http, "/dashboard/add/reports", data={"count": "99"})) == {
        "/data/count",
        "/data",
    }
    await act(http, "/dashboard/add/free", data='{"any": [1]}', options={"jobId": "f"})
    job = await Queue("free", redis).get("f")
    assert job is not None
    assert job.data == {"any": [1]}
    await seen(http, "/dashboard/add/nowhere", 404)
    await seen(http, "/dashboard/add/free?from=nothing", 404)


async def test_a_copy_leaves_out_what_is_hidden_or_too_long(address: str, redis: Redis) -> None:
    queue = Queue("vc-verification", redis)
    data = {"vcJwt": "eyJhbGciOiJub25lIn0.e30.c2ln", "organizationId": ORG, "userId": "u-1"}
    await queue.add("v", data, job_id="one")
    await Queue("free", redis).register()
    await Queue("free", redis).add("f", {"text": "x" * 90_000, "n": 1}, job_id="long")
    async with signed_in(address, await make_key(redis, "read", "submit")) as person:
        text = await seen(person, "/dashboard/queue/vc-verification/job/one")
        assert 'href="/dashboard/add/vc-verification?from=%3Aone"' in text
        text = await seen(person, "/dashboard/add/vc-verification?from=one")
        assert "Not copied:</strong> vcJwt" in text
        assert "eyJhbGciOiJub25lIn0" not in text
        assert 'value="u-1"' in text
        text = await seen(person, "/dashboard/add/free?from=long")
        assert "Not copied:</strong> other members" in text
    key = await make_key(redis, "read", "submit", "read:sensitive")
    async with signed_in(address, key) as person:
        assert data["vcJwt"] in await seen(person, "/dashboard/add/vc-verification?from=one")


async def test_a_tenant_adds_its_own_jobs_only(address: str, redis: Redis) -> None:
    await Queue("emails", redis).add("m", MAIL | {"context": {}}, job_id="theirs")
    key = await make_key(redis, "submit", "read", organization_id="mine")
    async with signed_in(address, key) as person:
        text = await seen(person, "/dashboard/add/emails")
        assert 'value="mine"' in text
        await seen(person, "/dashboard/add/emails?from=theirs", 404)
        async with person.post("/dashboard/add/emails", json={"data": MAIL}) as answer:
            assert answer.status == 403
        mine = MAIL | {"organizationId": "mine"}
        await act(person, "/dashboard/add/emails", data=mine, options={"jobId": "ours"})
    job = await Queue("emails", redis).get(chosen_ref("mine", "ours"))
    assert job is not None
    assert owner_of(job) == "mine"
    async with signed_in(address, await make_key(redis, "submit")) as submitter:
        await seen(submitter, "/dashboard/add/emails?from=theirs", 404)
        assert (await act(submitter, "/dashboard/add/emails", data=MAIL))["location"] == "."
