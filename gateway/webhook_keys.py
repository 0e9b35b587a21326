"""Signing keys of webhooks: shown to the admins they belong to, and rotated (WH-6, WH-7).

The keys lie sealed. Opening and making them takes the ring of key-encryption keys that workers
have; a gateway that was not given one says so, and everything else of it works.
"""

import logging
from typing import Any, Literal

from aiohttp import web
from pydantic import ValidationError

from credentials.errors import CredentialError
from credentials.keyring import KeyringError, KeyringSettings, RingSettings, open_keyring
from credentials.webhook_secrets import (
    Contended,
    SealedSecret,
    WebhookSecrets,
    WebhookSecretSettings,
    alive,
    parse,
)
from gateway import faults
from gateway.answer_shapes import WebhookKeys, WebhookSecretKeys
from gateway.body import read_model
from gateway.errors import BadQuery, Fault, KeysUnavailable
from gateway.keys import REDIS
from gateway.principal import Scope
from gateway.routes import ORGANIZATION, Parameter, Route
from gateway.shapes import envelope
from gateway.tenancy import deed, organization_of
from schemas.fields import OrganizationId
from schemas.job import Wire
from schemas.origins import Origin
from streams import Redis, vault
from streams import destinations as store
from streams.destinations import Destination
from streams.errors import CredstreamError
from streams.secret_shelf import SecretShelf

logger = logging.getLogger(__name__)


class Desk:
    """The keys of webhooks as this gateway may see them; the ring is opened when first needed."""

    def __init__(self, redis: Redis) -> None:
        self.shelf = SecretShelf(redis)
        self.overlap_ms = WebhookSecretSettings().overlap_ms
        self._keks = KeyringSettings()
        self._place = RingSettings()
        self._redis = redis
        self._opened: WebhookSecrets | None = None

    def open(self) -> WebhookSecrets:
        """Raises KeysUnavailable when this gateway was given no ring."""
        if self._opened is None:
            place = self._place
            try:
                keyring = open_keyring(
                    self._keks, place.data_dir, production=place.production, purpose="webhook"
                )
            except KeyringError:
                raise KeysUnavailable(
                    "This gateway has no ring of key-encryption keys, so it cannot open or make "
                    "signing keys. Give it the CREDSTREAM_WEBHOOK_KEKS (or its _FILE) of the "
                    "workers; deliveries go on meanwhile."
                ) from None
            self._opened = WebhookSecrets(self.shelf, keyring, self.overlap_ms)
        return self._opened

    async def check(self) -> None:
        """Tell at the start, not when somebody asks, that the ring cannot be read or lacks a KEK
        that is in use, as far as a short look shows (I2). Everything else of the gateway works."""
        try:
            if self._keks.text("webhook") is None:
                return
            ring = open_keyring(self._keks, None, production=True, purpose="webhook")
            in_use = await vault.keks_in_use(self._redis, vault.BOOT_STEPS, "webhook")
            missing = in_use - ring.names
        except KeyringError as error:
            logger.warning("signing keys of webhooks cannot be opened here: %s", error)
        except CredstreamError:
            logger.info("Redis is away: whether the ring opens what is stored is not known")
        else:
            if missing:
                logger.error(
                    "keys in Redis are sealed under %s, which the ring has not",
                    ", ".join(sorted(missing)),
                )


DESK = web.AppKey("webhook_keys", Desk)


def install(app: web.Application) -> None:
    """Settings are read here, once."""
    app[DESK] = desk = Desk(app[REDIS])

    async def check(_: web.Application) -> None:
        await desk.check()

    app.on_startup.append(check)


class Whose(Wire):
    """Which keys: an organization's, or those of one destination of it."""

    organization_id: OrganizationId | None = None
    """Only for principals of the platform, who must name it."""
    origin: Origin | None = None
    """Any URL of the destination; absent: the keys for all destinations without their own."""


class Rotation(Whose):
    """The keys to be renewed, and what kind the new one is."""

    kind: Literal["hmac", "ed25519"] = "hmac"


async def show(request: web.Request) -> web.Response:
    """GET /webhooks/secret?organizationId=&origin=: the keys that sign now, newest first."""
    whose, organization_id = _whose(request)
    origin = whose.origin or ""
    opened = request.app[DESK].open()
    at = Destination(organization_id, origin)
    who = deed(request, "webhook.secret.read", at.id, organization_id, {"origin": origin})
    try:
        ring = await opened.ring(organization_id, origin)
        rows = [_row(one) | {"secret": opened.reveal(organization_id, one)} for one in ring]
    except (CredentialError, Contended) as error:
        raise KeysUnavailable(str(error)) from None
    await store.record(request.app[REDIS], at.keys, who)
    return envelope(_answer(organization_id, whose.origin, rows))


async def rotate(request: web.Request) -> web.Response:
    """POST /webhooks/secret/rotate: a new key signs; the old one signs beside it for a while."""
    wanted = await read_model(request, Rotation)
    organization_id = organization_of(request, wanted.organization_id)
    origin = wanted.origin or ""
    opened = request.app[DESK].open()
    target = Destination(organization_id, origin).id
    parameters = {"origin": origin, "kind": wanted.kind}
    who = deed(request, "webhook.secret.rotate", target, organization_id, parameters)
    try:
        fresh = await opened.rotate(organization_id, origin, wanted.kind, who)
        row = _row(fresh) | {"secret": opened.reveal(organization_id, fresh)}
    except (CredentialError, Contended) as error:
        raise KeysUnavailable(str(error)) from None
    return envelope(_answer(organization_id, wanted.origin, [row]))


async def public(request: web.Request) -> web.Response:
    """GET /webhooks/public-keys?organizationId=&origin=: whpk_ keys that verify v1a signatures."""
    whose, organization_id = _whose(request)
    desk = request.app[DESK]
    rows: list[dict[str, Any]] = []
    for place in dict.fromkeys((whose.origin or "", "")):
        _, text = await desk.shelf.load(organization_id, place)
        if text is not None:
            now_ms = await desk.shelf.now_ms(organization_id, place)
            ring = alive(parse(text), now_ms, desk.overlap_ms)
            rows = [_row(one) for one in ring if one.public is not None]
            break
    return envelope(_answer(organization_id, whose.origin, rows))


def _whose(request: web.Request) -> tuple[Whose, str]:
    query = request.query
    for name in query:
        if name not in ("organizationId", "origin") or len(query.getall(name)) > 1:
            detail = "The parameters are organizationId, origin, each at most once."
            raise BadQuery(detail, [Fault(faults.pointer([name]), detail)])
    try:
        whose = Whose.model_validate(dict(query))
    except ValidationError as error:
        raise BadQuery(
            "`errors` says which parameter does not fit.", faults.of_model(error, dict(query))
        ) from None
    return whose, organization_of(request, whose.organization_id)


def _row(one: SealedSecret) -> dict[str, Any]:
    return {
        "id": one.id,
        "kind": one.kind,
        "public": one.public,
        "createdAt": one.created,
        "replacedAt": one.replaced,
    }


def _answer(organization_id: str, origin: str | None, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"organizationId": organization_id, "origin": origin, "keys": rows}


_WHOSE = (
    ORGANIZATION,
    Parameter("origin", {"type": "string", "minLength": 1}, "Any URL of a destination."),
)
ROUTES = (
    Route("GET", "/webhooks/secret", show, Scope.ADMIN, answer=WebhookSecretKeys, query=_WHOSE),
    Route(
        "POST",
        "/webhooks/secret/rotate",
        rotate,
        Scope.ADMIN,
        body=Rotation,
        answer=WebhookSecretKeys,
        secret=True,
    ),
    Route("GET", "/webhooks/public-keys", public, Scope.READ, answer=WebhookKeys, query=_WHOSE),
)
