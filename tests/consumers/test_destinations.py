"""Admission to destinations: what a worker is told, what its death leaves, and what is kept.

The circuit breaker at random is in test_destinations_machine.py.
"""

import logging
from typing import Any

import orjson
import pytest
from by_hand import PATIENCE_S, clock_ms, clock_passes
from fault_proxy import FaultProxy, calls
from processes import until
from redis.exceptions import ResponseError
from redis_servers import Server
from script_faults import (
    FAULT,
    assert_cannot_fail,
    attempt,
    changed,
    keys_of,
    restore,
    run,
    state,
)

from consumers.destinations import (
    Admitted,
    Deferred,
    Destinations,
    DestinationSettings,
    Disabled,
)
from schemas.spec import Limiter
from streams import Redis, connect
from streams import destinations as store
from streams.destinations import Destination, Ended, Rules
from streams.endings import Gate
from streams.keys import Keys
from streams.live import START, Events
from streams.scripts import RECORDS, Command

ORG = "org-1"
URL = "https://Example.com:443/hooks?x=1"
HERE = Destination(ORG, "https://example.com")


def desk(redis: Redis, **rules: Any) -> Destinations:
    """Without signing keys, which are not asked for here."""
    return Destinations(redis, None, Rules(**rules))  # type: ignore[arg-type]


async def take(destinations: Destinations, url: str = URL, job: str = "job") -> Admitted:
    admission = await destinations.admit(ORG, url, job)
    assert isinstance(admission, Admitted), admission
    return admission


async def test_a_destination_is_an_origin_of_an_organization(redis: Redis) -> None:
    destinations = desk(redis, concurrency=1)
    first = await take(destinations)
    assert first.lease.destination == HERE
    for url in ("https://example.com/other", "HTTPS://EXAMPLE.COM", "https://example.com.:443/"):
        answer = await destinations.admit(ORG, url, "j")
        assert isinstance(answer, Deferred)
        assert answer.reason == "concurrency"
    for url in ("http://example.com/", "https://example.com:8443/", "https://a.example.com/"):
        await take(destinations, url)
    assert isinstance(await destinations.admit("org-2", URL, "j"), Admitted)


async def test_never_more_than_the_limit_and_a_settled_one_makes_room(redis: Redis) -> None:
    destinations = desk(redis, concurrency=3)
    leases = [(await take(destinations, job=f"j{n}")).lease for n in range(3)]
    for _ in range(3):
        assert (await destinations.admit(ORG, URL, "j")).reason == "concurrency"  # type: ignore[union-attr]
    for _ in range(2):  # twice is once
        await destinations.settle(leases[0], "success")
    await take(destinations)
    assert isinstance(await destinations.admit(ORG, URL, "j"), Deferred)
    known = await store.find(redis, HERE.id)
    assert known is not None
    assert (known.running, known.numbers["success"], known.numbers["deferred"]) == (3, 1, 4)


async def test_the_lease_of_a_dead_worker_ends_by_itself(redis: Redis) -> None:
    destinations = desk(redis, concurrency=1, lease_ms=40)
    dead = (await take(destinations)).lease

    async def admitted() -> bool:
        return isinstance(await destinations.admit(ORG, URL, "j"), Admitted)

    await until(admitted, within_s=PATIENCE_S, what="the lease has run out")
    # It was not dead, only slow: what it says late does not free another's lease.
    settled = await store.settle(redis, HERE, dead.id, Ended("success"), destinations.rules)
    assert not settled.counted


async def test_a_job_that_comes_again_takes_the_place_of_its_dead_delivery(redis: Redis) -> None:
    destinations = desk(redis, concurrency=2)
    dead = (await take(destinations, job="j1")).lease
    await take(destinations, job="j2")
    for other in ("j", "j11", "j3"):
        assert isinstance(await destinations.admit(ORG, URL, other), Deferred)

    again = (await take(destinations, job="j1")).lease

    assert isinstance(await destinations.admit(ORG, URL, "j3"), Deferred)
    await destinations.settle(dead, "success")  # it was not dead, but slow: its place is gone
    assert isinstance(await destinations.admit(ORG, URL, "j3"), Deferred)
    await destinations.settle(again, "success")
    await take(destinations, job="j3")


async def test_a_probe_whose_worker_died_is_made_again_by_its_job(redis: Redis) -> None:
    destinations = desk(redis, requests=1, open_ms=0)
    await fail(destinations, 1)
    await take(destinations, job="probe")
    assert (await destinations.admit(ORG, URL, "other")).reason == "circuit_half_open"  # type: ignore[union-attr]
    again = (await take(destinations, job="probe")).lease
    await destinations.settle(again, "success")
    await take(destinations, job="other")


async def test_a_job_that_waits_asks_again_by_itself_after_its_patience(redis: Redis) -> None:
    """Not sooner: it is released when there is room, or something else happens."""
    destinations = desk(redis, concurrency=1)
    lease = (await take(destinations)).lease
    full = await destinations.admit(ORG, URL, "j")
    assert full == Deferred(destinations.rules.patience_ms, "concurrency", Gate(HERE.id, 1_000))
    await destinations.settle(lease, "failure", defer_ms=86_400_000)
    asked = await destinations.admit(ORG, URL, "j")
    assert asked == Deferred(destinations.rules.patience_ms, "retry_after", Gate(HERE.id, 30_000))


async def test_retry_after_keeps_the_others_away_and_the_later_one_holds(redis: Redis) -> None:
    destinations = desk(redis)
    leases = [(await take(destinations, job=f"j{n}")).lease for n in range(3)]
    for lease, outcome, defer_ms in zip(
        leases, ("failure", "success", "failure"), (60_000, 0, 1_000), strict=True
    ):
        await destinations.settle(lease, outcome, defer_ms)  # type: ignore[arg-type]
    admission = await destinations.admit(ORG, URL, "other")
    assert isinstance(admission, Deferred)
    assert admission.reason == "retry_after"
    known = await store.find(redis, HERE.id)
    assert known is not None
    assert known.numbers["not_before"] - await clock_ms(redis, "x") > 50_000
    await take(destinations, "https://elsewhere.example/")


async def test_the_rate_is_exact_and_says_when_to_come_back(redis: Redis) -> None:
    destinations = desk(redis, concurrency=100, rate=Limiter(3, 3_600_000))
    for n in range(3):
        lease = (await take(destinations, job=f"j{n}")).lease
        await destinations.settle(lease, "success")
    admission = await destinations.admit(ORG, URL, "j")
    assert isinstance(admission, Deferred)
    assert (admission.reason, admission.gate.look_ms) == ("rate", 30_000)


async def test_a_rate_that_has_passed_admits_again(redis: Redis) -> None:
    destinations = desk(redis, rate=Limiter(1, 30))
    await take(destinations)

    async def admitted() -> bool:
        return isinstance(await destinations.admit(ORG, URL, "j"), Admitted)

    await until(admitted, within_s=PATIENCE_S, what="the window has passed")


async def fail(destinations: Destinations, times: int, outcome: Any = "failure") -> None:
    for n in range(times):
        await destinations.settle((await take(destinations, job=f"f{n}")).lease, outcome)


async def test_it_opens_at_ten_deliveries_of_which_seven_failed(redis: Redis) -> None:
    destinations = desk(redis)
    await fail(destinations, 3, "success")
    await fail(destinations, 5, "neutral")
    await fail(destinations, 6)
    await take(destinations)
    await fail(destinations, 1)
    admission = await destinations.admit(ORG, URL, "j")
    assert isinstance(admission, Deferred)
    assert admission.reason == "circuit_open"
    assert 20_000 < admission.gate.look_ms <= 30_000
    (opened,) = await store.history(redis, HERE.id)
    assert (opened["event"], opened["reason"]) == ("opened", "7 of 10 deliveries failed")


async def test_nine_failures_open_nothing(redis: Redis) -> None:
    destinations = desk(redis)
    await fail(destinations, 9)
    await take(destinations)


async def test_half_open_lets_one_through(redis: Redis) -> None:
    destinations = desk(redis, requests=1, open_ms=0)
    await fail(destinations, 1)
    probe = (await take(destinations, job="probe")).lease
    for n in range(3):
        answer = await destinations.admit(ORG, URL, f"j{n}")
        assert (answer.reason, type(answer)) == ("circuit_half_open", Deferred)  # type: ignore[union-attr]
    await destinations.settle(probe, "success")
    await take(destinations)
    assert [h["event"] for h in await store.history(redis, HERE.id)] == ["closed", "opened"]


async def test_a_probe_that_says_nothing_is_followed_by_another(redis: Redis) -> None:
    destinations = desk(redis, requests=1, open_ms=0, lease_ms=40)
    await fail(destinations, 1)
    await fail(destinations, 1, "neutral")
    await take(destinations, job="its worker dies")

    async def admitted() -> bool:
        return isinstance(await destinations.admit(ORG, URL, "j"), Admitted)

    await until(admitted, within_s=PATIENCE_S, what="there is another probe")


async def test_ten_openings_in_a_row_disable_it_with_an_event(
    redis: Redis, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "consumers.destinations")
    destinations = desk(redis, requests=1, open_ms=0)
    await fail(destinations, 9)
    await fail(destinations, 1, "success")
    await fail(destinations, 10)
    answer = await destinations.admit(ORG, URL, "late")
    assert isinstance(answer, Disabled)
    assert answer.reason == "destination_disabled"
    assert answer.message == (
        "https://example.com is disabled: its deliveries kept failing. "
        "Enable it again, then retry the job."
    )
    told = [h["event"] for h in await store.history(redis, HERE.id)]
    assert told == ["disabled", *["opened"] * 9, "closed", *["opened"] * 9]
    ((_, fields),) = raw.xrange(HERE.keys["audit"])
    deed = orjson.loads(fields[b"a"])
    assert (deed["actor"], deed["action"], deed["target"], deed["organizationId"]) == (
        "credstream",
        "destination.disable",
        HERE.id,
        ORG,
    )
    assert f"webhook destination {HERE.id} disabled: failing" in caplog.text
    last = (await Events(redis, "webhooks").since(START)).found[-1]
    assert (last.event, last.jobs) == ("destination-disabled", ())
    assert dict(last.more) == {"destination": HERE.id, "reason": "failing"}
    assert "example.com" not in caplog.text


async def test_gone_disables_at_once_and_for_everyone(redis: Redis) -> None:
    destinations = desk(redis)
    leases = [(await take(destinations, job=f"j{n}")).lease for n in range(2)]
    await destinations.settle(leases[0], "gone")
    await destinations.settle(leases[1], "success")
    answer = await destinations.admit(ORG, URL, "j")
    assert isinstance(answer, Disabled)
    assert "410" in answer.message
    assert isinstance(await destinations.admit("org-2", URL, "j"), Admitted)


async def test_who_waited_too_long_for_an_open_circuit_has_failed(redis: Redis) -> None:
    destinations = desk(redis, requests=1, patience_ms=30)
    await fail(destinations, 1)
    assert isinstance(await destinations.admit(ORG, URL, "j"), Deferred)

    async def given_up() -> bool:
        return isinstance(await destinations.admit(ORG, URL, "j"), Disabled)

    await until(given_up, within_s=PATIENCE_S, what="the job has waited too long")
    # Revived, it waits anew; and whoever comes later has its own patience.
    assert isinstance(await destinations.admit(ORG, URL, "j"), Deferred)
    assert isinstance(await destinations.admit(ORG, URL, "other"), Deferred)


async def test_who_had_its_turn_waits_anew(redis: Redis) -> None:
    destinations = desk(redis, requests=1, open_ms=0, openings=9, patience_ms=50)
    await fail(destinations, 1)
    probe = (await take(destinations, job="first")).lease
    assert isinstance(await destinations.admit(ORG, URL, "j"), Deferred)
    waiting_ms = await clock_ms(redis, "x")
    await destinations.settle(probe, "neutral")
    mine = (await take(destinations, job="j")).lease
    await clock_passes(redis, "x", waiting_ms + 60)
    await destinations.settle(mine, "failure")
    await take(destinations, job="another probe")
    assert isinstance(await destinations.admit(ORG, URL, "j"), Deferred)


async def test_waiting_for_a_slot_is_never_too_long(redis: Redis) -> None:
    destinations = desk(redis, concurrency=1, patience_ms=0)
    await take(destinations)
    for _ in range(5):
        assert isinstance(await destinations.admit(ORG, URL, "j"), Deferred)


async def test_an_admission_whose_reply_is_lost_holds_one_slot(own_server: Server) -> None:
    async with FaultProxy(own_server.socket) as proxy:
        redis = connect(proxy.url)
        destinations = desk(redis, concurrency=2, rate=Limiter(2, 3_600_000))
        fault = proxy.drop_reply(
            calls(RECORDS["dest_admit"].sha.decode()), lambda reply: reply.startswith(b"*")
        )
        lease = (await take(destinations)).lease
        assert fault.happened.is_set()
        known = await store.find(redis, HERE.id)
        assert known is not None
        assert known.running == 1
        await take(destinations, job="other")
        fault = proxy.drop_reply(
            calls(RECORDS["dest_settle"].sha.decode()), lambda reply: reply.startswith(b"*")
        )
        await destinations.settle(lease, "failure")
        assert fault.happened.is_set()
        known = await store.find(redis, HERE.id)
        assert known is not None
        assert (known.running, known.numbers["failure"]) == (1, 1)
        await redis.close()


async def test_leases_that_end_while_redis_is_away_are_given_back_when_it_is_there(
    own_server: Server,
) -> None:
    """Long before they run out: a short absence must not keep the destination's jobs away."""
    async with FaultProxy(own_server.socket) as proxy:
        redis = connect(proxy.url)
        destinations = desk(redis, concurrency=3)
        leases = [(await take(destinations, job=f"j{n}")).lease for n in range(3)]
        proxy.refuse()
        for lease in leases:
            await destinations.settle(lease, "failure")
        proxy.heal()

        async def counted() -> bool:
            known = await store.find(redis, HERE.id)
            assert known is not None
            return (known.running, known.numbers.get("failure")) == (0, 3)

        await until(counted, within_s=PATIENCE_S, what="all places are free and counted once")
        await redis.close()


async def test_a_full_redis_keeps_no_delivery_back(own_server: Server) -> None:
    redis = connect(own_server.url)
    destinations = desk(redis, requests=1, rate=Limiter(100, 60_000))
    lease = (await take(destinations)).lease
    with own_server.client() as raw:
        raw.config_set("maxmemory", 1)
    await destinations.settle(lease, "failure")
    assert isinstance(await destinations.admit(ORG, URL, "j"), Deferred)
    await take(destinations, "https://never-seen.example/")
    assert await store.switch(redis, HERE, enabled=True, who=b"{}")
    await take(destinations)
    await redis.close()


async def test_what_is_unused_is_forgotten_and_leaves_the_list(redis: Redis, raw: Any) -> None:
    destinations = desk(redis, forget_ms=30)
    await take(destinations)
    assert [k.destination for k in await store.listed(redis, ORG)] == [HERE]

    async def forgotten() -> bool:
        return not raw.exists(HERE.keys["about"])

    await until(forgotten, within_s=PATIENCE_S, what="it is forgotten")
    assert await store.listed(redis, ORG) == []
    await take(desk(redis, forget_ms=0), "https://new.example")
    listed = raw.zrange(f"cs:dests:{{{Destination(ORG, '').id}}}", 0, -1)
    assert listed == [b"https://new.example"]


async def test_what_an_operator_disabled_is_not(redis: Redis, raw: Any) -> None:
    destinations = desk(redis, forget_ms=30)
    await take(destinations)
    assert await store.switch(redis, HERE, enabled=False, who=b"{}")
    assert raw.pttl(HERE.keys["about"]) == -1
    assert isinstance(await destinations.admit(ORG, URL, "j"), Disabled)
    assert raw.pttl(HERE.keys["about"]) == -1


async def test_an_unknown_destination_cannot_be_switched(redis: Redis, raw: Any) -> None:
    assert not await store.switch(redis, HERE, enabled=False, who=b"{}")
    assert not await store.limit(redis, HERE, 1, None, who=b"{}")
    assert raw.keys("cs:dest*") == []


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert DestinationSettings().rules() == Rules()
    monkeypatch.setenv("WEBHOOK_DESTINATION_CONCURRENCY", "9")
    monkeypatch.setenv("WEBHOOK_DESTINATION_RATE_MAX", "7")
    monkeypatch.setenv("WEBHOOK_DESTINATION_RATE_MS", "1000")
    assert DestinationSettings().rules() == Rules(concurrency=9, rate=Limiter(7, 1_000))


# Scripts: decide, then write


LIMITS = {"lease_ms": 60_000, "limit": 5, "rate_max": 100, "rate_ms": 60_000}


def script_calls(at: Keys) -> dict[str, Command]:
    """Every script, in every way it can go, on a destination that has everything."""
    admit = {
        "org": ORG,
        "origin": HERE.origin,
        "job": "j",
        "lease": "new",
        "returns": 0,
        **LIMITS,
        "patience_ms": 60_000,
        "open_ms": 1_000,
        "forget_ms": 60_000,
    }
    settle = {
        "lease": "old",
        "outcome": "success",
        "defer_ms": 0,
        **LIMITS,
        "window_ms": 60_000,
        "requests": 2,
        "percent": 50,
        "open_ms": 1_000,
        "openings": 9,
        "forget_ms": 60_000,
        "who": "{}",
    }
    limits = {"limit": 3, "rate_max": "", "rate_ms": "", "who": "{}", "forget_ms": 60_000}

    def call(name: str, **named: Any) -> Command:
        return RECORDS[name].command(at, **named)

    return {
        "admit": call("dest_admit", **admit),
        "admit again": call("dest_admit", **admit | {"lease": "old"}),
        "admit defers": call("dest_admit", **admit | {"limit": 1}),
        "admit by rate": call("dest_admit", **admit | {"rate_max": 1}),
        "admit a parked one": call("dest_admit", **admit | {"returns": 1}),
        "look": call("dest_look", count=9, unused=1, **LIMITS, open_ms=1_000, forget_ms=60_000),
        "settle": call("dest_settle", **settle),
        "settle opens": call("dest_settle", **settle | {"outcome": "failure"}),
        "settle disables": call("dest_settle", **settle | {"outcome": "gone", "defer_ms": 1_000}),
        "settle late": call("dest_settle", **settle | {"lease": "none"}),
        "disable": call("dest_switch", to="disabled", who="{}", forget_ms=60_000),
        "enable": call("dest_switch", to="enabled", who="{}", forget_ms=60_000),
        "limits": call("dest_limits", **limits),
        "no limits": call("dest_limits", **limits | {"limit": ""}),
        "secret": call("dest_secret", version=1, sealed="[]", who="{}"),
        "secret stale": call("dest_secret", version=7, sealed="[]", who="{}"),
        "schedule": call("dest_schedule", schedule="durable", who="{}"),
        "schedule again": call("dest_schedule", schedule="standard", who="{}"),
        "deed": call("dest_deed", who="{}", nonce="n1"),
    }


def fill(raw: Any, at: Keys) -> None:
    now_ms = int(raw.time()[0]) * 1_000
    about = {
        "org": ORG,
        "origin": HERE.origin,
        "success": 1,
        "openings": 1,
        "parked": 7,
        "promised": 1,
        "promised_until": (now_ms + 5_000),
    }
    raw.hset(at["about"], mapping=about)
    raw.zadd(at["leases"], {"old": now_ms + 55_000})
    raw.zadd(at["rate"], {"old": now_ms})
    raw.zadd(at["since"], {"j": now_ms})
    raw.hset(at["window"], mapping={f"{now_ms * 10 // 60_000}-": 2, "5+": 9})
    raw.xadd(at["history"], {"e": "opened", "r": "x"})
    raw.xadd(at["audit"], {"a": "{}"})
    raw.hset(at["settings"], mapping={"schedule": "standard"})
    raw.hset(at["secret"], mapping={"version": 1, "sealed": "[{}]"})


@pytest.mark.parametrize("name", script_calls(HERE.keys))
async def test_a_call_that_fails_leaves_nothing_half_done(
    raw: Any, redis_kind: str, name: str
) -> None:
    if redis_kind == "cluster":
        pytest.skip("the clock of a cluster is asked per node; the scripts are the same")
    fill(raw, HERE.keys)
    command = script_calls(HERE.keys)[name]
    before = state(raw, HERE.keys)  # type: ignore[arg-type]
    whole = run(raw, command)
    restore(raw, HERE.keys, before)  # type: ignore[arg-type]
    for k in range(1, min(whole.first_write + 1, len(whole.calls)) + 1):
        with pytest.raises(ResponseError, match=FAULT):
            run(raw, command, stop_at=k)
        assert changed(before, state(raw, HERE.keys)) == set(), whole.calls[k - 1]  # type: ignore[arg-type]
    assert_cannot_fail(whole)


@pytest.mark.parametrize("name", script_calls(HERE.keys))
async def test_a_key_of_a_wrong_type_stops_a_script_before_it_writes(
    raw: Any, redis_kind: str, name: str
) -> None:
    if redis_kind == "cluster":
        pytest.skip("the clock of a cluster is asked per node; the scripts are the same")
    fill(raw, HERE.keys)
    command = script_calls(HERE.keys)[name]
    before = state(raw, HERE.keys)  # type: ignore[arg-type]
    for key in keys_of(command):
        restore(raw, HERE.keys, before)  # type: ignore[arg-type]
        raw.delete(key)
        raw.set(key, "not ours")
        wrong = state(raw, HERE.keys)  # type: ignore[arg-type]
        reply = attempt(raw, command)
        assert isinstance(reply, ResponseError), key
        assert "WRONGTYPE" in str(reply)
        assert changed(wrong, state(raw, HERE.keys)) == set(), key  # type: ignore[arg-type]


WORDS = {
    "admit": b"OK",
    "admit again": b"OK",
    "admit defers": b"DEFER",
    "admit by rate": b"DEFER",
    "admit a parked one": b"OK",
    "look": b"OK",
    "settle": b"OK",
    "settle opens": b"OK",
    "settle disables": b"OK",
    "settle late": b"ALREADY",
    "disable": b"OK",
    "enable": b"OK",
    "limits": b"OK",
    "no limits": b"ALREADY",
    "secret": b"OK",
    "secret stale": b"STALE",
    "deed": b"OK",
}
AGAIN = {"settle": b"ALREADY", "settle opens": b"ALREADY", "settle disables": b"ALREADY"}
AGAIN |= {"disable": b"ALREADY", "enable": b"ALREADY", "limits": b"ALREADY"}
AGAIN |= {"secret": b"STALE", "deed": b"ALREADY"}


@pytest.mark.parametrize("name", WORDS)
async def test_a_second_send_changes_nothing(raw: Any, redis_kind: str, name: str) -> None:
    if redis_kind == "cluster":
        pytest.skip("the clock of a cluster is asked per node; the scripts are the same")
    fill(raw, HERE.keys)
    command = script_calls(HERE.keys)[name]
    first = attempt(raw, command)
    assert first[0] == WORDS[name]  # type: ignore[index]
    after = {k: v.content for k, v in state(raw, HERE.keys).items() if b":about" not in k}  # type: ignore[arg-type]
    second = attempt(raw, command)
    assert second[0] == AGAIN.get(name, WORDS[name])  # type: ignore[index]
    again = {k: v.content for k, v in state(raw, HERE.keys).items() if b":about" not in k}  # type: ignore[arg-type]
    assert again == after
