"""Operators and destinations of webhooks: see, switch, limit, replay, rotate; and who may not."""

import base64
import secrets
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession
from by_hand import Hand, clock_ms, clock_passes

import gateway.replay
from credentials.webhook_secrets import parse
from schemas.job import JobOptions, State
from schemas.schedules import OPTIONS
from schemas.spec import catalog
from streams import Queue, Redis, schedules
from streams import destinations as store
from streams.destinations import Destination, Ended, Rules
from streams.job import NewJob
from tests.gateway.callers import tenants

ORG, OTHER = "org-a", "org-b {x}"
HERE = Destination(ORG, "https://a.example")
THERE = Destination(ORG, "https://b.example:8443")
FOREIGN = Destination(OTHER, "https://a.example")
AT = "/webhooks/destinations"


@pytest.fixture(autouse=True)
def ring(monkeypatch: pytest.MonkeyPatch) -> None:
    kek = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    monkeypatch.setenv("CREDSTREAM_WEBHOOK_KEKS", f"k1:{kek}")


@pytest.fixture
async def tenant(redis: Redis) -> AsyncIterator[ClientSession]:
    async with tenants(redis, ORG) as (http,):
        yield http


@pytest.fixture
async def platform(redis: Redis) -> AsyncIterator[ClientSession]:
    async with tenants(redis, None) as (http,):
        yield http


async def ask(http: ClientSession, path: str, method: str = "GET", **kwargs: Any) -> Any:
    async with http.request(method, path, **kwargs) as answer:
        document = await answer.json(content_type=None)
        assert answer.status == 200, document
        assert answer.headers["Cache-Control"] == "no-store"
        return document["data"]


async def refused(
    http: ClientSession, path: str, method: str = "GET", **kwargs: Any
) -> tuple[int, str]:
    async with http.request(method, path, **kwargs) as answer:
        document = await answer.json(content_type=None)
        assert document["success"] is False
        return answer.status, document["code"]


async def deliver(
    redis: Redis, to: Destination, *outcomes: str, rules: Rules | None = None
) -> None:
    """Deliveries with these outcomes."""
    rules = rules or Rules()
    await store.write_down(redis, to, rules.forget_ms)
    for n, outcome in enumerate(outcomes):
        lease = f"{outcome}-{n}-{secrets.token_hex(4)}"
        assert await store.admit(redis, to, f"job-{n}", lease, rules) == ()
        await store.settle(redis, to, lease, Ended(outcome, who=b"{}"), rules)  # type: ignore[arg-type]


def deeds(raw: Any, key: str) -> list[dict[str, Any]]:
    return [orjson.loads(fields[b"a"]) for _, fields in raw.xrange(key)]


def audit(raw: Any, to: Destination) -> list[dict[str, Any]]:
    return deeds(raw, f"cs:dest:{{{to.id}}}:audit")


async def test_a_tenant_sees_its_destinations_and_no_others(
    redis: Redis, tenant: ClientSession, platform: ClientSession
) -> None:
    await deliver(redis, HERE, "success", "failure", "neutral")
    await clock_passes(redis, "x", await clock_ms(redis, "x"))
    await deliver(redis, THERE, "success")
    await deliver(redis, FOREIGN, "success")

    rows = await ask(tenant, AT)
    assert [row["origin"] for row in rows] == [THERE.origin, HERE.origin]
    assert [row["origin"] for row in await ask(tenant, AT + "?start=1&end=1")] == [HERE.origin]
    assert await ask(platform, AT, params={"organizationId": ORG}) == rows
    assert rows[1]["counts"] == {
        "success": 1,
        "failure": 1,
        "neutral": 1,
        "gone": 0,
        "deferred": 0,
    }
    assert (rows[1]["state"], rows[1]["running"]) == ("closed", 0)
    assert rows[1]["limits"] == {"concurrency": None, "rate": None}
    one = await ask(tenant, f"{AT}/{HERE.id}")
    assert one == {**rows[1], "history": []}
    assert (await ask(platform, f"{AT}/{FOREIGN.id}"))["organizationId"] == OTHER


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("POST", "/enable", None),
        ("POST", "/disable", None),
        ("PUT", "/limits", {"concurrency": 1}),
    ],
)
async def test_a_foreign_destination_is_as_missing_as_a_missing_one(
    redis: Redis, raw: Any, tenant: ClientSession, method: str, path: str, body: Any
) -> None:
    await deliver(redis, FOREIGN, "success")
    before = raw.hgetall(f"cs:dest:{{{FOREIGN.id}}}:about")
    for identifier in (FOREIGN.id, "0" * 32, "abc"):
        found = await refused(tenant, f"{AT}/{identifier}{path}", method, json=body)
        assert found == (404, "destination_not_found")
    assert raw.hgetall(f"cs:dest:{{{FOREIGN.id}}}:about") == before
    assert audit(raw, FOREIGN) == []


@pytest.mark.parametrize(
    ("path", "method", "body"),
    [
        (AT + "?organizationId=org-b", "GET", None),
        ("/webhooks/secret?organizationId=org-b", "GET", None),
        ("/webhooks/public-keys?organizationId=org-b", "GET", None),
        ("/webhooks/secret/rotate", "POST", {"organizationId": "org-b"}),
        ("/webhooks/replay", "POST", {"organizationId": "org-b", "since": 0}),
    ],
)
async def test_a_tenant_cannot_name_another_one(
    tenant: ClientSession, raw: Any, path: str, method: str, body: Any
) -> None:
    assert await refused(tenant, path, method, json=body) == (403, "other_organization")
    assert raw.keys("cs:dest*") == []


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (AT, "GET"),
        ("/webhooks/secret", "GET"),
        ("/webhooks/public-keys", "GET"),
        ("/webhooks/secret/rotate", "POST"),
    ],
)
async def test_the_platform_must_say_whose(platform: ClientSession, path: str, method: str) -> None:
    assert await refused(platform, path, method) == (422, "invalid_request")


@pytest.mark.parametrize(
    "query", ["?start=-1", "?start=a", "?end=5&start=6", "?end=200", "?x=1", "?start=1&start=2"]
)
async def test_a_list_is_bounded(tenant: ClientSession, query: str) -> None:
    assert await refused(tenant, AT + query) == (400, "invalid_query")


async def test_disable_and_enable(redis: Redis, raw: Any, tenant: ClientSession) -> None:
    await deliver(redis, HERE, *["failure"] * 3)
    for _ in range(2):
        row = await ask(tenant, f"{AT}/{HERE.id}/disable", "POST")
        assert (row["state"], row["reason"]) == ("disabled", "operator")
    answer = await store.admit(redis, HERE, "job", "lease", Rules())
    assert answer == ("destination_disabled", "operator")
    for _ in range(2):
        row = await ask(tenant, f"{AT}/{HERE.id}/enable", "POST")
        assert (row["state"], row["reason"]) == ("closed", None)
    assert await store.admit(redis, HERE, "job", "lease", Rules()) == ()
    found = audit(raw, HERE)
    assert [deed["action"] for deed in found] == ["destination.disable", "destination.enable"]
    assert found[0]["actor"] == "someone"
    assert (found[0]["keyId"], found[0]["organizationId"]) == ("key-1", ORG)
    assert (found[0]["target"], found[0]["parameters"]) == (HERE.id, {"origin": HERE.origin})
    assert found[0]["address"] == "127.0.0.1"
    assert found[0]["requestId"]
    one = await ask(tenant, f"{AT}/{HERE.id}")
    assert [(h["event"], h["reason"]) for h in one["history"]] == [
        ("enabled", "operator"),
        ("disabled", "operator"),
    ]


async def test_limits_of_its_own_hold_and_can_be_taken_back(
    redis: Redis, raw: Any, tenant: ClientSession
) -> None:
    await deliver(redis, HERE, "success")
    wanted = {"concurrency": 1, "rate": {"max": 2, "duration": 3_600_000}}
    row = await ask(tenant, f"{AT}/{HERE.id}/limits", "PUT", json=wanted)
    assert row["limits"] == wanted
    assert raw.ttl(f"cs:dest:{{{HERE.id}}}:about") == -1
    assert await store.admit(redis, HERE, "j1", "l1", Rules()) == ()
    later = await store.admit(redis, HERE, "j2", "l2", Rules())
    assert later[2] == "concurrency"
    for n in (1, 3):
        await store.settle(redis, HERE, f"l{n}", Ended("success"), Rules())
        answer = await store.admit(redis, HERE, "j2", f"l{n + 2}", Rules(), returns=True)
        assert (answer == ()) is (n == 1)
    assert answer[2] == "rate"
    row = await ask(tenant, f"{AT}/{HERE.id}/limits", "PUT", json={})
    assert row["limits"] == {"concurrency": None, "rate": None}
    assert raw.ttl(f"cs:dest:{{{HERE.id}}}:about") > 0
    assert [deed["action"] for deed in audit(raw, HERE)] == ["destination.limit"] * 2
    assert audit(raw, HERE)[0]["parameters"] == {"origin": HERE.origin, **wanted}


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [("POST", "/enable", None), ("POST", "/disable", None), ("PUT", "/limits", {"concurrency": 9})],
)
async def test_workers_look_at_what_waits_for_a_destination_that_was_changed(
    redis: Redis, raw: Any, tenant: ClientSession, verb: str, path: str, body: Any
) -> None:
    await deliver(redis, HERE, "success")
    await ask(tenant, f"{AT}/{HERE.id}{path}", verb, json=body)
    assert not raw.exists("cs:{webhooks}:gates"), "nothing is parked there"
    raw.zadd("cs:{webhooks}:gates", {HERE.id: 10**13})
    await ask(tenant, f"{AT}/{HERE.id}{path}", verb, json=body)
    assert raw.zscore("cs:{webhooks}:gates", HERE.id) == 0


async def test_an_organization_chooses_how_its_webhooks_are_tried_again(
    raw: Any, tenant: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "KNOWN_S", 0)
    at = "/webhooks/settings"
    assert await ask(tenant, at) == {"organizationId": ORG, "schedule": "standard"}
    chosen = {"organizationId": ORG, "schedule": "durable"}
    assert await ask(tenant, at, "PUT", json={"schedule": "durable"}) == chosen
    assert await ask(tenant, at, "PUT", json={"schedule": "durable"}) == chosen
    assert await ask(tenant, at) == chosen
    whole = Destination(ORG, "")
    (made,) = audit(raw, whole)
    assert (made["action"], made["parameters"]) == ("webhook.settings", {"schedule": "durable"})
    hook = {"url": "https://a.example/", "method": "POST", "payload": {}, "event": "e"}
    data = hook | {"organizationId": ORG}

    async def added(options: dict[str, Any], key: str = "") -> dict[str, Any]:
        body = {"data": data, "options": options}
        headers = {"Idempotency-Key": key} if key else {}
        async with tenant.post("/queue/webhooks/jobs", json=body, headers=headers) as answer:
            job_id = (await answer.json())["data"]["id"]
        opts = (await ask(tenant, f"/queue/webhooks/job/{job_id}"))["opts"]
        return {"type": opts["backoff"]["type"], "attempts": opts["attempts"]}

    durable = {"type": "durable", "attempts": 10}
    assert await added({}) == await added({"priority": 0}) == await added({}, "k1") == durable
    assert await added({"attempts": 2}) == {"type": "durable", "attempts": 2}
    assert await added({"backoff": 9}) == {"type": "fixed", "attempts": 3}
    await ask(tenant, at, "PUT", json={"schedule": "standard"})
    assert await added({}) == {"type": "exponential", "attempts": 3}


async def test_a_job_with_a_backoff_of_its_own_keeps_it_among_others(redis: Redis) -> None:
    await schedules.choose(redis, ORG, "durable", who=b"{}")
    data, others = {"organizationId": ORG}, {"organizationId": OTHER}
    jobs = [NewJob("a", others, JobOptions(backoff=9)), NewJob("b", data), NewJob("c", {})]
    own, open_to, nobodys = await schedules.Schedules(redis).fill(jobs)
    assert (own, nobodys) == (jobs[0], jobs[2])
    assert open_to.options == OPTIONS["durable"]


@pytest.mark.parametrize("body", [{}, {"schedule": "hourly"}, {"schedule": None}, []])
async def test_a_schedule_that_is_none_changes_nothing(
    raw: Any, tenant: ClientSession, body: Any
) -> None:
    async with tenant.put("/webhooks/settings", json=body) as answer:
        assert answer.status == 422
    assert audit(raw, Destination(ORG, "")) == []


@pytest.mark.parametrize(
    "body",
    [
        {"concurrency": 0},
        {"concurrency": 1_001},
        {"concurrency": "5"},
        {"rate": {"max": 0}},
        {"rate": {"max": 10_001}},
        {"rate": {}},
        {"rate": {"max": 1, "duration": 0}},
        {"surplus": 1},
        [],
    ],
)
async def test_limits_that_do_not_fit_change_nothing(
    redis: Redis, raw: Any, tenant: ClientSession, body: Any
) -> None:
    await deliver(redis, HERE, "success")
    found = await refused(tenant, f"{AT}/{HERE.id}/limits", "PUT", json=body)
    assert found == (422, "invalid_request")
    assert audit(raw, HERE) == []


async def test_an_open_circuit_shows_when_it_ends(redis: Redis, tenant: ClientSession) -> None:
    rules = Rules(requests=2, open_ms=3_600_000)
    await deliver(redis, HERE, "failure", "failure", rules=rules)
    row = await ask(tenant, f"{AT}/{HERE.id}")
    assert (row["state"], row["openings"]) == ("open", 1)
    assert row["openUntil"] > row["lastFailureAt"]
    assert [h["event"] for h in row["history"]] == ["opened"]
    rules = Rules(requests=2, open_ms=0)
    await deliver(redis, THERE, "failure", "failure", rules=rules)
    assert (await ask(tenant, f"{AT}/{THERE.id}"))["state"] == "half_open"


# Replay


async def failed(redis: Redis, url: str, organization_id: str, count: int = 1) -> list[str]:
    """Deliveries that have failed, oldest first."""
    spec = catalog()["webhooks"]
    queue, hand = Queue(spec, redis), Hand(redis, spec)
    ids = []
    for _ in range(count):
        data = {
            "url": url,
            "method": "POST",
            "payload": {"event": "x"},
            "event": "x",
            "organizationId": organization_id,
        }
        ids.append((await queue.add("x", data)).id)
        await hand.fail(await hand.take_one())
    return ids


async def states(redis: Redis) -> dict[str, State]:
    queue = Queue("webhooks", redis)
    return {
        job.id: job.state
        for state in (State.WAITING, State.FAILED)
        for job in await queue.page(state, 0, 999)
    }


async def test_replay_takes_what_matches_and_leaves_the_rest(
    redis: Redis, raw: Any, tenant: ClientSession
) -> None:
    early = await failed(redis, "https://a.example/early", ORG)
    middle = await clock_ms(redis, "webhooks") + 1
    await clock_passes(redis, "webhooks", middle)
    mine = await failed(redis, "https://A.example:443/hook?x=1", ORG, 3)
    elsewhere = await failed(redis, "https://b.example/hook", ORG)
    foreign = await failed(redis, "https://a.example/hook", OTHER)
    wanted = {"since": middle, "origin": "https://a.example/anything", "limit": 2}

    dry = await ask(tenant, "/webhooks/replay", "POST", json={**wanted, "dryRun": True})
    assert dry == {
        "dryRun": True,
        "matched": 2,
        "replayed": 0,
        "jobs": mine[:2],
        "more": True,
        "cursor": None,
    }
    assert set((await states(redis)).values()) == {State.FAILED}
    assert deeds(raw, "cs:{webhooks}:audit") == []

    first = await ask(tenant, "/webhooks/replay", "POST", json=wanted)
    assert (first["replayed"], first["jobs"], first["more"]) == (2, mine[:2], True)
    second = await ask(tenant, "/webhooks/replay", "POST", json=wanted)
    assert (second["replayed"], second["jobs"], second["more"]) == (1, mine[2:], False)
    third = await ask(tenant, "/webhooks/replay", "POST", json=wanted)
    assert (third["replayed"], third["jobs"], third["more"]) == (0, [], False)

    lie = await states(redis)
    assert {job for job, state in lie.items() if state is State.WAITING} == set(mine)
    assert {*early, *elsewhere, *foreign} == set(lie) - set(mine)
    found = deeds(raw, "cs:{webhooks}:audit")
    assert [(deed["action"], deed["organizationId"]) for deed in found] == [
        ("webhook.replay", ORG),
        ("webhook.replay", ORG),
    ]
    assert found[0]["parameters"]["jobs"] == 2
    assert found[0]["parameters"]["since"] == middle


async def test_replay_goes_on_until_the_whole_time_has_been_looked_at(
    redis: Redis, tenant: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call looks at four jobs, two at a time; those that match lie deeper, among others."""
    monkeypatch.setattr(gateway.replay, "LOOKED_AT_MAX", 4)
    monkeypatch.setattr(gateway.replay, "HOP", 2)
    mine = await failed(redis, "https://a.example/hook", ORG, 3)
    between = await failed(redis, "https://b.example/hook", ORG, 3)
    await failed(redis, "https://a.example/hook", OTHER, 3)
    wanted = {"since": 0, "origin": "https://a.example", "limit": 1}
    runs: list[str] = []
    seen: list[str] = []
    for found, dry in ((seen, True), (runs, False)):
        body: dict[str, Any] = {**wanted, "dryRun": dry, "limit": 3 if dry else 1}
        answer = await ask(tenant, "/webhooks/replay", "POST", json=body)
        assert (answer["matched"], answer["more"]) == (0, True)
        while answer["more"]:
            body["cursor"] = answer["cursor"]
            answer = await ask(tenant, "/webhooks/replay", "POST", json=body)
            found.extend(answer["jobs"])
        assert answer["cursor"] is None
    assert sorted(seen) == sorted(runs) == sorted(mine)
    lie = await states(redis)
    assert {job for job, state in lie.items() if state is State.WAITING} == set(mine)
    assert {lie[job] for job in between} == {State.FAILED}


async def test_a_replayed_job_has_its_id_and_all_its_attempts(
    redis: Redis, tenant: ClientSession
) -> None:
    (job_id,) = await failed(redis, "https://a.example/hook", ORG)
    before = await Queue("webhooks", redis).get(job_id)
    await ask(tenant, "/webhooks/replay", "POST", json={"since": 0})
    after = await Queue("webhooks", redis).get(job_id)
    assert before is not None
    assert after is not None
    assert (after.id, after.data, after.attempts_made) == (before.id, before.data, 0)


async def test_until_bounds_and_the_platform_replays_for_everyone(
    redis: Redis, platform: ClientSession
) -> None:
    ids = await failed(redis, "https://a.example/x", ORG)
    ids += await failed(redis, "https://a.example/x", OTHER)
    ended = (await Queue("webhooks", redis).page(State.FAILED))[-1].finished_on
    assert ended is not None
    for body, expected in (
        ({"since": 0, "until": ended - 1}, []),
        ({"since": 0, "until": ended, "dryRun": True}, ids[:1]),
        ({"since": 0, "organizationId": OTHER, "dryRun": True}, ids[1:]),
    ):
        answer = await ask(platform, "/webhooks/replay", "POST", json=body)
        assert set(expected) <= set(answer["jobs"])
    assert (await ask(platform, "/webhooks/replay", "POST", json={"since": 0}))["jobs"] == ids


@pytest.mark.parametrize(
    "body",
    [
        {},
        None,
        {"since": -1},
        {"since": "now"},
        {"since": 2, "until": 1},
        {"since": 0, "limit": 0},
        {"since": 0, "limit": 1_001},
        {"since": 0, "origin": "a.example"},
        {"since": 0, "status": "failed"},
        {"since": 0, "cursor": "further on"},
    ],
)
async def test_a_replay_that_does_not_fit_sends_nothing(
    redis: Redis, tenant: ClientSession, body: Any
) -> None:
    await failed(redis, "https://a.example/hook", ORG)
    assert await refused(tenant, "/webhooks/replay", "POST", json=body) == (422, "invalid_request")
    assert set((await states(redis)).values()) == {State.FAILED}


# Signing keys


async def test_keys_are_made_when_first_seen_and_rotate(raw: Any, tenant: ClientSession) -> None:
    first = await ask(tenant, "/webhooks/secret")
    (key,) = first["keys"]
    assert (first["organizationId"], first["origin"]) == (ORG, None)
    assert len(base64.b64decode(key["secret"].removeprefix("whsec_"), validate=True)) == 32
    assert await ask(tenant, "/webhooks/secret") == first

    fresh = (await ask(tenant, "/webhooks/secret/rotate", "POST"))["keys"][0]
    after = (await ask(tenant, "/webhooks/secret"))["keys"]
    assert [one["secret"] for one in after] == [fresh["secret"], key["secret"]]
    assert after[0] == fresh
    assert (after[0]["replacedAt"], after[1]["createdAt"]) == (None, key["createdAt"])
    assert after[1]["replacedAt"] >= after[1]["createdAt"]

    organization = Destination(ORG, "")
    assert [deed["action"] for deed in audit(raw, organization)] == [
        *["webhook.secret.read"] * 2,
        "webhook.secret.rotate",
        "webhook.secret.read",
    ]
    assert "whsec_" not in str(audit(raw, organization))


async def test_a_destination_gets_keys_of_its_own_and_the_organizations_sign_on(
    tenant: ClientSession,
) -> None:
    shared = (await ask(tenant, "/webhooks/secret"))["keys"][0]["secret"]
    body = {"origin": "https://A.example/hook", "kind": "ed25519"}
    fresh = (await ask(tenant, "/webhooks/secret/rotate", "POST", json=body))["keys"][0]
    assert fresh["secret"].startswith("whsk_")
    whole = base64.b64decode(fresh["secret"].removeprefix("whsk_"), validate=True)
    assert whole[32:] == base64.b64decode(fresh["public"].removeprefix("whpk_"), validate=True)
    own = await ask(tenant, "/webhooks/secret?origin=https://a.example")
    assert [one["secret"] for one in own["keys"]] == [fresh["secret"], shared]
    assert own["origin"] == "https://a.example"
    others = await ask(tenant, "/webhooks/secret?origin=https://b.example")
    assert [one["secret"] for one in others["keys"]] == [shared]

    public = await ask(tenant, "/webhooks/public-keys?origin=https://a.example")
    assert [one["public"] for one in public["keys"]] == [fresh["public"]]
    assert "secret" not in str(public)
    assert (await ask(tenant, "/webhooks/public-keys"))["keys"] == []


async def test_organizations_never_share_a_key(
    raw: Any, tenant: ClientSession, platform: ClientSession
) -> None:
    mine = (await ask(tenant, "/webhooks/secret"))["keys"][0]["secret"]
    theirs = await ask(platform, "/webhooks/secret", params={"organizationId": OTHER})
    assert theirs["keys"][0]["secret"] != mine
    # Whoever writes to Redis cannot give one organization's key to another either.
    stolen = raw.hget(f"cs:dest:{{{Destination(OTHER, '').id}}}:secret", "sealed")
    raw.hset(f"cs:dest:{{{Destination(ORG, '').id}}}:secret", "sealed", stolen)
    assert await refused(tenant, "/webhooks/secret") == (503, "keys_unavailable")


@pytest.mark.parametrize(
    "body", [{"kind": "rsa"}, {"origin": "x"}, {"surplus": 1}, [], {"organizationId": ""}]
)
async def test_a_rotation_that_does_not_fit_changes_nothing(
    raw: Any, tenant: ClientSession, body: Any
) -> None:
    found = await refused(tenant, "/webhooks/secret/rotate", "POST", json=body)
    assert found == (422, "invalid_request")
    assert raw.keys("cs:dest*") == []


async def test_a_gateway_without_a_ring_says_so_and_the_rest_works(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDSTREAM_WEBHOOK_KEKS")
    async with tenants(redis, ORG) as (tenant,):
        for path, method in (("/webhooks/secret", "GET"), ("/webhooks/secret/rotate", "POST")):
            assert await refused(tenant, path, method) == (503, "keys_unavailable")
        assert (await ask(tenant, "/webhooks/public-keys"))["keys"] == []
        await deliver(redis, HERE, "success")
        assert len(await ask(tenant, AT)) == 1


async def test_a_ring_that_lost_a_kek_is_told(
    tenant: ClientSession, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask(tenant, "/webhooks/secret")
    kek = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    monkeypatch.setenv("CREDSTREAM_WEBHOOK_KEKS", f"k2:{kek}")
    async with tenants(redis, ORG) as (another,):
        assert await refused(another, "/webhooks/secret") == (503, "keys_unavailable")


async def test_what_is_stored_is_sealed(raw: Any, tenant: ClientSession) -> None:
    shown = (await ask(tenant, "/webhooks/secret"))["keys"][0]
    at = Destination(ORG, "").keys["secret"]
    (one,) = parse(raw.hget(at, "sealed").decode())
    assert one.jwe.count(".") == 4
    assert shown["secret"].removeprefix("whsec_") not in str(raw.hgetall(at))
