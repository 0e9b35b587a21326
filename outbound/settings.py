"""What outgoing connections can be told, read once from the environment and frozen."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from outbound.networks import Allowance, parse_allowance

_REDIS_PORTS = {"sentinel": 26_379}
_REDIS_PORT = 6_379
_SMTP_PORTS = (25, 465, 587)


class OwnAddresses(BaseSettings):
    """The product's own places, under the names of the settings they are configured by: nothing
    that somebody else names is dialled there, whatever is allowed (SS-6)."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: int = 3000
    probe_host: str = "127.0.0.1"
    probe_port: int = 0
    redis_url: SecretStr | None = None
    redis_host: str = "localhost"
    redis_port: int = _REDIS_PORT
    smtp_host: str = ""
    smtp_port: int | None = None

    def places(self) -> tuple[tuple[str, int], ...]:
        """(host, port) of each; a port of 0 is unknown and left out."""
        mine = [
            (self.host, self.port),
            (self.probe_host, self.probe_port),
            *((self.smtp_host, port) for port in _smtp_ports(self.smtp_port)),
            *self._redis(),
        ]
        return tuple((host, port) for host, port in mine if host and port)

    def _redis(self) -> list[tuple[str, int]]:
        url = self.redis_url.get_secret_value() if self.redis_url else ""
        if not url:
            return [(self.redis_host, self.redis_port)]
        parts = urlsplit(url)
        default = _REDIS_PORTS.get(parts.scheme.partition("+")[2], _REDIS_PORT)
        hosts = [item for item in parts.netloc.rpartition("@")[2].split(",") if item]
        return [_host_port(item, default) for item in hosts]


def _smtp_ports(port: int | None) -> tuple[int, ...]:
    return _SMTP_PORTS if port is None else (port,)


def _host_port(text: str, default: int) -> tuple[str, int]:
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, int(port.lstrip(":") or default)
    host, _, port = text.partition(":")
    return host, int(port or default)


class OutboundSettings(BaseSettings):
    """Each field is the environment variable `WEBHOOK_<FIELD>`. They hold for everything that
    is fetched from or sent to an address somebody else named, not for webhooks only."""

    model_config = SettingsConfigDict(env_prefix="WEBHOOK_", frozen=True, extra="ignore")

    allow_http: bool = False
    """Call http:// URLs too. Signed bodies then travel unencrypted."""
    allow_nets: Annotated[tuple[Allowance, ...], NoDecode] = ()
    """Networks to dial although they are private, `CIDR[:port]` with commas between; for
    development. A cloud's metadata address must be listed by itself."""
    allow_ports: Annotated[tuple[tuple[int, int], ...], NoDecode] = (
        (80, 80), (443, 443), (1_024, 65_535),
    )  # fmt: skip
    """Ports of URLs that are called: numbers and ranges (`1024-65535`), commas between."""
    deny_hosts: Annotated[tuple[tuple[str, int], ...], NoDecode] = ()
    """Further servers of the installation that are never dialled, `host:port` with commas
    between, such as the name by which workers reach the gateway."""
    proxy_url: SecretStr | None = None
    """An HTTP proxy that everything goes through and that resolves names; addresses are then
    its responsibility (SS-8)."""
    ca_file: Path | None = None
    """PEM certificates to trust in addition to the system's."""
    connect_timeout_s: float = Field(default=5, gt=0, le=60)
    """For DNS, TCP and TLS together."""
    dns_timeout_s: float = Field(default=5, gt=0, le=60)
    own: tuple[tuple[str, int], ...] = Field(default_factory=lambda: OwnAddresses().places())
    """(host, port) of the product's own servers."""

    @field_validator("allow_nets", mode="before")
    @classmethod
    def _nets(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(parse_allowance(item) for item in _items(value))
        return value

    @field_validator("allow_ports", mode="before")
    @classmethod
    def _ports(cls, value: object) -> object:
        return tuple(_range(item) for item in _items(value)) if isinstance(value, str) else value

    @field_validator("deny_hosts", mode="before")
    @classmethod
    def _hosts(cls, value: object) -> object:
        return tuple(map(_place, _items(value))) if isinstance(value, str) else value

    @field_validator("proxy_url", "ca_file", mode="before")
    @classmethod
    def _empty_means_absent(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("proxy_url")
    @classmethod
    def _http_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parts = urlsplit(value.get_secret_value())
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("must be http://host:port or https://host:port")
        return value

    @property
    def never(self) -> tuple[tuple[str, int], ...]:
        """(host, port) of all that is never dialled, whatever is allowed (SS-6)."""
        return self.own + self.deny_hosts

    def may_use_port(self, port: int) -> bool:
        return any(first <= port <= last for first, last in self.allow_ports) or any(
            allowance.port == port for allowance in self.allow_nets
        )


class OidcOutboundSettings(OutboundSettings):
    """The same for the OpenID provider, which the operator names: each field is the environment
    variable `OIDC_<FIELD>`. What it may reach is not opened to addresses that tenants name."""

    model_config = SettingsConfigDict(env_prefix="OIDC_", frozen=True, extra="ignore")


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _place(text: str) -> tuple[str, int]:
    host, port = _host_port(text, 0)
    if not host or not 1 <= port <= 65_535:
        raise ValueError(f"{text!r} is not host:port")
    return host, port


def _range(text: str) -> tuple[int, int]:
    first, _, last = text.partition("-")
    try:
        low, high = int(first), int(last or first)
    except ValueError:
        raise ValueError(f"{text!r} is not a port or a range of ports (as 1024-65535)") from None
    if not 1 <= low <= high <= 65_535:
        raise ValueError(f"{text!r}: ports are 1..65535, the lower first")
    return low, high
