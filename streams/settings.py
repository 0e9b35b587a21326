"""Where Redis is: one URL for every topology, or the seed's REDIS_HOST / PORT / PASSWORD."""

from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import parse_qs, unquote, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from streams.development import running_socket

Level = Literal["standard", "strict", "replicated"]
SCHEMES = frozenset(
    {"redis", "rediss", "unix"}
    | {f"{tls}+{kind}" for tls in ("redis", "rediss") for kind in ("sentinel", "cluster")}
)


class RedisSettings(BaseSettings):
    """Read from the environment (`REDIS_*`) once, at the doorstep; frozen.

    `url` wins over host, port and password. A password file is read at every connect, so a
    password can be rotated without a restart; so are the TLS files.
    """

    model_config = SettingsConfigDict(
        env_prefix="REDIS_", frozen=True, extra="ignore", populate_by_name=True
    )

    url: SecretStr | None = None
    """redis:// rediss:// unix:// redis+sentinel://h:p,h:p/master redis+cluster://h:p,h:p"""
    host: str = "localhost"
    port: int = Field(default=6_379, ge=1, le=65_535)
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    tls: bool = False
    tls_ca_file: Path | None = None
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    sentinel_username: str | None = None
    sentinel_password: SecretStr | None = None
    sentinel_password_file: Path | None = None
    timeout_ms: int = Field(default=5_000, ge=100)
    """How long a reply may take before the connection counts as dead."""
    connect_timeout_ms: int = Field(default=2_000, ge=50)
    durability: Level = Field(default="standard", validation_alias="DURABILITY")
    """What Redis must be set to, and with `replicated` what a submission waits for (REL-2)."""
    durability_replicas: int = Field(default=1, ge=1, validation_alias="DURABILITY_REPLICAS")
    """With `replicated`: how many replicas must have a submission before it is answered."""
    durability_wait_ms: int = Field(default=1_000, ge=1, validation_alias="DURABILITY_WAIT_MS")
    """With `replicated`: how long a submission waits for them."""
    durability_force: bool = Field(default=False, validation_alias="DURABILITY_FORCE")
    """Start on a Redis that does not keep what the level promises, and complain."""

    @property
    def is_default(self) -> bool:
        """Whether nothing says where Redis is."""
        return self.url is None and not self.model_fields_set & {"host", "port", "password"}

    @property
    def replicas_wanted(self) -> int:
        """Replicas that must have a submission before it is answered."""
        return self.durability_replicas if self.durability == "replicated" else 0

    @field_validator(
        *("username", "password", "password_file", "url"),
        *("sentinel_username", "sentinel_password", "sentinel_password_file"),
        mode="before",
    )
    @classmethod
    def _empty_means_absent(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _known_scheme(self) -> Self:
        if self.url is not None and urlsplit(self.url.get_secret_value()).scheme not in SCHEMES:
            raise ValueError(f"REDIS_URL must begin with one of {', '.join(sorted(SCHEMES))}")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A parsed `url`: what kind of deployment, which hosts, which credentials."""

    kind: str
    tls: bool
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""
    master: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = None


def address(settings: RedisSettings) -> Address:
    """The address a RedisSettings names; where it names none, that of a running `credstream up`
    of this user, else localhost. ValueError says what is wrong with the URL."""
    if settings.url is None:
        if settings.is_default and (socket := running_socket()) is not None:
            return Address(kind="unix", tls=False, path=str(socket))
        password = settings.password.get_secret_value() if settings.password else None
        return Address(
            kind="single",
            tls=settings.tls,
            hosts=((settings.host, settings.port),),
            username=settings.username,
            password=password,
        )
    return parse_url(settings.url.get_secret_value(), settings.tls)


def parse_url(url: str, tls: bool = False) -> Address:
    """An Address from one URL of a known scheme."""
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    userinfo, _, hostlist = parts.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    query = parse_qs(parts.query)
    path = parts.path.strip("/")
    shared: dict[str, Any] = {
        "tls": tls or scheme == "rediss" or query.get("tls") == ["true"],
        "username": unquote(username) or _first(query, "username"),
        "password": unquote(password) or _first(query, "password"),
    }
    if scheme == "unix":
        return Address(
            kind="unix", path=unquote(parts.path), db=int(query.get("db", ["0"])[0]), **shared
        )
    default_port = 26_379 if kind == "sentinel" else 6_379
    hosts = tuple(_host_port(item, default_port) for item in hostlist.split(",") if item)
    if not hosts:
        raise ValueError("REDIS_URL names no host")
    if kind == "sentinel":
        master, _, db = path.partition("/")
        return Address(
            kind="sentinel", hosts=hosts, master=master or "mymaster", db=int(db or 0), **shared
        )
    if kind == "cluster":
        return Address(kind="cluster", hosts=hosts, **shared)
    return Address(kind="single", hosts=hosts[:1], db=int(path or 0), **shared)


def _first(query: dict[str, list[str]], name: str) -> str | None:
    return query[name][0] if name in query else None


def _host_port(text: str, default: int) -> tuple[str, int]:
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, int(port.lstrip(":") or default)
    host, _, port = text.partition(":")
    return host, int(port or default)


def readable(where: Address) -> str | None:
    """A host of this address that is reached over a network without TLS, so that payloads and
    passwords can be read on the way (AU-15); None: there is none."""
    if where.tls or where.kind == "unix":
        return None
    return next((host for host, _ in where.hosts if not _is_here(host)), None)


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
