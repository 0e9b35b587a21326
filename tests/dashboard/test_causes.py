"""Dead letters by cause, and canaries: a few first, the rest only if those pass."""

import re
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientSession, web
from by_hand import Hand
from stage import die

from gateway.dashboard import causes
from gateway.dashboard.causes import FIRST_JOBS, Library, group, shape_of
from schemas.job import JobOptions
from schemas.spec import QueueSpec
from streams import NewJob, Queue, Redis, audit
from streams.causes import Death, deaths
from tests.dashboard.conftest import make_key, signed_in

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

    found = group("q", [death("1", "a", "X"), death("2", "a", "X"), death("3", "b", "X")])
    assert [(c.count, c.name) for c in found] == [(2, "a"), (1, "b")]
    assert len({c.fingerprint for c in found}) == 2


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


async def test_many_are_grouped_beside_the_event_loop(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand take a third of a second, in which the API must answer."""
    inline: list[bool] = []

    def grouped(*args: Any) -> Any:
        inline.append(threading.current_thread() is threading.main_thread())
        return group(*args)

    monkeypatch.setattr(causes, "group", grouped)
    store = Queue("orders", redis).store
    for more in (2, causes.INLINE_JOBS):
        await die(redis, "orders", "Boom", "row {n} is gone", more)
        assert (await Library().of(store)).total >= more
    assert inline == [True, False]


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


async def test_of_many_a_page_waits_for_the_newest(redis: Redis) -> None:
    await die(redis, "orders", "Boom", "row {n} is gone", FIRST_JOBS + 500)
    queue, library = Queue("orders", redis), Library()
    living = library.living(web.Application())
    await anext(living)
    assert (await library.of(queue.store, first=True)).scanned == FIRST_JOBS
    whole = await library.of(queue.store, first=True)
    assert (whole.scanned, len(whole.causes[0].jobs)) == (FIRST_JOBS + 500, FIRST_JOBS + 500)
    with pytest.raises(StopAsyncIteration):
        await anext(living)


SECRET = "password=hunter2"


async def of_two(redis: Redis) -> None:
    """Dead letters of two organizations in one queue, with a secret in their messages."""
    spec = QueueSpec("orders")
    queue, hand = Queue(spec, redis), Hand(redis, spec)
    await queue.register()
    for owner, code, count in (("org-a", "Boom", 3), ("org-b", "Crash", 5), ("org-a", "Crash", 1)):
        # The owner is what the data says, wherever else somebody writes the word.
        data = {"x": {"organizationId": "org-b"}, "organizationId": owner}
        ids = [f"{owner}-{code}-{n}" for n in range(count)]
        await queue.add_many([NewJob("work", data, JobOptions(job_id=name)) for name in ids])
        error = {"attempt": 1, "reason": "failed", "message": f"{owner} {SECRET}", "code": code}
        await hand.fail(*await hand.take(count), error=error | {"at": 1, "started": 1})


@pytest.fixture
async def two(redis: Redis, address: str) -> AsyncIterator[tuple[ClientSession, ClientSession]]:
    """Operators of two organizations."""
    await of_two(redis)
    keys = [
        await make_key(redis, "read", "operate", organization_id=own) for own in ("org-a", "org-b")
    ]
    async with signed_in(address, keys[0]) as one, signed_in(address, keys[1]) as other:
        yield one, other


async def read(http: ClientSession, path: str, status: int = 200) -> str:
    async with http.get(path, headers={"Accept": "text/html"}) as answer:
        assert answer.status == status, path
        return await answer.text()


async def test_an_organization_sees_and_sends_its_own_causes_only(
    two: tuple[ClientSession, ClientSession], redis: Redis
) -> None:
    one, other = two
    page = await read(one, "/dashboard/dead")
    assert "2 causes, 4 jobs." in page
    assert "org-b" not in page
    theirs = await read(other, "/dashboard/dead")
    assert "1 cause, 5 jobs." in theirs
    assert "org-a" not in theirs
    (fingerprint,) = set(re.findall(r"/dashboard/dead/orders/([0-9a-f]{12})", theirs))
    where = f"/dashboard/dead/orders/{fingerprint}"
    await read(one, where, 404)
    for verb in ("canary", "redrive"):
        assert (await one.post(f"{where}/{verb}", json={})).status == 404
    assert (await Queue("orders", redis).counts()).failed == 9
    sent = await (await other.post(f"{where}/canary", json={"percent": 20})).json()
    canary = sent["data"]["location"]
    await read(other, canary)
    await read(one, canary, 404)
    assert (await one.get(f"{canary}/state")).status == 404
    assert (await one.post(f"{canary}/hold", json={})).status == 404
    assert (await other.post(f"{where}/redrive", json={})).status == 200
    assert (await Queue("orders", redis).counts()).failed == 4
    records = (await audit.page(redis, None, 9, lambda deed: "dead" in deed["action"])).found
    assert {one.deed["organizationId"] for one in records} == {"org-b"}


async def test_error_texts_of_causes_are_hidden_by_role(
    two: tuple[ClientSession, ClientSession], address: str, redis: Redis
) -> None:
    one, _ = two
    page = await read(one, "/dashboard/dead")
    (where, *_) = re.findall(r"/dashboard/dead/orders/[0-9a-f]{12}", page)
    body = {"percent": 100, "goesOn": True}
    sent = await (await one.post(f"{where}/canary", json=body | {"dryRun": True})).json()
    assert sent["data"]["count"] == 3
    secrets_seen = [page, await read(one, where)]
    sent = await (await one.post(f"{where}/canary", json=body)).json()
    hand = Hand(redis, QueueSpec("orders"))
    error = {"attempt": 1, "reason": "failed", "message": SECRET, "code": "x", "at": 1}
    await hand.fail(*await hand.take(9), error=error | {"started": 1})
    secrets_seen.append(await read(one, sent["data"]["location"]))
    for text in secrets_seen:
        assert "hunter2" not in text
        assert "password=***" in text
    full = await make_key(redis, "read", "read:sensitive", organization_id="org-a")
    async with signed_in(address, full) as trusted:
        assert "hunter2" in await read(trusted, "/dashboard/dead")
