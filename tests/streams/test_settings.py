"""Where Redis is: every kind of address, and the settings of the seed."""

from typing import Any

import pytest
from pydantic import ValidationError

from streams import RedisSettings
from streams.settings import Address, address, parse_url

PLAIN = {"kind": "single", "tls": False}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", {**PLAIN, "hosts": (("h", 6_379),)}),
        ("redis://h:1/3", {**PLAIN, "hosts": (("h", 1),), "db": 3}),
        ("redis://[::1]:7/", {**PLAIN, "hosts": (("::1", 7),)}),
        (
            "redis://us%40er:p%3Aw%2F@h:1",
            {**PLAIN, "hosts": (("h", 1),), "username": "us@er", "password": "p:w/"},
        ),
        ("redis://:secret@h", {**PLAIN, "hosts": (("h", 6_379),), "password": "secret"}),
        ("rediss://h:2", {"kind": "single", "tls": True, "hosts": (("h", 2),)}),
        ("unix:///run/redis.sock", {"kind": "unix", "tls": False, "path": "/run/redis.sock"}),
        ("unix:///a%20b/%25%3F%23.s?db=2", {"kind": "unix", "tls": False, "path": "/a b/%?#.s"}),
        (
            "redis+sentinel://a,b:1/main/2",
            {"kind": "sentinel", "tls": False, "hosts": (("a", 26_379), ("b", 1)), "db": 2},
        ),
        ("rediss+sentinel://a", {"kind": "sentinel", "tls": True, "hosts": (("a", 26_379),)}),
        (
            "redis+cluster://a:1,b",
            {"kind": "cluster", "tls": False, "hosts": (("a", 1), ("b", 6_379))},
        ),
        ("rediss+cluster://a", {"kind": "cluster", "tls": True, "hosts": (("a", 6_379),)}),
    ],
)
def test_every_kind_of_url(url: str, expected: dict[str, Any]) -> None:
    if "db=2" in url:
        expected = {**expected, "db": 2}
    if "sentinel" in url:
        expected = {**expected, "master": "main" if "/main" in url else "mymaster"}
    assert parse_url(url) == Address(**expected)


def test_a_url_without_a_host_or_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no host"):
        parse_url("redis+cluster://")
    with pytest.raises(ValidationError, match="REDIS_URL must begin with"):
        RedisSettings(url="http://h")  # type: ignore[arg-type]


def test_host_port_and_password_as_in_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("URL", ""), ("HOST", "redis"), ("PORT", "6380"), ("PASSWORD", "")):
        monkeypatch.setenv(f"REDIS_{name}", value)
    assert address(RedisSettings()) == Address(
        kind="single", tls=False, hosts=(("redis", 6_380),), username=None, password=None
    )
    monkeypatch.setenv("REDIS_PASSWORD", "secret")
    assert address(RedisSettings()).password == "secret"
    monkeypatch.setenv("REDIS_URL", "unix:///s")
    assert address(RedisSettings()).kind == "unix"
    assert "secret" not in repr(RedisSettings())
