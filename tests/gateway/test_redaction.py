"""Secrets and credentials inside jobs are for those who may see them (AU-12)."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dashboard.causes import shape_of
from gateway.redaction import MASK, _masked, redacted, redacted_text
from gateway.settings import GatewaySettings
from schemas.spec import QueueSpec
from streams import Queue, Redis
from streams.claims import Claims, Ending
from tests.gateway.callers import OWN, Callers, callers
from tests.gateway.samples import Serve

SETTINGS = GatewaySettings(host="127.0.0.1", port=0, require_auth="always")
CANARY = "canary-4f1e"
TOKEN = f"eyJhbGciOiJFZERTQSJ9.eyJ{CANARY}.c2lnbmF0dXJl"
SPEC = QueueSpec("sealed")
SECRET_NAMES = (
    *("password", "Password", "db_password", "secret", "clientSecret", "token", "accessToken"),
    *("authorization", "Authorization", "api_key", "apiKey", "api-key", "X-Api-Key", "apikey"),
    *("privateKey", "private_key", "private key", "cookie", "Set-Cookie", "vcJwt", "vc_jwt"),
)


@pytest.mark.parametrize("name", SECRET_NAMES)
@pytest.mark.parametrize("value", [CANARY, [CANARY], {"a": CANARY}, 7, 1.5])
def test_members_that_are_called_like_secrets(name: str, value: Any) -> None:
    assert redacted({"a": [{name: value}]}) == {"a": [{name: MASK}]}


@pytest.mark.parametrize("name", ["password", "vcJwt"])
def test_there_is_nothing_to_hide_in_nothing(name: str) -> None:
    assert redacted({name: None}) == {name: None}
    assert redacted({name: True}) == {name: True}


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"the token {TOKEN} is not valid",
        f"Authorization: Bearer {CANARY}-abcdefgh",
        f"failed with Basic {'Y2FuYXJ5'}{CANARY.replace('-', '')}",
        f"https://user:x@example.com/?token={CANARY}&a=b",
        f"password={CANARY}",
        f'{{"password": "{CANARY}"}}',
        f"api_key: {CANARY}",
        f"cs_live_0123456789ab_{CANARY.replace('-', '')}0123456789012345678901234567890123456789",
        f"whsec_{CANARY.replace('-', '')}abcdefghijklmnop",
        f"eyJhbGciOiJkaXIifQ..{CANARY}.{CANARY}.{CANARY}",
        f"{TOKEN}~WyJ{CANARY}~WyJ{CANARY}~",
        f'password = "two words {CANARY}" is wrong',
        f"{{'secret': 'two words {CANARY}'}}",
        f'{{\\"password\\":\\"two words {CANARY}\\"}}',
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----",
        f"-----BEGIN RSA PRIVATE KEY-----\n{CANARY}",
    ],
)
def test_texts(text: str) -> None:
    for place in (redacted_text(text), str(redacted({"message": text}))):
        assert "canary" not in place
        assert MASK in place


def test_what_is_left_of_a_text_hides_as_much() -> None:
    """Causes of dead letters are messages cut off, with signs where digits were."""
    part = "-7-".join(CANARY.replace("-", "") for _ in range(30))
    for secret in (f"eyJhbGciOiJFZERTQSJ9.{part}.{part}", f"whsec_{part.replace('-', '+')}"):
        for start in range(0, 260, 9):
            assert "canary" not in redacted_text(shape_of(f"{'x' * start} {secret}"))


@pytest.mark.parametrize(
    "text",
    [
        "no key for this issuer",
        "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
        "eyJ",
        "https://example.com/tokens/17",
        "urn:uuid:6f0f4f63-2c39-5d2b-9c0e-6c1f1d0a7c55",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted_text(text) == text
    assert redacted({"a": text}) == {"a": text}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(JSON)
def test_once_is_enough_and_the_shape_stays(value: Any) -> None:
    once = redacted(value)
    assert redacted(once) == once
    if isinstance(value, dict):
        assert set(once) == set(value)
    assert redacted({"deep": {"vcJwt": value}})["deep"]["vcJwt"] in (MASK, None, True, False)


WORDS = (
    "password PassWD \u017fecret to\u212aen api-key APIKEY api_key private_key privateKey "
    "coo\u212aie author\u0131zation vcJwt vc_jwt eyJabcdef cs_live_ whsec_abcdef whsk_abcdef "
    "Bearer Basic abcdefgh"
)
SIGNS = ["0123456789ab" * 3, "-----BEGIN PRIVATE KEY-----", *'=:"\\\n \u00e9']
PIECES = st.sampled_from([*WORDS.split(" "), *SIGNS])
TELLING = st.lists(PIECES, max_size=5).map("".join)
TELLING_JSON = st.recursive(
    st.none() | st.integers() | TELLING,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TELLING, inner, max_size=3),
)


@settings(max_examples=300)
@given(TELLING_JSON)
def test_a_document_is_harmless_only_if_going_through_it_changes_nothing(value: Any) -> None:
    assert redacted(value) == _masked(value, 0)


@pytest.mark.parametrize(
    "piece", ["eyJ", "eyJaaaaa.", "token=", "Bearer ", "-----BEGIN ", "cs_live_"]
)
def test_a_text_made_to_take_long_does_not(piece: str) -> None:
    text = piece * (600_000 // len(piece))
    assert redacted_text(text)  # else the test runs out of time


def test_a_document_without_bottom() -> None:
    value: Any = CANARY
    for _ in range(1_000):
        value = [value]
    assert CANARY not in str(redacted(value))


@pytest.fixture
async def who(redis: Redis, serve: Serve) -> AsyncIterator[Callers]:
    """The jobs `good` (completed) and `bad` (failed) have a canary wherever there can be one."""
    queue, claims = Queue(SPEC, redis), Claims(SPEC, redis, "by-hand")
    await queue.register()
    for job_id in ("bad", "good", "open"):
        data = {"organizationId": OWN, "password": CANARY, "deep": [{"apiKey": CANARY}]}
        await queue.add("seal", {**data, "note": f"see {TOKEN}"}, job_id=job_id)
        if job_id == "open":
            break
        claimed, _ = await claims.claim(await claims.link(), 1)
        (claim,) = claimed.claims
        await claims.log(claim, f"sent with token={CANARY}")
        await claims.progress(claim, {"cookie": CANARY})
        message = f"refused: {TOKEN}"
        history = [{"attempt": 1, "reason": "failed", "message": message, "at": 1}]
        ending = (
            Ending(claim, "fail", history=orjson.dumps(history))
            if job_id == "bad"
            else Ending(claim, "complete", result=orjson.dumps({"vcJwt": TOKEN, "ok": 1}))
        )
        await claims.send([command for command, _ in claims.settle([ending])])
    async with (
        serve(SETTINGS) as http,
        callers(redis, str(http._base_url), ("viewer", "operator", "admin", "all")) as found,
    ):
        yield found


VIEWS = (
    "/queue/sealed/job/good",
    "/queue/sealed/job/bad",
    "/queue/sealed/job/open",
    "/queue/sealed/job/good/logs",
    "/queue/sealed/job/good/attempts",
    "/queue/sealed/jobs?status=completed",
    "/queue/sealed/jobs?status=failed",
    "/queue/sealed/jobs?status=waiting",
    "/queue/sealed/dead-letters",
)


async def text_of(http: ClientSession, path: str) -> str:
    async with http.get(path) as response:
        assert response.status == 200
        return await response.text()


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
@pytest.mark.parametrize("organization_id", [OWN, None])
async def test_readers_see_stars(
    who: Callers,
    redis: Redis,
    role: str,
    organization_id: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        for path in VIEWS:
            text = await text_of(who[role, organization_id], path)
            assert CANARY not in text, path
            assert '"ok":1' in text or "good" not in path or "logs" in path or "attempts" in path
        async with who[role, organization_id].post("/queue/sealed/job/good/retry") as response:
            assert CANARY not in await response.text()
    assert CANARY not in caplog.text


async def test_a_search_does_not_tell_what_is_hidden(who: Callers) -> None:
    """Else a secret could be guessed letter by letter."""
    for role, sought, count in (
        ("viewer", "refused: ", 1),
        ("viewer", CANARY[:3], 0),
        ("all", CANARY[:3], 1),
    ):
        path = "/queue/sealed/dead-letters"
        async with who[role, OWN].get(path, params={"error": sought}) as response:
            assert len((await response.json())["data"]) == count, (role, sought)
        body = {"filter": {"status": "failed", "error": sought}, "dryRun": True}
        if role == "all":
            async with who[role, OWN].post("/queue/sealed/jobs/retry", json=body) as response:
                assert (await response.json())["data"]["matched"] == count


async def test_who_may_see_everything_is_written_down(who: Callers) -> None:
    http = who["all", OWN]
    for path in VIEWS:
        text = await text_of(http, path)
        assert CANARY in text or path.endswith("attempts"), path
    async with http.get("/audit?action=job.read_sensitive") as response:
        found = (await response.json())["data"]
    targets = [one["target"] for one in found]
    assert targets[-3:] == ["sealed/open", "sealed/bad", "sealed/good"]
    assert len(found) == len(VIEWS) - 1, "where nothing was hidden, nobody has seen anything"
    assert CANARY not in str(found)
    assert {one["organizationId"] for one in found} == {OWN}


async def test_a_submitter_who_waits_gets_the_result(who: Callers, redis: Redis) -> None:
    """What it has just submitted is its own; what was there before is for readers."""
    claims = Claims(SPEC, redis, "by-hand")
    job = {"data": {"organizationId": OWN, "secret": CANARY}, "options": {"jobId": "own"}}

    async def post(job: dict[str, Any]) -> str:
        headers = {"Prefer": "wait=20"}
        async with who["operator", OWN].post(
            "/queue/sealed/jobs", json=job, headers=headers
        ) as response:
            assert response.status == 200
            return await response.text()

    waiting = asyncio.create_task(post(job))
    link = await claims.link()
    done = False
    while not done:
        claimed, _ = await claims.claim(link, 10)
        result = orjson.dumps({"vcJwt": TOKEN})
        endings = [Ending(claim, "complete", result=result) for claim in claimed.claims]
        if endings:
            await claims.send([command for command, _ in claims.settle(endings)])
        done = any(claim.job.id == "own" for claim in claimed.claims)
    assert CANARY in await waiting
    assert CANARY not in await post(job)


async def test_without_credentials_this_machine_sees_everything(
    http: ClientSession, redis: Redis, raw: Any
) -> None:
    queue = Queue(SPEC, redis)
    await queue.register()
    await queue.add("seal", {"password": CANARY}, job_id="j")
    assert CANARY in await text_of(http, "/queue/sealed/job/j")
    assert raw.exists("cs:audits") == 0
