"""What operators do is written down once, by what has the effect, and read by admins (AU-14)."""

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from redis.exceptions import ResponseError

from gateway.app import TABLE
from gateway.principal import Scope
from gateway.settings import GatewaySettings
from schemas.job import State
from schemas.spec import QueueSpec
from streams import Queue, Redis, audit, connect, keys, operations
from streams.audit import Deed, Mark
from streams.claims import Claims, Ending
from streams.errors import CredstreamError
from tests.gateway.callers import OTHER, OWN, Callers, callers
from tests.gateway.conftest import Hands
from tests.gateway.samples import ISSUANCE, Serve

SETTINGS = GatewaySettings(host="127.0.0.1", port=0, require_auth="always")
JOB = "/queue/vc-issuance/job"
ROOT = Path(__file__).parents[2]


@pytest.fixture
async def who(redis: Redis, serve: Serve) -> AsyncIterator[Callers]:
    async with (
        serve(SETTINGS) as http,
        callers(redis, str(http._base_url), ("operator", "admin", "all")) as found,
    ):
        yield found


async def ask(http: ClientSession, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    kwargs = {} if body is None else {"json": body}
    async with http.request(method, path, **kwargs) as response:
        return response.status, await response.json(content_type=None)


async def records(http: ClientSession, query: str = "limit=200") -> list[dict[str, Any]]:
    status, found = await ask(http, "GET", f"/audit?{query}")
    assert status == 200
    return [one for one in found["data"] if not one["action"].startswith("key.")]


async def submit(queue: Queue, job_id: str, organization_id: str = OWN, **options: Any) -> None:
    data = {**ISSUANCE, "organizationId": organization_id}
    await queue.add("issue", data, job_id=job_id, **options)


async def dead(queue: Queue, hands: Hands, *ids: str) -> None:
    for job_id in ids:
        await submit(queue, job_id)
    history = b'[{"attempt":1,"reason":"failed","message":"no","at":1}]'
    await hands.end(await hands.take(len(ids)), "fail", history)


async def test_every_verb_leaves_one_record(who: Callers, queue: Queue, hands: Hands) -> None:
    await dead(queue, hands, "d1", "d2", "d3", "d4")
    await submit(queue, "w1")
    await submit(queue, "w2")
    await submit(queue, "late1", delay=9_999_999)
    await submit(queue, "late2", delay=9_999_999)
    q, platform, own = "/queue/vc-issuance", who["all", None], who["operator", OWN]
    done = [
        (platform, "POST", f"{q}/pause", None, "queue.pause"),
        (platform, "POST", f"{q}/resume", None, "queue.resume"),
        (platform, "PUT", f"{q}/limits", {"concurrency": 3, "limiter": None}, "queue.limits"),
        (own, "POST", f"{JOB}/d1/retry", None, "job.retry"),
        (own, "DELETE", f"{JOB}/d2", None, "job.remove"),
        (own, "POST", f"{JOB}/w1/cancel", None, "job.cancel"),
        (own, "POST", f"{JOB}/late1/promote", None, "job.promote"),
        (own, "PUT", f"{JOB}/w2/priority", {"priority": 1}, "job.prioritize"),
        (own, "POST", f"{q}/jobs/promote", {"ids": ["late2"]}, "jobs.promote"),
        (own, "POST", f"{q}/jobs/cancel", {"ids": ["w2"]}, "jobs.cancel"),
        (own, "POST", f"{q}/jobs/retry", {"ids": ["d3"]}, "jobs.retry"),
        (own, "POST", f"{q}/jobs/remove", {"ids": ["d3"]}, "jobs.remove"),
        (own, "POST", f"{q}/dead-letters/redrive", {"ids": ["d4"]}, "dead_letters.redrive"),
        (platform, "POST", f"{q}/drain", {}, "queue.drain"),
        (platform, "POST", f"{q}/clean", {"status": "failed"}, "queue.clean"),
        (platform, "DELETE", "/queue/doomed", None, "queue.delete"),
    ]
    await Queue("doomed", queue.redis).add("x", {})
    for http, method, path, body, action in done:
        before = await records(who["admin", None])
        status, answer = await ask(http, method, path, body)
        assert status == 200, (path, answer)
        found = await records(who["admin", None])
        assert found[1:] == before, f"{action} left {len(found) - len(before)} records"
        newest = found[0]
        assert (newest["action"], newest["outcome"]) == (action, "done")
        assert newest["requestId"]
        assert newest["keyId"]
        assert newest["address"] == "127.0.0.1"
        assert newest["actor"] == ("all" if http is platform else "operator")
        assert newest["organizationId"] == (None if http is platform else OWN)


async def test_what_the_platform_does_to_a_tenants_job_is_in_the_tenants_record(
    who: Callers, queue: Queue, hands: Hands
) -> None:
    await dead(queue, hands, "d1", "d2", "d3")
    await submit(queue, "other", OTHER, delay=9_999_999)
    platform, own, other = who["operator", None], who["admin", OWN], who["admin", OTHER]
    jobs = {"filter": {"organizationId": OWN, "status": "failed"}}
    for path, body, action, whose in [
        (f"{JOB}/d1/retry", None, "job.retry", OWN),
        ("/queue/vc-issuance/jobs/retry", jobs, "jobs.retry", OWN),
        (f"{JOB}/other/promote", None, "job.promote", OTHER),
    ]:
        assert (await ask(platform, "POST", path, body))[0] == 200
        newest = (await records(who["admin", None]))[0]
        assert (newest["action"], newest["organizationId"]) == (action, whose)
    assert [one["action"] for one in await records(own)] == ["jobs.retry", "job.retry"]
    assert [one["target"] for one in await records(other)] == ["vc-issuance/other"]


async def test_what_changes_nothing_leaves_no_record(
    who: Callers, queue: Queue, hands: Hands
) -> None:
    await dead(queue, hands, "d1")
    await submit(queue, "w1")
    platform, own = who["operator", None], who["operator", OWN]
    await ask(platform, "POST", "/queue/vc-issuance/pause")
    before = await records(who["admin", None])
    for http, method, path, expected in [
        (platform, "POST", "/queue/vc-issuance/pause", 200),
        (platform, "POST", "/queue/emails/resume", 200),
        (platform, "POST", "/queue/vc-issuance/clean", 200),
        (own, "POST", f"{JOB}/w1/retry", 409),
        (own, "DELETE", f"{JOB}/nothing", 404),
        (own, "POST", f"{JOB}/d1/cancel", 409),
        (who["operator", OTHER], "DELETE", f"{JOB}/d1", 404),
        (own, "POST", "/queue/vc-issuance/clean", 403),
    ]:
        assert (await ask(http, method, path))[0] == expected, path
    assert await records(who["admin", None]) == before


async def test_a_running_job_that_is_told_to_stop(who: Callers, queue: Queue, hands: Hands) -> None:
    await submit(queue, "run")
    await hands.take(1)
    for _ in range(2):
        assert (await ask(who["operator", OWN], "POST", f"{JOB}/run/cancel"))[0] == 202
    (record,) = await records(who["admin", OWN])
    assert (record["action"], record["outcome"]) == ("job.cancel", "cancelling")


async def test_a_call_that_is_sent_again_is_recorded_once(redis: Redis, raw: Any) -> None:
    queue = Queue(QueueSpec("twice"), redis)
    deed = Deed("operator", "queue.pause", "twice").encode()
    command = queue.store.command("control", ("paused", 1), event="paused", who=deed, once="")
    back = queue.store.command("control", ("paused", ""), event="resumed", who=b"", once="")
    await queue.store.ready()
    for one in (command, back, command):  # it has an effect again, and is the same call
        await redis.run(queue.store.keys.prefix, one)
    assert raw.xlen(queue.store.keys["audit"]) == 1
    await queue.resume(who=Deed("operator", "queue.pause", "twice").encode())
    assert raw.xlen(queue.store.keys["audit"]) == 2


async def test_cleaning_in_many_steps_is_one_deed(
    redis: Redis, raw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = Queue(QueueSpec("long"), redis)
    for n in range(3):
        await queue.add("work", job_id=f"j{n}")
        await queue.cancel(f"j{n}")
    deed = Deed("operator", "queue.clean", "long").encode()
    monkeypatch.setattr(operations, "CLEAN_JOBS", 1)
    assert await queue.clean(state=State.FAILED, who=deed) == 3
    assert raw.xlen(queue.store.keys["audit"]) == 1


async def test_admins_read_what_concerns_them(who: Callers, queue: Queue) -> None:
    for organization_id in (OWN, OTHER):
        await submit(queue, organization_id, organization_id)
        await ask(who["operator", organization_id], "DELETE", f"{JOB}/{organization_id}")
    await ask(who["operator", None], "POST", "/queue/emails/pause")
    assert [one["target"] for one in await records(who["admin", None])] == [
        "emails",
        f"vc-issuance/{OTHER}",
        f"vc-issuance/{OWN}",
    ]
    for organization_id, other in ((OWN, OTHER), (OTHER, OWN)):
        admin = who["admin", organization_id]
        for query in ("limit=200", f"organizationId={organization_id}", "actor=operator"):
            found = await records(admin, query)
            assert [one["organizationId"] for one in found] == [organization_id]
        status, problem = await ask(admin, "GET", f"/audit?organizationId={other}")
        assert (status, problem["code"]) == (403, "other_organization")
        status, _ = await ask(who["operator", organization_id], "GET", "/audit")
        assert status == 403
    assert [one["target"] for one in await records(who["admin", None], "action=queue.pause")] == [
        "emails"
    ]


async def test_pages_have_every_record_once(who: Callers, redis: Redis, raw: Any) -> None:
    """Records of many streams, some of the same moment; newest first, whatever the page."""
    expected = []
    for n in range(60):
        stream = keys.QueueKeys(f"q{n % 7}")
        deed = Deed("x", "test", str(n), OWN if n % 3 else OTHER)
        await audit.record(redis, deed, at=stream)
    for n in range(7):
        name = keys.QueueKeys(f"q{n}")["audit"]
        rows = raw.xrange(name)
        raw.delete(name)
        for at, (_, fields) in enumerate(rows, start=1):
            raw.xadd(name, fields, id=f"{1_000 * at}-1")
            expected.append((1_000 * at, json.loads(fields[b"a"])["target"]))
    found: list[tuple[int, str]] = []
    query = "limit=7&action=test"
    while True:
        _, page = await ask(who["admin", None], "GET", f"/audit?{query}")
        found += [(one["at"], one["target"]) for one in page["data"]]
        assert len(page["data"]) == 7 or page["next"] is None
        if page["next"] is None:
            break
        query = f"limit=7&action=test&before={page['next']}"
    assert sorted(found) == sorted(expected)
    assert [at for at, _ in found] == sorted((at for at, _ in found), reverse=True)


async def test_a_cursor_tells_nothing_of_others(
    who: Callers, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LOOKED_AT_MAX", 2)
    for n in range(5):
        await audit.record(redis, Deed("x", "t", str(n), OTHER), at=keys.QueueKeys("secret-queue"))
    _, page = await ask(who["admin", OWN], "GET", "/audit")
    assert page["data"] == []
    assert page["next"]
    raw = base64.urlsafe_b64decode(page["next"] + "===").decode()
    assert "secret" not in raw


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "before=x",
        "before=W10",
        "before=!!",
        "x=1",
        "limit=1&limit=2",
    ],
)
async def test_questions_that_are_none(who: Callers, query: str) -> None:
    status, problem = await ask(who["admin", None], "GET", f"/audit?{query}")
    assert (status, problem["code"]) == (400, "invalid_query")


async def test_records_are_kept_for_ninety_days(redis: Redis, raw: Any) -> None:
    old, young = keys.QueueKeys("old"), keys.QueueKeys("young")
    for where in (old, young):
        await audit.record(redis, Deed("x", "t", "1"), at=where)
    seconds, _ = raw.time()
    now_ms = 1_000 * seconds
    raw.delete(old["audit"], young["audit"])
    for where, ages_days in ((old, (100, 91)), (young, (91, 89))):
        for days in ages_days:
            raw.xadd(where["audit"], {"a": "{}"}, id=f"{now_ms - days * 86_400_000}-0")
    raw.zadd("cs:audits", {old["audit"]: now_ms - 100 * 86_400_000})
    assert await audit.trim(redis) == 3
    assert (raw.xlen(old["audit"]), raw.xlen(young["audit"])) == (0, 1)
    assert raw.zrange("cs:audits", 0, -1) == [young["audit"]]
    assert await audit.trim(redis) == 0


DESTROYING = ("del", "set", "expire", "pexpire", "pexpireat", "persist", "xdel", "xtrim")


async def test_records_cannot_be_taken_back_by_a_user_who_may_only_append(own_server: Any) -> None:
    """The rules in docs/security.md, beside the user that ships."""
    shipped = next(
        line
        for line in (ROOT / "deploy" / "redis" / "users.acl").read_text().splitlines()
        if line.startswith("user credstream ")
    )
    rules = [*shipped.split()[2:], ">secret", *(f"-{name}" for name in DESTROYING)]
    page = (ROOT / "docs" / "security.md").read_text()
    selector = next(line.strip() for line in page.splitlines() if line.startswith("  (~cs:"))
    assert all(f"-{name}" in page and f"+{name}" in selector for name in DESTROYING)
    with own_server.client() as raw:
        raw.execute_command("ACL", "SETUSER", "credstream", *rules, selector)
        redis = connect(f"{own_server.url}?username=credstream&password=secret")
        queue = Queue(QueueSpec("held"), redis)
        await _life(queue)
        name = queue.store.keys["audit"].decode()
        assert raw.xlen(name) == 3
        ((entry, _),) = raw.xrange(name, count=1)
        user = raw.__class__(
            unix_socket_path=str(own_server.socket), username="credstream", password="secret"
        )
        for command in (
            ("DEL", name),
            ("SET", name, "x"),
            ("PEXPIRE", name, 1),
            ("XDEL", name, entry),
            ("XTRIM", name, "MAXLEN", 0),
        ):
            with pytest.raises(ResponseError, match="permissions"):
                user.execute_command(*command)
        user.close()
        with pytest.raises(CredstreamError):
            await audit.trim(redis)
        assert raw.xlen(name) == 3
        await redis.close()


async def _life(queue: Queue) -> None:
    """What touches most keys of a queue."""
    await queue.pause(who=Deed("x", "queue.pause", "held").encode())
    await queue.resume(who=Deed("x", "queue.resume", "held").encode())
    await queue.add("work", {"text": "x" * 40_000}, job_id="j", expires=60_000)
    await queue.set_limits(None, None)
    claims = Claims(queue.spec, queue.redis, "by-hand")
    claimed, _ = await claims.claim(await claims.link(), 1)
    endings = [Ending(claim, "complete", result=b"1") for claim in claimed.claims]
    await claims.send([command for command, _ in claims.settle(endings)])
    assert await queue.clean(who=Deed("x", "queue.clean", "held").encode()) == 1


async def test_the_order_of_marks() -> None:
    assert Mark(2, 1, "a") > Mark(2, 0, "z")
    assert Mark(2, 1, "a").entry == "2-1"


def test_every_route_that_changes_something_is_looked_after_here() -> None:
    """A new one must leave a record, and come into a test that says so."""
    changing = {
        f"{route.method} {route.path}"
        for route in TABLE
        if route.method != "GET" and route.needs in (Scope.OPERATE, Scope.ADMIN)
    }
    job = "/queue/{name}/job/{id:[^/]+}"
    here = {
        *(f"POST /queue/{{name}}/{verb}" for verb in ("pause", "resume", "clean", "drain")),
        *("PUT /queue/{name}/limits", "DELETE /queue/{name:(?!stats$)[^/]+}"),
        *(f"POST {job}/{verb}" for verb in ("retry", "promote", "cancel")),
        *(f"PUT {job}/priority", f"DELETE {job}"),
        *(f"POST /queue/{{name}}/jobs/{v}" for v in ("retry", "remove", "cancel", "promote")),
        "POST /queue/{name}/dead-letters/redrive",
    }
    elsewhere = {
        one
        for one in changing
        if one.split()[1].startswith(
            ("/mail/", "/credentials/", "/webhooks/", "/keys", "/dashboard/")
        )
    }
    assert changing == here | elsewhere
