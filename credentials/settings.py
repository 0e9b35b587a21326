"""What the credential code can be told, read once from the environment and frozen."""

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from credentials import did_web
from credentials.keys import Ed25519Name

ListIssuers = Literal["same", "any"]


class CredentialSettings(BaseSettings):
    """Each field is an environment variable of the same name in capitals, unless it says else."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, env_ignore_empty=True
    )

    public_url: str = "http://localhost:3000"
    """Where the world reaches the gateway: the base of everything hosted (status lists)."""
    did_web_domain: str | None = None
    """The domain of hosted did:web DIDs as it stands in them, a port after `%3A`; None: the host
    of `public_url`."""
    did_web_root_organization: str | None = None
    """The only organization that may create the DID of the bare domain; None: whoever is first."""
    vc_data_model: Literal["1.1", "2.0"] = "2.0"
    """The data model of credentials whose job does not choose one (C9)."""
    clock_skew_s: int = Field(default=30, ge=0, le=60)
    """How far clocks may differ (F8)."""
    status_list_issuers: ListIssuers = Field(default="same", validation_alias="STATUS_LIST_ISSUERS")
    """same: a status list by another issuer than the credential's proves nothing; any: the
    specification's own rule, by which the credential's issuer may name anybody's list (I4)."""
    contexts_dir: Path | None = Field(default=None, validation_alias="VC_CONTEXTS_DIR")
    """JSON-LD contexts of the operator's own, beside those that come along (E11)."""
    ed25519_algorithm: Ed25519Name = "EdDSA"
    """The `alg` written for Ed25519 keys; both names are accepted (F2)."""

    @field_validator("public_url")
    @classmethod
    def _is_a_base(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            known = False
        if not known or parts.query or parts.fragment or "@" in parts.netloc:
            raise ValueError(
                "must be the address of the gateway, as https://credentials.example.org"
            )
        return value.rstrip("/")

    @field_validator("did_web_domain")
    @classmethod
    def _is_a_domain(cls, value: str | None) -> str | None:
        if value is not None and not did_web.is_domain(value):
            raise ValueError(
                "must be a domain as it stands in a did:web, as credentials.example.org or "
                "localhost%3A3000"
            )
        return value

    @property
    def hosting_domain(self) -> str | None:
        """The domain of hosted did:web DIDs; None when `public_url` names an IP address, which no
        did:web may (H1)."""
        return self.did_web_domain or did_web.domain_of(self.public_url)
