"""An OpenID provider on loopback, with one user who always says yes."""

import base64
import hashlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "credstream dashboard", "s3cret/+&"
KEY = RSAKey.generate_key(2048, {"kid": "signs", "use": "sig"})
STRANGER = RSAKey.generate_key(2048, {"kid": "signs", "use": "sig"})


@dataclass
class IdentityProvider:
    """What it is told to do, and what it was asked."""

    issuer: str
    claims: dict[str, Any] = field(
        default_factory=lambda: {"roles": ["operator"], "organization_id": "org-a"}
    )
    """Members of the ID token beyond the usual; they win."""
    key: Any = field(default_factory=lambda: KEY)
    token_status: int = 200
    discovery: dict[str, Any] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    """Queries of the authorization endpoint."""
    ended: list[dict[str, str]] = field(default_factory=list)
    """Queries of the end-session endpoint."""
    refused: list[str] = field(default_factory=list)
    """Why codes were not exchanged."""
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    async def describe(self, _request: web.Request) -> web.Response:
        at = self.issuer
        said = {
            "issuer": at,
            "authorization_endpoint": f"{at}/authorize",
            "token_endpoint": f"{at}/token",
            "jwks_uri": f"{at}/jwks",
            "end_session_endpoint": f"{at}/end",
            "authorization_response_iss_parameter_supported": True,
        }
        return web.json_response(said | self.discovery)

    async def authorize(self, request: web.Request) -> web.Response:
        """A page with a link that a user would click."""
        self.asked.append(dict(request.query))
        link = self.answer(dict(request.query)).replace("&", "&amp;")
        page = f"<!doctype html><html lang=en><title>Id</title><h1>Id</h1><a href='{link}'>Yes</a>"
        return web.Response(text=page, content_type="text/html")

    def answer(self, query: dict[str, str]) -> str:
        """Where the browser is sent with a new code."""
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        back = {"code": code, "state": query["state"], "iss": self.issuer}
        return f"{query['redirect_uri']}?{urlencode(back)}"

    async def token(self, request: web.Request) -> web.Response:
        form = {name: values[0] for name, values in parse_qs(await request.text()).items()}
        asked = self._codes.pop(form.get("code", ""), None)
        wrong = self._wrong(request, form, asked)
        if wrong or asked is None:
            self.refused.append(wrong)
            return web.json_response({"error": "invalid_grant"}, status=400)
        now_s = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": "ann@example.com",
            "iat": now_s,
            "exp": now_s + 60,
            "auth_time": now_s,
            "nonce": asked["nonce"],
        }
        signed = jwt.encode({"alg": "RS256", "kid": "signs"}, claims | self.claims, self.key)
        body = {"id_token": signed, "access_token": "opaque", "token_type": "Bearer"}
        return web.json_response(body, status=self.token_status)

    def _wrong(
        self, request: web.Request, form: dict[str, str], asked: dict[str, str] | None
    ) -> str:
        if asked is None:
            return "code"
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != asked["code_challenge"]:
            return "verifier"
        if form.get("redirect_uri") != asked["redirect_uri"]:
            return "redirect_uri"
        kind, _, text = request.headers.get("Authorization", "").partition(" ")
        given = base64.b64decode(text).decode() if kind == "Basic" else ""
        pair = given or f"{form.get('client_id', '')}:{form.get('client_secret', '')}"
        name, _, secret = pair.partition(":")
        if given:
            name, secret = unquote_plus(name), unquote_plus(secret)
        return "" if (name, secret) == (CLIENT, SECRET) else "client"

    async def keys(self, _request: web.Request) -> web.Response:
        return web.json_response({"keys": [KEY.as_dict(private=False)]})

    async def end(self, request: web.Request) -> web.Response:
        self.ended.append(dict(request.query))
        return web.Response(text="<h1>Signed out here</h1>", content_type="text/html")


@asynccontextmanager
async def identity_provider() -> AsyncIterator[IdentityProvider]:
    """One that listens until the block ends."""
    made = IdentityProvider("")
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", made.describe)
    app.router.add_get("/authorize", made.authorize)
    app.router.add_post("/token", made.token)
    app.router.add_get("/jwks", made.keys)
    app.router.add_get("/end", made.end)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()
