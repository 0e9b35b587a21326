"""Dead letters by cause, and canaries: a few first, the rest only if those pass."""

import pytest
from aiohttp import ClientSession
from by_hand import Hand
from stage import die

from gateway.dashboard.causes import Library, group, shape_of
from schemas.spec import QueueSpec
from streams import Queue, Redis
from streams.causes import Death, deaths

JSON = {"Accept": "application/json"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no row 17 in 'a b'", "no row 18 in 'c'"),
        ("key of did:key:z6MkA is gone", "key of did:web:b.example is gone"),
        ("HTTP 503 from https://a.example/x/1", "HTTP 503 from https://a.example/y?2"),
        ("mail to a@b.example bounced", "mail to c.d@e.example bounced"),
        (
            "lost 3f2504e0-4f89-11d3-9a0c-0305e82c3301 at 2026-11-24T08:00:00Z",
            "lost 00000000-4f89-11d3-9a0c-0305e82c3302 at 2026-11-24 09:01:02",
        ),
    ],
)
def test_messages_of_one_cause_have_one_shape(one: str, other: str) -> None:
    assert shape_of(one) == shape_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("HTTP 503 from https://a.example/x", "HTTP 404 from https://a.example/x"),
        ("HTTP 503 from https://a.example/x", "HTTP 503 from https://b.example/x"),
        ("550 unknown", "421 unknown"),
    ],
)
def test_messages_of_other_causes_do_not(one: str, other: str) -> None:
    assert shape_of(one) != shape_of(other)


def test_a_huge_message_is_cut_and_costs_little() -> None:
    assert len(shape_of('"' * 100_000 + "did:" * 1_000)) <= 240


def test_causes_differ_by_name_and_class() -> None:
    def death(job: str, name: str, code: str) -> Death:
        return Death(job, name, "failed", code, "row 1 is gone", 5)

    causes = group("q", [death("1", "a", "X"), death("2", "a", "X"), death("3", "b", "X")])
    assert [(c.count, c.name) for c in causes] == [(2, "a"), (1, "b")]
    assert len({c.fingerprint for c in causes}) == 2


async def test_every_death_is_read_in_hops(redis: Redis) -> None:
    await die(redis, "orders", "Boom", "row {n} is gone", 1_203)
    store = Queue("orders", redis).store
    found = await deaths(store, 10_000)
    assert found.total == len(found.found) == len({d.job_id for d in found.found}) == 1_203
    assert {(d.code, d.reason, d.name) for d in found.found} == {("Boom", "failed", "orders")}
    assert len((await deaths(store, 700)).found) == 700


async def test_the_library_reads_again_when_something_changed(redis: Redis) -> None:
    await die(redis, "orders", "Boom", "row {n} is gone", 3)
    queue, library = Queue("orders", redis), Library()
    first = await library.of(queue.store)
    assert await library.of(queue.store) is first
    await queue.remove(first.causes[0].jobs[0])
    assert (await library.of(queue.store)).causes[0].count == 2


async def settle(redis: Redis, *, well: bool) -> None:
    hand = Hand(redis, QueueSpec("orders"))
    while claims := await hand.take(100):
        await (hand.complete(*claims, result=1) if well else hand.fail(*claims))


async def canary(http: ClientSession, redis: Redis, address: str) -> tuple[str, str]:
    await Queue("orders", redis).register()
    await die(redis, "orders", "Boom", "row {n} is gone", 40)
    (cause,) = (await Library().of(Queue("orders", redis).store)).causes
    path = f"/dashboard/dead/orders/{cause.fingerprint}"
    http.headers["Origin"] = address
    dry = await http.post(f"{path}/canary", json={"percent": 5, "dryRun": True})
    assert (await dry.json())["data"] == {"count": 2, "more": False}
    sent = await http.post(f"{path}/canary", json={"percent": 5})
    return path, (await sent.json())["data"]["location"]


async def test_a_canary_that_passes_opens_the_way(
    http: ClientSession, redis: Redis, address: str
) -> None:
    path, where = await canary(http, redis, address)
    body = {"canary": where.rpartition("/")[2]}
    early = await http.post(f"{path}/redrive", json=body)
    assert early.status == 422
    assert (await Queue("orders", redis).counts()).failed == 38
    await settle(redis, well=True)
    state = await http.get(f"{where}/state")
    assert (await state.json())["data"]["verdict"] == "passed"
    assert "Go on: redrive" in await (await http.get(where, headers={"Accept": "text/html"})).text()
    on = await http.post(f"{path}/redrive", json=body)
    assert on.status == 200
    assert (await Queue("orders", redis).counts()).failed == 0


async def test_a_canary_that_dies_keeps_it_shut(
    http: ClientSession, redis: Redis, address: str
) -> None:
    path, where = await canary(http, redis, address)
    await settle(redis, well=False)
    shown = await (await http.get(where, headers={"Accept": "text/html"})).text()
    assert "2 of 2 died again" in shown
    assert "Go on: redrive" not in shown
    on = await http.post(f"{path}/redrive", json={"canary": where.rpartition("/")[2]})
    assert on.status == 422
    assert (await Queue("orders", redis).counts()).failed == 40


async def test_unknown_causes_and_canaries_are_404(http: ClientSession) -> None:
    for path in ("emails/0123456789ab", "emails/canary/0123456789abcdef", "nowhere/0123456789ab"):
        answer = await http.get(f"/dashboard/dead/{path}", headers={"Accept": "text/html"})
        assert answer.status == 404
