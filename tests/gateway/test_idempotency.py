"""Idempotency-Key: every case of the vector file, and what surrounds them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import make_mocked_request
from by_hand import PATIENCE_S
from fault_proxy import FaultProxy, calls
from processes import until
from redis_servers import Server

from gateway import idempotency
from gateway.directory import Listed
from gateway.idempotency import BadKey, key_in
from gateway.principal import PRINCIPAL, Principal, Scope
from gateway.settings import GatewaySettings
from gateway.submit import Way, submit_one
from streams import NewJob, Queue, connect
from streams.once import OnceKey
from streams.scripts import SCRIPTS
from tests.gateway.samples import Serve

JOBS = "/queue/vc-issuance/jobs"
CASES = json.loads((Path(__file__).parents[1] / "vectors" / "idempotency-key.json").read_text())
ADDS = calls(SCRIPTS["add"].sha.decode())
KEY = OnceKey("d" * 40, "print")
Answer = tuple[int, bytes, str | None]


async def send(http: ClientSession, body: Any, key: str = "k-1", path: str = JOBS) -> Answer:
    async with http.post(path, json=body, headers={"Idempotency-Key": key}) as response:
        return response.status, await response.read(), response.headers.get("Idempotency-Replayed")


@pytest.fixture
def job(issuance: dict[str, Any]) -> dict[str, Any]:
    return {"data": issuance}


def test_every_case_has_its_test() -> None:
    assert {case["case"] for case in CASES} == set(TESTED)


async def test_the_same_again(http: ClientSession, queue: Queue, job: Any) -> None:
    first, second = await send(http, job), await send(http, job)
    assert (first[0], second[0]) == (202, 202)
    assert first[1] == second[1]
    assert (first[2], second[2]) == (None, "true")
    assert (await queue.counts()).total == 1


async def test_the_same_key_with_another_body(http: ClientSession, queue: Queue, job: Any) -> None:
    assert (await send(http, job))[0] == 202
    status, body, _ = await send(http, job | {"name": "other"})
    assert (status, json.loads(body)["code"]) == (422, "idempotency_key_reused")
    assert (await queue.counts()).total == 1


async def test_while_the_first_is_in_flight(
    http: ClientSession, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go = asyncio.Event(), asyncio.Event()

    async def held(*args: Any) -> Any:
        entered.set()
        await go.wait()
        return await submit_one(*args)

    monkeypatch.setattr("gateway.submissions.submit_one", held)
    first = asyncio.create_task(send(http, job))
    await entered.wait()
    status, body, _ = await send(http, job)
    assert (status, json.loads(body)["code"]) == (409, "idempotency_in_flight")
    go.set()
    assert (await first)[0] == 202


async def test_a_hundred_at_once(http: ClientSession, queue: Queue, job: Any) -> None:
    answers = await asyncio.gather(*(send(http, job) for _ in range(100)))
    assert {status for status, _, _ in answers} <= {202, 409}
    assert len({body for status, body, _ in answers if status == 202}) == 1
    assert (await queue.counts()).total == 1


async def test_a_key_belongs_to_a_path(http: ClientSession, job: Any) -> None:
    own = {"data": {"url": "https://example.com/", "event": "x", "payload": {}}}
    assert (await send(http, job))[0] == 202
    _, body, replayed = await send(http, own, path="/queue/webhooks/jobs")
    assert replayed is None
    assert json.loads(body).get("code") != "idempotency_key_reused"


def asks(organization_id: str | None, path: str = JOBS) -> web.Request:
    app = web.Application()
    idempotency.install(app)
    request = make_mocked_request("POST", path, headers={"Idempotency-Key": "k"}, app=app)
    request[PRINCIPAL] = Principal("p", frozenset(Scope), organization_id)
    return request


def digest(request: web.Request) -> str:
    with idempotency.once(request) as key:
        assert key is not None
        return key.digest


def test_a_key_belongs_to_an_organization() -> None:
    found = [digest(asks(org)) for org in (None, "org-1", "org-2")]
    assert len(set(found)) == 3
    assert digest(asks("org-1")) == found[1]
    assert digest(asks("org-1", "/queue/emails/jobs")) != found[1]


async def test_what_was_refused_is_not_remembered(
    http: ClientSession, queue: Queue, job: Any
) -> None:
    assert (await send(http, {"data": {}}))[0] == 422
    status, _, replayed = await send(http, job)
    assert (status, replayed) == (202, None)
    assert (await queue.counts()).total == 1


async def test_who_dies_between_storing_and_answering_has_stored_the_key_too(
    queue: Queue, job: Any
) -> None:
    """The first gateway is gone with the reply: what the second one finds lies in Redis."""
    listed = Listed(queue.name, queue, queue.spec)
    first = await submit_one(listed, job, Way(key=KEY))
    assert not first.replayed
    again = await submit_one(listed, job, Way(key=KEY))
    assert again == first._replace(replayed=True)
    assert (await queue.counts()).total == 1


async def test_a_day_later_it_is_new(http: ClientSession, queue: Queue, raw: Any, job: Any) -> None:
    assert (await send(http, job))[0] == 202
    (record,) = raw.scan_iter(match="cs:{vc-issuance}:idem:*")
    assert 86_390_000 < raw.pttl(record) <= 86_400_000
    raw.pexpire(record, 1)

    async def gone() -> bool:
        return not raw.exists(record)

    await until(gone, within_s=PATIENCE_S, what="the key has expired")
    status, _, replayed = await send(http, job)
    assert (status, replayed) == (202, None)
    assert (await queue.counts()).total == 2


@pytest.mark.parametrize("key", ["x" * 256, '"' + "x" * 256 + '"', "", '""', '"a', "a b", "ä"])
async def test_what_is_no_key(http: ClientSession, queue: Queue, job: Any, key: str) -> None:
    status, body, _ = await send(http, job, key=key)
    assert (status, json.loads(body)["code"]) == (400, "invalid_idempotency_key")
    assert (await queue.counts()).total == 0


async def test_a_key_with_a_control_character(http: ClientSession, job: Any) -> None:
    async with http.get("/livez") as response:
        port = response.url.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    text = json.dumps(job)
    writer.write(
        f"POST {JOBS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text)}\r\nIdempotency-Key: a\x01b\r\n\r\n{text}".encode()
    )
    assert b" 400 " in await reader.readline()
    writer.close()


async def test_a_quoted_key_is_the_bare_one(http: ClientSession, queue: Queue, job: Any) -> None:
    assert (await send(http, job, key="abc"))[2] is None
    assert (await send(http, job, key='"abc"'))[2] == "true"
    assert (await queue.counts()).total == 1


def test_a_string_may_hold_spaces_quotes_and_backslashes() -> None:
    def key_of(text: str) -> str | None:
        return key_in(make_mocked_request("POST", "/", headers={"Idempotency-Key": text}))

    assert key_of('"a b"') == "a b"
    assert key_of('"a\\"b\\\\c"') == 'a"b\\c'
    with pytest.raises(BadKey):
        key_of('"a\\b"')


async def test_an_array_of_several_calls(http: ClientSession, queue: Queue, job: Any) -> None:
    array = [job] * 900
    first, second = await send(http, array), await send(http, array)
    assert (first[0], first[2]) == (202, None)
    assert (second[0], second[2], second[1]) == (202, "true", first[1])
    assert (await queue.counts()).total == 900
    status, body, _ = await send(http, array[:-1])
    assert (status, json.loads(body)["code"]) == (422, "idempotency_key_reused")


async def test_an_array_that_was_cut_off_is_completed(queue: Queue, job: Any) -> None:
    jobs = [NewJob("issue", job["data"])] * 900
    send_once = queue._send_once
    done: list[int] = []

    async def dying(batch: Any, key: OnceKey, number: int, following: int) -> Any:
        if number == 1 and not done:
            done.append(number)
            raise ConnectionResetError
        return await send_once(batch, key, number, following)

    queue._send_once = dying  # type: ignore[method-assign]
    with pytest.raises(ConnectionResetError):
        await queue.add_once(jobs, KEY)
    kept = (await queue.counts()).total
    assert 0 < kept < 900
    added, replayed = await queue.add_once(jobs, KEY)
    assert (len({one.id for one in added}), replayed) == (900, False)
    assert (await queue.counts()).total == 900


async def test_a_reply_that_is_lost_is_not_a_replay(own_server: Server, job: Any) -> None:
    async with FaultProxy(own_server.socket) as proxy:
        redis = connect(proxy.url)
        queue = Queue("vc-issuance", redis)
        fault = proxy.drop_reply(ADDS, lambda reply: reply.startswith(b"*"))
        added, replayed = await queue.add_once([NewJob("issue", job["data"])], KEY)
        assert fault.happened.is_set()
        assert (len(added), replayed) == (1, False)
        assert (await queue.counts()).total == 1
        await redis.close()


async def test_known_ids_are_answered_as_they_were(
    serve: Serve, queue: Queue, issuance: dict[str, Any]
) -> None:
    body = [{"data": issuance, "options": {"jobId": name}} for name in ("a", "b")]
    async with serve(GatewaySettings(host="127.0.0.1", port=0)) as http:
        assert (await send(http, body[:1], key="x"))[0] == 202
        first = await send(http, body)
        await queue.remove("a")
        second = await send(http, body)
    assert first[1] == second[1]
    assert [one["deduplicated"] for one in json.loads(first[1])["data"]] == [True, False]
    assert second[2] == "true"


TESTED = {
    "first": test_the_same_again,
    "same key, same body, later": test_the_same_again,
    "same key, other body": test_the_same_key_with_another_body,
    "same key while first in flight": test_while_the_first_is_in_flight,
    "100 concurrent, same key and body": test_a_hundred_at_once,
    "same key, other organisation": test_a_key_belongs_to_an_organization,
    "same key, other path": test_a_key_belongs_to_a_path,
    "first answered 422 (validation)": test_what_was_refused_is_not_remembered,
    "gateway killed after commit before reply": (
        test_who_dies_between_storing_and_answering_has_stored_the_key_too
    ),
    "after 24 h + 1 s": test_a_day_later_it_is_new,
    "key longer than 255": test_what_is_no_key,
    "key with control character": test_a_key_with_a_control_character,
    '"quoted" sf-string and bare token are the same key': test_a_quoted_key_is_the_bare_one,
}
