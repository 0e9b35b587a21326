"""The OpenID provider as people sign in with it: authorization code with PKCE (AU-8).

What a sign-in must remember until the browser is back (state, nonce, code verifier) is derived from
one secret, which only the browser's cookie holds: nothing is kept here, so any gateway can take the
return, and starting a sign-in costs no memory. Sources: OpenID Connect Core 1.0, RFC 7636, 9207 and
9700.
"""

import base64
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Self
from urllib.parse import quote_plus, urlencode, urlsplit

import orjson
from aiohttp import web

from gateway.dashboard.login_settings import LoginSettings
from gateway.oidc import BadToken, Bearer, IdentityUnavailable, KeySource, OidcSettings
from gateway.principal import Principal
from outbound.client import Call, Client, open_client
from outbound.errors import OutboundError
from outbound.settings import OidcOutboundSettings

logger = logging.getLogger(__name__)

WELL_KNOWN: Final = "/.well-known/openid-configuration"
ANSWER_BYTES_MAX: Final = 128 * 1_024
CALL_S: Final = 5.0
FRESH_S: Final = 600.0
AGAIN_S: Final = 10.0
"""After a failure the provider is asked again this often at most."""


class SignInFailed(Exception):
    """Nobody was signed in; the text is for whoever tried."""


@dataclass(frozen=True, slots=True)
class Trip:
    """One way to the provider and back. `secret`: 256 random bits in the browser's cookie."""

    secret: str

    @classmethod
    def begin(cls) -> Self:
        return cls(secrets.token_urlsafe(32))

    @property
    def state(self) -> str:
        return self._derived("state")

    @property
    def nonce(self) -> str:
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        return self._derived("verifier")

    @property
    def challenge(self) -> str:
        """S256 of the verifier (RFC 7636, 4.2)."""
        return _encoded(hashlib.sha256(self.verifier.encode()).digest())

    def _derived(self, what: str) -> str:
        return _encoded(hmac.digest(self.secret.encode(), what.encode(), "sha256"))


@dataclass(frozen=True, slots=True)
class Found:
    """What the provider's discovery document says."""

    authorization: str
    token: str
    end_session: str | None
    posts_secret: bool
    """It takes the client's secret in the body, and not as Basic."""
    names_itself: bool
    """It promises `iss` in its answers (RFC 9207)."""


class Provider:
    """Sends people to the provider and understands with what they come back."""

    def __init__(
        self,
        settings: LoginSettings,
        oidc: OidcSettings,
        keys: KeySource,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._leeway_s = oidc.leeway_s
        self._issuer = str(oidc.issuer)
        self._outbound = OidcOutboundSettings()
        self._bearer = Bearer(oidc.model_copy(update={"audience": settings.client_id}), keys)
        self._clock_s = clock_s
        self._client: Client | None = None
        self._found: Found | None = None
        self._read_s = self._asked_s = float("-inf")

    async def living(self, _app: web.Application) -> AsyncIterator[None]:
        """For `cleanup_ctx` of the application."""
        async with open_client(self._outbound) as self._client:
            yield
        self._client = None

    async def way(self, trip: Trip) -> str:
        """Where the browser goes to sign in. Raises IdentityUnavailable."""
        found = await self.found()
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": self.settings.redirect_url,
            "scope": self.settings.scope,
            "state": trip.state,
            "nonce": trip.nonce,
            "code_challenge": trip.challenge,
            "code_challenge_method": "S256",
            "max_age": str(self.settings.session_s),
        }
        return _with(found.authorization, query)

    async def way_out(self, back: str) -> str | None:
        """Where the browser ends the provider's session; None: signing out ends here."""
        if self.settings.sign_out != "provider":
            return None
        try:
            end = (await self.found()).end_session
        except IdentityUnavailable:
            return None
        here = urlsplit(str(self.settings.redirect_url))
        after = f"{here.scheme}://{here.netloc}{back}"
        query = {"client_id": self.settings.client_id, "post_logout_redirect_uri": after}
        return None if end is None else _with(end, query)

    async def who(self, trip: Trip, answer: Mapping[str, str]) -> Principal:
        """Whom the query of the return stands for.

        Raises SignInFailed, IdentityUnavailable, and what KeySource raises."""
        if not hmac.compare_digest(answer.get("state", ""), trip.state):
            raise SignInFailed("This is not the end of a sign-in that began in this browser.")
        if "error" in answer:
            logger.info("the identity provider refused a sign-in: %r", answer["error"][:64])
            denied = answer["error"] == "access_denied"
            said = "refused" if denied else "had an error"
            raise SignInFailed(f"The identity provider {said}.")
        found = await self.found()
        if answer.get("iss", "" if found.names_itself else self._issuer) != self._issuer:
            raise SignInFailed("The answer is not from the identity provider of this gateway.")
        token = await self._exchange(found, trip, answer.get("code", ""))
        try:
            claims = await self._bearer.claims(token)
            self._check(claims, trip)
            principal = self._bearer.principal(claims)
        except BadToken as error:
            logger.warning("an ID token was refused: %s", error)
            raise SignInFailed(
                "The identity provider's answer opens nothing here: ask whoever runs this gateway."
            ) from None
        if not principal.scopes:
            raise SignInFailed("Your account has no role here: ask whoever runs this gateway.")
        return principal

    def _check(self, claims: Mapping[str, Any], trip: Trip) -> None:
        """What an ID token must say beyond what every token must (OpenID Connect Core, 3.1.3.7)."""
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce, trip.nonce):
            raise BadToken("its nonce is that of another sign-in")
        audience = claims.get("aud")
        several = isinstance(audience, list) and len(audience) > 1
        party = claims.get("azp", None if several else self.settings.client_id)
        if party != self.settings.client_id:
            raise BadToken("it was made for another client")
        self._check_auth_time(claims.get("auth_time"))

    def _check_auth_time(self, auth_time: Any) -> None:
        """`max_age` was asked for, so the token must say when its user was authenticated, and that
        must not be longer ago (OpenID Connect Core, 2 and 3.1.3.7, 13)."""
        if isinstance(auth_time, bool) or not isinstance(auth_time, int | float):
            raise BadToken("it does not say when its user was authenticated (auth_time)")
        age_s = time.time() - auth_time
        if not -self._leeway_s <= age_s <= self.settings.session_s + self._leeway_s:
            raise BadToken(f"its user was authenticated {age_s:.0f} s ago")

    async def found(self) -> Found:
        """The discovery document, at most 10 minutes old. Raises IdentityUnavailable."""
        now_s = self._clock_s()
        if now_s - self._read_s >= FRESH_S and now_s - self._asked_s >= AGAIN_S:
            self._asked_s = now_s
            try:
                self._found = await self._discover()
                self._read_s = now_s
            except (OutboundError, ValueError) as error:
                logger.warning("the identity provider's description cannot be read: %s", error)
        if self._found is None:
            raise IdentityUnavailable("The identity provider does not answer. Try again.")
        return self._found

    async def _discover(self) -> Found:
        address = self._issuer.rstrip("/") + WELL_KNOWN
        answer = await self._open.get(address, max_bytes=ANSWER_BYTES_MAX, total_s=CALL_S)
        if answer.status != HTTPStatus.OK:
            raise ValueError(f"it answered {answer.status}")
        document = _object(answer.body)
        if document.get("issuer") != self._issuer:
            raise ValueError("it names another issuer than OIDC_ISSUER")
        methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        end = document.get("end_session_endpoint")
        return Found(
            self._address(document, "authorization_endpoint"),
            self._address(document, "token_endpoint"),
            None if end is None else self._address(document, "end_session_endpoint"),
            isinstance(methods, list)
            and "client_secret_basic" not in methods
            and "client_secret_post" in methods,
            document.get("authorization_response_iss_parameter_supported") is True,
        )

    def _address(self, document: Mapping[str, Any], name: str) -> str:
        url = document.get(name)
        schemes = ("https", "http") if self._outbound.allow_http else ("https",)
        if not isinstance(url, str) or urlsplit(url).scheme not in schemes:
            raise ValueError(f"its {name} is no https address")
        return url

    async def _exchange(self, found: Found, trip: Trip, code: str) -> str:
        """The ID token for a code."""
        settings = self.settings
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": settings.redirect_url,
            "code_verifier": trip.verifier,
            "client_id": settings.client_id,
        }
        try:
            secret = settings.secret()
            if secret is not None and found.posts_secret:
                form["client_secret"] = secret
            elif secret is not None:
                pair = f"{quote_plus(str(settings.client_id))}:{quote_plus(secret)}"
                headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
            call = Call("POST", found.token, headers, urlencode(form).encode(), CALL_S)
            reply = await self._open.send(call, max_bytes=ANSWER_BYTES_MAX)
        except (OutboundError, OSError) as error:
            logger.warning("a code cannot be exchanged at the identity provider: %s", error)
            raise IdentityUnavailable("The identity provider does not answer. Try again.") from None
        if reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.warning("the identity provider answered a code with %d", reply.status)
            raise IdentityUnavailable("The identity provider does not answer. Try again.")
        return _id_token(reply.status, reply.body)

    @property
    def _open(self) -> Client:
        if self._client is None:
            raise ValueError("the gateway is not running")
        return self._client


PROVIDER = web.AppKey("provider", Provider)


def _id_token(status: int, body: bytes) -> str:
    try:
        document = _object(body)
    except ValueError:
        document = {}
    token = document.get("id_token")
    if status != HTTPStatus.OK or not isinstance(token, str):
        said = document.get("error")
        logger.warning("the identity provider answered a code with %d, %.64r", status, said)
        raise SignInFailed("The identity provider did not confirm the sign-in. Begin again.")
    return token


def _object(body: bytes) -> dict[str, Any]:
    document = orjson.loads(body)
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    return document


def _with(address: str, query: Mapping[str, str | None]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(query)}"


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
