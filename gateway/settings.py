"""What the gateway can be told, read once from the environment and frozen."""

import re
from ipaddress import ip_address
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from schemas.fields import Did

MIB = 1024 * 1024


class GatewaySettings(BaseSettings):
    """Each field is an environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    """Address to bind. Anything but loopback needs `allow_insecure` while no credential exists."""
    port: int = Field(default=3000, ge=0, le=65_535)
    """0 lets the system choose; the log line at start names the port."""
    reuse_port: bool = False
    """SO_REUSEPORT: several gateway processes share one port."""
    allow_insecure: bool = False
    """Serve beyond loopback without credentials, and complain about it every minute."""
    require_auth: Literal["auto", "always"] = "auto"
    """auto: every request needs a credential as soon as one exists; until then this machine may
    do everything."""
    trusted_proxies: int = Field(default=0, ge=0, le=10)
    """How many proxies of our own stand in front and add to X-Forwarded-For."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins (`https://app.example.com`) whose pages may call; commas between."""
    rate_limit: int = Field(default=0, ge=0)
    """Requests that an organization, or a principal of the platform, may make in a window. 0: any
    number."""
    rate_limit_window_s: int = Field(default=60, ge=1, le=86_400)

    held_requests_max: int = Field(default=2_000, ge=1)
    """Event streams and requests that wait for the end of a job, at the same time, in this
    process."""
    held_requests_per_organization: int = Field(default=100, ge=1)
    """Of them, of one organization, or of one principal of the platform."""
    public_requests_max: int = Field(default=256, ge=1)
    """Requests of public routes that are answered at the same time, in this process."""
    public_requests_per_address: int = Field(default=64, ge=1)
    public_posts_per_minute: int = Field(default=600, ge=0)
    """POSTs to public routes (sign-in, unsubscription) from one address. 0: any number."""

    body_limit_bytes: int = Field(default=MIB, ge=1)
    bulk_limit_bytes: int = Field(default=5 * MIB, ge=1)
    """Limit of a body that is a JSON array."""
    bulk_jobs_max: int = Field(default=1_000, ge=1)
    body_timeout_s: float = Field(default=30, gt=0)
    """A request body must have arrived by then."""
    keepalive_timeout_s: float = Field(default=75, gt=0)
    """Bounds idle connections and, in aiohttp, the arrival of the header lines as well."""
    shutdown_timeout_s: float = Field(default=30, gt=0)
    """Time that requests in flight get after SIGTERM."""
    events_heartbeat_s: float = Field(default=15, gt=0, le=15)
    """A stream of events that has nothing to say shows a sign of life this often."""
    events_send_timeout_s: float = Field(default=10, gt=0)
    """A client that does not read its events for this long is disconnected."""
    vc_api_issuer: Did | None = None
    """Who issues what arrives at `/credentials/issue` without an issuer."""

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = tuple(item.strip() for item in value.split(",") if item.strip())
        for origin in value:
            if not re.fullmatch(r"https?://[^/*\s]+", origin):
                raise ValueError(f"{origin!r} is no origin, such as https://app.example.com")
        return value

    @property
    def is_loopback(self) -> bool:
        """Whether `host` is reachable from this machine only.

        A name other than `localhost` counts as reachable: what it resolves to can change.
        """
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False
