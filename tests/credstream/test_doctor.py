"""`credstream doctor`: what holds on a Redis, what fails, and how it is mended."""

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from processes import until
from redis_servers import Server, redis7, valkey

from consumers import Worker
from credentials.keyring import Keyring
from credentials.keys import generate
from credstream.checkup import Configured, of_deployment, of_settings
from credstream.cli import main
from streams import Queue, Redis, vault
from tests.gateway.samples import ISSUANCE


@pytest.fixture
def good() -> Iterator[Server]:
    """A Redis as it should be."""
    with valkey(appendfsync="everysec", maxmemory="100mb") as server:
        yield server


def doctor(server: Server, *words: str) -> Result:
    return CliRunner().invoke(main, ["doctor", "--redis-url", server.url, *words])


def failing(result: Result) -> dict[str, str]:
    """Names and fixes of what fails."""
    checks = json.loads(result.output)["checks"]
    return {one["name"]: one["fix"] for one in checks if one["word"] == "fail"}


def test_a_good_redis_keeps_every_promise(good: Server) -> None:
    result = doctor(good)
    assert result.exit_code == 0, result.output
    assert "FAIL" not in result.output
    assert "DURABILITY=standard holds" in result.output


PRODUCTION = {
    "APP_ENV": "production",
    "PUBLIC_URL": "https://credentials.example.org",
    "REQUIRE_AUTH": "always",
    "CREDSTREAM_KEKS": f"k1:{'A' * 43}=",
    "CREDSTREAM_WEBHOOK_KEKS": f"k1:{'B' * 42}A=",
    "SMTP_HOST": "relay.example.org",
    "MAIL_FROM": "no-reply@example.org",
    "DRAIN_TIMEOUT_S": "70",
    "PROBE_PORT": "9090",
}


@pytest.mark.parametrize(
    ("change", "name", "word"),
    [
        ({"CREDSTREAM_KEKS": "k1:short"}, "issuer keys", "fail"),
        ({"CREDSTREAM_KEKS": None}, "issuer keys", "fail"),
        ({"CREDSTREAM_WEBHOOK_KEKS": None}, "webhook keys", "fail"),
        ({"CREDSTREAM_KEKS": None, "APP_ENV": None}, "issuer keys", "warn"),
        ({"PUBLIC_URL": "http://localhost:3000"}, "public address", "fail"),
        ({"PUBLIC_URL": "http://example.org"}, "public address", "fail"),
        ({"PUBLIC_URL": "https://192.0.2.1"}, "did:web", "warn"),
        ({"VC_CONTEXTS_DIR": "/nowhere"}, "contexts", "fail"),
        ({"SMTP_HOST": None}, "mail", "warn"),
        ({"MAIL_BACKEND": "capture"}, "mail", "fail"),
        ({"SMTP_PASSWORD_FILE": "/nowhere/password"}, "mail", "fail"),
        ({"SMTP_CA_FILE": "/nowhere/ca.crt"}, "mail", "fail"),
        ({"DRAIN_TIMEOUT_S": "25"}, "mail drain", "warn"),
        ({"WEBHOOK_ALLOW_HTTP": "true"}, "outbound", "fail"),
        ({"WEBHOOK_ALLOW_NETS": "10.0.0.0/8", "APP_ENV": None}, "outbound", "note"),
        ({"WEBHOOK_CA_FILE": "/nowhere/ca.crt"}, "outbound", "fail"),
        ({"PROBE_PORT": "0"}, "probes", "warn"),
        ({"APP_ENV": None}, "environment", "note"),
    ],
)
def test_settings_that_do_not_go_together_are_told(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, str | None], name: str, word: str
) -> None:
    for variable, value in {**PRODUCTION, **change}.items():
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    found = {check.name: check for check in of_settings(Configured.read())}
    assert found[name].word == word
    assert found[name].says
    assert found[name].fix
    others = {check.name for check in found.values() if check.word == "fail"} - {name}
    assert others == set()


def test_a_deployment_that_is_complete_has_nothing_to_mend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable, value in PRODUCTION.items():
        monkeypatch.setenv(variable, value)
    wrong = {check.name for check in of_settings(Configured.read()) if check.word != "ok"}
    assert wrong <= {"user"}  # in a container of the tests it may be root


async def test_what_is_at_work_is_told(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in PRODUCTION.items():
        monkeypatch.setenv(variable, value)
    given = Configured.read()
    await Queue("vc-issuance", redis).add("x", ISSUANCE)
    webhooks = Queue("webhooks", redis)
    sealed = Keyring.parse(f"old:{'B' * 42}A=").seal(generate("Ed25519"), "did:x#1")
    await vault.keep(redis, vault.SealedKey("did:x", "o", "did:x#1", sealed))
    async with Worker("webhooks", lambda _job: None, redis=redis):

        async def known() -> bool:
            return (await webhooks.counts()).workers == 1

        await until(known, within_s=10, what="a worker has said that it is there")
        await webhooks.pause()
        found = {check.name: check for check in await of_deployment(redis, given)}
    assert (found["queue vc-issuance"].word, found["queue emails"].word) == ("fail", "warn")
    assert found["sealed keys"].word == "fail"
    assert "old" in found["sealed keys"].says
    assert found["access"].word == "warn"
    assert found["queue webhooks"].word == "warn"
    assert all(check.fix for check in found.values() if check.word != "ok")


def test_what_fails_comes_with_its_fix(good: Server) -> None:
    with good.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("appendonly", "no")
    result = doctor(good, "--json")
    assert result.exit_code == 1
    assert failing(result).keys() == {"eviction", "append-only file"}
    assert all(failing(result).values())
    text = doctor(good).output
    assert "-> Set maxmemory-policy noeviction" in text
    assert "DOES NOT HOLD" in text


def test_the_level_asked_for_decides(good: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURABILITY", "replicated")
    assert failing(doctor(good, "--json")).keys() == {"fsync", "replicas", "split brain"}


def test_a_missing_permission_is_named() -> None:
    acl = "user default on nopass ~* &* +@all -bzpopmin\n"
    with redis7(acl=acl, appendfsync="everysec") as server:
        result = doctor(server, "--json")
        assert failing(result).keys() == {"permissions"}
        says = [c["says"] for c in json.loads(result.output)["checks"] if c["word"] == "fail"]
        assert "BZPOPMIN" in says[0]


def test_little_memory_left_is_told(good: Server) -> None:
    with good.client() as client:
        used = client.info("memory")["used_memory"]
        client.config_set("maxmemory", int(used * 1.1))
    assert failing(doctor(good, "--json")).keys() == {"memory"}


def test_no_redis_and_wrong_settings_have_codes_of_their_own(
    good: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    good.stop()
    assert doctor(good).exit_code == 3
    monkeypatch.setenv("PROBE_PORT", "never")
    wrong = doctor(good)
    assert wrong.exit_code == 2
    assert "PROBE_PORT" in wrong.output
