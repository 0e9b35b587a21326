"""How people sign in to the dashboard with the OpenID provider, read once and frozen."""

from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

RETURN: Final = "/dashboard/login/return"
"""The path of the redirect URI."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class LoginSettings(BaseSettings):
    """Each field is the environment variable `OIDC_<FIELD>`. Without a client id the dashboard
    takes API keys and pasted tokens only."""

    model_config = SettingsConfigDict(env_prefix="OIDC_", frozen=True, extra="ignore")

    issuer: str | None = None
    client_id: str | None = None
    """What the provider calls the dashboard; its ID tokens are for this audience."""
    client_secret: SecretStr | None = None
    """Of a confidential client. A public one has none; PKCE protects both."""
    client_secret_file: Path | None = None
    """Instead of the secret: a file, read at each sign-in, so that it can be rotated."""
    redirect_url: str | None = None
    """The redirect URI exactly as the provider knows it: `https://<host>/dashboard/login/return`.
    It is never made from what a request says."""
    scope: str = "openid profile"
    session_s: int = Field(default=43_200, ge=300, le=43_200)
    """How long a session lasts at most, and how old a sign-in at the provider may be."""
    recheck_s: int = Field(default=900, ge=60, le=43_200)
    """The provider confirms so often who it is and with which roles; its own session answers."""
    sign_out: Literal["dashboard", "provider"] = "dashboard"
    """Where signing out ends the session: here, or at the provider as well, if it can do that."""

    @field_validator(
        "client_id", "client_secret", "client_secret_file", "redirect_url", mode="before"
    )
    @classmethod
    def _empty_means_absent(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.client_id is None:
            return self
        if not self.issuer or not self.redirect_url:
            raise ValueError("OIDC_CLIENT_ID needs OIDC_ISSUER and OIDC_REDIRECT_URL")
        if self.client_secret and self.client_secret_file:
            raise ValueError("OIDC_CLIENT_SECRET and OIDC_CLIENT_SECRET_FILE exclude each other")
        parts = urlsplit(self.redirect_url)
        secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        if not secure or parts.path != RETURN or parts.query or parts.fragment:
            raise ValueError(f"OIDC_REDIRECT_URL must be https://<host>{RETURN}")
        if "openid" not in self.scope.split():
            raise ValueError("OIDC_SCOPE must contain openid")
        return self

    @property
    def host(self) -> str:
        """Whom people sign in with, for the button."""
        return urlsplit(self.issuer or "").hostname or "single sign-on"

    def secret(self) -> str | None:
        """The client's secret as it is now. OSError: its file cannot be read."""
        if self.client_secret_file is not None:
            return self.client_secret_file.read_text(encoding="utf-8").strip()
        return self.client_secret.get_secret_value() if self.client_secret else None
