"""Which addresses are refused, row by row."""

import json
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from outbound.guard import Guard
from outbound.networks import DENIED, Allowance, address_of, denied, parse_allowance
from outbound.settings import OutboundSettings, OwnAddresses

VECTORS = Path(__file__).parents[1] / "vectors"
IPS = json.loads((VECTORS / "ssrf-ips.json").read_text())
NETWORKS = json.loads((VECTORS / "ssrf-denied-networks.json").read_text())["denied"]


def guard(**settings: Any) -> Guard:
    return Guard(OutboundSettings(**({"own": ()} | settings)))


@pytest.mark.parametrize("row", IPS, ids=lambda row: row["ip"])
def test_every_address_of_the_table(row: dict[str, Any]) -> None:
    assert (guard().refusal(row["ip"], 443) is not None) == row["deny"]


def test_the_list_is_the_published_one() -> None:
    assert set(map(ip_network, NETWORKS)) == set(DENIED)


@pytest.mark.parametrize("network", NETWORKS)
def test_both_ends_of_every_network_are_refused(network: str) -> None:
    net = ip_network(network)
    assert denied(net[0]) is not None
    assert denied(net[-1]) is not None


@pytest.mark.parametrize("name", ["mapped", "plain"])
def test_an_ipv4_address_in_the_clothes_of_ipv6_is_judged_by_what_it_carries(name: str) -> None:
    prefix = "::ffff:" if name == "mapped" else ""
    assert str(address_of(prefix + "10.0.0.1")) == "10.0.0.1"


@pytest.mark.parametrize(
    ("text", "network", "port"),
    [
        ("10.1.0.0/16", "10.1.0.0/16", None),
        ("127.0.0.1:9000", "127.0.0.1/32", 9000),
        ("127.0.0.0/8:9000", "127.0.0.0/8", 9000),
        ("fd12::/16", "fd12::/16", None),
        ("::1", "::1/128", None),
        ("[::1]:9000", "::1/128", 9000),
        ("[fd12::/16]:443", "fd12::/16", 443),
    ],
)
def test_an_allowance_names_a_network_and_may_name_a_port(
    text: str, network: str, port: int | None
) -> None:
    assert parse_allowance(text) == Allowance(ip_network(network), port)


@pytest.mark.parametrize(
    "text",
    ["x", "10.0.0.0/33", "10.1.2.3/8", "localhost", "10.0.0.1:0", "10.0.0.1:70000", "[::1", ""],
)
def test_what_is_no_allowance_is_refused_at_start(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a network|port"):
        parse_allowance(text)


def test_an_allowance_opens_its_network_on_its_port_only() -> None:
    some = guard(allow_nets=(parse_allowance("127.0.0.0/8:9000"),))
    assert some.refusal("127.0.0.1", 9000) is None
    assert some.refusal("::ffff:127.0.0.1", 9000) is None
    assert some.refusal("127.0.0.1", 9001) is not None
    assert some.refusal("10.0.0.1", 9000) is not None
    assert some.refusal("::1", 9000) is not None


@pytest.mark.parametrize(
    "metadata",
    [
        "169.254.169.254",
        "169.254.170.2",
        "fd00:ec2::254",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
    ],
)
def test_metadata_is_opened_by_its_own_address_only(metadata: str) -> None:
    assert guard().refusal(metadata, 80) is not None
    wide = tuple(map(parse_allowance, ("0.0.0.0/0", "::/0", "169.254.0.0/16", "fd00:ec2::/64")))
    assert guard(allow_nets=wide).refusal(metadata, 80) is not None
    exact = (parse_allowance(metadata),)
    assert guard(allow_nets=exact).refusal(metadata, 80) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_the_unspecified_address_is_never_dialled(host: str) -> None:
    everything = tuple(map(parse_allowance, ("0.0.0.0/0", "::/0", "0.0.0.0", "::")))
    assert guard(allow_nets=everything).refusal(host, 80) is not None


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_ALLOW_NETS", "127.0.0.1:9000, fd12::/16")
    monkeypatch.setenv("WEBHOOK_ALLOW_PORTS", "443,8000-8080")
    monkeypatch.setenv("WEBHOOK_ALLOW_HTTP", "true")
    monkeypatch.setenv("WEBHOOK_PROXY_URL", "")
    monkeypatch.setenv("WEBHOOK_DENY_HOSTS", "gateway:3000, [fd00::1]:80")
    settings = OutboundSettings()
    assert settings.allow_http
    assert [str(a) for a in settings.allow_nets] == ["[127.0.0.1/32]:9000", "fd12::/16"]
    assert [p for p in (80, 443, 7999, 8000, 8080, 8081) if settings.may_use_port(p)] == [
        443, 8000, 8080,
    ]  # fmt: skip
    assert settings.proxy_url is None
    assert settings.deny_hosts == (("gateway", 3000), ("fd00::1", 80)) == settings.never[-2:]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEBHOOK_ALLOW_NETS", "everywhere"),
        ("WEBHOOK_ALLOW_PORTS", "http"),
        ("WEBHOOK_ALLOW_PORTS", "9-1"),
        ("WEBHOOK_PROXY_URL", "socks5://proxy:1080"),
        ("WEBHOOK_CONNECT_TIMEOUT_S", "0"),
        ("WEBHOOK_DENY_HOSTS", "gateway"),
        ("WEBHOOK_DENY_HOSTS", "gateway:http"),
        ("WEBHOOK_DENY_HOSTS", ":80"),
    ],
)
def test_a_setting_that_means_nothing_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        OutboundSettings()


@pytest.mark.parametrize(
    ("url", "places"),
    [
        ("redis://u:p@a:7000/0", [("a", 7000)]),
        ("redis+sentinel://:p@a,b:1/main", [("a", 26_379), ("b", 1)]),
        ("rediss+cluster://[fd00::1]:7,b", [("fd00::1", 7), ("b", 6_379)]),
        ("", [("r", 6_380)]),
    ],
)
def test_our_own_places_are_known_by_the_names_they_are_configured_by(
    monkeypatch: pytest.MonkeyPatch, url: str, places: list[tuple[str, int]]
) -> None:
    values = {
        "HOST": "0.0.0.0", "PORT": "3001", "PROBE_PORT": "0", "SMTP_HOST": "mail",
        "SMTP_PORT": "587", "REDIS_URL": url, "REDIS_HOST": "r", "REDIS_PORT": "6380",
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert list(OwnAddresses().places()) == [("0.0.0.0", 3001), ("mail", 587), *places]
    assert OutboundSettings().own == OwnAddresses().places()
    monkeypatch.delenv("SMTP_PORT")
    assert {("mail", port) for port in (25, 465, 587)} <= set(OwnAddresses().places())
