"""Ids of jobs over HTTP: which can be sent, and what an organization learns of another's."""

import base64
import re
from typing import Any

import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gateway.directory import Directory
from schemas.identity import (
    batch_job_ref,
    callback_id,
    candidates,
    chosen_ref,
    inspection_id,
    publication_id,
    scope_of,
    shown_id,
)
from schemas.job import JobId
from schemas.queues.status_lists import publication
from schemas.spec import QueueSpec
from streams import Queue, Redis
from tests.gateway.callers import tenants

LIST = "a" * 26 + "-" + "b" * 13
INTERNAL = "status-lists"
JOB_ID: TypeAdapter[str] = TypeAdapter(JobId)


def is_chosen(text: str) -> bool:
    """Whether a submitter may choose this id."""
    try:
        JOB_ID.validate_python(text)
    except ValidationError:
        return False
    return True


PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=128)
SHAPES = st.from_regex(r"([0-9a-v]{16})?:.{0,9}|[0-9a-v]{26}(\.[0-9])?", fullmatch=True)
CHOSEN = (PRINTABLE | SHAPES).filter(is_chosen)
"""What submitters may choose, also what looks like another kind."""


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


async def test_a_page_of_delayed_jobs_tells_nothing_of_others_ids(redis: Redis) -> None:
    """It may end behind a job of another organization."""
    await Queue("mixed", redis).register()
    async with tenants(redis, "org-a", "org-b", None) as (a, b, platform):
        for http, organization, name in ((a, "org-a", "first"), (b, "org-b", "secret-name")):
            job: dict[str, Any] = {"data": {"organizationId": organization}}
            options = {"jobId": name, "delay": 9_000_000 if http is a else 9_500_000}
            assert (await ask(http, "POST", "/queue/mixed/jobs", job | {"options": options}))[
                0
            ] == 202
        for number in range(3):
            job = {"data": {"organizationId": "org-b"}, "options": {"delay": 9_600_000 + number}}
            await ask(b, "POST", "/queue/mixed/jobs", job)
        path, seen = "/queue/mixed/jobs?status=delayed&end=0", list[str]()
        before = ""
        while before is not None:
            _, answer = await ask(platform, "GET", path + (f"&before={before}" if before else ""))
            seen += [row["id"] for row in answer["data"]]
            before = answer["next"]
            if before is not None:
                told_of = base64.urlsafe_b64decode(before + "==")
                assert told_of.startswith(b"delayed:")
                assert b"secret-name" not in told_of
                assert scope_of("org-b").encode() not in told_of
        assert len(seen) == 5
        assert seen[:2] == ["first", "secret-name"]
        status, _ = await ask(a, "GET", f"{path}&before={'x' * 40}")
        assert status == 400


async def test_the_platform_is_told_what_makes_a_job_unique(redis: Redis) -> None:
    await Queue("mixed", redis).register()
    async with tenants(redis, "org-a", "org-b", None) as (a, b, platform):
        for http, organization in ((a, "org-a"), (b, "org-b")):
            job = {"data": {"organizationId": organization}, "options": {"jobId": "x"}}
            assert (await ask(http, "POST", "/queue/mixed/jobs", job))[0] == 202
            _, answer = await ask(http, "GET", "/queue/mixed/job/x")
            assert answer["data"]["id"] == "x"
            assert not {"ref", "organizationId"} & answer["data"].keys()
        _, answer = await ask(platform, "GET", "/queue/mixed/jobs")
        refs = {row["organizationId"]: row["ref"] for row in answer["data"]}
        assert refs == {name: chosen_ref(name, "x") for name in ("org-a", "org-b")}
        assert (await ask(platform, "GET", "/queue/mixed/job/x"))[0] == 404
        for organization, ref in refs.items():
            for path in (
                f"/queue/mixed/job/{ref}",
                f"/queue/mixed/job/x?organizationId={organization}",
            ):
                _, answer = await ask(platform, "GET", path)
                assert answer["data"]["data"] == {"organizationId": organization}
        status, answer = await ask(platform, "POST", f"/queue/mixed/job/{refs['org-b']}/cancel")
        assert (status, answer["data"]["id"]) == (200, "x")
        assert (await ask(a, "GET", "/queue/mixed/job/x"))[1]["data"]["state"] == "waiting"
        assert (await ask(a, "GET", f"/queue/mixed/job/{refs['org-a']}"))[0] == 404
        body = {"ids": ["x"]}
        for query, done in (("", 0), ("?organizationId=org-a", 1)):
            _, answer = await ask(platform, "POST", f"/queue/mixed/jobs/remove{query}", body)
            assert answer["data"]["done"] == done


@given(st.sampled_from([None, "org-a", "org-b", "ÿ\ud800"]), CHOSEN)
def test_an_id_inside_is_shown_as_it_was_chosen(organization: str | None, chosen: str) -> None:
    ref = chosen_ref(organization, chosen)
    assert shown_id(ref) == chosen
    assert candidates(organization, chosen)[0] == ref
    assert shown_id(batch_job_ref(ref, 7)) == f"~b:{chosen}.7"
    assert candidates(organization, f"~b:{chosen}.7")[0] == batch_job_ref(ref, 7)
    assert ref in candidates(None, ref)


@given(CHOSEN, CHOSEN)
def test_no_two_have_the_same_id_inside(one: str, other: str) -> None:
    names = (None, "org-a", "org-b")
    refs = [chosen_ref(name, chosen) for name in names for chosen in {one, other}]
    assert len(set(refs)) == len(refs)
    assert not {*refs} & {callback_id("q", "1-0", (one, "1", 1)), publication_id(LIST, 1)}
    assert not any(ref.startswith("~") or re.fullmatch("[0-9a-v]{26}", ref) for ref in refs)


async def test_a_key_is_made_for_one_spelling_of_a_name(http: ClientSession) -> None:
    """Names are compared as bytes: two keys for what reads the same would be two organizations."""
    body = {"name": "ci", "scopes": ["read"], "organizationId": "Zu\u0308rich"}
    status, problem = await ask(http, "POST", "/keys", body)
    assert status == 422
    assert "normalization form C" in problem["errors"][0]["detail"]
    status, _ = await ask(http, "POST", "/keys", body | {"organizationId": "Z\u00fcrich"})
    assert status in (200, 201)


async def test_no_key_is_made_for_the_jobs_of_no_organization(http: ClientSession) -> None:
    """It would read callbacks of the platform's jobs, which are stored under this name."""
    body = {"name": "ci", "scopes": ["read"], "organizationId": "default"}
    status, problem = await ask(http, "POST", "/keys", body)
    assert status == 422
    assert "jobs without an organization" in problem["errors"][0]["detail"]
