"""A gateway whose dashboard people sign in to at an OpenID provider."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from identity_provider import CLIENT, SECRET, IdentityProvider

from gateway.app import create_app
from gateway.server import listening
from gateway.settings import GatewaySettings
from streams import Redis


@asynccontextmanager
async def signing_on(
    redis: Redis, provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> AsyncIterator[str]:
    """A gateway at `localhost`: for a browser another site than the provider at 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "secret").write_text(SECRET + "\n")
    told = {
        "OIDC_ISSUER": provider.issuer,
        "OIDC_AUDIENCE": "credstream-api",
        "OIDC_JWKS_URL": f"{provider.issuer}/jwks",
        "OIDC_CLIENT_ID": CLIENT,
        "OIDC_CLIENT_SECRET_FILE": str(folder / "secret"),
        "OIDC_REDIRECT_URL": f"http://localhost:{port}/dashboard/login/return",
        "OIDC_SIGN_OUT": "provider",
        "OIDC_PLATFORM_ROLE": "platform",
        "OIDC_ALLOW_HTTP": "true",
        "OIDC_ALLOW_NETS": "127.0.0.0/8",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    async with listening(create_app(redis, GatewaySettings(port=port))):
        yield f"http://localhost:{port}"
