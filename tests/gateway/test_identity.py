"""Ids of jobs over HTTP: which can be sent, and what an organization learns of another's."""

from typing import Any

import pytest
from aiohttp import ClientSession

from gateway.directory import Directory
from schemas.identity import inspection_id, publication_id
from schemas.queues.status_lists import publication
from schemas.spec import QueueSpec
from streams import Queue, Redis
from tests.gateway.callers import tenants

LIST = "a" * 26 + "-" + "b" * 13
INTERNAL = "status-lists"


async def ask(
    http: ClientSession, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    """The status and the whole answer."""
    async with http.request(method, path, json=body, headers=headers) as response:
        return response.status, await response.json(content_type=None)


def told(answer: tuple[int, Any]) -> tuple[int, Any]:
    """What a refusal says, without what differs from request to request."""
    status, problem = answer
    return status, {k: v for k, v in problem.items() if k not in ("instance", "requestId")}


@pytest.mark.parametrize(
    "job_id", [publication_id(LIST, 2), inspection_id(LIST, 10_000), "~", "~x"]
)
async def test_no_submission_brings_an_id_that_credstream_derives(
    http: ClientSession, redis: Redis, job_id: str
) -> None:
    await Queue("mixed", redis).register()
    job = {"data": {}, "options": {"jobId": job_id}}
    for body in (job, [{"data": {}}, job]):
        status, problem = await ask(http, "POST", "/queue/mixed/jobs", body)
        assert status == 422
        (fault,) = problem["errors"]
        assert fault["pointer"].endswith("/options/jobId")
        assert "must not begin with ~" in fault["detail"]
    assert (await Queue("mixed", redis).counts()).total == 0


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/jobs", {"data": publication(LIST, "org-a", 1)}),
        ("POST", "/jobs", [{"data": publication(LIST, "org-a", 1)}]),
        ("POST", "/jobs", {}),
        ("POST", "/batches", {"jobs": [{"data": publication(LIST, "org-a", 1)}]}),
        ("GET", "/jobs", None),
        ("GET", "/stats", None),
        ("GET", "/dead-letters", None),
        ("GET", "/job/x", None),
        ("GET", "/job/x/events", None),
        ("POST", "/job/x/cancel", None),
        ("POST", "/jobs/cancel", {"ids": ["x"]}),
    ],
)
async def test_for_an_organization_an_internal_queue_does_not_exist(
    redis: Redis, method: str, path: str, body: Any
) -> None:
    async with tenants(redis, "org-a", None) as (a, platform):
        internal = told(await ask(a, method, f"/queue/{INTERNAL}{path}", body))
        unknown = told(await ask(a, method, f"/queue/nothing-here{path}", body))
        assert internal[0] == 404
        assert str(internal).replace(INTERNAL, "nothing-here") == str(unknown)
        names = [row["name"] for row in (await ask(a, "GET", "/queue"))[1]["data"]]
        assert "vc-issuance" in names
        assert INTERNAL not in names
        assert (await Queue(INTERNAL, redis).counts()).total == 0
        names = [row["name"] for row in (await ask(platform, "GET", "/queue"))[1]["data"]]
        assert INTERNAL in names
        body = {"data": publication(LIST, "org-a", 1)}
        assert (await ask(platform, "POST", f"/queue/{INTERNAL}/jobs", body))[0] == 202


async def test_a_queue_of_ones_own_can_be_internal(redis: Redis) -> None:
    await Queue(QueueSpec("nightly", internal=True), redis).register()
    assert (await Directory(redis).find("nightly")).is_internal
    async with tenants(redis, "org-a", None) as (a, platform):
        body = {"data": {"organizationId": "org-a"}}
        assert (await ask(a, "POST", "/queue/nightly/jobs", body))[0] == 404
        assert (await ask(platform, "POST", "/queue/nightly/jobs", body))[0] == 202
