"""Pages as they leave the gateway: their size, their headers, what a reader may not do."""

import re

import orjson
import pytest
from aiohttp import ClientSession
from by_hand import Hand
from processes import until
from stage import die

from gateway.app import create_app
from gateway.dashboard import ROUTES, queue, view
from gateway.dashboard.terms import parsed
from gateway.errors import BadQuery
from gateway.principal import Scope
from gateway.server import listening
from gateway.settings import GatewaySettings
from schemas.job import JobOptions, State
from schemas.spec import QueueSpec
from streams import NewJob, Queue, Redis
from tests.dashboard.conftest import make_key, signed_in

HTML = {"Accept": "text/html"}
PAGE_BYTES_MAX = 200_000
EVIL = "<img src=x onerror=alert(1)>\"'</script><script>alert(1)</script>"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


async def test_every_page_carries_the_policy_and_nothing_inline(http: ClientSession) -> None:
    for path in ("/dashboard", "/dashboard/dead", "/dashboard/queue/emails", "/dashboard/nowhere"):
        answer = await http.get(path, headers=HTML)
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        text = await answer.text()
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=", text)
        assert not re.search(r"(?:src|href|action)=\"(?:https?:)?//", text)


async def test_a_large_document_is_not_in_the_page(http: ClientSession, redis: Redis) -> None:
    data = {"rows": [{"n": n, "text": "x" * 90} for n in range(8_000)]}
    await Queue("reports", redis).register()
    await Queue("reports", redis).add("report", data, job_id="big")
    answer = await http.get("/dashboard/queue/reports/job/big", headers=HTML)
    assert len(await answer.read()) < PAGE_BYTES_MAX
    part = await http.get("/dashboard/queue/reports/job/big/part/data")
    assert (await part.json())["data"] == data


async def evil_job(redis: Redis, text: str = EVIL) -> None:
    """A job with markup wherever a job has text."""
    spec = QueueSpec("reports")
    queue, hand = Queue(spec, redis), Hand(redis, spec)
    await queue.register()
    data = {"organizationId": text, "subject": text, text: text}
    await queue.add_many([NewJob(text, data, JobOptions(job_id="<b>evil"))])
    claim = await hand.take_one()
    await hand.claims.log(claim, text)
    await hand.claims.progress(claim, text)
    await hand.claims.attempt(claim, {"attempt": 1, text: text})
    error = {"attempt": 1, "reason": text, "message": text, "code": text, "at": 1, "started": 1}
    await hand.fail(claim, error=error)


async def test_markup_in_jobs_is_text_in_pages(http: ClientSession, redis: Redis) -> None:
    await evil_job(redis)
    cause = await (await http.get("/dashboard/dead", headers=HTML)).text()
    fingerprint = re.findall(r"/dashboard/dead/reports/([0-9a-f]{12})", cause)[0]
    for path in (
        "/dashboard/dead",
        f"/dashboard/dead/reports/{fingerprint}",
        "/dashboard/queue/reports?state=failed",
        "/dashboard/queue/reports/job/%3Cb%3Eevil",
    ):
        text = await (await http.get(path, headers=HTML)).text()
        assert "<img" not in text, path
        assert "alert(1)</script>" not in text, path
        assert "&lt;img" in text, path
    query = {"q": EVIL, "org": EVIL, "state": "failed"}
    text = await (await http.get("/dashboard/queue/reports", params=query, headers=HTML)).text()
    assert "<img" not in text


async def test_a_reader_is_refused_all_actions(address: str, redis: Redis) -> None:
    reader = await make_key(redis, "read")
    async with signed_in(address, reader) as person:
        for route in ROUTES:
            if route.method == "GET" or route.needs in (Scope.PUBLIC, Scope.READ):
                continue
            path = re.sub(r"\{verb:([a-z]+)[^}]*\}", r"\1", route.path)
            path = re.sub(r"\{[^}]*\}", "a", path.replace("{name}", "webhooks"))
            answer = await person.request(route.method, path, json={})
            assert answer.status == 403, f"{route.method} {path}: {answer.status}"


async def test_an_organization_sees_its_own_jobs_only(address: str, redis: Redis) -> None:
    queue = Queue("reports", redis)
    await queue.register()
    for owner in ("org-a", "org-b"):
        await queue.add("work", {"organizationId": owner}, job_id=f"of-{owner}")
    key = await make_key(redis, "read", "operate", organization_id="org-a")
    async with signed_in(address, key) as person:
        assert "reports" in await (await person.get("/dashboard")).text()
        text = await (await person.get("/dashboard/queue/reports")).text()
        assert "of-org-a" in text
        assert "of-org-b" not in text
        assert (await person.get("/dashboard/queue/reports/job/of-org-b")).status == 404
        body = {"state": "waiting", "ids": ["of-org-a", "of-org-b"]}
        await person.post("/dashboard/queue/reports/jobs/remove", json=body)
        assert (await person.get("/dashboard/workers")).status == 403
    assert await queue.get("of-org-a") is None
    assert await queue.get("of-org-b") is not None


async def test_secrets_are_hidden_from_readers(address: str, redis: Redis) -> None:
    await Queue("reports", redis).register()
    await Queue("reports", redis).add("work", {"password": "hunter2"}, job_id="one")
    key = await make_key(redis, "read")
    async with signed_in(address, key) as person:
        for path in ("", "/part/data"):
            text = await (await person.get(f"/dashboard/queue/reports/job/one{path}")).text()
            assert "hunter2" not in text
            assert "***" in text


async def test_all_that_match_are_counted_first(
    http: ClientSession, redis: Redis, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In parts, so that not all their payloads are held at once."""
    monkeypatch.setattr(queue, "PART_JOBS", 7)
    await die(redis, "webhooks", "Boom", "a {n}", 60)
    await die(redis, "webhooks", "Crash", "b {n}", 5)
    http.headers["Origin"] = address
    body = {"state": "failed", "every": True, "terms": {"error": "boom"}, "dryRun": True}
    path = "/dashboard/queue/webhooks/jobs/retry"
    answer = await http.post(path, json=body)
    assert (await answer.json())["data"] == {"count": 60, "more": False}
    with monkeypatch.context() as fewer:
        fewer.setattr(queue, "BULK_MOST", 20)
        answer = await http.post(path, json=body)
        assert (await answer.json())["data"] == {"count": 20, "more": True}
    assert (await Queue("webhooks", redis).counts()).failed == 65
    answer = await http.post(path, json=body | {"dryRun": False})
    assert "60 of 60" in (await answer.json())["data"]["message"]
    assert (await Queue("webhooks", redis).counts()).failed == 5


async def test_an_action_that_does_not_fit_the_state_is_refused(
    http: ClientSession, address: str
) -> None:
    http.headers["Origin"] = address
    body = {"state": "completed", "ids": ["a"]}
    answer = await http.post("/dashboard/queue/emails/jobs/retry", json=body)
    assert answer.status == 422
    half = await http.post("/dashboard/queue/emails/limits", json={"max": 5})
    assert half.status == 422
    wrong = await http.post("/dashboard/queue/emails/clean", json={"state": "waiting"})
    assert wrong.status == 422


async def test_search_finds_by_id_name_subject_and_text(http: ClientSession, redis: Redis) -> None:
    queue = Queue("reports", redis)
    await queue.register()
    await queue.add("alpha", {"subjectDid": "did:key:zA", "organizationId": "o1"}, job_id="job-1")
    await queue.add("beta", {"to": "b@c.example", "organizationId": "o2"}, job_id="job-2")
    for query, found in (
        ("q=job-2", "job-2"),
        ("q=zA", "job-1"),
        ("q=BETA", "job-2"),
        ("job=alpha", "job-1"),
        ("org=o2", "job-2"),
        ("subject=c.example", "job-2"),
    ):
        text = await (
            await http.get(f"/dashboard/queue/reports?state=waiting&{query}", headers=HTML)
        ).text()
        assert set(re.findall(r"Select (job-\d)", text)) == {found}, query


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(BadQuery):
        parsed(State.FAILED, {"within": "5y"}, None)


async def test_assets_are_kept_for_a_year_under_their_version(http: ClientSession) -> None:
    page = await (await http.get("/dashboard", headers=HTML)).text()
    for path in set(re.findall(r"/dashboard/static/[^\"#]+", page)):
        answer = await http.get(path)
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]
    stale = await http.get("/dashboard/static/frame.css?v=old")
    assert stale.headers["Cache-Control"] == "no-cache"
    assert (await http.get("/dashboard/static/layout.html")).status == 404


async def test_the_minutes_of_a_queue(http: ClientSession) -> None:
    for span, points in (("hour", 60), ("day", 143)):
        answer = await http.get(f"/dashboard/queue/emails/minutes?span={span}")
        data = (await answer.json())["data"]
        assert len(data["at"]) == len(data["completed"]) == len(data["wait"]["p99"]) == points
        assert orjson.dumps(data)


async def test_counts_are_pushed(http: ClientSession, redis: Redis) -> None:
    async with http.get("/dashboard/live") as stream:
        await stream.content.readuntil(b"event: counts\n")
        first = orjson.loads((await stream.content.readline()).removeprefix(b"data: "))
        assert {"emails", "webhooks"} <= {one["name"] for one in first["queues"]}
        await Queue("reports", redis).add("work", {}, job_id="one")
        await Queue("webhooks", redis).pause()
        await stream.content.readuntil(b"event: counts\n")
        news = orjson.loads((await stream.content.readline()).removeprefix(b"data: "))
        assert [(one["name"], one["paused"]) for one in news["queues"]] == [("webhooks", True)]


async def test_no_page_waits_for_its_template(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    templates = view._environment()
    monkeypatch.setattr(view, "TEMPLATES", templates)
    every = len(templates.list_templates())
    async with listening(create_app(redis, GatewaySettings(port=0))):
        await until(lambda: len(templates.cache or ()) == every, within_s=20, what="compiled")
