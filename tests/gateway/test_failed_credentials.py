"""Wrong credentials: who is counted, who is locked, what is recorded, and by which address."""

import logging
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import make_mocked_request

from credstream.checkup import Configured, of_deployment
from gateway import forwarding, refused_sign_ins
from gateway.app import create_app
from gateway.keys import FORWARDED, SETTINGS, Forwarded
from gateway.refused_sign_ins import REFUSED_SIGN_INS, RefusedSignIns
from gateway.security import client_address, client_network
from gateway.server import listening
from gateway.settings import GatewaySettings
from gateway.throttle import FAILURES_MAX, NAMES_MAX, WINDOW_S, Failures, TooManyFailures, Window
from streams import Redis, access, audit, mail
from tests.gateway.callers import bearer, key
from tests.gateway.samples import Serve

CLOSED = GatewaySettings(host="127.0.0.1", port=0, require_auth="always")
BEHIND = GatewaySettings(host="127.0.0.1", port=0, require_auth="always", trusted_proxies=1)
LOGIN = "/dashboard/login"


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


async def status(http: ClientSession, text: str, **headers: str) -> int:
    async with http.get("/queue", headers=bearer(text) | headers) as response:
        if response.status == 429:
            assert 1 <= int(response.headers["Retry-After"]) <= WINDOW_S
        return response.status


async def refusals(redis: Redis) -> list[tuple[str | None, int]]:
    """Address and count of the records of refused sign-ins, oldest first."""
    found = (await audit.page(redis, None, 1_000, lambda _: True)).found
    return [
        (one.deed["address"], one.deed["parameters"]["count"])
        for one in reversed(found)
        if one.deed["action"] == refused_sign_ins.ACTION
    ]


def test_a_credential_that_fails_too_often_has_to_wait() -> None:
    clock = Clock()
    failures = Failures(clock)
    for _ in range(FAILURES_MAX):
        failures.check("192.0.2.1", "key")
        failures.add("192.0.2.1", "key")
    failures.check("192.0.2.2", "key")
    failures.check("192.0.2.1", "another key")
    clock.now_s += WINDOW_S - 1
    with pytest.raises(TooManyFailures) as refused:
        failures.check("192.0.2.1", "key")
    assert refused.value.headers == {"Retry-After": "1"}
    clock.now_s += 1
    failures.check("192.0.2.1", "key")


def test_what_is_counted_is_bounded() -> None:
    window = Window()
    for number in range(NAMES_MAX + 10):
        window.add(str(number))
    assert window.count("0") == 0
    assert window.count(str(NAMES_MAX + 9)) == 1
    assert len(window._seen) == NAMES_MAX


async def test_wrong_keys_of_one_client_lock_no_other_of_the_same_address(
    serve: Serve, redis: Redis
) -> None:
    """Behind a proxy that is not trusted all clients have one address."""
    good, other = await key(redis, ["read"]), await key(redis, ["read"])
    async with serve(CLOSED) as http:
        found = [await status(http, access.mint("test")[0]) for _ in range(15)]
        assert found == [401] * FAILURES_MAX + [429] * 5
        assert await status(http, "anything") == 429
        assert await status(http, good) == 200, "which nobody has shown before"
        async with http.post(LOGIN, json={"credential": other}) as response:
            assert response.status == 200


async def test_guesses_at_one_key_lock_this_key_there(serve: Serve, redis: Redis) -> None:
    shown, hidden = await key(redis, ["read"]), await key(redis, ["read"])
    async with serve(BEHIND) as http:
        assert await status(http, shown, **{"X-Forwarded-For": "192.0.2.1"}) == 200
        for good in (shown, hidden):
            guess = forged(good)
            found = [
                await status(http, guess, **{"X-Forwarded-For": f"9.9.9.9, 192.0.2.{n % 2 + 1}"})
                for n in range(2 * FAILURES_MAX)
            ]
            assert set(found) <= {401, 429}
        at = {"X-Forwarded-For": "192.0.2.1"}
        assert await status(http, guess, **at) == 429
        for good in (shown, hidden):
            assert await status(http, good, **at) == 200, "the right secret is never shut out"
        assert await status(http, hidden, **{"X-Forwarded-For": "192.0.2.9"}) == 200


def forged(good: str) -> str:
    """A key with the same id and another secret, which looks like one."""
    tail = access.mint("test")[0].rpartition("_")[2]
    body = f"{good.rpartition('_')[0]}_{tail}"[: -access.CHECKSUM_CHARS]
    text = body + access._checksum(body)
    assert access.key_id_of(text) == access.key_id_of(good)
    return text


async def test_invented_keys_do_not_displace_known_ones(
    serve: Serve, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.gate.CACHED_MAX", 5)
    good = await key(redis, ["read"])
    async with serve(CLOSED) as http:
        assert await status(http, good) == 200
        for _ in range(FAILURES_MAX):
            await status(http, forged(good))
        for _ in range(10):
            await status(http, access.mint("test")[0])
        assert await status(http, good) == 200


async def test_failed_sign_ins_are_logged_and_recorded_and_both_are_bounded(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(redis, BEHIND)
    async with (
        listening(app) as (_, port),
        ClientSession(f"http://localhost:{port}") as http,
    ):

        async def fail(address: str) -> None:
            secret = access.mint("test")[0]
            headers = {"X-Forwarded-For": address}
            async with http.post(LOGIN, json={"credential": secret}, headers=headers) as response:
                assert response.status in (401, 429)
            assert secret not in caplog.text

        for _ in range(30):
            await fail("192.0.2.1")
        await fail("192.0.2.2")
        assert await refusals(redis) == [("192.0.2.1", 1), ("192.0.2.2", 1)]
        lines = [one for one in caplog.messages if "sign-in from 192.0.2.1 was refused" in one]
        assert 1 <= len(lines) <= refused_sign_ins.LOGGED_MAX + 1
        await app[REFUSED_SIGN_INS].flush()
        assert await refusals(redis) == [("192.0.2.1", 1), ("192.0.2.2", 1), ("192.0.2.1", 29)]
        await app[REFUSED_SIGN_INS].flush()
        assert len(await refusals(redis)) == 3


async def test_failures_from_very_many_addresses_are_recorded_together(redis: Redis) -> None:
    refused = RefusedSignIns(redis)
    app = web.Application()
    app[SETTINGS], app[FORWARDED] = BEHIND, Forwarded()
    for number in range(3 * refused_sign_ins.ADDRESSES_MAX):
        request = make_mocked_request(
            "POST", LOGIN, headers={"X-Forwarded-For": f"2001:db8::{number:x}"}, app=app
        )
        await refused.add(request, "x")
    assert len(await refusals(redis)) == refused_sign_ins.ADDRESSES_MAX
    await refused.flush()
    assert (await refusals(redis))[-1] == (None, 2 * refused_sign_ins.ADDRESSES_MAX)


def from_proxy(forwarded: list[str], proxies: int) -> web.Request:
    app = web.Application()
    app[SETTINGS] = GatewaySettings(trusted_proxies=proxies)
    app[FORWARDED] = Forwarded()
    request = make_mocked_request("GET", "/", app=app)
    headers = request.headers.copy()
    for value in forwarded:
        headers.add("X-Forwarded-For", value)
    return request.clone(headers=headers, remote="10.0.0.1")


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address", "network"),
    [
        ([], 0, "10.0.0.1", "10.0.0.1"),
        (["192.0.2.1"], 0, "10.0.0.1", "10.0.0.1"),
        ([], 1, "10.0.0.1", "10.0.0.1"),
        (["192.0.2.1"], 1, "192.0.2.1", "192.0.2.1"),
        (["6.6.6.6, 192.0.2.1"], 1, "192.0.2.1", "192.0.2.1"),
        (["6.6.6.6", "192.0.2.1"], 1, "192.0.2.1", "192.0.2.1"),
        (["6.6.6.6, 192.0.2.1, 10.0.0.9"], 2, "192.0.2.1", "192.0.2.1"),
        (["192.0.2.1"], 2, "10.0.0.1", "10.0.0.1"),
        ([" , ,192.0.2.1:4711"], 1, "192.0.2.1", "192.0.2.1"),
        (["2001:db8:1:2:3:4:5:6"], 1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        (["[2001:db8:1:2:9::1]:443"], 1, "2001:db8:1:2:9::1", "2001:db8:1:2::"),
        (["::ffff:192.0.2.1"], 1, "::ffff:192.0.2.1", "192.0.2.1"),
        (["fe80::1%eth0"], 1, "fe80::1%eth0", "fe80::"),
        (["unknown"], 1, "unknown", "unknown"),
        (["x" * 500], 1, "x" * 64, "x" * 64),
    ],
)
def test_the_address_of_a_client(
    forwarded: list[str], proxies: int, address: str, network: str
) -> None:
    request = from_proxy(forwarded, proxies)
    assert client_address(request) == address
    assert client_network(request) == network
    assert request.app[FORWARDED].is_seen is (bool(forwarded) and not proxies)


async def test_an_unsubscription_is_recorded_with_the_address_of_the_client(
    serve: Serve, redis: Redis
) -> None:
    where, entry = mail.tenant("org-1"), "a" * 64
    token = mail.unsubscribe_token(await mail.link_secret(redis), where, entry)
    async with serve(BEHIND) as http:
        headers = {"X-Forwarded-For": "6.6.6.6, 192.0.2.1"}
        body = "List-Unsubscribe=One-Click"
        at = f"/mail/unsubscribe/{token}"
        async with http.post(at, data=body, headers=headers) as response:
            assert response.status == 200
    (record,) = (await audit.page(redis, None, 10, lambda _: True)).found
    assert (record.deed["action"], record.deed["address"]) == ("mail.unsubscribe", "192.0.2.1")


async def test_doctor_tells_of_a_proxy_that_is_not_trusted(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async def proxies() -> Any:
        checks = await of_deployment(redis, Configured.read())
        return next(check for check in checks if check.name == "proxies")

    for settings, word in ((BEHIND, "ok"), (CLOSED, "warn")):
        app = create_app(redis, settings)
        async with (
            listening(app) as (_, port),
            ClientSession(f"http://localhost:{port}") as http,
        ):
            for _ in range(3):
                assert await status(http, "x", **{"X-Forwarded-For": "192.0.2.1"}) == 401
            with caplog.at_level(logging.WARNING, "gateway.forwarding"):
                await forwarding.note(app)
                await forwarding.note(app)
        assert (await proxies()).word == word
    told = [one for one in caplog.messages if "TRUSTED_PROXIES is 0" in one]
    assert len(told) == 1


async def test_public_routes_are_limited_by_address(serve: Serve) -> None:
    settings = BEHIND.model_copy(update={"public_posts_per_minute": 3})
    async with serve(settings) as http:
        for address, expected in (("192.0.2.1", [401] * 3 + [429] * 2), ("192.0.2.2", [401])):
            found = []
            for _ in expected:
                headers = {"X-Forwarded-For": address}
                body = {"credential": "x"}
                async with http.post(LOGIN, json=body, headers=headers) as response:
                    found.append(response.status)
                    if response.status == 429:
                        assert 1 <= int(response.headers["Retry-After"]) <= WINDOW_S
            assert found == expected
        headers = {"X-Forwarded-For": "192.0.2.1"}
        async with http.get("/livez", headers=headers) as response:
            assert response.status == 200
