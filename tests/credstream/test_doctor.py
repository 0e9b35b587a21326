"""`credstream doctor`: what holds on a Redis, what fails, and how it is mended."""

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result
from redis_servers import Server, redis7, valkey

from credstream.cli import main


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
